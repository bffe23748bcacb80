#include <string.h>

#include <base/mem.h>
#include <cred/set.h>

#define RAND "{rand}"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/* What every program, header, URL and file takes as it is. */
static bool
is_plain(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strchr(letters, p[i]) == NULL && strchr("-_.", p[i]) == NULL)
			return false;
	return true;
}

bool
cred_shape_fits(const char *shape)
{
	const char *at = strstr(shape, RAND);
	size_t before = at != NULL ? (size_t)(at - shape) : strlen(shape);
	const char *after = at != NULL ? at + strlen(RAND) : "";

	return strlen(shape) <= CRED_PLACEHOLDER_MAX - CRED_RANDOM_BYTES &&
	       is_plain(shape, before) && is_plain(after, strlen(after));
}

char *
cred_placeholder(const char *shape, const uint8_t random[CRED_RANDOM_BYTES])
{
	const char *s = shape != NULL ? shape : "paddock-";
	const char *at = strstr(s, RAND);
	size_t before = at != NULL ? (size_t)(at - s) : strlen(s);
	char text[CRED_RANDOM_BYTES + 1] = "";

	for (size_t i = 0; i < CRED_RANDOM_BYTES; i++)
		text[i] = letters[random[i] % (sizeof(letters) - 1)];
	return xasprintf("%.*s%s%s", (int)before, s, text, at != NULL ? at + strlen(RAND) : "");
}
