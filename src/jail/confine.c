/*
 * A role gives everything up, in the order in which each step still has what it needs: namespaces
 * and the mount tree (CAP_SYS_ADMIN), limits, securebits and the bounding set (CAP_SETPCAP), then
 * the capabilities themselves, then Landlock and seccomp (which need no_new_privs alone).
 */
#include <errno.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <sched.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <jail/jail.h>

#include "jail_explain.h"
#include "jail_seccomp.h"
#include "tree.h"

static int
new_namespaces(const struct jail_confine *c, struct err *e)
{
	struct jail_facts f;
	int code;

	if (unshare(CLONE_NEWNS | (c->new_net ? CLONE_NEWNET : 0)) == 0)
		return 0;
	code = errno;
	jail_facts_read(&f);
	return jail_explain(code, "make a mount namespace", &f, e);
}

static int
limit(const struct jail_confine *c, struct err *e)
{
	const struct rlimit no_core = {0, 0};
	struct rlimit files;

	if (setrlimit(RLIMIT_CORE, &no_core) < 0)
		return err_sys(e, errno, "RLIMIT_CORE");
	if (c->nofile == 0)
		return 0;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return err_sys(e, errno, "RLIMIT_NOFILE");
	files.rlim_cur = c->nofile < files.rlim_max ? c->nofile : files.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &files) < 0 ? err_sys(e, errno, "RLIMIT_NOFILE") : 0;
}

/* No exec gives anything back, whether or not the uid is 0. capabilities(7). */
static int
lock_privileges(struct err *e)
{
	const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
				   SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
				   SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, errno, "no_new_privs");
	if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
		return err_sys(e, errno, "securebits");
	for (cap_value_t c = 0; c < cap_max_bits(); c++)
		if (cap_drop_bound(c) < 0)
			return err_sys(e, errno, "bounding set");
	return 0;
}

/* The ambient set goes with the inheritable one. */
static int
drop_capabilities(bool keep_dac, struct err *e)
{
	const cap_value_t dac[] = {CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN};
	cap_t caps = cap_init();
	int r = caps == NULL ? -1 : 0;

	if (r == 0 && keep_dac) {
		r = cap_set_flag(caps, CAP_PERMITTED, ARRAY_LEN(dac), dac, CAP_SET);
		if (r == 0)
			r = cap_set_flag(caps, CAP_EFFECTIVE, ARRAY_LEN(dac), dac, CAP_SET);
	}
	if (r == 0)
		r = cap_set_proc(caps);
	r = r < 0 ? err_sys(e, errno, "drop capabilities") : 0;
	if (caps != NULL)
		cap_free(caps);
	return r;
}

/*
 * Landlock from ABI 6 (Linux 6.12) on can keep a process from signalling anything outside and from
 * abstract unix sockets, both of which no namespace of ours covers (there is no PID namespace). An
 * older kernel has the seccomp rules alone. The struct is the kernel's; our headers may be older.
 */
static int
scope_signals(struct err *e)
{
	const struct {
		__u64 handled_access_fs, handled_access_net, scoped;
	} attr = {.scoped = 1 /* ABSTRACT_UNIX_SOCKET */ | 2 /* SIGNAL */};
	CLEAN_CLOSE int fd = -1;
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (abi < 6)
		return 0;
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return err_sys(e, errno, "Landlock");
	return 0;
}

static int
confine(const struct jail_confine *c, struct err *e)
{
	int r = new_namespaces(c, e);

	if (r == 0)
		r = tree_enter(c, e);
	if (r == 0)
		r = limit(c, e);
	if (r == 0)
		r = lock_privileges(e);
	if (r == 0)
		r = drop_capabilities(c->keep_dac, e);
	if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		r = err_sys(e, errno, "PR_SET_DUMPABLE");
	if (r == 0)
		r = scope_signals(e);
	return r == 0 ? jail_seccomp_load(c->syscalls, c->no_fork, e) : r;
}

int
jail_confine(const struct jail_confine *c, struct err *e)
{
	return confine(c, e) < 0 ? err_prefix(e, "confine") : 0;
}
