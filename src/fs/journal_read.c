/* Reading the journal: of memory that anybody may have written. No I/O, no allocation. */
#include <fcntl.h>
#include <string.h>

#include <wire/fuse.h>

#include "journal.h"
#include "server.h"

#define MAGIC     0x6c616e72756f6a70ULL
#define RING_SKIP UINT32_MAX

static uint32_t
min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

bool
journal_read_head(const struct journal *j, struct journal_head *ret)
{
	struct journal_head h;

	memcpy(&h, j->head, sizeof(h));
	if (h.magic != MAGIC || h.version != JOURNAL_VERSION)
		return false;
	h.ninodes = min32(h.ninodes, j->caps.inodes);
	h.nhandles = min32(h.nhandles, j->caps.handles);
	h.nlocks = min32(h.nlocks, j->caps.locks);
	for (unsigned k = 0; k < JOURNAL_CLASSES; k++)
		h.nentries[k] = min32(h.nentries[k], j->caps.entries[k]);
	h.nmounts = min32(h.nmounts, JOURNAL_MOUNTS);
	h.ndevices = min32(h.ndevices, JOURNAL_DEVICES);
	*ret = h;
	return true;
}

static bool
is_type(uint32_t type)
{
	return type == S_IFREG || type == S_IFDIR || type == S_IFLNK || type == S_IFIFO ||
	       type == S_IFSOCK || type == S_IFCHR || type == S_IFBLK;
}

bool
journal_read_inode(const struct journal *j, uint32_t slot, struct journal_inode *ret)
{
	struct journal_inode r;

	if (slot >= j->caps.inodes)
		return false;
	memcpy(&r, &j->inodes[slot], sizeof(r));
	/* The root is the first, and no other. */
	if (r.id == 0 || (r.id == FUSE_ROOT_ID) != (slot == 0))
		return false;
	if (!is_type(r.type) || r.mount >= JOURNAL_MOUNTS)
		return false;
	*ret = r;
	return true;
}

bool
journal_read_handle(const struct journal *j, uint32_t index, struct journal_handle *ret)
{
	struct journal_handle r;

	if (index >= j->caps.handles)
		return false;
	memcpy(&r, &j->handles[index], sizeof(r));
	if (r.id == 0 || r.generation == 0)
		return false;
	r.dir = r.dir != 0;
	if (r.dir || (r.flock != F_RDLCK && r.flock != F_WRLCK))
		r.flock = F_UNLCK;
	*ret = r;
	return true;
}

bool
journal_read_lock(const struct journal *j, uint32_t slot, struct journal_lock *ret)
{
	struct journal_lock r;

	if (slot >= j->caps.locks)
		return false;
	memcpy(&r, &j->locks[slot], sizeof(r));
	if (r.id == 0 || (r.type != F_RDLCK && r.type != F_WRLCK))
		return false;
	if (r.start > r.end || r.end > INT64_MAX)
		return false;
	r.wal = r.wal != 0;
	*ret = r;
	return true;
}

static bool
is_component(const char *s, size_t len)
{
	return strlen(s) == len && memchr(s, '/', len) == NULL && strcmp(s, ".") != 0 &&
	       strcmp(s, "..") != 0;
}

bool
journal_read_entry(const struct journal *j, unsigned class, uint32_t slot, struct journal_name *ret)
{
	const size_t size = journal_entry_size(class);
	const uint8_t *at;
	struct journal_entry r;

	if (slot >= j->caps.entries[class])
		return false;
	at = j->entries[class] + slot * size;
	memcpy(&r, at, sizeof(r));
	if (r.len == 0 || r.len > FUSE_WIRE_NAME_MAX || r.len > size - sizeof(r))
		return false;
	if (r.parent >= j->caps.inodes || (r.child >= j->caps.inodes && r.child != JOURNAL_NONE))
		return false;
	ret->parent = r.parent;
	ret->child = r.child;
	memcpy(ret->name, at + sizeof(r), r.len);
	ret->name[r.len] = '\0';
	return is_component(ret->name, r.len);
}

bool
journal_read_message(
	const struct journal *j, uint64_t *at, const uint8_t **ret_msg, size_t *ret_len)
{
	uint64_t head = j->head->ring_head, tail = j->head->ring_tail;
	const uint32_t ring = j->caps.ring;
	struct fuse_out_header h;
	uint32_t len;

	if (tail > head || head - tail > ring || *at < tail || *at >= head)
		return false;
	for (int lap = 0; lap < 2 && *at < head; lap++) {
		size_t pos = *at % ring;

		if (pos % 8 != 0 || ring - pos < 8)
			return false;
		memcpy(&len, j->ring + pos, sizeof(len));
		if (len == RING_SKIP) {
			*at += ring - pos;
			continue;
		}
		if (len < sizeof(h) || len > ring - pos - 8)
			return false;
		memcpy(&h, j->ring + pos + 8, sizeof(h));
		if (h.len != len || len > FUSE_WIRE_MSG_MAX)
			return false;
		*at += 8 + (len + 7ULL) / 8 * 8;
		*ret_msg = j->ring + pos + 8;
		*ret_len = len;
		return *at <= head;
	}
	return false;
}
