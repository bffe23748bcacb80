#include "edit.h"

bool
edit_concerns(const struct net *net, const struct reach_dest *d)
{
	(void)net;
	(void)d;
	return false;
}

const char *
edit_request_fields(const struct net *net, const struct edit_request *q, struct http_field *fields,
	size_t *n, struct buf *store)
{
	(void)net;
	(void)q;
	(void)fields;
	(void)n;
	(void)store;
	return NULL;
}
