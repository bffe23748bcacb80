#pragma once
/*
 * What the guest is told when it does not get what it asked for: one shape for people and agents,
 * as text or, for those who ask for it, as JSON. Pure.
 */
#include <stdbool.h>

#include <base/buf.h>
#include <policy/policy.h>
#include <proto/http.h>

struct page {
	int status;        /* 400, 403, 431, 502, 503, 504 */
	const char *error; /* "blocked", "malformed", "unreachable" */
	const char *host;  /* NULL: not known */
	uint16_t port;
	const char *rule, *reason; /* "": none */
	const char *allow_with;    /* a command; "": none can */
	const char *sandbox;
};

/* Of a decision. The texts live in `store`. */
struct page_store {
	char rule[RULE_TEXT_MAX], reason[POLICY_TEXT_MAX], allow_with[POLICY_ALLOW_WITH_MAX];
};
struct page page_of_decision(struct page_store *store, const struct policy_dest *dest,
	const struct policy_decision *decision, const char *sandbox);

/* How the one who asked wants to be answered. */
struct page_form {
	bool json, no_body;
};
struct page_form page_form_of(const struct http_request *q);
/* What it says alone; its type. */
const char *page_put_body(const struct page *p, struct page_form form, struct buf *out);
/* A whole response that ends the connection. */
void page_put(const struct page *p, struct page_form form, struct buf *out);

/* To a TLS client that cannot be given a page: an alert, access_denied (RFC 8446 6.2). */
void page_put_tls(struct buf *out);
