#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/io.h>
#include <base/str.h>

#include "jail_explain.h"

static long
read_long(const char *path)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	const char *text;
	char *end;
	long v;

	if (io_read_file(AT_FDCWD, path, 64, &b, NULL) < 0)
		return JAIL_UNKNOWN;
	text = buf_str(&b);
	errno = 0;
	v = strtol(text, &end, 10);
	return end == text || errno != 0 || v < 0 ? JAIL_UNKNOWN : v;
}

void
jail_facts_read(struct jail_facts *ret)
{
	struct stat st = {0};

	*ret = (struct jail_facts){
		/* Not the capabilities: in a user namespace of its own anybody has them all. */
		.privileged = geteuid() == 0,
		.container = access("/.dockerenv", F_OK) == 0 ||
			     access("/run/.containerenv", F_OK) == 0 ||
			     access("/run/systemd/container", F_OK) == 0,
		.has_userns = access("/proc/self/ns/user", F_OK) == 0,
		.apparmor_userns =
			read_long("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
		.userns_clone = read_long("/proc/sys/kernel/unprivileged_userns_clone"),
		.max_user = read_long("/proc/sys/user/max_user_namespaces"),
		.max_net = read_long("/proc/sys/user/max_net_namespaces"),
		.max_ipc = read_long("/proc/sys/user/max_ipc_namespaces"),
		.max_uts = read_long("/proc/sys/user/max_uts_namespaces"),
		.max_mnt = read_long("/proc/sys/user/max_mnt_namespaces"),
	};
	ret->tun_errno = stat("/dev/net/tun", &st) < 0 ? errno : 0;
	ret->tun_mode = st.st_mode & 07777;
}

/* ENOSPC and EUSERS: one of the counts in user.max_*_namespaces. */
static int
explain_limit(int code, const char *what, const struct jail_facts *f, struct err *e)
{
	const struct {
		const char *name;
		long max;
	} limits[] = {{"user", f->max_user}, {"net", f->max_net}, {"ipc", f->max_ipc},
		{"uts", f->max_uts}, {"mnt", f->max_mnt}};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		if (limits[i].max == 0)
			return err_set(e, code,
				"%s: namespaces are switched off on this host "
				"(user.max_%s_namespaces is 0). Run: sudo sysctl "
				"user.max_%s_namespaces=15000",
				what, limits[i].name, limits[i].name);
	return err_set(e, code,
		"%s: a limit on namespaces is reached (user.max_user_namespaces is %ld). Stop "
		"other "
		"sandboxes, or raise the user.max_*_namespaces with sysctl",
		what, f->max_user);
}

static int
explain_denied(int code, const char *what, const struct jail_facts *f, struct err *e)
{
	if (!f->privileged && f->userns_clone == 0)
		return err_set(e, code,
			"%s: this host keeps user namespaces from ordinary users. Run: sudo sysctl "
			"kernel.unprivileged_userns_clone=1",
			what);
	if (!f->privileged && f->apparmor_userns > 0)
		return err_set(e, code,
			"%s: AppArmor (Ubuntu) keeps user namespaces from paddock. Load the "
			"profile "
			"data/apparmor/paddock, or run: sudo sysctl "
			"kernel.apparmor_restrict_unprivileged_userns=0",
			what);
	if (f->container)
		return err_set(e, code,
			"%s: this container does not permit it. Run paddock on the host, or start "
			"the "
			"container with --privileged",
			what);
	return err_sys(e, code,
		"%s: a security policy of this host (seccomp, SELinux, a chroot) forbids it", what);
}

int
jail_explain(int code, const char *what, const struct jail_facts *f, struct err *e)
{
	if (!f->has_userns && (code == EINVAL || code == ENOSYS || code == ENOENT))
		return err_set(e, code,
			"%s: this kernel has no user namespaces. Boot one with CONFIG_USER_NS",
			what);
	switch (code) {
	case ENOSPC:
	case EUSERS:
		return explain_limit(code, what, f, e);
	case EPERM:
	case EACCES:
		return explain_denied(code, what, f, e);
	case ENOSYS:
		return err_set(
			e, code, "%s: this kernel is too old. Boot Linux 5.12 or newer", what);
	default:
		return err_sys(e, code, "%s", what);
	}
}

int
jail_explain_tun(int code, const struct jail_facts *f, struct err *e)
{
	switch (code) {
	case ENOENT:
		return err_set(e, code,
			"/dev/net/tun is missing. Run: sudo modprobe tun (in a container: start it "
			"with "
			"--device /dev/net/tun)");
	case ENODEV:
	case ENXIO:
		return err_set(
			e, code, "the kernel's TUN driver is not loaded. Run: sudo modprobe tun");
	case EACCES:
		return err_set(e, code,
			"/dev/net/tun may not be opened by you (its mode is %04o, usual is 0666). "
			"Run: sudo "
			"chmod 0666 /dev/net/tun",
			(unsigned)f->tun_mode);
	case EPERM:
		return jail_explain(code, "open '/dev/net/tun'", f, e);
	default:
		return err_sys(e, code, "open '/dev/net/tun'");
	}
}

int
jail_identity_map(const char *own_map, struct buf *out)
{
	unsigned long inside, outside, count;
	int used = 0;

	for (const char *p = own_map; *p != '\0'; p += used) {
		if (sscanf(p, " %lu %lu %lu %n", &inside, &outside, &count, &used) != 3 ||
			used == 0)
			return -EINVAL;
		buf_printf(out, "%lu %lu %lu\n", inside, inside, count);
	}
	return out->len > 0 ? 0 : -EINVAL;
}
