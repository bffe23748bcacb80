#pragma once
/*
 * The fs role: serves the tree below root, in which the workspaces are bind-mounted at their own
 * absolute paths, as a FUSE server (include/uapi/linux/fuse.h, protocol 7.41) over a byte stream.
 * The guest is hostile: every message is validated, nothing outside root is reachable.
 */
#include <stdint.h>
#include <sys/types.h>

#include <base/err.h>

struct fs_options {
	int stream_fd;    /* stream socket: the host end of paddock.fs */
	int root_fd;      /* the stage tree; the role has already been pivoted into it */
	uid_t guest_uid;  /* who owns every file as the guest sees it: the agent */
	gid_t guest_gid;
};

/* Serves until the stream ends (0) or fails (-errno). Blocks. */
int fs_serve(const struct fs_options *o, struct err *e);
