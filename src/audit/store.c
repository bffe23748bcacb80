#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/mem.h>

#include "store.h"

#define SCHEMA_VERSION 1
#define BUSY_MS        2000
/* Trimming looks at the whole table: not after each record. */
#define TRIM_EVERY 500

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS event("
	" id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, open INTEGER NOT NULL,"
	" conn INTEGER, kind INTEGER NOT NULL, verdict INTEGER NOT NULL, via INTEGER NOT NULL,"
	" host TEXT NOT NULL, port INTEGER NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,"
	" rule TEXT NOT NULL, reason TEXT NOT NULL, status INTEGER NOT NULL,"
	" count INTEGER NOT NULL, up INTEGER NOT NULL, down INTEGER NOT NULL,"
	" duration INTEGER NOT NULL);"
	"CREATE INDEX IF NOT EXISTS event_open ON event(conn) WHERE open;"
	"CREATE TABLE IF NOT EXISTS tally("
	" kind INTEGER NOT NULL, verdict INTEGER NOT NULL, via INTEGER NOT NULL,"
	" host TEXT NOT NULL, port INTEGER NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL,"
	" count INTEGER NOT NULL, up INTEGER NOT NULL, down INTEGER NOT NULL,"
	" first INTEGER NOT NULL, last INTEGER NOT NULL,"
	" PRIMARY KEY(kind, verdict, via, host, port, rule, reason)) WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS tally_last ON tally(last);"
	"CREATE INDEX IF NOT EXISTS tally_host ON tally(host);"
	"CREATE TABLE IF NOT EXISTS lost(id INTEGER PRIMARY KEY, count INTEGER NOT NULL);"
	"UPDATE event SET open = 0 WHERE open;"
	"PRAGMA user_version = 1;";

static const char *const texts[ST_COUNT] = {
	[ST_BEGIN] = "BEGIN IMMEDIATE",
	[ST_COMMIT] = "COMMIT",
	[ST_ROLLBACK] = "ROLLBACK",
	[ST_EVENT] = "INSERT INTO event(time, open, conn, kind, verdict, via, host, port, method,"
		     " path, rule, reason, status, count, up, down, duration)"
		     " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)",
	[ST_CLOSE] = "UPDATE event SET open = 0, up = ?2, down = ?3, duration = ?4, status = ?5"
		     " WHERE conn = ?1 AND open"
		     " RETURNING kind, verdict, via, host, port, rule, reason",
	[ST_TALLY] = "INSERT INTO tally VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?11)"
		     " ON CONFLICT DO UPDATE SET count = count + ?8, up = up + ?9,"
		     " down = down + ?10, last = max(last, ?11)",
	[ST_TALLY_BYTES] = "UPDATE tally SET up = up + ?8, down = down + ?9 WHERE kind = ?1"
			   " AND verdict = ?2 AND via = ?3 AND host = ?4 AND port = ?5"
			   " AND rule = ?6 AND reason = ?7",
	[ST_LOST] = "INSERT INTO lost VALUES(1, ?1)"
		    " ON CONFLICT DO UPDATE SET count = count + ?1",
	[ST_TRIM_EVENTS] = "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?1",
	/* All but the newest become one row of their kind and verdict. */
	[ST_FOLD_TALLIES] =
		"INSERT INTO tally SELECT kind, verdict, via, '(others)', 0, '', '', sum(count),"
		" sum(up), sum(down), min(first), max(last) FROM tally WHERE host != '(others)'"
		" AND last < ?1 GROUP BY kind, verdict, via"
		" ON CONFLICT DO UPDATE SET count = count + excluded.count, up = up + excluded.up,"
		" down = down + excluded.down, last = max(last, excluded.last)",
	[ST_DROP_TALLIES] = "DELETE FROM tally WHERE host != '(others)' AND last < ?1",
};

int
store_error(struct audit *a, const char *what, struct err *e)
{
	int code = sqlite3_errcode(a->db);

	return err_set(e, code == SQLITE_FULL ? ENOSPC : EIO, "network log: %s: %s", what,
		sqlite3_errmsg(a->db));
}

static sqlite3_stmt *
statement(struct audit *a, enum statement which)
{
	if (a->st[which] == NULL)
		(void)sqlite3_prepare_v3(
			a->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, &a->st[which], NULL);
	else
		sqlite3_reset(a->st[which]);
	return a->st[which];
}

/* Runs it to its end. 0, or -EIO/-ENOSPC. */
static int
finish(struct audit *a, sqlite3_stmt *st, const char *what, struct err *e)
{
	int r = st == NULL ? SQLITE_ERROR : SQLITE_ROW;

	while (r == SQLITE_ROW)
		r = sqlite3_step(st);
	if (st != NULL)
		sqlite3_reset(st);
	return r == SQLITE_DONE ? 0 : store_error(a, what, e);
}

static void
bind_text(sqlite3_stmt *st, int at, const char *text)
{
	sqlite3_bind_text(st, at, text, -1, SQLITE_TRANSIENT);
}

static void
bind_int(sqlite3_stmt *st, int at, uint64_t v)
{
	sqlite3_bind_int64(st, at, (sqlite3_int64)v);
}

/* Parameters 1 to 7. */
static void
bind_key(sqlite3_stmt *st, const struct netevent *ev)
{
	bind_int(st, 1, ev->kind);
	bind_int(st, 2, ev->verdict);
	bind_int(st, 3, ev->via);
	bind_text(st, 4, ev->host);
	bind_int(st, 5, ev->port);
	bind_text(st, 6, ev->rule);
	bind_text(st, 7, ev->reason);
}

static int
exec(struct audit *a, const char *sql, const char *what, struct err *e)
{
	return sqlite3_exec(a->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0
								       : store_error(a, what, e);
}

/* Settings of every connection; defensive: the file's schema can run nothing. NULL for -EIO. */
static struct audit *
open_db(const char *path, int flags, struct err *e)
{
	struct audit *a = xcalloc(1, sizeof(*a));
	int r = sqlite3_open_v2(path, &a->db, flags | SQLITE_OPEN_NOMUTEX, NULL);

	if (r != SQLITE_OK) {
		err_set(e, EIO, "network log '%s': %s", path, sqlite3_errstr(r));
		audit_close(a);
		return NULL;
	}
	sqlite3_busy_timeout(a->db, BUSY_MS);
	sqlite3_db_config(a->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(a->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	return a;
}

static int
check_version(struct audit *a, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int version = -1;

	if (sqlite3_prepare_v2(a->db, "PRAGMA user_version", -1, &st, NULL) == SQLITE_OK &&
		sqlite3_step(st) == SQLITE_ROW)
		version = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	if (version < 0)
		return store_error(a, "read", e);
	if (version > SCHEMA_VERSION)
		return err_set(e, EPROTO,
			"the network log is of a newer version of paddock (%d): use that one",
			version);
	return version;
}

static int
open_write(const char *path, struct audit **ret, struct err *e)
{
	struct audit *a = open_db(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, e);
	char limits[128];
	int r;

	if (a == NULL)
		return -EIO;
	snprintf(limits, sizeof(limits), "PRAGMA max_page_count = %u", AUDIT_BYTES_MAX / 4096);
	r = exec(a, "PRAGMA journal_mode = WAL", "open", e);
	if (r == 0)
		r = exec(a, "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 4194304",
			"open", e);
	if (r == 0)
		r = exec(a, limits, "open", e);
	if (r == 0)
		r = check_version(a, e);
	if (r >= 0)
		r = exec(a, schema, "schema", e);
	if (r < 0) {
		audit_close(a);
		return r;
	}
	*ret = a;
	return 0;
}

int
audit_open(const char *path, struct audit **ret, struct err *e)
{
	CLEAN_FREE char *aside = xasprintf("%s.damaged", path);
	int r = open_write(path, ret, e);

	/* A log that cannot be read is no reason to have none from now on. */
	if (r != -EIO)
		return r;
	log_warn("%s: it is put aside as '%s'", e != NULL ? e->msg : "damaged", aside);
	if (rename(path, aside) < 0)
		return r;
	return open_write(path, ret, e);
}

int
audit_open_read(const char *path, struct audit **ret, struct err *e)
{
	struct audit *a;
	int r;

	if (access(path, F_OK) < 0)
		return err_sys(e, errno, "network log '%s'", path);
	/* Not read-only: a reader of a WAL takes part in its locks. */
	a = open_db(path, SQLITE_OPEN_READWRITE, e);
	if (a == NULL)
		return -EIO;
	r = exec(a, "PRAGMA query_only = 1", "open", e);
	if (r == 0)
		r = check_version(a, e);
	if (r < 0) {
		audit_close(a);
		return r;
	}
	*ret = a;
	return 0;
}

void
audit_close(struct audit *a)
{
	if (a == NULL)
		return;
	for (size_t i = 0; i < ST_COUNT; i++)
		sqlite3_finalize(a->st[i]);
	sqlite3_close(a->db);
	free(a);
}

int
audit_begin(struct audit *a, struct err *e)
{
	return finish(a, statement(a, ST_BEGIN), "begin", e);
}

int
audit_commit(struct audit *a, struct err *e)
{
	return finish(a, statement(a, ST_COMMIT), "commit", e);
}

void
audit_rollback(struct audit *a)
{
	/* SQLite may have done so already. */
	if (sqlite3_get_autocommit(a->db) == 0)
		(void)finish(a, statement(a, ST_ROLLBACK), "rollback", NULL);
}

static int
add_event(struct audit *a, const struct netevent *ev, int64_t now_ms, struct err *e)
{
	sqlite3_stmt *st = statement(a, ST_EVENT);

	sqlite3_bind_int64(st, 1, now_ms);
	bind_int(st, 2, ev->op == NETEVENT_OPEN);
	bind_int(st, 3, ev->conn);
	bind_int(st, 4, ev->kind);
	bind_int(st, 5, ev->verdict);
	bind_int(st, 6, ev->via);
	bind_text(st, 7, ev->host);
	bind_int(st, 8, ev->port);
	bind_text(st, 9, ev->method);
	bind_text(st, 10, ev->path);
	bind_text(st, 11, ev->rule);
	bind_text(st, 12, ev->reason);
	bind_int(st, 13, ev->status);
	bind_int(st, 14, ev->count);
	bind_int(st, 15, ev->up);
	bind_int(st, 16, ev->down);
	bind_int(st, 17, ev->duration_ms);
	return finish(a, st, "insert", e);
}

static int
add_tally(struct audit *a, const struct netevent *ev, int64_t now_ms, struct err *e)
{
	sqlite3_stmt *st = statement(a, ST_TALLY);

	bind_key(st, ev);
	bind_int(st, 8, ev->count);
	bind_int(st, 9, ev->up);
	bind_int(st, 10, ev->down);
	sqlite3_bind_int64(st, 11, now_ms);
	return finish(a, st, "insert", e);
}

/* The bytes go to the tally that the beginning was counted in. */
static int
close_event(struct audit *a, const struct netevent *ev, struct err *e)
{
	sqlite3_stmt *st = statement(a, ST_CLOSE), *bytes = statement(a, ST_TALLY_BYTES);

	bind_int(st, 1, ev->conn);
	bind_int(st, 2, ev->up);
	bind_int(st, 3, ev->down);
	bind_int(st, 4, ev->duration_ms);
	bind_int(st, 5, ev->status);
	if (sqlite3_step(st) != SQLITE_ROW)
		return finish(a, st, "update", e);
	for (int i = 0; i < 7; i++)
		sqlite3_bind_value(bytes, i + 1, sqlite3_column_value(st, i));
	bind_int(bytes, 8, ev->up);
	bind_int(bytes, 9, ev->down);
	int r = finish(a, bytes, "update", e);

	return r < 0 ? r : finish(a, st, "update", e);
}

static int
trim(struct audit *a, struct err *e)
{
	sqlite3_stmt *st = statement(a, ST_TRIM_EVENTS), *oldest = NULL;
	sqlite3_int64 before = -1;
	int r;

	bind_int(st, 1, AUDIT_EVENTS_MAX);
	r = finish(a, st, "trim", e);
	if (r < 0)
		return r;
	/* The time of the newest of those that are too many. */
	if (sqlite3_prepare_v2(a->db, "SELECT last FROM tally ORDER BY last DESC LIMIT 1 OFFSET ?1",
		    -1, &oldest, NULL) == SQLITE_OK) {
		bind_int(oldest, 1, AUDIT_TALLIES_MAX);
		if (sqlite3_step(oldest) == SQLITE_ROW)
			before = sqlite3_column_int64(oldest, 0) + 1;
	}
	sqlite3_finalize(oldest);
	for (enum statement s = ST_FOLD_TALLIES; before >= 0 && s <= ST_DROP_TALLIES && r == 0;
		s++) {
		st = statement(a, s);
		sqlite3_bind_int64(st, 1, before);
		r = finish(a, st, "trim", e);
	}
	return r;
}

int
audit_add(struct audit *a, const struct netevent *ev, int64_t now_ms, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (ev->op == NETEVENT_CLOSE)
		return close_event(a, ev, e);
	if (ev->op == NETEVENT_LOST) {
		st = statement(a, ST_LOST);
		bind_int(st, 1, ev->count);
		return finish(a, st, "insert", e);
	}
	r = add_event(a, ev, now_ms, e);
	if (r == 0)
		r = add_tally(a, ev, now_ms, e);
	if (r == 0 && ++a->nevents % TRIM_EVERY == 0)
		r = trim(a, e);
	return r;
}
