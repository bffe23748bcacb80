/* Git's configuration: hostile bytes of a workspace. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <proto/gitconfig.h>

static int
one(void *arg, const char *key, const char *value)
{
	size_t *seen = arg;

	if (strlen(key) >= GITCONFIG_KEY_MAX ||
		(value != NULL && strlen(value) >= GITCONFIG_VALUE_MAX))
		abort();
	*seen += gitconfig_is_active(key, value);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	size_t seen = 0;

	gitconfig_parse((const char *)p, n, one, &seen);
	return 0;
}
