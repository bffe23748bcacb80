/* The fs role's server through a fake kernel: names, links and folders. */
#include <linux/fs.h>
#include <sys/sysmacros.h>

#include "fake_kernel.h"

#define ROOT FUSE_ROOT_ID

static void
test_rename_over_open(void **state)
{
	struct fk *k = *state;
	struct fuse_attr a;
	struct fk_made old, new;

	assert_int_equal(fk_create(k, ROOT, "old", O_RDWR, 0644, &old), 0);
	assert_int_equal(fk_write(k, old.id, old.fh, 0, "old", O_RDWR), 3);
	assert_int_equal(fk_release(k, old.id, old.fh), 0);
	assert_int_equal(fk_create(k, ROOT, "new", O_RDWR, 0644, &new), 0);
	assert_int_equal(fk_write(k, new.id, new.fh, 0, "newer", O_RDWR), 5);
	assert_int_equal(fk_rename(k, ROOT, "new", ROOT, "old", 0), 0);
	fk_host_is(k, "old", "newer");
	assert_int_equal(fk_lookup(k, ROOT, "old"), new.id);
	assert_int_equal(fk_lookup(k, ROOT, "new"), 0);
	/* The one that lost its name is there until it is forgotten. */
	assert_int_equal(fk_getattr(k, old.id, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(a.size, 3);
}

static void
test_rename_flags(void **state)
{
	struct fk *k = *state;

	fk_host_file(k, "a", "A");
	fk_host_file(k, "b", "B");
	assert_int_equal(fk_rename(k, ROOT, "a", ROOT, "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(fk_rename(k, ROOT, "a", ROOT, "b", RENAME_EXCHANGE), 0);
	fk_host_is(k, "a", "B");
	fk_host_is(k, "b", "A");
	assert_int_equal(fk_rename(k, ROOT, "a", ROOT, "c", RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(fk_rename(k, ROOT, "a", ROOT, "c", RENAME_NOREPLACE), 0);
	assert_int_equal(fk_rename(k, ROOT, "nothing", ROOT, "d", 0), -ENOENT);
}

/* What is below a folder keeps its inodes when the folder moves. */
static void
test_rename_folder(void **state)
{
	struct fk *k = *state;
	uint64_t sub, file;

	assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "d/sub", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "e", 0755), 0);
	fk_host_file(k, "d/sub/f", "deep");
	sub = fk_walk(k, "d/sub");
	file = fk_walk(k, "d/sub/f");
	assert_int_equal(fk_rename(k, ROOT, "d", fk_walk(k, "e"), "moved", 0), 0);
	assert_int_equal(fk_getattr(k, file, NULL), 0);
	assert_int_equal(fk_lookup(k, sub, "f"), file);
	assert_int_equal(fk_walk(k, "e/moved/sub/f"), file);
	fk_host_is(k, "e/moved/sub/f", "deep");
}

static void
test_hard_links(void **state)
{
	struct fk *k = *state;
	struct fuse_attr a;
	struct fk_made f;

	assert_int_equal(fk_create(k, ROOT, "one", O_RDWR, 0644, &f), 0);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	assert_int_equal(fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, f.id), "two", 4), 0);
	assert_int_equal(FK_OUT(k, fuse_entry_out).nodeid, f.id);
	assert_int_equal(FK_OUT(k, fuse_entry_out).attr.nlink, 2);
	assert_int_equal(fk_host_stat(k, "two").st_nlink, 2);
	/* Reachable by the name that is left. */
	assert_int_equal(fk_name(k, FUSE_UNLINK, ROOT, "one"), 0);
	assert_int_equal(fk_getattr(k, f.id, &a), 0);
	assert_int_equal(a.nlink, 1);
	assert_true(fk_open(k, f.id, O_RDWR) >= 0);
	/* Renaming one hard link onto another does nothing. */
	assert_int_equal(fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, f.id), "three", 6), 0);
	assert_int_equal(fk_rename(k, ROOT, "two", ROOT, "three", 0), 0);
	assert_int_equal(fk_lookup(k, ROOT, "two"), f.id);
	assert_int_equal(fk_lookup(k, ROOT, "three"), f.id);
	/* Folders have none. */
	assert_int_equal(fk_mkdir(k, ROOT, "d", 0755), 0);
	assert_int_equal(
		fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, fk_walk(k, "d")), "e", 2), -EPERM);
}

static void
test_symlinks(void **state)
{
	struct fk *k = *state;
	uint64_t id;

	assert_int_equal(fk_call(k, FUSE_SYMLINK, ROOT, NULL, 0, "s\0../some/where", 16), 0);
	id = FK_OUT(k, fuse_entry_out).nodeid;
	assert_int_equal(FK_OUT(k, fuse_entry_out).attr.mode & S_IFMT, S_IFLNK);
	assert_int_equal(fk_call(k, FUSE_READLINK, id, NULL, 0, NULL, 0), 0);
	assert_int_equal(k->body.len, 13);
	assert_memory_equal(k->body.data, "../some/where", 13);
	/* A hard link of the symlink itself, its own times; no mode. */
	assert_int_equal(fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, id), "t", 2), 0);
	assert_true(S_ISLNK(fk_host_stat(k, "t").st_mode));
	assert_int_equal(
		fk_call(k, FUSE_SETATTR, id,
			FK_IN(fuse_setattr_in, .valid = FATTR_MTIME, .mtime = 1000), NULL, 0),
		0);
	assert_int_equal(fk_host_stat(k, "s").st_mtime, 1000);
	assert_int_equal(
		fk_call(k, FUSE_SETATTR, id,
			FK_IN(fuse_setattr_in, .valid = FATTR_MODE, .mode = 0777), NULL, 0),
		-EOPNOTSUPP);
	assert_int_equal(fk_call(k, FUSE_READLINK, ROOT, NULL, 0, NULL, 0), -EINVAL);
}

static void
test_mknod(void **state)
{
	struct fk *k = *state;
	static const struct {
		const char *name;
		uint32_t mode;
		int want;
	} t[] = {
		{"fifo", S_IFIFO | 0600, 0},
		{"sock", S_IFSOCK | 0600, 0},
		{"file", S_IFREG | 0600, 0},
		{"chr", S_IFCHR | 0600, -EPERM},
		{"blk", S_IFBLK | 0600, -EPERM},
		{"none", 0600, -EPERM},
		{"dir", S_IFDIR | 0700, -EPERM},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		assert_int_equal(
			fk_call(k, FUSE_MKNOD, ROOT,
				FK_IN(fuse_mknod_in, .mode = t[i].mode, .rdev = makedev(1, 3)),
				t[i].name, strlen(t[i].name) + 1),
			t[i].want);
		if (t[i].want == 0)
			assert_int_equal(fk_host_stat(k, t[i].name).st_mode, t[i].mode);
		else
			assert_false(fk_host_has(k, t[i].name));
	}
}

static void
test_folders(void **state)
{
	struct fk *k = *state;
	struct fuse_attr a;
	uint64_t d;

	assert_int_equal(fk_mkdir(k, ROOT, "d", 0750), 0);
	d = FK_OUT(k, fuse_entry_out).nodeid;
	assert_int_equal(fk_host_stat(k, "d").st_mode, S_IFDIR | 0750);
	assert_int_equal(fk_mkdir(k, ROOT, "d", 0750), -EEXIST);
	assert_int_equal(fk_mkdir(k, d, "e", 0750), 0);
	assert_int_equal(fk_name(k, FUSE_RMDIR, ROOT, "d"), -ENOTEMPTY);
	assert_int_equal(fk_name(k, FUSE_UNLINK, ROOT, "d"), -EISDIR);
	assert_int_equal(fk_name(k, FUSE_RMDIR, d, "e"), 0);
	assert_int_equal(fk_name(k, FUSE_RMDIR, ROOT, "d"), 0);
	/* Somebody's working folder still answers, and is empty for good. */
	assert_int_equal(fk_getattr(k, d, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(fk_mkdir(k, d, "f", 0750), -ENOENT);
	assert_int_equal(fk_name(k, FUSE_LOOKUP, fk_walk(k, ""), "d"), 0);
	assert_int_equal(FK_OUT(k, fuse_entry_out).nodeid, 0);
}

/* One READDIRPLUS or READDIR pass; adds the names to a set. Returns how many there were. */
static size_t
read_folder(struct fk *k, uint64_t id, uint32_t op, uint32_t size, size_t n, bool *seen)
{
	size_t head = op == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out) : 0, count = 0;
	uint64_t fh, off = 0;

	assert_int_equal(fk_call(k, FUSE_OPENDIR, id, FK_IN(fuse_open_in, 0), NULL, 0), 0);
	fh = FK_OUT(k, fuse_open_out).fh;
	for (;;) {
		assert_int_equal(fk_call(k, op, id,
					 FK_IN(fuse_read_in, .fh = fh, .offset = off, .size = size),
					 NULL, 0),
			0);
		assert_true(k->body.len <= size);
		if (k->body.len == 0)
			break;
		for (size_t at = 0; at < k->body.len;) {
			const struct fuse_dirent *d = (const void *)(k->body.data + at + head);
			const struct fuse_entry_out *eo = (const void *)(k->body.data + at);
			unsigned i = 0;

			if (sscanf(d->name, "f%u", &i) == 1 && i < n) {
				assert_false(seen[i]);
				seen[i] = true;
				assert_int_equal(d->type, DT_REG);
				assert_true(
					head == 0 || (eo->nodeid > 1 && eo->attr.ino == d->ino));
			} else {
				assert_true(d->name[0] == '.');
				/* What is above the workspace is nobody's business. */
				if (d->namelen == 2)
					assert_int_equal(d->ino, UINT32_MAX);
				assert_true(head == 0 || eo->nodeid == 0);
			}
			off = d->off;
			at += head + FUSE_DIRENT_SIZE(d);
			count++;
		}
	}
	assert_int_equal(fk_call(k, FUSE_RELEASEDIR, id, FK_IN(fuse_release_in, fh), NULL, 0), 0);
	return count;
}

static void
test_readdir(void **state)
{
	static const uint32_t sizes[] = {512, 4096, 65536};
	struct fk *k = *state;
	enum { N = 700 };
	char name[16];

	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		fk_host_file(k, name, "");
	}
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		bool seen[N] = {false}, again[N] = {false};

		assert_int_equal(read_folder(k, ROOT, FUSE_READDIR, sizes[i], N, seen), N + 2);
		assert_int_equal(read_folder(k, ROOT, FUSE_READDIRPLUS, sizes[i], N, again), N + 2);
	}
}

/* rewinddir, seekdir, and positions that were never given out. */
static void
test_readdir_positions(void **state)
{
	struct fk *k = *state;
	struct fuse_dirent first;
	uint64_t fh;

	fk_host_file(k, "a", "");
	fk_host_file(k, "b", "");
	assert_int_equal(fk_call(k, FUSE_OPENDIR, ROOT, FK_IN(fuse_open_in, 0), NULL, 0), 0);
	fh = FK_OUT(k, fuse_open_out).fh;
	for (int pass = 0; pass < 2; pass++) {
		assert_int_equal(fk_call(k, FUSE_READDIR, ROOT,
					 FK_IN(fuse_read_in, .fh = fh, .size = 4096), NULL, 0),
			0);
		assert_int_equal(k->body.len, 4 * 32);
		if (pass == 1)
			assert_memory_equal(k->body.data, &first, sizeof(first));
		memcpy(&first, k->body.data, sizeof(first));
	}
	assert_int_equal(
		fk_call(k, FUSE_READDIR, ROOT,
			FK_IN(fuse_read_in, .fh = fh, .offset = first.off, .size = 4096), NULL, 0),
		0);
	assert_int_equal(k->body.len, 3 * 32);
	/* Too small for one entry, and nonsense: no crash, no endless loop. */
	assert_int_equal(
		fk_call(k, FUSE_READDIR, ROOT, FK_IN(fuse_read_in, .fh = fh, .size = 8), NULL, 0),
		-EINVAL);
	fk_call(k, FUSE_READDIR, ROOT,
		FK_IN(fuse_read_in, .fh = fh, .offset = 0x123456789abcdef, .size = 4096), NULL, 0);
	assert_int_equal(
		fk_call(k, FUSE_READ, ROOT, FK_IN(fuse_read_in, .fh = fh, .size = 10), NULL, 0),
		-EBADF);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fk_setup, fk_teardown)
	const struct CMUnitTest tests[] = {
		T(test_rename_over_open),
		T(test_rename_flags),
		T(test_rename_folder),
		T(test_hard_links),
		T(test_symlinks),
		T(test_mknod),
		T(test_folders),
		T(test_readdir),
		T(test_readdir_positions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
