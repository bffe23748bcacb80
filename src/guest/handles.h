#pragma once
/*
 * The handles of files and folders that the pump has opened by itself, so that the host does not
 * know of them. Until it is asked for one of its own, a request names FUSE_PUSH_FH. Pure, and not
 * thread-safe.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <linux/fuse.h>

#define HANDLES_MAX 1024

struct handle {
	uint64_t nodeid, real; /* real: the host's, once it has been asked; or 0 */
	uint64_t since_ms;
	uint32_t flags;
	bool used, dir, asked, closed;
};

struct handles {
	struct handle at[HANDLES_MAX];
	size_t n, hint;
};

/* A new one, as OPEN or OPENDIR (dir) answers it. False: there are too many. */
bool handles_open(struct handles *h, uint64_t nodeid, uint32_t flags, bool dir, uint64_t now_ms,
	uint64_t *ret_fh);
/* The kernel has closed *fh, ours or the host's. True: the host is to hear of it, as *fh. */
bool handles_release(struct handles *h, uint64_t *fh);
/*
 * What the host knows fh as. A lock lives and dies with a handle of the host's (`lock`): where
 * there is none yet, the request for it is put into `first`, to be sent before, and the answer
 * names it.
 */
uint64_t handles_for_host(struct handles *h, uint64_t fh, bool lock, struct buf *first);
/*
 * What has been open for a while is opened on the host too, so that what happens to its name does
 * not matter. The next request for that is put into out; false: none is due.
 */
bool handles_keep(struct handles *h, uint64_t now_ms, struct buf *out);
/* A reply to such a request; false: it is none. */
bool handles_reply(struct handles *h, const uint8_t *msg, size_t n);
