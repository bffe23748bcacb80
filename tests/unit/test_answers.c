/* What the guest's pump answers by itself, and when it must not. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/mem.h>
#include <wire/fuse.h>

#include "answers.h"

#define FILE_ID 7
#define DIR_ID  9
#define TEXT    "content"

struct rig {
	struct answers a;
	struct buf reply;
	uint8_t msg[512]; /* the last request, as it goes to the host */
	size_t n;
	uint64_t unique;
};

static int
setup(void **state)
{
	struct rig *r = xcalloc(1, sizeof(*r));

	answers_init(&r->a);
	*state = r;
	return 0;
}

static int
teardown(void **state)
{
	struct rig *r = *state;

	answers_release(&r->a);
	buf_release(&r->reply);
	free(r);
	return 0;
}

static enum answers_what
ask(struct rig *r, uint32_t opcode, uint64_t id, const void *body, size_t nbody, const char *name)
{
	struct fuse_in_header h = {.opcode = opcode, .nodeid = id, .unique = r->unique += 2};
	enum answers_what what;

	if (nbody > 0)
		memcpy(r->msg + sizeof(h), body, nbody);
	r->n = sizeof(h) + nbody;
	if (name != NULL) {
		strcpy((char *)r->msg + r->n, name);
		r->n += strlen(name) + 1;
	}
	h.len = (uint32_t)r->n;
	memcpy(r->msg, &h, sizeof(h));
	buf_clear(&r->reply);
	what = answers_request(&r->a, r->msg, r->n, 1000, &r->reply);
	if (what == ANSWERS_SEND || what == ANSWERS_REPLY_SEND)
		answers_sending(&r->a, r->msg, r->n);
	return what;
}
#define ASK(r, op, id, type, ...)                                                                  \
	ask(r, op, id, &(struct type){__VA_ARGS__}, sizeof(struct type), NULL)

static void
tell(struct rig *r, enum fuse_push_code code, uint64_t id, uint64_t seen, const char *content)
{
	struct fuse_push p = {
		.seen = seen, .nodeid = id, .ttl_s = 60, .attr = {.size = strlen(content)}};
	struct fuse_out_header h = {.error = (int)code};
	uint8_t msg[512];

	memcpy(msg, &h, sizeof(h));
	memcpy(msg + sizeof(h), &p, sizeof(p));
	memcpy(msg + sizeof(h) + sizeof(p), content, strlen(content));
	assert_true(answers_note(&r->a, msg, sizeof(h) + sizeof(p) + strlen(content)));
}

struct name {
	const char *name;
	uint64_t id;
	uint32_t nlink; /* 0 stands for 1 */
};

/* Entries of DIR_ID at this offset, 100 between one and the next. */
static void
tell_listing(
	struct rig *r, uint64_t seen, uint64_t offset, bool end, const struct name *names, size_t n)
{
	struct fuse_push p = {.seen = seen, .nodeid = DIR_ID, .ttl_s = 60};
	struct fuse_push_listing l = {.offset = offset, .flags = end ? FUSE_PUSH_LISTING_END : 0};
	struct fuse_out_header h = {.error = FUSE_PUSH_LISTING};
	struct buf b = BUF_INIT;

	buf_append(&b, &h, sizeof(h));
	buf_append(&b, &p, sizeof(p));
	buf_append(&b, &l, sizeof(l));
	for (size_t k = 0; k < n; k++) {
		struct fuse_direntplus d = {
			.entry_out = {.nodeid = names[k].id,
				.attr = {.mode = S_IFREG | 0644,
					.nlink = names[k].nlink > 0 ? names[k].nlink : 1}},
			.dirent = {.off = offset + 100 * (k + 1),
				.namelen = (uint32_t)strlen(names[k].name)}};
		size_t at = b.len, size = FUSE_DIRENTPLUS_SIZE(&d);

		memset(buf_reserve(&b, size), 0, size);
		buf_commit(&b, size);
		memcpy(b.data + at, &d, FUSE_NAME_OFFSET_DIRENTPLUS);
		memcpy(b.data + at + FUSE_NAME_OFFSET_DIRENTPLUS, names[k].name, d.dirent.namelen);
	}
	assert_true(answers_note(&r->a, b.data, b.len));
	buf_release(&b);
}

/* The kernel's own notification; it is to get it too. */
static void
invalidate(struct rig *r, uint64_t id)
{
	struct fuse_notify_inval_inode_out n = {.ino = id, .off = -1};
	struct fuse_out_header h = {.error = FUSE_NOTIFY_INVAL_INODE};
	uint8_t msg[sizeof(h) + sizeof(n)];

	memcpy(msg, &h, sizeof(h));
	memcpy(msg + sizeof(h), &n, sizeof(n));
	assert_false(answers_note(&r->a, msg, sizeof(msg)));
}

static int
error_of(const struct rig *r)
{
	struct fuse_out_header h;

	memcpy(&h, r->reply.data, sizeof(h));
	assert_int_equal(h.unique, r->unique);
	return h.error;
}

static uint64_t
open_here(struct rig *r)
{
	struct fuse_open_out oo;

	assert_int_equal(
		ASK(r, FUSE_OPEN, FILE_ID, fuse_open_in, .flags = O_RDONLY), ANSWERS_REPLY);
	memcpy(&oo, r->reply.data + sizeof(struct fuse_out_header), sizeof(oo));
	return oo.fh;
}

static uint64_t
sent_fh(const struct rig *r)
{
	uint64_t fh;

	memcpy(&fh, r->msg + sizeof(struct fuse_in_header), sizeof(fh));
	return fh;
}

static void
test_small_file(void **state)
{
	struct rig *r = *state;
	uint64_t fh;

	assert_int_equal(ASK(r, FUSE_OPEN, FILE_ID, fuse_open_in, .flags = O_RDONLY), ANSWERS_SEND);
	tell(r, FUSE_PUSH_FILE, FILE_ID, 1, TEXT);
	fh = open_here(r);
	assert_int_equal(ASK(r, FUSE_READ, FILE_ID, fuse_read_in, .fh = fh, .offset = 3, .size = 2),
		ANSWERS_REPLY);
	assert_int_equal(r->reply.len, sizeof(struct fuse_out_header) + 2);
	assert_memory_equal(r->reply.data + sizeof(struct fuse_out_header), &TEXT[3], 2);
	assert_int_equal(
		ASK(r, FUSE_READ, FILE_ID, fuse_read_in, .fh = fh, .size = 4096), ANSWERS_REPLY);
	assert_int_equal(r->reply.len, sizeof(struct fuse_out_header) + strlen(TEXT));
	/* The kernel has had it all: once more is the host's business, by the inode alone. */
	assert_int_equal(
		ASK(r, FUSE_READ, FILE_ID, fuse_read_in, .fh = fh, .size = 4096), ANSWERS_SEND);
	assert_true(sent_fh(r) == FUSE_PUSH_FH);
	assert_int_equal(ASK(r, FUSE_RELEASE, FILE_ID, fuse_release_in, .fh = fh), ANSWERS_REPLY);
	assert_int_equal(error_of(r), 0);
	assert_int_equal(r->a.handles.n, 0);
}

static void
test_writers_go_to_the_host(void **state)
{
	struct rig *r = *state;

	tell(r, FUSE_PUSH_FILE, FILE_ID, 1, TEXT);
	assert_int_equal(ASK(r, FUSE_OPEN, FILE_ID, fuse_open_in, .flags = O_RDONLY | O_TRUNC),
		ANSWERS_SEND);
	assert_int_equal(ASK(r, FUSE_OPEN, FILE_ID, fuse_open_in, .flags = O_RDONLY), ANSWERS_SEND);
	tell(r, FUSE_PUSH_FILE, FILE_ID, 2, TEXT);
	assert_int_equal(ASK(r, FUSE_OPEN, FILE_ID, fuse_open_in, .flags = O_RDWR), ANSWERS_SEND);
	assert_int_equal(ASK(r, FUSE_READ, FILE_ID, fuse_read_in, .size = 9), ANSWERS_SEND);
	tell(r, FUSE_PUSH_FILE, FILE_ID, 4, TEXT);
	open_here(r);
}

/* Every change of the guest's own, and that of the host, ends what was told. */
static void
test_changes(void **state)
{
	static const uint32_t ops[] = {FUSE_SETATTR, FUSE_FALLOCATE, FUSE_COPY_FILE_RANGE};
	struct rig *r = *state;
	const uint8_t body[sizeof(struct fuse_copy_file_range_in)] = {0};

	for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
		struct fuse_setattr_in sa = {.valid = FATTR_MODE};
		struct fuse_fallocate_in fa = {.length = 1};
		struct fuse_copy_file_range_in co = {.nodeid_out = FILE_ID, .len = 1};
		const void *in = k == 0 ? (void *)&sa : k == 1 ? (void *)&fa : (void *)&co;
		size_t n = k == 0 ? sizeof(sa) : k == 1 ? sizeof(fa) : sizeof(co);

		tell(r, FUSE_PUSH_ATTR, FILE_ID, r->a.sent, TEXT);
		assert_int_equal(ASK(r, FUSE_GETATTR, FILE_ID, fuse_getattr_in, 0), ANSWERS_REPLY);
		assert_int_equal(
			ask(r, ops[k], k == 2 ? DIR_ID : FILE_ID, in, n, NULL), ANSWERS_SEND);
		assert_int_equal(ASK(r, FUSE_GETATTR, FILE_ID, fuse_getattr_in, 0), ANSWERS_SEND);
		/* Told before the host had taken the change. */
		tell(r, FUSE_PUSH_ATTR, FILE_ID, r->a.sent - 2, TEXT);
		assert_int_equal(ASK(r, FUSE_GETATTR, FILE_ID, fuse_getattr_in, 0), ANSWERS_SEND);
	}
	tell(r, FUSE_PUSH_ATTR, FILE_ID, r->a.sent, TEXT);
	assert_int_equal(ASK(r, FUSE_GETATTR, FILE_ID, fuse_getattr_in, 0), ANSWERS_REPLY);
	invalidate(r, FILE_ID);
	assert_int_equal(ASK(r, FUSE_GETATTR, FILE_ID, fuse_getattr_in, 0), ANSWERS_SEND);
	/* Another file's link count is not in the message. */
	tell(r, FUSE_PUSH_ATTR, FILE_ID, r->a.sent, TEXT);
	assert_int_equal(ask(r, FUSE_UNLINK, DIR_ID, body, 0, "f"), ANSWERS_SEND);
	assert_int_equal(ASK(r, FUSE_GETATTR, FILE_ID, fuse_getattr_in, 0), ANSWERS_SEND);
}

static void
test_owner(void **state)
{
	struct rig *r = *state;

	tell(r, FUSE_PUSH_ATTR, FILE_ID, 0, TEXT);
	invalidate(r, FILE_ID);
	tell(r, FUSE_PUSH_ATTR, FILE_ID, 0, TEXT);
	assert_int_equal(
		ASK(r, FUSE_SETATTR, FILE_ID, fuse_setattr_in, .valid = FATTR_UID | FATTR_GID),
		ANSWERS_REPLY);
	assert_int_equal(
		ASK(r, FUSE_SETATTR, FILE_ID, fuse_setattr_in, .valid = FATTR_UID | FATTR_MODE),
		ANSWERS_SEND);
}

static void
test_empty_folder(void **state)
{
	struct rig *r = *state;
	struct fuse_create_in in = {.flags = O_WRONLY};

	tell_listing(r, 0, 0, true, NULL, 0);
	assert_int_equal(ask(r, FUSE_LOOKUP, DIR_ID, NULL, 0, "f"), ANSWERS_REPLY);
	assert_int_equal(error_of(r), -ENOENT);
	assert_int_equal(ask(r, FUSE_CREATE, DIR_ID, &in, sizeof(in), "f"), ANSWERS_SEND);
	assert_int_equal(ask(r, FUSE_LOOKUP, DIR_ID, NULL, 0, "f"), ANSWERS_SEND);
	assert_int_equal(ask(r, FUSE_LOOKUP, DIR_ID, NULL, 0, "g"), ANSWERS_REPLY);
	/* The host has put something there. */
	invalidate(r, DIR_ID);
	assert_int_equal(ask(r, FUSE_LOOKUP, DIR_ID, NULL, 0, "g"), ANSWERS_SEND);
}

static const struct name three[] = {{"a", 101, 0}, {"bb", 102, 2}, {"c", 103, 0}};

static enum answers_what
look_up(struct rig *r, const char *name)
{
	return ask(r, FUSE_LOOKUP, DIR_ID, NULL, 0, name);
}

static uint64_t
found_id(const struct rig *r)
{
	struct fuse_entry_out eo;

	assert_int_equal(error_of(r), 0);
	assert_int_equal(r->reply.len, sizeof(struct fuse_out_header) + sizeof(eo));
	memcpy(&eo, r->reply.data + sizeof(struct fuse_out_header), sizeof(eo));
	return eo.nodeid;
}

/* The references that are given back, as a sum of ids. */
static uint64_t
given_back(struct rig *r)
{
	struct buf out = BUF_INIT;
	struct fuse_request q;
	struct fuse_forget_one one;
	uint64_t sum = 0;

	while (answers_keep(&r->a, 0, &out)) {
		assert_int_equal(fuse_request_decode(out.data, out.len, &q), 0);
		assert_int_equal(q.head.opcode, FUSE_BATCH_FORGET);
		for (size_t at = 0; at < q.ndata; at += sizeof(one)) {
			memcpy(&one, q.data + at, sizeof(one));
			assert_int_equal(one.nlookup, 1);
			sum += one.nodeid;
		}
		buf_clear(&out);
	}
	buf_release(&out);
	return sum;
}

static void
test_listed_names(void **state)
{
	struct rig *r = *state;

	tell_listing(r, 0, 0, false, three, 2);
	assert_int_equal(look_up(r, "a"), ANSWERS_REPLY);
	assert_true(found_id(r) == 101);
	/* The one reference is the kernel's: whoever asks again needs another. */
	assert_int_equal(look_up(r, "a"), ANSWERS_SEND);
	assert_int_equal(look_up(r, "none"), ANSWERS_SEND);
	tell_listing(r, r->a.sent, 200, true, three + 2, 1);
	assert_int_equal(look_up(r, "c"), ANSWERS_REPLY);
	assert_true(found_id(r) == 103);
	assert_int_equal(look_up(r, "none"), ANSWERS_REPLY);
	assert_int_equal(error_of(r), -ENOENT);
	assert_int_equal(r->a.listings.used, 1);
	assert_true(given_back(r) == 0);
	/* The host has changed something in it. */
	invalidate(r, DIR_ID);
	assert_int_equal(look_up(r, "bb"), ANSWERS_SEND);
	assert_int_equal(look_up(r, "none"), ANSWERS_SEND);
	assert_true(given_back(r) == 102);
}

/* What is true of an inode no longer is not handed on with its name; neither is a changed name. */
static void
test_listed_and_changed(void **state)
{
	struct rig *r = *state;

	tell_listing(r, 0, 0, true, three, 3);
	invalidate(r, 101);
	assert_int_equal(look_up(r, "a"), ANSWERS_SEND);
	assert_int_equal(look_up(r, "c"), ANSWERS_REPLY);
	tell_listing(r, r->a.sent, 0, true, three, 3);
	assert_int_equal(look_up(r, "a"), ANSWERS_REPLY);
	/* Its link count may be another; that of a file with one name is not. */
	assert_int_equal(ask(r, FUSE_UNLINK, 77, NULL, 0, "x"), ANSWERS_SEND);
	assert_int_equal(look_up(r, "bb"), ANSWERS_SEND);
	assert_int_equal(look_up(r, "c"), ANSWERS_REPLY);
	tell_listing(r, r->a.sent, 0, true, three, 3);
	assert_int_equal(
		ASK(r, FUSE_SETATTR, 103, fuse_setattr_in, .valid = FATTR_MODE), ANSWERS_SEND);
	assert_int_equal(look_up(r, "c"), ANSWERS_SEND);
	tell_listing(r, r->a.sent, 0, true, three, 3);
	assert_int_equal(ask(r, FUSE_UNLINK, DIR_ID, NULL, 0, "a"), ANSWERS_SEND);
	assert_int_equal(look_up(r, "a"), ANSWERS_SEND);
	assert_int_equal(look_up(r, "none"), ANSWERS_REPLY);
	/* Told before the host had taken that. */
	tell_listing(r, r->a.sent - 2, 0, true, three, 3);
	assert_int_equal(look_up(r, "a"), ANSWERS_SEND);
}

static void
test_hard_link_of_listed(void **state)
{
	const struct fuse_link_in in = {.oldnodeid = 101};
	struct rig *r = *state;

	tell_listing(r, 0, 0, true, three, 3);
	assert_int_equal(ask(r, FUSE_LINK, 77, &in, sizeof(in), "x"), ANSWERS_SEND);
	assert_int_equal(look_up(r, "a"), ANSWERS_SEND);
	assert_int_equal(look_up(r, "c"), ANSWERS_REPLY);
}

static enum answers_what
read_at(struct rig *r, uint64_t offset, uint32_t size)
{
	return ASK(r, FUSE_READDIRPLUS, DIR_ID, fuse_read_in, .offset = offset, .size = size);
}

/* The first record of the reply. */
static struct fuse_direntplus
first_read(const struct rig *r)
{
	struct fuse_direntplus d;

	assert_int_equal(error_of(r), 0);
	memcpy(&d, r->reply.data + sizeof(struct fuse_out_header), FUSE_NAME_OFFSET_DIRENTPLUS);
	return d;
}

static void
test_read_listed(void **state)
{
	const size_t head = sizeof(struct fuse_out_header), one = 160;
	struct rig *r = *state;

	assert_int_equal(read_at(r, 0, 4096), ANSWERS_SEND);
	tell_listing(r, 0, 0, false, three, 2);
	assert_int_equal(look_up(r, "bb"), ANSWERS_REPLY);
	assert_int_equal(read_at(r, 0, one), ANSWERS_REPLY);
	assert_int_equal(r->reply.len, head + one);
	assert_true(first_read(r).entry_out.nodeid == 101);
	/* It has that already: only the name. */
	assert_int_equal(read_at(r, 100, one), ANSWERS_REPLY);
	assert_true(first_read(r).entry_out.nodeid == 0);
	assert_int_equal(read_at(r, 200, one), ANSWERS_SEND);
	tell_listing(r, r->a.sent, 200, true, three + 2, 1);
	assert_int_equal(read_at(r, 0, 4096), ANSWERS_REPLY);
	assert_int_equal(r->reply.len, head + 3 * one);
	assert_true(first_read(r).entry_out.nodeid == 0);
	assert_int_equal(read_at(r, 300, 4096), ANSWERS_REPLY);
	assert_int_equal(r->reply.len, head);
	assert_int_equal(read_at(r, 42, 4096), ANSWERS_SEND);
	/* A name has gone; the others can still be looked up. */
	assert_int_equal(ask(r, FUSE_RMDIR, DIR_ID, NULL, 0, "bb"), ANSWERS_SEND);
	assert_int_equal(read_at(r, 0, 4096), ANSWERS_SEND);
	assert_int_equal(look_up(r, "none"), ANSWERS_REPLY);
}

/* Every reference that was told is the kernel's or the host's again. */
static void
test_references(void **state)
{
	struct rig *r = *state;

	tell_listing(r, 0, 0, true, three, 3);
	tell_listing(r, 0, 0, true, three, 3);
	assert_true(given_back(r) == 101 + 102 + 103);
	assert_int_equal(look_up(r, "a"), ANSWERS_REPLY);
	/* What the kernel forgets goes with them. */
	assert_int_equal(ASK(r, FUSE_FORGET, DIR_ID, fuse_forget_in, 1), ANSWERS_KEPT);
	assert_int_equal(r->reply.len, 0);
	assert_true(given_back(r) == 102 + 103 + DIR_ID);
	/* A folder goes behind the files that were in it. */
	assert_int_equal(ASK(r, FUSE_FORGET, 104, fuse_forget_in, 1), ANSWERS_KEPT);
	assert_int_equal(r->a.first.len, 0);
	assert_int_equal(ask(r, FUSE_RMDIR, 77, NULL, 0, "d"), ANSWERS_SEND);
	assert_true(r->a.first.len > 0);
	assert_true(given_back(r) == 0);
	buf_clear(&r->a.first);
	assert_int_equal(ask(r, FUSE_UNLINK, DIR_ID, NULL, 0, "a"), ANSWERS_SEND);
	tell_listing(r, r->a.sent - 1, 0, true, three, 3);
	assert_true(given_back(r) == 101 + 102 + 103);
	tell_listing(r, r->a.sent, 0, true, three, 3);
	tell(r, FUSE_PUSH_VOID, DIR_ID, r->a.sent, "");
	assert_true(given_back(r) == 101 + 102 + 103);
	assert_int_equal(look_up(r, "a"), ANSWERS_SEND);
	tell_listing(r, r->a.sent, 0, true, three, 3);
	answers_restart(&r->a);
	assert_true(given_back(r) == 101 + 102 + 103);
	assert_int_equal(look_up(r, "a"), ANSWERS_SEND);
}

/* Cut at every byte: nothing of it is taken, or all. */
static void
test_cut_listing(void **state)
{
	struct rig *r = *state;
	struct fuse_push p = {.nodeid = DIR_ID};
	struct fuse_push_listing l = {.flags = FUSE_PUSH_LISTING_END};
	struct fuse_direntplus d = {
		.entry_out = {.nodeid = 101, .attr = {.nlink = 1}}, .dirent = {.namelen = 1}};
	struct fuse_out_header h = {.error = FUSE_PUSH_LISTING};
	const char name[8] = "a";
	struct buf b = BUF_INIT;
	size_t empty;

	buf_append(&b, &h, sizeof(h));
	buf_append(&b, &p, sizeof(p));
	buf_append(&b, &l, sizeof(l));
	empty = b.len;
	buf_append(&b, &d, FUSE_NAME_OFFSET_DIRENTPLUS);
	buf_append(&b, name, sizeof(name));
	for (size_t n = sizeof(h); n < b.len; n++) {
		assert_true(answers_note(&r->a, b.data, n));
		assert_int_equal(look_up(r, "a"), n == empty ? ANSWERS_REPLY : ANSWERS_SEND);
		invalidate(r, DIR_ID);
	}
	assert_true(answers_note(&r->a, b.data, b.len));
	assert_int_equal(look_up(r, "a"), ANSWERS_REPLY);
	assert_true(found_id(r) == 101);
	buf_release(&b);
}

/* What stays open is opened on the host; its handle is used from then on, and released. */
static void
test_kept_open(void **state)
{
	struct rig *r = *state;
	struct fuse_out_header h = {.len = sizeof(h) + sizeof(struct fuse_open_out)};
	struct fuse_open_out oo = {.fh = 77};
	struct fuse_request q;
	struct buf out = BUF_INIT;
	uint8_t msg[sizeof(h) + sizeof(oo)];
	uint64_t fh;

	tell(r, FUSE_PUSH_FILE, FILE_ID, 0, TEXT);
	fh = open_here(r);
	assert_false(answers_keep(&r->a, 1001, &out));
	assert_true(answers_keep(&r->a, 2000, &out));
	assert_false(answers_keep(&r->a, 2000, &out));
	assert_int_equal(fuse_request_decode(out.data, out.len, &q), 0);
	assert_int_equal(q.head.opcode, FUSE_OPEN);
	assert_true(q.head.nodeid == FILE_ID);
	h.unique = q.head.unique;
	memcpy(msg, &h, sizeof(h));
	memcpy(msg + sizeof(h), &oo, sizeof(oo));
	assert_true(answers_reply(&r->a, msg, sizeof(msg)));
	assert_int_equal(ASK(r, FUSE_LSEEK, FILE_ID, fuse_lseek_in, .fh = fh, .whence = SEEK_DATA),
		ANSWERS_SEND);
	assert_true(sent_fh(r) == 77);
	assert_int_equal(
		ASK(r, FUSE_RELEASE, FILE_ID, fuse_release_in, .fh = fh), ANSWERS_REPLY_SEND);
	assert_true(sent_fh(r) == 77);
	memcpy(&q.head, r->msg, sizeof(q.head));
	assert_true(q.head.unique == 0);
	buf_release(&out);
}

/* Closed while the host is being asked: its handle must not stay. */
/* A lock belongs to a handle of the host's: one is asked for before it. */
static void
test_lock(void **state)
{
	struct rig *r = *state;
	struct fuse_request q;
	uint64_t fh, asked;

	tell(r, FUSE_PUSH_FILE, FILE_ID, 0, TEXT);
	fh = open_here(r);
	assert_int_equal(ASK(r, FUSE_FLUSH, FILE_ID, fuse_flush_in, .fh = fh), ANSWERS_REPLY);
	assert_int_equal(error_of(r), 0);
	assert_int_equal(ASK(r, FUSE_SETLK, FILE_ID, fuse_lk_in, .fh = fh, .lk = {.type = F_RDLCK}),
		ANSWERS_SEND);
	assert_int_equal(fuse_request_decode(r->a.first.data, r->a.first.len, &q), 0);
	assert_int_equal(q.head.opcode, FUSE_OPEN);
	assert_true(q.head.nodeid == FILE_ID);
	asked = q.head.unique;
	assert_true(sent_fh(r) == asked);
	buf_clear(&r->a.first);
	/* Once. And from now on the host hears of each close. */
	assert_int_equal(ASK(r, FUSE_SETLK, FILE_ID, fuse_lk_in, .fh = fh, .lk = {.type = F_UNLCK}),
		ANSWERS_SEND);
	assert_int_equal(r->a.first.len, 0);
	assert_true(sent_fh(r) == asked);
	assert_int_equal(ASK(r, FUSE_FLUSH, FILE_ID, fuse_flush_in, .fh = fh), ANSWERS_SEND);
	assert_int_equal(ASK(r, FUSE_FLUSH, DIR_ID, fuse_flush_in, .fh = 1), ANSWERS_REPLY);
	/* flock alone does not make it so. */
	assert_int_equal(ASK(r, FUSE_SETLK, DIR_ID, fuse_lk_in, .fh = 1, .lk = {.type = F_WRLCK},
				 .lk_flags = FUSE_LK_FLOCK),
		ANSWERS_SEND);
	assert_int_equal(ASK(r, FUSE_FLUSH, DIR_ID, fuse_flush_in, .fh = 1), ANSWERS_REPLY);
}

/* More locked files than are remembered: the host hears of all. */
static void
test_many_locks(void **state)
{
	struct rig *r = *state;

	for (uint64_t id = 100; id < 100 + LOCKED_MAX; id++)
		ASK(r, FUSE_SETLK, id, fuse_lk_in, .fh = 1, .lk = {.type = F_WRLCK});
	assert_int_equal(ASK(r, FUSE_FLUSH, 150, fuse_flush_in, .fh = 1), ANSWERS_SEND);
	assert_int_equal(ASK(r, FUSE_FLUSH, 99, fuse_flush_in, .fh = 1), ANSWERS_SEND);
}

static void
test_closed_meanwhile(void **state)
{
	struct rig *r = *state;
	struct fuse_out_header h = {.len = sizeof(h) + sizeof(struct fuse_open_out)};
	struct fuse_open_out oo = {.fh = 77};
	struct fuse_request q;
	struct buf out = BUF_INIT;
	uint8_t msg[sizeof(h) + sizeof(oo)];
	uint64_t fh;

	tell(r, FUSE_PUSH_FILE, FILE_ID, 0, TEXT);
	fh = open_here(r);
	assert_true(answers_keep(&r->a, 2000, &out));
	assert_int_equal(fuse_request_decode(out.data, out.len, &q), 0);
	assert_int_equal(ASK(r, FUSE_RELEASE, FILE_ID, fuse_release_in, .fh = fh), ANSWERS_REPLY);
	buf_clear(&out);
	assert_false(answers_keep(&r->a, 2000, &out));
	h.unique = q.head.unique;
	memcpy(msg, &h, sizeof(h));
	memcpy(msg + sizeof(h), &oo, sizeof(oo));
	assert_true(answers_reply(&r->a, msg, sizeof(msg)));
	assert_true(answers_keep(&r->a, 2000, &out));
	assert_int_equal(fuse_request_decode(out.data, out.len, &q), 0);
	assert_int_equal(q.head.opcode, FUSE_RELEASE);
	assert_true(q.in.release.fh == 77);
	assert_int_equal(r->a.handles.n, 0);
	buf_release(&out);
}

/* What the host would say to it at any time. */
static void
test_fixed_answers(void **state)
{
	const struct fuse_getxattr_in get = {.size = 20};
	struct rig *r = *state;

	assert_int_equal(ASK(r, FUSE_IOCTL, FILE_ID, fuse_ioctl_in, .cmd = 0x5401 /* TCGETS */),
		ANSWERS_REPLY);
	assert_int_equal(error_of(r), -ENOTTY);
	assert_int_equal(ask(r, FUSE_GETXATTR, FILE_ID, &get, sizeof(get), "security.capability"),
		ANSWERS_REPLY);
	assert_int_equal(error_of(r), -EOPNOTSUPP);
	assert_int_equal(ask(r, FUSE_GETXATTR, FILE_ID, &get, sizeof(get), "user.a"), ANSWERS_SEND);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_small_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writers_go_to_the_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_listed_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_listed_and_changed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hard_link_of_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_references, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_listing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kept_open, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_locks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fixed_answers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
