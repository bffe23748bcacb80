#pragma once
/*
 * FUSE requests as they come from the guest's kernel (include/uapi/linux/fuse.h, protocol 7.38):
 * decoded and validated before anything acts on them. Pure: no I/O, no allocation. What passes here
 * has exact lengths, names of 1 to 255 bytes that are one path component, offsets that fit off_t,
 * sizes within the limits below, and no flag that the operation does not know.
 */
#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

#define FUSE_WIRE_IO_MAX    (1u << 20) /* one READ, WRITE, READDIR */
#define FUSE_WIRE_XATTR_MAX 65536      /* XATTR_SIZE_MAX, XATTR_LIST_MAX */
#define FUSE_WIRE_NAME_MAX  255
#define FUSE_WIRE_LINK_MAX  4095 /* a symlink's text: PATH_MAX less the NUL */

/* The longest message either way: a WRITE or a READ reply with its headers. */
#define FUSE_WIRE_MSG_MAX (FUSE_WIRE_IO_MAX + 4096u)

/*
 * Messages in a byte stream are delimited by their own length field. The whole message's length
 * when the first is complete in the buffer, 0 for "need more bytes", -EMSGSIZE for a length that no
 * message can have (the stream is unusable from there). head is the least a message may have:
 * sizeof(struct fuse_in_header) or sizeof(struct fuse_out_header).
 */
ssize_t fuse_wire_peek(const struct buf *in, size_t head);

struct fuse_request {
	struct fuse_in_header head;
	union {
		struct fuse_forget_in forget;
		struct fuse_batch_forget_in batch_forget; /* data: count fuse_forget_one */
		struct fuse_getattr_in getattr;
		struct fuse_setattr_in setattr;
		struct fuse_mknod_in mknod;
		struct fuse_mkdir_in mkdir;
		struct fuse_rename2_in rename; /* RENAME too, flags 0 */
		struct fuse_link_in link;
		struct fuse_open_in open;     /* OPENDIR too */
		struct fuse_create_in create; /* TMPFILE too, without a name */
		struct fuse_read_in read;     /* READDIR, READDIRPLUS too */
		struct fuse_write_in write;   /* data: size bytes */
		struct fuse_release_in release;
		struct fuse_flush_in flush;
		struct fuse_fsync_in fsync;
		struct fuse_setxattr_in setxattr; /* name, data: size bytes */
		struct fuse_getxattr_in getxattr; /* LISTXATTR too, without a name */
		struct fuse_init_in init;
		struct fuse_interrupt_in interrupt;
		struct fuse_fallocate_in fallocate;
		struct fuse_lseek_in lseek;
		struct fuse_copy_file_range_in copy;
		struct fuse_lk_in lk; /* GETLK, SETLK, SETLKW */
	} in;
	const char *name;  /* into the message, NUL-terminated; NULL where there is none */
	const char *name2; /* RENAME's new name, SYMLINK's text */
	const uint8_t *data;
	size_t ndata;
};

/*
 * One message of n bytes. 0, or the -errno to answer with (ret->head is valid then, provided that n
 * is at least the header's size): -EINVAL malformed, -ENAMETOOLONG, -ENOSYS for an operation that
 * this server does not have. Pointers in *ret point into p.
 */
int fuse_request_decode(const void *p, size_t n, struct fuse_request *ret);

/* True for requests that the kernel wants no answer to. */
bool fuse_request_is_oneway(uint32_t opcode);

/* "LOOKUP"; "?" for unknown ones. For logs. */
const char *fuse_opcode_name(uint32_t opcode);
