#pragma once
/* What a build needs of the host, checked before it starts, so that it fails in one sentence. */
#include <stdbool.h>

#include <base/err.h>

/* Programs, by name and Debian package; user namespaces and subordinate ids for an ordinary user.
 */
int needs_check(const char *keyring, struct err *e);

/* The folder for the image while it is made ($TMPDIR, else /var/tmp): big and open enough? */
int needs_check_scratch(const char *dir, struct err *e);

/* The folder that the image is kept in: big enough? */
int needs_check_data(const char *dir, struct err *e);

/* Does one of the lines "NAME:FIRST:COUNT" give this user 65536 ids? Pure. subuid(5) */
bool needs_subids(const char *text, const char *user);
