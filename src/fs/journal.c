#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <fcntl.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/mem.h>

#include "journal.h"
#include "lock.h"
#include "server.h"

#define MAGIC     0x6c616e72756f6a70ULL
#define HEAD_SIZE 4096
#define RING_SKIP UINT32_MAX /* in the place of a length: on at the ring's start */

_Static_assert(sizeof(struct journal_head) <= HEAD_SIZE, "the head has its own page");
_Static_assert(JOURNAL_DEVICES == DEVICES_MAX, "all devices are kept");

/* In entries of up to 36, 84 and 255 bytes of name. */
static const uint32_t entry_sizes[JOURNAL_CLASSES] = {48, 96, 272};

/* Virtual: what is never used takes no memory. */
static const struct journal_caps real_caps = {
	.inodes = INODES_MAX,
	.handles = 1u << 17,
	.locks = LOCK_RANGES_MAX,
	.entries = {ENTRIES_MAX, ENTRIES_MAX / 4, ENTRIES_MAX / 16},
	.ring = 16u << 20,
};

/* Stores before it are in memory before those behind it, for whoever reads after a kill. */
static void
barrier(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

uint32_t
journal_entry_size(unsigned class)
{
	return entry_sizes[class];
}

static size_t
round_up(size_t n)
{
	return (n + 4095) / 4096 * 4096;
}

size_t
journal_size(const struct journal_caps *c)
{
	size_t n = HEAD_SIZE + round_up(c->inodes * sizeof(struct journal_inode)) +
		   round_up(c->handles * sizeof(struct journal_handle)) +
		   round_up(c->locks * sizeof(struct journal_lock)) + round_up(c->ring);

	for (unsigned k = 0; k < JOURNAL_CLASSES; k++)
		n += round_up((size_t)c->entries[k] * entry_sizes[k]);
	return n;
}

int
journal_view(struct journal *j, void *base, size_t size, const struct journal_caps *c)
{
	uint8_t *at = base;

	if (size < journal_size(c))
		return -EINVAL;
	*j = (struct journal){.head = base, .caps = *c, .size = size};
	at += HEAD_SIZE;
	j->inodes = (void *)at;
	at += round_up(c->inodes * sizeof(struct journal_inode));
	j->handles = (void *)at;
	at += round_up(c->handles * sizeof(struct journal_handle));
	j->locks = (void *)at;
	at += round_up(c->locks * sizeof(struct journal_lock));
	for (unsigned k = 0; k < JOURNAL_CLASSES; k++) {
		j->entries[k] = at;
		at += round_up((size_t)c->entries[k] * entry_sizes[k]);
	}
	j->ring = at;
	return 0;
}

unsigned
fs_journal_version(void)
{
	return JOURNAL_VERSION;
}

int
fs_journal_new(struct err *e)
{
	CLEAN_CLOSE int fd = memfd_create("paddock-fs", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return err_sys(e, errno, "memory of the files' state");
	/* Nobody can make it shorter under the next process. */
	if (ftruncate(fd, (off_t)journal_size(&real_caps)) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_sys(e, errno, "memory of the files' state");
	return TAKE_FD(fd);
}

int
journal_open(int fd, struct journal **ret, struct err *e)
{
	size_t size = journal_size(&real_caps);
	struct journal *j;
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)size)
		return err_set(e, EINVAL, "memory of the files' state: not what it should be");
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_sys(e, errno, "memory of the files' state");
	j = xcalloc(1, sizeof(*j));
	journal_view(j, p, size, &real_caps);
	*ret = j;
	return 0;
}

void
journal_release(struct journal *j)
{
	free(j->free_inodes.v);
	free(j->free_locks.v);
	for (unsigned k = 0; k < JOURNAL_CLASSES; k++)
		free(j->free_entries[k].v);
}

void
journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	munmap(j->head, j->size);
	journal_release(j);
	free(j);
}

bool
journal_begin(struct journal *j)
{
	struct journal_head *h = j->head;

	if (h->processes > 0)
		return true;
	memset(h, 0, sizeof(*h));
	h->magic = MAGIC;
	h->version = JOURNAL_VERSION;
	return false;
}

static void
incomplete(struct journal *j)
{
	j->head->incomplete = 1;
	if (!j->told)
		log_warn("the guest knows too many files: this process cannot be replaced");
	j->told = true;
}

static void
slots_push(struct journal_slots *s, uint32_t slot)
{
	if (s->n == s->cap) {
		s->cap = s->cap > 0 ? s->cap * 2 : 64;
		s->v = xreallocarray(s->v, s->cap, sizeof(*s->v));
	}
	s->v[s->n++] = slot;
}

/* JOURNAL_NONE: full. */
static uint32_t
slots_take(struct journal_slots *s, uint32_t *used, uint32_t cap)
{
	uint32_t slot;

	if (s->n > 0)
		return s->v[--s->n];
	if (*used >= cap)
		return JOURNAL_NONE;
	slot = *used;
	*used = slot + 1;
	return slot;
}

static struct journal_entry *
entry_at(const struct journal *j, unsigned class, uint32_t slot)
{
	return (void *)(j->entries[class] + (size_t)slot * entry_sizes[class]);
}

void
journal_free_inode(struct journal *j, uint32_t slot)
{
	j->inodes[slot].id = 0;
	slots_push(&j->free_inodes, slot);
}

void
journal_free_entry(struct journal *j, unsigned class, uint32_t slot)
{
	entry_at(j, class, slot)->len = 0;
	slots_push(&j->free_entries[class], slot);
}

void
journal_free_lock(struct journal *j, uint32_t slot)
{
	j->locks[slot].id = 0;
	slots_push(&j->free_locks, slot);
}

static uint32_t
mount_index(struct journal *j, uint64_t mnt)
{
	struct journal_head *h = j->head;

	for (uint32_t k = 0; k < h->nmounts; k++)
		if (j->mounts[k] == mnt)
			return k;
	if (h->nmounts >= JOURNAL_MOUNTS) {
		incomplete(j);
		return 0;
	}
	j->mounts[h->nmounts] = mnt;
	return h->nmounts++;
}

void
journal_inode_key(struct fs *fs, struct inode *i)
{
	struct journal_inode *r = i->record;

	if (r == NULL)
		return;
	r->dev = i->key.dev;
	r->ino = i->key.ino;
	r->btime_s = i->key.btime_s;
	r->btime_ns = i->key.btime_ns;
	r->type = i->key.type;
	r->mount = mount_index(fs->journal, i->key.mnt);
}

void
journal_inode(struct inode *i)
{
	struct journal_inode *r = i->record;
	const struct known *k = &i->known;

	if (r == NULL)
		return;
	r->nlookup = i->nlookup;
	r->flags &= ~(uint32_t)JOURNAL_KNOWN;
	barrier();
	r->size = k->size;
	r->mtime_s = k->mtime_s;
	r->ctime_s = k->ctime_s;
	r->mtime_ns = k->mtime_ns;
	r->ctime_ns = k->ctime_ns;
	r->at_ns = k->at_ns;
	barrier();
	r->flags = (k->valid ? JOURNAL_KNOWN : 0) | (k->own ? JOURNAL_OWN : 0) |
		   (i->linked ? JOURNAL_LINKED : 0) |
		   (i->wd >= 0 || i->rewatch ? JOURNAL_WATCHED : 0) |
		   i->shadow << JOURNAL_SHADOW_SHIFT;
}

void
journal_inode_add(struct fs *fs, struct inode *i)
{
	struct journal *j = fs->journal;
	uint32_t slot;

	if (j == NULL)
		return;
	slot = slots_take(&j->free_inodes, &j->head->ninodes, j->caps.inodes);
	if (slot == JOURNAL_NONE) {
		incomplete(j);
		return;
	}
	i->record = &j->inodes[slot];
	journal_inode_key(fs, i);
	journal_inode(i);
	barrier();
	i->record->id = i->id;
}

void
journal_inode_drop(struct fs *fs, struct inode *i)
{
	struct journal *j = fs->journal;

	if (i->record == NULL || j == NULL)
		return;
	i->record->id = 0;
	barrier();
	slots_push(&j->free_inodes, (uint32_t)(i->record - j->inodes));
	i->record = NULL;
}

static unsigned
class_of(size_t len)
{
	unsigned k = 0;

	while (k + 1 < ARRAY_LEN(entry_sizes) &&
		sizeof(struct journal_entry) + len > entry_sizes[k])
		k++;
	return k;
}

void
journal_entry_add(struct fs *fs, struct entry *en)
{
	struct journal *j = fs->journal;
	unsigned class = class_of(en->len);
	struct journal_entry *r;

	en->slot = JOURNAL_NONE;
	if (j == NULL || en->parent->record == NULL ||
		(en->child != NULL && en->child->record == NULL))
		return;
	en->slot = slots_take(
		&j->free_entries[class], &j->head->nentries[class], j->caps.entries[class]);
	if (en->slot == JOURNAL_NONE) {
		incomplete(j);
		return;
	}
	r = entry_at(j, class, en->slot);
	r->parent = (uint32_t)(en->parent->record - j->inodes);
	r->child = en->child != NULL ? (uint32_t)(en->child->record - j->inodes) : JOURNAL_NONE;
	memcpy(r + 1, en->name, en->len);
	barrier();
	r->len = (uint16_t)en->len;
}

void
journal_entry_drop(struct fs *fs, struct entry *en)
{
	unsigned class = class_of(en->len);

	if (fs->journal == NULL || en->slot == JOURNAL_NONE)
		return;
	entry_at(fs->journal, class, en->slot)->len = 0;
	barrier();
	slots_push(&fs->journal->free_entries[class], en->slot);
	en->slot = JOURNAL_NONE;
}

void
journal_handle_add(struct fs *fs, const struct handle *h)
{
	struct journal *j = fs->journal;
	struct journal_handle *r;

	if (j == NULL)
		return;
	if (h->index >= j->caps.handles) {
		incomplete(j);
		return;
	}
	if (h->index >= j->head->nhandles)
		j->head->nhandles = h->index + 1;
	r = &j->handles[h->index];
	r->generation = h->generation;
	r->flags = (uint32_t)h->flags;
	r->dir = h->dir;
	r->opened_by = 0;
	r->lost = 0;
	r->flock = F_UNLCK;
	j->head->handle_generation = h->generation;
	barrier();
	r->id = h->inode->id;
}

void
journal_handle(struct fs *fs, const struct handle *h)
{
	struct journal *j = fs->journal;

	if (j == NULL || h->index >= j->caps.handles)
		return;
	j->handles[h->index].opened_by = h->opened_by;
	j->handles[h->index].flock = (uint16_t)h->flock;
}

void
journal_handle_lost(struct fs *fs, const struct handle *h)
{
	if (fs->journal != NULL && h->index < fs->journal->caps.handles)
		fs->journal->handles[h->index].lost = 1;
}

void
journal_handle_drop(struct fs *fs, uint32_t index)
{
	if (fs->journal != NULL && index < fs->journal->caps.handles)
		fs->journal->handles[index].id = 0;
}

/* Start and end may be of different moments: a range grows or shrinks at one of them. */
void
journal_lock(struct fs *fs, const struct lock_owner *o, struct lock_range *r)
{
	struct journal *j = fs->journal;
	struct journal_lock *l;

	if (j == NULL)
		return;
	if (r->slot == JOURNAL_NONE)
		r->slot = slots_take(&j->free_locks, &j->head->nlocks, j->caps.locks);
	if (r->slot == JOURNAL_NONE) {
		incomplete(j);
		return;
	}
	l = &j->locks[r->slot];
	l->owner = o->owner;
	l->fh = handle_fh(o->handle);
	l->start = r->start;
	l->end = r->end;
	l->pid = o->pid;
	l->type = (uint16_t)r->type;
	l->wal = r->wal;
	barrier();
	l->id = o->handle->inode->id;
}

void
journal_lock_drop(struct fs *fs, struct lock_range *r)
{
	if (fs->journal == NULL || r->slot == JOURNAL_NONE)
		return;
	fs->journal->locks[r->slot].id = 0;
	barrier();
	slots_push(&fs->journal->free_locks, r->slot);
	r->slot = JOURNAL_NONE;
}

void
journal_ready(struct fs *fs)
{
	if (fs->journal != NULL)
		fs->journal->head->ready =
			(fs->ready ? JOURNAL_READY : 0) | (fs->push ? JOURNAL_PUSH : 0);
}

void
journal_device(struct fs *fs)
{
	struct journal_head *h;

	if (fs->journal == NULL || fs->ndevices == 0)
		return;
	h = fs->journal->head;
	h->devices[fs->ndevices - 1] = fs->devices[fs->ndevices - 1];
	barrier();
	h->ndevices = (uint32_t)fs->ndevices;
}

static void
ring_put(struct journal *j, const uint8_t *msg, size_t n)
{
	struct journal_head *h = j->head;
	size_t at = h->ring_head % j->caps.ring, need = 8 + (n + 7) / 8 * 8, skip = 0;
	uint32_t len = (uint32_t)n, no = RING_SKIP;

	if (at + need > j->caps.ring)
		skip = j->caps.ring - at;
	if (h->ring_head + skip + need - h->ring_tail > j->caps.ring) {
		incomplete(j);
		return;
	}
	if (skip > 0) {
		memcpy(j->ring + at, &no, sizeof(no));
		at = 0;
	}
	memcpy(j->ring + at, &len, sizeof(len));
	memcpy(j->ring + at + 8, msg, n);
	barrier();
	h->ring_head += skip + need;
}

void
journal_request(struct fs *fs, uint64_t unique, uint32_t opcode)
{
	struct journal_head *h;

	if (fs->journal == NULL)
		return;
	h = fs->journal->head;
	h->running.opcode = opcode;
	h->running.times = 0;
	barrier();
	h->running.unique = unique;
}

void
journal_answered(struct fs *fs, const uint8_t *msg, size_t n)
{
	struct fuse_out_header o;
	struct journal_head *h;

	if (fs->journal == NULL)
		return;
	h = fs->journal->head;
	memcpy(&o, msg, sizeof(o));
	if (n <= JOURNAL_REPLY_MAX)
		ring_put(fs->journal, msg, n);
	barrier();
	h->running.unique = 0;
	/* Only since a process has died are there any. */
	for (size_t k = 0; fs->doubts && k < JOURNAL_DOUBTS; k++)
		if (h->doubts[k].unique == o.unique)
			h->doubts[k].unique = 0;
}

void
journal_note(struct fs *fs, const uint8_t *msg, size_t n)
{
	if (fs->journal != NULL)
		ring_put(fs->journal, msg, n);
}

void
journal_sent(struct fs *fs)
{
	struct journal *j = fs->journal;
	struct journal_head *h;

	if (j == NULL)
		return;
	h = j->head;
	if (j->check && fs->sent >= j->check_wire) {
		h->ring_tail = j->check_ring;
		j->check = false;
	}
	if (j->check || h->ring_tail == h->ring_head)
		return;
	if (fs->out.len == 0) {
		/* Back to the start, so that few pages are touched: empty at each step. */
		h->ring_tail = h->ring_head;
		barrier();
		h->ring_head = 0;
		barrier();
		h->ring_tail = 0;
		return;
	}
	j->check = true;
	j->check_wire = fs->sent + fs->out.len;
	j->check_ring = h->ring_head;
}
