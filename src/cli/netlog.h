#pragma once
/* The network log, read and shown. */
#include <audit/audit.h>

#include "cli.h"

/* The log of one sandbox. -ENOENT (without e) where it has none yet. */
int netlog_open(const struct cli *c, const char *name, struct audit **ret, struct err *e);

/* "host:port", "[v6]:port", or "host" where there is no port. */
#define NETLOG_HOST_MAX (NETEVENT_HOST_MAX + 16)
void netlog_host(const struct netevent *ev, char out[NETLOG_HOST_MAX]);

/* The two tables (and a third for what was allowed and not reached). sandbox NULL: all. */
struct netlog_query {
	bool only_blocked;
	uint64_t limit; /* rows of a table, lines of a feed; 0: all */
};
int netlog_tables(
	const struct cli *c, const struct strv *names, const struct netlog_query *q, struct err *e);

/* One line for each event: text, with colour on a terminal, or JSON. follow: until all stop. */
int netlog_feed(const struct cli *c, const struct strv *names, const struct netlog_query *q,
	bool json, bool follow, struct err *e);

/*
 * "3 hosts were blocked: a, b, c - paddock network log NAME" of what happened since then; false:
 * nothing was.
 */
bool netlog_notice(const struct cli *c, const char *name, int64_t since_ms, char *out, size_t size);
