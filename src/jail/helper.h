#pragma once
/*
 * A short-lived child that works in other namespaces for us: it reports an error or descriptors
 * over a socket, then stays as it is until it is ended. Private to the room.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <base/err.h>

#define HELPER_FDS_MAX 8

struct helper {
	pid_t pid;
	int pidfd;
	int sock;
};

#define HELPER_INIT                                                                                \
	{                                                                                          \
		-1, -1, -1                                                                         \
	}
#define CLEAN_HELPER __attribute__((cleanup(helper_end)))

/* In the child: fills fds (descriptors to hand over, may stay -1 beyond the last), or -errno. */
typedef int helper_work(void *arg, int fds[HELPER_FDS_MAX], struct err *e);

int helper_start(struct helper *h, helper_work *work, void *arg, struct err *e);
/* The child's result: exactly nfds descriptors (close-on-exec, the caller's), or its error. */
int helper_result(struct helper *h, int *ret_fds, size_t nfds, uint64_t deadline_ms, struct err *e);
/* SIGKILL, awaited. */
void helper_end(struct helper *h);
