/*
 * How this works: FUSE says which process asks, and /proc where it was running. That is looked up
 * once in a while, and only when the same process has asked several times in a row: where several
 * work at once, each processor has something to do, and the threads stay where they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>

#include "near.h"

#define LOOK_FIRST 8  /* requests of one process: fewer are not worth a look */
#define LOOK_EVERY 32 /* from then on */
#define FIELD_CPU  39
#define PRIORITY   1

void
near_init(struct near *n)
{
	*n = (struct near){.cpu = -1};
}

void
near_down(struct near *n)
{
	atomic_store(&n->down, gettid());
}

void
near_above_programs(void)
{
	const struct sched_param sp = {.sched_priority = PRIORITY};

	/* An ordinary user's pump (tests) goes without. */
	if (sched_setscheduler(0, SCHED_FIFO, &sp) < 0)
		log_debug("workspaces: priority: %s", strerror(errno));
}

int
near_cpu_of(const char *stat)
{
	/* The second field is the program's name, of any bytes, in parentheses. */
	const char *at = strrchr(stat, ')');
	char *end;
	long cpu;

	for (int field = 2; at != NULL && field < FIELD_CPU; field++)
		at = strchr(at + 1, ' ');
	if (at == NULL)
		return -1;
	cpu = strtol(at + 1, &end, 10);
	return end != at + 1 && cpu >= 0 && cpu < CPU_SETSIZE ? (int)cpu : -1;
}

static int
cpu_of(uint32_t pid)
{
	char path[32], line[1024];
	CLEAN_CLOSE int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, line, sizeof(line) - 1) : -1;
	if (n <= 0)
		return -1;
	line[n] = '\0';
	return near_cpu_of(line);
}

static void
move(struct near *n, int cpu)
{
	pid_t down = atomic_load(&n->down);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		return;
	if (down != 0)
		sched_setaffinity(down, sizeof(set), &set);
	n->cpu = cpu;
}

void
near_request(struct near *n, uint32_t pid)
{
	int cpu;

	if (pid == 0)
		return;
	if (pid != n->pid) {
		n->pid = pid;
		n->seen = 0;
	}
	if (n->seen++ % LOOK_EVERY != LOOK_FIRST - 1)
		return;
	cpu = cpu_of(pid);
	if (cpu >= 0 && cpu != n->cpu)
		move(n, cpu);
}
