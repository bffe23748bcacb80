/*
 * paddock-role: the roles that need few libraries. To load and relocate all that paddock is linked
 * with takes longer than what they do at a sandbox's start; and what they do not have cannot be
 * turned against them.
 */
#include <stdio.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/str.h>
#include <supervisor/supervisor.h>

#include "roles.h"
#include "sup_main.h"

static const struct role roles[] = {
	{"fs", role_fs_main, 0},
	{"link", role_link_main, 0},
	{"resolver", role_resolver_main, 0},
	{"log", role_log_main, 0},
};

int
main(int argc, char **argv)
{
	const char *role;

	if (argc < 2 || !str_has_prefix(argv[1], SUPERVISOR_ROLE_ARG)) {
		fprintf(stderr, "paddock-role: paddock starts it; see paddock --help\n");
		return 2;
	}
	role = argv[1] + strlen(SUPERVISOR_ROLE_ARG);
	if (strcmp(role, "save") == 0)
		return save_main(argc, argv);
	return role_start(roles, ARRAY_LEN(roles), role);
}
