#pragma once
/* Containers that cannot hear SIGTERM. */
#include <stdbool.h>

/*
 * Whether this /proc/PID/status is of the first process of a pid namespace that has no handler for
 * SIGTERM. The kernel drops such a signal (pid_namespaces(7)), so the usual ten seconds of grace
 * are waited for nothing.
 */
bool deaf_status(const char *status);

/* Ends them all, at power-off. */
void deaf_kill(void);
