/* Request -> handler -> reply. */
#include <errno.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/log.h>

#include "server.h"

struct op {
	op_fn *fn;     /* NULL: always answered with error */
	bool no_inode; /* is not about one, or about one that need not exist */
	int error;
};

/* ENOSYS makes the guest's kernel do without, and not ask again. */
static const struct op ops[] = {
	[FUSE_LOOKUP] = {op_lookup},
	[FUSE_FORGET] = {op_forget, true},
	[FUSE_GETATTR] = {op_getattr},
	[FUSE_SETATTR] = {op_setattr},
	[FUSE_READLINK] = {op_readlink},
	[FUSE_SYMLINK] = {op_symlink},
	[FUSE_MKNOD] = {op_mknod},
	[FUSE_MKDIR] = {op_mkdir},
	[FUSE_UNLINK] = {op_unlink},
	[FUSE_RMDIR] = {op_rmdir},
	[FUSE_RENAME] = {op_rename},
	[FUSE_LINK] = {op_link},
	[FUSE_OPEN] = {op_open},
	[FUSE_READ] = {op_read},
	[FUSE_WRITE] = {op_write},
	[FUSE_STATFS] = {op_statfs},
	[FUSE_RELEASE] = {op_release},
	[FUSE_FSYNC] = {op_fsync},
	[FUSE_SETXATTR] = {op_setxattr},
	[FUSE_GETXATTR] = {op_getxattr},
	[FUSE_LISTXATTR] = {op_listxattr},
	[FUSE_REMOVEXATTR] = {op_removexattr},
	[FUSE_FLUSH] = {op_flush},
	[FUSE_GETLK] = {op_getlk},
	[FUSE_SETLK] = {op_setlk},
	[FUSE_SETLKW] = {op_setlk},
	[FUSE_INIT] = {op_init, true},
	[FUSE_OPENDIR] = {op_opendir},
	[FUSE_READDIR] = {op_readdir},
	[FUSE_RELEASEDIR] = {op_releasedir},
	[FUSE_FSYNCDIR] = {op_fsyncdir},
	[FUSE_ACCESS] = {.error = -ENOSYS}, /* default_permissions */
	[FUSE_CREATE] = {op_create},
	[FUSE_IOCTL] = {.error = -ENOTTY},
	[FUSE_POLL] = {.error = -ENOSYS},
	[FUSE_BATCH_FORGET] = {op_batch_forget, true},
	[FUSE_FALLOCATE] = {op_fallocate},
	[FUSE_READDIRPLUS] = {op_readdirplus},
	[FUSE_RENAME2] = {op_rename},
	[FUSE_LSEEK] = {op_lseek},
	[FUSE_COPY_FILE_RANGE] = {op_copy_file_range},
	[FUSE_SYNCFS] = {op_syncfs},
	[FUSE_TMPFILE] = {op_tmpfile},
};

/* What is a mount point in the guest can be neither made nor moved nor removed. */
static int
check_shadows(struct fs *fs, const struct inode *dir, const struct fuse_request *r)
{
	const struct inode *to;

	if (fs->nshadows == 0)
		return 0;
	switch (r->head.opcode) {
	case FUSE_RENAME:
	case FUSE_RENAME2:
		to = inode_find(fs, r->in.rename.newdir);
		if (to != NULL && shadow_find(fs, to, r->name2) != NULL)
			return -EBUSY;
		/* fall through */
	case FUSE_SYMLINK:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_LINK:
	case FUSE_CREATE:
		return shadow_find(fs, dir, r->name) != NULL ? -EBUSY : 0;
	default:
		return 0;
	}
}

static int
run(struct fs *fs, const struct fuse_request *r, struct buf *out)
{
	const struct op *op = &ops[r->head.opcode];
	struct inode *i = NULL;
	int e;

	if (!fs->ready && r->head.opcode != FUSE_INIT)
		return -EIO;
	if (op->fn == NULL)
		return op->error;
	if (op->no_inode)
		return op->fn(fs, NULL, r, out);
	i = inode_find(fs, r->head.nodeid);
	if (i == NULL)
		return -ESTALE;
	i->pins++;
	e = check_shadows(fs, i, r);
	if (e == 0)
		e = guard_request(fs, i, r);
	if (e == 0)
		e = op->fn(fs, i, r, out);
	if (e == -ESTALE) {
		nodefd_was_stale(fs);
		push_void_names(fs, i);
	}
	i->pins--;
	inode_drop_if_unused(fs, i);
	return e;
}

/* DESTROY, the end of the mount, forgets everything. */
static int
run_any(struct fs *fs, const struct fuse_request *r, struct buf *out)
{
	if (r->head.opcode != FUSE_DESTROY)
		return run(fs, r, out);
	fs_tables_reset(fs);
	return 0;
}

/* What may differ since another process served this mount (restore.c). */
static int
run_after(struct fs *fs, const struct fuse_request *r, struct buf *out)
{
	int e;

	if (fs->doubts && restore_check(fs, r) == RESTORE_REFUSE) {
		restore_refused(fs, r);
		return -EIO;
	}
	fs->handle_was_lost = false;
	e = run_any(fs, r, out);
	return e == -EBADF && fs->handle_was_lost ? -EIO : e;
}

/* RELEASE, RELEASEDIR: the pump has answered already. */
static bool
wants_reply(const struct fuse_in_header *h)
{
	return !fuse_request_is_oneway(h->opcode) && h->unique != 0;
}

/* What is to be there before the reply, which is in fs->out from start on. */
static void
insert_early(struct fs *fs, size_t start)
{
	size_t n = fs->early.len, len = fs->out.len - start;

	if (n == 0)
		return;
	buf_reserve(&fs->out, n);
	buf_commit(&fs->out, n);
	memmove(fs->out.data + start + n, fs->out.data + start, len);
	memcpy(fs->out.data + start, fs->early.data, n);
	buf_clear(&fs->early);
}

static void
append_notes(struct fs *fs)
{
	if (fs->ready)
		buf_append(&fs->out, fs->notes.data, fs->notes.len);
	buf_clear(&fs->notes);
}

size_t
reply_begin(struct fs *fs)
{
	struct fuse_out_header h = {0};
	size_t start = fs->out.len;

	buf_append(&fs->out, &h, sizeof(h));
	return start;
}

void
reply_end(struct fs *fs, size_t start, uint64_t unique, int error)
{
	struct fuse_out_header h = {.error = error < 0 ? error : 0, .unique = unique};

	if (error < 0)
		fs->out.len = start + sizeof(h);
	h.len = (uint32_t)(fs->out.len - start);
	memcpy(fs->out.data + start, &h, sizeof(h));
	journal_answered(fs, fs->out.data + start, h.len);
	fuse_line_seal(&fs->out);
	insert_early(fs, start);
	append_notes(fs);
}

/* No reply is due, or it comes later. */
static void
no_reply(struct fs *fs, size_t start)
{
	fs->out.len = start;
	buf_clear(&fs->early);
	append_notes(fs);
}

int
dispatch(struct fs *fs, const uint8_t *p, size_t n)
{
	struct fuse_request r;
	int e = fuse_request_decode(p, n, &r);
	size_t start = fs->out.len;

	fs->taken++;
	if (!wants_reply(&r.head)) {
		/* Most is answered by now, for all but jobs and those who wait for a lock is
		 * handled in order. */
		if (e == 0 && r.head.opcode == FUSE_INTERRUPT)
			lock_interrupt(fs, r.in.interrupt.unique);
		else if (e == 0)
			run_any(fs, &r, &fs->out);
		no_reply(fs, start);
		return 0;
	}
	if (fs->doubts && restore_check(fs, &r) == RESTORE_REPLIED)
		return 0;
	journal_request(fs, r.head.unique, r.head.opcode);
	reply_begin(fs);
	if (e == 0)
		e = run_after(fs, &r, &fs->out);
	log_debug("%s %llu '%s': %d", fuse_opcode_name(r.head.opcode),
		(unsigned long long)r.head.nodeid, r.name != NULL ? r.name : "", e);
	if (e == OP_LATER) {
		journal_request(fs, 0, 0);
		no_reply(fs, start);
	} else {
		reply_end(fs, start, r.head.unique, e);
	}
	return 0;
}
