/* Open files and folders of the guest: fh = generation and index, checked with the inode's id, so
 * that a stale or invented one is EBADF. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "server.h"

bool
handle_room(const struct fs *fs)
{
	return fs->nhandles < fs->handles_max;
}

static int
free_slot(struct fs *fs, uint32_t *ret)
{
	size_t n = fs->nhandle_slots;

	if (!handle_room(fs))
		return -EMFILE;
	if (fs->nhandles == n) {
		fs->nhandle_slots = n > 0 ? n * 2 : 64;
		fs->handles = xreallocarray(fs->handles, fs->nhandle_slots, sizeof(*fs->handles));
		memset(fs->handles + n, 0, (fs->nhandle_slots - n) * sizeof(*fs->handles));
		*ret = (uint32_t)n;
		return 0;
	}
	/* From the place where the last one was found: mostly the next one is free. */
	for (size_t k = 0; k < n; k++) {
		size_t at = (fs->handle_hint + k) % n;

		if (fs->handles[at] == NULL) {
			fs->handle_hint = at + 1;
			*ret = (uint32_t)at;
			return 0;
		}
	}
	return -EMFILE;
}

int
handle_open(struct fs *fs, struct inode *i, int taken, bool dir, bool writable, uint64_t *ret_fh)
{
	CLEAN_CLOSE int fd = taken;
	struct handle *h;
	uint32_t index;
	int r = free_slot(fs, &index);

	if (r < 0)
		return r;
	h = xcalloc(1, sizeof(*h));
	h->inode = i;
	h->fd = TAKE_FD(fd);
	h->dir = dir;
	h->writable = writable;
	h->index = index;
	h->generation = ++fs->handle_generation;
	list_add_tail(&i->handles, &h->in_inode);
	fs->handles[index] = h;
	fs->nhandles++;
	*ret_fh = (uint64_t)h->generation << 32 | index;
	return 0;
}

struct handle *
handle_find(const struct fs *fs, uint64_t fh, uint64_t id, bool dir)
{
	uint32_t index = (uint32_t)fh;
	struct handle *h;

	if (index >= fs->nhandle_slots)
		return NULL;
	h = fs->handles[index];
	if (h == NULL || h->generation != fh >> 32 || h->inode->id != id || h->dir != dir)
		return NULL;
	return h;
}

struct handle *
handle_any(const struct inode *i)
{
	if (list_is_empty(&i->handles))
		return NULL;
	return container_of(i->handles.next, struct handle, in_inode);
}

void
handle_close(struct fs *fs, struct handle *h)
{
	struct inode *i = h->inode;

	fs->handles[h->index] = NULL;
	fs->nhandles--;
	list_del(&h->in_inode);
	close(h->fd);
	buf_release(&h->dents);
	free(h);
	inode_drop_if_unused(fs, i);
}
