#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>

#include "edit.h"
#include "server.h"

/* The next decision is by the new policy, and what it forbids has ended when this returns. */
static void
replace(struct net *net, struct policy *by, bool credentials)
{
	struct conn *c, *next;

	policy_release(net->o->policy);
	*net->o->policy = *by;
	*by = (struct policy){0};
	for (c = LIST_FIRST(&net->conns); c != NULL; c = next) {
		next = conn_next(c);
		conn_recheck(c, credentials);
	}
	udp_recheck(net);
}

/* fds: a policy, and where there are two, credentials. */
static int
receive(struct net *net, const int *fds, size_t nfds, struct err *e)
{
	CLEAN_BUF struct buf text = BUF_INIT;
	CLEAN_CRED_BUF struct buf secret = BUF_INIT;
	CLEAN_CRED_SET struct cred_set set = {0};
	CLEAN_POLICY struct policy policy = {0};
	int r = io_read_fd_all(fds[0], NET_POLICY_MAX, &text, e);

	if (r == 0)
		r = policy_decode((const char *)text.data, text.len, &policy, e);
	if (r == 0 && nfds == 2)
		r = io_read_at_once(fds[1], CRED_SET_BYTES_MAX, &secret, e);
	if (r == 0 && nfds == 2)
		r = cred_set_decode(secret.data, secret.len, &set, e);
	if (r == 0 && nfds == 2)
		edit_take(net, &set);
	if (r == 0)
		replace(net, &policy, nfds == 2);
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
	CLEAN_CLOSE int policy = -1, credentials = -1;
	int fds[2] = {-1, -1};
	char number[NET_CONTROL_BYTES];
	size_t nfds = 0;
	ssize_t n = io_recv_fds(net->o->control_fd, number, sizeof(number), fds, 2, &nfds);

	policy = fds[0];
	credentials = fds[1];

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		uv_stop(&net->loop); /* the supervisor has ended, or wants net to */
		return;
	}
	(void)credentials; /* closed at the end */
	if ((size_t)n != sizeof(number) || nfds < 1)
		err_set(&net->failed, EBADMSG, "a damaged message from the supervisor");
	else if (receive(net, fds, nfds, &net->failed) == 0 &&
		 send(net->o->control_fd, number, sizeof(number), MSG_NOSIGNAL) < 0)
		err_sys(&net->failed, errno, "answer the supervisor");
	if (net->failed.code != 0)
		uv_stop(&net->loop);
	else
		log_debug("another policy is in force");
}
