#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <base/mem.h>

#include "names.h"

/*
 * How this works. A name's address is where its hash falls in the range, or the next free one
 * behind it. So a name has (nearly always) the same address after a restart of this process, of the
 * sandbox, and in a clone, and what a program in the guest has cached goes on to mean the same
 * name. That an old address should come to mean another name is the one thing that may not happen.
 *
 * Invariants: every name is in by_addr at its address and in one hash chain; it is in the LRU list
 * (oldest first) exactly while it has no pins; a name leaves the table only when the table is full,
 * and only hold_ms after it was last answered or unpinned.
 */

struct name {
	struct name *chain;
	TAILQ_ENTRY(name) lru;
	uint64_t used_ms;
	uint64_t hash;
	uint32_t slot;
	uint32_t pins;
	char text[];
};

struct names {
	uint32_t first;
	size_t nslots, capacity, count, nbuckets;
	uint64_t hold_ms;
	struct name **by_addr;
	struct name **buckets;
	TAILQ_HEAD(idle_names, name) idle;
};

struct names *
names_new(uint32_t first, uint32_t last, size_t capacity, uint64_t hold_ms)
{
	struct names *t = xcalloc(1, sizeof(*t));

	t->first = first;
	t->nslots = (size_t)(last - first) + 1;
	t->capacity = capacity < t->nslots ? capacity : t->nslots;
	t->hold_ms = hold_ms;
	t->nbuckets = 1024;
	while (t->nbuckets < t->capacity / 2)
		t->nbuckets *= 2;
	/* Both are touched where they are used only: an idle table costs next to nothing. */
	t->by_addr = xcalloc(t->nslots, sizeof(*t->by_addr));
	t->buckets = xcalloc(t->nbuckets, sizeof(*t->buckets));
	TAILQ_INIT(&t->idle);
	return t;
}

void
names_free(struct names *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->nbuckets; i++)
		for (struct name *n = t->buckets[i], *next; n != NULL; n = next) {
			next = n->chain;
			free(n);
		}
	free(t->by_addr);
	free(t->buckets);
	free(t);
}

/* FNV-1a with a finaliser. Not keyed: it must be the same in every process (see above). */
static uint64_t
hash(const char *s)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (; *s != '\0'; s++)
		h = (h ^ (uint8_t)*s) * 0x100000001b3ULL;
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 29;
}

static struct name **
chain_of(const struct names *t, uint64_t h)
{
	return &t->buckets[h & (t->nbuckets - 1)];
}

static struct name *
find_text(const struct names *t, const char *text, uint64_t h)
{
	struct name *n = *chain_of(t, h);

	while (n != NULL && (n->hash != h || strcmp(n->text, text) != 0))
		n = n->chain;
	return n;
}

static void
touch(struct names *t, struct name *n, uint64_t now_ms)
{
	n->used_ms = now_ms;
	if (n->pins > 0)
		return;
	TAILQ_REMOVE(&t->idle, n, lru);
	TAILQ_INSERT_TAIL(&t->idle, n, lru);
}

static bool
evict_oldest(struct names *t, uint64_t now_ms)
{
	struct name *n = TAILQ_FIRST(&t->idle), **p;

	if (n == NULL || now_ms < n->used_ms + t->hold_ms)
		return false;
	TAILQ_REMOVE(&t->idle, n, lru);
	t->by_addr[n->slot] = NULL;
	for (p = chain_of(t, n->hash); *p != n; p = &(*p)->chain)
		;
	*p = n->chain;
	free(n);
	t->count--;
	return true;
}

/* Capacity never exceeds the slots and there is room, so the search ends. */
static uint32_t
free_slot(const struct names *t, uint64_t h)
{
	size_t slot = (h >> 20) % t->nslots;

	while (t->by_addr[slot] != NULL)
		slot = slot + 1 < t->nslots ? slot + 1 : 0;
	return (uint32_t)slot;
}

static struct name *
add(struct names *t, const char *text, uint64_t h, uint64_t now_ms)
{
	size_t len = strlen(text);
	struct name *n = xmalloc(sizeof(*n) + len + 1);

	*n = (struct name){.used_ms = now_ms, .hash = h, .slot = free_slot(t, h)};
	memcpy(n->text, text, len + 1);
	n->chain = *chain_of(t, h);
	*chain_of(t, h) = n;
	t->by_addr[n->slot] = n;
	TAILQ_INSERT_TAIL(&t->idle, n, lru);
	t->count++;
	return n;
}

int
names_assign(struct names *t, const char *name, uint64_t now_ms, uint32_t *ret_addr)
{
	uint64_t h = hash(name);
	struct name *n = find_text(t, name, h);

	if (n != NULL) {
		touch(t, n, now_ms);
	} else {
		if (t->count == t->capacity && !evict_oldest(t, now_ms))
			return -ENOSPC;
		n = add(t, name, h, now_ms);
	}
	*ret_addr = t->first + n->slot;
	return 0;
}

struct name *
names_find(const struct names *t, uint32_t addr)
{
	return addr >= t->first && addr - t->first < t->nslots ? t->by_addr[addr - t->first] : NULL;
}

const char *
name_text(const struct name *n)
{
	return n->text;
}

void
names_pin(struct names *t, struct name *n)
{
	if (n->pins++ == 0)
		TAILQ_REMOVE(&t->idle, n, lru);
}

void
names_unpin(struct names *t, struct name *n, uint64_t now_ms)
{
	if (--n->pins == 0)
		TAILQ_INSERT_TAIL(&t->idle, n, lru);
	touch(t, n, now_ms);
}

size_t
names_count(const struct names *t)
{
	return t->count;
}
