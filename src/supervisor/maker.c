#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/mem.h>
#include <base/proc.h>
#include <supervisor/supervisor.h>

#include "maker.h"
#include "qemu.h"

#define HELLO_LIMIT_MS 20000
#define SAVE_LIMIT_MS  30000
#define END_LIMIT_MS   10000

int
maker_load(struct sup *s, const char *name, struct err *e)
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

char *
maker_file(const struct maker *m, const char *name)
{
	return xasprintf("%s/%s", m->folder, name);
}

int
maker_memory(const struct maker *m, struct err *e)
{
	CLEAN_FREE char *ram = maker_file(m, SNAPSHOT_RAM);
	CLEAN_CLOSE int fd = open(ram, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)m->s->sandbox.memory_bytes) < 0)
		return err_sys(e, errno, "create '%s'", ram);
	return 0;
}

enum { LINK, FS, CONSOLE, QMP, CABLES };
enum { OURS, THEIRS };

static void
close_theirs(int pairs[CABLES][2])
{
	for (size_t i = 0; i < CABLES; i++)
		if (pairs[i][THEIRS] >= 0)
			close(pairs[i][THEIRS]);
}

static int
open_cables(struct maker *m, int pairs[CABLES][2], struct err *e)
{
	for (size_t i = 0; i < CABLES; i++)
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]) < 0)
			return err_sys(e, errno, "socketpair");
	m->link = pairs[LINK][OURS];
	m->fs = pairs[FS][OURS];
	m->console = pairs[CONSOLE][OURS];
	m->qmp = qmp_new(pairs[QMP][OURS]);
	return 0;
}

int
maker_start(struct maker *m, const struct vmm_machine *machine, const char *disk, struct err *e)
{
	CLEAN_FREE char *ram = maker_file(m, SNAPSHOT_RAM);
	int pairs[CABLES][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
	struct qemu_start q = {.jail = &m->s->jail,
		.image = &m->s->image,
		.machine = *machine,
		.disk = disk,
		.ram = ram,
		.state = -1,
		.log = STDERR_FILENO,
		.lock = -1};
	/* First: the jail's descriptors must be above those that QEMU will have (proc_spec). */
	int r = open_cables(m, pairs, e);

	if (r == 0)
		r = jail_create(&m->s->jail, e);
	if (r == 0)
		r = jail_net_setup(&m->s->jail, &m->s->jail_net, e);
	if (r == 0) {
		q.tap = m->s->jail_net.tap_fd;
		q.link = pairs[LINK][THEIRS];
		q.fs = pairs[FS][THEIRS];
		q.console = pairs[CONSOLE][THEIRS];
		q.qmp = pairs[QMP][THEIRS];
		r = qemu_start(&q, &m->pid, &m->pidfd, e);
		m->booted = r == 0;
		if (r < 0)
			err_prefix(e, "qemu");
	}
	close_theirs(pairs);
	return r == 0 ? qmp_hello(m->qmp, deadline_in_ms(HELLO_LIMIT_MS), e) : r;
}

int
maker_save(struct maker *m, unsigned *ret_major, unsigned *ret_minor, struct err *e)
{
	CLEAN_FREE char *path = maker_file(m, SNAPSHOT_STATE);
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint64_t deadline = deadline_in_ms(SAVE_LIMIT_MS);
	int r = fd < 0 ? err_sys(e, errno, "create '%s'", path) : 0;

	if (r == 0)
		r = qmp_save(m->qmp, fd, deadline, e);
	if (r == 0)
		r = qmp_command(m->qmp, "quit", NULL, deadline, e);
	/* Its disk is closed when it has ended. */
	if (r == 0 && proc_wait(m->pid, m->pidfd, deadline_in_ms(END_LIMIT_MS)) != 0)
		r = err_set(e, EIO, "QEMU did not end in order");
	else if (r == 0)
		m->pid = 0;
	qmp_version(m->qmp, ret_major, ret_minor);
	return r;
}

void
maker_end(struct maker *m)
{
	int fds[] = {m->link, m->fs, m->console};

	if (m->pid > 0)
		proc_stop(m->pid, m->pidfd, 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (m->qmp != NULL)
		qmp_free(m->qmp);
}
