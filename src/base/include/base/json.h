#pragma once
/* For rooms that link jansson. */
#include <jansson.h>

#include <base/str.h>

/* An array of strings; what is no UTF-8 is left out. */
static inline json_t *
json_of_strv(const struct strv *v)
{
	json_t *a = json_array();

	for (size_t i = 0; i < v->n; i++)
		json_array_append_new(a, json_string(v->v[i]));
	return a;
}
