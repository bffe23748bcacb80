/*
 * The host's SSH agent, for a sandbox that was made for it: a command of the user's brings a
 * connection to it. While one is there it stays; the ssh role's end, which is the agent's, is no
 * reason to end the sandbox, and the next command brings another.
 */
#include <errno.h>
#include <sys/socket.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "sup.h"

int
sup_ssh_take(struct sup *s, int agent, const void *hosts, size_t n, struct err *e)
{
	int pair[2], r;

	if (s->child[CHILD_SSH].role != NULL)
		return 0;
	if (n == 0 || n > CONTROL_SSH_HOSTS_MAX)
		return err_set(e, EBADMSG, "malformed request");
	free(s->ssh_hosts);
	s->ssh_hosts = xstrndup(hosts, n);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_sys(e, errno, "socketpair");
	r = sup_link_session(s, pair[0], e);
	if (r == 0)
		r = sup_spawn_ssh(s, pair[1], agent, e);
	close(pair[1]);
	return r;
}
