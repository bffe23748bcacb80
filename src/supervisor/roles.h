#pragma once
/*
 * The roles as processes: what each is told (a sealed memfd of TLV records at descriptor 3) and
 * its main function. Descriptors 0 to 2 are /dev/null, /dev/null and the supervisor's log.
 */
#include <stdbool.h>
#include <sys/types.h>

#include <base/buf.h>
#include <base/err.h>
#include <base/str.h>
#include <state/state.h>

enum {
	ROLE_FD_CONFIG = 3,
	/* fs */
	ROLE_FD_FS_STREAM = 4,
	ROLE_FD_FS_JOURNAL = 5,
	ROLE_FD_FS_CHANGES = 6,
	/* link */
	ROLE_FD_LINK_LINE = 4,
	ROLE_FD_LINK_CONTROL = 5,
	/* net */
	ROLE_FD_NET_TCP = 4,
	ROLE_FD_NET_DNS = 5,
	ROLE_FD_NET_RESOLVER = 6,
	ROLE_FD_NET_CONTROL = 7,
	ROLE_FD_NET_EVENTS = 8,
	ROLE_FD_NET_SIGNER = 9,
	ROLE_FD_NET_UDP = 10,
	ROLE_FD_NET_REFUSED = 11,
	ROLE_FD_NET_FLOOD = 12,
	ROLE_FD_NET_RAW = 13,
	/* resolver */
	ROLE_FD_RESOLVER_SOCKET = 4,
	/* signer */
	ROLE_FD_SIGNER_SOCKET = 4,
	/* ssh */
	ROLE_FD_SSH_SESSION = 4,
	ROLE_FD_SSH_AGENT = 5,
	ROLE_FD_SSH_EVENTS = 6,
	/* log */
	ROLE_FD_LOG_EVENTS = 4,
};

#define ROLE_CONFIG_MAX (16U << 20) /* most of it certificates and a policy */
#define ROLE_TRUST_MAX  (8U << 20)

struct role_config {
	bool debug;
	bool host_is_root;
	uid_t guest_uid; /* fs */
	gid_t guest_gid;
	struct workspace *workspaces; /* fs; owned */
	size_t nworkspaces;
	struct strv shadows; /* fs */
	bool allow_hooks;    /* fs */
	bool copied;         /* fs: fs_options */
	struct strv resolve; /* net: HOST:PORT:ADDRESS[:PORT] */
	char *policy;        /* net: policy_encode's lines; owned */
	char *trust;         /* net: PEM of those whom it believes who a server is; owned */
	char *authority;     /* signer: ca_new's text; owned */
	char *ssh_hosts;     /* ssh: sshagent_hosts_parse's lines; owned */
	char *log_folder;    /* log: owned */
	char *name;          /* net: of the sandbox, for what it says to people; owned */
	struct buf wake;     /* link: LINE_WAKE bytes, or none (wire/line.h) */
};

void role_config_release(struct role_config *c);
void role_config_encode(const struct role_config *c, struct buf *out);
int role_config_decode(const void *p, size_t n, struct role_config *ret); /* 0 or -EBADMSG */

struct role {
	const char *name;
	int (*main)(const struct role_config *c, struct err *e);
	size_t heap; /* what it takes to start, where that is much: see mem_prefault */
};
/* The one of this name among n: the process is it from here on. Exit code. */
int role_start(const struct role *roles, size_t n, const char *name);

int role_fs_main(const struct role_config *c, struct err *e);
int role_net_main(const struct role_config *c, struct err *e);
int role_link_main(const struct role_config *c, struct err *e);
int role_resolver_main(const struct role_config *c, struct err *e);
int role_signer_main(const struct role_config *c, struct err *e);
int role_ssh_main(const struct role_config *c, struct err *e);
int role_log_main(const struct role_config *c, struct err *e);
