#pragma once
/* What store.c and query.c share. */
#include <sqlite3.h>

#include <audit/audit.h>

enum statement {
	ST_BEGIN,
	ST_COMMIT,
	ST_ROLLBACK,
	ST_EVENT,
	ST_CLOSE,
	ST_TALLY,
	ST_TALLY_BYTES,
	ST_LOST,
	ST_TRIM_EVENTS,
	ST_FOLD_TALLIES,
	ST_DROP_TALLIES,
	ST_COUNT,
};

struct audit {
	sqlite3 *db;
	sqlite3_stmt *st[ST_COUNT]; /* prepared at first use */
	uint64_t nevents, ntallies_checked;
};

int store_error(struct audit *a, const char *what, struct err *e);
