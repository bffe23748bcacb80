#pragma once
/* Heads as they are passed on: rebuilt from what was understood, never copied as they came. Pure.
 */
#include <base/buf.h>
#include <proto/http.h>

/* host: what the Host field says where the request has none of its own. */
void http_head_put_request(const struct http_request *q, const char *host, struct buf *out);
/* close: the guest is told that its connection ends with this; client_minor: its HTTP/1.x. */
void http_head_put_response(
	const struct http_response *s, bool close, int client_minor, struct buf *out);
