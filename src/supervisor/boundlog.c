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

/* More than a kernel's whole farewell. */
#define FIND_BYTES 16384

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

/* The log's last bytes; 0 for an empty one. */
static size_t
read_end(const struct boundlog *l, char *out, size_t size)
{
	off_t end = l->fd >= 0 ? lseek(l->fd, 0, SEEK_END) : 0;
	ssize_t n = 0;

	if (end > 0)
		n = pread(l->fd, out, size, end > (off_t)size ? end - (off_t)size : 0);
	return n > 0 ? (size_t)n : 0;
}

bool
boundlog_find(const struct boundlog *l, const char *text, char *out, size_t size)
{
	char raw[FIND_BYTES + 1];
	size_t n = read_end(l, raw, FIND_BYTES);
	const char *at = raw, *found = NULL;

	for (size_t i = 0; i < n; i++) /* for strstr(3): a console may say anything */
		if (raw[i] == '\0')
			raw[i] = ' ';
	raw[n] = '\0';
	while ((at = strstr(at, text)) != NULL)
		found = at += strlen(text);
	if (found == NULL)
		return false;
	str_escape(found, strcspn(found, "\r\n"), out, size);
	return true;
}

void
boundlog_tail(const struct boundlog *l, unsigned lines, struct buf *out)
{
	char raw[8192], line[512];
	size_t n = read_end(l, raw, sizeof(raw));
	char *at;

	while (n > 0 && (raw[n - 1] == '\n' || raw[n - 1] == '\r'))
		n--;
	if (n == 0)
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
