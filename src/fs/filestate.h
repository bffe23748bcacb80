#pragma once
/*
 * What a file of a workspace is at some moment, for comparison: its type, a digest of its content
 * and whether it is executable; of git's settings (proto/gitconfig.h) those that run something.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

struct fs;

/* One setting as the guest may change it; several of one key are one, joined. */
struct filestate_setting {
	char *key, *value;
};

struct filestate {
	uint32_t type; /* 0: there is none */
	uint64_t digest;
	bool exec;
	struct filestate_setting *settings;
	size_t nsettings;
};

/* Of the file at this path below the root, through no symlink; none where there is none. */
void filestate_read(const struct fs *fs, const char *path, bool settings, struct filestate *ret);
void filestate_release(struct filestate *s);
void filestate_copy(const struct filestate *from, struct filestate *ret);
struct filestate_setting *filestate_find(const struct filestate *s, const char *key);
bool filestate_same(const struct filestate *a, const struct filestate *b);
bool filestate_same_settings(const struct filestate *a, const struct filestate *b);

/* Parts of it: a descriptor or -1 with errno; false where it was not read to its end. */
int filestate_open(const struct fs *fs, const char *path, uint64_t flags);
bool filestate_content(int fd, struct buf *out);
