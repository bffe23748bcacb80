#include <stdio.h>
#include <string.h>

#include <kit/kit.h>

#include "verbs.h"

/* Each file's first fault, not only the first file's. */
static int
kit_check_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_FREE char *config = kit_config_dir();
	int bad = 0;

	(void)c;
	if (a->nwords == 0)
		return usage_error(e, "write: paddock kit check FILE [FILE...]");
	for (size_t i = 0; i < a->nwords; i++) {
		CLEAN_KIT struct kit k = {0};
		struct err why = {0};
		char shown[ERR_MSG_MAX * 4];

		if (kit_load(config, a->words[i], &k, NULL, &why) == 0) {
			printf("%s: ok\n", k.name);
			continue;
		}
		str_escape(why.msg, strlen(why.msg), shown, sizeof(shown));
		fprintf(stderr, "%s\n", shown);
		bad = 1;
	}
	return bad;
}

const struct verb verb_kit_check = {.name = "kit check",
	.summary = "Check kits for mistakes",
	.usage = "FILE|NAME [FILE|NAME...]",
	.details = "Says FILE:LINE:COLUMN and the mistake, and ends with 1; what a kit extends is "
		   "checked "
		   "too.\nCredentials are checked for form; nothing uses them yet.",
	.exec = kit_check_exec};
