#include <jail/jail.h>
#include <link/link.h>

#include "roles.h"

int
role_link_main(const struct role_config *c, struct err *e)
{
	struct jail_confine plan = {
		.new_net = true, .no_fork = true, .nofile = 4096, .syscalls = JAIL_SYSCALLS_LINK};
	int r = jail_confine(&plan, e);

	if (r < 0)
		return r;
	struct link_options o = {.line_fd = ROLE_FD_LINK_LINE,
		.control_fd = ROLE_FD_LINK_CONTROL,
		.wake = c->wake.len > 0 ? c->wake.data : NULL};
	return link_serve(&o, e);
}
