/*
 * The sandbox's policy: read from its folder when the sandbox starts and when a command has changed
 * it there, handed to net.
 *
 * How this works: each change gets a number, net answers with that number when it obeys. Whoever
 * asked waits until the number that he was given is obeyed. A net that ends, or does not answer in
 * time and is ended, has obeyed everything: its successor begins with the policy of now, and until
 * it runs nothing gets out. A policy that cannot be read means: nothing is allowed.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <net/net.h>
#include <state/policy.h>

#include "sup.h"

#define OBEY_LIMIT_MS 3000

static int
load(struct sup *s, struct err *e)
{
	int r;

	policy_release(&s->policy);
	r = state_policy_load(&s->paths, s->sandbox.name, &s->policy, e);
	if (r < 0)
		policy_init(&s->policy, POLICY_LOCKED);
	return r;
}

void
sup_policy_start(struct sup *s, void (*note)(struct sup *s, const char *text))
{
	struct err e = {0};

	if (load(s, &e) == 0)
		return;
	CLEAN_FREE char *text = xasprintf("nothing is allowed on the network: %s", e.msg);

	log_warn("%s", text);
	note(s, text);
}

/* Mostly there is none, and nothing to do. */
int
sup_policy_open_udp(struct sup *s, struct err *e)
{
	uint16_t ports[POLICY_RULES_MAX];
	size_t n = policy_udp_ports(&s->policy, ports);
	int r;

	if (n == s->nudp_ports && memcmp(ports, s->udp_ports, n * sizeof(ports[0])) == 0)
		return 0;
	r = jail_net_open_udp(&s->jail, ports, n, e);
	if (r < 0)
		return r;
	memcpy(s->udp_ports, ports, n * sizeof(ports[0]));
	s->nudp_ports = n;
	return 0;
}

static void
obeyed(struct sup *s, uint64_t number)
{
	if (number <= s->policy_obeyed || number > s->policy_asked)
		return;
	s->policy_obeyed = number;
	if (number == s->policy_asked)
		uv_timer_stop(&s->policy_timer);
	sup_control_obeyed(s);
}

static void
on_closed(uv_handle_t *h)
{
	free(h);
}

void
sup_policy_net_ended(struct sup *s)
{
	if (s->net_poll != NULL) {
		uv_poll_stop(s->net_poll);
		uv_close((uv_handle_t *)s->net_poll, on_closed);
		s->net_poll = NULL;
	}
	if (s->net_control >= 0)
		close(s->net_control);
	s->net_control = -1;
	obeyed(s, s->policy_asked);
}

static void
on_answer(uv_poll_t *p, int status, int events)
{
	struct sup *s = p->data;
	uint64_t number;
	ssize_t n = recv(s->net_control, &number, sizeof(number), MSG_DONTWAIT);

	(void)status;
	(void)events;
	if (n == sizeof(number))
		obeyed(s, number);
	else if (n >= 0 || errno != EAGAIN)
		uv_poll_stop(p); /* net's end is told by its pidfd */
}

void
sup_policy_net_started(struct sup *s, int control_fd)
{
	sup_policy_net_ended(s);
	s->net_control = control_fd;
	s->net_poll = xcalloc(1, sizeof(*s->net_poll));
	uv_poll_init(&s->loop, s->net_poll, control_fd);
	s->net_poll->data = s;
	uv_poll_start(s->net_poll, UV_READABLE, on_answer);
	/* The policy was in what it began with. */
	if (s->credentials_fd >= 0)
		(void)sup_policy_hand_over(s);
}

static void
end_net(struct sup *s, const char *why)
{
	log_warn("net: %s: starting it again", why);
	if (s->child[CHILD_NET].role != NULL)
		kill(s->child[CHILD_NET].pid, SIGKILL);
}

static void
on_limit(uv_timer_t *t)
{
	end_net(t->data, "it does not take the policy in time");
}

static int
hand_over(struct sup *s, uint64_t number, struct err *e)
{
	CLEAN_BUF struct buf text = BUF_INIT;
	CLEAN_CLOSE int fd = -1;

	_Static_assert(sizeof(number) == NET_CONTROL_BYTES, "as net.h says");
	policy_encode(&s->policy, &text);
	fd = io_memfd("paddock-policy", text.data, text.len, e);
	if (fd < 0)
		return fd;
	int fds[] = {fd, s->credentials_fd};
	return io_send_fds(
		s->net_control, &number, sizeof(number), fds, s->credentials_fd >= 0 ? 2 : 1);
}

uint64_t
sup_policy_hand_over(struct sup *s)
{
	struct err send = {0};
	uint64_t number = ++s->policy_asked;

	if (s->net_control < 0 || s->child[CHILD_NET].role == NULL) {
		obeyed(s, number); /* by the next one */
		return number;
	}
	uv_timer_start(&s->policy_timer, on_limit, OBEY_LIMIT_MS, 0);
	if (hand_over(s, number, &send) < 0)
		end_net(s, "the policy cannot be handed over");
	return number;
}

int
sup_policy_change(struct sup *s, uint64_t *ret_number, struct err *e)
{
	struct err open_err = {0};
	int r = load(s, e), opened = sup_policy_open_udp(s, &open_err);

	if (opened < 0 && r == 0 && e != NULL)
		*e = open_err;
	if (r == 0)
		r = opened;
	*ret_number = sup_policy_hand_over(s);
	return r;
}
