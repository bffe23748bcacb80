#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <base/mem.h>

#include "resolve.h"
#include "watch.h"

/*
 * How this works. A question is one name that the resolver is asked, with everybody who waits for
 * it. It waits in `queued` until fewer than IN_FLIGHT_MAX are with the resolver, then in `asked`;
 * the socket's buffer holds that many without blocking. Its time runs from the start. A question
 * lives until its answer or its limit even when nobody waits any longer: the resolver works on it
 * all the same, and somebody may ask again.
 */

enum { IN_FLIGHT_MAX = 64, QUESTIONS_MAX = 1024 };

struct lookup {
	TAILQ_ENTRY(lookup) link;
	struct question *question;
	lookup_fn *done;
	void *arg;
};

TAILQ_HEAD(lookups, lookup);

struct question {
	TAILQ_ENTRY(question) link;
	struct resolve *client;
	struct lookups waiting;
	struct alarm *limit;
	bool asked;
	struct resolve_request request;
};

TAILQ_HEAD(questions, question);

struct resolve {
	uv_loop_t *loop;
	int fd;
	uint64_t limit_ms;
	struct watch *watch;
	resolve_lost_fn *lost;
	void *arg;
	uint32_t next_id;
	size_t nasked, ntotal;
	struct questions queued, asked;
};

static void
unlink_question(struct question *q)
{
	struct resolve *r = q->client;

	if (q->asked) {
		TAILQ_REMOVE(&r->asked, q, link);
		r->nasked--;
	} else {
		TAILQ_REMOVE(&r->queued, q, link);
	}
	r->ntotal--;
}

/* Those who wait may start and cancel lookups of any kind, also of this name: it is unlinked. */
static void
answer(struct question *q, const struct resolve_reply *reply)
{
	struct lookup *l;

	unlink_question(q);
	while ((l = TAILQ_FIRST(&q->waiting)) != NULL) {
		lookup_fn *done = l->done;
		void *arg = l->arg;

		lookup_cancel(l);
		done(arg, reply);
	}
	alarm_free(q->limit);
	free(q);
}

static void
answer_error(struct question *q, int error)
{
	const struct resolve_reply reply = {.id = q->request.id, .error = error};

	answer(q, &reply);
}

static int
ask(struct resolve *r, struct question *q)
{
	ssize_t n;

	do
		n = send(r->fd, &q->request, sizeof(q->request), MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	TAILQ_REMOVE(&r->queued, q, link);
	TAILQ_INSERT_TAIL(&r->asked, q, link);
	q->asked = true;
	r->nasked++;
	return 0;
}

/* A full socket is no error: the next answer or limit brings us back here. */
static void
ask_queued(struct resolve *r)
{
	struct question *q;

	while (r->nasked < IN_FLIGHT_MAX && (q = TAILQ_FIRST(&r->queued)) != NULL)
		if (ask(r, q) < 0)
			return;
}

static void
on_limit(void *arg)
{
	struct question *q = arg;
	struct resolve *r = q->client;

	answer_error(q, -ETIMEDOUT);
	ask_queued(r);
}

static struct question *
find_asked(struct resolve *r, uint32_t id)
{
	struct question *q;

	TAILQ_FOREACH(q, &r->asked, link)
	if (q->request.id == id)
		return q;
	return NULL;
}

static bool
reply_is_sane(const struct resolve_reply *reply, ssize_t n)
{
	if (n != sizeof(*reply) || reply->n > RESOLVE_ADDRS_MAX || reply->error > 0)
		return false;
	for (uint32_t i = 0; i < reply->n; i++)
		if (reply->addrs[i].addr.family != AF_INET &&
			reply->addrs[i].addr.family != AF_INET6)
			return false;
	return true;
}

static void
on_reply(void *arg, int events)
{
	struct resolve *r = arg;
	struct resolve_reply reply;
	struct question *q;
	ssize_t n = recv(r->fd, &reply, sizeof(reply), MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		watch_events(r->watch, 0);
		r->lost(r->arg);
		return;
	}
	/* No question of that number: it came too late. */
	if (reply_is_sane(&reply, n) && (q = find_asked(r, reply.id)) != NULL)
		answer(q, &reply);
	ask_queued(r);
}

struct resolve *
resolve_new(uv_loop_t *loop, int fd, uint64_t limit_ms, resolve_lost_fn *lost, void *arg)
{
	struct resolve *r = xcalloc(1, sizeof(*r));

	r->loop = loop;
	r->fd = fd;
	r->limit_ms = limit_ms;
	r->lost = lost;
	r->arg = arg;
	TAILQ_INIT(&r->queued);
	TAILQ_INIT(&r->asked);
	r->watch = watch_new(loop, fd, on_reply, r);
	if (r->watch == NULL) {
		free(r);
		return NULL;
	}
	watch_events(r->watch, UV_READABLE);
	return r;
}

static void
free_questions(struct questions *list)
{
	struct question *q;

	while ((q = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, q, link);
		alarm_free(q->limit);
		free(q);
	}
}

void
resolve_free(struct resolve *r)
{
	if (r == NULL)
		return;
	free_questions(&r->queued);
	free_questions(&r->asked);
	watch_free(r->watch);
	free(r);
}

static struct question *
find_question(struct resolve *r, const char *name, int literal)
{
	struct questions *lists[] = {&r->asked, &r->queued};
	struct question *q;

	for (size_t i = 0; i < 2; i++)
		TAILQ_FOREACH(q, lists[i], link)
	if (q->request.literal == (literal != 0) && strcmp(q->request.name, name) == 0)
		return q;
	return NULL;
}

static struct question *
new_question(struct resolve *r, const char *name, int literal)
{
	struct question *q;
	size_t n = strlen(name);

	if (r->ntotal >= QUESTIONS_MAX || n >= sizeof(q->request.name))
		return NULL;
	q = xcalloc(1, sizeof(*q));
	q->client = r;
	q->request.id = r->next_id++;
	q->request.literal = literal != 0;
	memcpy(q->request.name, name, n + 1);
	TAILQ_INIT(&q->waiting);
	TAILQ_INSERT_TAIL(&r->queued, q, link);
	r->ntotal++;
	q->limit = alarm_new(r->loop, on_limit, q);
	alarm_set(q->limit, r->limit_ms);
	return q;
}

struct lookup *
resolve_lookup(struct resolve *r, const char *name, int literal, lookup_fn *done, void *arg)
{
	struct question *q = find_question(r, name, literal);
	struct lookup *l;

	if (q == NULL && (q = new_question(r, name, literal)) == NULL)
		return NULL;
	l = xcalloc(1, sizeof(*l));
	*l = (struct lookup){.question = q, .done = done, .arg = arg};
	TAILQ_INSERT_TAIL(&q->waiting, l, link);
	ask_queued(r);
	return l;
}

void
lookup_cancel(struct lookup *l)
{
	TAILQ_REMOVE(&l->question->waiting, l, link);
	free(l);
}
