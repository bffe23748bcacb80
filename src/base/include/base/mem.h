#pragma once
/*
 * Allocation that cannot fail: out of memory ends the process (Linux overcommits; nothing sensible
 * is left to do). Sizes that a peer names are capped by the caller before they come here.
 */
#include <stddef.h>

void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull, alloc_size(1)));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xreallocarray(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

/*
 * At the start of a program: n bytes of heap, all at once, which is about what it is going to need.
 * Taken one by one, at its first touch, a page costs twenty times as much where the machine is
 * itself a virtual one (24 us to 1.2 us). A kernel before 5.14 has no such call (madvise(2),
 * MADV_POPULATE_WRITE), and the heap is as ever.
 */
void mem_prefault(size_t n);
