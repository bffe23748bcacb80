#include <ctype.h>
#include <string.h>

#include <base/cleanup.h>

#include "http_check.h"

const char *
http_check_name(const struct http_options *o, enum http_form form,
	const struct http_authority *said, char host[HOST_NAME_TEXT_MAX], struct reach_dest *ret)
{
	ret->port = o->dest.port;
	if (form != HTTP_FORM_ORIGIN && form != HTTP_FORM_ASTERISK)
		return "a request for a proxy in a connection to a server";
	if (said->host.n == 0) {
		*ret = o->dest;
		return NULL;
	}
	if (!reach_name(said, host, ret))
		return "a Host that is no name";
	if (said->port != 0 && said->port != o->dest.port)
		return "a Host with another port than the connection's";
	if (o->tls_name != NULL && o->dest.is_raw && strcmp(ret->host, o->tls_name) != 0)
		return "a Host that is not the server name in TLS";
	if (reach_same_host(ret, &o->dest) || (o->dest.is_raw && !ret->is_raw))
		return NULL;
	return "a Host that is not the connection's";
}

static struct policy_decision
decide(const struct http_options *o, const struct reach_dest *dest, const struct reach_dest *says)
{
	struct policy_decision d = reach_judge(o->net, dest);

	if (d.outcome == POLICY_ALLOW && says->host != NULL && dest->is_raw && !says->is_raw)
		d = reach_judge(o->net, says);
	return d;
}

/*
 * Many frameworks take the method from one of these where POST was sent. Behind CGI and its heirs
 * (RFC 3875 4.1.18) an underscore is as good as a hyphen.
 */
static bool
overrides_method(struct http_str name)
{
	static const char *const names[] = {
		"x-http-method-override", "x-http-method", "x-method-override"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t k = 0;

		while (k < name.n && (name.p[k] == '_' ? '-' : tolower(name.p[k])) == names[i][k])
			k++;
		if (k == name.n && names[i][k] == '\0')
			return true;
	}
	return false;
}

/* As those frameworks read it; "?" is no method. */
static void
read_method(struct http_str value, char out[HTTP_METHOD_MAX + 1])
{
	if (value.n == 0 || value.n > HTTP_METHOD_MAX)
		value = (struct http_str){"?", 1};
	for (size_t i = 0; i < value.n; i++)
		out[i] = (char)toupper(value.p[i]);
	out[value.n] = '\0';
}

struct policy_decision
http_decide(const struct http_options *o, const struct reach_dest *dest,
	const struct reach_dest *says, const struct http_field *fields, size_t nfields)
{
	struct policy_decision d = decide(o, dest, says);

	for (size_t i = 0; i < nfields && d.outcome == POLICY_ALLOW; i++) {
		struct reach_dest dest_as = *dest, says_as = *says;
		char method[HTTP_METHOD_MAX + 1];

		if (!overrides_method(fields[i].name))
			continue;
		read_method(fields[i].value, method);
		dest_as.method = says_as.method = method;
		d = decide(o, &dest_as, &says_as);
	}
	return d;
}
