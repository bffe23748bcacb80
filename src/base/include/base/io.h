#pragma once
/* Whole reads and writes with a deadline, files replaced atomically, descriptors over sockets. */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <base/buf.h>
#include <base/err.h>
#include <base/str.h>

int io_set_nonblock(int fd, bool on);
int io_set_cloexec(int fd, bool on);

/*
 * All n bytes before the deadline (clock_mono_ms; UINT64_MAX: none), on blocking or non-blocking
 * descriptors. 0, -ETIMEDOUT, -EPIPE at end of file, or -errno.
 */
int io_read_full(int fd, void *p, size_t n, uint64_t deadline_ms);
int io_write_full(int fd, const void *p, size_t n, uint64_t deadline_ms);

/* flock(2) alone, by the deadline (0: now or not): 0, -ETIMEDOUT, -errno. */
int io_lock(int fd, uint64_t deadline_ms);

/* The whole file, at most max bytes (-EFBIG). Appends to out. */
int io_read_fd_all(int fd, size_t max, struct buf *out, struct err *e);
/* All of a file or memfd, wherever its read position is, into one allocation: no copy of a secret
 * is left in buffers that grew. */
int io_read_at_once(int fd, size_t max, struct buf *out, struct err *e);
int io_read_file(int dirfd, const char *path, size_t max, struct buf *out, struct err *e);

/* Written to a temporary name beside it, fsynced, renamed over path, directory fsynced. */
int io_write_file_atomic(
	int dirfd, const char *path, const void *p, size_t n, mode_t mode, struct err *e);
/* A new file, which nobody looks for yet: whoever gives its folder a name syncs that, or needs not
 * to. -EEXIST where there is one. */
int io_write_new_file(
	int dirfd, const char *path, const void *p, size_t n, mode_t mode, struct err *e);

/*
 * The content of a file into another one, which is empty (or of this size, and all zeros): sharing
 * its blocks where the file system can, else without the holes.
 */
int io_copy(int from, int to, struct err *e);
/* The same of whole files, 0600; it has its name when it is on the disk, in the place of another.
 */
int io_copy_file(const char *from, const char *to, struct err *e);

/*
 * A folder with all that is in it, or a file, under a name that is not there yet (-EEXIST): content
 * as io_copy does it, hard links among them, symlinks as they are, FIFOs, sockets, modes (but a
 * file's setuid and setgid), times, user xattrs and ACLs; owners as far as the caller may. Both are
 * absolute and resolved: a symlink in either is refused. Until it is whole it is TO.incomplete.
 * What goes from it meanwhile is not in the copy; what cannot be read is an error. Blocks.
 */
int io_copy_tree(const char *from, const char *to, struct err *e);
/* Pairs of from and to: each as above, and where one fails, none is there. */
int io_copy_trees(const struct strv *pairs, struct err *e);

/* openat2(2), close-on-exec: RESOLVE_* of linux/openat2.h. A descriptor, or -1 and errno. */
int io_openat2(int dirfd, const char *path, uint64_t flags, uint64_t resolve);

/* Every file of a folder, and the folder, on the disk. Not what is below it. */
int io_sync_files(int dirfd, struct err *e);

/* mkdir -p; existing directories are fine. */
int io_mkdirs(const char *path, mode_t mode, struct err *e);

/* Removes a tree without following symlinks or leaving its file system. Missing: 0. */
int io_remove_tree(int dirfd, const char *path, struct err *e);

#define IO_FDS_MAX 16
/* One message with descriptors (SCM_RIGHTS) on a unix socket; they stay the caller's. */
int io_send_fds(int sock, const void *p, size_t n, const int *fds, size_t nfds);
/*
 * One message; descriptors arrive close-on-exec and are the caller's. Returns bytes (0: end of
 * file) or -errno; *ret_nfds at most max_fds, surplus ones are closed.
 */
ssize_t io_recv_fds(int sock, void *p, size_t n, int *ret_fds, size_t max_fds, size_t *ret_nfds);

/* A sealed memfd with these bytes, read position at 0: configuration for a role. fd or -errno. */
int io_memfd(const char *name, const void *p, size_t n, struct err *e);
