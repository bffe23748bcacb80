/* A kit that is read is printed, and read again as the same one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <kit/kit.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN_KIT struct kit k = {0}, back = {0};
	CLEAN_FREE char *text = NULL, *again = NULL;
	const struct kit_vars vars = {.workspace = "/w"};
	char digest[KIT_DIGEST_SIZE];
	struct err e = {0};

	if (size > 16384 || kit_parse((const char *)data, size, &k, &e) < 0)
		return 0;
	text = kit_print(&k);
	if (kit_parse(text, strlen(text), &back, &e) < 0)
		abort();
	again = kit_print(&back);
	if (strcmp(text, again) != 0)
		abort();
	kit_layer_digest(&k, "base", digest);
	for (size_t i = 0; i < k.nfiles; i++) {
		CLEAN_FREE char *filled = kit_file_fill(&k.files[i], &vars);

		if (filled == NULL && strstr(k.files[i].content, KIT_VAR_CREDENTIAL) == NULL)
			abort();
		if (filled != NULL && strstr(filled, KIT_VAR_WORKSPACE) != NULL &&
			strstr(k.files[i].content, "${") == NULL)
			abort();
	}
	return 0;
}
