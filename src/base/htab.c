#include <stdlib.h>
#include <string.h>

#include <base/htab.h>
#include <base/mem.h>

void
htab_release(struct htab *t)
{
	free(t->slots);
	memset(t, 0, sizeof(*t));
}

static void
put(struct htab *t, struct hnode *h)
{
	struct hnode **slot = &t->slots[h->hash & (t->nslots - 1)];

	h->next = *slot;
	*slot = h;
}

static void
grow(struct htab *t)
{
	struct hnode **old = t->slots;
	size_t nold = t->nslots;

	t->nslots = nold > 0 ? nold * 2 : 64;
	t->slots = xcalloc(t->nslots, sizeof(*t->slots));
	for (size_t i = 0; i < nold; i++) {
		while (old[i] != NULL) {
			struct hnode *h = old[i];

			old[i] = h->next;
			put(t, h);
		}
	}
	free(old);
}

void
htab_add(struct htab *t, struct hnode *h, uint64_t hash)
{
	if (t->n >= t->nslots)
		grow(t);
	h->hash = hash;
	put(t, h);
	t->n++;
}

void
htab_remove(struct htab *t, struct hnode *h)
{
	if (t->nslots == 0)
		return;
	for (struct hnode **at = &t->slots[h->hash & (t->nslots - 1)]; *at != NULL;
		at = &(*at)->next) {
		if (*at != h)
			continue;
		*at = h->next;
		h->next = NULL;
		t->n--;
		return;
	}
}

static struct hnode *
same(struct hnode *h, uint64_t hash)
{
	while (h != NULL && h->hash != hash)
		h = h->next;
	return h;
}

struct hnode *
htab_first(const struct htab *t, uint64_t hash)
{
	return t->nslots == 0 ? NULL : same(t->slots[hash & (t->nslots - 1)], hash);
}

struct hnode *
htab_next(const struct hnode *h)
{
	return same(h->next, h->hash);
}

uint64_t
hash_u64(uint64_t seed, uint64_t v)
{
	/* The finalizer of splitmix64. */
	v += seed + 0x9e3779b97f4a7c15ULL;
	v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9ULL;
	v = (v ^ (v >> 27)) * 0x94d049bb133111ebULL;
	return v ^ (v >> 31);
}

uint64_t
hash_bytes(uint64_t seed, const void *p, size_t n)
{
	const unsigned char *at = p;
	uint64_t h = seed ^ n, word;

	for (; n >= sizeof(word); n -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		h = hash_u64(h, word);
	}
	word = 0;
	memcpy(&word, at, n);
	return hash_u64(h, word);
}
