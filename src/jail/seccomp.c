/*
 * How this works: two kinds of filters. For our own roles an allow-list, whose default ends the
 * process: a call outside of it means that somebody else has taken over. Beside what is allowed
 * stand calls that libraries try with a fallback; they get an errno instead. For programs that are
 * not ours (QEMU, NSS modules in the resolver) a list of what reaches beyond the process, with
 * EPERM.
 *
 * x86-64 numbers only: the i386 and x32 tables of the same kernel are a way around a filter, so
 * another architecture and x32's numbers end the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>

#include "jail_seccomp.h"
#include "jail_syscalls.h"

/* A sanitizer's runtime makes calls of its own choice; under it a refusal is enough. */
#if defined(__SANITIZE_ADDRESS__)
#define REFUSED SCMP_ACT_ERRNO(EPERM)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REFUSED SCMP_ACT_ERRNO(EPERM)
#endif
#endif
#ifndef REFUSED
#define REFUSED SCMP_ACT_KILL_PROCESS
#endif

#define NEW_NAMESPACES                                                                             \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
		CLONE_NEWPID | CLONE_NEWNET)

/* The first error of a series of rules; those that would follow are passed over. */
struct rules {
	scmp_filter_ctx ctx;
	uint32_t otherwise; /* the default action, for which libseccomp takes no rule */
	int error;
};

static void
release_rules(struct rules *r)
{
	if (r->ctx != NULL)
		seccomp_release(r->ctx);
}

static void
add(struct rules *r, uint32_t action, const char *name, unsigned n, const struct scmp_arg_cmp *args)
{
	int nr = seccomp_syscall_resolve_name(name);

	if (r->error == 0 && nr >= 0 && action != r->otherwise)
		r->error = seccomp_rule_add_array(r->ctx, action, nr, n, args);
}

static void
add_if(struct rules *r, uint32_t action, const char *name, struct scmp_arg_cmp arg)
{
	add(r, action, name, 1, &arg);
}

static void
add_list(struct rules *r, uint32_t action, const char *const *names)
{
	for (; *names != NULL; names++)
		add(r, action, *names, 0, NULL);
}

static void
add_values(struct rules *r, const char *name, unsigned arg, const uint64_t *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add_if(r, SCMP_ACT_ALLOW, name, SCMP_CMP(arg, SCMP_CMP_EQ, values[i]));
}

/* Allowed where none of the bits is set in the argument, else the errno. */
static void
add_unless_bits(struct rules *r, const char *name, unsigned arg, uint64_t bits, int code)
{
	add_if(r, SCMP_ACT_ALLOW, name, SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, bits, 0));
	add_if(r, SCMP_ACT_ERRNO(code), name, SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, bits, bits));
}

/* No command of these makes a signal go anywhere (F_SETOWN, FIOSETOWN do). */
static void
allow_commands(struct rules *r)
{
	static const uint64_t fcntls[] = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL,
		F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW,
		F_SETPIPE_SZ, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS};
	static const uint64_t ioctls[] = {FIONREAD, FIONBIO, FIOCLEX, FIONCLEX};
	static const uint64_t prctls[] = {PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE,
		PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_NO_NEW_PRIVS, PR_CAPBSET_READ,
		PR_GET_SECUREBITS};

	add_values(r, "fcntl", 1, fcntls, ARRAY_LEN(fcntls));
	add_values(r, "ioctl", 1, ioctls, ARRAY_LEN(ioctls));
	add_values(r, "prctl", 0, prctls, ARRAY_LEN(prctls));
	/* isatty(3) and stdio ask with TCGETS. */
	add_if(r, SCMP_ACT_ERRNO(ENOTTY), "ioctl", SCMP_CMP(1, SCMP_CMP_EQ, TCGETS));
}

/* No new code: what may be executed has been mapped before. */
static void
allow_data_memory(struct rules *r)
{
	add_unless_bits(r, "mmap", 2, PROT_EXEC, EACCES);
	add_unless_bits(r, "mprotect", 2, PROT_EXEC, EACCES);
}

/* getrlimit(3) is prlimit64(0, what, NULL, old). */
static void
allow_own_limits(struct rules *r)
{
	add_if(r, SCMP_ACT_ALLOW, "prlimit64", SCMP_CMP(2, SCMP_CMP_EQ, 0));
	add_if(r, SCMP_ACT_ERRNO(EPERM), "prlimit64", SCMP_CMP(2, SCMP_CMP_NE, 0));
}

/* clone3's flags are in memory, out of a filter's sight; glibc falls back to clone on ENOSYS. */
static void
allow_threads(struct rules *r)
{
	add_if(r, SCMP_ACT_ALLOW, "clone",
		SCMP_CMP(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	/* abort(3) and raise(3). The number is exact: other values of the upper half do not match.
	 */
	add_if(r, SCMP_ACT_ALLOW, "tgkill", SCMP_CMP(0, SCMP_CMP_EQ, (uint64_t)getpid()));
}

static void
allow_internet_sockets(struct rules *r)
{
	static const uint64_t families[] = {AF_INET, AF_INET6};

	add_list(r, SCMP_ACT_ALLOW, syscalls_connect);
	add_values(r, "socket", 0, families, ARRAY_LEN(families));
	add_if(r, SCMP_ACT_ERRNO(EAFNOSUPPORT), "socket", SCMP_CMP(0, SCMP_CMP_EQ, AF_UNIX));
	add_if(r, SCMP_ACT_ERRNO(EAFNOSUPPORT), "socket", SCMP_CMP(0, SCMP_CMP_GT, AF_INET6));
}

static void
build_allow(struct rules *r, enum jail_syscalls profile)
{
	add_list(r, SCMP_ACT_ALLOW, syscalls_common);
	add_list(r, SCMP_ACT_ALLOW, syscalls_sockets);
	add_list(r, SCMP_ACT_ERRNO(ENOSYS), syscalls_absent);
	allow_commands(r);
	allow_data_memory(r);
	allow_own_limits(r);
	allow_threads(r);
	if (profile == JAIL_SYSCALLS_FS) {
		add_list(r, SCMP_ACT_ALLOW, syscalls_files);
		/* A thread's own umask and working folder; no namespace is made. */
		add_if(r, SCMP_ACT_ALLOW, "unshare", SCMP_CMP(0, SCMP_CMP_EQ, CLONE_FS));
	} else {
		add_list(r, SCMP_ACT_ERRNO(EACCES), syscalls_by_name);
	}
	if (profile == JAIL_SYSCALLS_NET)
		allow_internet_sockets(r);
	else
		add(r, SCMP_ACT_ERRNO(EACCES), "socket", 0, NULL);
	/*
	 * link holds TCP sockets of the host's network. To send with an address (MSG_FASTOPEN) is
	 * to connect, and nothing of that is its business. It half-closes what a published port's
	 * server has ended.
	 */
	if (profile == JAIL_SYSCALLS_LINK) {
		add_if(r, SCMP_ACT_ALLOW, "sendto", SCMP_CMP(4, SCMP_CMP_EQ, 0));
		add_if(r, SCMP_ACT_ALLOW, "shutdown", SCMP_CMP(1, SCMP_CMP_EQ, SHUT_WR));
	} else {
		add_list(r, SCMP_ACT_ALLOW, syscalls_send);
	}
}

/* Ids that the process has no business with: any but its own. */
static void
deny_signals(struct rules *r)
{
	static const char *const calls[] = {
		"kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"};
	static const struct {
		const char *name;
		uint64_t command;
	} owners[] = {{"fcntl", F_SETOWN}, {"fcntl", F_SETOWN_EX}, {"ioctl", FIOSETOWN},
		{"ioctl", SIOCSPGRP}, {"ioctl", TIOCSTI}};

	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		add_if(r, SCMP_ACT_ERRNO(EPERM), calls[i],
			SCMP_CMP(0, SCMP_CMP_NE, (uint64_t)getpid()));
	for (size_t i = 0; i < ARRAY_LEN(owners); i++)
		add_if(r, SCMP_ACT_ERRNO(EPERM), owners[i].name,
			SCMP_CMP(1, SCMP_CMP_EQ, owners[i].command));
}

static void
deny_fork(struct rules *r)
{
	static const char *const calls[] = {"fork", "vfork", "execve", "execveat", NULL};

	add_list(r, SCMP_ACT_ERRNO(EPERM), calls);
	add_if(r, SCMP_ACT_ERRNO(EPERM), "clone", SCMP_CMP(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
}

static void
deny_namespaces(struct rules *r)
{
	for (uint64_t bit = 1; bit <= NEW_NAMESPACES; bit <<= 1)
		if ((NEW_NAMESPACES & bit) != 0)
			add_if(r, SCMP_ACT_ERRNO(EPERM), "clone",
				SCMP_CMP(0, SCMP_CMP_MASKED_EQ, bit, bit));
}

static void
build_deny(struct rules *r, enum jail_syscalls profile, bool no_fork)
{
	add_list(r, SCMP_ACT_ERRNO(EPERM), syscalls_outside);
	add(r, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);
	deny_namespaces(r);
	/* A process that may have children may also end them, and each has another pid. */
	if (no_fork || profile == JAIL_SYSCALLS_QEMU)
		deny_signals(r);
	if (no_fork)
		deny_fork(r);
}

static bool
is_allow_list(enum jail_syscalls profile)
{
	return profile == JAIL_SYSCALLS_FS || profile == JAIL_SYSCALLS_NET ||
	       profile == JAIL_SYSCALLS_LINK;
}

int
jail_seccomp_load(enum jail_syscalls profile, bool no_fork, struct err *e)
{
	bool allow = is_allow_list(profile);
	uint32_t otherwise = allow ? REFUSED : SCMP_ACT_ALLOW;
	CLEANUP(release_rules)
	struct rules r = {.ctx = seccomp_init(otherwise), .otherwise = otherwise};

	if (r.ctx == NULL)
		return err_set(e, ENOMEM, "libseccomp");
	if (allow)
		build_allow(&r, profile);
	else
		build_deny(&r, profile, no_fork);
	seccomp_attr_set(r.ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* A binary tree instead of one comparison after the other; old versions do without. */
	seccomp_attr_set(r.ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r.error == 0)
		r.error = seccomp_load(r.ctx);
	if (r.error < 0)
		return err_sys(e, -r.error, "seccomp");
	return 0;
}
