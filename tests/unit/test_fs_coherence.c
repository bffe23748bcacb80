/* What the fs role tells the guest's kernel about changes that somebody makes on the host, and that
 * it says nothing about the guest's own. */
#include <linux/fs.h>
#include <sys/inotify.h>

#include "fake_kernel.h"

#define ROOT FUSE_ROOT_ID
/* Long enough for a loaded machine; the aim is 100 ms. */
#define SOON_MS 5000
/* A round trip that comes after the events of everything before it. */
#define QUIET_MS 120

struct want {
	enum fuse_notify_code code;
	uint64_t id;      /* inode, or parent */
	const char *name; /* of an entry; NULL: any */
	int64_t off_min;  /* INVAL_INODE: pages from here on; -1: attributes will do */
};

static bool
is_wanted(const uint8_t *msg, size_t n, void *arg)
{
	const struct want *w = arg;
	const uint8_t *body = msg + sizeof(struct fuse_out_header);
	struct fuse_out_header h;

	memcpy(&h, msg, sizeof(h));
	assert_int_equal(h.len, n);
	if (w->code == FUSE_NOTIFY_INVAL_INODE && h.error == FUSE_NOTIFY_INVAL_INODE) {
		struct fuse_notify_inval_inode_out o;

		memcpy(&o, body, sizeof(o));
		return o.ino == w->id && o.off >= w->off_min;
	}
	if (w->code == FUSE_NOTIFY_INVAL_ENTRY && h.error == FUSE_NOTIFY_INVAL_ENTRY) {
		struct fuse_notify_inval_entry_out o;

		memcpy(&o, body, sizeof(o));
		assert_int_equal(n, sizeof(h) + sizeof(o) + o.namelen + 1);
		return o.parent == w->id && strcmp((const char *)body + sizeof(o), w->name) == 0;
	}
	if (w->code == FUSE_NOTIFY_INVAL_ENTRY && h.error == FUSE_NOTIFY_DELETE) {
		struct fuse_notify_delete_out o;

		memcpy(&o, body, sizeof(o));
		return o.parent == w->id && strcmp((const char *)body + sizeof(o), w->name) == 0;
	}
	return false;
}

static void
expect(struct fk *k, struct want w)
{
	if (!fk_wait_note(k, is_wanted, &w, SOON_MS))
		fail_msg("no notification %d about %llu %s", w.code, (unsigned long long)w.id,
			w.name != NULL ? w.name : "");
}

#define EXPECT_DATA(k, id_)  expect(k, (struct want){FUSE_NOTIFY_INVAL_INODE, id_, NULL, 0})
#define EXPECT_ATTRS(k, id_) expect(k, (struct want){FUSE_NOTIFY_INVAL_INODE, id_, NULL, -1})
#define EXPECT_ENTRY(k, dir_, name_)                                                               \
	expect(k, (struct want){FUSE_NOTIFY_INVAL_ENTRY, dir_, name_, 0})

static bool
is_any(const uint8_t *msg, size_t n, void *arg)
{
	(void)msg;
	(void)n;
	(void)arg;
	return true;
}

static void
expect_silence(struct fk *k)
{
	assert_false(fk_wait_note(k, is_any, NULL, QUIET_MS));
}

/* The events of everything before it have been read. */
static void
expect_settled(struct fk *k)
{
	while (fk_wait_note(k, is_any, NULL, QUIET_MS))
		;
}

static uint64_t
ttl(struct fk *k, uint64_t id)
{
	assert_int_equal(fk_getattr(k, id, NULL), 0);
	return FK_OUT(k, fuse_attr_out).attr_valid;
}

static void
test_content(void **state)
{
	struct fk *k = *state;
	uint64_t id;

	fk_host_file(k, "f", "one");
	id = fk_walk(k, "f");
	assert_true(FK_OUT(k, fuse_entry_out).entry_valid > 60);
	assert_true(FK_OUT(k, fuse_entry_out).attr_valid > 60);
	fk_host_file(k, "f", "three");
	EXPECT_DATA(k, id);
	/* Same size; and again, in the same tick or not. */
	for (int i = 0; i < 5; i++) {
		assert_int_equal(fk_getattr(k, id, NULL), 0);
		fk_host_file(k, "f", i % 2 ? "three" : "seven");
		EXPECT_DATA(k, id);
	}
}

static void
test_attributes(void **state)
{
	struct fk *k = *state;
	uint64_t id, d;

	fk_host_file(k, "f", "one");
	assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
	id = fk_walk(k, "f");
	d = fk_walk(k, "d");
	assert_int_equal(fk_lookup(k, d, "x"), 0);
	fk_wait_note(k, is_any, NULL, QUIET_MS); /* of the racy start */
	assert_int_equal(fchmodat(k->rootfd, "f", 0600, 0), 0);
	EXPECT_ATTRS(k, id);
	assert_int_equal(fchmodat(k->rootfd, "d", 0700, 0), 0);
	EXPECT_ATTRS(k, d);
}

static void
test_names(void **state)
{
	struct fk *k = *state;
	uint64_t d;

	assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
	d = fk_walk(k, "d");
	/* created, after it was said not to exist */
	assert_int_equal(fk_lookup(k, d, "new"), 0);
	assert_true(FK_OUT(k, fuse_entry_out).entry_valid > 60);
	fk_host_file(k, "d/new", "x");
	EXPECT_ENTRY(k, d, "new");
	/* deleted */
	assert_true(fk_lookup(k, d, "new") > 0);
	assert_int_equal(unlinkat(k->rootfd, "d/new", 0), 0);
	EXPECT_ENTRY(k, d, "new");
	/* replaced, as editors save */
	fk_host_file(k, "d/f", "one");
	assert_true(fk_lookup(k, d, "f") > 0);
	fk_host_file(k, "d/f~", "two");
	assert_int_equal(renameat(k->rootfd, "d/f~", k->rootfd, "d/f"), 0);
	EXPECT_ENTRY(k, d, "f");
	/* moved, and a folder, with what is below it */
	assert_true(fk_lookup(k, d, "f") > 0);
	assert_int_equal(renameat(k->rootfd, "d/f", k->rootfd, "f"), 0);
	EXPECT_ENTRY(k, d, "f");
	assert_int_equal(renameat(k->rootfd, "d", k->rootfd, "e"), 0);
	EXPECT_ENTRY(k, ROOT, "d");
}

/* A name that was never asked for: the listing that the guest may have cached lacks it. */
static void
test_listing(void **state)
{
	struct fk *k = *state;
	uint64_t d;

	assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
	d = fk_walk(k, "d");
	assert_int_equal(fk_call(k, FUSE_OPENDIR, d, FK_IN(fuse_open_in, 0), NULL, 0), 0);
	assert_true(FK_OUT(k, fuse_open_out).open_flags & FOPEN_CACHE_DIR);
	fk_host_file(k, "d/unheard", "");
	/* First what waits for whoever is reading it, then the pages. */
	EXPECT_ENTRY(k, d, ".");
	EXPECT_DATA(k, d);
}

static void
test_own_changes_are_silent(void **state)
{
	struct fk *k = *state;
	struct fk_made f, g;
	uint64_t d;

	assert_int_equal(fk_mkdir(k, ROOT, "d", 0755), 0);
	d = FK_OUT(k, fuse_entry_out).nodeid;
	assert_int_equal(fk_create(k, d, "f", O_RDWR, 0644, &f), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(fk_write(k, f.id, f.fh, (uint64_t)i * 5, "hello", 0), 5);
	assert_int_equal(
		fk_call(k, FUSE_SETATTR, f.id,
			FK_IN(fuse_setattr_in, .valid = FATTR_MODE | FATTR_MTIME | FATTR_SIZE,
				.mode = 0600, .mtime = 1, .size = 50),
			NULL, 0),
		0);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	assert_int_equal(fk_call(k, FUSE_LINK, d, FK_IN(fuse_link_in, f.id), "g", 2), 0);
	assert_int_equal(fk_rename(k, d, "g", ROOT, "h", 0), 0);
	assert_int_equal(fk_rename(k, ROOT, "h", d, "f", RENAME_EXCHANGE), 0);
	assert_int_equal(fk_create(k, d, "i", O_WRONLY, 0444, &g), 0);
	assert_int_equal(fk_write(k, g.id, g.fh, 0, "x", 0), 1);
	assert_int_equal(fk_rename(k, d, "i", d, "f", 0), 0);
	assert_int_equal(fk_call(k, FUSE_SYMLINK, d, NULL, 0, "s\0t", 4), 0);
	assert_int_equal(fk_name(k, FUSE_UNLINK, d, "s"), 0);
	assert_int_equal(fk_lookup(k, d, "s"), 0);
	assert_int_equal(fk_mkdir(k, d, "sub", 0755), 0);
	assert_int_equal(fk_name(k, FUSE_RMDIR, d, "sub"), 0);
	expect_silence(k);
	/* The control: somebody else's is not. */
	assert_int_equal(fchmodat(k->rootfd, "d/f", 0640, 0), 0);
	EXPECT_ATTRS(k, g.id);
}

/* A change that has not been noticed yet must not be taken for the guest's own. */
static void
test_host_and_guest_write(void **state)
{
	struct fk *k = *state;
	struct fk_made f;

	assert_int_equal(fk_create(k, ROOT, "f", O_RDWR, 0644, &f), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(fk_write(k, f.id, f.fh, 0, "guest", 0), 5);
		fk_host_file(k, "f", "from the host");
		assert_int_equal(fk_write(k, f.id, f.fh, 20, "guest", 0), 5);
		EXPECT_DATA(k, f.id);
	}
}

/* Nothing about a file tells that it changed but the event. */
static void
test_data_after_the_times(void **state)
{
	struct fk *k = *state;
	uint64_t id;
	char *map;
	int fd;

	fk_host_file(k, "f", "one");
	id = fk_walk(k, "f");
	map = fk_host_under_way(k, "f", &fd);
	for (int n = 0; n < 2; n++) /* notes come behind the reply that they belong to */
		assert_int_equal(fk_getattr(k, id, NULL), 0);
	buf_clear(&k->notes);
	map[0] = 'b';
	assert_int_equal(munmap(map, 1), 0);
	close(fd);
	EXPECT_DATA(k, id);
}

/* Among those that have come by now. */
static bool
has_come(const struct fk *k, struct want w)
{
	struct fuse_out_header h;

	for (size_t at = 0; at < k->notes.len; at += h.len) {
		memcpy(&h, k->notes.data + at, sizeof(h));
		if (is_wanted(k->notes.data + at, h.len, &w))
			return true;
	}
	return false;
}

static bool
is_about(const uint8_t *msg, size_t n, void *arg)
{
	struct want w = {FUSE_NOTIFY_INVAL_INODE, *(uint64_t *)arg, NULL, -1};

	return is_wanted(msg, n, &w);
}

/*
 * Whoever opens a file asks next how long it is, and the guest's kernel throws the answer away when
 * a notification comes before the program has it. So there is one before the reply, and none after.
 */
static void
test_open_brings_the_change(void **state)
{
	struct fk *k = *state;
	uint64_t id;

	fk_host_file(k, "f", "one");
	id = fk_walk(k, "f");
	expect_settled(k);
	fk_host_file(k, "f", "longer");
	assert_true(fk_open(k, id, O_RDONLY) >= 0);
	assert_true(has_come(k, (struct want){FUSE_NOTIFY_INVAL_INODE, id, NULL, 0}));
	buf_clear(&k->notes);
	assert_false(fk_wait_note(k, is_about, &id, QUIET_MS));
}

/* The answer says by another size that the pages are old, and nothing else does; one size does not.
 */
static void
test_attributes_bring_the_change(void **state)
{
	struct fk *k = *state;
	struct fuse_attr at;
	uint64_t id;

	fk_host_file(k, "f", "one");
	id = fk_walk(k, "f");
	expect_settled(k);
	fk_host_file(k, "f", "longer");
	assert_int_equal(fk_getattr(k, id, &at), 0);
	assert_int_equal(at.size, 6);
	assert_false(fk_wait_note(k, is_about, &id, QUIET_MS));
	fk_host_file(k, "f", "LONGER");
	assert_int_equal(fk_getattr(k, id, &at), 0);
	EXPECT_DATA(k, id);
}

/* An open shows what the host did, even before the event came through. */
static void
test_open_after_change(void **state)
{
	struct fk *k = *state;
	uint64_t id;

	fk_host_file(k, "f", "one");
	id = fk_walk(k, "f");
	assert_true(fk_open(k, id, O_RDONLY) >= 0);
	assert_true(FK_OUT(k, fuse_open_out).open_flags & FOPEN_KEEP_CACHE);
	fk_host_file(k, "f", "longer");
	assert_true(fk_open(k, id, O_RDONLY) >= 0);
	assert_false(FK_OUT(k, fuse_open_out).open_flags & FOPEN_KEEP_CACHE);
}

/* A file with a second name, in a folder that the guest never looked into. */
static void
test_hard_link_elsewhere(void **state)
{
	struct fk *k = *state;
	uint64_t id, plain;

	assert_int_equal(mkdirat(k->rootfd, "hidden", 0755), 0);
	fk_host_file(k, "hidden/f", "one");
	assert_int_equal(linkat(k->rootfd, "hidden/f", k->rootfd, "f", 0), 0);
	fk_host_file(k, "plain", "one");
	id = fk_walk(k, "f");
	plain = fk_walk(k, "plain");
	fk_host_file(k, "hidden/f", "changed");
	EXPECT_DATA(k, id);
	/* A second name made later, where it is seen being made. */
	assert_int_equal(linkat(k->rootfd, "plain", k->rootfd, "twin", 0), 0);
	EXPECT_ATTRS(k, plain);
	assert_int_equal(renameat(k->rootfd, "twin", k->rootfd, "hidden/twin"), 0);
	assert_int_equal(fk_getattr(k, plain, NULL), 0);
	fk_host_file(k, "hidden/twin", "changed too");
	EXPECT_DATA(k, plain);
}

/* rename(2) of one hard link onto another does nothing: both names stay known. */
static void
test_rename_of_same_file(void **state)
{
	struct fk *k = *state;
	uint64_t id;

	fk_host_file(k, "a", "x");
	id = fk_walk(k, "a");
	assert_int_equal(fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, id), "b", 2), 0);
	assert_int_equal(fk_rename(k, ROOT, "a", ROOT, "b", 0), 0);
	assert_int_equal(unlinkat(k->rootfd, "a", 0), 0);
	EXPECT_ENTRY(k, ROOT, "a");
	assert_int_equal(unlinkat(k->rootfd, "b", 0), 0);
	EXPECT_ENTRY(k, ROOT, "b");
}

/* Reads what there is; true where some event with these bits is about the name. */
static bool
host_hears(int watcher, const char *name, uint32_t bits)
{
	char b[8192] __attribute__((aligned(8)));
	ssize_t n = read(watcher, b, sizeof(b));
	bool heard = false;

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *ev = (const void *)(b + at);

		heard |= ev->len > 0 && strcmp(ev->name, name) == 0 && (ev->mask & bits);
		at += (ssize_t)(sizeof(*ev) + ev->len);
	}
	return heard;
}

/* Who watches on the host, an editor or another sandbox, hears of a write by a name that is there.
 */
static void
test_host_watchers_hear(void **state)
{
	struct fk *k = *state;
	CLEAN_CLOSE int watcher = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	struct fuse_entry_out eo;
	struct fuse_open_out oo;
	struct fk_made f;
	char root[80];

	snprintf(root, sizeof(root), "%s/root", k->dir);
	assert_true(inotify_add_watch(watcher, root, IN_MODIFY | IN_ATTRIB | IN_EXCL_UNLINK) >= 0);
	assert_int_equal(fk_create(k, ROOT, "f", O_RDWR, 0644, &f), 0);
	assert_int_equal(fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, f.id), "g", 2), 0);
	assert_int_equal(fk_name(k, FUSE_UNLINK, ROOT, "f"), 0);
	host_hears(watcher, "", 0);
	assert_int_equal(fk_write(k, f.id, f.fh, 0, "x", 0), 1);
	assert_true(host_hears(watcher, "g", IN_MODIFY));
	assert_int_equal(
		fk_call(k, FUSE_SETATTR, f.id,
			FK_IN(fuse_setattr_in, .valid = FATTR_MODE, .mode = 0600), NULL, 0),
		0);
	assert_true(host_hears(watcher, "g", IN_ATTRIB));
	assert_int_equal(
		fk_call(k, FUSE_TMPFILE, ROOT,
			FK_IN(fuse_create_in, .flags = O_RDWR, .mode = S_IFREG | 0600), "/", 2),
		0);
	memcpy(&eo, k->body.data, sizeof(eo));
	memcpy(&oo, k->body.data + sizeof(eo), sizeof(oo));
	assert_int_equal(fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, eo.nodeid), "t", 2), 0);
	assert_int_equal(fk_write(k, eo.nodeid, oo.fh, 0, "x", 0), 1);
	assert_true(host_hears(watcher, "t", IN_MODIFY));
}

/* A change of mode alone, which has not been noticed yet, must survive an open, a write, a rename.
 */
static void
test_mode_unnoticed(void **state)
{
	struct fk *k = *state;
	struct fk_made f;

	assert_int_equal(fk_create(k, ROOT, "f", O_RDWR, 0644, &f), 0);
	expect_silence(k);
	assert_int_equal(fchmodat(k->rootfd, "f", 0600, 0), 0);
	assert_true(fk_open(k, f.id, O_RDONLY) >= 0);
	EXPECT_ATTRS(k, f.id);
	assert_int_equal(fchmodat(k->rootfd, "f", 0640, 0), 0);
	assert_int_equal(fk_write(k, f.id, f.fh, 0, "x", 0), 1);
	EXPECT_ATTRS(k, f.id);
	assert_int_equal(fchmodat(k->rootfd, "f", 0660, 0), 0);
	assert_int_equal(fk_rename(k, ROOT, "f", ROOT, "g", 0), 0);
	EXPECT_ATTRS(k, f.id);
	assert_int_equal(fchmodat(k->rootfd, "g", 0600, 0), 0);
	assert_int_equal(fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, f.id), "h", 2), 0);
	EXPECT_ATTRS(k, f.id);
	assert_int_equal(fchmodat(k->rootfd, "h", 0644, 0), 0);
	assert_int_equal(fk_name(k, FUSE_UNLINK, ROOT, "g"), 0);
	EXPECT_ATTRS(k, f.id);
}

/* Where nothing can be watched, the guest is told to look again after a second. */
static void
test_unwatched_folder(void **state)
{
	struct fk *k = *state;
	uint64_t d, f;

	fk_stop(k);
	fk_start(k, FK_NO_INOTIFY);
	assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
	fk_host_file(k, "d/f", "one");
	d = fk_walk(k, "d");
	f = fk_walk(k, "d/f");
	assert_int_equal(FK_OUT(k, fuse_entry_out).entry_valid, 1);
	assert_int_equal(FK_OUT(k, fuse_entry_out).attr_valid, 1);
	assert_int_equal(fk_lookup(k, d, "nothing"), 0);
	assert_int_equal(FK_OUT(k, fuse_entry_out).entry_valid, 1);
	assert_true(fk_open(k, f, O_RDONLY) >= 0);
	assert_false(FK_OUT(k, fuse_open_out).open_flags & FOPEN_KEEP_CACHE);
	assert_int_equal(ttl(k, f), 1);
	/* The next look finds the change, and the pages go. */
	fk_host_file(k, "d/f", "longer");
	assert_int_equal(fk_getattr(k, f, NULL), 0);
	EXPECT_DATA(k, f);
}

enum { FILES = 50, STORM = 20000 };

/* What must be said after events were lost, in whatever order. */
struct losses {
	uint64_t dir, ids[FILES];
	bool said[FILES], said_new;
	unsigned left;
};

static bool
all_losses_said(const uint8_t *msg, size_t n, void *arg)
{
	struct losses *l = arg;
	struct want w = {FUSE_NOTIFY_INVAL_ENTRY, l->dir, "new", 0};
	char name[32];

	if (!l->said_new && is_wanted(msg, n, &w)) {
		l->said_new = true;
		l->left--;
	}
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		w = i % 2 ? (struct want){FUSE_NOTIFY_INVAL_INODE, l->ids[i], NULL, 0}
			  : (struct want){FUSE_NOTIFY_INVAL_ENTRY, l->dir, name, 0};
		if (!l->said[i] && is_wanted(msg, n, &w)) {
			l->said[i] = true;
			l->left--;
		}
	}
	return l->left == 0;
}

/* More events than the kernel keeps: everything is compared, nothing stays stale. */
static void
test_overflow(void **state)
{
	struct fk *k = *state;
	struct losses l = {.left = FILES + 1};
	char name[32];

	assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "storm", 0755), 0);
	l.dir = fk_walk(k, "d");
	assert_int_equal(fk_lookup(k, fk_walk(k, "storm"), "x"), 0);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "d/f%d", i);
		fk_host_file(k, name, "one");
		l.ids[i] = fk_walk(k, name);
	}
	assert_int_equal(fk_lookup(k, l.dir, "new"), 0);
	fk_wait_note(k, is_any, NULL, QUIET_MS);
	kill(k->pid, SIGSTOP);
	for (int i = 0; i < STORM; i++) {
		snprintf(name, sizeof(name), "storm/f%d", i);
		assert_int_equal(mknodat(k->rootfd, name, S_IFREG | 0644, 0), 0);
	}
	/* These events are lost. */
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "d/f%d", i);
		if (i % 2)
			fk_host_file(k, name, "longer");
		else
			assert_int_equal(unlinkat(k->rootfd, name, 0), 0);
	}
	fk_host_file(k, "d/new", "");
	kill(k->pid, SIGCONT);
	assert_true(fk_wait_note(k, all_losses_said, &l, SOON_MS));
}

/*
 * The host moves b out of a, then a into b, and the guest, which knows b, finds a in it before any
 * of that is noticed: what is known never goes round in a circle, in which whoever looks for the
 * root would go for ever.
 */
static void
test_moved_into_its_own(void **state)
{
	struct fk *k = *state;
	struct fk_made made;
	uint64_t a, b;
	int r;

	assert_int_equal(mkdirat(k->rootfd, "a", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "a/b", 0755), 0);
	a = fk_walk(k, "a");
	b = fk_walk(k, "a/b");
	assert_int_equal(fk_lookup(k, b, "none"), 0); /* it is at hand from now on */
	kill(k->pid, SIGSTOP);
	assert_int_equal(renameat(k->rootfd, "a/b", k->rootfd, "b"), 0);
	assert_int_equal(renameat(k->rootfd, "a", k->rootfd, "b/a"), 0);
	fk_send(k, FUSE_LOOKUP, b, NULL, 0, "a", 2);
	kill(k->pid, SIGCONT);
	assert_int_equal(fk_answer(k), 0);
	assert_int_equal(FK_OUT(k, fuse_entry_out).nodeid, a);
	r = fk_create(k, a, "x", O_RDWR, 0644, &made);
	assert_true(r == 0 || r == -ESTALE);
	EXPECT_ENTRY(k, a, "b");
	assert_int_equal(fk_walk(k, "b"), b);
	assert_int_equal(fk_walk(k, "b/a"), a);
	assert_int_equal(fk_create(k, a, "y", O_RDWR, 0644, &made), 0);
	fk_host_is(k, "b/a/y", "");
}

/* Whoever has it open goes on, as on a disk; it leads nowhere. */
static void
test_removed_folder(void **state)
{
	struct fk *k = *state;
	struct fuse_attr at;
	int64_t id;

	assert_int_equal(mkdirat(k->rootfd, "d", 0755), 0);
	assert_int_equal(mkdirat(k->rootfd, "e", 0755), 0);
	id = fk_lookup(k, ROOT, "d");
	assert_true(fk_lookup(k, (uint64_t)id, "none") == 0);
	assert_int_equal(renameat(k->rootfd, "e", k->rootfd, "d"), 0);
	EXPECT_ENTRY(k, ROOT, "d");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fk_getattr(k, (uint64_t)id, &at), 0);
		assert_int_equal(at.nlink, 0);
		assert_int_equal(fk_mkdir(k, (uint64_t)id, "x", 0755), -ENOENT);
	}
	assert_int_equal(
		fk_call(k, FUSE_OPENDIR, (uint64_t)id, FK_IN(fuse_open_in, 0), NULL, 0), 0);
	/* One that was only moved is not reached by what was known of it. */
	id = fk_lookup(k, ROOT, "d");
	assert_true(fk_lookup(k, (uint64_t)id, "none") == 0);
	assert_int_equal(renameat(k->rootfd, "d", k->dirfd, "away"), 0);
	EXPECT_ENTRY(k, ROOT, "d");
	assert_int_equal(fk_getattr(k, (uint64_t)id, NULL), -ESTALE);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fk_setup, fk_teardown)
	const struct CMUnitTest tests[] = {
		T(test_content),
		T(test_attributes),
		T(test_names),
		T(test_moved_into_its_own),
		T(test_removed_folder),
		T(test_listing),
		T(test_own_changes_are_silent),
		T(test_host_and_guest_write),
		T(test_data_after_the_times),
		T(test_open_brings_the_change),
		T(test_attributes_bring_the_change),
		T(test_open_after_change),
		T(test_hard_link_elsewhere),
		T(test_rename_of_same_file),
		T(test_host_watchers_hear),
		T(test_mode_unnoticed),
		T(test_unwatched_folder),
		T(test_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
