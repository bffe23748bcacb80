#pragma once
/*
 * checkpoints/TAG below a sandbox's folder: its machine as it was (snapshot/saved.h), memory and
 * disk. ".new-XXXXXX" is being made, and locked by its maker.
 */
#include <stdint.h>

#include "cli.h"

struct checkpoint {
	char *tag;
	int64_t created; /* seconds since the epoch */
	uint64_t bytes;  /* on the disk */
};

struct checkpoints {
	struct checkpoint *v;
	size_t n;
};

void checkpoints_release(struct checkpoints *l);
/* The latest first. Those that were begun and not ended are removed. */
int checkpoints_list(const struct cli *c, const char *name, struct checkpoints *ret, struct err *e);
/* Of a tag, or of the latest (NULL): its folder, caller frees; NULL and e. *ret_tag likewise. */
char *checkpoint_find(
	const struct cli *c, const char *name, const char *tag, char **ret_tag, struct err *e);
/*
 * Saves a running sandbox, which goes on, into a folder that is no checkpoint yet: its path, caller
 * frees, and a descriptor. Who closes that leaves it to be swept; the folder is removed before, or
 * gets a name. copies: pairs of paths, workspaces to be copied at that moment; NULL: none.
 */
int checkpoint_save(const struct cli *c, const char *name, const struct strv *copies,
	char **ret_folder, struct err *e);
/* Of a running sandbox, which goes on. */
int checkpoint_make(const struct cli *c, const char *name, const char *tag, struct err *e);
int checkpoint_remove(const struct cli *c, const char *name, const char *tag, struct err *e);
