#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <wire/fuse.h>

#include "pending.h"

#define COPY_MAX (32u << 10) /* longer ones are kept in the buffer that they were read into */

struct request {
	struct hnode by_unique;
	struct list all;
	struct list unanswered; /* or in none */
	uint64_t unique, number, epoch;
	uint64_t interrupt;  /* the unique of an INTERRUPT that went after it; 0: none */
	bool busy, answered; /* being sent again; freed after that */
	uint8_t *msg;
	size_t n;
};

void
pending_init(struct pending *p)
{
	pthread_mutex_init(&p->sending, NULL);
	pthread_mutex_init(&p->lock, NULL);
	list_init(&p->all);
	list_init(&p->unanswered);
}

uint8_t *
pending_buffer(struct pending *p)
{
	uint8_t *b = NULL;

	pthread_mutex_lock(&p->lock);
	if (p->nspare > 0)
		b = p->spare[--p->nspare];
	pthread_mutex_unlock(&p->lock);
	return b != NULL ? b : xmalloc(FUSE_WIRE_MSG_MAX);
}

/* Whole, in *msg itself if it is long. */
static struct request *
request_new(struct pending *p, uint8_t **msg, size_t n)
{
	struct request *q = xcalloc(1, sizeof(*q) + (n <= COPY_MAX ? n : 0));
	struct fuse_in_header h;

	memcpy(&h, *msg, sizeof(h));
	q->unique = h.unique;
	q->n = n;
	q->msg = n <= COPY_MAX ? (uint8_t *)(q + 1) : *msg;
	if (n <= COPY_MAX)
		memcpy(q->msg, *msg, n);
	else
		*msg = pending_buffer(p);
	list_init(&q->unanswered);
	return q;
}

/* p->lock is held. */
static void
add(struct pending *p, struct request *q)
{
	q->epoch = p->epoch;
	q->number = ++p->number;
	list_add_tail(&p->all, &q->all);
}

void
pending_add(struct pending *p, uint8_t **msg, size_t n)
{
	struct request *q = request_new(p, msg, n);

	pthread_mutex_lock(&p->lock);
	add(p, q);
	htab_add(&p->by_unique, &q->by_unique, hash_u64(0, q->unique));
	pthread_mutex_unlock(&p->lock);
}

void
pending_add_unanswered(struct pending *p, uint8_t **msg, size_t n)
{
	struct request *q = request_new(p, msg, n);

	pthread_mutex_lock(&p->lock);
	add(p, q);
	list_add_tail(&p->unanswered, &q->unanswered);
	pthread_mutex_unlock(&p->lock);
}

/* p->lock is held. */
static void
request_free(struct pending *p, struct request *q)
{
	if (q->msg != (uint8_t *)(q + 1)) {
		if (p->nspare < PENDING_SPARE)
			p->spare[p->nspare++] = q->msg;
		else
			free(q->msg);
	}
	free(q);
}

static struct request *
find(const struct pending *p, uint64_t unique)
{
	for (struct hnode *h = htab_first(&p->by_unique, hash_u64(0, unique)); h != NULL;
		h = htab_next(h)) {
		struct request *q = container_of(h, struct request, by_unique);

		if (q->unique == unique)
			return q;
	}
	return NULL;
}

/* p->lock is held. */
static void
done(struct pending *p, struct request *q)
{
	list_del(&q->all);
	list_del(&q->unanswered);
	q->answered = true;
	if (!q->busy)
		request_free(p, q);
}

bool
pending_remove(struct pending *p, uint64_t unique, struct fuse_in_header *ret_head)
{
	struct list *l, *tmp;
	struct request *q;

	pthread_mutex_lock(&p->lock);
	q = find(p, unique);
	list_foreach(l, tmp, &p->unanswered)
	{
		struct request *r = container_of(l, struct request, unanswered);

		if (q == NULL || r->number > q->number)
			break;
		done(p, r);
	}
	if (q != NULL) {
		if (ret_head != NULL)
			memcpy(ret_head, q->msg, sizeof(*ret_head));
		htab_remove(&p->by_unique, &q->by_unique);
		done(p, q);
	}
	pthread_mutex_unlock(&p->lock);
	return q != NULL;
}

void
pending_interrupt(struct pending *p, const uint8_t *msg, size_t n)
{
	struct fuse_in_header h;
	struct fuse_interrupt_in in;
	struct request *q;

	if (n < sizeof(h) + sizeof(in))
		return;
	memcpy(&h, msg, sizeof(h));
	memcpy(&in, msg + sizeof(h), sizeof(in));
	pthread_mutex_lock(&p->lock);
	q = find(p, in.unique);
	if (q != NULL)
		q->interrupt = h.unique;
	pthread_mutex_unlock(&p->lock);
}

/* The next that an earlier role got, marked busy. */
static struct request *
next_old(struct pending *p)
{
	struct list *l, *tmp;
	struct request *q = NULL;

	pthread_mutex_lock(&p->lock);
	list_foreach(l, tmp, &p->all)
	{
		struct request *r = container_of(l, struct request, all);

		if (r->epoch == p->epoch)
			continue;
		q = r;
		q->epoch = p->epoch;
		q->busy = true;
		break;
	}
	pthread_mutex_unlock(&p->lock);
	return q;
}

static int
interrupt(const struct request *q, int (*send)(void *arg, const uint8_t *msg, size_t n), void *arg)
{
	struct {
		struct fuse_in_header head;
		struct fuse_interrupt_in in;
	} m = {.head = {.len = sizeof(m), .opcode = FUSE_INTERRUPT, .unique = q->interrupt},
		.in = {.unique = q->unique}};

	return send(arg, (const uint8_t *)&m, sizeof(m));
}

int
pending_again(struct pending *p, int (*send)(void *arg, const uint8_t *msg, size_t n),
	bool (*stop)(void *arg), void *arg)
{
	struct request *q;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	p->epoch++;
	pthread_mutex_unlock(&p->lock);
	while (r == 0 && !stop(arg) && (q = next_old(p)) != NULL) {
		r = send(arg, q->msg, q->n);
		if (r == 0 && q->interrupt != 0)
			r = interrupt(q, send, arg);
		pthread_mutex_lock(&p->lock);
		q->busy = false;
		if (q->answered)
			request_free(p, q);
		pthread_mutex_unlock(&p->lock);
	}
	return r;
}
