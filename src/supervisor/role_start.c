/* The one prologue of every role: configuration, log, then its own main function. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>

#include "roles.h"

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
role_start(const struct role *roles, size_t n, const char *name)
{
	struct role_config c = {0};
	struct err e = {0};
	int r;

	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, name);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(name, roles[i].name) != 0)
			continue;
		if (roles[i].heap > 0)
			mem_prefault(roles[i].heap);
		r = read_config(&c, &e);
		log_init(roles[i].name, c.debug ? LOG_DEBUG : LOG_WARN);
		if (r == 0)
			r = roles[i].main(&c, &e);
		if (r < 0)
			log_warn("%s", e.msg);
		role_config_release(&c);
		return r < 0 ? 1 : 0;
	}
	fprintf(stderr, "paddock: no role '%s'\n", name);
	return 2;
}
