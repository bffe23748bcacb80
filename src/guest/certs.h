#pragma once
/* The host's extra CA certificates in the guest's trust store. */
#include <base/buf.h>
#include <base/err.h>

#define CERTS_BUNDLE "/etc/ssl/certs/ca-certificates.crt"
/* Where update-ca-certificates(8) finds them, when somebody runs it in the guest. */
#define CERTS_HOST  "/usr/local/share/ca-certificates/paddock-host.crt"
#define CERTS_STAMP "/var/lib/paddock/certificates"
/*
 * Those that the image does not have, one in each file, and the links to them that
 * update-ca-certificates makes of such files: Java's list is made of these (ca-certificates-java).
 */
#define CERTS_LOCAL "/usr/local/share/ca-certificates"
#define CERTS_LINKS "/etc/ssl/certs"

struct certs_paths {
	const char *bundle, *host, *stamp, *local, *links;
};

/*
 * Puts those of pem that the bundle does not hold into a marked block at its end (the image's own
 * stay as they are), these into files of their own too, and all into the host file; with an empty
 * pem all go. 1, or 0 where the stamp says that just this has been done to just this bundle.
 */
int certs_apply(const struct certs_paths *p, const char *pem, struct err *e);

/* The PEM certificates of pem that known does not contain, appended to out. */
void certs_unknown(const char *pem, const char *known, struct buf *out);

/*
 * Where a Java from Debian's packages is there already, its list is brought up to date by a process
 * in the background: a Java virtual machine takes its time.
 */
void certs_tell_java(void);
