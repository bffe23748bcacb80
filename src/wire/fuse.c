/*
 * How this works: each operation has a shape (fixed part, names, trailing data) and, where its
 * fields have limits, a check. Decoding takes the parts off the message in order and wants every
 * byte of it used. The guest's kernel always sends exact sizes for the protocol that was
 * negotiated, so anything else is an attack or a bug.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <wire/fuse.h>

enum shape_names {
	NO_NAME,
	NAME,        /* one path component */
	NAME_NAME,   /* RENAME: old, new */
	NAME_TEXT,   /* SYMLINK: name, text of the link */
	XATTR_NAME,  /* an attribute's name */
	IGNORE_NAME, /* TMPFILE: whatever the kernel calls it */
	IGNORE_REST, /* operations that are refused whatever they say */
};

struct shape {
	const char *label; /* NULL: unknown */
	uint16_t fixed;
	uint16_t fixed_min; /* where the kernel may send less than fixed; 0: exact */
	enum shape_names names;
	bool data;
	int (*check)(struct fuse_request *r);
};

static bool
range_ok(uint64_t off, uint64_t len)
{
	return off <= INT64_MAX && len <= INT64_MAX - off;
}

static int
check_read(struct fuse_request *r)
{
	const struct fuse_read_in *in = &r->in.read;

	return in->size <= FUSE_WIRE_IO_MAX && range_ok(in->offset, in->size) ? 0 : -EINVAL;
}

/* A position in a folder is the host file system's cookie: any 63 bits. */
static int
check_readdir(struct fuse_request *r)
{
	const struct fuse_read_in *in = &r->in.read;

	return in->size <= FUSE_WIRE_IO_MAX && in->offset <= INT64_MAX ? 0 : -EINVAL;
}

static int
check_write(struct fuse_request *r)
{
	const struct fuse_write_in *in = &r->in.write;

	if (in->size > FUSE_WIRE_IO_MAX || in->size != r->ndata)
		return -EINVAL;
	return range_ok(in->offset, in->size) ? 0 : -EFBIG;
}

static int
check_batch_forget(struct fuse_request *r)
{
	uint64_t want = (uint64_t)r->in.batch_forget.count * sizeof(struct fuse_forget_one);

	return want == r->ndata ? 0 : -EINVAL;
}

static int
check_setattr(struct fuse_request *r)
{
	const struct fuse_setattr_in *in = &r->in.setattr;

	if ((in->valid & FATTR_SIZE) && in->size > INT64_MAX)
		return -EFBIG;
	if ((in->valid & FATTR_ATIME) && in->atimensec >= 1000000000)
		return -EINVAL;
	if ((in->valid & FATTR_MTIME) && in->mtimensec >= 1000000000)
		return -EINVAL;
	return 0;
}

static int
check_rename(struct fuse_request *r)
{
	uint32_t flags = r->in.rename.flags;

	if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE)
		return -EINVAL;
	return 0;
}

static int
check_setxattr(struct fuse_request *r)
{
	const struct fuse_setxattr_in *in = &r->in.setxattr;

	if (in->size != r->ndata)
		return -EINVAL;
	if (in->size > FUSE_WIRE_XATTR_MAX)
		return -E2BIG;
	if (in->flags != 0 && in->flags != XATTR_CREATE && in->flags != XATTR_REPLACE)
		return -EINVAL;
	return 0;
}

static int
check_getxattr(struct fuse_request *r)
{
	return r->in.getxattr.size <= FUSE_WIRE_XATTR_MAX ? 0 : -E2BIG;
}

static int
check_fallocate(struct fuse_request *r)
{
	const struct fuse_fallocate_in *in = &r->in.fallocate;
	uint32_t known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;

	if (in->mode & ~known)
		return -EOPNOTSUPP;
	if (in->length == 0)
		return -EINVAL;
	return range_ok(in->offset, in->length) ? 0 : -EFBIG;
}

static int
check_lseek(struct fuse_request *r)
{
	const struct fuse_lseek_in *in = &r->in.lseek;

	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
		return -EINVAL;
	return in->offset <= INT64_MAX ? 0 : -ENXIO;
}

static int
check_copy(struct fuse_request *r)
{
	const struct fuse_copy_file_range_in *in = &r->in.copy;

	if (in->flags != 0)
		return -EINVAL;
	return range_ok(in->off_in, in->len) && range_ok(in->off_out, in->len) ? 0 : -EINVAL;
}

static int
check_create(struct fuse_request *r)
{
	return (r->in.create.mode & ~(uint32_t)(S_IFMT | 07777)) == 0 ? 0 : -EINVAL;
}

static int
check_lock(struct fuse_request *r)
{
	const struct fuse_lk_in *in = &r->in.lk;
	uint32_t type = in->lk.type;

	if (in->lk_flags & ~(uint32_t)FUSE_LK_FLOCK)
		return -EINVAL;
	if (type != F_RDLCK && type != F_WRLCK && type != F_UNLCK)
		return -EINVAL;
	return in->lk.start <= in->lk.end && in->lk.end <= INT64_MAX ? 0 : -EINVAL;
}

#define FIXED(type) .fixed = sizeof(struct type)

static const struct shape shapes[] = {
	[FUSE_LOOKUP] = {"LOOKUP", .names = NAME},
	[FUSE_FORGET] = {"FORGET", FIXED(fuse_forget_in)},
	[FUSE_GETATTR] = {"GETATTR", FIXED(fuse_getattr_in)},
	[FUSE_SETATTR] = {"SETATTR", FIXED(fuse_setattr_in), .check = check_setattr},
	[FUSE_READLINK] = {"READLINK"},
	[FUSE_SYMLINK] = {"SYMLINK", .names = NAME_TEXT},
	[FUSE_MKNOD] = {"MKNOD", FIXED(fuse_mknod_in), .names = NAME},
	[FUSE_MKDIR] = {"MKDIR", FIXED(fuse_mkdir_in), .names = NAME},
	[FUSE_UNLINK] = {"UNLINK", .names = NAME},
	[FUSE_RMDIR] = {"RMDIR", .names = NAME},
	[FUSE_RENAME] = {"RENAME", FIXED(fuse_rename_in), .names = NAME_NAME},
	[FUSE_LINK] = {"LINK", FIXED(fuse_link_in), .names = NAME},
	[FUSE_OPEN] = {"OPEN", FIXED(fuse_open_in)},
	[FUSE_READ] = {"READ", FIXED(fuse_read_in), .check = check_read},
	[FUSE_WRITE] = {"WRITE", FIXED(fuse_write_in), .data = true, .check = check_write},
	[FUSE_STATFS] = {"STATFS"},
	[FUSE_RELEASE] = {"RELEASE", FIXED(fuse_release_in)},
	[FUSE_FSYNC] = {"FSYNC", FIXED(fuse_fsync_in)},
	/* Without FUSE_SETXATTR_EXT, which is not asked for, the short form is sent. */
	[FUSE_SETXATTR] = {"SETXATTR", .fixed = FUSE_COMPAT_SETXATTR_IN_SIZE, .names = XATTR_NAME,
		.data = true, .check = check_setxattr},
	[FUSE_GETXATTR] = {"GETXATTR", FIXED(fuse_getxattr_in), .names = XATTR_NAME,
		.check = check_getxattr},
	[FUSE_LISTXATTR] = {"LISTXATTR", FIXED(fuse_getxattr_in), .check = check_getxattr},
	[FUSE_REMOVEXATTR] = {"REMOVEXATTR", .names = XATTR_NAME},
	[FUSE_FLUSH] = {"FLUSH", FIXED(fuse_flush_in)},
	/* Grew with the protocol: 16 bytes before 7.36. */
	[FUSE_INIT] = {"INIT", FIXED(fuse_init_in), .fixed_min = 16},
	[FUSE_OPENDIR] = {"OPENDIR", FIXED(fuse_open_in)},
	[FUSE_READDIR] = {"READDIR", FIXED(fuse_read_in), .check = check_readdir},
	[FUSE_RELEASEDIR] = {"RELEASEDIR", FIXED(fuse_release_in)},
	[FUSE_FSYNCDIR] = {"FSYNCDIR", FIXED(fuse_fsync_in)},
	[FUSE_GETLK] = {"GETLK", FIXED(fuse_lk_in), .check = check_lock},
	[FUSE_SETLK] = {"SETLK", FIXED(fuse_lk_in), .check = check_lock},
	[FUSE_SETLKW] = {"SETLKW", FIXED(fuse_lk_in), .check = check_lock},
	[FUSE_ACCESS] = {"ACCESS", .names = IGNORE_REST},
	[FUSE_CREATE] = {"CREATE", FIXED(fuse_create_in), .names = NAME, .check = check_create},
	[FUSE_INTERRUPT] = {"INTERRUPT", FIXED(fuse_interrupt_in)},
	[FUSE_DESTROY] = {"DESTROY"},
	[FUSE_IOCTL] = {"IOCTL", .names = IGNORE_REST},
	[FUSE_POLL] = {"POLL", .names = IGNORE_REST},
	[FUSE_BATCH_FORGET] = {"BATCH_FORGET", FIXED(fuse_batch_forget_in), .data = true,
		.check = check_batch_forget},
	[FUSE_FALLOCATE] = {"FALLOCATE", FIXED(fuse_fallocate_in), .check = check_fallocate},
	[FUSE_READDIRPLUS] = {"READDIRPLUS", FIXED(fuse_read_in), .check = check_readdir},
	[FUSE_RENAME2] = {"RENAME2", FIXED(fuse_rename2_in), .names = NAME_NAME,
		.check = check_rename},
	[FUSE_LSEEK] = {"LSEEK", FIXED(fuse_lseek_in), .check = check_lseek},
	[FUSE_COPY_FILE_RANGE] = {"COPY_FILE_RANGE", FIXED(fuse_copy_file_range_in),
		.check = check_copy},
	[FUSE_SYNCFS] = {"SYNCFS", .fixed = 8},
	[FUSE_TMPFILE] = {"TMPFILE", FIXED(fuse_create_in), .names = IGNORE_NAME,
		.check = check_create},
};

static const struct shape *
shape_of(uint32_t opcode)
{
	if (opcode >= sizeof(shapes) / sizeof(shapes[0]) || shapes[opcode].label == NULL)
		return NULL;
	return &shapes[opcode];
}

const char *
fuse_opcode_name(uint32_t opcode)
{
	const struct shape *s = shape_of(opcode);

	return s != NULL ? s->label : "?";
}

bool
fuse_request_is_oneway(uint32_t opcode)
{
	return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT;
}

ssize_t
fuse_wire_peek(const struct buf *in, size_t head)
{
	uint32_t len;

	if (in->len < sizeof(len))
		return 0;
	memcpy(&len, in->data, sizeof(len));
	if (len < head || len > FUSE_WIRE_MSG_MAX)
		return -EMSGSIZE;
	return in->len >= len ? (ssize_t)len : 0;
}

/* What is left of the message. */
struct cursor {
	const uint8_t *p;
	size_t left;
};

static int
take_string(struct cursor *c, const char **ret, size_t *ret_len)
{
	const uint8_t *nul = memchr(c->p, '\0', c->left);

	if (nul == NULL)
		return -EINVAL;
	*ret = (const char *)c->p;
	*ret_len = (size_t)(nul - c->p);
	c->p += *ret_len + 1;
	c->left -= *ret_len + 1;
	return 0;
}

static int
take_name(struct cursor *c, const char **ret)
{
	const char *s;
	size_t n;

	if (take_string(c, &s, &n) < 0 || n == 0)
		return -EINVAL;
	if (n > FUSE_WIRE_NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(s, '/', n) != NULL || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
		return -EINVAL;
	*ret = s;
	return 0;
}

static int
take_text(struct cursor *c, const char **ret, size_t max, int too_long)
{
	const char *s;
	size_t n;

	if (take_string(c, &s, &n) < 0 || n == 0)
		return -EINVAL;
	if (n > max)
		return too_long;
	*ret = s;
	return 0;
}

static int
take_names(struct cursor *c, enum shape_names names, struct fuse_request *r)
{
	int e;

	switch (names) {
	case NO_NAME:
		return 0;
	case NAME:
		return take_name(c, &r->name);
	case NAME_NAME:
		e = take_name(c, &r->name);
		return e < 0 ? e : take_name(c, &r->name2);
	case NAME_TEXT:
		e = take_name(c, &r->name);
		return e < 0 ? e : take_text(c, &r->name2, FUSE_WIRE_LINK_MAX, -ENAMETOOLONG);
	case XATTR_NAME:
		return take_text(c, &r->name, FUSE_WIRE_NAME_MAX, -ERANGE);
	case IGNORE_NAME:
	case IGNORE_REST:
		c->left = 0;
		return 0;
	}
	return -EINVAL;
}

static int
take_fixed(struct cursor *c, const struct shape *s, struct fuse_request *r)
{
	size_t n = s->fixed;

	if (s->fixed_min > 0 && c->left < n && c->left >= s->fixed_min)
		n = c->left;
	if (c->left < n || n > sizeof(r->in))
		return -EINVAL;
	memcpy(&r->in, c->p, n);
	c->p += n;
	c->left -= n;
	/* A newer kernel's longer INIT: the tail says nothing that was asked for. */
	if (s->fixed_min > 0)
		c->left = 0;
	return 0;
}

int
fuse_request_decode(const void *p, size_t n, struct fuse_request *ret)
{
	struct cursor c = {p, n};
	const struct shape *s;
	int e;

	memset(ret, 0, sizeof(*ret));
	if (n < sizeof(ret->head))
		return -EINVAL;
	memcpy(&ret->head, p, sizeof(ret->head));
	c.p += sizeof(ret->head);
	c.left -= sizeof(ret->head);
	if (ret->head.len != n || n > FUSE_WIRE_MSG_MAX)
		return -EINVAL;
	s = shape_of(ret->head.opcode);
	if (s == NULL)
		return -ENOSYS;
	e = take_fixed(&c, s, ret);
	if (e == 0)
		e = take_names(&c, s->names, ret);
	if (e < 0)
		return e;
	if (s->data) {
		ret->data = c.p;
		ret->ndata = c.left;
	} else if (c.left > 0) {
		return -EINVAL;
	}
	return s->check != NULL ? s->check(ret) : 0;
}
