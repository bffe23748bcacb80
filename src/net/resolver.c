#include <errno.h>
#include <pthread.h>
#include <resolv.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/io.h>
#include <base/mem.h>
#include <net/net.h>

#include "hostaddr.h"
#include "resolver.h"

/*
 * How this works. The serving thread reads requests into a bounded queue; worker threads, begun as
 * they are needed, each do one lookup at a time and send the reply (a message is atomic, so they
 * need no lock for it). getaddrinfo(3) blocks and cannot be interrupted: when the socket closes the
 * workers are left behind with the shared state, which the last one out frees.
 */

struct job {
	STAILQ_ENTRY(job) link;
	struct resolve_request request;
};

struct resolver {
	pthread_mutex_t lock;
	pthread_cond_t work;
	STAILQ_HEAD(jobs, job) queue;
	size_t nqueued, nthreads, nidle;
	bool closing;
	unsigned refs;
	int fd;
	struct resolver_hooks hooks;
};

static void
unref(struct resolver *r)
{
	bool last;

	pthread_mutex_lock(&r->lock);
	last = --r->refs == 0;
	pthread_mutex_unlock(&r->lock);
	if (!last)
		return;
	while (!STAILQ_EMPTY(&r->queue)) {
		struct job *j = STAILQ_FIRST(&r->queue);

		STAILQ_REMOVE_HEAD(&r->queue, link);
		free(j);
	}
	close(r->fd);
	pthread_cond_destroy(&r->work);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static void
send_reply(int fd, const struct resolve_reply *reply)
{
	ssize_t n;

	do
		n = send(fd, reply, sizeof(*reply), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
}

static void
send_error(int fd, uint32_t id, int error)
{
	const struct resolve_reply reply = {.id = id, .error = error};

	send_reply(fd, &reply);
}

static int
from_eai(int eai)
{
	switch (eai) {
	case 0:
		return 0;
	case EAI_NONAME:
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
	case EAI_FAMILY:
		return -ENOENT;
	case EAI_AGAIN:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

/*
 * The names that the guest uses are whole: the host's search list must not complete one to
 * something inside its owner's network. glibc keeps the options per thread, and lets go of them
 * when it notices that resolv.conf has changed, or does not notice it any more: so each lookup
 * begins from the file as it is now (read again only where it has changed). The options are
 * cleared first, because res_init(3) takes those it finds for defaults that it should keep.
 */
static void
switch_search_off(void)
{
	if (_res.options & RES_INIT)
		res_nclose(&_res); /* before the first res_init it would close descriptor 0 */
	_res.options = 0;
	if (res_init() == 0)
		_res.options &= ~(unsigned long)(RES_DNSRCH | RES_DEFNAMES);
}

static int
is_host(const struct resolver *r, struct hostaddr *h, const struct ip_addr *a)
{
	return r->hooks.is_host != NULL ? r->hooks.is_host(a) : hostaddr_is_local(h, a);
}

static int
add_addr(const struct resolver *r, struct hostaddr *h, const struct ip_addr *a,
	struct resolve_reply *reply)
{
	int local = is_host(r, h, a);

	if (local < 0)
		return local;
	reply->addrs[reply->n++] = (struct resolve_addr){.addr = *a, .is_host = local != 0};
	return 0;
}

static int
look_up(const struct resolver *r, struct hostaddr *h, const char *name, struct resolve_reply *reply)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *list = NULL;
	int error;

	switch_search_off();
	error = from_eai(r->hooks.getaddrinfo(name, NULL, &hints, &list));
	if (error < 0)
		return error;
	for (struct addrinfo *i = list; i != NULL && error == 0; i = i->ai_next) {
		struct sockaddr_storage ss = {0};
		struct ip_addr a;

		if (reply->n == RESOLVE_ADDRS_MAX || i->ai_addrlen > sizeof(ss))
			break;
		memcpy(&ss, i->ai_addr, i->ai_addrlen);
		if (ip_addr_from_sockaddr(&ss, &a) == 0)
			error = add_addr(r, h, &a, reply);
	}
	r->hooks.freeaddrinfo(list);
	return error < 0 ? error : reply->n > 0 ? 0 : -ENOENT;
}

static int
look_up_literal(
	const struct resolver *r, struct hostaddr *h, const char *text, struct resolve_reply *reply)
{
	struct ip_addr a;
	int error = ip_addr_parse(text, &a);

	return error < 0 ? error : add_addr(r, h, &a, reply);
}

/*
 * Names of one label and special-use ones come only where an owner's rule means them; what this
 * machine and the host's own names stand for is nothing to be asked.
 */
static bool
is_for_the_host(enum host_name_kind kind)
{
	return kind == HOST_NAME_ORDINARY || kind == HOST_NAME_SINGLE || kind == HOST_NAME_SPECIAL;
}

static void
work_on(const struct resolver *r, struct hostaddr *h, const struct resolve_request *q)
{
	struct resolve_reply reply = {.id = q->id};

	/* Asked anew here: net is the process that a hostile guest would take over first. */
	if (q->literal)
		reply.error = look_up_literal(r, h, q->name, &reply);
	else if (!is_for_the_host(host_name_kind(q->name)))
		reply.error = -ENOENT;
	else
		reply.error = look_up(r, h, q->name, &reply);
	if (reply.error < 0)
		reply.n = 0;
	send_reply(r->fd, &reply);
}

static struct job *
next_job(struct resolver *r)
{
	struct job *j = NULL;

	pthread_mutex_lock(&r->lock);
	r->nidle++;
	while (!r->closing && STAILQ_EMPTY(&r->queue))
		pthread_cond_wait(&r->work, &r->lock);
	r->nidle--;
	if (!r->closing) {
		j = STAILQ_FIRST(&r->queue);
		STAILQ_REMOVE_HEAD(&r->queue, link);
		r->nqueued--;
	}
	pthread_mutex_unlock(&r->lock);
	return j;
}

static void *
worker(void *arg)
{
	struct resolver *r = arg;
	struct hostaddr h = {.fd = -1};
	struct job *j;
	int error = hostaddr_open(&h);

	while ((j = next_job(r)) != NULL) {
		/* Without an answer to "is it ours?" there is no answer. */
		if (error < 0)
			send_error(r->fd, j->request.id, -EIO);
		else
			work_on(r, &h, &j->request);
		free(j);
	}
	if (h.fd >= 0)
		hostaddr_close(&h);
	unref(r);
	return NULL;
}

/* With the lock held. */
static int
add_worker(struct resolver *r)
{
	pthread_attr_t attr;
	pthread_t thread;
	int error;

	if (pthread_attr_init(&attr) != 0)
		return -ENOMEM;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* NSS modules are known to like their stack; it is address space until it is used. */
	pthread_attr_setstacksize(&attr, 512 * 1024);
	error = pthread_create(&thread, &attr, worker, r);
	pthread_attr_destroy(&attr);
	if (error == 0) {
		r->nthreads++;
		r->refs++;
	}
	return -error;
}

/* False: too much at once. */
static bool
enqueue(struct resolver *r, const struct resolve_request *q)
{
	bool taken = false;
	struct job *j;

	pthread_mutex_lock(&r->lock);
	if (r->nidle <= r->nqueued && r->nthreads < RESOLVER_THREADS_MAX)
		(void)add_worker(r);
	if (r->nqueued < RESOLVER_QUEUE_MAX && r->nthreads > 0) {
		j = xcalloc(1, sizeof(*j));
		j->request = *q;
		STAILQ_INSERT_TAIL(&r->queue, j, link);
		r->nqueued++;
		taken = true;
		pthread_cond_signal(&r->work);
	}
	pthread_mutex_unlock(&r->lock);
	return taken;
}

static int
serve(struct resolver *r, struct err *e)
{
	struct resolve_request q;

	for (;;) {
		ssize_t n = recv(r->fd, &q, sizeof(q), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
		if (n < 0)
			return err_sys(e, errno, "resolver: receive");
		if (n != sizeof(q) || memchr(q.name, '\0', sizeof(q.name)) == NULL)
			continue;
		if (!enqueue(r, &q))
			send_error(r->fd, q.id, -EAGAIN);
	}
}

int
resolver_serve(int fd, const struct resolver_hooks *hooks, struct err *e)
{
	struct resolver *r = xcalloc(1, sizeof(*r));
	int result;

	/* Workers that are left behind must not write into whatever gets this number next. */
	r->fd = dup(fd);
	if (r->fd < 0) {
		result = err_sys(e, errno, "resolver: dup");
		free(r);
		return result;
	}
	io_set_nonblock(r->fd, false);
	r->hooks = *hooks;
	r->refs = 1;
	STAILQ_INIT(&r->queue);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->work, NULL);
	result = serve(r, e);
	pthread_mutex_lock(&r->lock);
	r->closing = true;
	pthread_cond_broadcast(&r->work);
	pthread_mutex_unlock(&r->lock);
	unref(r);
	return result;
}

int
net_resolver_serve(int fd, struct err *e)
{
	const struct resolver_hooks hooks = {
		.getaddrinfo = getaddrinfo, .freeaddrinfo = freeaddrinfo, .is_host = NULL};

	return resolver_serve(fd, &hooks, e);
}
