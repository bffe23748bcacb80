#pragma once
/*
 * The jail: the namespaces of one sandbox and the confinement of the roles in them. The same code
 * as root and as an ordinary user. See user_namespaces(7), mount_namespaces(7), pivot_root(2).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/err.h>

/* Descriptors of the sandbox's namespaces; they live as long as these or a process in them. */
struct jail {
	int user_ns, net_ns, ipc_ns, uts_ns;
};

#define JAIL_INIT                                                                                  \
	{                                                                                          \
		-1, -1, -1, -1                                                                     \
	}

/*
 * Makes the user, network, IPC and UTS namespaces. As root the user namespace maps every id to
 * itself (so that files of other users stay reachable in workspaces); as an ordinary user it maps
 * the caller's uid and gid to themselves, so that a file looks the same inside and outside (never
 * to 0: a uid of 0 would regain capabilities at each exec). The host's name does not show in the
 * UTS namespace. Blocks for some milliseconds, 10 s at most. Errors name the cause and the next
 * step (no user namespaces; Ubuntu's kernel.apparmor_restrict_unprivileged_userns; the limit
 * user.max_user_namespaces).
 */
int jail_create(struct jail *ret, struct err *e);
void jail_release(struct jail *j);

/*
 * In a child before exec: enters the user namespace and those of net, ipc and uts asked for. The
 * capabilities that this gives (in the jail's user namespace only) are made ambient, so that the
 * program executed next still has them for jail_confine, whatever its uid (capabilities(7)).
 */
enum { JAIL_NET = 1, JAIL_IPC = 2, JAIL_UTS = 4, JAIL_ALL = 7 };
int jail_enter(const struct jail *j, unsigned which, struct err *e);

/*
 * The network inside: one TAP, addresses, the nftables ruleset, the net role's sockets. The three
 * of NFLOG (linux/netfilter/nfnetlink_log.h) are read only: each message holds a packet of the
 * guest's that the kernel has dropped or refused. What finds no room in one is missing from its
 * numbers (NFULA_SEQ). None costs the others room.
 */
#define JAIL_GATEWAY     "198.18.0.1"
#define JAIL_GUEST       "198.18.0.2"
#define JAIL_PREFIX      30
#define JAIL_GATEWAY_MAC "02:70:61:64:64:01"
#define JAIL_GUEST_MAC   "02:70:61:64:64:02" /* frames with another source are dropped */
#define JAIL_TCP_PORT    3129                /* every TCP connection is redirected here */
#define JAIL_DNS_PORT    53                  /* UDP port 53 to anywhere is redirected here */
struct jail_net {
	int tap_fd;     /* IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, for QEMU */
	int tcp_fd;     /* non-blocking listener for net */
	int dns_fd;     /* non-blocking UDP socket for net */
	int udp_fd;     /* NFLOG: UDP to an open port, whole; it is net's to carry or to refuse */
	int refused_fd; /* NFLOG: the beginnings of what was refused, few a second of one kind */
	int flood_fd;   /* NFLOG: the beginnings of the rest of it */
	int raw_fd;     /* IPPROTO_RAW (raw(7)): packets for the guest, from anybody */
};
#define JAIL_NET_INIT                                                                              \
	{                                                                                          \
		-1, -1, -1, -1, -1, -1, -1                                                         \
	}
/* The ruleset as nft(8) text, for the plan test and for execution by libnftables. */
void jail_net_ruleset(struct buf *out);
/* Blocks for some milliseconds, 20 s at most. The descriptors are close-on-exec and the caller's.
 */
int jail_net_setup(const struct jail *j, struct jail_net *ret, struct err *e);
/*
 * From now on these UDP ports are open, and no others: what the guest sends there comes to udp_fd
 * instead of being refused by the kernel. Blocks for some milliseconds, 5 s at most.
 */
int jail_net_open_udp(const struct jail *j, const uint16_t *ports, size_t n, struct err *e);

/*
 * Confinement of a role: a plan that can be printed, then executed in the role's own process once
 * it needs nothing more from the host. After jail_confine the process sees only the tree, holds no
 * capability (unless kept), cannot gain any, and its system calls are filtered.
 */
enum jail_mount_kind {
	JAIL_BIND,    /* source, a folder or a file, with everything mounted below it (recursive) */
	JAIL_TMPFS,   /* an empty, read-only tmpfs folder; hides what was there */
	JAIL_SYMLINK, /* source is the link's text */
};

struct jail_mount {
	enum jail_mount_kind kind;
	char *source;
	char *target; /* absolute, in the new tree; parents are made */
	bool read_only;
	bool exec; /* else MS_NOEXEC; every mount is MS_NOSUID and MS_NODEV (unless dev) */
	bool dev;
	/*
	 * The source was resolved (realpath) when the user named it: a symlink anywhere in it now
	 * means that somebody, perhaps a guest in a workspace around it, has swapped it. Refused.
	 */
	bool resolved;
};

/*
 * FS, NET and LINK are lists of what is allowed; anything else ends the process (SIGSYS). ALL and
 * QEMU (which has its own -sandbox) forbid with EPERM what reaches beyond the process: signals to
 * others, ptrace, namespaces, mounts, bpf, keys, io_uring.
 */
enum jail_syscalls {
	JAIL_SYSCALLS_ALL,
	JAIL_SYSCALLS_FS,
	JAIL_SYSCALLS_NET,
	JAIL_SYSCALLS_LINK,
	JAIL_SYSCALLS_QEMU,
};

struct jail_confine {
	struct jail_mount *mounts; /* in order; a tree of none is an empty folder */
	size_t nmounts;
	bool new_net;    /* an empty network namespace of its own */
	bool keep_dac;   /* keep CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN (fs as root) */
	bool no_fork;    /* seccomp forbids fork and exec (threads stay); FS, NET, LINK always do */
	uint64_t nofile; /* RLIMIT_NOFILE soft limit, 0: leave; capped at the hard limit */
	enum jail_syscalls syscalls;
};

/* Strings are copied. Returned entry: to set exec, dev, resolved; valid until the next call. */
struct jail_mount *jail_confine_add(struct jail_confine *c, enum jail_mount_kind kind,
	const char *source, const char *target, bool read_only);
void jail_confine_release(struct jail_confine *c);
void jail_confine_print(const struct jail_confine *c, struct buf *out);
/*
 * Executes the plan in the calling process (which is in the jail's user namespace, single-threaded,
 * and has CAP_SYS_ADMIN there). Afterwards the root and working folder are the tree's root, which
 * is read-only. Targets are never followed through a symlink; below a bind they must exist. Needs
 * Linux 5.12 (mount_setattr). After an error the process is half-way and has to end.
 */
int jail_confine(const struct jail_confine *c, struct err *e);
