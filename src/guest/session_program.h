#pragma once
/* From a client's OPEN to a started program. */
#include <sys/types.h>

#include "guest.h"
#include "session_spawn.h"

/* Our ends of a program's input and output, non-blocking; -1 where it has none. */
struct program_io {
	int in, out, err;
};

struct program {
	pid_t pid;
	int report; /* of spawn_start */
	struct program_io io;
	int status; /* what to exit with where it could not be started */
};

#define PROGRAM_INIT                                                                               \
	{                                                                                          \
		.report = -1, .io = {-1, -1, -1}, .status = 125                                    \
	}

/* Starts what o (an exec) asks for. On failure nothing is left but ret->status. */
int program_start(
	const struct guest *g, const struct session_open *o, struct program *ret, struct err *e);

/* The command for a list, shortened. The caller frees it. */
char *program_name(const struct session_open *o);
