#pragma once
/*
 * The guest's session server and the link role, each a process of its own, joined by a socket pair
 * where QEMU would be: the whole way of a command but for the machine. Programs run as the user
 * who runs the test, on this machine.
 */
#include <stdint.h>
#include <sys/types.h>

#include <base/buf.h>
#include <wire/session.h>

#define WAIT_MS 20000

struct rig {
	pid_t guest, link, between;
	int control;    /* of the link role */
	int guest_life; /* the guest ends when this is closed */
};

/* Tells the guest to be told who it is first. */
extern bool rig_without_identity;
/* A process between the two ends of the line, that carries what it reads of each to the other. */
extern void (*rig_crumbs)(int a, int b);

/* For rig_start_link: the word by which the guest is woken; NULL: it is not. */
extern const uint8_t *rig_wake;

void rig_start(struct rig *r);
/* The guest alone; the test is what is on the other end of the line. */
void rig_start_guest(struct rig *r, int *ret_line);
/* And now the link role on it. */
void rig_start_link(struct rig *r, int line);
/* The link role ends; whoever has the line as well keeps it. */
void rig_stop_link(struct rig *r);
void rig_stop(struct rig *r); /* and both must have ended well */
void rig_stop_guest(struct rig *r);
int rig_connect(struct rig *r); /* a client's socket */

/* A client of the session protocol. */
struct peer {
	int fd;
	struct buf in;
	struct buf out, errs; /* collected by peer_run and peer_until */
	int status;           /* of EXIT or ERROR, -1 before */
	bool failed;          /* ERROR */
	char text[600];       /* of ERROR */
	uint32_t id;          /* of STARTED */
};

void peer_open_on(struct peer *p, int fd, const struct session_open *o);
void peer_open(struct peer *p, struct rig *r, const struct session_open *o);
/* exec of words up to NULL, with flags of o's already set (argv is filled in and released). */
void peer_exec(struct peer *p, struct rig *r, struct session_open *o, ...);
void peer_send(struct peer *p, uint8_t type, const void *bytes, size_t n);
void peer_say(struct peer *p, const char *text); /* STDIN */
void peer_winsize(struct peer *p, uint16_t rows, uint16_t cols);
/* The next frame into the fields above: its type, 0 at the end of the stream. */
int peer_next(struct peer *p);
void peer_started(struct peer *p);                 /* until STARTED */
void peer_until(struct peer *p, const char *text); /* until the output has this in it */
int peer_run(struct peer *p);                      /* until the end; the status */
void peer_close(struct peer *p);

/* exec of sh -c script, without a terminal, to its end. */
int sh(struct rig *r, struct peer *p, const char *script);

/* Milliseconds of processor time that pid uses within so many of the clock. */
long cpu_ms_within(pid_t pid, int ms);
