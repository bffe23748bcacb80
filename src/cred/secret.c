#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <base/err.h>
#include <cred/secret.h>

/* Before what the caller gets; its size keeps that aligned for everything. */
struct head {
	_Alignas(max_align_t) size_t all;
};

void *
secret_alloc(size_t n)
{
	size_t all = sizeof(struct head) + n;
	struct head *h = n < SIZE_MAX / 2 ? mmap(NULL, all, PROT_READ | PROT_WRITE,
						    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
					  : MAP_FAILED;

	if (h == MAP_FAILED) {
		fputs("paddock: out of memory\n", stderr);
		abort();
	}
	/* Both are wishes: where the kernel knows them not, the process is undumpable anyway. */
	(void)madvise(h, all, MADV_DONTDUMP);
	(void)madvise(h, all, MADV_WIPEONFORK);
	h->all = all;
	return h + 1;
}

char *
secret_dup(const void *p, size_t n)
{
	char *s = secret_alloc(n + 1);

	if (n > 0)
		memcpy(s, p, n);
	return s;
}

void
secret_free(void *p)
{
	if (p == NULL)
		return;
	struct head *h = (struct head *)p - 1;
	size_t all = h->all;

	explicit_bzero(h, all);
	munmap(h, all);
}
