#pragma once
/* What every socket of the net role gets, and how one ends. */
#include <sys/socket.h>

/*
 * No delay, and keepalive probes: the only thing that ends a silent connection. A listener hands it
 * down to what it accepts.
 */
void sock_tune(int fd);
void sock_tune_datagrams(int fd);
/* Closes with a reset, so that the peer's program learns at once that there is nothing to wait for.
 */
void sock_reset(int fd);
socklen_t sock_addr_len(const struct sockaddr_storage *ss);
