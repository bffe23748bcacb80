/* The kits of kits/, embedded at build. */
#include <string.h>

#include <base/cleanup.h>
#include <kit/kit.h>

#include "builtin_kits.h"

const char *
kit_builtin(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(builtin_kits); i++)
		if (strcmp(builtin_kits[i].name, name) == 0)
			return builtin_kits[i].text;
	return NULL;
}

const char *
kit_builtin_name(size_t i)
{
	return i < ARRAY_LEN(builtin_kits) ? builtin_kits[i].name : NULL;
}
