#pragma once
/* The host's extra CA certificates in the guest's trust store. */
#include <base/buf.h>
#include <base/err.h>

#define CERTS_BUNDLE "/etc/ssl/certs/ca-certificates.crt"
/* Where update-ca-certificates(8) finds them, when somebody runs it in the guest. */
#define CERTS_HOST  "/usr/local/share/ca-certificates/paddock-host.crt"
#define CERTS_STAMP "/var/lib/paddock/certificates"

struct certs_paths {
	const char *bundle, *host, *stamp;
};

/*
 * Puts those of pem that the bundle does not hold into a marked block at its end (the image's own
 * stay as they are), and all into the host file; with an empty pem both go. Does nothing where the
 * stamp says that just this has been done to just this bundle.
 */
int certs_apply(const struct certs_paths *p, const char *pem, struct err *e);

/* The PEM certificates of pem that known does not contain, appended to out. */
void certs_unknown(const char *pem, const char *known, struct buf *out);
