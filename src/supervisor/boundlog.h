#pragma once
/*
 * A log file of bounded size (attacks.md H19): beyond BOUNDLOG_MAX bytes the file becomes NAME.1
 * and a new one begins, so that at most twice as much is ever on disk.
 */
#include <stdbool.h>
#include <stddef.h>

#include <base/buf.h>
#include <base/err.h>

#define BOUNDLOG_MAX (1u << 20)

struct boundlog {
	char *path;
	int fd;
};

#define BOUNDLOG_INIT                                                                              \
	{                                                                                          \
		NULL, -1                                                                           \
	}

int boundlog_open(struct boundlog *l, char *path_take, struct err *e); /* begins empty */
void boundlog_release(struct boundlog *l);
void boundlog_write(struct boundlog *l, const void *p, size_t n);
/* The last lines, escaped for a terminal, each behind "  | ". */
void boundlog_tail(const struct boundlog *l, unsigned lines, struct buf *out);
/* What follows the last occurrence of a text near the end, to the end of its line, escaped: false
 * where there is none. */
bool boundlog_find(const struct boundlog *l, const char *text, char *out, size_t size);
