#include <string.h>

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

struct policy_decision
http_decide(
	const struct http_options *o, const struct reach_dest *dest, const struct reach_dest *says)
{
	struct policy_decision d = reach_judge(o->net, dest);

	if (d.outcome == POLICY_ALLOW && says->host != NULL && dest->is_raw && !says->is_raw)
		d = reach_judge(o->net, says);
	return d;
}
