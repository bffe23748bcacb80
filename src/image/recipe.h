#pragma once
/*
 * What goes into a machine image, as data. Two recipes with the same digest make images that are
 * as good as each other; the host's mirror and proxy are not part of it, for they change without
 * a reason to build again.
 */
#include <stdint.h>
#include <sys/types.h>

#include <base/buf.h>
#include <base/err.h>

/* To be raised when the meaning of a field changes without its text. */
#define RECIPE_VERSION 1

struct recipe {
	const char *name;         /* "shell" */
	const char *suite;        /* "trixie" */
	const char *architecture; /* Debian's word: "amd64" */
	const char *kernel;       /* the package that names the kernel's */
	const char *boot_modules; /* what a boot needs, as modprobe knows them, blank-separated */
	const char *const *packages; /* NULL-terminated */
	uint64_t disk_bytes;         /* virtual size of the root file system */
	uid_t uid;                   /* of the user agent */
	gid_t gid;
};

/* Debian's word for the machine name that uname(2) gives, or NULL for one we cannot boot. */
const char *recipe_architecture(const char *machine);

/* The recipe of a name. -ENOENT names the ones that there are; -ENOTSUP on other architectures. */
int recipe_find(const char *name, const char *machine, uid_t uid, gid_t gid, struct recipe *ret,
	struct err *e);

/* All that it says, one field a line, the hook scripts at the end. */
void recipe_print(const struct recipe *r, struct buf *out);

#define RECIPE_DIGEST_SIZE 17
void recipe_digest(const struct recipe *r, char out[RECIPE_DIGEST_SIZE]);
