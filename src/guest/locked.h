#pragma once
/*
 * The files on which somebody has, or had, record locks (fcntl(2)): only of these must the host be
 * told when a program closes one. Not thread-safe. A few tens of KiB; what no longer fits makes
 * every file one of them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOCKED_MAX 4096

struct locked {
	uint64_t ids[LOCKED_MAX]; /* open addressing; 0: free */
	size_t n;
};

void locked_add(struct locked *l, uint64_t id);
bool locked_has(const struct locked *l, uint64_t id);

/* A request from the kernel: remembers the file of one that takes a record lock. True: it is a
 * FLUSH that nobody has to hear of. */
bool locked_spares(struct locked *l, const uint8_t *msg, size_t n);
