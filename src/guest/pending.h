#pragma once
/*
 * The requests that went to the host and have no answer yet, kept whole: when the host's fs role is
 * replaced, the new one gets them again, and what interrupted them. One thread adds and sends,
 * another takes away, a third sends again; `sending` orders the first and the third, and is held
 * across a write.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/fuse.h>

#include <base/htab.h>
#include <base/list.h>

#define PENDING_SPARE 4 /* whole message buffers kept for the next ones */

struct pending {
	pthread_mutex_t sending; /* taken before lock */
	pthread_mutex_t lock;
	struct htab by_unique;
	struct list all; /* in the order of their coming */
	struct list unanswered;
	uint64_t number; /* of the latest */
	uint64_t epoch;  /* of the fs role that they were sent to */
	uint8_t *spare[PENDING_SPARE];
	size_t nspare;
};

void pending_init(struct pending *p);
/* A buffer of FUSE_WIRE_MSG_MAX bytes. */
uint8_t *pending_buffer(struct pending *p);
/*
 * The n bytes at *msg (of pending_buffer) are about to be sent; p->sending is held. *msg may be
 * kept, and is another buffer then.
 */
void pending_add(struct pending *p, uint8_t **msg, size_t n);
/* The same for one that gets no answer. It has arrived when a later one is answered. */
void pending_add_unanswered(struct pending *p, uint8_t **msg, size_t n);
/* This INTERRUPT has gone, or is going, to the host; p->sending is held. */
void pending_interrupt(struct pending *p, const uint8_t *msg, size_t n);
/* An answer has come. False: to nothing that was asked. ret_head, or NULL: the request's. */
bool pending_remove(struct pending *p, uint64_t unique, struct fuse_in_header *ret_head);
/*
 * Each is sent again, to a new role; p->sending is held. Stops early, with 0, where `stop` has come
 * true. 0 or what send returned.
 */
int pending_again(struct pending *p, int (*send)(void *arg, const uint8_t *msg, size_t n),
	bool (*stop)(void *arg), void *arg);
