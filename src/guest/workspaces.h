#pragma once
/* The workspaces' file system, mounted once, and each workspace bound to its own absolute path. */
#include "guest.h"

#define WORKSPACES_ROOT "/run/paddock/fs"
#define SHADOWS_ROOT    "/var/lib/paddock/shadows"

/*
 * Mounts their file system, if it is not mounted yet, without saying a word to the host: whoever
 * asks it for something waits for workspaces_begin.
 */
int workspaces_prepare(struct guest *g, struct err *e);
/* Has the workspaces, if there are any, looked up beside the caller. */
int workspaces_begin(struct guest *g, const struct identity *i, struct err *e);
/* Binds them all, where it was begun. Waits for what was begun, and for that, at most limit_ms. */
int workspaces_end(struct guest *g, uint64_t limit_ms, struct err *e);

/* Whether a workspace may lie there: absolute, normalised, and not over the system's own parts. */
int workspaces_check_path(const char *path, struct err *e);
