#pragma once
/* The interfaces of the jail's network namespace: lo and one TAP. Private to the room. */
#include <base/err.h>

#define JAIL_TAP "tap0"

/* In the network namespace: the TAP, configured and up. Its descriptor (close-on-exec). */
int tap_setup(struct err *e);
