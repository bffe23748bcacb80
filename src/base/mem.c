#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/mem.h>

static void *
check(void *p)
{
	static const char msg[] = "paddock: out of memory\n";

	if (p == NULL) {
		if (write(STDERR_FILENO, msg, sizeof(msg) - 1) < 0)
			abort();
		abort();
	}
	return p;
}

void *
xmalloc(size_t n)
{
	return check(malloc(n > 0 ? n : 1));
}

void *
xcalloc(size_t n, size_t size)
{
	return check(calloc(n > 0 ? n : 1, size > 0 ? size : 1));
}

void *
xreallocarray(void *p, size_t n, size_t size)
{
	return check(reallocarray(p, n > 0 ? n : 1, size));
}

char *
xstrdup(const char *s)
{
	return check(strdup(s));
}

char *
xstrndup(const char *s, size_t n)
{
	return check(strndup(s, n));
}

char *
xasprintf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return check(n < 0 ? NULL : s);
}

void
mem_prefault(size_t n)
{
	const uintptr_t page = 4096;
	uintptr_t before;
	char *p;

	/* What is asked for at once, and given back at the end of the heap, stays in the heap. */
	mallopt(M_MMAP_THRESHOLD, (int)(2 * n));
	mallopt(M_TRIM_THRESHOLD, (int)(2 * n));
	p = malloc(n);
	if (p == NULL)
		return;
	before = -(uintptr_t)p % page; /* to the first whole page */
	if (n > before + page)
		(void)madvise(p + before, (n - before) / page * page, MADV_POPULATE_WRITE);
	free(p);
}
