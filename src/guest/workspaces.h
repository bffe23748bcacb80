#pragma once
/* The workspaces' file system, mounted once, and each workspace bound to its own absolute path. */
#include "guest.h"

#define WORKSPACES_ROOT "/run/paddock/fs"
#define SHADOWS_ROOT    "/var/lib/paddock/shadows"

/* Starts the pump where it does not run yet and binds them all; waits at most limit_ms. */
int workspaces_mount(struct guest *g, const struct identity *i, uint64_t limit_ms, struct err *e);

/* Whether a workspace may lie there: absolute, normalised, and not over the system's own parts. */
int workspaces_check_path(const char *path, struct err *e);
