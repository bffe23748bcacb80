#pragma once
/*
 * What a container runtime is told (OCI runtime specification 1.x, config.md), with what the guest
 * adds. Pure. The guest's trusted certificates: files that are mounted, and variables that name
 * them. And a hook that is this program instead of dockerd (setkey.c).
 *
 * The files come to lie in the container's own /dev, a tmpfs that is made at its start, so that
 * nothing of them stays behind in its root file system or in an image that is made of it. What must
 * lie elsewhere (java.c) lies in overlays over folders of the root file system.
 */
#include <stdbool.h>

#include <base/buf.h>
#include <base/err.h>
#include <base/str.h>

#define OCI_TRUST_DIR "/dev/paddock"
/* Where the guest has what it does not keep elsewhere. */
#define OCI_TRUST_SOURCES "/run/paddock/trust"

struct oci_file {
	const char *source, *destination; /* paths in the guest, in the container */
};

struct oci_variable {
	const char *name, *value;
};

/* Every program looks for its certificates in a place of its own; both end with a NULL. */
extern const struct oci_file oci_trust_files[];
extern const struct oci_variable oci_trust_variables[];

/* What wget and apt are told: their GnuTLS reads no variable. */
#define OCI_WGETRC   "passive_ftp = on\nca_certificate = " OCI_TRUST_DIR "/ca-certificates.crt\n"
#define OCI_APT_CONF "Acquire::https::CaInfo \"" OCI_TRUST_DIR "/ca-certificates.crt\";\n"

enum oci_kind {
	OCI_CONTAINER, /* config.json of a bundle */
	OCI_PROCESS,   /* the process object alone, for another one in a container that runs */
};

/* What of a container must be known before it is amended. Zero-initialise. */
struct oci_container {
	char *root; /* its root file system: absolute, or below the bundle; NULL: has none */
	bool readonly;
	bool user_namespace;
	char *java_home;     /* as its process has it; NULL: has none */
	struct strv mounted; /* destinations of its mounts */
};

void oci_container_release(struct oci_container *c);
/* -EINVAL: it is no such JSON. */
int oci_container_read(const char *text, struct oci_container *ret, struct err *e);

/* A folder of a container with other folders over it: paths in the guest, but for the first. */
struct oci_overlay {
	char *destination;
	char *lower; /* as mount(8) has it for overlayfs: the upper ones first, with colons */
	char *upper, *work; /* NULL: nothing is written to it */
};

/*
 * The text with the mounts of those files for which has() is true, and with the variables that name
 * no file that is left out, and with those overlays over all that is mounted. What the image or the
 * caller has set stays; dockerd's hook for the network is replaced. Appends to out; -EINVAL: it is
 * no such JSON.
 */
int oci_amend(const char *text, enum oci_kind kind, bool (*has)(const char *source),
	const struct oci_overlay *overlays, size_t n, struct buf *out, struct err *e);
