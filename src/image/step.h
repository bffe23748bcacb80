#pragma once
/* Runs one command line of a plan: its output goes to a log and to progress. */
#include <stddef.h>

#include <base/err.h>
#include <base/progress.h>
#include <base/str.h>

#define STEP_FDS_MAX 4

struct step {
	const char *what; /* for messages: "mmdebstrap" */
	const struct strv *argv;
	int fds[STEP_FDS_MAX]; /* descriptors 3, 4, ... of the child */
	size_t nfds;
	int log_fd;
	const char *log_path;
	const char *tmpdir;
	const struct progress *progress;
};

/* A program that says nothing for STALL minutes, or takes longer than LIMIT, is ended. */
#define STEP_STALL_MIN 15
#define STEP_LIMIT_MIN 90

int step_run(const struct step *s, struct err *e);
