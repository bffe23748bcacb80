#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/str.h>

#include "boundlog.h"

static int
reopen(struct boundlog *l)
{
	int fd =
		open(l->path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (l->fd < 0) {
		l->fd = fd;
		return 0;
	}
	/* The same number: it may be our standard error. */
	dup3(fd, l->fd, O_CLOEXEC);
	close(fd);
	return 0;
}

int
boundlog_open(struct boundlog *l, char *path_take, struct err *e)
{
	int r;

	free(l->path);
	l->path = path_take;
	r = reopen(l);
	return r < 0 ? err_sys(e, -r, "open '%s'", path_take) : 0;
}

void
boundlog_release(struct boundlog *l)
{
	if (l->fd >= 0)
		close(l->fd);
	free(l->path);
	l->fd = -1;
	l->path = NULL;
}

void
boundlog_write(struct boundlog *l, const void *p, size_t n)
{
	CLEAN_FREE char *old = NULL;

	if (l->fd < 0)
		return;
	if ((size_t)lseek(l->fd, 0, SEEK_END) + n > BOUNDLOG_MAX) {
		old = xasprintf("%s.1", l->path);
		if (rename(l->path, old) < 0 || reopen(l) < 0)
			return;
	}
	/* A full disk loses log lines, never the machine. */
	if (write(l->fd, p, n) < 0)
		return;
}

void
boundlog_tail(const struct boundlog *l, unsigned lines, struct buf *out)
{
	char raw[8192], line[512];
	ssize_t n;
	char *at;
	off_t end = l->fd >= 0 ? lseek(l->fd, 0, SEEK_END) : 0;

	if (end <= 0)
		return;
	n = pread(l->fd, raw, sizeof(raw), end > (off_t)sizeof(raw) ? end - (off_t)sizeof(raw) : 0);
	while (n > 0 && (raw[n - 1] == '\n' || raw[n - 1] == '\r'))
		n--;
	if (n <= 0)
		return;
	for (at = raw + n; at > raw; at--)
		if (at[-1] == '\n' && lines-- == 1)
			break;
	while (at < raw + n) {
		char *nl = memchr(at, '\n', (size_t)(raw + n - at));
		size_t len = (size_t)((nl != NULL ? nl : raw + n) - at);
		size_t shown = len > 0 && at[len - 1] == '\r' ? len - 1 : len;

		str_escape(at, shown, line, sizeof(line));
		buf_printf(out, "\n  | %s", line);
		at += len + 1;
	}
}
