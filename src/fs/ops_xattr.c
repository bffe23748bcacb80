/*
 * Extended attributes: those of the user namespace alone. security.* and trusted.* could give a
 * host file capabilities or labels, system.* is access lists; to the guest they do not exist.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <base/str.h>

#include "server.h"

static int
xattr_begin(struct fs *fs, struct inode *i, const char *name, struct nodefd *ret)
{
	if (name != NULL && (!str_has_prefix(name, "user.") || name[5] == '\0'))
		return -EOPNOTSUPP;
	/* As the kernel has it for user.*; a symlink or a FIFO has none. */
	if (i->key.type != S_IFREG && i->key.type != S_IFDIR)
		return name != NULL ? -EPERM : -EOPNOTSUPP;
	return nodefd_get(fs, i, ret);
}

/* Paths below are relative to the working folder, proc_fd: the very file that the number holds. */
int
op_setxattr(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	const struct fuse_setxattr_in *in = &r->in.setxattr;
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	int e = xattr_begin(fs, i, r->name, &n);

	(void)out;
	if (e < 0)
		return e;
	coherence_before(fs, i, n.fd);
	if (setxattr(fd_name(n.fd).s, r->name, r->data, r->ndata, (int)in->flags) < 0)
		e = -errno;
	coherence_after(fs, i, n.fd);
	return e;
}

int
op_removexattr(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	int e = xattr_begin(fs, i, r->name, &n);

	(void)out;
	if (e < 0)
		return e;
	coherence_before(fs, i, n.fd);
	if (removexattr(fd_name(n.fd).s, r->name) < 0)
		e = -errno;
	coherence_after(fs, i, n.fd);
	return e;
}

/* size 0 asks how much there is. */
static void
put_size(size_t n, struct buf *out)
{
	struct fuse_getxattr_out go = {.size = (uint32_t)n};

	buf_append(out, &go, sizeof(go));
}

int
op_getxattr(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	size_t size = r->in.getxattr.size;
	int e = xattr_begin(fs, i, r->name, &n);
	ssize_t len;

	if (e == -EPERM)
		return -ENODATA;
	if (e < 0)
		return e;
	len = getxattr(fd_name(n.fd).s, r->name, size > 0 ? buf_reserve(out, size) : NULL, size);
	if (len < 0)
		return -errno;
	if (size == 0)
		put_size((size_t)len, out);
	else
		buf_commit(out, (size_t)len);
	return 0;
}

/* Keeps the names of the user namespace, in place. */
static size_t
only_user(char *list, size_t n)
{
	size_t kept = 0;

	for (size_t at = 0, len; at < n; at += len) {
		len = strnlen(list + at, n - at) + 1;
		if (at + len > n)
			break;
		if (str_has_prefix(list + at, "user.")) {
			memmove(list + kept, list + at, len);
			kept += len;
		}
	}
	return kept;
}

int
op_listxattr(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	CLEAN_BUF struct buf list = BUF_INIT;
	size_t size = r->in.getxattr.size, kept;
	int e = xattr_begin(fs, i, NULL, &n);
	ssize_t len = 0;

	if (e == 0) {
		len = listxattr(fd_name(n.fd).s, (char *)buf_reserve(&list, FUSE_WIRE_XATTR_MAX),
			FUSE_WIRE_XATTR_MAX);
		if (len < 0)
			return -errno;
	} else if (e != -EOPNOTSUPP) {
		return e;
	}
	kept = only_user((char *)buf_reserve(&list, 0), (size_t)len);
	if (size == 0) {
		put_size(kept, out);
		return 0;
	}
	if (kept > size)
		return -ERANGE;
	buf_append(out, list.base, kept);
	return 0;
}
