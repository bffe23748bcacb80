#include <base/cleanup.h>

#include "http_head.h"

static void
put_str(struct buf *out, struct http_str s)
{
	buf_append(out, s.p, s.n);
}

static void
put_fields(const struct http_field *fields, size_t n, bool upgrade, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		const struct http_field *f = &fields[i];
		bool is_upgrade = upgrade && http_str_is(f->name, "upgrade");

		if (http_str_is(f->name, "host") ||
			(!is_upgrade && http_field_is_hop(fields, n, f->name)))
			continue;
		put_str(out, f->name);
		buf_append_str(out, ": ");
		put_str(out, f->value);
		buf_append_str(out, "\r\n");
	}
	if (upgrade)
		buf_append_str(out, "Connection: Upgrade\r\n");
}

static void
put_host(const struct http_authority *a, struct buf *out)
{
	buf_append_str(out, a->is_ipv6 ? "[" : "");
	put_str(out, a->host);
	buf_append_str(out, a->is_ipv6 ? "]" : "");
	if (a->port != 0)
		buf_printf(out, ":%u", a->port);
}

void
http_head_put_request(const struct http_request *q, const char *host, struct buf *out)
{
	put_str(out, q->method);
	buf_append_str(out, " ");
	put_str(out, q->path);
	buf_printf(out, " HTTP/1.%d\r\nHost: ", q->minor);
	if (q->to.host.n > 0)
		put_host(&q->to, out);
	else
		buf_append_str(out, host);
	buf_append_str(out, "\r\n");
	put_fields(q->fields, q->nfields, q->upgrade, out);
	buf_append_str(out, "\r\n");
}

void
http_head_put_response(const struct http_response *s, bool close, int client_minor, struct buf *out)
{
	buf_printf(out, "HTTP/1.1 %d ", s->status);
	put_str(out, s->reason);
	buf_append_str(out, "\r\n");
	put_fields(s->fields, s->nfields, s->status == 101, out);
	if (s->status >= 200 && close)
		buf_append_str(out, "Connection: close\r\n");
	else if (s->status >= 200 && client_minor == 0)
		buf_append_str(out, "Connection: keep-alive\r\n");
	buf_append_str(out, "\r\n");
}
