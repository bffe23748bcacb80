#include <stdio.h>

#include <base/cleanup.h>

#include "store.h"

static void
column_text(sqlite3_stmt *st, int at, char *out, size_t size)
{
	const char *text = (const char *)sqlite3_column_text(st, at);
	int n = sqlite3_column_bytes(st, at);

	/* Again: the file may have been written by somebody else. */
	netevent_set_text(out, size, text != NULL ? text : "", n > 0 ? (size_t)n : 0);
}

#define COLUMN_TEXT(st, at, field) column_text(st, at, field, sizeof(field))

/* kind, verdict, via, host, port, rule, reason, up, down */
static void
read_key(sqlite3_stmt *st, int at, struct netevent *ev)
{
	*ev = (struct netevent){.kind = (enum netevent_kind)sqlite3_column_int(st, at),
		.verdict = (enum netevent_verdict)sqlite3_column_int(st, at + 1),
		.via = (enum netevent_via)sqlite3_column_int(st, at + 2),
		.port = (uint16_t)sqlite3_column_int(st, at + 4),
		.up = (uint64_t)sqlite3_column_int64(st, at + 7),
		.down = (uint64_t)sqlite3_column_int64(st, at + 8)};
	COLUMN_TEXT(st, at + 3, ev->host);
	COLUMN_TEXT(st, at + 5, ev->rule);
	COLUMN_TEXT(st, at + 6, ev->reason);
}

static void
read_event(sqlite3_stmt *st, struct audit_event *ret)
{
	read_key(st, 3, &ret->ev);
	ret->id = sqlite3_column_int64(st, 0);
	ret->time_ms = sqlite3_column_int64(st, 1);
	ret->open = sqlite3_column_int(st, 2) != 0;
	COLUMN_TEXT(st, 12, ret->ev.method);
	COLUMN_TEXT(st, 13, ret->ev.path);
	ret->ev.status = (uint16_t)sqlite3_column_int(st, 14);
	ret->ev.count = (uint32_t)sqlite3_column_int64(st, 15);
	ret->ev.duration_ms = (uint64_t)sqlite3_column_int64(st, 16);
}

int
audit_events(struct audit *a, int64_t after, uint64_t limit, bool only_blocked, audit_event_fn *fn,
	void *arg, struct err *e)
{
	static const char sql[] =
		"SELECT * FROM (SELECT id, time, open, kind, verdict, via, host, port, rule,"
		" reason, up, down, method, path, status, count, duration FROM event"
		" WHERE id > ?1 AND (?2 = 0 OR verdict = ?2) ORDER BY id DESC LIMIT ?3)"
		" ORDER BY id";
	sqlite3_stmt *st = NULL;
	int r = 0, step = SQLITE_DONE;

	if (sqlite3_prepare_v2(a->db, sql, -1, &st, NULL) != SQLITE_OK)
		return store_error(a, "read", e);
	sqlite3_bind_int64(st, 1, after);
	sqlite3_bind_int(st, 2, only_blocked ? NETEVENT_BLOCKED : 0);
	sqlite3_bind_int64(st, 3, limit > 0 ? (sqlite3_int64)limit : -1);
	while (r == 0 && (step = sqlite3_step(st)) == SQLITE_ROW) {
		struct audit_event ev;

		read_event(st, &ev);
		r = fn(arg, &ev);
	}
	if (r == 0 && step != SQLITE_DONE)
		r = store_error(a, "read", e);
	sqlite3_finalize(st);
	return r;
}

int
audit_tallies(struct audit *a, enum netevent_verdict verdict, int64_t since_ms, uint64_t limit,
	audit_tally_fn *fn, void *arg, struct err *e)
{
	static const char sql[] =
		"SELECT kind, verdict, via, host, port, rule, reason, up, down, count, first, last"
		" FROM tally t WHERE (?1 = 0 OR verdict = ?1) AND last >= ?2"
		" AND NOT (kind = 1 AND EXISTS (SELECT 1 FROM tally c WHERE c.host = t.host"
		" AND c.kind != 1)) ORDER BY last DESC, host, port LIMIT ?3";
	sqlite3_stmt *st = NULL;
	int r = 0, step = SQLITE_DONE;

	if (sqlite3_prepare_v2(a->db, sql, -1, &st, NULL) != SQLITE_OK)
		return store_error(a, "read", e);
	sqlite3_bind_int(st, 1, (int)verdict);
	sqlite3_bind_int64(st, 2, since_ms);
	sqlite3_bind_int64(st, 3, limit > 0 ? (sqlite3_int64)limit : -1);
	while (r == 0 && (step = sqlite3_step(st)) == SQLITE_ROW) {
		struct audit_tally t;

		read_key(st, 0, &t.ev);
		t.count = (uint64_t)sqlite3_column_int64(st, 9);
		t.first_ms = sqlite3_column_int64(st, 10);
		t.last_ms = sqlite3_column_int64(st, 11);
		r = fn(arg, &t);
	}
	if (r == 0 && step != SQLITE_DONE)
		r = store_error(a, "read", e);
	sqlite3_finalize(st);
	return r;
}

static int
one_number(struct audit *a, const char *sql, sqlite3_int64 *ret, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int r = -1;

	if (sqlite3_prepare_v2(a->db, sql, -1, &st, NULL) == SQLITE_OK &&
		sqlite3_step(st) == SQLITE_ROW) {
		*ret = sqlite3_column_int64(st, 0);
		r = 0;
	}
	sqlite3_finalize(st);
	return r == 0 ? 0 : store_error(a, "read", e);
}

int
audit_lost(struct audit *a, uint64_t *ret, struct err *e)
{
	sqlite3_int64 n = 0;
	int r = one_number(a, "SELECT coalesce(sum(count), 0) FROM lost", &n, e);

	*ret = (uint64_t)n;
	return r;
}

int
audit_last_id(struct audit *a, int64_t *ret, struct err *e)
{
	sqlite3_int64 n = 0;
	int r = one_number(a, "SELECT coalesce(max(id), 0) FROM event", &n, e);

	*ret = n;
	return r;
}
