#pragma once
/*
 * The fs role: serves the tree below root, in which the workspaces are bind-mounted at their own
 * absolute paths, as a FUSE server (include/uapi/linux/fuse.h, protocol 7.38) over a byte stream.
 * The guest is hostile: every message is validated, nothing outside root is reachable.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <base/err.h>
#include <base/str.h>

struct fs_options {
	int stream_fd; /* stream socket: the host end of paddock.fs */
	int root_fd;   /* the stage tree; the role has already been pivoted into it. O_PATH will do.
			* A read-only tmpfs there is shown as root's, everything else as guest_uid's
			*/
	int proc_fd;   /* from fs_proc_open */
	uid_t guest_uid; /* who owns every file as the guest sees it: the agent */
	gid_t guest_gid;
	const struct strv *shadows; /* NULL: none. Absolute paths below root; stay the caller's */
	const struct strv *workspaces; /* NULL: unknown. Looked into for git's hooks at the start */
	int changes_fd;                /* SOCK_SEQPACKET, wire/change.h; 0: none */
	bool allow_hooks;              /* the guest may write them */
	/*
	 * What the journal tells of was another tree, of which this one is a copy: what has the
	 * same name now is what is meant, until it is written down anew.
	 */
	bool copied;
	int shadow_fd;  /* from fs_shadow_open, or a folder that holds "0", "1", ... */
	int journal_fd; /* from fs_journal_new, and the same for each process on this stream; 0:
			   none */
};

/*
 * Memory in which a server keeps what the next one needs when it dies, so that the guest's mount
 * goes on: to be held by whoever starts them. A descriptor or -errno.
 */
int fs_journal_new(struct err *e);
/* What is in it is of use to a server of the same version alone. */
unsigned fs_journal_version(void);

/*
 * This process's /proc/self/fd, as a mount of its own from which no ".." leads out: the only way to
 * reopen, link or chmod exactly the file that an O_PATH descriptor holds. To be called in the
 * role's own process (the result is bound to its pid) before jail_confine, which takes /proc away,
 * and before threads exist: where the caller has CAP_SYS_ADMIN it leaves the mount namespace that
 * it shared. Returns a close-on-exec descriptor or -errno.
 */
int fs_proc_open(struct err *e);

/*
 * The folders that the guest is shown where n shadows are: empty, read-only, in a mount of their
 * own that no path leads to. To be called before jail_confine, with CAP_SYS_ADMIN. A close-on-exec
 * descriptor or -errno.
 */
int fs_shadow_open(size_t n, struct err *e);

/*
 * Serves until the stream ends (0) or fails (-errno). Blocks. The descriptors stay the caller's.
 * The calling thread gets its own umask and working folder (unshare(CLONE_FS)); the soft limit of
 * open files is raised to the hard one.
 */
int fs_serve(const struct fs_options *o, struct err *e);
