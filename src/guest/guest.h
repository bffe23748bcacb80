#pragma once
/* The guest's whole state and the seams between its files. */
#include <base/err.h>
#include <wire/identity.h>
#include <wire/session.h>

#include "loop.h"
#include "netcfg.h"

struct pump;

struct guest {
	struct loop *loop;
	struct identity identity; /* zero until told */
	bool has_identity;
	bool shutting_down;
	struct sessions *sessions;     /* of guest_server_start */
	struct docker *docker;         /* of guest_docker_listen; NULL: the image has none */
	struct devices *devices;       /* of guest_boot */
	int link_fd, fs_fd;            /* the two virtio-serial ports, of guest_boot */
	struct workspaces *workspaces; /* of workspaces_prepare */
	struct netcfg network;         /* what it has; zero: nothing yet */
	bool frozen;                   /* guest_freeze */
	struct strv frozen_groups;
	int warmup_fd; /* of warmup_prepare; -1: nothing waits */
};

/* boot.c: as PID 1 in the initramfs: modules, root file system, switch to it, basic mounts. */
int guest_boot(struct guest *g, struct err *e);
/* wait.c: where this boot is for a snapshot: makes everything ready that can be, and says so. */
int guest_wait(struct guest *g, struct err *e);
/* identity.c: applies it: clock, entropy, host name, network, users, certificates, git, mounts. */
int guest_identity_apply(
	struct guest *g, struct identity *i, struct err *e); /* takes *i's content */
/* The control group of programs that stand still; there from the boot on. */
#define GUEST_FROZEN "paddock-frozen"
/* freeze.c: no program but this one runs any more. Where that fails, they do. */
int guest_freeze(struct guest *g, struct err *e);
void guest_freeze_one(const struct guest *g, pid_t pid); /* made meanwhile */
/* Until none of them is on a processor. Blocks, for a moment; for a child process. */
void guest_freeze_settle(const struct guest *g);
void guest_thaw(struct guest *g);
/* shutdown.c: ends every process but this one, by force. False: not within two seconds. */
bool guest_kill_all(void);
/* Ends every process in its own way, syncs, unmounts, powers off. Does not return. */
void guest_power_off(struct guest *g);
/* docker.c: listens on /run/docker.sock, starts dockerd at the first connection. */
int guest_docker_listen(struct guest *g, struct err *e);
/* Ends dockerd and with it the containers; waits at most limit_ms. */
void guest_docker_stop(struct guest *g, uint64_t limit_ms);
/*
 * pump.c: mounts the workspaces' FUSE file system at mountpoint; its threads live until power-off.
 * Whoever asks the file system for something waits until it is told to go, and from then on the
 * port is read and written.
 */
int guest_pump_start(int port_fd, const char *mountpoint, struct pump **ret, struct err *e);
void guest_pump_go(struct pump *p);
/* session.c: sessions, on the link's HTTP/2 server (server.c), on the port (the caller's). */
int guest_server_start(struct guest *g, int port_fd, struct err *e);
/* base environment of every session, users and groups: users.c */
struct guest_user {
	uint32_t uid, gid;
	uint32_t groups[64];
	size_t ngroups;
	char name[64], home[256], shell[256];
};
/* spec: "name|uid[:group|gid]", NULL: the agent. Reads /etc/passwd and /etc/group of the image. */
int guest_user_find(const struct guest *g, const char *spec, struct guest_user *ret, struct err *e);
void guest_base_env(const struct guest *g, const struct guest_user *u, struct strv *ret);
