#pragma once
/*
 * What a container's Java trusts: its lists lie in the image, so each is covered by one that has
 * the guest's certificates as well.
 */
#include <stdbool.h>

#include "oci.h"

#define JAVA_LISTS_MAX 32

/* Zero-initialise. */
struct java_overlays {
	struct oci_overlay v[JAVA_LISTS_MAX];
	size_t n;
};

void java_overlays_release(struct java_overlays *o);

/*
 * Looks for lists in the container's root file system, and makes what is to lie over them of these
 * certificates, in state/ID. Without a list, in a root file system that is not there, or where the
 * container has mounts of its own in that place, there is nothing: 0. Nothing in the root file
 * system is changed, and none of its symlinks leads out of it.
 */
int java_prepare(const char *state, const char *id, const char *bundle,
	const struct oci_container *c, const char *pem, struct java_overlays *ret, struct err *e);

/* Whether something lies over this container's lists. */
bool java_is_prepared(const char *state, const char *id);

/*
 * When the container has ended: what it changed in these folders is put into its root file system,
 * in the lists without what was ours; state/ID goes. 0 where there is none.
 */
int java_settle(const char *state, const char *id, struct err *e);
