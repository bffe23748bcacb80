#pragma once
/* What http_conn.c, http_judge.c and http_exchange.c share. */
#include "edit.h"
#include "http_conn.h"
#include "page.h"
#include "relay.h"
#include "server.h"
#include "endpoint.h"
#include "upstream.h"

/* From a side is read only while less than this waits for the other. */
#define HTTP_HIGH (128 * 1024)

enum http_state { H_HEAD, H_REACH, H_EXCHANGE, H_SWITCH, H_TUNNEL, H_RELAY };
enum step { STEP_WAIT, STEP_AGAIN, STEP_GONE };

struct http_conn {
	struct http_options o;
	enum http_state state;
	struct endpoint guest, origin;
	struct ip_addr origin_to;
	char origin_host[HOST_NAME_TEXT_MAX];
	uint16_t origin_port;
	struct alarm *limit;
	bool limit_of_head; /* which of the two it is */
	struct upstream *upstream;
	struct relay *relay;
	struct record record;
	http_done_fn *done;
	void *arg;
	size_t scanned;        /* of guest.in: no end of a head in there */
	bool up_end, down_end; /* TUNNEL: that direction has said its end */

	/* the present request */
	char host[HOST_NAME_TEXT_MAX]; /* forward: of dest */
	struct reach_dest dest;
	char method[HTTP_METHOD_MAX + 1];
	char *target;
	struct buf head; /* to be sent once it is reached */
	bool keep_alive, wants_upgrade;
	struct page_form form;
	int minor, status;
	struct http_framer up, down;
	struct edit_upload *upload; /* of its body; NULL: it passes as it is */
	struct edit_answer *answer; /* likewise of the answer's */
	bool answered;              /* its answer's head has gone down */
	bool origin_keep;           /* the answer says that the origin may be asked again */
	uint64_t up_bytes, down_bytes;
};

/* ---- http_conn.c: its ends, and what is said before them */
/* What is left of the last request. */
void http_end_edits(struct http_conn *h);
enum step http_finish(struct http_conn *h, bool reset);
/* What is in guest.out, then the end. */
enum step http_say_goodbye(struct http_conn *h);
enum step http_end_with_page(struct http_conn *h, const struct page *p);
/* Allowed, and not to be had. */
enum step http_end_unreachable(struct http_conn *h, int status, const char *reason);
void http_run(struct http_conn *h);
bool http_take_origin(struct http_conn *h, int fd, SSL *ssl, const struct ip_addr *to);

/* ---- http_judge.c: HEAD and REACH */
/* The request that is on its way, for edit.h. */
struct edit_request http_edit_request(const struct http_conn *h);
enum step http_refuse(struct http_conn *h, const char *rule, const char *reason);
enum step http_step_head(struct http_conn *h);
enum step http_refuse_malformed(struct http_conn *h, int status, const char *reason);

/* ---- http_exchange.c: EXCHANGE, SWITCH and TUNNEL */
enum step http_step_exchange(struct http_conn *h);
enum step http_step_switch(struct http_conn *h);
enum step http_step_tunnel(struct http_conn *h);
