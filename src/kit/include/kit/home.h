#pragma once
/*
 * Files for the home of a sandbox's agent: the kit's own, and what a kit's settings name of the
 * user's. They go in as one tar archive (POSIX.1-2017, pax: ustar Interchange Format).
 */
#include <stddef.h>
#include <stdint.h>

#include <kit/kit.h>

struct home_file {
	char *path; /* below the home */
	unsigned mode;
	struct buf content;
};

struct home {
	struct home_file *files;
	size_t nfiles;
	uint64_t bytes; /* of all contents */
};

#define HOME_FILES_MAX 512       /* of the user's settings, per kit */
#define HOME_BYTES_MAX (8 << 20) /* all together */
#define HOME_FILE_MAX  (1 << 20) /* one of them */
#define HOME_PATH_MAX  255       /* what ustar can name */

#define CLEAN_HOME __attribute__((cleanup(home_release)))
void home_release(struct home *h);
/* One more. The content is moved out of *content. */
void home_add(struct home *h, const char *path, unsigned mode, struct buf *content);
/* The kit's own files that can be filled in, but for those of these paths. */
void home_add_kit_files(
	struct home *h, const struct kit *k, const struct kit_vars *v, const struct strv *written);

/*
 * What k's settings name in this folder (the user's home), as far as it is there. Symbolic links
 * and other special files, what is larger than HOME_FILE_MAX, and what looks like a secret stay
 * outside: a sentence for each in ret_left. An error when there is more than the limits say. A file
 * of which the kit takes single keys becomes those keys and, over them, the kit's own file of that
 * path.
 */
int home_add_settings(struct home *h, const struct kit *k, const char *folder,
	const struct kit_vars *v, struct strv *ret_left, struct err *e);

/* The archive. -ENAMETOOLONG: a path that ustar cannot name. */
int home_archive(const struct home *h, struct buf *out, struct err *e);

/*
 * What a file is that had better stay where it is ("a private key"), or NULL: by its name, and by
 * values of the shapes that services give to their keys. A guess, on the careful side.
 */
const char *home_secret(const char *path, const void *p, size_t n);
