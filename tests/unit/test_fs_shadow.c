/* Folders that are the sandbox's own: the host's are neither seen nor touched. */
#include "fake_kernel.h"

#define ROOT FUSE_ROOT_ID

/* What the guest is shown lies in "shadows", in tests an ordinary folder. */
static void
serve(int sock, const struct fk *k)
{
	struct strv paths = {0};
	struct fs_options o = {.stream_fd = sock, .root_fd = k->rootfd, .shadows = &paths};

	strv_add(&paths, "/p/node_modules");
	strv_add(&paths, "/p/target");
	strv_add(&paths, "/p/q/dist");
	o.shadow_fd = openat(k->dirfd, "shadows", O_PATH | O_DIRECTORY | O_CLOEXEC);
	fk_serve_with(&o);
}

static int
setup(void **state)
{
	struct fk *k = calloc(1, sizeof(*k));
	int sv[2];

	*state = k;
	fk_folders(k);
	assert_int_equal(mkdirat(k->dirfd, "shadows", 0755), 0);
	for (int i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "shadows/%d", i);
		assert_int_equal(mkdirat(k->dirfd, name, 0755), 0);
	}
	assert_int_equal(mkdirat(k->rootfd, "p", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "p/q", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "p/node_modules", 0755), 0);
	fk_host_file(k, "p/node_modules/secret", "host");
	fk_host_file(k, "p/file", "x");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	k->pid = fork();
	if (k->pid == 0) {
		close(sv[0]);
		serve(sv[1], k);
	}
	close(sv[1]);
	k->sock = sv[0];
	return fk_init(k);
}

static void
test_not_seen(void **state)
{
	struct fk *k = *state;
	uint64_t p = fk_walk(k, "p"), there = fk_walk(k, "p/node_modules");
	uint64_t absent = fk_walk(k, "p/target");
	struct fuse_attr a;
	struct fk_made f;

	assert_true(there != absent);
	assert_int_equal(fk_getattr(k, absent, &a), 0);
	assert_int_equal(a.mode, S_IFDIR | 0755);
	assert_false(fk_host_has(k, "p/target"));
	/* Control: what lies beside it is the host's. */
	assert_true(fk_lookup(k, p, "file") > 0);
	assert_int_equal(fk_lookup(k, there, "secret"), 0);
	/* The answer stays the same: the guest has a mount there. */
	assert_int_equal(fk_lookup(k, p, "node_modules"), there);
	assert_int_equal(fk_lookup(k, p, "target"), absent);
	/* Of the same name elsewhere: an ordinary folder. */
	assert_int_equal(fk_lookup(k, fk_walk(k, "p/q"), "target"), 0);
	assert_int_equal(fk_create(k, p, "other", O_WRONLY, 0644, &f), 0);
	assert_true(fk_host_has(k, "p/other"));
}

static void
test_not_touched(void **state)
{
	struct fk *k = *state;
	uint64_t p = fk_walk(k, "p"), file = fk_walk(k, "p/file");
	struct fk_made f;
	char link[] = "target\0x";

	assert_int_equal(fk_mkdir(k, p, "target", 0755), -EBUSY);
	assert_int_equal(fk_create(k, p, "target", O_WRONLY, 0644, &f), -EBUSY);
	assert_int_equal(fk_call(k, FUSE_SYMLINK, p, NULL, 0, link, sizeof(link)), -EBUSY);
	assert_int_equal(fk_call(k, FUSE_MKNOD, p, FK_IN(fuse_mknod_in, .mode = S_IFREG | 0644),
				 "target", sizeof("target")),
		-EBUSY);
	assert_int_equal(
		fk_call(k, FUSE_LINK, p, FK_IN(fuse_link_in, file), "target", sizeof("target")),
		-EBUSY);
	assert_int_equal(fk_name(k, FUSE_RMDIR, p, "node_modules"), -EBUSY);
	assert_int_equal(fk_name(k, FUSE_UNLINK, p, "node_modules"), -EBUSY);
	assert_int_equal(fk_rename(k, p, "node_modules", p, "gone", 0), -EBUSY);
	assert_int_equal(fk_rename(k, p, "q", p, "target", 0), -EBUSY);
	assert_false(fk_host_has(k, "p/target"));
	assert_true(fk_host_has(k, "p/node_modules/secret"));
	/* Control: the same on another name. */
	assert_int_equal(fk_mkdir(k, p, "targets", 0755), 0);
	assert_int_equal(fk_rename(k, p, "targets", p, "moved", 0), 0);
	assert_int_equal(fk_name(k, FUSE_RMDIR, p, "moved"), 0);
}

/* What the host does to its folder of that name changes nothing. */
static void
test_host_changes(void **state)
{
	struct fk *k = *state;
	uint64_t p = fk_walk(k, "p"), s = fk_walk(k, "p/node_modules");

	assert_int_equal(unlinkat(k->rootfd, "p/node_modules/secret", 0), 0);
	assert_int_equal(unlinkat(k->rootfd, "p/node_modules", AT_REMOVEDIR), 0);
	fk_host_file(k, "p/node_modules", "now a file");
	assert_int_equal(fk_lookup(k, p, "node_modules"), s);
	assert_int_equal(fk_getattr(k, s, NULL), 0);
}

/* By its path, and by the folder that was there when the sandbox started. */
static void
test_moved(void **state)
{
	struct fk *k = *state;
	uint64_t p = fk_walk(k, "p"), dist = fk_walk(k, "p/q/dist"), q;

	assert_int_equal(fk_rename(k, p, "q", p, "r", 0), 0);
	assert_int_equal(fk_walk(k, "p/r/dist"), dist);
	assert_int_equal(fk_mkdir(k, p, "q", 0755), 0);
	q = fk_walk(k, "p/q");
	assert_int_equal(fk_mkdir(k, q, "dist", 0755), -EBUSY);
	assert_int_equal(fk_mkdir(k, q, "other", 0755), 0);
}

/* Names in a listing, each with what READDIRPLUS says is its node; pieces of `size` bytes. */
static size_t
list(struct fk *k, uint64_t dir, uint32_t op, uint32_t size, char out[16][32], uint64_t ids[16])
{
	size_t head = op == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out) : 0, n = 0;
	uint64_t fh, pos = 0;

	assert_int_equal(fk_call(k, FUSE_OPENDIR, dir, FK_IN(fuse_open_in, 0), NULL, 0), 0);
	fh = FK_OUT(k, fuse_open_out).fh;
	for (;;) {
		assert_int_equal(fk_call(k, op, dir,
					 FK_IN(fuse_read_in, .fh = fh, .offset = pos, .size = size),
					 NULL, 0),
			0);
		if (k->body.len == 0)
			return n;
		for (size_t at = 0; at < k->body.len;) {
			struct fuse_entry_out eo = {0};
			struct fuse_dirent d;

			memcpy(&eo, k->body.data + at, head);
			memcpy(&d, k->body.data + at + head, FUSE_NAME_OFFSET);
			assert_true(n < 16 && d.namelen < 32);
			snprintf(out[n], 32, "%.*s", (int)d.namelen,
				(char *)k->body.data + at + head + FUSE_NAME_OFFSET);
			ids[n++] = eo.nodeid;
			pos = d.off;
			at += head + FUSE_REC_ALIGN(FUSE_NAME_OFFSET + d.namelen);
		}
	}
}

static void
test_listed(void **state)
{
	static const uint32_t sizes[] = {4096, 200, 160};
	struct fk *k = *state;
	uint64_t p = fk_walk(k, "p"), s = fk_walk(k, "p/node_modules"), t = fk_walk(k, "p/target");
	char names[16][32];
	uint64_t ids[16];

	for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
		bool plus = i % 2 == 1;
		size_t n = list(k, p, plus ? FUSE_READDIRPLUS : FUSE_READDIR,
			       sizes[i / 2] + (plus ? 128 : 0), names, ids),
		       shadows = 0;

		/* . .. file q, and each shadow once, whether or not the host has such a folder */
		assert_int_equal(n, 6);
		for (size_t j = 0; j < n; j++) {
			bool is_s = strcmp(names[j], "node_modules") == 0;
			bool is_t = strcmp(names[j], "target") == 0;

			shadows += is_s + is_t;
			if (plus && (is_s || is_t))
				assert_int_equal(ids[j], is_s ? s : t);
		}
		assert_int_equal(shadows, 2);
	}
	assert_int_equal(list(k, s, FUSE_READDIR, 4096, names, ids), 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_not_seen, setup, fk_teardown),
		cmocka_unit_test_setup_teardown(test_not_touched, setup, fk_teardown),
		cmocka_unit_test_setup_teardown(test_host_changes, setup, fk_teardown),
		cmocka_unit_test_setup_teardown(test_moved, setup, fk_teardown),
		cmocka_unit_test_setup_teardown(test_listed, setup, fk_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
