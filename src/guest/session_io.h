#pragma once
/* The two ends of a program's (or socket's) bytes: a queue into a descriptor, a watch on one. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

#include "loop.h"

/* Bytes on their way into a descriptor, which the sink owns. Zero-initialised: closed. */
struct sink {
	struct loop *loop;
	int fd;
	struct loop_io *io;
	struct buf q;
	bool open;
	bool eof;                                  /* asked for; done once q is empty */
	uint8_t last;                              /* byte written, for the meaning of ^D */
	void (*on_eof)(void *arg, struct sink *s); /* q is empty and eof was asked for */
	void (*on_moved)(void *arg);               /* q got shorter, outside of sink_put */
	void *arg;
};

/* Takes fd, a non-blocking one. */
void sink_open(struct sink *s, struct loop *l, int fd, void (*on_eof)(void *arg, struct sink *s),
	void (*on_moved)(void *arg), void *arg);
void sink_put(struct sink *s, const void *p, size_t n); /* dropped when closed or ended */
void sink_end(struct sink *s);
void sink_close(struct sink *s); /* drops the queue */

/* A descriptor that is read when it is readable and somebody wants it. Owns the descriptor. */
struct source {
	int fd;
	struct loop_io *io;
	bool open;
	void (*on_ready)(void *arg, struct source *s);
	void *arg;
	uint8_t frame; /* what its bytes are sent as */
};

int source_open(struct source *s, struct loop *l, int fd, uint8_t frame,
	void (*on_ready)(void *arg, struct source *s), void *arg);
void source_want(struct source *s, bool on);
bool source_readable(const struct source *s); /* at this moment */
void source_close(struct source *s);
