#include <fcntl.h>
#include <stdio.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "boundlog.h"

static void
boundlog_open(struct boundlog *l)
{
	struct stat st;

	l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
	l->size = l->fd >= 0 && fstat(l->fd, &st) == 0 ? (size_t)st.st_size : 0;
}

void
boundlog_write(struct boundlog *l, const void *p, size_t n)
{
	if (l->fd < 0)
		boundlog_open(l);
	if (l->size > 0 && l->size + n > l->limit) {
		CLEAN_FREE char *old = xasprintf("%s.1", l->path);

		boundlog_close(l);
		rename(l->path, old);
		boundlog_open(l);
	}
	if (l->fd >= 0 && io_write_full(l->fd, p, n, UINT64_MAX) == 0)
		l->size += n;
}

void
boundlog_close(struct boundlog *l)
{
	cleanup_close_p(&l->fd);
	l->fd = -1;
}
