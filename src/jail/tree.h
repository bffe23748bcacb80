#pragma once
/* The mount tree of a confinement, built and entered. Private to the room. */
#include <base/err.h>
#include <jail/jail.h>

/* In a mount namespace of its own. Afterwards "/" is the tree and the host's is gone. */
int tree_enter(const struct jail_confine *c, struct err *e);
