#pragma once
/* The workspaces' file system, mounted once, and each workspace bound to its own absolute path. */
#include "guest.h"

#define WORKSPACES_ROOT "/run/paddock/fs"
#define SHADOWS_ROOT    "/var/lib/paddock/shadows"

struct workspaces; /* on their way */

/*
 * Starts the pump where it does not run yet, and has the workspaces looked up, beside the caller.
 * NULL in *ret: there are none. What was begun is to be ended.
 */
int workspaces_begin(
	struct guest *g, const struct identity *i, struct workspaces **ret, struct err *e);
/* Binds them all. Waits for what was begun, and for that, at most limit_ms; w is gone then. */
int workspaces_end(struct workspaces *w, uint64_t limit_ms, struct err *e);

/* Whether a workspace may lie there: absolute, normalised, and not over the system's own parts. */
int workspaces_check_path(const char *path, struct err *e);
