#pragma once
/*
 * fork --clone-workspace: each fork has copies of the workspaces that the original may write, where
 * the original sees its own. On the host they lie beside those, as WORKSPACE-FORK.
 */
#include "cli.h"

/* The workspaces of one fork. */
struct clones {
	struct workspace *workspaces; /* owned */
	size_t n;
	struct strv from, to; /* folders and files to be copied; absolute */
};

void clones_release(struct clones *c);
/* Nothing is made. -EEXIST where something is in the way, -EINVAL. */
int clones_plan(const struct cli *c, const struct sandbox *original, const char *name,
	struct clones *ret, struct err *e);
/* Copies what the first fork has copies of by now, which nobody has changed since. */
int clones_copy(const struct clones *first, const struct clones *c, struct err *e);
/* Removes the copies. */
void clones_remove(const struct clones *c);
