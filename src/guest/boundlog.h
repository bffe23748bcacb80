#pragma once
/* A log file of bounded size: at its limit it becomes FILE.1 and a new one begins. */
#include <stddef.h>

struct boundlog {
	const char *path;
	size_t limit; /* bytes of one file; two are kept */
	int fd;       /* -1: not open */
	size_t size;
};

/* Appends; opens the file where it is not. Best effort: a full disk loses lines. */
void boundlog_write(struct boundlog *l, const void *p, size_t n);
void boundlog_close(struct boundlog *l);
