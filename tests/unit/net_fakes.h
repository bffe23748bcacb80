#pragma once
/* A getaddrinfo(3) that answers from a table, and the resolver role around it in a thread. */
#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "net_peers.h"
#include "resolver.h"

#define FAKE_PUBLIC  "93.184.216.34"
#define FAKE_PUBLIC2 "93.184.216.35"
#define FAKE_PUBLIC6 "2606:2800:220:1::1"
#define FAKE_OWN     "203.0.113.9" /* the host's own, says fake_is_host */

struct fake_answer {
	const char *name;
	int error; /* EAI_* */
	const char *addrs[4];
};

static const struct fake_answer fake_answers[] = {
	{"public.example", 0, {FAKE_PUBLIC}},
	{"dual.example", 0, {FAKE_PUBLIC6, FAKE_PUBLIC}},
	{"two.example", 0, {FAKE_PUBLIC2, FAKE_PUBLIC}},
	{"mixed.example", 0, {"169.254.169.254", FAKE_PUBLIC, "::ffff:10.0.0.1"}},
	{"mapped.example", 0, {"::ffff:" FAKE_PUBLIC}},
	{"private.example", 0, {"10.0.0.1", "fd00::1", "127.0.0.1"}},
	{"own.example", 0, {FAKE_OWN}},
	{"none.example", EAI_NONAME, {0}},
	{"again.example", EAI_AGAIN, {0}},
	{"broken.example", EAI_FAIL, {0}},
};

struct fake_resolver {
	int sockets[2]; /* ours, the role's */
	pthread_t thread;
};

static sem_t fake_gate; /* "hang..." names wait for it */
static atomic_int fake_calls, fake_hanging;

static struct addrinfo *
fake_entry(const char *text, struct addrinfo *next)
{
	struct addrinfo *i = calloc(1, sizeof(*i) + sizeof(struct sockaddr_storage));
	struct sockaddr_in *v4 = (struct sockaddr_in *)(i + 1);
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(i + 1);

	i->ai_addr = (struct sockaddr *)(i + 1);
	i->ai_next = next;
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		i->ai_addrlen = sizeof(*v4);
	} else {
		inet_pton(AF_INET6, text, &v6->sin6_addr);
		v6->sin6_family = AF_INET6;
		i->ai_addrlen = sizeof(*v6);
	}
	return i;
}

static int
fake_getaddrinfo(
	const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	(void)service;
	(void)hints;
	fake_calls++;
	if (strncmp(name, "hang", 4) == 0) {
		fake_hanging++;
		sem_wait(&fake_gate);
		fake_hanging--;
		name = "public.example";
	}
	*ret = NULL;
	if (strcmp(name, "many.example") == 0) {
		for (int i = 0; i < 100; i++)
			*ret = fake_entry(FAKE_PUBLIC, *ret);
		return 0;
	}
	for (size_t i = 0; i < sizeof(fake_answers) / sizeof(fake_answers[0]); i++) {
		const struct fake_answer *a = &fake_answers[i];

		if (strcmp(name, a->name) != 0)
			continue;
		for (size_t k = 4; k-- > 0;)
			if (a->addrs[k] != NULL)
				*ret = fake_entry(a->addrs[k], *ret);
		return a->error;
	}
	*ret = fake_entry(FAKE_PUBLIC, NULL);
	return 0;
}

static void
fake_freeaddrinfo(struct addrinfo *list)
{
	while (list != NULL) {
		struct addrinfo *next = list->ai_next;

		free(list);
		list = next;
	}
}

static int
fake_is_host(const struct ip_addr *a)
{
	struct ip_addr own;

	return ip_addr_parse(FAKE_OWN, &own) == 0 && ip_addr_equal(a, &own);
}

static const struct resolver_hooks fake_hooks = {.getaddrinfo = fake_getaddrinfo,
	.freeaddrinfo = fake_freeaddrinfo,
	.is_host = fake_is_host};

static void *
fake_resolver_run(void *arg)
{
	struct fake_resolver *r = arg;
	struct err e;

	return (void *)(intptr_t)resolver_serve(r->sockets[1], &fake_hooks, &e);
}

static inline void
fake_resolver_start(struct fake_resolver *r)
{
	sem_init(&fake_gate, 0, 0);
	fake_calls = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, r->sockets), 0);
	assert_int_equal(pthread_create(&r->thread, NULL, fake_resolver_run, r), 0);
}

/* The role ends when its socket does; threads that hang are let go. */
static inline void
fake_resolver_stop(struct fake_resolver *r)
{
	void *result;

	if (r->sockets[0] >= 0)
		close(r->sockets[0]);
	assert_int_equal(pthread_join(r->thread, &result), 0);
	assert_int_equal((intptr_t)result, 0);
	close(r->sockets[1]);
	for (int i = 0; i < 4 * RESOLVER_QUEUE_MAX; i++)
		sem_post(&fake_gate);
	while (fake_hanging > 0)
		sched_yield();
}
