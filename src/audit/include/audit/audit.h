#pragma once
/* The network log of one sandbox. */
#include <stdbool.h>
#include <stdint.h>

#include <base/err.h>
#include <wire/netevent.h>

#define AUDIT_FOLDER      "network" /* in the sandbox's folder; SQLite needs more than one file */
#define AUDIT_FILE        "log.db"
#define AUDIT_EVENTS_MAX  20000
#define AUDIT_TALLIES_MAX 5000
#define AUDIT_BYTES_MAX   (64u << 20)

struct audit;

/* For the one writer. Makes the file; one that is damaged is put aside as FILE.damaged. */
int audit_open(const char *path, struct audit **ret, struct err *e);
/* For readers, while there is a writer or not. -ENOENT where nothing was ever written. */
int audit_open_read(const char *path, struct audit **ret, struct err *e);
void audit_close(struct audit *a); /* NULL is fine */

/* A change is there for others, and on disk, after commit. Times are milliseconds since the epoch.
 */
int audit_begin(struct audit *a, struct err *e);
int audit_add(struct audit *a, const struct netevent *ev, int64_t now_ms, struct err *e);
int audit_commit(struct audit *a, struct err *e);
void audit_rollback(struct audit *a);

struct audit_event {
	int64_t id, time_ms;
	bool open; /* still going on: no bytes, no duration yet */
	struct netevent ev;
};

struct audit_tally {
	struct netevent ev; /* its count, bytes, without what is one event's alone */
	uint64_t count;
	int64_t first_ms, last_ms;
};

/* Return 0 to go on; anything else ends the reading and is passed back. */
typedef int audit_event_fn(void *arg, const struct audit_event *ev);
typedef int audit_tally_fn(void *arg, const struct audit_tally *t);

/* Events behind this id, oldest first; with a limit the newest ones. 0: no limit. */
int audit_events(struct audit *a, int64_t after, uint64_t limit, bool only_blocked,
	audit_event_fn *fn, void *arg, struct err *e);
/* Newest first. verdict 0: all. Names that were asked and then connected to are left out. */
int audit_tallies(struct audit *a, enum netevent_verdict verdict, int64_t since_ms, uint64_t limit,
	audit_tally_fn *fn, void *arg, struct err *e);
/* Records that net could not send, all in all. */
int audit_lost(struct audit *a, uint64_t *ret, struct err *e);
int audit_last_id(struct audit *a, int64_t *ret, struct err *e);

/*
 * The log role: records from the SOCK_SEQPACKET fd into the store, until end of file, in batches.
 * A disk that is full loses records (they are counted), never the role.
 */
int audit_serve(int fd, const char *path, struct err *e);
