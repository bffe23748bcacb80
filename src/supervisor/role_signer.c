#include <string.h>

#include <jail/jail.h>
#include <signer/signer.h>

#include "roles.h"

/* No network, no files, no new sockets: the system calls are those of the link role. */
int
role_signer_main(const struct role_config *c, struct err *e)
{
	struct jail_confine plan = {
		.new_net = true, .no_fork = true, .nofile = 64, .syscalls = JAIL_SYSCALLS_LINK};
	int r;

	if (c->authority == NULL)
		return err_set(e, EINVAL, "signer: no authority");
	signer_prepare();
	r = jail_confine(&plan, e);
	return r < 0 ? r : signer_serve(ROLE_FD_SIGNER_SOCKET, c->authority, e);
}
