/* What the guest's pump is told ahead: that it is true, and that each reference is accounted for.
 */
#include "fake_kernel.h"

#include <wire/fuse_push.h>

#define NAMES 200

/* The pump at the other end. */
static int
setup(void **state)
{
	struct fk *k;

	fk_setup(state);
	k = *state;
	return fk_call(k, FUSE_INIT, 0,
		FK_IN(fuse_init_in, .major = 7, .minor = FUSE_KERNEL_MINOR_VERSION,
			.max_readahead = 1 << 20, .flags = UINT32_MAX, .unused = {FUSE_PUSH_MAGIC}),
		NULL, 0);
}

/* A name as it was told; the latest piece counts. */
struct told {
	uint64_t id;
	uint64_t times; /* references */
	uint64_t size;
};

struct wanted {
	uint64_t dir;
	const char *name;
	struct told found;
	bool any, end;
};

static void
take_records(struct wanted *w, const uint8_t *at, size_t n)
{
	while (n > 0) {
		struct fuse_direntplus d;

		assert_true(n >= FUSE_NAME_OFFSET_DIRENTPLUS);
		memcpy(&d, at, FUSE_NAME_OFFSET_DIRENTPLUS);
		assert_true(n >= FUSE_DIRENTPLUS_SIZE(&d));
		if (d.dirent.namelen == strlen(w->name) &&
			memcmp(at + FUSE_NAME_OFFSET_DIRENTPLUS, w->name, d.dirent.namelen) == 0) {
			w->found.id = d.entry_out.nodeid;
			w->found.size = d.entry_out.attr.size;
			w->found.times++;
			assert_true(d.entry_out.nodeid == 0 || d.entry_out.entry_valid > 1);
		}
		at += FUSE_DIRENTPLUS_SIZE(&d);
		n -= FUSE_DIRENTPLUS_SIZE(&d);
	}
}

static void
take_note(struct wanted *w, const uint8_t *msg, size_t n)
{
	struct fuse_out_header h;
	struct fuse_push p;
	struct fuse_push_listing l;
	size_t head = sizeof(h) + sizeof(p) + sizeof(l);

	memcpy(&h, msg, sizeof(h));
	if ((uint32_t)h.error != FUSE_PUSH_LISTING)
		return;
	assert_true(n >= head);
	memcpy(&p, msg + sizeof(h), sizeof(p));
	memcpy(&l, msg + sizeof(h) + sizeof(p), sizeof(l));
	if (p.nodeid != w->dir)
		return;
	w->any = true;
	w->end = l.flags & FUSE_PUSH_LISTING_END;
	take_records(w, msg + head, n - head);
}

/* What has come so far, for good. GETATTR's reply comes behind all of it. */
static struct wanted
told(struct fk *k, uint64_t dir, const char *name)
{
	struct wanted w = {.dir = dir, .name = name};
	ssize_t n;

	assert_int_equal(fk_getattr(k, FUSE_ROOT_ID, NULL), 0);
	while ((n = fuse_wire_peek(&k->notes, sizeof(struct fuse_out_header))) > 0) {
		take_note(&w, k->notes.data, (size_t)n);
		buf_consume(&k->notes, (size_t)n);
	}
	return w;
}

/* arg: the inode that the host has changed. */
static bool
is_inval(const uint8_t *msg, size_t n, void *arg)
{
	struct fuse_notify_inval_inode_out o;
	struct fuse_out_header h;

	memcpy(&h, msg, sizeof(h));
	if (h.error != FUSE_NOTIFY_INVAL_INODE)
		return false;
	assert_int_equal(n, sizeof(h) + sizeof(o));
	memcpy(&o, msg + sizeof(h), sizeof(o));
	return o.ino == *(uint64_t *)arg;
}

static void
test_looked_up(void **state)
{
	struct fk *k = *state;
	struct wanted w;
	int64_t id;

	fk_host_file(k, "a", "one");
	fk_host_file(k, "b", "four");
	id = fk_lookup(k, FUSE_ROOT_ID, "a");
	w = told(k, FUSE_ROOT_ID, "a");
	assert_true(w.end);
	assert_true(w.found.id == (uint64_t)id);
	assert_int_equal(w.found.times, 1);
	/* Nobody has looked up the other: its id is good all the same, until it is given back. */
	assert_int_equal(fk_lookup(k, FUSE_ROOT_ID, "none"), 0);
	w = told(k, FUSE_ROOT_ID, "b");
	assert_true(w.any);
	assert_int_equal(w.found.size, 4);
	assert_int_equal(fk_getattr(k, w.found.id, NULL), 0);
}

/* The reference that comes with a name is one, and the reply's another. */
static void
test_references(void **state)
{
	struct fk *k = *state;
	struct wanted w;
	uint64_t id;

	fk_host_file(k, "a", "one");
	id = fk_walk(k, "a");
	w = told(k, FUSE_ROOT_ID, "a");
	assert_int_equal(w.found.times, 1);
	fk_forget(k, id, 1);
	assert_int_equal(fk_getattr(k, id, NULL), 0);
	fk_forget(k, id, 1);
	assert_int_equal(fk_getattr(k, id, NULL), -ESTALE);
}

/* A large folder comes in pieces that follow each other. */
static void
test_pieces(void **state)
{
	struct fk *k = *state;
	size_t requests = 0, times = 0;
	struct wanted w;
	char name[32];
	int64_t fh;

	for (int n = 0; n < NAMES; n++) {
		snprintf(name, sizeof(name), "f%d", n);
		fk_host_file(k, name, "x");
	}
	do {
		assert_int_equal(fk_lookup(k, FUSE_ROOT_ID, "none"), 0);
		w = told(k, FUSE_ROOT_ID, "f7");
		assert_true(w.any);
		times += w.found.times;
		requests++;
	} while (!w.end);
	assert_in_range(requests, 2, 4);
	assert_int_equal(times, 1);
	/* All at once where it is opened. */
	assert_int_equal(
		fk_call(k, FUSE_OPENDIR, FUSE_ROOT_ID, FK_IN(fuse_open_in, 0), NULL, 0), 0);
	fh = (int64_t)FK_OUT(k, fuse_open_out).fh;
	w = told(k, FUSE_ROOT_ID, "f7");
	assert_true(w.end);
	assert_int_equal(w.found.times, 1);
	assert_int_equal(fk_call(k, FUSE_RELEASEDIR, FUSE_ROOT_ID,
				 FK_IN(fuse_release_in, .fh = (uint64_t)fh), NULL, 0),
		0);
}

/* Folders near the one that is asked for are told ahead; and what changes in them is said. */
static void
test_ahead(void **state)
{
	static const char *const dirs[] = {"d", "d/x", "d/y"};
	struct fk *k = *state;
	struct wanted w;
	uint64_t x, y;

	fk_host_dirs(k, dirs, 3);
	fk_host_file(k, "d/x/f", "x");
	fk_host_file(k, "d/y/f", "yy");
	x = fk_walk(k, "d/x");
	y = fk_walk(k, "d/y");
	assert_int_equal(fk_lookup(k, x, "none"), 0);
	w = told(k, y, "f");
	assert_true(w.end);
	assert_int_equal(w.found.size, 2);
	fk_host_file(k, "d/y/new", "n");
	assert_true(fk_wait_note(k, is_inval, &y, FK_WAIT_MS));
	fk_host_file(k, "d/y/f", "other");
	assert_true(fk_wait_note(k, is_inval, &w.found.id, FK_WAIT_MS));
}

/* arg: two inodes; 0 for one of which it was heard. */
static bool
is_inval_of_both(const uint8_t *msg, size_t n, void *arg)
{
	uint64_t *both = arg;

	for (int k = 0; k < 2; k++)
		if (both[k] != 0 && is_inval(msg, n, &both[k]))
			both[k] = 0;
	return both[0] == 0 && both[1] == 0;
}

/* The pump is told, but the kernel is not: so what it has is ended by a notification. */
static void
test_told_before_the_event(void **state)
{
	struct fk *k = *state;
	uint64_t both[2];

	fk_host_file(k, "a", "one");
	fk_host_file(k, "b", "two");
	both[0] = fk_walk(k, "a");
	both[1] = fk_walk(k, "b");
	buf_clear(&k->notes);
	assert_int_equal(fchmodat(k->rootfd, "a", 0600, 0), 0);
	fk_host_file(k, "c", "new");
	assert_int_equal(renameat(k->rootfd, "c", k->rootfd, "b"), 0);
	assert_int_equal(fk_lookup(k, FUSE_ROOT_ID, "none"), 0);
	assert_true(fk_wait_note(k, is_inval_of_both, both, FK_WAIT_MS));
}

/* A name that led nowhere is told to be void, and that before the reply. */
static void
expect_stale(struct fk *k, uint64_t id)
{
	struct fuse_out_header h = {0};
	ssize_t n;

	buf_clear(&k->notes);
	assert_int_equal(fk_open(k, id, O_RDONLY), -ESTALE);
	while ((n = fuse_wire_peek(&k->notes, sizeof(h))) > 0 &&
		(uint32_t)h.error != FUSE_PUSH_VOID) {
		memcpy(&h, k->notes.data, sizeof(h));
		buf_consume(&k->notes, (size_t)n);
	}
	assert_true((uint32_t)h.error == FUSE_PUSH_VOID);
}

/* The kernel looks it up once more: that must reach the host. */
static void
test_void_after_stale(void **state)
{
	struct fk *k = *state;
	uint64_t id;

	fk_host_file(k, "f", "one");
	id = fk_walk(k, "f");
	fk_host_file(k, "g", "two");
	assert_int_equal(renameat(k->rootfd, "g", k->rootfd, "f"), 0);
	expect_stale(k, id);
	assert_true(fk_lookup(k, FUSE_ROOT_ID, "f") != (int64_t)id);
	assert_false(told(k, FUSE_ROOT_ID, "f").any);
}

/* Also where it is known by then that the name leads elsewhere. */
static void
test_void_after_a_lost_name(void **state)
{
	struct fk *k = *state;
	uint64_t id, root = FUSE_ROOT_ID;

	fk_host_file(k, "f", "one");
	fk_host_file(k, "g", "two");
	id = fk_walk(k, "f");
	buf_clear(&k->notes);
	assert_int_equal(renameat(k->rootfd, "g", k->rootfd, "f"), 0);
	assert_true(fk_wait_note(k, is_inval, &root, FK_WAIT_MS));
	expect_stale(k, id);
}

static bool
is_told_after_change(struct fk *k, uint64_t id)
{
	struct fuse_out_header h;
	ssize_t n;
	bool any = false;

	buf_clear(&k->notes);
	assert_int_equal(fk_call(k, FUSE_SETATTR, id,
				 FK_IN(fuse_setattr_in, .valid = FATTR_MTIME, .mtime = 9), NULL, 0),
		0);
	while ((n = fuse_wire_peek(&k->notes, sizeof(h))) > 0) {
		memcpy(&h, k->notes.data, sizeof(h));
		any = any || (uint32_t)h.error == FUSE_PUSH_ATTR;
		buf_consume(&k->notes, (size_t)n);
	}
	return any;
}

/* A symlink of two names is not watched: its name is told, and nothing else. */
static void
test_unwatched(void **state)
{
	struct fk *k = *state;
	struct wanted w;

	fk_host_file(k, "f", "one");
	assert_int_equal(symlinkat("f", k->rootfd, "s"), 0);
	assert_int_equal(linkat(k->rootfd, "s", k->rootfd, "t", 0), 0);
	assert_int_equal(fk_lookup(k, FUSE_ROOT_ID, "none"), 0);
	w = told(k, FUSE_ROOT_ID, "s");
	assert_true(w.any);
	assert_int_equal(w.found.times, 1);
	assert_true(w.found.id == 0);
	/* Nor its attributes when the guest changes them; those of what is watched are. */
	assert_true(is_told_after_change(k, fk_walk(k, "f")));
	assert_false(is_told_after_change(k, fk_walk(k, "s")));
}

/* A folder that the guest has made is known to be empty. */
static void
test_made(void **state)
{
	struct fk *k = *state;
	struct wanted w;
	uint64_t id;

	assert_int_equal(fk_mkdir(k, FUSE_ROOT_ID, "d", 0755), 0);
	id = FK_OUT(k, fuse_entry_out).nodeid;
	w = told(k, id, "..");
	assert_true(w.end);
	assert_int_equal(w.found.times, 1);
	assert_true(w.found.id == 0);
}

/* A file that the guest's pump may have open, by itself: whatever becomes of its names. */
static void
test_found_again_and_lost(void **state)
{
	struct fk *k = *state;
	int64_t fh;
	uint64_t id;

	fk_host_file(k, "f", "one");
	id = fk_walk(k, "f");
	fh = fk_open(k, id, O_RDONLY);
	assert_true(fh > 0);
	fk_release(k, id, (uint64_t)fh);
	assert_int_equal(renameat(k->rootfd, "f", k->rootfd, "g"), 0);
	assert_true(fk_wait_note(k, is_inval, &id, FK_WAIT_MS));
	assert_int_equal(fk_lookup(k, FUSE_ROOT_ID, "g"), id);
	assert_int_equal(unlinkat(k->rootfd, "g", 0), 0);
	assert_true(fk_wait_note(k, is_inval, &id, FK_WAIT_MS));
	assert_int_equal(
		fk_call(k, FUSE_SETATTR, id,
			FK_IN(fuse_setattr_in, .valid = FATTR_MODE, .mode = 0600), NULL, 0),
		0);
	assert_int_equal(fk_open(k, id, O_RDONLY) > 0, 1);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fk_teardown)
	const struct CMUnitTest tests[] = {
		T(test_looked_up),
		T(test_references),
		T(test_pieces),
		T(test_ahead),
		T(test_told_before_the_event),
		T(test_void_after_stale),
		T(test_void_after_a_lost_name),
		T(test_unwatched),
		T(test_made),
		T(test_found_again_and_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
