#pragma once
/*
 * What the fs role tells the guest's pump beside the kernel's own protocol, so that the pump can
 * answer some requests without asking: attributes, small files' content, what folders hold.
 * Each is a notification with a code of our own (unique 0) and ends with the pump. It holds until a
 * notification about the inode comes, or the guest changes it. Only layout: no I/O.
 *
 * Both ends count the messages to the host from the mount (or the restart mark) on. What is told
 * carries the count at which it was true: when the pump has since sent something that changes the
 * inode, it comes too late.
 */
#include <linux/fuse.h>
#include <stdint.h>

/* In the first unused word of INIT: there is a pump that understands this. */
#define FUSE_PUSH_MAGIC 0x70757368u

enum fuse_push_code {
	FUSE_PUSH_ATTR = 0x70610001, /* its attributes */
	FUSE_PUSH_FILE,              /* and that it may be opened for reading; content may follow */
	FUSE_PUSH_FOLDER,            /* and that it may be opened, and its listing kept */
	FUSE_PUSH_LISTING,           /* the same, and some of what it holds: fuse_push_listing */
	FUSE_PUSH_VOID,              /* nothing that was told of it holds any more */
};

struct fuse_push {
	uint64_t seen; /* messages that the host had taken */
	uint64_t nodeid;
	uint64_t ttl_s;
	struct fuse_attr attr;
};

#define FUSE_PUSH_CONTENT_MAX 65536

/*
 * Behind fuse_push, and before struct fuse_direntplus as in a reply to READDIRPLUS at this offset.
 * Each nodeid other than 0 comes with one reference: the pump hands it on with the name, or gives
 * it back (BATCH_FORGET). A piece that begins where the last one ended continues it.
 */
struct fuse_push_listing {
	uint64_t offset;
	uint32_t flags;
	uint32_t padding;
};
#define FUSE_PUSH_LISTING_END 1u /* nothing comes behind these */

/*
 * Requests come without a reply being due where their unique is 0 (RELEASE, RELEASEDIR), and with
 * this handle where the pump has opened the file by itself: the inode then says which is meant.
 * The header's padding counts (modulo 2^16) the folders of which a listing was of use.
 */
#define FUSE_PUSH_FH UINT64_MAX
