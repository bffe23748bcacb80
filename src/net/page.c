#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <base/cleanup.h>

#include "page.h"

static const char *
status_text(int status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 431:
		return "Request Header Fields Too Large";
	case 502:
		return "Bad Gateway";
	case 504:
		return "Gateway Timeout";
	default:
		return "Service Unavailable";
	}
}

struct page
page_of_decision(struct page_store *store, const struct policy_dest *dest,
	const struct policy_decision *decision, const char *sandbox)
{
	policy_decision_rule(decision, store->rule);
	policy_decision_text(decision, store->reason);
	policy_allow_with(dest, decision, sandbox, store->allow_with);
	return (struct page){.status = 403,
		.error = "blocked",
		.port = dest->port,
		.rule = store->rule,
		.reason = store->reason,
		.allow_with = store->allow_with,
		.sandbox = sandbox};
}

/* RFC 8259 section 7. */
static void
put_json(struct buf *out, const char *name, const char *text)
{
	buf_printf(out, "\"%s\":\"", name);
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c >= 0x7f)
			buf_printf(out, "\\u%04x", c);
		else
			buf_printf(out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
	}
	buf_append_str(out, "\"");
}

static void
put_json_body(const struct page *p, struct buf *out)
{
	buf_append_str(out, "{");
	put_json(out, "error", p->error);
	if (p->host != NULL) {
		buf_append_str(out, ",");
		put_json(out, "host", p->host);
		buf_printf(out, ",\"port\":%u", p->port);
	}
	const struct {
		const char *name, *text;
	} more[] = {{"rule", p->rule}, {"reason", p->reason}, {"allow_with", p->allow_with}};

	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		if (more[i].text == NULL || more[i].text[0] == '\0')
			continue;
		buf_append_str(out, ",");
		put_json(out, more[i].name, more[i].text);
	}
	buf_append_str(out, "}\n");
}

static void
put_text_body(const struct page *p, struct buf *out)
{
	if (p->host == NULL)
		buf_printf(out, "%s request\n", p->error);
	else if (p->status == 403)
		buf_printf(out, "Blocked by the network policy of sandbox %s: %s:%u\n", p->sandbox,
			p->host, p->port);
	else
		buf_printf(out, "%s:%u: %s\n", p->host, p->port, p->error);
	if (p->rule != NULL && p->rule[0] != '\0')
		buf_printf(out, "rule: %s\n", p->rule);
	if (p->reason != NULL && p->reason[0] != '\0')
		buf_printf(out, "reason: %s\n", p->reason);
	if (p->allow_with != NULL && p->allow_with[0] != '\0')
		buf_printf(out,
			"Nothing in here can change that. Its owner can, on the host:\n  %s\n",
			p->allow_with);
}

/* Accept: application/json, application/problem+json, ... */
struct page_form
page_form_of(const struct http_request *q)
{
	struct page_form form = {.no_body = http_str_is(q->method, "HEAD")};

	for (size_t i = 0; i < q->nfields; i++) {
		struct http_str v = q->fields[i].value;

		if (!http_str_is(q->fields[i].name, "accept"))
			continue;
		for (size_t k = 0; k + 4 <= v.n; k++)
			form.json |= strncasecmp(v.p + k, "json", 4) == 0;
	}
	return form;
}

const char *
page_put_body(const struct page *p, struct page_form form, struct buf *out)
{
	if (form.json)
		put_json_body(p, out);
	else
		put_text_body(p, out);
	return form.json ? "application/json" : "text/plain; charset=utf-8";
}

void
page_put(const struct page *p, struct page_form form, struct buf *out)
{
	CLEAN_BUF struct buf body = BUF_INIT;
	const char *type = page_put_body(p, form, &body);

	buf_printf(out,
		"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		"Cache-Control: no-store\r\nX-Paddock: %s\r\nConnection: close\r\n\r\n",
		p->status, status_text(p->status), type, body.len, p->error);
	if (!form.no_body)
		buf_append(out, body.data, body.len);
}

void
page_put_tls(struct buf *out)
{
	static const uint8_t alert[] = {21, 3, 3, 0, 2, 2 /* fatal */, 49 /* access_denied */};

	buf_append(out, alert, sizeof(alert));
}
