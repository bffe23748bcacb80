#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>
#include <wire/fuse.h>

#include "fusemount.h"

#define READ_AHEAD_KB "1024"

static bool
write_sys(const char *path, const char *text)
{
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

void
fuse_mount_abort(const struct fuse_mount *m)
{
	CLEAN_FREE char *path = xasprintf(
		"/sys/fs/fuse/connections/%s/abort", m->device + strcspn(m->device, ":") + 1);

	if (m->device[0] != '\0' && write_sys(path, "1"))
		return;
	/* MNT_FORCE aborts first, whether or not the mount can go. */
	if (umount2(m->at, MNT_FORCE) < 0 && errno != EBUSY)
		log_warn("abort %s: %s", m->at, strerror(errno));
}

/* The device of the mount, without asking the mount: "36 35 0:42 / /mountpoint opts ...". */
static void
find_device(struct fuse_mount *m)
{
	CLEAN_FCLOSE FILE *f = fopen("/proc/self/mountinfo", "re");
	CLEAN_FREE char *line = NULL;
	size_t cap = 0;

	while (f != NULL && getline(&line, &cap, f) > 0) {
		char *at = line, *field[5];

		for (size_t k = 0; k < ARRAY_LEN(field); k++)
			field[k] = at != NULL ? strsep(&at, " ") : NULL;
		if (field[4] != NULL && strcmp(field[4], m->at) == 0)
			snprintf(m->device, sizeof(m->device), "%s", field[2]);
	}
}

static void
tune(const struct fuse_mount *m)
{
	CLEAN_FREE char *path = xasprintf("/sys/class/bdi/%s/read_ahead_kb", m->device);

	/* Before INIT is answered: its max_readahead can only lower what is there, by default 128
	 * KiB. */
	if (m->device[0] == '\0' || !write_sys(path, READ_AHEAD_KB))
		log_debug("workspaces: no read-ahead setting for %s", m->at);
	/* The way to abort; it may be there already. */
	if (mount("fusectl", "/sys/fs/fuse/connections", "fusectl",
		    MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 &&
		errno != EBUSY)
		log_debug("workspaces: no fusectl: %s", strerror(errno));
}

static int
mount_fuse(const struct fuse_mount *m, struct err *e)
{
	char options[160];

	snprintf(options, sizeof(options),
		"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,"
		"max_read=%u",
		m->fd, FUSE_WIRE_IO_MAX);
	if (mount("paddock", m->at, "fuse.paddock", MS_NOSUID | MS_NODEV | MS_NOATIME, options) < 0)
		return err_sys(e, errno, "mount the workspaces at '%s'", m->at);
	return 0;
}

int
fuse_mount_open(struct fuse_mount *m, const char *at, struct err *e)
{
	int r;

	*m = (struct fuse_mount){.fd = open("/dev/fuse", O_RDWR | O_CLOEXEC)};
	snprintf(m->at, sizeof(m->at), "%s", at);
	if (m->fd < 0)
		return err_sys(e, errno, "open /dev/fuse");
	r = mount_fuse(m, e);
	if (r < 0) {
		close(m->fd);
		return r;
	}
	find_device(m);
	tune(m);
	return 0;
}
