/*
 * PID 1 of every sandbox. It never exits (the kernel would panic): what cannot go on says so in one
 * line on the console, where the supervisor reads it, and powers the machine off.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include <base/log.h>

#include <wire/ssh.h>

#include "guest.h"
#include "runc.h"
#include "setkey.h"
#include "ssh_agent.h"

#define MAPPED_FROM (1 << 20) /* bytes */

static void __attribute__((noreturn)) give_up(const char *what, const struct err *e)
{
	char line[ERR_MSG_MAX + 64];
	int n = snprintf(line, sizeof(line), "paddock-guest: %s: %s\n", what, e->msg);

	if (write(STDERR_FILENO, line, (size_t)n) > 0)
		tcdrain(STDERR_FILENO);
	sync();
	reboot(RB_POWER_OFF);
	/* With -no-reboot this ends the machine as well. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static int
start(struct guest *g, struct err *e)
{
	int r;

	signal(SIGPIPE, SIG_IGN);
	reboot(RB_DISABLE_CAD);
	g->loop = loop_new();
	if (g->loop == NULL)
		return err_set(e, ENOMEM, "no event loop");
	r = guest_boot(g, e);
	if (r < 0)
		return r;
	r = guest_server_start(g, g->link_fd, e);
	if (r < 0)
		return r;
	log_debug("the link is served");
	r = guest_docker_listen(g, e);
	return r == 0 ? guest_wait(g, e) : r;
}

/*
 * No heap for each thread, which seldom allocate, and no mapping for each file that is read: to
 * make and to unmake them takes longer than all that is done in them.
 */
static void
one_heap(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
	mallopt(M_TRIM_THRESHOLD, 2 * MAPPED_FROM);
}

int
main(int argc, char **argv)
{
	static struct guest g = {.link_fd = -1, .fs_fd = -1, .warmup_fd = -1};
	struct err e = {0};
	int r;

	if (getpid() != 1 && argc == 2 && strcmp(argv[1], SSH_LINE_COMMAND) == 0)
		return ssh_agent_main(SSH_LINE_SOCKET);
	if (getpid() != 1 && argc > 0 && strcmp(basename(argv[0]), "runc") == 0)
		return guest_runc(argv);
	if (getpid() != 1 && argc > 0 && strcmp(basename(argv[0]), SETKEY_NAME) == 0)
		return guest_setkey(argv);
	if (getpid() != 1) {
		fprintf(stderr, "paddock-guest runs as the first process of a sandbox's machine\n");
		return 2;
	}
	log_init("guest", LOG_WARN);
	one_heap();
	if (start(&g, &e) < 0)
		give_up("boot", &e);
	r = loop_run(g.loop);
	err_sys(&e, r < 0 ? -r : EIO, "the event loop ended");
	give_up("run", &e);
}
