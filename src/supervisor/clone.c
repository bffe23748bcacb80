/*
 * How this works: a sandbox whose folder holds no disk has never run. Its machine is a clone of one
 * that has booted already, and waits to be told who it is: the snapshot of its shape, which, where
 * there is none, is made first (role_snapshot.c, a process of its own). The clone's disk is a copy
 * of the snapshot's. From then on the sandbox has a disk, and starts from it.
 *
 * Where none can be made, the machine boots from an empty disk. A clone that does not come up says
 * so: the snapshot is thrown away, the disk as well (nothing of the user's has run on it), and the
 * sandbox starts once more, by its starter's hand, as one that has never run.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>

#include <supervisor/supervisor.h>

#include "qemu.h"
#include "save.h"

struct vmm_machine
sup_machine_plan(const struct sup *s)
{
	return (struct vmm_machine){.accel = s->accel,
		.cpus = s->sandbox.cpus,
		.memory_bytes = s->sandbox.memory_bytes,
		.tsc_khz = s->tsc_khz,
		.mac = JAIL_GUEST_MAC,
		.layer = s->image.layer != NULL,
		.debug = log_get_level() == LOG_DEBUG};
}

sup_tsc_measure *
sup_tsc_rate(const struct sup *s)
{
	return s->accel == VMM_ACCEL_TCG ? vmm_tsc_khz : NULL;
}

static int
key_of(const struct sup *s, const struct vmm_machine *machine, struct buf *out, struct err *e)
{
	struct vmm_host host = {0};
	int r = vmm_host_find(&host, e);

	if (r == 0) {
		struct snapshot_shape shape = {.image = &s->image,
			.qemu = host.qemu,
			.machine = *machine,
			.disk_bytes = s->sandbox.disk_bytes};

		r = snapshot_key(&shape, out, e);
	}
	vmm_host_release(&host);
	return r;
}

int
sup_snapshot_key(const struct sup *s, struct buf *out, struct err *e)
{
	struct vmm_machine m = sup_machine_plan(s);

	return key_of(s, &m, out, e);
}

/* It has started already: how talkative its kernel was told to be is of no account. */
int
sup_saved_key(const struct sup *s, struct buf *out, struct err *e)
{
	struct vmm_machine m = sup_machine_plan(s);

	m.debug = false;
	return key_of(s, &m, out, e);
}

static int
make_disk(struct sup *s, const char *path, struct err *e)
{
	bool layer = s->image.layer != NULL;

	if (s->snapshot.id != NULL)
		return io_copy_file(s->snapshot.disk, path, e);
	return vmm_disk_create(path, layer ? s->image.layer : s->image.disk,
		layer ? VMM_QCOW2 : VMM_RAW, s->sandbox.disk_bytes, e);
}

/* Where it cannot be loaded for want of something here, nothing is wrong with the snapshot. */
static void
leave_where_useless(struct sup *s)
{
	CLEAN_FREE char *preload = NULL;
	struct err e = {0};

	if (s->snapshot.id == NULL ||
		!vmm_needs_preload(s->snapshot.qemu_major, s->snapshot.qemu_minor))
		return;
	preload = supervisor_beside(QEMU_PRELOAD, &e);
	if (preload != NULL)
		return;
	sup_note(s, "the machine cannot be a clone, it boots cold: %s", e.msg);
	snapshot_release(&s->snapshot);
}

/* 1: a process makes one, and sup_snapshot_made goes on. 0: there is none to be had. */
static int
begin_making(struct sup *s, const char *key)
{
	CLEAN_FREE char *why = NULL;
	char id[SNAPSHOT_ID_SIZE];
	struct err e = {0};

	snapshot_id(key, id);
	if (s->snapshot_tried)
		return 0;
	s->snapshot_tried = true;
	if (snapshot_is_failed(s->paths.data, id, &why)) {
		log_debug("no snapshot is made: %s", why);
		return 0;
	}
	sup_progress(s, "booting a machine of this shape for the first time");
	if (sup_spawn_snapshot(s, &e) == 0)
		return 1;
	log_warn("%s", e.msg);
	return 0;
}

static int
start_machine(struct sup *s, struct err *e)
{
	int r;

	sup_progress(s, s->wake.len > 0          ? "waking the machine"
			: s->snapshot.id != NULL ? "starting the machine"
						 : "booting the machine");

	/* A clone's kernel has been told; its plan holds none. */
	s->tsc_khz = s->snapshot.id != NULL ? s->snapshot.tsc_khz : 0;
	if (s->accel == VMM_ACCEL_TCG && s->tsc_khz == 0)
		s->tsc_khz = vmm_tsc_khz();
	r = sup_machine_start(s, e);
	if (r >= 0)
		sup_watch_machine(s);
	return r < 0 ? r : 0;
}

int
sup_start_machine(struct sup *s, struct err *e)
{
	CLEAN_FREE char *disk = state_sandbox_file(&s->paths, s->sandbox.name, "disk.qcow2");
	CLEAN_BUF struct buf key = BUF_INIT;
	int r;

	if (access(disk, F_OK) == 0) {
		r = sup_resume_find(s, e);
		return r < 0 ? r : start_machine(s, e);
	}
	r = sup_snapshot_key(s, &key, e);
	if (r < 0)
		return r;
	if (snapshot_open(s->paths.data, buf_str(&key), sup_tsc_rate(s), &s->snapshot, NULL) < 0 &&
		begin_making(s, buf_str(&key)) > 0)
		return 0;
	leave_where_useless(s);
	r = make_disk(s, disk, e);
	if (r == 0)
		r = start_machine(s, e);
	/* As long as nothing has run on it, the sandbox is still a new one. */
	if (r < 0 && s->child[CHILD_QEMU].role == NULL)
		unlink(disk);
	return r;
}

void
sup_snapshot_made(struct sup *s, int code)
{
	struct err e = {0};

	if (code != 0) {
		CLEAN_FREE char *words = sup_last_words(s);

		sup_note(s, "no snapshot of this machine could be made, it boots cold: %s",
			words[0] != '\0' ? words : "see supervisor.log");
	}
	if (sup_start_machine(s, &e) < 0)
		sup_fail(s, "%s", e.msg);
}

void
sup_clone_failed(struct sup *s)
{
	CLEAN_FREE char *disk = state_sandbox_file(&s->paths, s->sandbox.name, "disk.qcow2");
	CLEAN_FREE char *id = xstrdup(s->snapshot.id);

	sup_note(s, "the snapshot of this machine is thrown away, it boots cold: %s", s->why);
	snapshot_release(&s->snapshot);
	snapshot_failed(s->paths.data, id, s->why);
	unlink(disk);
	s->restart = true;
}
