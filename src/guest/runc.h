#pragma once
/* Stands before the image's runc (runc.c). */

#define RUNC_DIR "/run/paddock/bin" /* first in dockerd's PATH */

/* What of a command line matters here; all borrowed from it. */
struct runc_call {
	const char *command; /* NULL: none */
	const char *bundle;  /* "." unless told */
	const char *process; /* NULL unless told */
	const char *id;      /* the container's; NULL: none */
};

/* Of the arguments after the program's name, as containerd's shim and BuildKit give them. */
void runc_parse(char *const *argv, struct runc_call *ret);

/* Does not return where the image has a runc; else an exit code. */
int guest_runc(char **argv);
