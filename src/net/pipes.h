#pragma once
/*
 * Pipes for splice(2), lent only while bytes are in flight: a thousand idle connections need none.
 */
#include <stddef.h>

#define PIPES_SPARE_MAX 32
#define PIPES_SIZE      (256 * 1024)

struct pipe_pair {
	int read_fd, write_fd;
};

struct pipes {
	struct pipe_pair spare[PIPES_SPARE_MAX];
	size_t nspare;
};

/* An empty pipe. 0 or -errno (-EMFILE, -ENFILE). */
int pipes_take(struct pipes *p, struct pipe_pair *ret);
/* empty: whether every byte was taken out; otherwise the pipe is closed, never lent again. */
void pipes_give(struct pipes *p, struct pipe_pair *pair, int empty);
void pipes_release(struct pipes *p);
