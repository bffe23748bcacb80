#pragma once
/* The guest's network: one Ethernet device, its address, its default route. */
#include <stdint.h>

#include <base/err.h>

struct netcfg {
	uint32_t address, netmask, gateway; /* network byte order */
};

/* "198.18.0.2/30" and "198.18.0.1" -> numbers; -EINVAL. */
int netcfg_parse(const char *address, const char *gateway, struct netcfg *ret);
/* Gives them to the first Ethernet device and brings it up. Repeatable. */
struct devices;
int netcfg_apply(struct devices *d, const struct netcfg *c, struct err *e);
/* resolv.conf(5): the gateway answers. */
int netcfg_write_resolv(const struct netcfg *c, struct err *e);
