#pragma once
#include <vmm/vmm.h>

/* As qmp_command; QEMU takes a descriptor along, which stays the caller's as well. */
int qmp_pass_fd(struct qmp *q, const char *name, const char *arguments, int fd,
	uint64_t deadline_ms, struct err *e);
