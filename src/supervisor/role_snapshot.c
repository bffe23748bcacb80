/*
 * How this works: a machine of a sandbox's shape is booted in a jail of its own, with a fresh disk,
 * and told nothing: nobody speaks on its link, and no role runs beside it. Once it has everything
 * ready that needs no identity, it says so on its console (guest's wait.c); then QEMU writes its
 * devices down and ends, and the folder becomes a snapshot. A process of its own, one straight
 * line, that may be killed at any point: what it has made has no name until it is whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/proc.h>
#include <supervisor/supervisor.h>
#include <wire/line.h>

#include "maker.h"
#include "sup.h"
#include "sup_main.h"

#define LOCK_LIMIT_MS     180000
#define BOOT_LIMIT_TCG_MS 180000
#define BOOT_LIMIT_KVM_MS 60000
#define CONSOLE_MAX       65536
/* What a booted machine has touched, four times over: a file system that is full ends QEMU. */
#define SPACE_MIN (512ull << 20)

static int
make_files(const struct maker *m, struct err *e)
{
	CLEAN_FREE char *disk = maker_file(m, SNAPSHOT_DISK);
	const struct image *i = &m->s->image;
	struct statvfs fs;
	int r;

	if (statvfs(m->folder, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < SPACE_MIN)
		return err_set(e, ENOSPC, "less than %llu MiB are free for it", SPACE_MIN >> 20);
	r = maker_memory(m, e);
	if (r < 0)
		return r;
	return vmm_disk_create(disk, i->layer != NULL ? i->layer : i->disk,
		i->layer != NULL ? VMM_QCOW2 : VMM_RAW, m->s->sandbox.disk_bytes, e);
}

/* The console's last line is the cause, mostly. */
static int
boot_failed(const struct buf *console, const char *what, struct err *e)
{
	const char *text = (const char *)console->data, *at;
	size_t n = console->len;
	char shown[160];

	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		n--;
	at = n > 0 ? memrchr(text, '\n', n) : NULL;
	at = at != NULL ? at + 1 : text;
	str_escape(n > 0 ? at : "", n > 0 ? (size_t)(text + n - at) : 0, shown, sizeof(shown));
	return err_set(e, EIO, "%s: %s", what, shown);
}

static int
await_guest(const struct maker *m, struct err *e)
{
	uint64_t deadline = deadline_in_ms(
		m->s->accel == VMM_ACCEL_KVM ? BOOT_LIMIT_KVM_MS : BOOT_LIMIT_TCG_MS);
	CLEAN_BUF struct buf b = BUF_INIT;

	while (strstr(buf_str(&b), LINE_WAITING) == NULL) {
		struct pollfd p = {.fd = m->console, .events = POLLIN};
		int r = poll(&p, 1, deadline_left_ms(deadline));

		if (r < 0 && errno != EINTR)
			return err_sys(e, errno, "poll");
		if (r == 0)
			return boot_failed(&b, "the machine did not come up in time", e);
		if (b.len > CONSOLE_MAX)
			buf_consume(&b, b.len / 2);
		if (r > 0 && buf_read_fd(&b, m->console, 4096) <= 0)
			return boot_failed(&b, "the machine ended while it booted", e);
	}
	return 0;
}

static int
start(struct maker *m, struct err *e)
{
	CLEAN_FREE char *disk = maker_file(m, SNAPSHOT_DISK);
	CLEAN_FREE char *network = xasprintf("%s/%d,%s", JAIL_GUEST, JAIL_PREFIX, JAIL_GATEWAY);
	struct vmm_machine machine = sup_machine_plan(m->s);

	machine.memory = VMM_MEMORY_FILE;
	machine.network = network;
	return maker_start(m, &machine, disk, e);
}

static int
boot_and_save(struct maker *m, const char *key, struct err *e)
{
	CLEAN_FREE char *boot = snapshot_boot_id(e);
	struct snapshot n = {.image = m->s->image.id,
		.boot_id = boot,
		.key = (char *)key,
		.tsc_khz = m->s->tsc_khz,
		.created = (int64_t)(clock_real_ns() / 1000000000),
		.lock = -1};
	int r = boot == NULL ? -ENOENT : make_files(m, e);

	if (r == 0)
		r = start(m, e);
	if (r == 0)
		r = await_guest(m, e);
	if (r == 0)
		r = maker_save(m, &n.qemu_major, &n.qemu_minor, e);
	maker_end(m);
	return r == 0 ? snapshot_publish(m->s->paths.data, m->folder, &n, e) : r;
}

static int
make_locked(struct sup *s, const char *key, struct err *e)
{
	struct maker m = MAKER_INIT(s);
	CLEAN_CLOSE int work = snapshot_begin(s->paths.data, &m.folder, e);
	char id[SNAPSHOT_ID_SIZE];
	int r = work < 0 ? work : boot_and_save(&m, key, e);

	if (r < 0 && work >= 0)
		io_remove_tree(AT_FDCWD, m.folder, NULL);
	if (r < 0 && m.booted) {
		snapshot_id(key, id);
		snapshot_failed(s->paths.data, id, e->msg);
	}
	free(m.folder);
	return r;
}

static int
make(struct sup *s, struct err *e)
{
	CLEANUP(snapshot_release) struct snapshot have = SNAPSHOT_INIT;
	CLEAN_BUF struct buf key = BUF_INIT;
	CLEAN_CLOSE int lock = -1;
	int r = sup_snapshot_key(s, &key, e);

	if (r == 0)
		r = lock = snapshot_lock(s->paths.data, LOCK_LIMIT_MS, e);
	if (r < 0)
		return r;
	/* Whom we waited for may have made it. */
	if (snapshot_open(s->paths.data, buf_str(&key), sup_tsc_rate(s), &have, NULL) == 0)
		return 0;
	return make_locked(s, buf_str(&key), e);
}

int
snapshot_main(int argc, char **argv)
{
	static struct sup s = {.jail = JAIL_INIT, .jail_net = {-1, -1, -1}, .lock_fd = -1};
	struct err e = {0};
	int r;

	if (argc < 3 || sandbox_name_check(argv[2], NULL) < 0)
		return 2;
	log_init("snapshot", argc > 3 && strcmp(argv[3], "--debug") == 0 ? LOG_DEBUG : LOG_WARN);
	prctl(PR_SET_NAME, "snapshot");
	r = maker_load(&s, argv[2], &e);
	if (r == 0)
		r = make(&s, &e);
	if (r < 0)
		log_warn("%s", e.msg);
	return r < 0 ? 1 : 0;
}
