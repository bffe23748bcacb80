/*
 * Who the guest is to be: gathered from the sandbox's record and from the host while the machine
 * starts, for it waits for nothing else when it asks. What must be of the moment is added then.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>

#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>

#include "git.h"
#include "sup.h"

#define ENTROPY_BYTES 256
#define CA_MAX        (512 * 1024)

static char *
make_hostname(const char *name)
{
	char *h = xstrndup(name, 63);

	for (char *c = h; *c != '\0'; c++)
		*c = isalnum((unsigned char)*c) ? (char)tolower((unsigned char)*c) : '-';
	return h;
}

/* From its authority, which each sandbox has of its own, and keeps. */
static char *
make_machine_id(const struct sup *s, struct err *e)
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	char text[33];

	if (EVP_Digest(s->authority_cert.data, s->authority_cert.len, sum, NULL, EVP_sha256(),
		    NULL) != 1) {
		err_set(e, EIO, "SHA-256");
		return NULL;
	}
	for (size_t k = 0; k < 16; k++)
		snprintf(text + 2 * k, 3, "%02x", sum[k]);
	return xstrdup(text);
}

/* "Europe/Berlin" from TZ or from what /etc/localtime points to; NULL: UTC. */
static char *
host_timezone(void)
{
	const char *tz = getenv("TZ"), *at;
	char target[PATH_MAX];
	ssize_t n;

	if (tz != NULL && tz[0] != '\0')
		return xstrdup(tz[0] == ':' ? tz + 1 : tz);
	n = readlink("/etc/localtime", target, sizeof(target) - 1);
	if (n <= 0)
		return NULL;
	target[n] = '\0';
	at = strstr(target, "/zoneinfo/");
	return at != NULL ? xstrdup(at + strlen("/zoneinfo/")) : NULL;
}

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_END   "-----END CERTIFICATE-----"

/* Appends the certificates of have that known does not hold. */
static void
add_unknown(const char *have, const char *known, struct buf *out)
{
	const char *p = have, *end;

	while ((p = strstr(p, PEM_BEGIN)) != NULL && (end = strstr(p, PEM_END)) != NULL) {
		const char *body = p + strlen(PEM_BEGIN);
		CLEAN_FREE char *block = xstrndup(body, (size_t)(end - body));

		end += strlen(PEM_END);
		if (strstr(known, block) == NULL && out->len < CA_MAX &&
			(out->len == 0 || strstr(buf_str(out), block) == NULL)) {
			buf_append(out, p, (size_t)(end - p));
			buf_append_str(out, "\n");
		}
		p = end;
	}
}

/* Of the host's trust store what the image lacks. */
static void
host_certificates(const char *image_bundle, struct buf *out)
{
	CLEAN_BUF struct buf known = BUF_INIT, host = BUF_INIT;

	if (io_read_file(AT_FDCWD, image_bundle, 8 << 20, &known, NULL) < 0)
		buf_clear(&known);
	sup_trust_bundle(&host);
	add_unknown(buf_str(&host), buf_str(&known), out);
}

int
sup_identity_gather(struct sup *s, struct err *e)
{
	struct identity *i = &s->identity;

	identity_release(i);
	i->machine_id = make_machine_id(s, e);
	if (i->machine_id == NULL)
		return -EIO;
	i->hostname = make_hostname(s->sandbox.name);
	i->name = xstrdup(s->sandbox.name);
	i->uid = s->paths.uid == 0 ? 1000 : s->paths.uid;
	i->gid = s->paths.uid == 0 ? 1000 : s->paths.gid;
	i->timezone = host_timezone();
	/* First: there is a bound to what follows. */
	buf_append(&i->ca_pem, s->authority_cert.data, s->authority_cert.len);
	host_certificates(s->image.ca_bundle, &i->ca_pem);
	git_settings(&i->git);
	for (size_t k = 0; k < s->sandbox.env.n; k++)
		strv_add(&i->env, s->sandbox.env.v[k]);
	for (size_t k = 0; k < s->sandbox.nworkspaces; k++)
		identity_add_workspace(i, s->sandbox.workspaces[k].path,
			s->sandbox.workspaces[k].read_only, s->sandbox.workspaces[k].is_file);
	for (size_t k = 0; k < s->sandbox.shadows.n; k++)
		strv_add(&i->shadows, s->sandbox.shadows.v[k]);
	i->address = xasprintf("%s/%d", JAIL_GUEST, JAIL_PREFIX);
	i->gateway = xstrdup(JAIL_GATEWAY);
	i->disk_bytes = s->sandbox.disk_bytes;
	return 0;
}

int
sup_identity_now(struct sup *s, struct buf *out, struct err *e)
{
	struct identity *i = &s->identity;

	buf_clear(&i->entropy);
	if (getrandom(buf_reserve(&i->entropy, ENTROPY_BYTES), ENTROPY_BYTES, 0) != ENTROPY_BYTES)
		return err_sys(e, errno, "getrandom");
	buf_commit(&i->entropy, ENTROPY_BYTES);
	i->again = s->again;
	i->time_ns = clock_real_ns();
	identity_encode(i, out);
	return 0;
}
