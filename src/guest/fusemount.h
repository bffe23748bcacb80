#pragma once
/* The FUSE mount of the workspaces, without what goes through it (pump.c). */
#include <limits.h>

#include <base/err.h>

struct fuse_mount {
	int fd; /* of /dev/fuse */
	char at[PATH_MAX];
	char device[32]; /* "0:42": names the connection and its read-ahead in /sys */
};

/* Mounted at an absolute path; INIT is not answered yet. 0 or -errno, and nothing is left open. */
int fuse_mount_open(struct fuse_mount *m, const char *at, struct err *e);
/* Every request, waiting or new, then fails with ENOTCONN or ECONNABORTED. */
void fuse_mount_abort(const struct fuse_mount *m);
