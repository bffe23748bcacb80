#pragma once
/* The workspaces' file system, mounted once, and each workspace bound to its own absolute path. */
#include "guest.h"

#define WORKSPACES_ROOT "/run/paddock/fs"
#define SHADOWS_ROOT    "/var/lib/paddock/shadows"

struct workspaces; /* on their way */

/*
 * Mounts their file system, if it is not mounted yet, without saying a word to the host: whoever
 * asks it for something waits for workspaces_begin.
 */
int workspaces_prepare(struct guest *g, struct err *e);

/*
 * Has the workspaces looked up, beside the caller. NULL in *ret: there are none. What was begun is
 * to be ended.
 */
int workspaces_begin(
	struct guest *g, const struct identity *i, struct workspaces **ret, struct err *e);
/* Binds them all. Waits for what was begun, and for that, at most limit_ms; w is gone then. */
int workspaces_end(struct workspaces *w, uint64_t limit_ms, struct err *e);

/* Whether a workspace may lie there: absolute, normalised, and not over the system's own parts. */
int workspaces_check_path(const char *path, struct err *e);
