#pragma once
/*
 * An intrusive hash table with chaining: it owns its slots, never its nodes. The caller hashes and
 * compares. Zero-initialise; release with htab_release once the nodes are gone.
 */
#include <stddef.h>
#include <stdint.h>

struct hnode {
	struct hnode *next;
	uint64_t hash;
};

struct htab {
	struct hnode **slots;
	size_t nslots; /* a power of two, or 0 */
	size_t n;
};

void htab_release(struct htab *t);
void htab_add(struct htab *t, struct hnode *h, uint64_t hash);
/* Does nothing where the node is not in the table. */
void htab_remove(struct htab *t, struct hnode *h);
/* The first node with this hash, and the next one behind it; NULL at the end. */
struct hnode *htab_first(const struct htab *t, uint64_t hash);
struct hnode *htab_next(const struct hnode *h);

/* Hashes for tables; seed them at random where a peer chooses the keys. */
uint64_t hash_u64(uint64_t seed, uint64_t v);
uint64_t hash_bytes(uint64_t seed, const void *p, size_t n);
