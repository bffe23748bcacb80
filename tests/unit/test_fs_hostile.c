/* The attack rows F of the fs role: a hostile kernel in the guest, and hostile workspaces. Beside
 * each refusal stands the same request, allowed, that works. */
#include <linux/fs.h>
#include <pthread.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "fake_kernel.h"

#define ROOT FUSE_ROOT_ID

static void
outside_file(const struct fk *k)
{
	CLEAN_CLOSE int fd =
		openat(k->dirfd, "outside/secret", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "secret", 6), 6);
}

static void
outside_is_whole(const struct fk *k)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct stat st;

	assert_int_equal(io_read_file(k->dirfd, "outside/secret", 100, &b, NULL), 0);
	assert_string_equal(buf_str(&b), "secret");
	assert_int_equal(fstatat(k->dirfd, "outside/secret", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(fstatat(k->dirfd, "outside", &st, 0), 0);
	assert_int_equal(st.st_nlink, 2);
}

/* F1, F16: a symlink is a symlink, wherever it points: it is the guest's to follow. */
static void
test_symlinks_are_not_followed(void **state)
{
	static const char *const target[] = {"../outside/secret", "/etc/passwd", "/proc/self/root",
		"/proc/self/fd/0", "../outside"};
	struct fk *k = *state;

	outside_file(k);
	for (size_t i = 0; i < ARRAY_LEN(target); i++) {
		struct fk_made f;
		uint64_t id;

		assert_int_equal(symlinkat(target[i], k->rootfd, "link"), 0);
		id = fk_walk(k, "link");
		assert_int_equal(FK_OUT(k, fuse_entry_out).attr.mode & S_IFMT, S_IFLNK);
		assert_int_equal(fk_open(k, id, O_RDONLY), -EINVAL);
		assert_int_equal(fk_open(k, id, O_WRONLY | O_TRUNC), -EINVAL);
		assert_int_equal(
			fk_call(k, FUSE_OPENDIR, id, FK_IN(fuse_open_in, 0), NULL, 0), -ENOTDIR);
		assert_int_equal(fk_lookup(k, id, "secret"), -ENOTDIR);
		assert_int_equal(fk_create(k, id, "new", O_RDWR, 0644, &f), -ENOTDIR);
		assert_int_equal(fk_mkdir(k, id, "new", 0755), -ENOTDIR);
		assert_int_equal(fk_name(k, FUSE_UNLINK, id, "secret"), -ENOTDIR);
		assert_int_equal(fk_rename(k, id, "secret", ROOT, "got", 0), -ENOTDIR);
		assert_int_equal(fk_create(k, ROOT, "link", O_RDWR, 0644, &f), -ESTALE);
		assert_int_equal(fk_call(k, FUSE_SETATTR, id,
					 FK_IN(fuse_setattr_in, .valid = FATTR_SIZE), NULL, 0),
			-EINVAL);
		assert_int_equal(
			fk_call(k, FUSE_SETATTR, id,
				FK_IN(fuse_setattr_in, .valid = FATTR_MODE, .mode = 0777), NULL, 0),
			-EOPNOTSUPP);
		assert_int_equal(unlinkat(k->rootfd, "link", 0), 0);
	}
	outside_is_whole(k);
}

/* F4: names that are paths. Refused by the decoder before anything is done. */
static void
test_names_that_are_paths(void **state)
{
	static const char *const name[] = {
		"..", ".", "../outside", "../outside/secret", "/etc/passwd", "d/../..", "d/f", "/"};
	struct fk *k = *state;
	struct fk_made f;

	outside_file(k);
	assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
	fk_host_file(k, "d/f", "x");
	fk_host_file(k, "own", "x");
	for (size_t i = 0; i < ARRAY_LEN(name); i++) {
		assert_int_equal(fk_lookup(k, ROOT, name[i]), -EINVAL);
		assert_int_equal(fk_create(k, ROOT, name[i], O_RDWR, 0644, &f), -EINVAL);
		assert_int_equal(fk_name(k, FUSE_UNLINK, ROOT, name[i]), -EINVAL);
		assert_int_equal(fk_name(k, FUSE_RMDIR, ROOT, name[i]), -EINVAL);
		assert_int_equal(fk_mkdir(k, ROOT, name[i], 0755), -EINVAL);
		assert_int_equal(fk_rename(k, ROOT, "own", ROOT, name[i], 0), -EINVAL);
		assert_int_equal(fk_rename(k, ROOT, name[i], ROOT, "got", 0), -EINVAL);
	}
	assert_true(fk_lookup(k, ROOT, "own") > 0);
	assert_int_equal(fk_rename(k, ROOT, "own", ROOT, "got", 0), 0);
	outside_is_whole(k);
}

static void
test_forged_ids(void **state)
{
	struct fk *k = *state;
	struct fk_made f;
	uint64_t forged[6];

	assert_int_equal(fk_create(k, ROOT, "f", O_RDWR, 0644, &f), 0);
	forged[0] = 0;
	forged[1] = 2;
	forged[2] = f.id + 1;
	forged[3] = f.id - 1;
	forged[4] = UINT64_MAX;
	forged[5] = (uint64_t)(uintptr_t)k;
	for (size_t i = 0; i < ARRAY_LEN(forged); i++) {
		assert_int_equal(fk_getattr(k, forged[i], NULL), -ESTALE);
		assert_int_equal(fk_lookup(k, forged[i], "f"), -ESTALE);
		assert_int_equal(fk_open(k, forged[i], O_RDONLY), -ESTALE);
		assert_int_equal(fk_rename(k, ROOT, "f", forged[i], "g", 0), -ESTALE);
		assert_int_equal(
			fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, forged[i]), "g", 2),
			-ESTALE);
		fk_forget(k, forged[i], 1);
	}
	assert_int_equal(fk_getattr(k, f.id, NULL), 0);
}

static void
test_forged_handles(void **state)
{
	struct fk *k = *state;
	struct fk_made a, b;
	uint64_t forged[5];

	assert_int_equal(fk_create(k, ROOT, "a", O_RDWR, 0644, &a), 0);
	assert_int_equal(fk_create(k, ROOT, "b", O_RDWR, 0644, &b), 0);
	forged[0] = 0;
	forged[1] = a.fh + 1;
	forged[2] = a.fh ^ (1ULL << 32);
	forged[3] = UINT64_MAX;
	forged[4] = b.fh; /* a real one, of another file */
	for (size_t i = 0; i < ARRAY_LEN(forged); i++) {
		assert_int_equal(fk_read(k, a.id, forged[i], 0, 10), -EBADF);
		assert_int_equal(fk_write(k, a.id, forged[i], 0, "x", 0), -EBADF);
		assert_int_equal(fk_release(k, a.id, forged[i]), -EBADF);
		assert_int_equal(
			fk_call(k, FUSE_READDIR, ROOT,
				FK_IN(fuse_read_in, .fh = forged[i], .size = 4096), NULL, 0),
			-EBADF);
		assert_int_equal(fk_call(k, FUSE_COPY_FILE_RANGE, a.id,
					 FK_IN(fuse_copy_file_range_in, .fh_in = a.fh,
						 .nodeid_out = a.id, .fh_out = forged[i], .len = 1),
					 NULL, 0),
			-EBADF);
	}
	assert_int_equal(fk_write(k, a.id, a.fh, 0, "x", 0), 1);
	fk_host_is(k, "b", "");
}

/* F8: no set-ID bits on files, no attributes outside user.*. */
static void
test_no_privileges(void **state)
{
	static const char *const name[] = {"security.capability", "security.selinux", "trusted.x",
		"system.posix_acl_access", "user", "user.", "USER.x", "x"};
	struct fk *k = *state;
	struct fk_made f;
	struct stat st;

	assert_int_equal(fk_create(k, ROOT, "f", O_RDWR, 06755, &f), 0);
	assert_int_equal(fstatat(k->rootfd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0755);
	assert_int_equal(
		fk_call(k, FUSE_SETATTR, f.id,
			FK_IN(fuse_setattr_in, .valid = FATTR_MODE, .mode = 06711), NULL, 0),
		0);
	assert_int_equal(fstatat(k->rootfd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0711);
	assert_int_equal(
		fk_call(k, FUSE_MKNOD, ROOT, FK_IN(fuse_mknod_in, .mode = S_IFREG | 04755), "g", 2),
		0);
	assert_int_equal(fstatat(k->rootfd, "g", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0755);
	for (size_t i = 0; i < ARRAY_LEN(name); i++) {
		uint32_t in[2] = {0, 0};

		assert_int_equal(fk_call(k, FUSE_SETXATTR, f.id, in, sizeof(in), name[i],
					 strlen(name[i]) + 1),
			-EOPNOTSUPP);
		assert_int_equal(fk_call(k, FUSE_GETXATTR, f.id, FK_IN(fuse_getxattr_in, 100),
					 name[i], strlen(name[i]) + 1),
			-EOPNOTSUPP);
		assert_int_equal(fk_name(k, FUSE_REMOVEXATTR, f.id, name[i]), -EOPNOTSUPP);
	}
}

/* A set-ID file of the host's own is shown without the bits. */
static void
test_set_id_is_not_shown(void **state)
{
	struct fk *k = *state;

	fk_host_file(k, "f", "");
	assert_int_equal(fchmodat(k->rootfd, "f", 04755, 0), 0);
	fk_walk(k, "f");
	assert_int_equal(FK_OUT(k, fuse_entry_out).attr.mode, S_IFREG | 0755);
}

/* F7: a FIFO or device of the host's is never opened: a FIFO would block, a device would act. */
static void
test_special_files_are_not_opened(void **state)
{
	struct fk *k = *state;
	struct fk_made f;
	uint64_t id;

	assert_int_equal(mkfifoat(k->rootfd, "fifo", 0666), 0);
	id = fk_walk(k, "fifo");
	assert_int_equal(fk_open(k, id, O_RDONLY), -EINVAL);
	assert_int_equal(fk_open(k, id, O_RDWR), -EINVAL);
	assert_int_equal(fk_create(k, ROOT, "fifo", O_RDWR, 0644, &f), -ESTALE);
	assert_int_equal(
		fk_call(k, FUSE_SETATTR, id, FK_IN(fuse_setattr_in, .valid = FATTR_SIZE), NULL, 0),
		-EINVAL);
	assert_int_equal(fk_call(k, FUSE_SYNCFS, id, "\0\0\0\0\0\0\0\0", 8, NULL, 0), -EINVAL);
	if (mknodat(k->rootfd, "zero", S_IFCHR | 0666, makedev(1, 5)) == 0) {
		id = fk_walk(k, "zero");
		assert_int_equal(fk_open(k, id, O_RDWR), -EINVAL);
	}
}

/*
 * F5: somebody on the host swaps a folder for a symlink out of the workspace, over and over, while
 * the guest walks through it and writes below it.
 */
struct swapper {
	const struct fk *k;
	bool stop;
	unsigned swaps;
};

static void *
swap(void *arg)
{
	struct swapper *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		if (renameat2(s->k->rootfd, "d", s->k->rootfd, "link", RENAME_EXCHANGE) == 0)
			s->swaps++;
	}
	return NULL;
}

static void
test_folder_swapped_for_symlink(void **state)
{
	struct fk *k = *state;
	struct swapper s = {.k = k};
	unsigned made = 0;
	pthread_t t;

	outside_file(k);
	assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
	assert_int_equal(symlinkat("../outside", k->rootfd, "link"), 0);
	assert_int_equal(pthread_create(&t, NULL, swap, &s), 0);
	for (int i = 0; i < 3000; i++) {
		int64_t d = fk_lookup(k, ROOT, i % 2 ? "d" : "link"), id;
		struct fk_made f;

		assert_true(d >= 0 || d == -ESTALE);
		if (d <= 0)
			continue;
		if (fk_create(k, (uint64_t)d, "mine", O_RDWR, 0644, &f) == 0) {
			made++;
			fk_write(k, f.id, f.fh, 0, "x", 0);
			fk_release(k, f.id, f.fh);
			fk_name(k, FUSE_UNLINK, (uint64_t)d, "mine");
		}
		id = fk_lookup(k, (uint64_t)d, "secret");
		assert_true(id <= 0);
		fk_name(k, FUSE_UNLINK, (uint64_t)d, "secret");
		fk_call(k, FUSE_SETATTR, (uint64_t)d,
			FK_IN(fuse_setattr_in, .valid = FATTR_MODE, .mode = 0700), NULL, 0);
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	assert_true(s.swaps > 100);
	assert_true(made > 100); /* the positive control: below the real folder it works */
	outside_is_whole(k);
}

static bool
is_entry_note(const uint8_t *msg, size_t n, void *arg)
{
	struct fuse_out_header h;

	(void)n;
	memcpy(&h, msg, sizeof(h));
	return h.error == FUSE_NOTIFY_INVAL_ENTRY || (arg != NULL && h.error == FUSE_NOTIFY_DELETE);
}

/* The host moves a folder out of the workspace: a guest that does not forget it loses it too. */
static void
test_folder_moved_out(void **state)
{
	struct fk *k = *state;
	uint64_t d, sub;
	int64_t id = 0;

	assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "d/sub", 0755), 0);
	fk_host_file(k, "d/sub/f", "x");
	d = fk_walk(k, "d");
	sub = fk_walk(k, "d/sub");
	assert_true(fk_lookup(k, sub, "f") > 0);
	assert_int_equal(renameat(k->rootfd, "d", k->dirfd, "outside/d"), 0);
	assert_true(fk_wait_note(k, is_entry_note, NULL, FK_WAIT_MS));
	id = fk_lookup(k, sub, "f");
	assert_int_equal(id, -ESTALE);
	assert_int_equal(fk_mkdir(k, d, "new", 0755), -ESTALE);
	assert_int_equal(fk_mkdir(k, sub, "new", 0755), -ESTALE);
	/* Moved back, it is found again. */
	assert_int_equal(renameat(k->dirfd, "outside/d", k->rootfd, "d"), 0);
	assert_int_equal(fk_walk(k, "d/sub"), sub);
	assert_int_equal(fk_mkdir(k, sub, "new", 0755), 0);
}

/* F17: a new file that got the number of a deleted one is another file. */
static void
test_number_used_again(void **state)
{
	struct fk *k = *state;
	struct stat a, b;
	uint64_t old, new;

	fk_host_file(k, "f", "old");
	assert_int_equal(fstatat(k->rootfd, "f", &a, 0), 0);
	old = fk_walk(k, "f");
	for (int i = 0; i < 50; i++) {
		assert_int_equal(unlinkat(k->rootfd, "f", 0), 0);
		fk_host_file(k, "f", "new");
		assert_int_equal(fstatat(k->rootfd, "f", &b, 0), 0);
		if (a.st_ino == b.st_ino)
			break;
	}
	new = fk_walk(k, "f");
	assert_int_not_equal(old, new);
	assert_int_equal(fk_open(k, old, O_RDONLY), -ESTALE);
	assert_int_equal(fk_getattr(k, old, NULL), -ESTALE);
	assert_true(fk_open(k, new, O_RDONLY) >= 0);
}

/* The first time nobody knew what would happen; then the server holds on to the old file itself. */
static void
is_gone(int round, int64_t e)
{
	if (round == 0)
		assert_int_equal(e, -ESTALE);
}

/* A name that leads to another file by now, of which no event has told yet. */
static void
test_replaced_unnoticed(void **state)
{
	struct fk *k = *state;
	uint64_t id, d, sub;
	struct stat st;

	for (int i = 0; i < 20; i++) {
		fk_host_file(k, "f", "old");
		fk_host_file(k, "g", "new");
		assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
		assert_int_equal(mkdirat(k->rootfd, "d/sub", 0755), 0);
		id = fk_walk(k, "f");
		d = fk_walk(k, "d");
		sub = fk_walk(k, "d/sub");
		assert_int_equal(fk_getattr(k, id, NULL), 0);
		assert_int_equal(renameat(k->rootfd, "g", k->rootfd, "f"), 0);
		is_gone(i, fk_open(k, id, O_WRONLY | O_TRUNC));
		is_gone(i, fk_getattr(k, id, NULL));
		is_gone(i,
			fk_call(k, FUSE_SETATTR, id,
				FK_IN(fuse_setattr_in, .valid = FATTR_MODE, .mode = 0), NULL, 0));
		assert_true(fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, id), "l", 2) < 0);
		fk_host_is(k, "f", "new");
		assert_int_equal(fstatat(k->rootfd, "f", &st, 0), 0);
		assert_int_equal(st.st_mode, S_IFREG | 0644);
		assert_int_equal(unlinkat(k->rootfd, "d/sub", AT_REMOVEDIR), 0);
		fk_host_file(k, "d/sub", "a file now");
		assert_true(fk_lookup(k, sub, "x") <= 0);
		assert_true(fk_walk(k, "d") == d);
		assert_int_equal(unlinkat(k->rootfd, "d/sub", 0), 0);
		assert_int_equal(unlinkat(k->rootfd, "d", AT_REMOVEDIR), 0);
	}
}

/* F11: more open files than there may be: the guest gets EMFILE, the server lives. */
static void
test_too_many_open_files(void **state)
{
	struct fk *k = *state;
	int64_t fh, last = 0;
	unsigned n = 0;
	uint64_t id;

	fk_stop(k);
	fk_start(k, 256);
	fk_host_file(k, "f", "x");
	id = fk_walk(k, "f");
	while ((fh = fk_open(k, id, O_RDONLY)) >= 0 && n++ < 300)
		last = fh;
	assert_int_equal(fh, -EMFILE);
	assert_true(n > 100);
	/* A file that cannot be opened is not made either. */
	struct fk_made f;
	assert_int_equal(fk_create(k, ROOT, "new", O_RDWR, 0644, &f), -EMFILE);
	assert_int_equal(faccessat(k->rootfd, "new", F_OK, 0), -1);
	/* Names still work, below new folders too. */
	assert_int_equal(fk_mkdir(k, ROOT, "d", 0755), 0);
	assert_int_equal(fk_mkdir(k, fk_walk(k, "d"), "e", 0755), 0);
	assert_int_equal(fk_lookup(k, fk_walk(k, "d/e"), "f"), 0);
	assert_int_equal(fk_release(k, id, (uint64_t)last), 0);
	assert_true(fk_open(k, id, O_RDONLY) >= 0);
}

/* A deep tree, with a server that may hold few descriptors: folders are reopened as needed. */
static void
test_deep_tree(void **state)
{
	enum { DEPTH = 400 };
	struct fk *k = *state;
	uint64_t ids[DEPTH], at = ROOT;
	struct fk_made f;

	fk_stop(k);
	fk_start(k, 256);
	for (int i = 0; i < DEPTH; i++) {
		assert_int_equal(fk_mkdir(k, at, "d", 0755), 0);
		at = ids[i] = FK_OUT(k, fuse_entry_out).nodeid;
	}
	assert_int_equal(fk_create(k, ids[0], "top", O_RDWR, 0644, &f), 0);
	assert_int_equal(fk_create(k, at, "bottom", O_RDWR, 0644, &f), 0);
	assert_int_equal(fk_write(k, f.id, f.fh, 0, "x", 0), 1);
	/* Forgotten from the top down, against all custom. */
	for (int i = 0; i < DEPTH; i++)
		fk_forget(k, ids[i], 1);
	assert_int_equal(fk_write(k, f.id, f.fh, 0, "y", 0), 1);
	assert_int_equal(fk_getattr(k, ids[5], NULL), -ESTALE);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	assert_int_equal(fk_getattr(k, f.id, NULL), 0);
	fk_forget(k, f.id, 1);
	assert_int_equal(fk_getattr(k, ROOT, NULL), 0);
}

/* F13, H8: a length that no message has ends the service, in good order. */
static void
test_impossible_length(void **state)
{
	static const uint32_t bad[] = {0, 39, FUSE_WIRE_MSG_MAX + 1, UINT32_MAX};
	struct fk *k = *state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct fuse_in_header h = {.len = bad[i], .opcode = FUSE_GETATTR, .nodeid = ROOT};
		char c;

		assert_int_equal(fk_getattr(k, ROOT, NULL), 0);
		assert_int_equal(
			io_write_full(k->sock, &h, sizeof(h), deadline_in_ms(FK_WAIT_MS)), 0);
		assert_int_equal(io_read_full(k->sock, &c, 1, deadline_in_ms(FK_WAIT_MS)), -EPIPE);
		assert_int_equal(fk_stop(k), 1);
		fk_start(k, 0);
	}
}

/* One byte at a time, and several messages in one write. */
static void
test_pieces(void **state)
{
	struct fk *k = *state;
	struct fuse_in_header h = {.len = sizeof(h) + 4, .opcode = FUSE_LOOKUP, .nodeid = ROOT};
	CLEAN_BUF struct buf b = BUF_INIT;

	fk_host_file(k, "abc", "");
	h.unique = k->unique += 2;
	buf_append(&b, &h, sizeof(h));
	buf_append(&b, "abc", 4);
	for (size_t i = 0; i < b.len; i++)
		assert_int_equal(
			io_write_full(k->sock, b.data + i, 1, deadline_in_ms(FK_WAIT_MS)), 0);
	assert_int_equal(fk_answer(k), 0);
	buf_clear(&b);
	for (int i = 0; i < 1000; i++) {
		h.unique += 2;
		buf_append(&b, &h, sizeof(h));
		buf_append(&b, "abc", 4);
	}
	assert_int_equal(io_write_full(k->sock, b.data, b.len, deadline_in_ms(FK_WAIT_MS)), 0);
	for (int i = 0; i < 1000; i++) {
		k->unique += 2;
		assert_int_equal(fk_answer(k), 0);
	}
}

/* A guest that asks and never listens: the server stops reading instead of growing. */
static void
test_guest_that_does_not_listen(void **state)
{
	struct fk *k = *state;
	struct fk_made f;
	struct fuse_in_header h = {
		.len = sizeof(h) + sizeof(struct fuse_read_in), .opcode = FUSE_READ};
	struct fuse_read_in in = {.size = FUSE_WIRE_IO_MAX};
	unsigned sent = 0;
	char statm[64];
	unsigned long pages, resident;
	CLEAN_FCLOSE FILE *s = NULL;

	assert_int_equal(fk_create(k, ROOT, "big", O_RDWR, 0644, &f), 0);
	assert_int_equal(ftruncate(openat(k->rootfd, "big", O_WRONLY | O_CLOEXEC), 8 << 20), 0);
	h.nodeid = f.id;
	in.fh = f.fh;
	io_set_nonblock(k->sock, true);
	for (;;) {
		uint8_t m[sizeof(h) + sizeof(in)];
		struct pollfd p = {k->sock, POLLOUT, 0};

		h.unique = k->unique += 2;
		memcpy(m, &h, sizeof(h));
		memcpy(m + sizeof(h), &in, sizeof(in));
		if (poll(&p, 1, 300) != 1 || sent > 100000)
			break;
		if (write(k->sock, m, sizeof(m)) != sizeof(m))
			break;
		sent++;
	}
	assert_true(sent > 20 && sent < 100000);
	snprintf(statm, sizeof(statm), "/proc/%d/statm", (int)k->pid);
	s = fopen(statm, "re");
	assert_non_null(s);
	assert_int_equal(fscanf(s, "%lu %lu", &pages, &resident), 2);
	assert_true(resident * 4096 < 200ul << 20); /* ASan's own share is most of it */
}

static void
test_before_init(void **state)
{
	struct fk *k = *state;
	int sv[2];

	/* A second server on the same folder, not greeted. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	if (fork() == 0) {
		close(sv[0]);
		fk_serve(sv[1], k->rootfd, 0);
	}
	close(sv[1]);
	struct fk other = {.sock = sv[0]};

	assert_int_equal(fk_getattr(&other, ROOT, NULL), -EIO);
	assert_int_equal(fk_init(&other), 0);
	assert_int_equal(fk_getattr(&other, ROOT, NULL), 0);
	close(sv[0]);
	buf_release(&other.in);
	buf_release(&other.body);
	wait(NULL);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fk_setup, fk_teardown)
	const struct CMUnitTest tests[] = {
		T(test_symlinks_are_not_followed),
		T(test_names_that_are_paths),
		T(test_forged_ids),
		T(test_forged_handles),
		T(test_no_privileges),
		T(test_set_id_is_not_shown),
		T(test_special_files_are_not_opened),
		T(test_folder_swapped_for_symlink),
		T(test_folder_moved_out),
		T(test_number_used_again),
		T(test_replaced_unnoticed),
		T(test_too_many_open_files),
		T(test_deep_tree),
		T(test_impossible_length),
		T(test_pieces),
		T(test_guest_that_does_not_listen),
		T(test_before_init),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
