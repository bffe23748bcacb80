/*
 * A machine that is booted to be saved: everything that needs no identity is done, what each
 * session will read is read, and the console is told. Nothing here may draw random numbers that are
 * kept, or read /proc/sys/kernel/random/boot_id, which exists from its first reading on: every
 * clone would have the same. So an image's profiles are read, not run, and what a program leaves
 * behind is ended before the machine is saved: it would draw alike in every clone until that is
 * told who it is, and what it has drawn would be known to all. The pump is the exception: it waits,
 * and what FUSE draws for its mount hides an address of the guest's kernel from our own fs role,
 * which is no secret between clones. So is the process that waits to run a first program
 * (warmup.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/proc.h>
#include <wire/line.h>

#include "certs.h"
#include "devices.h"
#include "guest.h"
#include "netcfg.h"
#include "step.h"
#include "textblock.h"
#include "warmup.h"
#include "workspaces.h"

#define WARM_LIMIT_MS 30000
#define WARM_FILE_MAX (16u << 20)

#define ARGUMENT "paddock.snapshot="

/* The argument's value, or NULL: this is no such boot. Caller frees. */
static char *
read_argument(void)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	const char *at;

	if (io_read_file(AT_FDCWD, "/proc/cmdline", 65536, &b, NULL) < 0)
		return NULL;
	at = strstr(buf_str(&b), ARGUMENT);
	if (at == NULL)
		return NULL;
	at += strlen(ARGUMENT);
	return xstrndup(at, strcspn(at, " \n"));
}

static int
set_network(struct guest *g, char *value, struct err *e)
{
	char *comma = strchr(value, ',');
	int r;

	if (comma == NULL)
		return 0;
	*comma = '\0';
	r = netcfg_parse(value, comma + 1, &g->network);
	if (r < 0)
		return err_set(e, EINVAL, "network: '%s'", value);
	r = netcfg_apply(g->devices, &g->network, e);
	return r < 0 ? r : netcfg_write_resolv(&g->network, e);
}

/* Where each clone makes files: what the file system must know for that is read with the first. */
static void
warm_folder(const char *folder)
{
	CLEAN_FREE char *path = xasprintf("%s/paddock-warm", folder);
	struct err e = {0};

	(void)mkdir(folder, 0755); /* of which ours is one */
	if (text_write(path, "", 0, 0600, &e) < 0)
		log_debug("%s", e.msg);
	unlink(path);
}

/* Into the page cache, with all that they load: a first start reads some 10 MB through the disk. */
static void
warm(void)
{
	/* What dockerd and iptables would ask the kernel for one by one. */
	static const char modules[] =
		"modprobe -aq overlay br_netfilter nf_conntrack_netlink xfrm_user veth nft_compat "
		"nft_chain_nat xt_addrtype xt_conntrack xt_MASQUERADE";
	/* What a login shell runs. */
	static const char profiles[] =
		"cat /etc/profile /etc/profile.d/*.sh /etc/bash.bashrc /home/*/.profile "
		"/home/*/.bashrc >/dev/null";
	static const char *const commands[] = {
		"bash -c true",
		profiles,
		"sh -c true",
		"ls -l /",
		"env",
		"git --version",
		modules,
	};
	/* What the identity is put into. */
	static const char *const files[] = {CERTS_BUNDLE, "/etc/hosts", "/etc/hostname",
		"/etc/resolv.conf", "/etc/gitconfig", "/etc/machine-id"};
	static const char *const folders[] = {CERTS_LOCAL, CERTS_LINKS, "/etc", "/var/lib/paddock"};

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		CLEAN_BUF struct buf b = BUF_INIT;

		(void)io_read_file(AT_FDCWD, files[i], WARM_FILE_MAX, &b, NULL);
	}
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		warm_folder(folders[i]);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)commands[i], NULL};
		struct err e = {0};

		/* An image without one of them has nothing to warm. */
		if (proc_run(argv, WARM_LIMIT_MS, NULL, &e) < 0)
			log_debug("%s: %s", commands[i], e.msg);
	}
}

/*
 * For the clones. The program is the image's, and has its user; it is not run before what is drawn
 * there is the clone's own (identity.c). On one processor it would only be in the way.
 */
static int
prepare_first_program(struct guest *g, struct err *e)
{
	char *argv[] = {(char *)"bash", (char *)"-c", (char *)"true", NULL};
	char *envp[] = {(char *)"PATH=/usr/bin:/bin", NULL};
	struct guest_user u;
	struct spawn s = {.file = "/bin/bash", .argv = argv, .envp = envp, .cwd = "/", .user = &u};
	int r;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return 0;
	r = guest_user_find(g, NULL, &u, e);
	return r < 0 ? r : warmup_prepare(&s, &g->warmup_fd, e);
}

int
guest_wait(struct guest *g, struct err *e)
{
	static const char line[] = LINE_WAITING "\n";
	CLEAN_FREE char *value = read_argument();
	struct step s = step_begin();
	int r;

	if (value == NULL)
		return 0;
	r = devices_loaded(g->devices, e);
	if (r == 0)
		r = set_network(g, value, e);
	if (r < 0)
		return r;
	warm();
	if (!guest_kill_all())
		return err_set(
			e, ETIMEDOUT, "what the image's programs have left behind does not end");
	/*
	 * What every clone has, and of what each has its own a shorter one: to write over it takes
	 * a fraction of what it takes to make a file shorter.
	 */
	(void)text_write("/etc/hostname", "p\n", 2, 0644, NULL);
	sync();
	step_done(&s, "warm");
	r = workspaces_prepare(g, e);
	if (r == 0)
		r = prepare_first_program(g, e);
	if (r < 0)
		return r;
	if (write(STDERR_FILENO, line, sizeof(line) - 1) > 0)
		tcdrain(STDERR_FILENO);
	return 0;
}
