#pragma once
/* The image's /etc/passwd and /etc/group as text -> a user. Pure. */
#include "guest.h"

/*
 * spec: "name|uid[:group|gid]". A uid without an entry is allowed (as with docker exec): home "/".
 * -ENOENT for a name that does not exist, -EINVAL for a spec that is none.
 */
int users_find(const char *passwd, const char *group, const char *spec, struct guest_user *ret,
	struct err *e);
