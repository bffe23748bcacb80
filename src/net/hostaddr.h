#pragma once
/*
 * Which addresses are the host's own: the kernel's routing table knows best, whole local ranges,
 * broadcast and anycast addresses included. See rtnetlink(7), RTM_GETROUTE.
 */
#include <policy/addr.h>

struct hostaddr {
	int fd;
	uint32_t seq;
};

/* 0 or -errno. */
int hostaddr_open(struct hostaddr *h);
void hostaddr_close(struct hostaddr *h);
/* 1: delivered on this host; 0: elsewhere, or nowhere; -errno: no answer. Waits 2 s at most. */
int hostaddr_is_local(struct hostaddr *h, const struct ip_addr *a);
