#pragma once
/*
 * Why the kernel refused, in words: pure functions of an errno and of facts about the host, so that
 * a test can go through hosts that it does not have. Private to the room.
 */
#include <stdbool.h>
#include <sys/types.h>

#include <base/buf.h>
#include <base/err.h>

#define JAIL_UNKNOWN (-1L) /* the file is missing or unreadable */

struct jail_facts {
	bool privileged;      /* root: restrictions of ordinary users do not apply */
	bool container;       /* runs in a container */
	bool has_userns;      /* /proc/self/ns/user exists */
	long apparmor_userns; /* kernel.apparmor_restrict_unprivileged_userns, Ubuntu 23.10 and
				 later */
	long userns_clone;    /* kernel.unprivileged_userns_clone, Debian 10 and older */
	long max_user, max_net, max_ipc, max_uts, max_mnt; /* user.max_*_namespaces */
	int tun_errno;                                     /* from stat("/dev/net/tun") */
	mode_t tun_mode;
};

void jail_facts_read(struct jail_facts *ret);

/* A namespace, id map, mount or network operation failed with code; returns -code. */
int jail_explain(int code, const char *what, const struct jail_facts *f, struct err *e);
/* open("/dev/net/tun") failed with code; returns -code. */
int jail_explain_tun(int code, const struct jail_facts *f, struct err *e);

/* The identity map for every id that the text of /proc/self/[ug]id_map knows; 0 or -EINVAL. */
int jail_identity_map(const char *own_map, struct buf *out);
