#pragma once
/* A running program: what the files session_{exec,output,attach}.c share. */
#include "session.h"

struct session {
	struct sessions *all;
	struct session *next;
	uint32_t id;
	pid_t pid;
	bool tty, detached, takes_input;
	bool started, exited, finished;
	int status;
	char *command;
	struct client *client; /* NULL: detached, or gone */
	struct sink in;
	struct source out, errs; /* out is the terminal's, too */
	struct source report;
	struct buf ring; /* what a terminal said while nobody was attached */
	bool ring_cut;   /* its beginning is lost */
	size_t drain_left;
	uint64_t drain_deadline_ms;
	struct loop_timer *quiet, *grace, *redraw;
	uint16_t rows, cols; /* to be set by redraw */
	bool redraw_seen;    /* the program has said something since it has the wrong size */
	uint64_t redraw_deadline_ms;
};

/* session_exec.c */
void session_take_client(struct session *s, struct client *c);
void session_set_size(struct session *s, uint16_t rows, uint16_t cols);

/* session_attach.c */
void session_redraw_end(struct session *s); /* the right size at once, where it is not yet set */

/* session_output.c */
void session_free(struct session *s);
void session_want_output(struct session *s, bool on);
void session_on_output(void *arg, struct source *src);
void session_room(struct session *s);   /* its client takes output again */
void session_drain(struct session *s);  /* the program has ended: the rest, then EXIT. May free s */
void session_replay(struct session *s); /* to a new client: what was said in the meantime */
