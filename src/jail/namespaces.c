/*
 * How this works: a short-lived child unshares the namespaces; we write its id maps, keep
 * descriptors of /proc/PID/ns/..., and end it. From then on the namespaces live by the descriptors.
 * user_namespaces(7), capabilities(7).
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <jail/jail.h>

#include "helper.h"
#include "jail_explain.h"

#define CREATE_LIMIT_MS 10000
#define JAIL_HOSTNAME   "paddock"

static int
explain(int code, const char *what, struct err *e)
{
	struct jail_facts f;

	jail_facts_read(&f);
	return jail_explain(code, what, &f, e);
}

static int
unshare_all(void *arg, int fds[HELPER_FDS_MAX], struct err *e)
{
	(void)arg;
	(void)fds;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return explain(errno, "make the sandbox's namespaces", e);
	/* What runs in the jail has no business with the host's name. */
	if (sethostname(JAIL_HOSTNAME, strlen(JAIL_HOSTNAME)) < 0)
		return explain(errno, "name the sandbox's UTS namespace", e);
	return 0;
}

static int
write_proc(pid_t pid, const char *file, const char *text, struct err *e)
{
	CLEAN_CLOSE int fd = -1;
	size_t n = strlen(text);
	char path[64];
	ssize_t put;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	/* One write(2): the kernel takes a map whole or not at all. */
	put = fd < 0 ? -1 : write(fd, text, n);
	if (put == (ssize_t)n)
		return 0;
	snprintf(path, sizeof(path), "write the sandbox's %s", file);
	return explain(put < 0 ? errno : EIO, path, e);
}

/* The kernel lets only these map ids other than one's own; CAP_SETFCAP for id 0 since 5.12. */
static bool
may_map_all(void)
{
	const cap_value_t needed[] = {CAP_SETUID, CAP_SETGID, CAP_SETFCAP};
	cap_t caps = cap_get_proc();
	bool all = caps != NULL && geteuid() == 0;

	for (size_t i = 0; all && i < ARRAY_LEN(needed); i++) {
		cap_flag_value_t v = CAP_CLEAR;

		cap_get_flag(caps, needed[i], CAP_EFFECTIVE, &v);
		all = v == CAP_SET;
	}
	if (caps != NULL)
		cap_free(caps);
	return all;
}

/* We may ourselves be in a container's user namespace: map what exists here, not all of 2^32. */
static int
map_all(pid_t pid, const char *file, struct err *e)
{
	CLEAN_BUF struct buf own = BUF_INIT;
	CLEAN_BUF struct buf map = BUF_INIT;
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/proc/self/%s", file);
	r = io_read_file(AT_FDCWD, path, 65536, &own, e);
	if (r < 0)
		return r;
	if (jail_identity_map(buf_str(&own), &map) < 0)
		return err_set(e, EINVAL, "'%s' makes no sense", path);
	return write_proc(pid, file, buf_str(&map), e);
}

static int
map_self(pid_t pid, struct err *e)
{
	char uids[64], gids[64];
	int r;

	snprintf(uids, sizeof(uids), "%u %u 1\n", (unsigned)geteuid(), (unsigned)geteuid());
	snprintf(gids, sizeof(gids), "%u %u 1\n", (unsigned)getegid(), (unsigned)getegid());
	/* CVE-2014-8989: without this a group that denies access could be dropped in there. */
	r = write_proc(pid, "setgroups", "deny", e);
	if (r == 0)
		r = write_proc(pid, "uid_map", uids, e);
	return r == 0 ? write_proc(pid, "gid_map", gids, e) : r;
}

static int
write_maps(pid_t pid, struct err *e)
{
	int r;

	if (!may_map_all())
		return map_self(pid, e);
	r = map_all(pid, "uid_map", e);
	return r == 0 ? map_all(pid, "gid_map", e) : r;
}

static int
open_ns(pid_t pid, const char *name, int *ret, struct err *e)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	*ret = open(path, O_RDONLY | O_CLOEXEC);
	return *ret < 0 ? err_sys(e, errno, "open '%s'", path) : 0;
}

int
jail_create(struct jail *ret, struct err *e)
{
	CLEAN_HELPER struct helper h = HELPER_INIT;
	CLEANUP(jail_release) struct jail j = JAIL_INIT;
	int r = helper_start(&h, unshare_all, NULL, e);

	if (r == 0)
		r = helper_result(&h, NULL, 0, deadline_in_ms(CREATE_LIMIT_MS), e);
	if (r == 0)
		r = write_maps(h.pid, e);
	if (r == 0)
		r = open_ns(h.pid, "user", &j.user_ns, e);
	if (r == 0)
		r = open_ns(h.pid, "net", &j.net_ns, e);
	if (r == 0)
		r = open_ns(h.pid, "ipc", &j.ipc_ns, e);
	if (r == 0)
		r = open_ns(h.pid, "uts", &j.uts_ns, e);
	if (r < 0)
		return err_prefix(e, "jail");
	*ret = j;
	j = (struct jail)JAIL_INIT;
	return 0;
}

void
jail_release(struct jail *j)
{
	int fds[] = {j->user_ns, j->net_ns, j->ipc_ns, j->uts_ns};

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	*j = (struct jail)JAIL_INIT;
}

/* Entering a user namespace gives every capability in it, but exec takes them from a uid not 0. */
static int
keep_over_exec(struct err *e)
{
	cap_t caps = cap_get_proc();
	int r = caps == NULL ? -1 : 0;

	for (cap_value_t c = 0; r == 0 && c < cap_max_bits(); c++) {
		cap_flag_value_t v = CAP_CLEAR;

		if (cap_get_flag(caps, c, CAP_PERMITTED, &v) == 0 && v == CAP_SET)
			r = cap_set_flag(caps, CAP_INHERITABLE, 1, &c, CAP_SET);
	}
	if (r == 0)
		r = cap_set_proc(caps);
	for (cap_value_t c = 0; r == 0 && c < cap_max_bits(); c++)
		r = cap_set_ambient(c, CAP_SET);
	r = r == 0 ? 0 : -errno;
	if (caps != NULL)
		cap_free(caps);
	return r < 0 ? explain(-r, "keep capabilities", e) : 0;
}

int
jail_enter(const struct jail *j, unsigned which, struct err *e)
{
	const struct {
		unsigned bit;
		int fd, type;
		const char *what;
	} ns[] = {{0, j->user_ns, CLONE_NEWUSER, "enter the sandbox's user namespace"},
		{JAIL_NET, j->net_ns, CLONE_NEWNET, "enter the sandbox's network namespace"},
		{JAIL_IPC, j->ipc_ns, CLONE_NEWIPC, "enter the sandbox's IPC namespace"},
		{JAIL_UTS, j->uts_ns, CLONE_NEWUTS, "enter the sandbox's UTS namespace"}};

	for (size_t i = 0; i < ARRAY_LEN(ns); i++) {
		if (ns[i].bit != 0 && (which & ns[i].bit) == 0)
			continue;
		if (setns(ns[i].fd, ns[i].type) < 0)
			return explain(errno, ns[i].what, e);
	}
	return keep_over_exec(e);
}
