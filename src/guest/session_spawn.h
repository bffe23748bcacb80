#pragma once
/* Starting a user's program, so that nothing it does before it runs can hold up the event loop. */
#include <sys/types.h>

#include <base/err.h>
#include <base/str.h>

#include "guest.h"

struct spawn {
	const char *file;  /* with a slash: as it is; else looked for in path */
	char *const *argv; /* argv[0] included */
	char *const *envp;
	const char *path; /* the PATH of that environment */
	const char *cwd;
	bool cwd_optional; /* "/" will do where it cannot be entered */
	bool tty;          /* fds[0] becomes the controlling terminal */
	int fds[3];        /* become 0, 1 and 2; the caller closes them */
	const struct guest_user *user;
};

/* What the report pipe brings when the program could not be started. */
struct spawn_failure {
	int status; /* as docker exec has it: 127 not found, 126 found but not to be started */
	char msg[ERR_MSG_MAX];
};

/*
 * A child in a session of its own. *ret_report, non-blocking and the caller's, reads as end of file
 * once the program runs, or brings a struct spawn_failure. 0 or -errno.
 */
int spawn_start(const struct spawn *s, pid_t *ret_pid, int *ret_report, struct err *e);

/* A pseudo-terminal (pty(7)): its master, non-blocking, and its slave, which the user may open. */
int spawn_pty(const struct guest_user *u, uint16_t rows, uint16_t cols, int *ret_master,
	int *ret_slave, struct err *e);
