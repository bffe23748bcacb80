#pragma once
/* System call filters, seccomp(2) through libseccomp. Private to the room; tests load them
 * directly. */
#include <stdbool.h>

#include <base/err.h>
#include <jail/jail.h>

/* Filters the calling process from now on, over exec too. Needs no_new_privs. */
int jail_seccomp_load(enum jail_syscalls profile, bool no_fork, struct err *e);
