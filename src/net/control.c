#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>

#include "server.h"

/* The next decision is by the new policy, and what it forbids has ended when this returns. */
static void
replace(struct net *net, struct policy *by)
{
	struct conn *c, *next;

	policy_release(net->o->policy);
	*net->o->policy = *by;
	*by = (struct policy){0};
	for (c = LIST_FIRST(&net->conns); c != NULL; c = next) {
		next = conn_next(c);
		conn_recheck(c);
	}
	udp_recheck(net);
}

static int
receive(struct net *net, int fd, struct err *e)
{
	CLEAN_BUF struct buf text = BUF_INIT;
	CLEAN_POLICY struct policy policy = {0};
	int r = io_read_fd_all(fd, NET_POLICY_MAX, &text, e);

	if (r == 0)
		r = policy_decode((const char *)text.data, text.len, &policy, e);
	if (r == 0)
		replace(net, &policy);
	return r;
}

/*
 * A policy that cannot be read must not leave the old one, which may allow more: this process ends,
 * and the one that takes its place is given the whole policy anew.
 */
void
control_on_readable(void *arg, int events)
{
	struct net *net = arg;
	CLEAN_CLOSE int fd = -1;
	char number[NET_CONTROL_BYTES];
	size_t nfds = 0;
	ssize_t n = io_recv_fds(net->o->control_fd, number, sizeof(number), &fd, 1, &nfds);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		uv_stop(&net->loop); /* the supervisor has ended, or wants net to */
		return;
	}
	if ((size_t)n != sizeof(number) || nfds != 1)
		err_set(&net->failed, EBADMSG, "a damaged message from the supervisor");
	else if (receive(net, fd, &net->failed) == 0 &&
		 send(net->o->control_fd, number, sizeof(number), MSG_NOSIGNAL) < 0)
		err_sys(&net->failed, errno, "answer the supervisor");
	if (net->failed.code != 0)
		uv_stop(&net->loop);
	else
		log_debug("another policy is in force");
}
