#pragma once
/*
 * Pipes for splice(2), lent only while bytes are in flight: a thousand idle connections need none.
 */
#include <stdbool.h>
#include <stddef.h>

#define PIPES_SPARE_MAX 32

struct pipe_pair {
	int read_fd, write_fd;
	bool large; /* worth keeping */
};

struct pipes {
	struct pipe_pair spare[PIPES_SPARE_MAX]; /* empty */
	size_t nspare, nlent;
};

/* An empty pipe of at least a page. 0 or -errno (-EMFILE, -ENFILE). */
int pipes_take(struct pipes *p, struct pipe_pair *ret);
/* empty: whether every byte was taken out; otherwise the pipe is closed, never lent again. */
void pipes_give(struct pipes *p, struct pipe_pair *pair, bool empty);
void pipes_release(struct pipes *p);
