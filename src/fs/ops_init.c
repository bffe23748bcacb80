/* The start of a mount, and what the guest no longer needs. */
#include <errno.h>
#include <string.h>

#include <base/log.h>

#include "server.h"

/*
 * Not WRITEBACK_CACHE (the guest's kernel would own size and times, and coherence with the host
 * would end), not AUTO_INVAL_DATA (a file's pages would be dropped after each own write:
 * notifications do it), not EXPLICIT_INVAL_DATA (coherence_tell_asked relies on it that another
 * size drops the pages), not POSIX_ACL, not DONT_MASK. OPEN and OPENDIR are answered with real
 * descriptors, one message each: only they make files that lost their name, that were made
 * read-only, or that someone executes behave as on a local disk. HANDLE_KILLPRIV_V2 holds because
 * no file here ever shows set-ID bits or capabilities.
 */
#define WANTED                                                                                     \
	(FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS |           \
		FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |     \
		FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT)

#define MIN_MINOR 31 /* Linux 5.3 */

static uint32_t
min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

int
op_init(struct fs *fs, struct inode *none, const struct fuse_request *r, struct buf *out)
{
	const struct fuse_init_in *in = &r->in.init;
	struct fuse_init_out io = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		/* in->max_readahead is from before the pump has raised it, and the kernel takes the
		 * smaller of what it has by then and this. */
		.max_readahead = FUSE_WIRE_IO_MAX,
		.flags = in->flags & WANTED,
		.max_background = 64,
		.congestion_threshold = 48,
		.max_write = FUSE_WIRE_IO_MAX,
		.time_gran = 1,
		.max_pages = FUSE_WIRE_IO_MAX / 4096,
	};

	(void)none;
	if (in->major < FUSE_KERNEL_VERSION ||
		(in->major == FUSE_KERNEL_VERSION && in->minor < MIN_MINOR))
		return -EPROTO;
	/* A guest that starts over knows nothing of what it was told before. */
	if (fs->ready)
		fs_tables_reset(fs);
	/* A newer major version: our own, and the kernel asks again. */
	fs->ready = in->major == FUSE_KERNEL_VERSION;
	fs->push = fs->ready && in->unused[0] == FUSE_PUSH_MAGIC;
	journal_ready(fs);
	io.minor = min32(in->minor, FUSE_KERNEL_MINOR_VERSION);
	log_debug("INIT %u.%u flags %08x%08x, taken %08x", in->major, in->minor, in->flags2,
		in->flags, io.flags);
	buf_append(out, &io, sizeof(io));
	return 0;
}

int
op_forget(struct fs *fs, struct inode *none, const struct fuse_request *r, struct buf *out)
{
	(void)none;
	(void)out;
	inode_forget(fs, r->head.nodeid, r->in.forget.nlookup);
	return 0;
}

int
op_batch_forget(struct fs *fs, struct inode *none, const struct fuse_request *r, struct buf *out)
{
	struct fuse_forget_one one;

	(void)none;
	(void)out;
	for (size_t at = 0; at + sizeof(one) <= r->ndata; at += sizeof(one)) {
		memcpy(&one, r->data + at, sizeof(one));
		inode_forget(fs, one.nodeid, one.nlookup);
	}
	return 0;
}
