#pragma once
/*
 * Random operations on a mounted workspace and, the same ones, on a plain folder.
 *
 *   main.c       the dice, rounds, arguments
 *   ops_data.c   operations on open files
 *   ops_names.c  operations on names
 *   tree.c       what a tree looks like; comparing
 *   host.c       changes by somebody else, here or at the other end of a pipe
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define HANDLES      12
#define SPAN         200000
#define CHUNK        20000
#define NAMES        5
#define NAME_MAX_LEN 64
#define LAST         60 /* operations that a failure tells of */
#define LAST_LEN     280

enum { MOUNT, PLAIN, SIDES };

struct model {
	int root[SIDES];
	struct pair {
		int fd[SIDES];
		int flags;
	} open[HANDLES];
	uint64_t rng;
	unsigned long step, seed;
	char what[256];
	char last[LAST][LAST_LEN];
	unsigned long said;
	int slot;         /* of open, that the operation is about; or -1 */
	uint64_t show_ms; /* how long a change on the host may take to be seen */
	uint64_t longest_ms, pause_us;
	unsigned long host_changes, operations;
};
extern struct model t;

uint64_t rnd(uint64_t n);
/* "f2", "d1/f0", "d1/d3/f4": few names, so that they meet. */
void path(char out[NAME_MAX_LEN]);
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

struct outcome {
	long r;
	int err;
};
void agree(struct outcome a, struct outcome b);

#define DO(out, call)                                                                              \
	do {                                                                                       \
		errno = 0;                                                                         \
		(out).r = (long)(call);                                                            \
		(out).err = errno;                                                                 \
	} while (0)

/* The same call on both sides: `dir` is the root, `side` the index. */
#define BOTH(call)                                                                                 \
	do {                                                                                       \
		struct outcome o_[SIDES];                                                          \
		for (int side = 0; side < SIDES; side++) {                                         \
			int dir = t.root[side];                                                    \
			(void)dir;                                                                 \
			DO(o_[side], call);                                                        \
		}                                                                                  \
		agree(o_[MOUNT], o_[PLAIN]);                                                       \
	} while (0)

/* The same bytes for the same v; valid until the next call. */
uint8_t *pattern(size_t n, uint64_t v);

/* ops_data.c: an open pair, or NULL */
struct pair *any_open(void);

/* tree.c */
void same_stat(const struct stat *a, const struct stat *b);
void stat_both(const char *p, int flags);
char *list(int root, const char *p);
/* What differs in the attributes of open files, or NULL. */
const char *handles_difference(void);
/* What a root shows: of two names everything, of all the rest names and attributes. */
struct view {
	uint64_t a, b, tree;
};
void view_take(int root, const char *a, const char *b, struct view *ret);
/* What the two differ in, or NULL. */
const char *view_difference(const struct view *a, const struct view *b);
/* Depth first: every name, attribute and byte. */
void same_tree(const char *p);

/* host.c */
struct change {
	int kind;
	size_t n;
	uint64_t v;
	char a[NAME_MAX_LEN], b[NAME_MAX_LEN];
};
/* where: a folder; "-" for whoever is at the other end of stdin and stdout; NULL: nobody. */
void host_begin(const char *where);
/* The folder of a round, which the mount has by now. */
void host_enter(const char *name);
void host_await(const char *a, const char *b);
void op_host(void);
/* The other end: serves the folder while the command runs, whose exit status it returns. */
int host_serve(const char *folder, char **command);

typedef void op_fn(void);
op_fn op_open_file, op_tmpfile, op_write, op_read, op_fstat, op_mmap, op_size, op_allocate, op_seek,
	op_copy, op_close, op_sync;
op_fn op_rename, op_link, op_symlink, op_remove, op_make, op_mode, op_times, op_list, op_xattr;
