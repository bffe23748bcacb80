#pragma once
/*
 * Sessions: the guest's side of the session protocol (wire/session.h).
 *
 * A client is one stream of the link. Its OPEN gives it a role: running a program, attached to one,
 * forwarding a port; or it is answered at once. A session is one running program; it may outlive
 * the client that began it.
 */
#include <stdbool.h>
#include <stdint.h>

#include <base/buf.h>
#include <wire/session.h>

#include "guest.h"
#include "server.h"
#include "session_io.h"

struct client;
struct session;

/* What a client does after its OPEN. Each may be NULL: the frame is then dropped. */
struct client_role {
	void (*input)(struct client *c, const uint8_t *p, size_t n);
	void (*input_end)(struct client *c);
	void (*winsize)(struct client *c, uint16_t rows, uint16_t cols);
	void (*signal)(struct client *c, int number);
	void (*room)(struct client *c);         /* the stream takes output again */
	void (*gone)(struct client *c);         /* the client is no more, or misbehaved */
	size_t (*held)(const struct client *c); /* bytes of input that still wait */
};

struct sessions {
	struct guest *guest;
	struct server *server;
	struct session *list; /* newest first */
	size_t count;
	uint32_t last_id;
	struct loop_timer *power_off;
};

struct client {
	struct sessions *all;
	struct stream *stream;
	struct buf in;            /* the start of a frame */
	size_t unconsumed;        /* bytes that came and for which no window was given back */
	bool opened, done, ended; /* ended: the client's direction is */
	bool slept;               /* it has gone because the machine was saved */
	const struct client_role *role;
	void *of; /* the role's */
};

/* session.c */
void client_started(struct client *c, uint32_t id);
void client_output(struct client *c, uint8_t frame, const void *p, size_t n);
void client_exit(struct client *c, int status); /* the last word; the role is over */
void client_error(struct client *c, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4))); /* likewise */
void client_settle(struct client *c); /* gives back the window for what is no longer held */

/* session_exec.c */
void session_exec(struct client *c, const struct session_open *o);
void sessions_free(struct sessions *all); /* forgets the programs; they run on */

/* session_attach.c */
void session_attach(struct client *c, const struct session_open *o);
void session_list(const struct sessions *all, struct buf *out);

/* session_forward.c */
void session_forward(struct client *c, const struct session_open *o);

/* Ends the server that guest_server_start began (for tests: the guest itself never does). */
void guest_server_stop(struct guest *g);
