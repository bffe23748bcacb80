#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>

#include "locked.h"

/* So that a search always ends. */
#define FULL (LOCKED_MAX / 4 * 3)

static size_t
place(const struct locked *l, uint64_t id)
{
	size_t at = (size_t)(id * 0x9e3779b97f4a7c15ULL >> 32) % LOCKED_MAX;

	while (l->ids[at] != 0 && l->ids[at] != id)
		at = (at + 1) % LOCKED_MAX;
	return at;
}

void
locked_add(struct locked *l, uint64_t id)
{
	size_t at = place(l, id);

	if (l->ids[at] == id || l->n >= FULL)
		return;
	l->ids[at] = id;
	l->n++;
}

bool
locked_has(const struct locked *l, uint64_t id)
{
	return l->n >= FULL || l->ids[place(l, id)] == id;
}

bool
locked_spares(struct locked *l, const uint8_t *msg, size_t n)
{
	struct fuse_in_header h;
	struct fuse_lk_in in;

	memcpy(&h, msg, sizeof(h));
	if (h.opcode == FUSE_FLUSH)
		return !locked_has(l, h.nodeid);
	if ((h.opcode != FUSE_SETLK && h.opcode != FUSE_SETLKW) || n < sizeof(h) + sizeof(in))
		return false;
	memcpy(&in, msg + sizeof(h), sizeof(in));
	if (!(in.lk_flags & FUSE_LK_FLOCK) && in.lk.type != F_UNLCK)
		locked_add(l, h.nodeid);
	return false;
}
