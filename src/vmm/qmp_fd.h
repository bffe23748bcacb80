#pragma once
#include <vmm/vmm.h>

/* getfd: QEMU takes the descriptor, which stays the caller's as well, under this name. */
int qmp_pass_fd(struct qmp *q, const char *name, int fd, uint64_t deadline_ms, struct err *e);
