#pragma once
/* The ways between the bench's client and its origin: nothing, paddock, other proxies. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WAYS_MAX 8

struct way {
	const char *name;
	pid_t pid; /* 0: there is no process */
	uint16_t port;
	char target[64]; /* to ask for by CONNECT; "": it knows */
};

/* A program to compare with. In its texts: %1$s a folder of its own, %2$u its port, %3$u the
 * origin's. */
struct other {
	const char *name, *program, *config;
	const char *prepare; /* a shell's command before it starts, or NULL */
	bool connect;
	const char *argv[12]; /* CONFIG stands for the file, FOLDER and PORT for what they say */
};

/*
 * fork(2) of a process that ends with the bench, whatever that died of; so does what ways_folder
 * has made. The folder is for everybody: squid becomes another user.
 */
pid_t ways_fork(void);
const char *ways_folder(void);

/*
 * Starts those that are installed in front of the origin, and waits until they listen; says which
 * are left out. Their number.
 */
size_t ways_start(const struct other *others, size_t n, uint16_t origin_port, struct way *out);
