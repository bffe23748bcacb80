/* The fs role's server through a fake kernel: files, and what is of no file. */
#include <linux/falloc.h>
#include <sys/xattr.h>

#include "fake_kernel.h"

#define ROOT FUSE_ROOT_ID

static void
test_init(void **state)
{
	struct fk *k = *state;
	/* EXPLICIT_INVAL_DATA: coherence_tell_asked relies on a new size to have the pages dropped.
	 */
	uint32_t never = FUSE_EXPLICIT_INVAL_DATA | FUSE_WRITEBACK_CACHE | FUSE_AUTO_INVAL_DATA |
			 FUSE_POSIX_ACL | FUSE_EXPORT_SUPPORT | FUSE_DONT_MASK;
	uint32_t always = FUSE_ATOMIC_O_TRUNC | FUSE_DO_READDIRPLUS | FUSE_MAX_PAGES |
			  FUSE_PARALLEL_DIROPS | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS;

	assert_int_equal(k->init.major, 7);
	assert_int_equal(k->init.minor, FUSE_KERNEL_MINOR_VERSION);
	assert_int_equal(k->init.flags & never, 0);
	assert_int_equal(k->init.flags & always, always);
	assert_int_equal(k->init.max_write, FUSE_WIRE_IO_MAX);
	/* More than the kernel has by now: the pump raises that. */
	assert_int_equal(k->init.max_readahead, FUSE_WIRE_IO_MAX);
	assert_int_equal(k->init.time_gran, 1);
	/* Too old a kernel is told so. */
	assert_int_equal(
		fk_call(k, FUSE_INIT, 0, FK_IN(fuse_init_in, .major = 7, .minor = 30), NULL, 0),
		-EPROTO);
}

static void
test_create_write_read(void **state)
{
	struct fk *k = *state;
	struct fuse_attr a;
	struct fk_made f;

	assert_int_equal(fk_create(k, ROOT, "f", O_RDWR | O_EXCL, 0640, &f), 0);
	assert_int_equal(fk_write(k, f.id, f.fh, 0, "hello", O_RDWR), 5);
	assert_int_equal(fk_write(k, f.id, f.fh, 5, " world", O_RDWR), 6);
	assert_int_equal(fk_read(k, f.id, f.fh, 0, 4096), 11);
	assert_memory_equal(k->body.data, "hello world", 11);
	assert_int_equal(fk_read(k, f.id, f.fh, 6, 3), 3);
	assert_memory_equal(k->body.data, "wor", 3);
	assert_int_equal(fk_read(k, f.id, f.fh, 1000, 10), 0);
	fk_host_is(k, "f", "hello world");
	assert_int_equal(fk_getattr(k, f.id, &a), 0);
	assert_int_equal(a.size, 11);
	assert_int_equal(a.mode, S_IFREG | 0640);
	assert_int_equal(a.uid, FK_UID);
	assert_int_equal(a.gid, FK_UID);
	assert_int_equal(a.ino, fk_host_stat(k, "f").st_ino);
	assert_int_equal(a.blocks, fk_host_stat(k, "f").st_blocks);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	assert_int_equal(fk_read(k, f.id, f.fh, 0, 1), -EBADF);
	assert_int_equal(fk_create(k, ROOT, "f", O_RDWR | O_EXCL, 0640, &f), -EEXIST);
}

/* Git makes its objects 0444 and then writes them; only the creating handle can. */
static void
take_replies(struct fk *k, size_t n)
{
	while (n > 0) {
		CLEAN_BUF struct buf m = BUF_INIT;
		struct fuse_out_header h;

		fk_message(k, &m);
		memcpy(&h, m.data, sizeof(h));
		assert_int_equal(h.error < 0 ? h.error : 0, 0);
		n -= h.unique != 0;
	}
}

/* A large write is a thread's; a small one, done at once otherwise, keeps its place behind it. */
static void
test_writes_keep_their_order(void **state)
{
	static char large[1 << 20];
	struct fk *k = *state;
	struct fk_made f;
	char found[2];
	CLEAN_CLOSE int fd = -1;

	memset(large, 'a', sizeof(large));
	assert_int_equal(fk_create(k, ROOT, "f", O_WRONLY, 0644, &f), 0);
	fd = openat(k->rootfd, "f", O_RDONLY | O_CLOEXEC);
	for (int n = 0; n < 50; n++) {
		fk_send(k, FUSE_WRITE, f.id,
			FK_IN(fuse_write_in, .fh = f.fh, .size = sizeof(large)), large,
			sizeof(large));
		fk_send(k, FUSE_WRITE, f.id, FK_IN(fuse_write_in, .fh = f.fh, .size = 2), "bb", 2);
		take_replies(k, 2);
		assert_int_equal(pread(fd, found, 2, 0), 2);
		assert_memory_equal(found, "bb", 2);
	}
}

static void
test_create_read_only(void **state)
{
	struct fk *k = *state;
	struct fk_made f;

	assert_int_equal(fk_create(k, ROOT, "object", O_WRONLY, 0444, &f), 0);
	assert_int_equal(fk_write(k, f.id, f.fh, 0, "x", O_WRONLY), 1);
	assert_int_equal(fk_write(k, f.id, f.fh, 1, "y", O_WRONLY), 1);
	fk_host_is(k, "object", "xy");
	assert_int_equal(fk_host_stat(k, "object").st_mode, S_IFREG | 0444);
}

static void
test_open_flags(void **state)
{
	struct fk *k = *state;
	int64_t id, fh;

	fk_host_file(k, "f", "content");
	id = fk_lookup(k, ROOT, "f");
	assert_true(id > 1);
	fh = fk_open(k, (uint64_t)id, O_RDONLY);
	assert_true(fh >= 0);
	assert_int_equal(fk_write(k, (uint64_t)id, (uint64_t)fh, 0, "x", 0), -EBADF);
	fh = fk_open(k, (uint64_t)id, O_WRONLY | O_TRUNC);
	assert_true(fh >= 0);
	fk_host_is(k, "f", "");
	assert_int_equal(fk_open(k, (uint64_t)id, O_ACCMODE), -EINVAL);
	assert_int_equal(fk_open(k, ROOT, O_RDONLY), -EINVAL);
}

/* Whatever the guest thinks the size is: O_APPEND goes to the end that the host has. */
static void
test_append(void **state)
{
	struct fk *k = *state;
	struct fk_made f;

	assert_int_equal(fk_create(k, ROOT, "log", O_WRONLY | O_APPEND, 0644, &f), 0);
	assert_int_equal(fk_write(k, f.id, f.fh, 0, "one\n", O_APPEND), 4);
	fk_host_file(k, "log", "one\nhost\n");
	assert_int_equal(fk_write(k, f.id, f.fh, 4, "two\n", O_APPEND), 4);
	fk_host_is(k, "log", "one\nhost\ntwo\n");
	/* Pages of a mapping are written where they belong. */
	assert_int_equal(fk_call(k, FUSE_WRITE, f.id,
				 FK_IN(fuse_write_in, .fh = f.fh, .offset = 0, .size = 3,
					 .flags = O_APPEND, .write_flags = FUSE_WRITE_CACHE),
				 "ONE", 3),
		0);
	fk_host_is(k, "log", "ONE\nhost\ntwo\n");
}

static void
test_open_unlinked(void **state)
{
	struct fk *k = *state;
	struct fuse_attr a;
	struct fk_made f;
	int64_t fh;

	assert_int_equal(fk_create(k, ROOT, "f", O_RDWR, 0644, &f), 0);
	assert_int_equal(fk_name(k, FUSE_UNLINK, ROOT, "f"), 0);
	assert_false(fk_host_has(k, "f"));
	assert_int_equal(fk_write(k, f.id, f.fh, 0, "still here", O_RDWR), 10);
	assert_int_equal(fk_read(k, f.id, f.fh, 0, 100), 10);
	assert_int_equal(fk_getattr(k, f.id, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(a.size, 10);
	/* chmod and truncate by the inode, and a new open of it (/proc/self/fd in the guest) */
	assert_int_equal(fk_call(k, FUSE_SETATTR, f.id,
				 FK_IN(fuse_setattr_in, .valid = FATTR_MODE | FATTR_SIZE,
					 .mode = 0600, .size = 5),
				 NULL, 0),
		0);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	fh = fk_open(k, f.id, O_RDONLY);
	assert_true(fh >= 0);
	assert_int_equal(fk_read(k, f.id, (uint64_t)fh, 0, 100), 5);
	assert_int_equal(fk_release(k, f.id, (uint64_t)fh), 0);
	fk_forget(k, f.id, 1);
	assert_int_equal(fk_getattr(k, f.id, NULL), -ESTALE);
}

static void
test_tmpfile(void **state)
{
	struct fk *k = *state;
	struct fuse_entry_out eo;
	struct fuse_open_out oo;

	assert_int_equal(
		fk_call(k, FUSE_TMPFILE, ROOT,
			FK_IN(fuse_create_in, .flags = O_RDWR, .mode = S_IFREG | 0600), "/", 2),
		0);
	memcpy(&eo, k->body.data, sizeof(eo));
	memcpy(&oo, k->body.data + sizeof(eo), sizeof(oo));
	assert_int_equal(fk_write(k, eo.nodeid, oo.fh, 0, "tmp", O_RDWR), 3);
	assert_int_equal(
		fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, eo.nodeid), "named", 6), 0);
	fk_host_is(k, "named", "tmp");
}

static void
test_setattr(void **state)
{
	struct fk *k = *state;
	struct fuse_setattr_in in = {.valid = FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_ATIME |
					      FATTR_MTIME | FATTR_SIZE,
		.mode = 0751,
		.uid = 77,
		.gid = 78,
		.atime = 1234567890,
		.atimensec = 111222333,
		.mtime = (uint64_t)-5,
		.mtimensec = 987654321,
		.size = 3};
	struct fuse_attr a;
	struct stat st;
	uint64_t id;

	fk_host_file(k, "f", "content");
	id = fk_walk(k, "f");
	assert_int_equal(fk_call(k, FUSE_SETATTR, id, &in, sizeof(in), NULL, 0), 0);
	a = FK_OUT(k, fuse_attr_out).attr;
	assert_int_equal(a.mode, S_IFREG | 0751);
	assert_int_equal(a.uid, FK_UID); /* chown succeeds and changes nothing */
	assert_int_equal(a.size, 3);
	assert_int_equal(a.atime, 1234567890);
	assert_int_equal(a.atimensec, 111222333);
	assert_int_equal((int64_t)a.mtime, -5);
	assert_int_equal(a.mtimensec, 987654321);
	st = fk_host_stat(k, "f");
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(st.st_mtim.tv_nsec, 987654321);
	fk_host_is(k, "f", "con");
}

/* A file without any right must be given one again. */
static void
test_chmod_of_nothing(void **state)
{
	struct fk *k = *state;
	struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = 0};
	uint64_t id;

	fk_host_file(k, "f", "");
	id = fk_walk(k, "f");
	assert_int_equal(fk_call(k, FUSE_SETATTR, id, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(fk_host_stat(k, "f").st_mode, S_IFREG);
	in.mode = 0644;
	assert_int_equal(fk_call(k, FUSE_SETATTR, id, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(fk_host_stat(k, "f").st_mode, S_IFREG | 0644);
}

static int
xattr_set(struct fk *k, uint64_t id, const char *name, const char *value, uint32_t flags)
{
	char b[512];
	uint32_t in[2] = {(uint32_t)strlen(value), flags};
	size_t n = strlen(name) + 1;

	memcpy(b, name, n);
	memcpy(b + n, value, in[0]);
	return fk_call(k, FUSE_SETXATTR, id, in, sizeof(in), b, n + in[0]);
}

static int
xattr_get(struct fk *k, uint64_t id, const char *name, uint32_t size)
{
	return fk_call(k, FUSE_GETXATTR, id, FK_IN(fuse_getxattr_in, size), name, strlen(name) + 1);
}

static void
test_xattrs(void **state)
{
	struct fk *k = *state;
	uint64_t id;

	fk_host_file(k, "f", "");
	id = fk_walk(k, "f");
	assert_int_equal(xattr_set(k, id, "user.a", "value", XATTR_CREATE), 0);
	assert_int_equal(xattr_set(k, id, "user.a", "value", XATTR_CREATE), -EEXIST);
	assert_int_equal(xattr_set(k, id, "user.b", "v", XATTR_REPLACE), -ENODATA);
	assert_int_equal(xattr_get(k, id, "user.a", 0), 0);
	assert_int_equal(FK_OUT(k, fuse_getxattr_out).size, 5);
	assert_int_equal(xattr_get(k, id, "user.a", 100), 0);
	assert_int_equal(k->body.len, 5);
	assert_memory_equal(k->body.data, "value", 5);
	assert_int_equal(xattr_get(k, id, "user.a", 3), -ERANGE);
	assert_int_equal(fk_call(k, FUSE_LISTXATTR, id, FK_IN(fuse_getxattr_in, 100), NULL, 0), 0);
	assert_int_equal(k->body.len, 7);
	assert_memory_equal(k->body.data, "user.a", 7);
	assert_int_equal(
		fk_call(k, FUSE_LISTXATTR, id, FK_IN(fuse_getxattr_in, 3), NULL, 0), -ERANGE);
	assert_int_equal(fk_name(k, FUSE_REMOVEXATTR, id, "user.a"), 0);
	assert_int_equal(xattr_get(k, id, "user.a", 100), -ENODATA);
	assert_int_equal(fk_call(k, FUSE_LISTXATTR, id, FK_IN(fuse_getxattr_in, 0), NULL, 0), 0);
	assert_int_equal(FK_OUT(k, fuse_getxattr_out).size, 0);
}

static void
test_sizes(void **state)
{
	struct fk *k = *state;
	struct fk_made f, g;

	assert_int_equal(fk_create(k, ROOT, "f", O_RDWR, 0644, &f), 0);
	assert_int_equal(fk_call(k, FUSE_FALLOCATE, f.id,
				 FK_IN(fuse_fallocate_in, .fh = f.fh, .length = 1 << 20), NULL, 0),
		0);
	assert_int_equal(fk_host_stat(k, "f").st_size, 1 << 20);
	assert_int_equal(fk_call(k, FUSE_FALLOCATE, f.id,
				 FK_IN(fuse_fallocate_in, .fh = f.fh, .length = 1 << 20,
					 .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
				 NULL, 0),
		0);
	assert_int_equal(fk_host_stat(k, "f").st_blocks, 0);
	assert_int_equal(fk_write(k, f.id, f.fh, 65536, "data", 0), 4);
	assert_int_equal(fk_call(k, FUSE_LSEEK, f.id,
				 FK_IN(fuse_lseek_in, .fh = f.fh, .offset = 0, .whence = SEEK_DATA),
				 NULL, 0),
		0);
	assert_int_equal(FK_OUT(k, fuse_lseek_out).offset, 65536);
	assert_int_equal(
		fk_call(k, FUSE_LSEEK, f.id,
			FK_IN(fuse_lseek_in, .fh = f.fh, .offset = 1 << 21, .whence = SEEK_DATA),
			NULL, 0),
		-ENXIO);
	assert_int_equal(fk_create(k, ROOT, "g", O_RDWR, 0644, &g), 0);
	assert_int_equal(fk_call(k, FUSE_COPY_FILE_RANGE, f.id,
				 FK_IN(fuse_copy_file_range_in, .fh_in = f.fh, .off_in = 65536,
					 .nodeid_out = g.id, .fh_out = g.fh, .len = 4),
				 NULL, 0),
		0);
	assert_int_equal(FK_OUT(k, fuse_write_out).size, 4);
	fk_host_is(k, "g", "data");
	assert_int_equal(fk_call(k, FUSE_FSYNC, f.id, FK_IN(fuse_fsync_in, f.fh, 1), NULL, 0), 0);
}

static void
test_statfs_and_constants(void **state)
{
	struct fk *k = *state;

	assert_int_equal(fk_call(k, FUSE_STATFS, ROOT, NULL, 0, NULL, 0), 0);
	assert_int_equal(FK_OUT(k, fuse_statfs_out).st.namelen, 255);
	assert_true(FK_OUT(k, fuse_statfs_out).st.blocks > 0);
	assert_int_equal(fk_call(k, FUSE_IOCTL, ROOT, FK_IN(fuse_ioctl_in, 0), NULL, 0), -ENOTTY);
	assert_int_equal(fk_call(k, FUSE_POLL, ROOT, FK_IN(fuse_poll_in, 0), NULL, 0), -ENOSYS);
	assert_int_equal(fk_call(k, FUSE_ACCESS, ROOT, FK_IN(fuse_access_in, 4), NULL, 0), -ENOSYS);
	assert_int_equal(fk_call(k, FUSE_FLUSH, ROOT, FK_IN(fuse_flush_in, 0), NULL, 0), 0);
	assert_int_equal(fk_call(k, 52, ROOT, NULL, 0, NULL, 0), -ENOSYS);
}

/* INTERRUPT has no answer; what follows is answered as ever. */
static void
test_interrupt(void **state)
{
	struct fk *k = *state;

	fk_send(k, FUSE_INTERRUPT, 0, FK_IN(fuse_interrupt_in, 2), NULL, 0);
	assert_int_equal(fk_getattr(k, ROOT, NULL), 0);
}

static void
test_forget(void **state)
{
	struct fk *k = *state;
	struct fuse_forget_one f[2];
	uint64_t a, b;

	fk_host_file(k, "a", "");
	fk_host_file(k, "b", "");
	a = fk_walk(k, "a");
	b = fk_walk(k, "b");
	assert_int_equal(fk_walk(k, "b"), b);
	f[0] = (struct fuse_forget_one){a, 1};
	f[1] = (struct fuse_forget_one){b, 1};
	fk_send(k, FUSE_BATCH_FORGET, 0, FK_IN(fuse_batch_forget_in, 2), f, sizeof(f));
	assert_int_equal(fk_getattr(k, a, NULL), -ESTALE);
	assert_int_equal(fk_getattr(k, b, NULL), 0); /* one reference is left */
	assert_int_not_equal(fk_walk(k, "a"), a);    /* ids are never used again */
	fk_forget(k, b, UINT64_MAX);                 /* more than there are */
	assert_int_equal(fk_getattr(k, b, NULL), -ESTALE);
	fk_forget(k, ROOT, UINT64_MAX);
	assert_int_equal(fk_getattr(k, ROOT, NULL), 0);
}

/* A guest that starts over: everything from before is gone, the server is not. */
static void
test_init_again(void **state)
{
	struct fk *k = *state;
	struct fk_made f;

	assert_int_equal(fk_create(k, ROOT, "f", O_RDWR, 0644, &f), 0);
	assert_int_equal(fk_mkdir(k, ROOT, "d", 0755), 0);
	fk_walk(k, "d");
	fk_lookup(k, ROOT, "nothing");
	assert_int_equal(fk_init(k), 0);
	assert_int_equal(fk_getattr(k, f.id, NULL), -ESTALE);
	assert_int_equal(fk_read(k, f.id, f.fh, 0, 1), -ESTALE);
	assert_int_not_equal(fk_walk(k, "f"), f.id);
	assert_int_equal(fk_call(k, FUSE_DESTROY, 0, NULL, 0, NULL, 0), 0);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fk_setup, fk_teardown)
	const struct CMUnitTest tests[] = {
		T(test_init),
		T(test_create_write_read),
		T(test_writes_keep_their_order),
		T(test_create_read_only),
		T(test_open_flags),
		T(test_append),
		T(test_open_unlinked),
		T(test_tmpfile),
		T(test_setattr),
		T(test_chmod_of_nothing),
		T(test_xattrs),
		T(test_sizes),
		T(test_statfs_and_constants),
		T(test_interrupt),
		T(test_forget),
		T(test_init_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
