#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>

#include "devices.h"
#include "step.h"

#define LIST_MAX    65536
#define MODULES_MAX 64

struct devices {
	int uevents;
	int done; /* eventfd: the thread has ended */
	int cpus; /* /sys/devices/system/cpu */
	bool joined;
	pthread_t thread;
	/* The thread's until it has ended. */
	int modules[MODULES_MAX];
	char *names[MODULES_MAX];
	size_t n;
	int r;
	struct err e;
};

static int
listen_for_uevents(struct err *e)
{
	struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = 1};
	CLEAN_CLOSE int fd = socket(
		AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, errno, "listen for devices");
	return TAKE_FD(fd);
}

/*
 * Under emulation the kernel starts with one processor (vmm's plan says why) and gets the others
 * here, before anything of the user's runs.
 */
static void
start_processors(int cpus)
{
	CLEAN_CLOSEDIR DIR *d = fdopendir(cpus);
	struct dirent *de;

	while (d != NULL && (de = readdir(d)) != NULL) {
		CLEAN_CLOSE int fd = -1;
		char path[64], is = '1';
		uint64_t n;

		if (!str_has_prefix(de->d_name, "cpu") ||
			str_to_u64(de->d_name + 3, 1, 4096, &n) < 0)
			continue;
		snprintf(path, sizeof(path), "cpu%u/online", (unsigned)n);
		fd = openat(cpus, path, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && read(fd, &is, 1) == 1 && is == '0' && pwrite(fd, "1", 1, 0) < 0)
			log_warn("%s: %s", path, strerror(errno));
	}
}

static void *
load_all(void *arg)
{
	struct devices *d = arg;
	uint64_t one = 1;

	for (size_t i = 0; i < d->n && d->r == 0; i++) {
		struct step s = step_begin();

		if (syscall(SYS_finit_module, d->modules[i], "", 0) < 0 && errno != EEXIST)
			d->r = err_sys(&d->e, errno, "load the module '%s'", d->names[i]);
		step_done(&s, d->names[i]);
	}
	if (d->r == 0) {
		struct step s = step_begin();

		start_processors(d->cpus);
		step_done(&s, "processors");
	}
	if (write(d->done, &one, sizeof(one)) < 0)
		log_warn("modules: %s", strerror(errno));
	return NULL;
}

/* All is opened before the thread begins, for the root changes under it. */
static int
open_modules(struct devices *d, const char *list_path, struct err *e)
{
	CLEAN_BUF struct buf list = BUF_INIT;
	CLEAN_FREE char *copy = NULL;
	char *save = NULL;
	int r = io_read_file(AT_FDCWD, list_path, LIST_MAX, &list, e);

	if (r < 0)
		return r;
	copy = xstrdup(buf_str(&list));
	for (char *line = strtok_r(copy, "\n", &save); line != NULL;
		line = strtok_r(NULL, "\n", &save)) {
		if (d->n == MODULES_MAX)
			return err_set(e, E2BIG, "more than %d modules", MODULES_MAX);
		d->modules[d->n] = open(line, O_RDONLY | O_CLOEXEC);
		if (d->modules[d->n] < 0)
			return err_sys(e, errno, "module '%s'", line);
		d->names[d->n++] = xstrdup(line);
	}
	return 0;
}

static int
begin(struct devices *d, const char *list_path, struct err *e)
{
	int r = listen_for_uevents(e);

	if (r < 0)
		return r;
	d->uevents = r;
	d->done = eventfd(0, EFD_CLOEXEC);
	d->cpus = open("/sys/devices/system/cpu", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->done < 0 || d->cpus < 0)
		return err_sys(e, errno, "devices");
	r = open_modules(d, list_path, e);
	if (r < 0)
		return r;
	r = pthread_create(&d->thread, NULL, load_all, d);
	return r != 0 ? err_sys(e, r, "modules: thread") : 0;
}

struct devices *
devices_new(const char *list_path, struct err *e)
{
	struct devices *d = xcalloc(1, sizeof(*d));

	/* Not freed where it fails: the machine then powers off. */
	return begin(d, list_path, e) < 0 ? NULL : d;
}

int
devices_loaded(struct devices *d, struct err *e)
{
	if (!d->joined) {
		pthread_join(d->thread, NULL);
		d->joined = true;
		for (size_t i = 0; i < d->n; i++) {
			close(d->modules[i]);
			free(d->names[i]);
		}
	}
	if (d->r < 0 && e != NULL)
		*e = d->e;
	return d->r;
}

/* What an event says does not matter, nor whether some were lost: whoever waits looks again. */
static void
drain_uevents(int fd)
{
	char drop[4096];

	while (recv(fd, drop, sizeof(drop), 0) > 0 || errno == ENOBUFS)
		;
}

int
devices_await(struct devices *d, bool (*found)(void *arg), void *arg, const char *what,
	uint64_t deadline_ms, struct err *e)
{
	while (!found(arg)) {
		struct pollfd p[2] = {{.fd = d->uevents, .events = POLLIN},
			{.fd = d->joined ? -1 : d->done, .events = POLLIN}};
		int r = poll(p, 2, deadline_left_ms(deadline_ms));

		if (r < 0 && errno != EINTR)
			return err_sys(e, errno, "wait for %s", what);
		if (r == 0)
			return err_set(e, ETIMEDOUT, "%s did not appear in time", what);
		if (p[1].revents != 0 && devices_loaded(d, e) < 0)
			return -e->code;
		drain_uevents(d->uevents);
	}
	return 0;
}

#define PORTS "/sys/class/virtio-ports"

struct wanted_port {
	const char *name;
	char node[64]; /* set when found */
};

static bool
is_named(const char *port, const char *name)
{
	CLEAN_FREE char *path = xasprintf(PORTS "/%s/name", port);
	CLEAN_BUF struct buf b = BUF_INIT;

	if (io_read_file(AT_FDCWD, path, 256, &b, NULL) < 0)
		return false;
	return b.len == strlen(name) + 1 && memcmp(b.data, name, b.len - 1) == 0;
}

static bool
find_port(void *arg)
{
	struct wanted_port *w = arg;
	CLEAN_CLOSEDIR DIR *d = opendir(PORTS);
	struct dirent *de;

	while (d != NULL && (de = readdir(d)) != NULL) {
		if (de->d_name[0] == '.' || strlen(de->d_name) > 40 ||
			!is_named(de->d_name, w->name))
			continue;
		snprintf(w->node, sizeof(w->node), "/dev/%.40s", de->d_name);
		return access(w->node, F_OK) == 0;
	}
	return false;
}

static bool
is_connected(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) >= 0 && (p.revents & POLLHUP) == 0;
}

/*
 * A port reads as end of file until the kernel has heard that the host's end is open. poll(2)
 * cannot wait for that (it reports the hang-up at once); SIGIO comes when the port opens or closes.
 */
static int
await_connected(int fd, uint64_t deadline_ms)
{
	sigset_t io, old;
	int flags = fcntl(fd, F_GETFL), r = 0;

	if (is_connected(fd))
		return 0;
	sigemptyset(&io);
	sigaddset(&io, SIGIO);
	sigprocmask(SIG_BLOCK, &io, &old);
	if (fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETFL, flags | O_ASYNC) < 0)
		r = -errno;
	while (r == 0 && !is_connected(fd)) {
		int left = deadline_left_ms(deadline_ms);
		struct timespec t = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000L};

		if (left == 0)
			r = -ETIMEDOUT;
		else if (sigtimedwait(&io, NULL, &t) < 0 && errno != EAGAIN && errno != EINTR)
			r = -errno;
	}
	fcntl(fd, F_SETFL, flags);
	while (sigtimedwait(&io, NULL, &(struct timespec){0}) > 0)
		;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

int
devices_open_port(struct devices *d, const char *name, uint64_t deadline_ms, struct err *e)
{
	CLEAN_CLOSE int fd = -1;
	struct wanted_port w = {.name = name};
	int r = devices_await(d, find_port, &w, name, deadline_ms, e);

	if (r < 0)
		return r;
	fd = open(w.node, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open the port %s", name);
	r = await_connected(fd, deadline_ms);
	if (r < 0)
		return err_sys(e, -r, "wait for the host's end of the port %s", name);
	return TAKE_FD(fd);
}

/*
 * modules.devname: "tun net/tun c10:200". The node is there before the module, and the kernel loads
 * it when somebody opens the node.
 */
static void
make_static_node(const char *line)
{
	char module[64], name[64], path[80];
	unsigned major, minor;
	char kind;

	if (sscanf(line, "%63s %63s %c%u:%u", module, name, &kind, &major, &minor) != 5)
		return;
	if (strstr(name, "..") != NULL || (kind != 'c' && kind != 'b'))
		return;
	snprintf(path, sizeof(path), "/dev/%s", name);
	if (access(path, F_OK) == 0)
		return;
	char *slash = strrchr(path, '/');

	if (slash > path + 4) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	mknod(path, (kind == 'c' ? S_IFCHR : S_IFBLK) | 0600, makedev(major, minor));
}

static void
make_static_nodes(void)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	CLEAN_FREE char *path = NULL, *copy = NULL;
	char *save = NULL;
	struct utsname u;

	if (uname(&u) < 0)
		return;
	path = xasprintf("/lib/modules/%s/modules.devname", u.release);
	if (io_read_file(AT_FDCWD, path, LIST_MAX, &b, NULL) < 0)
		return;
	copy = xstrdup(buf_str(&b));
	for (char *line = strtok_r(copy, "\n", &save); line != NULL;
		line = strtok_r(NULL, "\n", &save))
		if (line[0] != '#')
			make_static_node(line);
}

void
devices_fill_dev(void)
{
	static const char *const links[][2] = {
		{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"},
	};

	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
			log_warn("link %s: %s", links[i][1], strerror(errno));
	make_static_nodes();
	/* As udev's rules have them: safe by design for everybody. */
	chmod("/dev/fuse", 0666);
	chmod("/dev/net/tun", 0666);
}
