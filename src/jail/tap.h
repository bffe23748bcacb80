#pragma once
/* The one interface of the jail's network namespace that is up, a TAP. Private to the room. */
#include <base/err.h>

#define JAIL_TAP "tap0"

/* In the network namespace: the TAP, configured and up. Its descriptor (close-on-exec). */
int tap_setup(struct err *e);
