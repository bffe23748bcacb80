#pragma once
/*
 * A search for many texts at once (Wu and Manber, "A fast algorithm for multi-pattern searching",
 * 1994), which may be cut anywhere. Texts are at least MATCH_MIN bytes long.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MATCH_MIN 8
#define MATCH_MAX 4096 /* texts in one matcher */

struct match_text {
	char *p; /* secret.h; owned */
	size_t n;
	uint16_t tag; /* the caller's */
};

struct matcher {
	struct match_text *v;
	size_t n, longest;
	size_t window;   /* the shortest one's length */
	uint8_t *shift;  /* by the last two bytes of a window: how far it may move */
	uint16_t *first; /* where shift is 0: index + 1 of the first text; 0: none */
	uint16_t *next;  /* by index: the next one, likewise */
};

void matcher_init(struct matcher *m);
void matcher_release(struct matcher *m);
/* Copied; nothing happens where it is too short, known already, or one too many. */
void matcher_add(struct matcher *m, const void *p, size_t n, uint16_t tag);
/* After the last one was added. */
void matcher_build(struct matcher *m);

enum match_kind {
	MATCH_NONE, /* nothing begins in these bytes */
	MATCH_FOUND,
	MATCH_MORE, /* at ret->at something may begin */
};
struct match {
	size_t at, n;
	const struct match_text *text;
};
/* The leftmost, there the longest, of those whose tags are wanted. final: no bytes come any more.
 */
typedef bool match_want(const void *arg, uint16_t tag);
enum match_kind matcher_find(const struct matcher *m, const uint8_t *p, size_t n, bool final,
	match_want *want, const void *arg, struct match *ret);
