/* The one prologue of every role: configuration, log, then its own main function. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <supervisor/supervisor.h>

#include "roles.h"
#include "sup_main.h"

static const struct {
	const char *name;
	int (*main)(const struct role_config *c, struct err *e);
} roles[] = {
	{"fs", role_fs_main},
	{"net", role_net_main},
	{"link", role_link_main},
	{"resolver", role_resolver_main},
	{"signer", role_signer_main},
	{"ssh", role_ssh_main},
	{"log", role_log_main},
};

static int
read_config(struct role_config *c, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	int r = io_read_fd_all(ROLE_FD_CONFIG, ROLE_CONFIG_MAX, &b, e);

	close(ROLE_FD_CONFIG);
	if (r == 0 && role_config_decode(b.data, b.len, c) < 0)
		r = err_set(e, EBADMSG, "the role's configuration is damaged");
	return r;
}

int
supervisor_role_main(const char *role, int argc, char **argv)
{
	struct role_config c = {0};
	struct err e = {0};
	int r = -EINVAL;

	if (strcmp(role, "supervisor") == 0)
		return sup_main(argc, argv);
	if (strcmp(role, "snapshot") == 0)
		return snapshot_main(argc, argv);
	if (strcmp(role, "save") == 0)
		return save_main(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, role);
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		if (strcmp(role, roles[i].name) != 0)
			continue;
		r = read_config(&c, &e);
		log_init(roles[i].name, c.debug ? LOG_DEBUG : LOG_WARN);
		if (r == 0)
			r = roles[i].main(&c, &e);
		if (r < 0)
			log_warn("%s", e.msg);
		role_config_release(&c);
		return r < 0 ? 1 : 0;
	}
	fprintf(stderr, "paddock: no role '%s'\n", role);
	return 2;
}
