#pragma once
/*
 * Keeps the pump's threads on the processor of the program that they work for. A program that waits
 * for a file system leaves its processor idle, and to wake a thread on another one, and then the
 * program again, takes longer than all the rest of a short answer does: most of all where the
 * processors are emulated.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct near {
	uint32_t pid; /* whose requests come */
	unsigned seen;
	int cpu; /* where we are; -1: anywhere */
	_Atomic pid_t down;
};

void near_init(struct near *n);
/* This thread takes replies, and goes along. */
void near_down(struct near *n);
/* A request of this process (0: the kernel's own), by the thread that takes requests. */
void near_request(struct near *n, uint32_t pid);
/*
 * Above every program of the guest: what one waits for is not to wait for others. For each thread
 * of the pump, or the one that holds a lock would keep those waiting that do not.
 */
void near_above_programs(void);

/* The processor in a line of /proc/PID/stat (proc_pid_stat(5)), or -1. Pure. */
int near_cpu_of(const char *stat);
