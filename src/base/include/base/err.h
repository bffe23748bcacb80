#pragma once
/*
 * Errors: the int alone decides (0 or more on success, -errno on failure); struct err, which lives
 * on the caller's stack, carries one sentence for a person. The message is made where the call
 * fails and is prefixed on the way up:  disk: open '/x/disk.qcow2': No space left on device
 */
#include <errno.h>
#include <stdarg.h>

#define ERR_MSG_MAX 240

struct err {
	int code; /* positive errno */
	char msg[ERR_MSG_MAX];
};

/* Sets the message; returns -code. e may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, with ": strerror(code)" behind it. Returns -code. */
int err_sys(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* -errno of a call that failed just now, in a form that the analysers know to be below 0. */
static inline int
err_errno(void)
{
	int code = errno;

	return code > 0 ? -code : -EIO;
}

/* Puts "prefix: " before the message; returns -e->code (-EIO where e is NULL). */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* An analyser reads one file at a time: it is told that these three are below 0. */
#ifdef __clang_analyzer__
#define err_set(...)    (err_set(__VA_ARGS__), -EIO)
#define err_sys(...)    (err_sys(__VA_ARGS__), -EIO)
#define err_prefix(...) (err_prefix(__VA_ARGS__), -EIO)
#endif
