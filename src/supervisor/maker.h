#pragma once
/* A QEMU beside no role, which is there to be saved: role_snapshot.c. */
#include <sys/types.h>

#include <vmm/vmm.h>

#include "sup.h"

struct maker {
	struct sup *s; /* its record, image, shape and jail alone */
	char *folder;  /* of SNAPSHOT_RAM and SNAPSHOT_STATE */
	int link, fs, console;
	struct qmp *qmp;
	pid_t pid;
	int pidfd;
	bool booted; /* QEMU had started: what failed then will fail again */
};

#define MAKER_INIT(sup)                                                                            \
	{                                                                                          \
		.s = (sup), .link = -1, .fs = -1, .console = -1, .pidfd = -1                       \
	}

/* What the sandbox of this name is made of: its record, image and accelerator. */
int maker_load(struct sup *s, const char *name, struct err *e);
/* In m's folder; caller frees. */
char *maker_file(const struct maker *m, const char *name);
/* Makes the memory's file. */
int maker_memory(const struct maker *m, struct err *e);
/* In a jail of its own. */
int maker_start(
	struct maker *m, const struct vmm_machine *machine, const char *disk, struct err *e);
/* Writes SNAPSHOT_STATE; QEMU has ended in order then. */
int maker_save(struct maker *m, unsigned *ret_major, unsigned *ret_minor, struct err *e);
/* Also where it did not start. */
void maker_end(struct maker *m);
