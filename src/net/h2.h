#pragma once
/*
 * HTTP/2 (RFC 9113) between a guest and its origin, both through nghttp2: what is intercepted of
 * TLS and speaks it on both sides. Each stream's request is judged as one of HTTP/1 is.
 */
#include "http_conn.h"

struct h2_conn;

/* As http_conn_start; origin_fd -1: nothing but pages are said. */
struct h2_conn *h2_conn_start(const struct http_options *o, http_done_fn *done, void *arg);
/* Resets both sides; done is not called. */
void h2_conn_cancel(struct h2_conn *h);
/* The policy is another. False: what goes on now is not allowed any more; cancel it. */
bool h2_conn_recheck(struct h2_conn *h);
