#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/htab.h>
#include <base/mem.h>
#include <wire/sign.h>

#include "leaf.h"
#include "watch.h"

/*
 * How this works. An entry is one name: asked (no certificate yet, somebody waits, its limit runs)
 * or known (nobody waits). Known ones are in the order of their last use; beyond KNOWN_MAX the
 * oldest goes. One that is older than LEAF_AGE_MS is asked for anew, long before it expires.
 */
enum { KNOWN_MAX = 512, ASKED_MAX = 256 };
#define LEAF_AGE_MS (12ULL * 60 * 60 * 1000)

struct entry;

struct leaf_wait {
	TAILQ_ENTRY(leaf_wait) link;
	struct entry *entry;
	leaf_fn *done;
	void *arg;
};

TAILQ_HEAD(waits, leaf_wait);

struct entry {
	struct hnode node; /* first: the table's */
	TAILQ_ENTRY(entry) link;
	struct leaves *all;
	uint64_t id, since_ms;
	X509 *leaf; /* NULL: asked */
	struct waits waiting;
	struct alarm *limit;
	char name[SIGN_NAME_MAX + 1];
};

TAILQ_HEAD(entries, entry);

struct leaves {
	uv_loop_t *loop;
	int fd;
	struct watch *watch;
	leaf_lost_fn *lost;
	void *arg;
	uint64_t seed, next_id;
	struct htab by_name;
	struct entries known, asked;
	size_t nknown, nasked;
	uint8_t key[SIGN_KEY_MAX];
	size_t key_len;
};

static struct entry *
find(const struct leaves *l, const char *name)
{
	uint64_t hash = hash_bytes(l->seed, name, strlen(name));

	for (struct hnode *h = htab_first(&l->by_name, hash); h != NULL; h = htab_next(h))
		if (strcmp(((struct entry *)h)->name, name) == 0)
			return (struct entry *)h;
	return NULL;
}

static void
unlink_entry(struct entry *e)
{
	struct leaves *l = e->all;

	htab_remove(&l->by_name, &e->node);
	if (e->leaf != NULL) {
		TAILQ_REMOVE(&l->known, e, link);
		l->nknown--;
	} else {
		TAILQ_REMOVE(&l->asked, e, link);
		l->nasked--;
	}
	alarm_free(e->limit);
	e->limit = NULL;
}

static void
free_entry(struct entry *e)
{
	unlink_entry(e);
	X509_free(e->leaf);
	free(e);
}

static void
keep(struct entry *e)
{
	struct leaves *l = e->all;

	e->since_ms = clock_mono_ms();
	htab_add(&l->by_name, &e->node, hash_bytes(l->seed, e->name, strlen(e->name)));
	TAILQ_INSERT_HEAD(&l->known, e, link);
	if (++l->nknown > KNOWN_MAX)
		free_entry(TAILQ_LAST(&l->known, entries));
}

/* Those who wait may ask and cancel anything meanwhile: the entry is in no list by then. */
static void
answer(struct entry *e, X509 *leaf)
{
	struct leaf_wait *w;

	unlink_entry(e);
	while ((w = TAILQ_FIRST(&e->waiting)) != NULL) {
		leaf_fn *done = w->done;
		void *arg = w->arg;

		leaf_cancel(w);
		done(arg, leaf);
	}
	if (leaf == NULL) {
		free(e);
		return;
	}
	X509_up_ref(leaf);
	e->leaf = leaf;
	keep(e);
}

static void
on_limit(void *arg)
{
	answer(arg, NULL);
}

/* NULL: nobody waits for it any more. */
static struct entry *
find_asked(struct leaves *l, uint64_t id)
{
	struct entry *e;

	TAILQ_FOREACH(e, &l->asked, link)
	if (e->id == id)
		return e;
	return NULL;
}

static void
on_reply(void *arg, int events)
{
	struct leaves *l = arg;
	uint8_t bytes[SIGN_WIRE_MAX];
	struct sign_reply reply;
	const unsigned char *p = reply.cert;
	struct entry *e;
	X509 *leaf = NULL;
	ssize_t n = recv(l->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		watch_events(l->watch, 0);
		l->lost(l->arg);
		return;
	}
	if (sign_reply_decode(bytes, (size_t)n, &reply) < 0)
		return;
	e = find_asked(l, reply.id);
	if (e == NULL)
		return; /* too late */
	if (reply.cert_len > 0)
		leaf = d2i_X509(NULL, &p, (long)reply.cert_len);
	answer(e, leaf);
	X509_free(leaf);
}

struct leaves *
leaves_new(
	uv_loop_t *loop, int fd, const uint8_t *key, size_t key_len, leaf_lost_fn *lost, void *arg)
{
	struct leaves *l = xcalloc(1, sizeof(*l));

	l->loop = loop;
	l->fd = fd;
	l->lost = lost;
	l->arg = arg;
	memcpy(l->key, key, key_len);
	l->key_len = key_len;
	if (getrandom(&l->seed, sizeof(l->seed), 0) < 0)
		l->seed = clock_mono_ns();
	TAILQ_INIT(&l->known);
	TAILQ_INIT(&l->asked);
	l->watch = watch_new(loop, fd, on_reply, l);
	if (l->watch == NULL) {
		free(l);
		return NULL;
	}
	watch_events(l->watch, UV_READABLE);
	return l;
}

void
leaves_free(struct leaves *l)
{
	struct entry *e;

	if (l == NULL)
		return;
	while ((e = TAILQ_FIRST(&l->known)) != NULL || (e = TAILQ_FIRST(&l->asked)) != NULL)
		free_entry(e);
	htab_release(&l->by_name);
	watch_free(l->watch);
	free(l);
}

X509 *
leaf_find(struct leaves *l, const char *name)
{
	struct entry *e = find(l, name);

	if (e == NULL || e->leaf == NULL)
		return NULL;
	if (clock_mono_ms() - e->since_ms > LEAF_AGE_MS) {
		free_entry(e);
		return NULL;
	}
	TAILQ_REMOVE(&l->known, e, link);
	TAILQ_INSERT_HEAD(&l->known, e, link);
	X509_up_ref(e->leaf);
	return e->leaf;
}

static bool
ask(const struct leaves *l, const struct entry *e)
{
	CLEAN_BUF struct buf out = BUF_INIT;
	struct sign_request q = {.id = e->id, .key_len = l->key_len};
	ssize_t n;

	memcpy(q.name, e->name, sizeof(q.name));
	memcpy(q.key, l->key, l->key_len);
	sign_request_encode(&q, &out);
	do
		n = send(l->fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n >= 0;
}

static struct entry *
new_entry(struct leaves *l, const char *name)
{
	size_t n = strlen(name);
	struct entry *e;

	if (l->nasked >= ASKED_MAX || n > SIGN_NAME_MAX)
		return NULL;
	e = xcalloc(1, sizeof(*e));
	*e = (struct entry){.all = l, .id = l->next_id++};
	memcpy(e->name, name, n + 1);
	TAILQ_INIT(&e->waiting);
	htab_add(&l->by_name, &e->node, hash_bytes(l->seed, name, n));
	TAILQ_INSERT_TAIL(&l->asked, e, link);
	l->nasked++;
	e->limit = alarm_new(l->loop, on_limit, e);
	alarm_set(e->limit, LEAF_LIMIT_MS);
	if (!ask(l, e)) {
		free_entry(e);
		return NULL;
	}
	return e;
}

struct leaf_wait *
leaf_get(struct leaves *l, const char *name, leaf_fn *done, void *arg)
{
	struct entry *e = find(l, name);
	struct leaf_wait *w;

	if (e != NULL && e->leaf != NULL) {
		free_entry(e);
		e = NULL;
	}
	if (e == NULL && (e = new_entry(l, name)) == NULL)
		return NULL;
	w = xcalloc(1, sizeof(*w));
	*w = (struct leaf_wait){.entry = e, .done = done, .arg = arg};
	TAILQ_INSERT_TAIL(&e->waiting, w, link);
	return w;
}

void
leaf_cancel(struct leaf_wait *w)
{
	TAILQ_REMOVE(&w->entry->waiting, w, link);
	free(w);
}
