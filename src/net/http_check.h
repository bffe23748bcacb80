#pragma once
/* The judgment of one request, whichever version of HTTP it came in. */
#include "http_conn.h"

/*
 * In a connection to a name, a request says the same name; in one to an address, another name may
 * be said, if that is allowed as well: inside of TLS the one that TLS has named. NULL, or why not;
 * *ret is what it says, with its text in host.
 */
const char *http_check_name(const struct http_options *o, enum http_form form,
	const struct http_authority *said, char host[HOST_NAME_TEXT_MAX], struct reach_dest *ret);

/*
 * dest and says with method and target; says->host NULL: no other name was said. A method that a
 * field puts in the place of the request's own (X-HTTP-Method-Override) must be allowed as well.
 */
struct policy_decision http_decide(const struct http_options *o, const struct reach_dest *dest,
	const struct reach_dest *says, const struct http_field *fields, size_t nfields);
