/* The roles of paddock itself: those that need OpenSSL, or all that the commands know. */
#include <string.h>

#include <base/cleanup.h>
#include <supervisor/supervisor.h>

#include "roles.h"
#include "sup_main.h"

static const struct role roles[] = {
	{"net", role_net_main, 896 << 10},
	{"signer", role_signer_main, 384 << 10},
	{"ssh", role_ssh_main, 0},
};

int
supervisor_role_main(const char *role, int argc, char **argv)
{
	if (strcmp(role, "supervisor") == 0)
		return sup_main(argc, argv);
	if (strcmp(role, "snapshot") == 0)
		return snapshot_main(argc, argv);
	return role_start(roles, ARRAY_LEN(roles), role);
}
