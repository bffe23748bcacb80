#pragma once
/*
 * Memory for what must not be seen: pages of its own, left out of core dumps (madvise(2)
 * MADV_DONTDUMP), zero in a child of fork(2), wiped when it is given back. Out of memory ends the
 * process.
 */
#include <stddef.h>

/* n zeroed bytes. */
void *secret_alloc(size_t n) __attribute__((returns_nonnull));
/* A copy with a NUL behind it. */
char *secret_dup(const void *p, size_t n) __attribute__((returns_nonnull));
void secret_free(void *p); /* NULL is fine */

static inline void
cleanup_secret_p(void *p)
{
	secret_free(*(void **)p);
}
#define CLEAN_SECRET __attribute__((cleanup(cleanup_secret_p)))
