#include <jail/jail.h>
#include <sshagent/serve.h>

#include "roles.h"

/* No network, no files, no new sockets: the system calls are those of the link role. */
int
role_ssh_main(const struct role_config *c, struct err *e)
{
	struct jail_confine plan = {
		.new_net = true, .no_fork = true, .nofile = 64, .syscalls = JAIL_SYSCALLS_LINK};
	struct sshagent_options o = {.session_fd = ROLE_FD_SSH_SESSION,
		.agent_fd = ROLE_FD_SSH_AGENT,
		.events_fd = ROLE_FD_SSH_EVENTS,
		.hosts = c->ssh_hosts};
	int r;

	if (c->ssh_hosts == NULL)
		return err_set(e, EINVAL, "ssh: no hosts");
	sshagent_prepare();
	r = jail_confine(&plan, e);
	return r < 0 ? r : sshagent_serve(&o, e);
}
