#pragma once
/* One connection of the guest, and what conn.c, conn_tls.c, look.c and proxy.c share. */
#include "events.h"
#include "gate.h"
#include "h2.h"
#include "http_conn.h"
#include "intercept.h"
#include "page.h"
#include "reach.h"
#include "relay.h"

enum conn_state { CONN_NEW, CONN_LOOK, CONN_REACH, CONN_RELAY, CONN_INTERCEPT, CONN_HTTP };

/* What is looked for in CONN_LOOK. */
enum look {
	LOOK_REFUSED,  /* it is denied: in which form shall that be said? */
	LOOK_REQUESTS, /* it depends on requests: are there any to be seen? */
	LOOK_PROXY,    /* at the forward proxy: CONNECT, or another request */
};

struct conn {
	LIST_ENTRY(conn) link;
	struct net *net;
	enum conn_state state;
	enum look look;
	int guest_fd, remote_fd; /* remote: while it is relayed */
	struct name *name;       /* pinned; NULL for a raw address and for the host itself */
	struct reach_dest dest;
	struct ip_addr to; /* RELAY: where it goes */
	enum netevent_via via;
	bool connect;                  /* by CONNECT, not answered yet */
	char host[HOST_NAME_TEXT_MAX]; /* of dest: CONNECT's, or a raw address */
	struct page_form form;         /* CONNECT */
	struct page_store *denied;     /* LOOK_REFUSED: owned */
	struct record record;
	struct gate gate;
	struct watch *watch; /* LOOK */
	struct alarm *limit; /* made where it is needed */
	uint64_t gate_ms;    /* RELAY: what limit is set to; 0: to the announcement */
	bool announced;      /* RELAY: it is in the log */
	struct reach *reach;
	struct relay *relay;
	struct intercept *intercept;
	char tls_name[HOST_NAME_TEXT_MAX]; /* INTERCEPT and on */
	bool no_origin;                    /* INTERCEPT: for a page alone */
	struct http_verdict verdict;       /* INTERCEPT and on */
	struct http_conn *http;            /* HTTP: one of these two */
	struct h2_conn *h2;
};

/* ---- conn.c */
/* Frees it; whatever it had must be gone. */
void conn_release(struct conn *c);
/* Resets the guest's side; frees it. The present state has nothing running any more. */
void conn_reset(struct conn *c);
/* The guest's socket goes on to HTTP, with the origin's where one is connected (else -1). */
void conn_start_http(struct conn *c, int origin_fd);
/* Both ends as interception has left them: theirs now. */
void conn_start_https(struct conn *c, const struct intercept_result *r);
/* Judges dest and goes on accordingly. */
void conn_judge(struct conn *c);
void conn_set_limit(struct conn *c, uint64_t ms, alarm_fn *fn);
/* Logged as blocked, whatever was logged of it before. */
void conn_log_blocked(
	struct conn *c, enum netevent_kind kind, const char *rule, const char *reason);
/* The words, then the end; takes the guest's socket, frees the connection. */
void conn_say_goodbye(struct conn *c, struct buf *words);

/* ---- conn_tls.c: the gate has seen a ClientHello */
/* NULL: its server name fits. Else why not, in `text` or constant. */
const char *conn_check_server_name(const struct conn *c, char text[NETEVENT_REASON_MAX]);
/* Denied; nothing of the state is running any more. It is logged once it is clear how it was said.
 */
void conn_refuse_tls(struct conn *c, const char *rule, const char *reason);
void conn_refuse_name(struct conn *c, const char *reason);
/* Its requests decide. */
void conn_inspect_tls(struct conn *c);
/* Allowed, and connected: a credential may have to be put in. What cannot be looked into for that
 * is refused, unless the owner has a bypass rule. */
bool conn_wants_edit(const struct conn *c);
void conn_edit_tls(struct conn *c, int origin_fd);
/* What the log says of TLS that passes as it is. */
const char *conn_tls_note(const struct conn *c);

/* ---- look.c */
void conn_refuse(struct conn *c, const struct policy_decision *d);
void conn_look(struct conn *c, enum look what);

/* ---- proxy.c */
void proxy_look(struct conn *c);
void proxy_end(struct conn *c, const struct page *p); /* CONNECT's answer is this page */
bool proxy_established(struct conn *c);               /* CONNECT's answer is 200 */
