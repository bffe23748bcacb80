/*
 * How this works: the kernel starts us from the initramfs, which holds this program, the modules of
 * a boot and nothing else. We load them, wait for the disk and the serial ports, mount the disk,
 * move the kernel's file systems over and make it the root (as switch_root(8) does, but without a
 * new process), then mount what a Linux system expects. No wait is without a limit.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>

#include "devices.h"
#include "guest.h"
#include "static_keys.h"
#include "step.h"

#define DISK          "/dev/vda"
#define NEW_ROOT      "/root"
#define DEVICES_LIMIT 60000

/*
 * noinit_itable, no_prefetch_block_bitmaps: zeroing inode tables would fill the overlay, and nobody
 * waits for bitmaps that are read ahead. discard: what is deleted leaves the overlay too. commit: a
 * machine that is killed loses two seconds, not five.
 */
#define DISK_OPTIONS "noinit_itable,no_prefetch_block_bitmaps,discard,commit=2"

struct mount_point {
	const char *type, *path;
	unsigned long flags;
	const char *options;
	mode_t mode; /* of the folder, where it must be made */
	bool optional;
};

static const struct mount_point kernel_mounts[] = {
	{"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, 0555},
	{"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, 0555},
	{"devtmpfs", "/dev", MS_NOSUID, "mode=755", 0755},
};

/*
 * /tmp stays on the disk: builds put more there than the memory holds. No bpffs: mounting it makes
 * the kernel look for a module and start a program, a third of a second under emulation.
 */
static const struct mount_point system_mounts[] = {
	{"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=620,gid=5,ptmxmode=666", 0755},
	{"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", 01777},
	{"mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, 01777, true},
	{"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755,size=20%", 0755},
	{"cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate", 0755},
};

static int
mount_all(const struct mount_point *m, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		if (mkdir(m[i].path, m[i].mode) < 0 && errno != EEXIST && !m[i].optional)
			return err_sys(e, errno, "create '%s'", m[i].path);
		if (mount(m[i].type, m[i].path, m[i].type, m[i].flags, m[i].options) < 0 &&
			!m[i].optional)
			return err_sys(e, errno, "mount '%s'", m[i].path);
	}
	return 0;
}

static void
read_debug_flag(void)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	if (io_read_file(AT_FDCWD, "/proc/cmdline", 65536, &b, NULL) == 0 &&
		strstr(buf_str(&b), "paddock.debug") != NULL)
		log_init("guest", LOG_DEBUG);
}

/* Opened, not only looked at: its node is there a moment before the disk behind it is. */
static bool
disk_is_there(void *arg)
{
	CLEAN_CLOSE int fd = open(DISK, O_RDONLY | O_CLOEXEC);

	(void)arg;
	return fd >= 0;
}

static int
mount_disk(struct devices *d, uint64_t deadline, struct err *e)
{
	int r = devices_await(d, disk_is_there, NULL, "the disk " DISK, deadline, e);

	if (r < 0)
		return r;
	if (mount(DISK, NEW_ROOT, "ext4", MS_NOATIME, DISK_OPTIONS) < 0)
		return err_sys(e, errno, "mount the disk " DISK);
	return 0;
}

/* The initramfs lives in memory for ever; what is still in it is let go. */
static void
empty_initramfs(void)
{
	struct err e;

	if (io_remove_tree(AT_FDCWD, "/modules", &e) < 0)
		log_debug("%s", e.msg);
	unlink("/modules.list");
	unlink("/init");
}

static int
switch_root(struct err *e)
{
	static const char *const moved[] = {"/dev", "/proc", "/sys"};

	empty_initramfs();
	for (size_t i = 0; i < ARRAY_LEN(moved); i++) {
		char to[32];

		snprintf(to, sizeof(to), NEW_ROOT "%s", moved[i]);
		if (mkdir(to, 0755) < 0 && errno != EEXIST)
			return err_sys(e, errno, "create '%s'", to);
		if (mount(moved[i], to, NULL, MS_MOVE, NULL) < 0)
			return err_sys(e, errno, "move '%s'", moved[i]);
	}
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0)
		return err_sys(e, errno, "switch to the disk");
	/* As with systemd: what is mounted shows in mount namespaces that ask for it (dockerd). */
	if (mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) < 0)
		return err_sys(e, errno, "share the mounts");
	return 0;
}

/* Into a file of the kernel's; what an older or other kernel lacks is no reason to stop. */
static void
put(const char *path, const char *value)
{
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		log_debug("%s: %s", path, strerror(errno));
}

static void
set_kernel_knobs(void)
{
	static const char *const knobs[][2] = {
		/* What was written through a mapping is on the host within a second. */
		{"/proc/sys/vm/dirty_writeback_centisecs", "30"},
		{"/proc/sys/vm/dirty_expire_centisecs", "60"},
		/* File watchers of editors, bundlers and test runners. */
		{"/proc/sys/fs/inotify/max_user_watches", "524288"},
		{"/proc/sys/fs/inotify/max_user_instances", "1024"},
		{"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"},
		{"/proc/sys/net/ipv4/ping_group_range", "0 2147483647"},
		{"/proc/sys/vm/max_map_count", "262144"},
		{"/proc/self/oom_score_adj", "-1000"},
	};

	for (size_t i = 0; i < ARRAY_LEN(knobs); i++)
		put(knobs[i][0], knobs[i][1]);
}

static int
bring_loopback_up(struct err *e)
{
	CLEAN_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq q = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &q) < 0)
		return err_sys(e, errno, "bring lo up");
	return 0;
}

static void
set_limits(void)
{
	struct rlimit files = {1 << 20, 1 << 20};

	setrlimit(RLIMIT_NOFILE, &files);
	umask(022);
}

static int
early_boot(struct guest *g, struct err *e)
{
	uint64_t deadline = deadline_in_ms(DEVICES_LIMIT);
	struct step s = step_begin();
	int r = mount_all(kernel_mounts, ARRAY_LEN(kernel_mounts), e);

	if (r < 0)
		return r;
	read_debug_flag();
	log_debug("in the initramfs");
	static_keys_switch_on();
	g->devices = devices_new("/modules.list", e);
	if (g->devices == NULL)
		return -e->code;
	r = mount_disk(g->devices, deadline, e);
	if (r < 0)
		return r;
	step_done(&s, "disk");
	g->link_fd = devices_open_port(g->devices, "paddock.link", deadline, e);
	if (g->link_fd < 0)
		return g->link_fd;
	g->fs_fd = devices_open_port(g->devices, "paddock.fs", deadline, e);
	if (g->fs_fd < 0)
		return g->fs_fd;
	step_done(&s, "ports");
	return 0;
}

int
guest_boot(struct guest *g, struct err *e)
{
	struct step s;
	int r = early_boot(g, e);

	if (r < 0)
		return r;
	s = step_begin();
	r = switch_root(e);
	if (r < 0)
		return r;
	step_done(&s, "switch to the disk");
	r = mount_all(system_mounts, ARRAY_LEN(system_mounts), e);
	if (r < 0)
		return r;
	mkdir("/run/lock", 01777);
	chmod("/run/lock", 01777);
	step_done(&s, "mounts");
	devices_fill_dev();
	set_kernel_knobs();
	set_limits();
	r = bring_loopback_up(e);
	step_done(&s, "settings");
	return r;
}
