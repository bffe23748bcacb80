#pragma once
/* Starts QEMU in a jail: for a sandbox (machine.c), for a snapshot (role_snapshot.c). */
#include <sys/types.h>

#include <base/err.h>
#include <image/image.h>
#include <jail/jail.h>
#include <vmm/vmm.h>

struct qemu_start {
	const struct jail *jail;
	const struct image *image;
	struct vmm_machine machine;      /* its descriptors are set here */
	const char *disk;                /* the host's path of the overlay */
	const char *ram;                 /* of the memory file; NULL: it has none */
	int tap, link, fs, console, qmp; /* QEMU's ends */
	int state;                       /* a clone's saved devices; -1 */
	int log, lock;                   /* its standard error; what it holds as long as it lives */
};

/* Beside the program: see vmm_needs_preload. */
#define QEMU_PRELOAD "paddock-qemu.so"

/* pid and pidfd are the caller's. It dies with the caller. */
int qemu_start(const struct qemu_start *q, pid_t *ret_pid, int *ret_pidfd, struct err *e);

/*
 * A process that the guest may take over finds none of the user's variables (tokens, keys) in its
 * memory: only what the resolver's library (resolv.conf(5)) and the sanitizers of a test build
 * read.
 */
void own_environment(struct strv *ret);
