#pragma once
/*
 * Reads what a build's programs say, line by line: progress for a person, and the cause when it
 * fails. Pure.
 */
#include <stdbool.h>
#include <stddef.h>

#include <base/err.h>

struct watch {
	unsigned total; /* packages to come, once apt has said so */
	unsigned downloaded, unpacked, configured;
	bool disk_full;
	bool unreachable; /* a mirror could not be reached */
	bool unsigned_;   /* no key fits a mirror's signature */
	char cause[160];  /* the first error line */
	char detail[96];  /* what is happening now */
};

/* True when w->detail changed. */
bool watch_line(struct watch *w, const char *line);

/* The sentence for a failed step: its cause as far as the lines told it, and what to do. */
int watch_failure(
	const struct watch *w, const char *step, int exit_code, const char *log, struct err *e);
