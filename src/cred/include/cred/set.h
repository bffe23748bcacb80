#pragma once
/*
 * The credentials of one sandbox: under which name, to which hosts, in which header, and the value.
 * The guest knows the placeholder alone.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/err.h>
#include <base/str.h>

#define CRED_NAME_MAX        32 /* of a-z, 0-9 and '-' */
#define CRED_COUNT_MAX       32
#define CRED_PLACES_MAX      8 /* of one credential */
#define CRED_HOSTS_MAX       64
#define CRED_VALUE_MIN       8 /* shorter ones cannot be told from ordinary text */
#define CRED_VALUE_MAX       8192
#define CRED_PLACEHOLDER_MIN 16
#define CRED_PLACEHOLDER_MAX 160
#define CRED_SET_BYTES_MAX   (1U << 20) /* encoded */
#define CRED_PORT            443        /* the only one that a value goes to, and over TLS alone */

/*
 * A header on requests to these hosts. The format holds "%s" once: "Bearer %s". One that begins
 * with "Basic " is sent with the rest in base64 (RFC 7617): "Basic x-access-token:%s".
 */
struct cred_place {
	struct strv hosts; /* canonical names; "*.example.com": all below */
	char *header, *format;
};

struct cred {
	char *name;
	struct strv env; /* variables of the guest that hold the placeholder; not encoded */
	struct cred_place *places;
	size_t nplaces;
	char *placeholder;
	char *value; /* secret.h; NULL: none, and then it goes nowhere */
};

struct cred_set {
	struct cred *v;
	size_t n;
};

#define CLEAN_CRED_SET __attribute__((cleanup(cred_set_release)))
void cred_release(struct cred *c);
void cred_set_release(struct cred_set *s);
/* Takes it; *c is empty then. */
void cred_set_add(struct cred_set *s, struct cred *c);
struct cred *cred_set_find(const struct cred_set *s, const char *name);
/* Takes all of from: each replaces the one of its name; one without a value removes it. */
void cred_set_merge(struct cred_set *into, struct cred_set *from);
void cred_add_place(
	struct cred *c, const struct strv *hosts, const char *header, const char *format);

bool cred_name_fits(const char *name);
/* "api.example.com" or "*.example.com", canonical and of the public DNS; never "*". */
bool cred_host_fits(const char *host);
bool cred_header_fits(const char *header); /* a token (RFC 9110 5.6.2), none of the framing's own */
bool cred_format_fits(const char *format); /* "%s" once, no other '%', printable ASCII */
/* Length as above, no control characters (they would end a header). -EINVAL never quotes it. */
int cred_value_check(const char *name, const void *p, size_t n, struct err *e);
/* The forms of all; no name twice, no placeholder that holds another one. */
int cred_set_check(const struct cred_set *s, struct err *e);

/* As TLV records (wire/tlv.h), values included: for sealed memory between our processes alone. */
void cred_set_encode(const struct cred_set *s, struct buf *out);
/* Checked as by cred_set_check. *ret is untouched on failure. */
int cred_set_decode(const void *p, size_t n, struct cred_set *ret, struct err *e);
/* buf_release, wiped before. */
void cred_buf_wipe(struct buf *b);
#define CLEAN_CRED_BUF __attribute__((cleanup(cred_buf_wipe)))

/*
 * shape: a beginning that the vendor's programs accept ("ghp_"), or a text with "{rand}" where the
 * random part goes ("sk-{rand}-end"); NULL: "paddock-". random: CRED_RANDOM_BYTES of it. Caller
 * frees.
 */
#define CRED_RANDOM_BYTES 32
bool cred_shape_fits(const char *shape);
char *cred_placeholder(const char *shape, const uint8_t random[CRED_RANDOM_BYTES]);
