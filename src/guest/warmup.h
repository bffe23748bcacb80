#pragma once
/* A program that is run once in each clone of this machine, for what that leaves warm. */
#include "session_spawn.h"

/*
 * A process that waits, and draws no random numbers until it is told to go: then it runs the
 * program as a session would, on /dev/null (s->fds count for nothing), and ends. *ret_go is the
 * caller's, for warmup_go; where that is closed, the process ends and nothing is run. 0 or -errno.
 */
int warmup_prepare(const struct spawn *s, int *ret_go, struct err *e);

/* Told to go; *go is closed, and -1 from then on. Nothing where it is that already. */
void warmup_go(int *go);
