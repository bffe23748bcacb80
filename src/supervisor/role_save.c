/*
 * How this works: a running machine's memory is its QEMU's own, or private pages over a snapshot's
 * file, and neither can be saved as a file that others map. So the machine, stopped, is handed to a
 * second QEMU, which never runs it: its memory is a shared file, its disk is none. From there it is
 * saved as a snapshot is (role_snapshot.c). A process of its own, one straight line, that may be
 * killed at any point: what it has made counts only once saved.json is beside it (save.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <snapshot/saved.h>

#include "maker.h"
#include "qemu.h"
#include "sup_main.h"

#define STREAM_FD     3
#define TAKE_LIMIT_MS 300000
/* Beyond what the memory may need. */
#define SPACE_SPARE (64ull << 20)

static int
check_space(const struct maker *m, struct err *e)
{
	struct statvfs fs;

	if (statvfs(m->folder, &fs) < 0)
		return err_sys(e, errno, "'%s'", m->folder);
	/* A file system that filled up in the midst would end QEMU with a signal. */
	if ((uint64_t)fs.f_bavail * fs.f_frsize < m->s->sandbox.memory_bytes + SPACE_SPARE)
		return err_set(e, ENOSPC,
			"there is no room for its memory on the disk (%llu MiB are needed)",
			(unsigned long long)((m->s->sandbox.memory_bytes + SPACE_SPARE) >> 20));
	return 0;
}

/* On the disk before anybody relies on it. */
static int
settle(const struct maker *m, const char *name, struct err *e)
{
	CLEAN_FREE char *path = maker_file(m, name);
	CLEAN_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fchmod(fd, 0400) < 0 || fsync(fd) < 0)
		return err_sys(e, errno, "write '%s' to disk", path);
	return 0;
}

/* The machine has let go of its disk when it has been handed over. */
static int
copy_disk(const struct maker *m, struct err *e)
{
	CLEAN_FREE char *from = state_sandbox_file(&m->s->paths, m->s->sandbox.name, "disk.qcow2");
	CLEAN_FREE char *to = maker_file(m, SAVED_DISK);

	return io_copy_file(from, to, e);
}

/* As they are at the moment at which the machine was stopped. */
static int
copy_workspaces(const struct maker *m, struct err *e)
{
	CLEAN_STRV struct strv pairs = {0};
	int r = saved_copies_read(m->folder, &pairs, e);

	size_t i;

	for (i = 0; i + 1 < pairs.n && r == 0; i += 2)
		r = io_copy_tree(pairs.v[i], pairs.v[i + 1], e);
	while (r < 0 && i > 2) { /* those before the one that failed */
		i -= 2;
		io_remove_tree(AT_FDCWD, pairs.v[i - 1], NULL);
	}
	return r;
}

static int
take_and_save(struct maker *m, struct err *e)
{
	struct vmm_machine machine = sup_machine_plan(m->s);
	unsigned major, minor;
	int r = check_space(m, e);

	machine.memory = VMM_MEMORY_TAKE;
	if (r == 0)
		r = maker_memory(m, e);
	if (r == 0)
		r = maker_start(m, &machine, NULL, STREAM_FD, e);
	if (r == 0)
		r = qmp_take(m->qmp, QEMU_FD_STATE, deadline_in_ms(TAKE_LIMIT_MS), e);
	if (r == 0)
		r = maker_save(m, &major, &minor, e);
	maker_end(m);
	return r;
}

int
save_main(int argc, char **argv)
{
	static struct sup s = {.jail = JAIL_INIT, .jail_net = JAIL_NET_INIT, .lock_fd = -1};
	struct maker m = MAKER_INIT(&s);
	struct err e = {0};
	int r;

	if (argc < 5 || sandbox_name_check(argv[2], NULL) < 0)
		return 2;
	log_init("save", argc > 5 ? LOG_DEBUG : LOG_WARN);
	prctl(PR_SET_NAME, "save");
	m.folder = argv[3];
	r = maker_load(&s, argv[2], &e);
	if (r == 0)
		r = take_and_save(&m, &e);
	if (r == 0)
		r = settle(&m, SAVED_RAM, &e);
	if (r == 0)
		r = settle(&m, SAVED_STATE, &e);
	if (r == 0 && strcmp(argv[4], SAVE_COPY_DISK) == 0)
		r = copy_disk(&m, &e);
	if (r == 0)
		r = copy_workspaces(&m, &e);
	if (r < 0)
		log_warn("%s", e.msg);
	return r < 0 ? 1 : 0;
}
