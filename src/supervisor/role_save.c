/*
 * How this works: a running machine's memory is its QEMU's own, or private pages over the file of
 * what it is a clone of. While it is stopped, all of that is written to a file that others map;
 * then its disk is copied, and workspaces where that is asked for. A process of its own, one
 * straight line, that may be killed at any point: what it has made counts only once saved.json is
 * beside it (save.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>
#include <snapshot/saved.h>
#include <vmm/vmm.h>

#include "sup.h"
#include "sup_main.h"

static int
create(const char *folder, const char *name, mode_t mode, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/%s", folder, name);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	return fd < 0 ? err_sys(e, errno, "create '%s'", path) : fd;
}

static int
save_memory(const char *folder, uint64_t address, uint64_t bytes, bool sync, struct err *e)
{
	const struct vmm_ram m = {SAVE_FD_MEM, SAVE_FD_PAGEMAP, address};
	CLEAN_CLOSE int to = create(folder, SAVED_RAM, 0400, e);
	struct stat base;
	int r;

	if (to < 0)
		return to;
	if (fstat(SAVE_FD_BASE, &base) < 0)
		return err_sys(e, errno, "fstat");
	/* A machine that has booted is a clone of nothing: /dev/null is there. */
	r = vmm_ram_save(&m, bytes, S_ISREG(base.st_mode) ? SAVE_FD_BASE : -1, to, e);
	return r == 0 && sync && fsync(to) < 0 ? err_sys(e, errno, "fsync") : r;
}

static int
save_disk(const char *folder, const char *disk, struct err *e)
{
	CLEAN_CLOSE int from = open(disk, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), to = -1;

	if (from < 0)
		return err_sys(e, errno, "open '%s'", disk);
	to = create(folder, SAVED_DISK, 0600, e);
	return to < 0 ? to : io_copy(from, to, e);
}

/* As they are at the moment at which the machine was stopped. */
static int
copy_workspaces(const char *folder, struct err *e)
{
	CLEAN_STRV struct strv pairs = {0};
	int r = saved_copies_read(folder, &pairs, e);

	return r == 0 ? io_copy_trees(&pairs, e) : r;
}

static int
sync_devices(const char *folder, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/" SAVED_STATE, folder);
	CLEAN_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 || fsync(fd) < 0 ? err_sys(e, errno, "write '%s' to disk", path) : 0;
}

int
save_main(int argc, char **argv)
{
	const char *folder, *disk;
	uint64_t address, bytes;
	struct err e = {0};
	int r;

	if (argc < 6 || str_to_u64(argv[3], 1, UINT64_MAX, &address) < 0 ||
		str_to_u64(argv[4], 1, UINT64_MAX, &bytes) < 0)
		return 2;
	folder = argv[2];
	disk = argv[5];
	log_init("save", argc > 6 ? LOG_DEBUG : LOG_WARN);
	prctl(PR_SET_NAME, "save");
	r = save_memory(folder, address, bytes, disk[0] == '\0', &e);
	if (r == 0)
		r = disk[0] != '\0' ? save_disk(folder, disk, &e) : sync_devices(folder, &e);
	if (r == 0)
		r = copy_workspaces(folder, &e);
	if (r < 0)
		log_warn("%s", e.msg);
	return r < 0 ? 1 : 0;
}
