#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <wire/fuse.h>

#include "pending.h"

#define COPY_MAX (32u << 10) /* longer ones are kept in the buffer that they were read into */

struct request {
	struct hnode by_unique;
	struct list all;
	uint64_t unique, epoch;
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

void
pending_add(struct pending *p, uint8_t **msg, size_t n)
{
	struct request *q = xcalloc(1, sizeof(*q) + (n <= COPY_MAX ? n : 0));
	struct fuse_in_header h;

	memcpy(&h, *msg, sizeof(h));
	q->unique = h.unique;
	q->n = n;
	q->msg = n <= COPY_MAX ? (uint8_t *)(q + 1) : *msg;
	if (n <= COPY_MAX)
		memcpy(q->msg, *msg, n);
	pthread_mutex_lock(&p->lock);
	q->epoch = p->epoch;
	htab_add(&p->by_unique, &q->by_unique, hash_u64(0, q->unique));
	list_add_tail(&p->all, &q->all);
	pthread_mutex_unlock(&p->lock);
	if (n > COPY_MAX)
		*msg = pending_buffer(p);
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

bool
pending_remove(struct pending *p, uint64_t unique)
{
	struct request *q;

	pthread_mutex_lock(&p->lock);
	q = find(p, unique);
	if (q != NULL) {
		htab_remove(&p->by_unique, &q->by_unique);
		list_del(&q->all);
		q->answered = true;
		if (!q->busy)
			request_free(p, q);
	}
	pthread_mutex_unlock(&p->lock);
	return q != NULL;
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
		pthread_mutex_lock(&p->lock);
		q->busy = false;
		if (q->answered)
			request_free(p, q);
		pthread_mutex_unlock(&p->lock);
	}
	return r;
}
