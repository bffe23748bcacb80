#pragma once
/* What the guest means by an address. */
#include "reach.h"

/*
 * The name behind a fake address, the host itself, or the address (its text is put into host). Port
 * and protocol stay the caller's to set. The name, to be pinned for as long as it is used; or NULL.
 */
struct name *dest_identify(const struct net *net, uint32_t addr, char host[HOST_NAME_TEXT_MAX],
	struct reach_dest *ret, enum netevent_via *ret_via);
