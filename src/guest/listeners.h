#pragma once
/* Which TCP ports of this machine's loopback something listens on. */
#include <base/buf.h>

/*
 * The ports in /proc/net/tcp's or tcp6's text (Documentation/networking/proc_net_tcp.rst) that
 * listen on the loopback or on any address: into seen, a bit for each of 65536 ports. Pure.
 */
void listeners_parse(const char *text, unsigned char seen[8192]);
/* Appends an entry (wire/session.h) for each. */
void listeners_list(struct buf *out);
