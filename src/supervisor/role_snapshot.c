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

#include "qemu.h"
#include "sup.h"
#include "sup_main.h"

#define LOCK_LIMIT_MS     180000
#define BOOT_LIMIT_TCG_MS 180000
#define BOOT_LIMIT_KVM_MS 60000
#define SAVE_LIMIT_MS     30000
#define END_LIMIT_MS      10000
#define CONSOLE_MAX       65536
/* What a booted machine has touched, four times over: a file system that is full ends QEMU. */
#define SPACE_MIN (512ull << 20)

struct maker {
	struct sup *s; /* its record, image, shape and jail alone */
	char *folder;
	int link[2], fs[2], console[2], qmp[2];
	pid_t pid;
	int pidfd;
	bool booted; /* QEMU had started: what failed then will fail again */
};

enum { OURS, THEIRS };

static int
open_cables(struct maker *m, struct err *e)
{
	int *pairs[] = {m->link, m->fs, m->console, m->qmp};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]) < 0)
			return err_sys(e, errno, "socketpair");
	return 0;
}

static char *
file_of(const struct maker *m, const char *name)
{
	return xasprintf("%s/%s", m->folder, name);
}

static int
make_files(const struct maker *m, struct err *e)
{
	CLEAN_FREE char *ram = file_of(m, SNAPSHOT_RAM), *disk = file_of(m, SNAPSHOT_DISK);
	CLEAN_CLOSE int fd = open(ram, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	const struct image *i = &m->s->image;

	struct statvfs fs;

	if (statvfs(m->folder, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < SPACE_MIN)
		return err_set(e, ENOSPC, "less than %llu MiB are free for it", SPACE_MIN >> 20);
	if (fd < 0 || ftruncate(fd, (off_t)m->s->sandbox.memory_bytes) < 0)
		return err_sys(e, errno, "create '%s'", ram);
	return vmm_disk_create(disk, i->layer != NULL ? i->layer : i->disk,
		i->layer != NULL ? VMM_QCOW2 : VMM_RAW, m->s->sandbox.disk_bytes, e);
}

static int
start_qemu(struct maker *m, struct err *e)
{
	CLEAN_FREE char *ram = file_of(m, SNAPSHOT_RAM), *disk = file_of(m, SNAPSHOT_DISK);
	CLEAN_FREE char *network = xasprintf("%s/%d,%s", JAIL_GUEST, JAIL_PREFIX, JAIL_GATEWAY);
	struct qemu_start q = {.jail = &m->s->jail,
		.image = &m->s->image,
		.machine = sup_machine_plan(m->s),
		.disk = disk,
		.ram = ram,
		.tap = m->s->jail_net.tap_fd,
		.link = m->link[THEIRS],
		.fs = m->fs[THEIRS],
		.console = m->console[THEIRS],
		.qmp = m->qmp[THEIRS],
		.state = -1,
		.log = STDERR_FILENO,
		.lock = -1};
	int r;

	q.machine.memory = VMM_MEMORY_FILE;
	q.machine.network = network;
	r = qemu_start(&q, &m->pid, &m->pidfd, e);
	for (int *p[] = {m->link, m->fs, m->console, m->qmp}, i = 0; i < 4; i++) {
		close(p[i][THEIRS]);
		p[i][THEIRS] = -1;
	}
	return r < 0 ? err_prefix(e, "qemu") : 0;
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
		struct pollfd p = {.fd = m->console[OURS], .events = POLLIN};
		int r = poll(&p, 1, deadline_left_ms(deadline));

		if (r < 0 && errno != EINTR)
			return err_sys(e, errno, "poll");
		if (r == 0)
			return boot_failed(&b, "the machine did not come up in time", e);
		if (b.len > CONSOLE_MAX)
			buf_consume(&b, b.len / 2);
		if (r > 0 && buf_read_fd(&b, m->console[OURS], 4096) <= 0)
			return boot_failed(&b, "the machine ended while it booted", e);
	}
	return 0;
}

static int
save(struct maker *m, struct snapshot *ret, struct err *e)
{
	CLEAN_FREE char *path = file_of(m, SNAPSHOT_STATE);
	CLEAN_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct qmp *q = qmp_new(TAKE_FD(m->qmp[OURS]));
	uint64_t deadline = deadline_in_ms(SAVE_LIMIT_MS);
	int r = fd < 0 ? err_sys(e, errno, "create '%s'", path) : 0;

	if (r == 0)
		r = qmp_hello(q, deadline, e);
	if (r == 0)
		r = qmp_save(q, fd, deadline, e);
	if (r == 0)
		r = qmp_command(q, "quit", NULL, deadline, e);
	/* Its disk is closed when it has ended. */
	if (r == 0 && proc_wait(m->pid, m->pidfd, deadline_in_ms(END_LIMIT_MS)) != 0)
		r = err_set(e, EIO, "QEMU did not end in order");
	else if (r == 0)
		m->pid = 0;
	qmp_version(q, &ret->qemu_major, &ret->qemu_minor);
	qmp_free(q);
	return r;
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
		r = open_cables(m, e);
	if (r == 0)
		r = jail_create(&m->s->jail, e);
	if (r == 0)
		r = jail_net_setup(&m->s->jail, &m->s->jail_net, e);
	if (r == 0)
		r = start_qemu(m, e);
	m->booted = r == 0;
	if (r == 0)
		r = await_guest(m, e);
	if (r == 0)
		r = save(m, &n, e);
	if (m->pid > 0)
		proc_stop(m->pid, m->pidfd, 0);
	return r == 0 ? snapshot_publish(m->s->paths.data, m->folder, &n, e) : r;
}

static int
make_locked(struct sup *s, const char *key, struct err *e)
{
	struct maker m = {.s = s,
		.link = {-1, -1},
		.fs = {-1, -1},
		.console = {-1, -1},
		.qmp = {-1, -1},
		.pidfd = -1};
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

static int
load(struct sup *s, const char *name, struct err *e)
{
	CLEAN_FREE char *guest = supervisor_guest_binary(e), *note = NULL;
	enum vmm_accel want;
	int r = guest == NULL ? -ENOENT : state_paths_init(&s->paths, e);

	if (r == 0)
		r = sandbox_load(&s->paths, name, &s->sandbox, e);
	if (r == 0)
		r = vmm_accel_parse(s->sandbox.accel, &want);
	if (r == 0)
		r = vmm_accel_choose(want, &s->accel, &note, e);
	if (r == 0)
		r = image_open(s->paths.data, s->sandbox.image, guest, &s->image, e);
	if (r == 0 && s->accel == VMM_ACCEL_TCG)
		s->tsc_khz = vmm_tsc_khz();
	return r;
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
	r = load(&s, argv[2], &e);
	if (r == 0)
		r = make(&s, &e);
	if (r < 0)
		log_warn("%s", e.msg);
	return r < 0 ? 1 : 0;
}
