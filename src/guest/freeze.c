/*
 * How this works: a machine that is saved may wake more than once, and what its programs drew from
 * their random stream before it was mixed anew, they would draw in each of its copies. So from
 * before it is saved until it has been told who it is, none of them runs: they are in a frozen
 * cgroup (cgroup-v2.rst of Linux). The root group cannot be frozen, so what is in it is moved, and
 * moved back; groups below it (dockerd's) are frozen as they are.
 *
 * What waits in the kernel is frozen on its way out of there, and draws nothing until then.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>

#include "guest.h"

#define ROOT  "/sys/fs/cgroup/"
#define GROUP GUEST_FROZEN
/* Who forks while he is moved leaves a child behind, for the next round. */
#define ROUNDS       100
#define SETTLE_MS    1000
#define GROUP_BYTES  (4u << 20)
#define KTHREADD_PID 2

static int
put(const char *group, const char *file, const char *value)
{
	CLEAN_FREE char *path = xasprintf(ROOT "%s/%s", group, file);
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

static bool
holds(const char *group, const char *file, const char *text)
{
	CLEAN_FREE char *path = xasprintf(ROOT "%s/%s", group, file);
	CLEAN_BUF struct buf b = BUF_INIT;

	return io_read_file(AT_FDCWD, path, 4096, &b, NULL) == 0 &&
	       strstr(buf_str(&b), text) != NULL;
}

/* proc(5): the parent is behind the name, which may hold anything. */
static bool
is_kernel_thread(const char *pid)
{
	CLEAN_FREE char *path = xasprintf("/proc/%s/stat", pid);
	CLEAN_BUF struct buf b = BUF_INIT;
	const char *behind;

	if (io_read_file(AT_FDCWD, path, 4096, &b, NULL) < 0)
		return true; /* it has ended */
	behind = strrchr(buf_str(&b), ')');
	return behind == NULL || strtol(pid, NULL, 10) == KTHREADD_PID ||
	       (strlen(behind) > 4 && strtol(behind + 4, NULL, 10) == KTHREADD_PID);
}

/* How many of one group's processes went into the other. */
static size_t
move(const char *from, const char *to)
{
	CLEAN_FREE char *path = xasprintf(ROOT "%s/cgroup.procs", from);
	CLEAN_BUF struct buf b = BUF_INIT;
	size_t n = 0;
	char *at = NULL;

	if (io_read_file(AT_FDCWD, path, GROUP_BYTES, &b, NULL) < 0)
		return 0;
	CLEAN_FREE char *text = xstrdup(buf_str(&b));

	for (char *pid = strtok_r(text, "\n", &at); pid != NULL; pid = strtok_r(NULL, "\n", &at)) {
		if (strcmp(pid, "1") == 0 || strcmp(pid, "0") == 0 || is_kernel_thread(pid))
			continue;
		n += put(to, "cgroup.procs", pid) == 0;
	}
	return n;
}

static int
freeze_root(struct err *e)
{
	size_t moved = 1;
	int r = put(GROUP, "cgroup.freeze", "1");

	if (r < 0)
		return err_sys(e, -r, "freeze the control group '" GROUP "'");
	for (unsigned i = 0; i < ROUNDS && moved > 0; i++)
		moved = move("", GROUP);
	return moved > 0 ? err_set(e, EAGAIN, "the machine's programs make new ones too fast") : 0;
}

/* Those that are frozen already stay so. */
static void
freeze_groups(struct strv *ret)
{
	CLEAN_CLOSEDIR DIR *d = opendir(ROOT);
	struct dirent *de;

	while (d != NULL && (de = readdir(d)) != NULL) {
		if (de->d_type != DT_DIR || de->d_name[0] == '.' ||
			strcmp(de->d_name, GROUP) == 0 || holds(de->d_name, "cgroup.freeze", "1"))
			continue;
		if (put(de->d_name, "cgroup.freeze", "1") == 0)
			strv_add(ret, de->d_name);
	}
}

int
guest_freeze(struct guest *g, struct err *e)
{
	int r = freeze_root(e);

	g->frozen = true;
	if (r < 0)
		guest_thaw(g);
	else
		freeze_groups(&g->frozen_groups);
	return r;
}

void
guest_freeze_one(const struct guest *g, pid_t pid)
{
	char text[24];

	if (!g->frozen)
		return;
	snprintf(text, sizeof(text), "%ld", (long)pid);
	if (put(GROUP, "cgroup.procs", text) < 0)
		log_warn("a program that was started while the machine is saved runs on");
}

/* Until the kernel tells that none of the group's is on a processor (cgroup-v2.rst, cgroup.events).
 */
static void
await_frozen(const char *group, uint64_t deadline)
{
	CLEAN_FREE char *path = xasprintf(ROOT "%s/cgroup.events", group);
	CLEAN_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct pollfd p = {.fd = fd, .events = POLLPRI};
	char text[128];
	ssize_t n;

	while (fd >= 0 && (n = pread(fd, text, sizeof(text) - 1, 0)) > 0) {
		text[n] = '\0';
		if (strstr(text, "frozen 0") == NULL ||
			poll(&p, 1, deadline_left_ms(deadline)) <= 0)
			return;
	}
}

/* On another processor it may take a moment; what waits for a disk or the host may take longer. */
void
guest_freeze_settle(const struct guest *g)
{
	uint64_t deadline = deadline_in_ms(SETTLE_MS);

	await_frozen(GROUP, deadline);
	for (size_t i = 0; i < g->frozen_groups.n; i++)
		await_frozen(g->frozen_groups.v[i], deadline);
}

void
guest_thaw(struct guest *g)
{
	if (!g->frozen)
		return;
	g->frozen = false;
	for (size_t i = 0; i < g->frozen_groups.n; i++)
		put(g->frozen_groups.v[i], "cgroup.freeze", "0");
	strv_release(&g->frozen_groups);
	put(GROUP, "cgroup.freeze", "0");
	for (unsigned i = 0; i < ROUNDS && move(GROUP, "") > 0; i++)
		;
}
