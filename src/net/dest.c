#include "dest.h"

struct name *
dest_identify(const struct net *net, uint32_t addr, char host[HOST_NAME_TEXT_MAX],
	struct reach_dest *ret, enum netevent_via *ret_via)
{
	struct ip_addr raw = ip_addr_v4(addr);
	struct name *name = NULL;

	ip_addr_format(&raw, host);
	*ret = (struct reach_dest){.host = host, .is_raw = true};
	*ret_via = NETEVENT_DIRECT;
	if (addr == NET_GATEWAY)
		ret->host = HOST_NAME_DOCKER;
	else if (addr >= NET_FAKE_FIRST && addr <= NET_FAKE_LAST)
		name = names_find(net->names, addr);
	if (name != NULL)
		ret->host = name_text(name);
	if (ret->host != host) {
		ret->is_raw = false;
		*ret_via = NETEVENT_TRANSPARENT;
	}
	return name;
}
