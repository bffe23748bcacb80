#pragma once
/*
 * The host's apt set-up, as far as a build of the image can use it: mirrors of Debian, and the
 * acquire options (proxies, certificates, clock checks). The first three functions are pure.
 */
#include <stdbool.h>

#include <base/err.h>
#include <base/str.h>

/* A mirror of Debian that the host uses. */
struct mirror {
	char *main;       /* URI of the archive: SUITE, SUITE-updates */
	char *security;   /* URI of the archive of SUITE-security; NULL: the host has none */
	char *components; /* "main contrib" */
};
void mirror_release(struct mirror *m);

/*
 * Reads one file of apt's sources (deb822 where deb822 is true, else one entry a line; see
 * sources.list(5)) and fills what ret still lacks. codename is the host's own suite. Entries that
 * cannot be Debian's, or that a guest could not reach or should not know (loopback, other schemes
 * than http and https, passwords in the URI) are passed over.
 */
void sources_read(const char *text, bool deb822, const char *codename, struct mirror *ret);

/* The image's entries, in the one-line format, signed-by included. */
void sources_for_suite(
	const struct mirror *m, const char *suite, const char *keyring, struct strv *ret);

/*
 * From the output of `apt-config dump`: what fetching needs (build), and what stays true inside of
 * the image (keep): that a mirror's release files may be old.
 */
void apt_options_pick(const char *dump, struct strv *build, struct strv *keep);

/*
 * The host's mirror when the host is a Debian and the mirror has the suite (this asks it: up to 30
 * seconds each for two files). 1 found, 0 none that fits.
 */
int sources_of_host(const char *suite, struct mirror *ret);
