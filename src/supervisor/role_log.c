#include <audit/audit.h>
#include <jail/jail.h>

#include "roles.h"

#define PLACE "/log"

/* Files of its own folder, no network: the system calls are those of the fs role. */
int
role_log_main(const struct role_config *c, struct err *e)
{
	struct jail_confine plan = {
		.new_net = true, .no_fork = true, .nofile = 64, .syscalls = JAIL_SYSCALLS_FS};
	int r;

	if (c->log_folder == NULL)
		return err_set(e, EINVAL, "log: no folder");
	jail_confine_add(&plan, JAIL_BIND, c->log_folder, PLACE, false);
	r = jail_confine(&plan, e);
	jail_confine_release(&plan);
	return r < 0 ? r : audit_serve(ROLE_FD_LOG_EVENTS, PLACE "/" AUDIT_FILE, e);
}
