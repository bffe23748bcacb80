#pragma once
/* Child processes: started from a plain description, awaited with a limit, watched by pidfd. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <base/buf.h>
#include <base/err.h>
#include <base/str.h>

/* fds[i] of the parent becomes descriptor i of the child (-1: /dev/null); all others are closed. */
#define PROC_FDS_MAX 24

struct proc_spec {
	const char *file;  /* executed as it is, or looked up in PATH when it has no slash */
	char *const *argv; /* argv[0] included */
	char *const *envp; /* NULL: the caller's */
	int fds[PROC_FDS_MAX];
	size_t nfds;
	const char *cwd;  /* NULL: unchanged */
	bool new_session; /* setsid() */
	bool die_with_parent;
	/* Runs in the child after the descriptors are in place, before exec; -errno gives up. */
	int (*prepare)(void *arg, struct err *e);
	void *arg;
};

/*
 * Starts the child. An exec or prepare failure is reported here, not through an exit code.
 * *ret_pidfd (may be NULL) is the caller's to close; the pid must be awaited.
 */
int proc_spawn(const struct proc_spec *s, pid_t *ret_pid, int *ret_pidfd, struct err *e);

/*
 * Waits until the deadline: exit code 0..255, 128+n after signal n; -ETIMEDOUT leaves it running.
 * With a pidfd of -1 it blocks in waitpid.
 */
int proc_wait(pid_t pid, int pidfd, uint64_t deadline_ms);

/* SIGTERM, then SIGKILL after grace_ms, and awaited. Exit code as proc_wait. */
int proc_stop(pid_t pid, int pidfd, uint64_t grace_ms);

/*
 * Runs a program to its end with stdin from /dev/null; stdout is collected in out (NULL: dropped),
 * stderr's tail ends up in the error. 0 on exit code 0, else -errno (-EIO for a non-zero exit).
 */
int proc_run(char *const *argv, uint64_t timeout_ms, struct buf *out, struct err *e);

/* The absolute path of a program in PATH (then /usr/sbin, /sbin), or NULL. The caller frees it. */
char *proc_find(const char *name);
