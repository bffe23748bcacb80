#pragma once
/*
 * For tests of the jail: bodies run in children, because entering a namespace has no way back, and
 * each runs twice where we are root: as root and as an ordinary user.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jail/jail.h>

#define TEST_UID 54321

/* In a child, where cmocka's asserts cannot be used. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s: errno %d (%s)\n", __FILE__, __LINE__, #cond,   \
				errno, strerror(errno));                                           \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* An err-style call in a child that has to work. */
#define CHECK_OK(call, err)                                                                        \
	do {                                                                                       \
		int check_ = (call);                                                               \
		if (check_ < 0) {                                                                  \
			fprintf(stderr, "%s:%d: %s: %d %s\n", __FILE__, __LINE__, #call, check_,   \
				(err).msg);                                                        \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static inline int
await(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline void
become_user(void)
{
	CHECK(setgroups(0, NULL) == 0);
	CHECK(setresgid(TEST_UID, TEST_UID, TEST_UID) == 0);
	CHECK(setresuid(TEST_UID, TEST_UID, TEST_UID) == 0);
	/* As after an exec: else /proc/self is root's. */
	CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
}

/* The exit code of body in a child, as it is or as an ordinary user; 128+n after signal n. */
static inline int
run_child(void (*body)(void *arg), void *arg, int as_user)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		alarm(60);
		if (as_user && geteuid() == 0)
			become_user();
		body(arg);
		_exit(0);
	}
	return await(pid);
}

static inline void
run_as_both(void (*body)(void *arg), void *arg)
{
	if (geteuid() == 0)
		assert_int_equal(run_child(body, arg, 0), 0);
	assert_int_equal(run_child(body, arg, 1), 0);
}

static inline bool
has_cap(cap_value_t c, cap_flag_t set)
{
	cap_flag_value_t v = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	CHECK(caps != NULL && cap_get_flag(caps, c, set, &v) == 0);
	cap_free(caps);
	return v == CAP_SET;
}

static inline void
enter(unsigned which)
{
	struct jail j = JAIL_INIT;
	struct err e = {0};

	CHECK_OK(jail_create(&j, &e), e);
	CHECK_OK(jail_enter(&j, which, &e), e);
	jail_release(&j);
}
