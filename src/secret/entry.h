#pragma once
/* The store's entries as JSON. */
#include <jansson.h>

#include <secret/store.h>

/* NULL: one is no UTF-8. */
json_t *entries_to_json(const struct secrets *s);
/* -EINVAL with a sentence that quotes no value. */
int entries_from_json(json_t *list, struct secrets *ret, struct err *e);
