#pragma once
/* Sockets that hear what `log group N` of the ruleset says. Private to the room. */
#include <stdint.h>

#include <base/err.h>

#define JAIL_NFLOG_UDP     1
#define JAIL_NFLOG_REFUSED 2
#define JAIL_NFLOG_FLOOD   3

/* In the network namespace, once the ruleset is loaded: non-blocking, close-on-exec. */
int nflog_open(uint16_t group, struct err *e);
