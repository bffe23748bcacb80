/*
 * How this works: steps in a fixed order, each repeatable, so that an identity whose application
 * failed half-way can be sent again. Files on the disk are written only where they change: a
 * sandbox that starts again writes none.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>

#include "certs.h"
#include "devices.h"
#include "flows.h"
#include "guest.h"
#include "netcfg.h"
#include "step.h"
#include "textblock.h"
#include "warmup.h"
#include "workspaces.h"

#define ENTROPY_MAX 1024
/* Before the link gives a stream up that has no answer. */
#define WORKSPACES_LIMIT_MS 15000
#define ZONEINFO            "/usr/share/zoneinfo/"
#define BOOT_ID             "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_COVER       "/run/boot_id"
/* linux/ext4.h, since 6.7 in the user space headers */
#define EXT4_RESIZE _IOW('f', 16, uint64_t)

static int
set_clock(struct guest *g, const struct identity *i, struct err *e)
{
	struct timespec t = {.tv_sec = (time_t)(i->time_ns / 1000000000),
		.tv_nsec = (long)(i->time_ns % 1000000000)};

	(void)g;
	if (i->time_ns == 0)
		return 0;
	return clock_settime(CLOCK_REALTIME, &t) < 0 ? err_sys(e, errno, "set the clock") : 0;
}

/* random(4). Reseeded at once, so that nothing is drawn from a state that a clone could share. */
static int
add_entropy(struct guest *g, const struct identity *i, struct err *e)
{
	union {
		struct rand_pool_info head;
		uint8_t bytes[sizeof(struct rand_pool_info) + ENTROPY_MAX];
	} pool;
	CLEAN_CLOSE int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	size_t n = i->entropy.len < ENTROPY_MAX ? i->entropy.len : ENTROPY_MAX;

	(void)g;
	if (n == 0)
		return 0;
	pool.head.entropy_count = (int)n * 8;
	pool.head.buf_size = (int)n;
	memcpy(pool.bytes + offsetof(struct rand_pool_info, buf), i->entropy.data, n);
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		return err_sys(e, errno, "entropy");
	return 0;
}

/* What a clone's programs draw from here on is its own. */
static int
begin_warmup(struct guest *g, const struct identity *i, struct err *e)
{
	(void)i;
	(void)e;
	warmup_go(&g->warmup_fd);
	return 0;
}

static bool
fit_for_hostname(const char *s)
{
	if (*s == '\0' || strlen(s) > 63)
		return false;
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && *s != '-' && *s != '.')
			return false;
	return true;
}

static int
set_hostname(struct guest *g, const struct identity *i, struct err *e)
{
	(void)g;
	if (!fit_for_hostname(i->hostname))
		return err_set(e, EINVAL, "host name: letters, digits and '-' only");
	if (sethostname(i->hostname, strlen(i->hostname)) < 0)
		return err_sys(e, errno, "host name");
	return 0;
}

static int
set_network(struct guest *g, const struct identity *i, struct err *e)
{
	struct netcfg c;
	int r;

	if (netcfg_parse(i->address, i->gateway, &c) < 0)
		return err_set(e, EINVAL, "network: addresses '%s', '%s'", i->address, i->gateway);
	/* A clone has it from the machine that it is a clone of. */
	if (memcmp(&c, &g->network, sizeof(c)) == 0)
		return 0;
	r = netcfg_apply(g->devices, &c, e);
	if (r == 0)
		g->network = c;
	return r;
}

/* The files that name things: hostname(5), hosts(5), resolv.conf(5). */
static int
set_names(struct guest *g, const struct identity *i, struct err *e)
{
	CLEAN_FREE char *name = xasprintf("%s\n", i->hostname);
	CLEAN_FREE char *hosts =
		xasprintf("127.0.1.1 %s\n%s host.docker.internal gateway.docker.internal\n",
			i->hostname, i->gateway);
	int r = netcfg_write_resolv(&g->network, e);

	if (r == 0)
		r = textblock_apply("/etc/hosts", hosts, 0644, e);
	return r == 0 ? text_write("/etc/hostname", name, strlen(name), 0644, e) : r;
}

/* "Europe/Berlin" where the image knows it; a POSIX string is left to the variable TZ. */
static int
set_timezone(struct guest *g, const struct identity *i, struct err *e)
{
	const char *zone = i->timezone != NULL ? i->timezone : "Etc/UTC";
	CLEAN_FREE char *file = xasprintf(ZONEINFO "%s", zone);
	CLEAN_FREE char *line = xasprintf("%s\n", zone);
	char now[256];
	ssize_t n;

	(void)g;
	if (zone[0] == '/' || strstr(zone, "..") != NULL || access(file, R_OK) < 0)
		return 0;
	n = readlink("/etc/localtime", now, sizeof(now) - 1);
	if (n > 0) {
		now[n] = '\0';
		if (strcmp(now, file) == 0)
			return 0;
	}
	unlink("/etc/localtime.paddock-new");
	if (symlink(file, "/etc/localtime.paddock-new") < 0 ||
		rename("/etc/localtime.paddock-new", "/etc/localtime") < 0)
		return err_sys(e, errno, "time zone");
	return text_write("/etc/timezone", line, strlen(line), 0644, e);
}

static int
set_certificates(struct guest *g, const struct identity *i, struct err *e)
{
	static const struct certs_paths paths = {
		CERTS_BUNDLE, CERTS_HOST, CERTS_STAMP, CERTS_LOCAL, CERTS_LINKS};
	CLEAN_BUF struct buf pem = BUF_INIT;
	int r;

	(void)g;
	buf_append(&pem, i->ca_pem.data, i->ca_pem.len);
	r = certs_apply(&paths, buf_str(&pem), e);
	if (r < 0)
		return err_prefix(e, "certificates");
	if (r > 0)
		certs_tell_java();
	return 0;
}

/* git-config(1): quoted, with \ and " escaped; what has control characters is left out. */
static void
add_git_setting(struct buf *b, const char *setting)
{
	size_t section = strcspn(setting, ".="), key = strcspn(setting, "=");
	const char *value = setting + key;

	if (setting[section] != '.' || *value != '=')
		return;
	for (const char *c = setting; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return;
	buf_printf(b, "[%.*s]\n\t%.*s = \"", (int)section, setting, (int)(key - section - 1),
		setting + section + 1);
	while (*++value != '\0') {
		if (*value == '"' || *value == '\\')
			buf_append_str(b, "\\");
		buf_append(b, value, 1);
	}
	buf_append_str(b, "\"\n");
}

/* System-wide: what somebody sets in ~/.gitconfig or in a repository wins. */
static int
set_git(struct guest *g, const struct identity *i, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	(void)g;
	for (size_t k = 0; k < i->git.n; k++)
		add_git_setting(&b, i->git.v[k]);
	return textblock_apply("/etc/gitconfig", buf_str(&b), 0644, e);
}

static int
device_blocks(uint64_t block, uint64_t *ret)
{
	CLEAN_CLOSE int fd = open("/dev/vda", O_RDONLY | O_CLOEXEC);
	uint64_t bytes;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return -errno;
	*ret = bytes / block;
	return 0;
}

/* Whether the disk is worth growing into: less than a block group more is not. */
static int
grow_disk(struct guest *g, const struct identity *i, struct err *e)
{
	CLEAN_CLOSE int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t blocks, device = 0;
	struct statfs st;

	(void)g;
	if (i->disk_bytes == 0)
		return 0;
	if (root < 0 || fstatfs(root, &st) < 0 || device_blocks((uint64_t)st.f_bsize, &device) < 0)
		return err_sys(e, errno, "size of the disk");
	blocks = i->disk_bytes / (uint64_t)st.f_bsize;
	if (blocks > device)
		blocks = device;
	/* f_blocks leaves the file system's own tables out, some two per cent. */
	if (blocks < st.f_blocks + st.f_blocks / 20 + 32768)
		return 0;
	if (ioctl(root, EXT4_RESIZE, &blocks) < 0)
		return err_sys(e, errno, "grow the disk to %" PRIu64 " MiB", i->disk_bytes >> 20);
	return 0;
}

/*
 * The kernel's own is made once and cannot be changed; as in a container of systemd's, another one
 * lies over it.
 */
static int
cover_boot_id(struct err *e)
{
	uint8_t id[16];
	char line[38];

	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return err_sys(e, errno, "boot_id");
	/* RFC 9562, version 4. */
	id[6] = (id[6] & 0x0f) | 0x40;
	id[8] = (id[8] & 0x3f) | 0x80;
	for (size_t k = 0, at = 0; k < sizeof(id); k++) {
		at += (size_t)snprintf(line + at, sizeof(line) - at, "%s%02x",
			k == 4 || k == 6 || k == 8 || k == 10 ? "-" : "", id[k]);
	}
	line[36] = '\n';
	if (text_write(BOOT_ID_COVER, line, 37, 0444, e) < 0)
		return -e->code;
	umount2(BOOT_ID, MNT_DETACH); /* that of an earlier copy */
	if (mount(BOOT_ID_COVER, BOOT_ID, NULL, MS_BIND, NULL) < 0 ||
		mount(NULL, BOOT_ID, NULL,
			MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
			NULL) < 0)
		return err_sys(e, errno, "boot_id");
	return 0;
}

/* machine-id(5). A machine that finds itself with another's has been copied while it ran. */
static int
set_machine_id(struct guest *g, const struct identity *i, struct err *e)
{
	CLEAN_FREE char *line = xasprintf("%s\n", i->machine_id != NULL ? i->machine_id : "");
	CLEAN_BUF struct buf now = BUF_INIT;
	int r;

	(void)g;
	if (strlen(line) != 33)
		return err_set(e, EINVAL, "it is not well-formed");
	if (io_read_file(AT_FDCWD, "/etc/machine-id", 64, &now, NULL) == 0 &&
		strcmp(buf_str(&now), line) == 0)
		return 0;
	r = text_write("/etc/machine-id", line, 33, 0444, e);
	return r == 0 && i->again & IDENTITY_WOKEN ? cover_boot_id(e) : r;
}

static int
begin_workspaces(struct guest *g, const struct identity *i, struct err *e)
{
	/* They are there, as they were. */
	if (i->again != 0)
		return 0;
	return workspaces_begin(g, i, e);
}

static int
end_workspaces(struct guest *g, const struct identity *i, struct err *e)
{
	(void)i;
	return workspaces_end(g, WORKSPACES_LIMIT_MS, e);
}

static int
reset_flows(struct guest *g, const struct identity *i, struct err *e)
{
	return i->again & IDENTITY_WOKEN ? flows_reset(g->network.address, e) : 0;
}

/* What still came up while the link was served already. */
static int
await_devices(struct guest *g, const struct identity *i, struct err *e)
{
	(void)i;
	return devices_loaded(g->devices, e);
}

/*
 * Vital is what a session cannot do without. What is only written to the disk is not: a sandbox
 * that filled it must start, so that somebody can tidy up. Between the workspaces' begin and end is
 * nothing vital, or it might go without an end.
 */
static const struct {
	const char *name;
	int (*apply)(struct guest *g, const struct identity *i, struct err *e);
	bool vital;
} steps[] = {
	{"clock", set_clock, true},
	{"entropy", add_entropy, true},
	{"warm-up", begin_warmup, false},
	{"host name", set_hostname, true},
	{"network", set_network, true},
	{"connections", reset_flows, false},
	{"workspaces", begin_workspaces, true},
	{"names", set_names, false},
	{"time zone", set_timezone, false},
	{"certificates", set_certificates, false},
	{"git", set_git, false},
	{"machine-id", set_machine_id, false},
	{"disk", grow_disk, false},
	{"workspaces", end_workspaces, true},
	{"devices", await_devices, false},
};

int
guest_identity_apply(struct guest *g, struct identity *i, struct err *e)
{
	struct step s = step_begin();

	if (mkdir("/var/lib/paddock", 0755) < 0 && errno != EEXIST)
		log_warn("create '/var/lib/paddock': %s", strerror(errno));
	for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
		struct err why = {0};
		int r = steps[k].apply(g, i, &why);

		step_done(&s, steps[k].name);
		if (r >= 0)
			continue;
		if (steps[k].vital) {
			if (e != NULL)
				*e = why;
			return r;
		}
		log_warn("%s: %s", steps[k].name, why.msg);
	}
	identity_release(&g->identity);
	g->identity = *i;
	*i = (struct identity){0};
	guest_thaw(g);
	return 0;
}
