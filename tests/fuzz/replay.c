/*
 * Runs a fuzz target over the files of a folder, each also cut at every byte, without a fuzzer: the
 * ordinary test run's replay of the corpus.  replay FOLDER...
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#define INPUT_MAX (16 * 1024 * 1024)
/* Longer inputs are cut at this many places only, evenly spread. */
#define CUTS_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In an allocation of exactly its size, so that a sanitizer sees the first byte too many. */
static void
run(const uint8_t *p, size_t n)
{
	CLEAN_FREE uint8_t *copy = xmalloc(n);

	if (n > 0)
		memcpy(copy, p, n);
	LLVMFuzzerTestOneInput(copy, n);
}

static void
run_cut(const struct buf *b)
{
	size_t step = b->len / CUTS_MAX + 1;

	for (size_t n = 0; n < b->len; n += step)
		run(b->data, n);
	run(b->data, b->len);
}

static int
replay(const char *folder, size_t *ninputs)
{
	CLEAN_CLOSEDIR DIR *dir = opendir(folder);
	struct dirent *d;
	struct err e;

	if (dir == NULL) {
		perror(folder);
		return -1;
	}
	while ((d = readdir(dir)) != NULL) {
		CLEAN_BUF struct buf b = BUF_INIT;

		if (d->d_name[0] == '.')
			continue;
		if (io_read_file(dirfd(dir), d->d_name, INPUT_MAX, &b, &e) < 0) {
			fprintf(stderr, "%s\n", e.msg);
			return -1;
		}
		run_cut(&b);
		++*ninputs;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	size_t n = 0;

	for (int i = 1; i < argc; i++)
		if (replay(argv[i], &n) < 0)
			return 1;
	printf("%zu inputs\n", n);
	/* A corpus that has gone missing is no success. */
	return n > 0 ? 0 : 1;
}
