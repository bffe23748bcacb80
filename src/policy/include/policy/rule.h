#pragma once
/*
 * One rule of a policy: what it matches and whether that is allowed. Pure.
 *
 * A rule is written   RESOURCE [--method LIST] [--path PATTERN]   where RESOURCE is
 *
 *   example.com            this host at any port; nothing below it
 *   example.com:443        this host at this port
 *   *.example.com          whatever is below it, at any depth; not example.com itself
 *   *.example.com:443      the same at one port
 *   *:443                  every host and address at this port
 *   *                      every host and address
 *   192.0.2.7              this address; with a port 192.0.2.7:443 or [2001:db8::7]:443
 *   192.0.2.0/24           these addresses; with a port 192.0.2.0/24:443 or [2001:db8::/32]:443
 *   localhost:8080         the host's own service, inside: host.docker.internal:8080
 *   example.com:443/udp    UDP (QUIC, for example); everything else is TCP
 *
 * LIST is GET,HEAD,... and PATTERN a path in which one star stands for anything but a slash, two
 * for anything.
 *
 * Of the rules that match, the most specific one decides:
 *
 *   1. host:port
 *   2. host
 *   3. addresses, the longest prefix first; of equal ones that with a port
 *   4. *.domain, the longest first; of equal ones that with a port
 *   5. *:port
 *   6. *
 *   7. the preset's default
 *
 * Of rules for the same, the longer path comes first, then fewer stars in it, then one with
 * methods. What is equal still: deny wins. For example
 *
 *   deny example.com                 api.example.com:443 is allowed;
 *   deny *.example.com               api.example.com:80, www.example.com and example.com are not
 *   allow api.example.com:443
 *
 *   allow *.example.com              www.example.com is allowed,
 *   deny *.lab.example.com           a.lab.example.com is not
 *
 *   allow *                          everything but port 25 and what is not the Internet
 *   deny *:25                        (policy/policy.h)
 *
 *   allow example.com                example.com is denied: on a tie deny wins
 *   deny example.com
 *
 *   allow api.example.com            every method but DELETE; what is not HTTP that can be seen
 *   deny api.example.com             is denied
 *       --method DELETE
 *
 *   allow *.example.com              names below example.com, unless they resolve into the range;
 *   allow www.example.com            www.example.com, whatever it resolves to
 *   deny 192.0.2.0/24
 *
 * A name is decided before it is resolved: a rule for addresses never makes a name allowed.
 */
#include <stdbool.h>
#include <stdint.h>

#include <base/err.h>
#include <policy/addr.h>
#include <policy/name.h>

enum rule_effect {
	RULE_ALLOW,
	RULE_DENY,
	RULE_BYPASS, /* its TLS is never intercepted; says nothing of allowed or denied */
};

enum rule_kind { RULE_ANY, RULE_BELOW, RULE_NET, RULE_HOST }; /* the more specific, the higher */

#define RULE_PATH_MAX 256
/* Resource, methods and path. */
#define RULE_TEXT_MAX 640

struct rule {
	enum rule_effect effect;
	enum rule_kind kind;
	bool udp;
	bool preset;                   /* the preset's, not the owner's */
	uint8_t bits;                  /* NET: of the prefix */
	uint16_t port;                 /* 0: every */
	uint16_t methods;              /* bits of http_method_bit; 0: every */
	struct ip_addr net;            /* NET; the bits behind the prefix are 0 */
	char name[HOST_NAME_TEXT_MAX]; /* HOST; BELOW: without "*." */
	char path[RULE_PATH_MAX];      /* pattern; "": every */
};

/* RESOURCE alone; the effect of *ret stays. 0, or -EINVAL with a sentence: how to write it. */
int rule_parse_resource(const char *text, struct rule *ret, struct err *e);
/* "GET,HEAD"; "ANY" and "" are every method. */
int rule_parse_methods(const char *text, struct rule *r, struct err *e);
int rule_parse_path(const char *text, struct rule *r, struct err *e);
/* Whether its parts go together; to be asked once all of them are set. */
int rule_check(const struct rule *r, struct err *e);

/* "allow api.example.com:443 --method GET,HEAD --path /v1/x", as rule_format_line writes it. */
int rule_parse_line(const char *line, struct rule *ret, struct err *e);

/* Without the effect, as the owner would type it. */
void rule_format(const struct rule *r, char out[RULE_TEXT_MAX]);
#define RULE_LINE_MAX (RULE_TEXT_MAX + 8)
void rule_format_line(const struct rule *r, char out[RULE_LINE_MAX]);
const char *rule_effect_name(enum rule_effect effect);

/* Both match exactly the same, whatever they say of it. */
bool rule_same_match(const struct rule *a, const struct rule *b);
/* The same destination, whatever the methods and paths. */
bool rule_same_resource(const struct rule *a, const struct rule *b);
bool rule_is_http(const struct rule *r); /* has methods or a path */

/* Of the destination alone. name: canonical, "localhost" for the host; NULL matches no name. */
bool rule_matches_name(const struct rule *r, const char *name, uint16_t port, bool udp);
bool rule_matches_addr(const struct rule *r, const struct ip_addr *a, uint16_t port, bool udp);
/* Of the request. path: canonical. */
bool rule_matches_request(const struct rule *r, uint16_t method_bit, const char *path);

/* Above 0: a decides before b. By the table above; 0 only for the same effect. */
int rule_compare(const struct rule *a, const struct rule *b);
