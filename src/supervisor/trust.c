/* Whom the sandbox trusts (the host's certificates, its own authority), and the authority's key. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <base/io.h>
#include <signer/signer.h>

#include "sup.h"

/* In the sandbox's folder, which no role of the guest sees; mode 0600, for the key is in it. */
#define AUTHORITY_FILE "ca.pem"

int
sup_authority_load(struct sup *s, struct err *e)
{
	CLEAN_FREE char *path = state_sandbox_file(&s->paths, s->sandbox.name, AUTHORITY_FILE);
	CLEAN_BUF struct buf made = BUF_INIT;
	int r = io_read_file(AT_FDCWD, path, CA_PEM_MAX, &s->authority, NULL);

	buf_clear(&s->authority_cert);
	if (r == -ENOENT) {
		r = ca_new(s->sandbox.name, &made, e);
		if (r == 0)
			r = io_write_file_atomic(AT_FDCWD, path, made.data, made.len, 0600, e);
		if (r < 0)
			return err_prefix(e, "'%s'", path);
		buf_append(&s->authority, made.data, made.len);
	} else if (r < 0) {
		return err_sys(e, -r, "read '%s'", path);
	}
	r = ca_certificate(buf_str(&s->authority), &s->authority_cert, e);
	return r < 0 ? err_prefix(e, "'%s' (remove it, and the next start makes a new one)", path)
		     : 0;
}

/* What OpenSSL's variable names, else where distributions keep it; and what Node's adds to that. */
void
sup_trust_bundle(struct buf *out)
{
	const char *files[] = {getenv("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
	const char *extra = getenv("NODE_EXTRA_CA_CERTS");
	struct stat have = {0}, more;
	int r = -ENOENT;

	for (size_t i = 0; i < ARRAY_LEN(files) && r < 0; i++)
		if (files[i] != NULL) {
			r = io_read_file(AT_FDCWD, files[i], ROLE_TRUST_MAX / 2, out, NULL);
			(void)stat(files[i], &have);
		}
	/* Often it is the very same one: not twice. */
	if (extra != NULL && (r < 0 || stat(extra, &more) < 0 || more.st_dev != have.st_dev ||
				     more.st_ino != have.st_ino)) {
		buf_append_str(out, "\n");
		(void)io_read_file(AT_FDCWD, extra, ROLE_TRUST_MAX / 2 - 1, out, NULL);
	}
}
