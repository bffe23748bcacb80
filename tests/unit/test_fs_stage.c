/*
 * The tree that the fs role really serves: a read-only tmpfs with workspaces bound into it, some
 * read-only, one a single file. Made in a user and mount namespace of the server's own.
 */
#include <sys/mount.h>

#include "fake_kernel.h"

#define ROOT    FUSE_ROOT_ID
#define SOON_MS 5000

static void
must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	_exit(5);
}

static void
bind_mount(const char *from, const char *to, bool read_only)
{
	must(mount(from, to, NULL, MS_BIND, NULL) == 0, to);
	if (read_only)
		must(mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV,
			     NULL) == 0,
			to);
}

static void
make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	must(fd >= 0, path);
	close(fd);
}

/* Below k->dir/stage: /home/u/rw, /home/u/rw/inner (read-only), /home/u/ro, /home/u/one.txt */
static int
make_stage(void)
{
	must(mount("tmpfs", "stage", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700") == 0, "tmpfs");
	must(mkdir("stage/home", 0700) == 0 && mkdir("stage/home/u", 0700) == 0 &&
			mkdir("stage/home/u/rw", 0700) == 0 && mkdir("stage/home/u/ro", 0700) == 0,
		"folders");
	must(chmod("stage/home", 0755) == 0 && chmod("stage/home/u", 0755) == 0 &&
			chmod("stage", 0755) == 0,
		"modes");
	make_file("stage/home/u/one.txt");
	bind_mount("root/rw", "stage/home/u/rw", false);
	bind_mount("root/rw/inner", "stage/home/u/rw/inner", true);
	bind_mount("root/ro", "stage/home/u/ro", true);
	bind_mount("root/files/one.txt", "stage/home/u/one.txt", false);
	must(mount(NULL, "stage", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
		     NULL) == 0,
		"read-only");
	must(mount(NULL, "stage", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV,
		     "mode=0755") == 0,
		"read-only");
	return open("stage", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int
serve_stage(int sock, const struct fk *k)
{
	must(fchdir(k->dirfd) == 0, "chdir");
	must(geteuid() == 0 || fk_user_namespace(), "user namespace");
	must(unshare(CLONE_NEWNS) == 0, "mount namespace");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "private");
	fk_serve(sock, make_stage(), 0);
	return 0;
}

static void
write_file(int dir, const char *path, const char *text)
{
	CLEAN_CLOSE int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int
setup(void **state)
{
	struct fk *k = calloc(1, sizeof(*k));
	int sv[2];

	*state = k;
	fk_folders(k);
	assert_int_equal(mkdirat(k->dirfd, "stage", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "rw", 0775), 0);
	assert_int_equal(fchmodat(k->rootfd, "rw", 0775, 0), 0);
	assert_int_equal(mkdirat(k->rootfd, "rw/inner", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "ro", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "files", 0755), 0);
	write_file(k->rootfd, "ro/f", "read me");
	write_file(k->rootfd, "rw/inner/f", "inner");
	write_file(k->rootfd, "files/one.txt", "one");
	write_file(k->rootfd, "files/other.txt", "other");
	/* One host file, in a read-only and in a writable workspace. */
	assert_int_equal(linkat(k->rootfd, "rw/inner/f", k->rootfd, "rw/twin", 0), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	k->pid = fork();
	if (k->pid == 0) {
		close(sv[0]);
		_exit(serve_stage(sv[1], k));
	}
	close(sv[1]);
	k->sock = sv[0];
	return fk_init(k);
}

/* The folders above the workspaces are root's, and nobody's to change. */
static void
test_folders_above(void **state)
{
	static const char *const path[] = {"", "home", "home/u"};
	struct fk *k = *state;

	for (size_t i = 0; i < ARRAY_LEN(path); i++) {
		uint64_t id = fk_walk(k, path[i]);
		struct fuse_attr a;

		assert_int_equal(fk_getattr(k, id, &a), 0);
		assert_int_equal(a.mode, S_IFDIR | 0755);
		assert_int_equal(a.uid, 0);
		assert_int_equal(a.gid, 0);
		assert_int_equal(fk_mkdir(k, id, "new", 0755), -EROFS);
		assert_int_equal(
			fk_call(k, FUSE_SETATTR, id,
				FK_IN(fuse_setattr_in, .valid = FATTR_MODE, .mode = 0777), NULL, 0),
			-EROFS);
	}
	assert_int_equal(fk_name(k, FUSE_RMDIR, fk_walk(k, "home/u"), "rw"), -EROFS);
	assert_int_equal(fk_lookup(k, fk_walk(k, "home/u"), "files"), 0);
}

static void
test_workspace_is_the_agents(void **state)
{
	struct fk *k = *state;
	struct fuse_attr a, top;
	struct fk_made f;
	struct stat st;
	uint64_t rw = fk_walk(k, "home/u/rw");

	assert_int_equal(fk_getattr(k, rw, &a), 0);
	assert_int_equal(a.uid, FK_UID);
	assert_int_equal(a.mode, S_IFDIR | 0775);
	assert_int_equal(fstatat(k->rootfd, "rw", &st, 0), 0);
	assert_int_equal(a.ino, st.st_ino); /* git's index holds it, on both sides */
	assert_int_equal(fk_getattr(k, ROOT, &top), 0);
	assert_int_not_equal(top.ino >> 48, a.ino >> 48);
	assert_int_equal(fk_create(k, rw, "mine", O_RDWR, 0644, &f), 0);
	assert_int_equal(fk_write(k, f.id, f.fh, 0, "x", 0), 1);
	fk_host_is(k, "rw/mine", "x");
}

static void
test_read_only_workspace(void **state)
{
	struct fk *k = *state;
	uint64_t ro = fk_walk(k, "home/u/ro"), rw = fk_walk(k, "home/u/rw"), f;
	struct fk_made made;

	f = fk_walk(k, "home/u/ro/f");
	assert_true(fk_open(k, f, O_RDONLY) >= 0);
	assert_int_equal(fk_open(k, f, O_RDWR), -EROFS);
	assert_int_equal(fk_open(k, f, O_RDONLY | O_TRUNC), -EROFS);
	assert_int_equal(fk_create(k, ro, "new", O_RDWR, 0644, &made), -EROFS);
	assert_int_equal(fk_mkdir(k, ro, "new", 0755), -EROFS);
	assert_int_equal(fk_name(k, FUSE_UNLINK, ro, "f"), -EROFS);
	assert_int_equal(fk_rename(k, ro, "f", ro, "g", 0), -EROFS);
	assert_int_equal(
		fk_call(k, FUSE_SETATTR, f,
			FK_IN(fuse_setattr_in, .valid = FATTR_MODE, .mode = 0777), NULL, 0),
		-EROFS);
	assert_int_equal(fk_call(k, FUSE_SETATTR, f,
				 FK_IN(fuse_setattr_in, .valid = FATTR_SIZE, .size = 0), NULL, 0),
		-EROFS);
	assert_int_equal(
		fk_call(k, FUSE_SETATTR, f, FK_IN(fuse_setattr_in, .valid = FATTR_MTIME), NULL, 0),
		-EROFS);
	/* F4, F10: neither a hard link nor a rename from one workspace into another. */
	assert_int_equal(fk_call(k, FUSE_LINK, rw, FK_IN(fuse_link_in, f), "l", 2), -EXDEV);
	assert_int_equal(fk_rename(k, ro, "f", rw, "f", 0), -EXDEV);
	assert_int_equal(fk_rename(k, ro, "f", rw, "twin", 2), -EXDEV);
	fk_host_is(k, "ro/f", "read me");
	/* The control. */
	assert_int_equal(fk_create(k, rw, "new", O_RDWR, 0644, &made), 0);
	assert_int_equal(fk_rename(k, rw, "new", rw, "newer", 0), 0);
}

/* A file that is in a read-only and in a writable workspace is writable by the latter name alone.
 */
static void
test_one_file_two_mounts(void **state)
{
	struct fk *k = *state;
	uint64_t inner = fk_walk(k, "home/u/rw/inner/f"), twin = fk_walk(k, "home/u/rw/twin");

	assert_int_not_equal(inner, twin);
	assert_int_equal(fk_open(k, inner, O_RDWR), -EROFS);
	assert_true(fk_open(k, twin, O_RDWR) >= 0);
	assert_int_equal(fk_open(k, inner, O_WRONLY), -EROFS);
	assert_int_equal(fk_name(k, FUSE_RMDIR, fk_walk(k, "home/u/rw"), "inner"), -EBUSY);
}

struct inode_note {
	uint64_t id;
};

static bool
is_data_note(const uint8_t *msg, size_t n, void *arg)
{
	const struct inode_note *want = arg;
	struct fuse_notify_inval_inode_out o;
	struct fuse_out_header h;

	memcpy(&h, msg, sizeof(h));
	if (h.error != FUSE_NOTIFY_INVAL_INODE)
		return false;
	assert_int_equal(n, sizeof(h) + sizeof(o));
	memcpy(&o, msg + sizeof(h), sizeof(o));
	return o.ino == want->id && o.off >= 0;
}

/* F19: a single file is that file and nothing beside it; changes to it are seen. */
static void
test_single_file(void **state)
{
	struct fk *k = *state;
	uint64_t u = fk_walk(k, "home/u"), one = fk_walk(k, "home/u/one.txt");
	struct inode_note want = {one};
	int64_t fh = fk_open(k, one, O_RDWR);

	assert_true(fh >= 0);
	assert_int_equal(fk_read(k, one, (uint64_t)fh, 0, 100), 3);
	assert_int_equal(fk_write(k, one, (uint64_t)fh, 0, "two", 0), 3);
	fk_host_is(k, "files/one.txt", "two");
	assert_int_equal(fk_lookup(k, u, "other.txt"), 0);
	assert_int_equal(fk_name(k, FUSE_UNLINK, u, "one.txt"), -EROFS);
	write_file(k->rootfd, "files/one.txt", "from the host");
	assert_true(fk_wait_note(k, is_data_note, &want, SOON_MS));
}

/* The same host file seen through two mounts: both inodes hear of a change. */
static void
test_two_inodes_hear(void **state)
{
	struct fk *k = *state;
	struct inode_note inner = {fk_walk(k, "home/u/rw/inner/f")},
			  twin = {fk_walk(k, "home/u/rw/twin")};

	write_file(k->rootfd, "rw/twin", "changed");
	assert_true(fk_wait_note(k, is_data_note, &inner, SOON_MS));
	write_file(k->rootfd, "rw/twin", "changed again");
	assert_true(fk_wait_note(k, is_data_note, &twin, SOON_MS));
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fk_teardown)
	const struct CMUnitTest tests[] = {
		T(test_folders_above),
		T(test_workspace_is_the_agents),
		T(test_read_only_workspace),
		T(test_one_file_two_mounts),
		T(test_single_file),
		T(test_two_inodes_hear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
