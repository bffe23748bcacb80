/* The decoder of FUSE requests: every operation whole, cut at every byte, and with hostile fields.
 */
#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <wire/fuse.h>

static void
put_message(
	struct buf *b, uint32_t op, const void *fixed, size_t nfixed, const void *rest, size_t n)
{
	struct fuse_in_header h = {
		.len = (uint32_t)(sizeof(h) + nfixed + n), .opcode = op, .unique = 2, .nodeid = 1};

	buf_clear(b);
	buf_append(b, &h, sizeof(h));
	buf_append(b, fixed, nfixed);
	buf_append(b, rest, n);
}

/* Decodes a copy of exactly n bytes, so that ASan sees any read behind them. */
static int
decode_exact(const struct buf *b, size_t n, bool fix_len)
{
	CLEAN_FREE uint8_t *p = xmalloc(n);
	struct fuse_request r;
	uint32_t len = (uint32_t)n;

	memcpy(p, b->data, n);
	if (fix_len && n >= sizeof(len))
		memcpy(p, &len, sizeof(len));
	return fuse_request_decode(p, n, &r);
}

#define IN(type, ...) &(struct type){__VA_ARGS__}, sizeof(struct type)

struct sample {
	uint32_t op;
	const void *fixed;
	size_t nfixed;
	const void *rest;
	size_t nrest;
	size_t shortest; /* of the body, that still decodes: where not the whole */
};

static const struct fuse_forget_one two_forgets[2] = {{5, 1}, {6, 2}};

static const struct sample samples[] = {
	{FUSE_LOOKUP, NULL, 0, "abc", 4, 0},
	{FUSE_FORGET, IN(fuse_forget_in, 3), NULL, 0, 0},
	{FUSE_GETATTR, IN(fuse_getattr_in, 0), NULL, 0, 0},
	{FUSE_SETATTR, IN(fuse_setattr_in, .valid = FATTR_SIZE, .size = 7), NULL, 0, 0},
	{FUSE_READLINK, NULL, 0, NULL, 0, 0},
	{FUSE_SYMLINK, NULL, 0, "name\0../any/text", 17, 0},
	{FUSE_MKNOD, IN(fuse_mknod_in, .mode = S_IFIFO | 0600), "fifo", 5, 0},
	{FUSE_MKDIR, IN(fuse_mkdir_in, .mode = 0755), "dir", 4, 0},
	{FUSE_UNLINK, NULL, 0, "f", 2, 0},
	{FUSE_RMDIR, NULL, 0, "d", 2, 0},
	{FUSE_RENAME, IN(fuse_rename_in, 1), "a\0b", 4, 0},
	{FUSE_RENAME2, IN(fuse_rename2_in, 1, RENAME_EXCHANGE), "a\0b", 4, 0},
	{FUSE_LINK, IN(fuse_link_in, 9), "n", 2, 0},
	{FUSE_OPEN, IN(fuse_open_in, 0), NULL, 0, 0},
	{FUSE_READ, IN(fuse_read_in, .size = 4096), NULL, 0, 0},
	{FUSE_WRITE, IN(fuse_write_in, .size = 5), "hello", 5, 0},
	{FUSE_STATFS, NULL, 0, NULL, 0, 0},
	{FUSE_RELEASE, IN(fuse_release_in, 1), NULL, 0, 0},
	{FUSE_FSYNC, IN(fuse_fsync_in, 1), NULL, 0, 0},
	{FUSE_SETXATTR, "\3\0\0\0\0\0\0\0", 8, "user.a\0xyz", 10, 0},
	{FUSE_GETXATTR, IN(fuse_getxattr_in, 100), "user.a", 7, 0},
	{FUSE_LISTXATTR, IN(fuse_getxattr_in, 100), NULL, 0, 0},
	{FUSE_REMOVEXATTR, NULL, 0, "user.a", 7, 0},
	{FUSE_FLUSH, IN(fuse_flush_in, 1), NULL, 0, 0},
	{FUSE_INIT, IN(fuse_init_in, .major = 7, .minor = 38), NULL, 0, 16},
	{FUSE_OPENDIR, IN(fuse_open_in, 0), NULL, 0, 0},
	{FUSE_READDIR, IN(fuse_read_in, .size = 4096), NULL, 0, 0},
	{FUSE_READDIRPLUS, IN(fuse_read_in, .size = 4096), NULL, 0, 0},
	{FUSE_RELEASEDIR, IN(fuse_release_in, 1), NULL, 0, 0},
	{FUSE_FSYNCDIR, IN(fuse_fsync_in, 1), NULL, 0, 0},
	{FUSE_CREATE, IN(fuse_create_in, .mode = S_IFREG | 0644), "new", 4, 0},
	{FUSE_INTERRUPT, IN(fuse_interrupt_in, 4), NULL, 0, 0},
	{FUSE_DESTROY, NULL, 0, NULL, 0, 0},
	{FUSE_BATCH_FORGET, IN(fuse_batch_forget_in, 2), two_forgets, sizeof(two_forgets), 0},
	{FUSE_FALLOCATE, IN(fuse_fallocate_in, .length = 10), NULL, 0, 0},
	{FUSE_LSEEK, IN(fuse_lseek_in, .whence = SEEK_HOLE), NULL, 0, 0},
	{FUSE_COPY_FILE_RANGE, IN(fuse_copy_file_range_in, .len = 10), NULL, 0, 0},
	{FUSE_SYNCFS, "\0\0\0\0\0\0\0\0", 8, NULL, 0, 0},
};

static void
test_every_cut(void **state)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		const struct sample *s = &samples[i];

		put_message(&b, s->op, s->fixed, s->nfixed, s->rest, s->nrest);
		if (decode_exact(&b, b.len, false) != 0)
			fail_msg("%s whole: refused", fuse_opcode_name(s->op));
		for (size_t n = 0; n < b.len; n++) {
			bool may =
				s->shortest > 0 && n >= sizeof(struct fuse_in_header) + s->shortest;

			assert_int_not_equal(decode_exact(&b, n, false), 0);
			if ((decode_exact(&b, n, true) == 0) != may)
				fail_msg("%s cut at %zu", fuse_opcode_name(s->op), n);
		}
	}
}

/* One byte too many is as wrong as one too few (INIT may grow with the kernel). */
static void
test_trailing_byte(void **state)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		const struct sample *s = &samples[i];

		if (s->op == FUSE_INIT)
			continue;
		put_message(&b, s->op, s->fixed, s->nfixed, s->rest, s->nrest);
		buf_append(&b, "x", 1);
		if (decode_exact(&b, b.len, true) == 0)
			fail_msg("%s with a byte behind it", fuse_opcode_name(s->op));
	}
}

static int
decode_name(uint32_t op, const void *fixed, size_t nfixed, const char *rest, size_t n)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	put_message(&b, op, fixed, nfixed, rest, n);
	return decode_exact(&b, b.len, false);
}

static void
test_names(void **state)
{
	char longest[258];
	static const struct {
		const char *s;
		size_t n;
		int want;
	} t[] = {
		{"a", 2, 0}, {"...", 4, 0}, {"..a", 4, 0}, {"\xff\x01 \n", 5, 0}, {"", 1, -EINVAL},
		{".", 2, -EINVAL}, {"..", 3, -EINVAL}, {"/", 2, -EINVAL}, {"a/b", 4, -EINVAL},
		{"../x", 5, -EINVAL}, {"a/", 3, -EINVAL}, {"a\0b", 4, -EINVAL}, {"a\0", 3, -EINVAL},
		{"abc", 3, -EINVAL}, /* no NUL */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		assert_int_equal(decode_name(FUSE_LOOKUP, NULL, 0, t[i].s, t[i].n), t[i].want);
		assert_int_equal(decode_name(FUSE_UNLINK, NULL, 0, t[i].s, t[i].n), t[i].want);
		assert_int_equal(
			decode_name(FUSE_LINK, IN(fuse_link_in, 9), t[i].s, t[i].n), t[i].want);
		assert_int_equal(
			decode_name(FUSE_CREATE, IN(fuse_create_in, .mode = S_IFREG | 0644), t[i].s,
				t[i].n),
			t[i].want);
	}
	memset(longest, 'n', sizeof(longest));
	longest[255] = '\0';
	assert_int_equal(decode_name(FUSE_LOOKUP, NULL, 0, longest, 256), 0);
	longest[255] = 'n';
	longest[256] = '\0';
	assert_int_equal(decode_name(FUSE_LOOKUP, NULL, 0, longest, 257), -ENAMETOOLONG);
}

static void
test_two_names(void **state)
{
	(void)state;
	assert_int_equal(decode_name(FUSE_RENAME, IN(fuse_rename_in, 1), "a\0b", 4), 0);
	assert_int_equal(decode_name(FUSE_RENAME, IN(fuse_rename_in, 1), "a\0..", 5), -EINVAL);
	assert_int_equal(decode_name(FUSE_RENAME, IN(fuse_rename_in, 1), "..\0b", 5), -EINVAL);
	assert_int_equal(decode_name(FUSE_RENAME, IN(fuse_rename_in, 1), "a\0b/c", 6), -EINVAL);
	assert_int_equal(decode_name(FUSE_RENAME, IN(fuse_rename_in, 1), "a\0b\0c", 6), -EINVAL);
	assert_int_equal(decode_name(FUSE_RENAME, IN(fuse_rename_in, 1), "a", 2), -EINVAL);
	assert_int_equal(decode_name(FUSE_SYMLINK, NULL, 0, "a\0/etc/passwd", 14), 0);
	assert_int_equal(decode_name(FUSE_SYMLINK, NULL, 0, "a\0", 3), -EINVAL);
	assert_int_equal(decode_name(FUSE_SYMLINK, NULL, 0, "../a\0x", 7), -EINVAL);
}

static void
test_symlink_length(void **state)
{
	char s[5000];

	(void)state;
	memset(s, 't', sizeof(s));
	memcpy(s, "n", 2);
	s[2 + 4095] = '\0';
	assert_int_equal(decode_name(FUSE_SYMLINK, NULL, 0, s, 2 + 4096), 0);
	s[2 + 4095] = 't';
	s[2 + 4096] = '\0';
	assert_int_equal(decode_name(FUSE_SYMLINK, NULL, 0, s, 2 + 4097), -ENAMETOOLONG);
}

#define FIELD(op, type, ...) decode_name(op, IN(type, __VA_ARGS__), NULL, 0)

static void
test_offsets_and_sizes(void **state)
{
	const uint64_t max = INT64_MAX;

	(void)state;
	assert_int_equal(FIELD(FUSE_READ, fuse_read_in, .size = FUSE_WIRE_IO_MAX), 0);
	assert_int_equal(FIELD(FUSE_READ, fuse_read_in, .size = FUSE_WIRE_IO_MAX + 1), -EINVAL);
	assert_int_equal(FIELD(FUSE_READ, fuse_read_in, .size = UINT32_MAX), -EINVAL);
	assert_int_equal(FIELD(FUSE_READ, fuse_read_in, .offset = max - 1, .size = 1), 0);
	assert_int_equal(FIELD(FUSE_READ, fuse_read_in, .offset = max, .size = 1), -EINVAL);
	assert_int_equal(FIELD(FUSE_READ, fuse_read_in, .offset = UINT64_MAX), -EINVAL);
	assert_int_equal(FIELD(FUSE_READDIR, fuse_read_in, .offset = max, .size = 4096), 0);
	assert_int_equal(FIELD(FUSE_READDIR, fuse_read_in, .offset = max + 1), -EINVAL);
	assert_int_equal(FIELD(FUSE_READDIRPLUS, fuse_read_in, .size = UINT32_MAX), -EINVAL);
	assert_int_equal(FIELD(FUSE_SETATTR, fuse_setattr_in, FATTR_SIZE, .size = max + 1), -EFBIG);
	assert_int_equal(FIELD(FUSE_SETATTR, fuse_setattr_in, FATTR_MTIME, .mtimensec = 1000000000),
		-EINVAL);
	assert_int_equal(FIELD(FUSE_SETATTR, fuse_setattr_in, FATTR_ATIME, .atimensec = 1000000000),
		-EINVAL);
	assert_int_equal(FIELD(FUSE_FALLOCATE, fuse_fallocate_in, .length = 0), -EINVAL);
	assert_int_equal(
		FIELD(FUSE_FALLOCATE, fuse_fallocate_in, .offset = max, .length = 1), -EFBIG);
	assert_int_equal(
		FIELD(FUSE_FALLOCATE, fuse_fallocate_in, .length = 1, .mode = 8), -EOPNOTSUPP);
	assert_int_equal(FIELD(FUSE_LSEEK, fuse_lseek_in, .whence = SEEK_SET), -EINVAL);
	assert_int_equal(
		FIELD(FUSE_LSEEK, fuse_lseek_in, .offset = max + 1, .whence = SEEK_DATA), -ENXIO);
	assert_int_equal(
		FIELD(FUSE_COPY_FILE_RANGE, fuse_copy_file_range_in, .off_out = max, .len = 1),
		-EINVAL);
	assert_int_equal(FIELD(FUSE_COPY_FILE_RANGE, fuse_copy_file_range_in, .flags = 1), -EINVAL);
	assert_int_equal(FIELD(FUSE_LISTXATTR, fuse_getxattr_in, .size = 65537), -E2BIG);
}

static void
test_lengths_that_lie(void **state)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	(void)state;
	put_message(&b, FUSE_WRITE, IN(fuse_write_in, .size = 6), "hello", 5);
	assert_int_equal(decode_exact(&b, b.len, false), -EINVAL);
	put_message(&b, FUSE_WRITE, IN(fuse_write_in, .size = UINT32_MAX), "hello", 5);
	assert_int_equal(decode_exact(&b, b.len, false), -EINVAL);
	put_message(
		&b, FUSE_WRITE, IN(fuse_write_in, .size = 5, .offset = INT64_MAX - 4), "hello", 5);
	assert_int_equal(decode_exact(&b, b.len, false), -EFBIG);
	put_message(&b, FUSE_BATCH_FORGET, IN(fuse_batch_forget_in, UINT32_MAX), two_forgets,
		sizeof(two_forgets));
	assert_int_equal(decode_exact(&b, b.len, false), -EINVAL);
	/* count * 16 wraps to 32 in 32 bits */
	put_message(&b, FUSE_BATCH_FORGET, IN(fuse_batch_forget_in, 0x10000002), two_forgets,
		sizeof(two_forgets));
	assert_int_equal(decode_exact(&b, b.len, false), -EINVAL);
	put_message(&b, FUSE_SETXATTR, "\xff\xff\xff\xff\0\0\0\0", 8, "user.a\0xyz", 10);
	assert_int_equal(decode_exact(&b, b.len, false), -EINVAL);
	put_message(&b, FUSE_RENAME2, IN(fuse_rename2_in, 1, RENAME_WHITEOUT), "a\0b", 4);
	assert_int_equal(decode_exact(&b, b.len, false), -EINVAL);
}

static void
test_unknown_operations(void **state)
{
	static const uint32_t ops[] = {
		0, 7, 19, FUSE_BMAP, FUSE_SETUPMAPPING, 52, 53, 4096, UINT32_MAX};
	CLEAN_BUF struct buf b = BUF_INIT;
	struct fuse_request r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		put_message(&b, ops[i], NULL, 0, "abc", 4);
		assert_int_equal(fuse_request_decode(b.data, b.len, &r), -ENOSYS);
		assert_int_equal(r.head.unique, 2);
		assert_string_equal(fuse_opcode_name(ops[i]), "?");
	}
}

static void
test_fields_arrive(void **state)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct fuse_request r;

	(void)state;
	put_message(&b, FUSE_RENAME, IN(fuse_rename_in, 77), "old\0new", 8);
	assert_int_equal(fuse_request_decode(b.data, b.len, &r), 0);
	assert_int_equal(r.in.rename.newdir, 77);
	assert_int_equal(r.in.rename.flags, 0);
	assert_string_equal(r.name, "old");
	assert_string_equal(r.name2, "new");
	put_message(&b, FUSE_SETXATTR, "\3\0\0\0\1\0\0\0", 8, "user.a\0x\0z", 10);
	assert_int_equal(fuse_request_decode(b.data, b.len, &r), 0);
	assert_int_equal(r.ndata, 3);
	assert_memory_equal(r.data, "x\0z", 3);
	assert_int_equal(r.in.setxattr.flags, 1);
	put_message(&b, FUSE_TMPFILE, IN(fuse_create_in, .mode = S_IFREG | 0600), "/", 2);
	assert_int_equal(fuse_request_decode(b.data, b.len, &r), 0);
	assert_null(r.name);
}

static void
test_peek(void **state)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	uint32_t len = 40;

	(void)state;
	assert_int_equal(fuse_wire_peek(&b, 40), 0);
	buf_append(&b, &len, 3);
	assert_int_equal(fuse_wire_peek(&b, 40), 0);
	put_message(&b, FUSE_STATFS, NULL, 0, NULL, 0);
	assert_int_equal(fuse_wire_peek(&b, 40), 40);
	b.len = 39;
	assert_int_equal(fuse_wire_peek(&b, 40), 0);
	for (size_t i = 0; i < 3; i++) {
		static const uint32_t bad[] = {0, 39, FUSE_WIRE_MSG_MAX + 1};

		buf_clear(&b);
		buf_append(&b, &bad[i], 4);
		assert_int_equal(fuse_wire_peek(&b, 40), -EMSGSIZE);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_trailing_byte),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_two_names),
		cmocka_unit_test(test_symlink_length),
		cmocka_unit_test(test_offsets_and_sizes),
		cmocka_unit_test(test_lengths_that_lie),
		cmocka_unit_test(test_unknown_operations),
		cmocka_unit_test(test_fields_arrive),
		cmocka_unit_test(test_peek),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
