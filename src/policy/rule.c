#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/str.h>
#include <policy/http.h>
#include <policy/rule.h>

#define SHOWN_MAX 96

/* The words of a person, and at the worst of a hostile file: fit for a message. */
static int
refuse(struct err *e, const char *text, const char *how)
{
	char shown[SHOWN_MAX];

	str_escape(text, strlen(text), shown, sizeof(shown));
	return err_set(e, EINVAL, "'%s': %s", shown, how);
}

static bool
parse_port(const char *text, uint16_t *ret)
{
	uint64_t v;

	if (str_to_u64(text, 1, 65535, &v) < 0)
		return false;
	*ret = (uint16_t)v;
	return true;
}

static void
mask(struct ip_addr *a, unsigned bits)
{
	for (unsigned i = 0; i < sizeof(a->b); i++) {
		unsigned keep = bits > i * 8 ? bits - i * 8 : 0;

		if (keep < 8)
			a->b[i] &= (uint8_t)(0xff00 >> keep);
	}
}

/* "ADDRESS" or "ADDRESS/BITS". False: neither; r is untouched. */
static bool
parse_net(char *text, struct rule *r)
{
	char *slash = strchr(text, '/');
	bool six = strchr(text, ':') != NULL;
	uint64_t bits = six ? 128 : 32;
	struct ip_addr a;
	bool ok;

	if (slash != NULL)
		*slash = '\0';
	ok = (slash == NULL || str_to_u64(slash + 1, 0, bits, &bits) == 0) &&
	     ip_addr_parse(text, &a) == 0;
	/* ::ffff:10.0.0.0/104 is 10.0.0.0/8. */
	if (ok && six && a.family == AF_INET) {
		ok = bits >= 96;
		bits -= ok ? 96 : 0;
	}
	if (slash != NULL)
		*slash = '/';
	if (!ok)
		return false;
	mask(&a, (unsigned)bits);
	r->kind = RULE_NET;
	r->net = a;
	r->bits = (uint8_t)bits;
	return true;
}

static int
parse_name(const char *all, const char *text, struct rule *r, struct err *e)
{
	bool below = str_has_prefix(text, "*.");

	if (strcmp(text, "*") == 0) {
		r->kind = RULE_ANY;
		return 0;
	}
	r->kind = below ? RULE_BELOW : RULE_HOST;
	text += below ? 2 : 0;
	if (strchr(text, '*') != NULL)
		return refuse(e, all,
			"a star stands alone or for whole labels at the beginning: *.example.com");
	if (strchr(text, '/') != NULL)
		return refuse(e, all,
			"write a host, an address or a range, each with :PORT or without; a path "
			"is given with --path");
	if (host_name_canonical(text, r->name) < 0)
		return refuse(e, all, "this is no host name, no address and no range");
	switch (host_name_kind(r->name)) {
	case HOST_NAME_HOST:
		return refuse(e, all,
			"the host's own services are named localhost:PORT in rules, and "
			"host.docker.internal:PORT inside");
	case HOST_NAME_LOCALHOST:
		return !below && strcmp(r->name, "localhost") == 0
			       ? 0
			       : refuse(e, all, "names below localhost are the sandbox itself");
	case HOST_NAME_NUMERIC:
		return refuse(e, all, "write the address with four numbers: 192.0.2.1");
	default:
		return 0;
	}
}

/* Cuts ":PORT" off; IPv6 has brackets then. */
static int
split_port(const char *all, char **text, struct rule *r, struct err *e)
{
	char *end = **text == '[' ? strchr(*text, ']') : NULL, *colon = strrchr(*text, ':');

	if (**text == '[') {
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return refuse(e, all, "write IPv6 with a port as [2001:db8::1]:443");
		colon = end[1] == ':' ? end + 1 : NULL;
		*end = '\0';
		++*text;
	} else if (colon != NULL && strchr(*text, ':') != colon) {
		return 0; /* IPv6 without a port */
	}
	if (colon == NULL)
		return 0;
	*colon = '\0';
	return parse_port(colon + 1, &r->port)
		       ? 0
		       : refuse(e, all, "a port is a number from 1 to 65535");
}

/* "/udp" or "/tcp" at the end. */
static void
split_protocol(char *text, struct rule *r)
{
	char *slash = strrchr(text, '/');

	r->udp = slash != NULL && strcmp(slash, "/udp") == 0;
	if (slash != NULL && (r->udp || strcmp(slash, "/tcp") == 0))
		*slash = '\0';
}

int
rule_parse_resource(const char *text, struct rule *ret, struct err *e)
{
	/* Address, prefix, port and protocol are shorter than a name. */
	char copy[HOST_NAME_TEXT_MAX + 16], *at = copy;
	struct rule r = {.effect = ret->effect, .preset = ret->preset};
	bool bracket;
	int rc;

	if (strstr(text, "://") != NULL)
		return refuse(e, text,
			"write the host alone, such as example.com:443; a path is given with "
			"--path");
	if (strlen(text) >= sizeof(copy))
		return refuse(e, text, "a host name has at most 253 characters");
	memcpy(copy, text, strlen(text) + 1);
	split_protocol(copy, &r);
	bracket = copy[0] == '[';
	rc = split_port(text, &at, &r, e);
	if (rc < 0)
		return rc;
	if (!parse_net(at, &r)) {
		if (bracket || strchr(at, ':') != NULL)
			return refuse(e, text, "this is no IPv6 address or range");
		rc = parse_name(text, at, &r, e);
	}
	if (rc == 0)
		*ret = r;
	return rc;
}

int
rule_parse_methods(const char *text, struct rule *r, struct err *e)
{
	uint16_t bits = 0;
	char word[16];

	if (strcmp(text, "ANY") == 0 || text[0] == '\0') {
		r->methods = 0;
		return 0;
	}
	for (const char *at = text; at != NULL;) {
		const char *comma = strchr(at, ',');
		size_t n = comma != NULL ? (size_t)(comma - at) : strlen(at);
		uint16_t bit = 0;

		if (n < sizeof(word)) {
			memcpy(word, at, n);
			word[n] = '\0';
			bit = http_method_bit(word);
		}
		if (bit == 0)
			return refuse(e, text,
				"methods are GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE, "
				"with commas between them, or ANY");
		bits |= bit;
		at = comma != NULL ? comma + 1 : NULL;
	}
	r->methods = bits;
	return 0;
}

int
rule_parse_path(const char *text, struct rule *r, struct err *e)
{
	char canonical[HTTP_PATH_MAX];

	if (strlen(text) >= RULE_PATH_MAX)
		return refuse(e, text, "a path pattern has at most 255 characters");
	/* A star is an ordinary character of paths: it passes. */
	if (text[0] != '\0' && (http_path_canonical(text, strlen(text), canonical) < 0 ||
				       strcmp(text, canonical) != 0))
		return refuse(e, text,
			"a path pattern begins with '/', has no query, no '..' and no '//', and "
			"only characters of URLs: '/repos/**'");
	memcpy(r->path, text, strlen(text) + 1);
	return 0;
}

bool
rule_is_http(const struct rule *r)
{
	return r->methods != 0 || r->path[0] != '\0';
}

int
rule_check(const struct rule *r, struct err *e)
{
	char text[RULE_TEXT_MAX];

	rule_format(r, text);
	if (rule_is_http(r) && (r->kind == RULE_NET || r->udp || r->effect == RULE_BYPASS))
		return refuse(e, text,
			"methods and paths go with host names that are allowed or "
			"denied, not with addresses, UDP or bypass");
	if (r->udp && r->port == 0 && r->effect == RULE_ALLOW)
		return refuse(e, text, "UDP is opened for one port: write HOST:PORT/udp");
	if (r->udp && r->port == 53 && r->effect == RULE_ALLOW)
		return refuse(e, text,
			"DNS is answered by the sandbox itself, whatever server is asked: nothing "
			"is to be opened");
	if (r->udp && r->effect == RULE_BYPASS)
		return refuse(e, text, "there is nothing to bypass with UDP");
	if (r->effect == RULE_ALLOW && r->port == 0 && r->kind == RULE_HOST &&
		strcmp(r->name, "localhost") == 0)
		return refuse(
			e, text, "a host's own service is opened by its port: localhost:8080");
	return 0;
}

static const char *const effects[] = {
	[RULE_ALLOW] = "allow", [RULE_DENY] = "deny", [RULE_BYPASS] = "bypass"};

const char *
rule_effect_name(enum rule_effect effect)
{
	return (unsigned)effect < ARRAY_LEN(effects) ? effects[effect] : "?";
}

static int
parse_effect(const char *word, enum rule_effect *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(effects); i++)
		if (strcmp(effects[i], word) == 0) {
			*ret = (enum rule_effect)i;
			return 0;
		}
	return -EINVAL;
}

/* Options come in pairs behind the resource. */
static int
parse_option(const char *line, const char *name, const char *value, struct rule *r, struct err *e)
{
	if (value != NULL && strcmp(name, "--method") == 0)
		return rule_parse_methods(value, r, e);
	if (value != NULL && strcmp(name, "--path") == 0)
		return rule_parse_path(value, r, e);
	return refuse(e, line, "behind the resource --method LIST and --path PATTERN may follow");
}

int
rule_parse_line(const char *line, struct rule *ret, struct err *e)
{
	char copy[RULE_LINE_MAX], *save = NULL, *word, *value;
	struct rule r = {0};
	int rc;

	if (strlen(line) >= sizeof(copy))
		return refuse(e, line, "a rule is not this long");
	memcpy(copy, line, strlen(line) + 1);
	word = strtok_r(copy, " ", &save);
	if (word == NULL || parse_effect(word, &r.effect) < 0)
		return refuse(e, line, "a rule begins with allow, deny or bypass");
	word = strtok_r(NULL, " ", &save);
	if (word == NULL)
		return refuse(e, line, "a rule needs a host, an address or a range");
	rc = rule_parse_resource(word, &r, e);
	while (rc == 0 && (word = strtok_r(NULL, " ", &save)) != NULL) {
		value = strtok_r(NULL, " ", &save);
		rc = parse_option(line, word, value, &r, e);
	}
	if (rc == 0)
		rc = rule_check(&r, e);
	if (rc == 0)
		*ret = r;
	return rc;
}

static void
format_net(const struct rule *r, char *out, size_t size)
{
	bool six = r->net.family == AF_INET6, brackets = six && r->port != 0;
	char addr[IP_ADDR_TEXT_MAX], bits[8] = "";

	ip_addr_format(&r->net, addr);
	if (r->bits != (six ? 128 : 32))
		snprintf(bits, sizeof(bits), "/%u", r->bits);
	snprintf(out, size, "%s%s%s%s", brackets ? "[" : "", addr, bits, brackets ? "]" : "");
}

void
rule_format(const struct rule *r, char out[RULE_TEXT_MAX])
{
	char methods[HTTP_METHODS_TEXT_MAX], host[HOST_NAME_TEXT_MAX + 2], port[8] = "";

	if (r->kind == RULE_NET)
		format_net(r, host, sizeof(host));
	else
		snprintf(host, sizeof(host), "%s%s",
			r->kind == RULE_ANY     ? "*"
			: r->kind == RULE_BELOW ? "*."
						: "",
			r->kind == RULE_ANY ? "" : r->name);
	if (r->port != 0)
		snprintf(port, sizeof(port), ":%u", r->port);
	http_methods_format(r->methods, methods);
	snprintf(out, RULE_TEXT_MAX, "%s%s%s%s%s%s%s", host, port, r->udp ? "/udp" : "",
		r->methods != 0 ? " --method " : "", methods, r->path[0] != '\0' ? " --path " : "",
		r->path);
}

void
rule_format_line(const struct rule *r, char out[RULE_LINE_MAX])
{
	char text[RULE_TEXT_MAX];

	rule_format(r, text);
	snprintf(out, RULE_LINE_MAX, "%s %s", rule_effect_name(r->effect), text);
}

bool
rule_same_resource(const struct rule *a, const struct rule *b)
{
	if (a->kind != b->kind || a->port != b->port || a->udp != b->udp)
		return false;
	if (a->kind == RULE_NET)
		return a->bits == b->bits && ip_addr_equal(&a->net, &b->net);
	return a->kind == RULE_ANY || strcmp(a->name, b->name) == 0;
}

bool
rule_same_match(const struct rule *a, const struct rule *b)
{
	return rule_same_resource(a, b) && a->methods == b->methods &&
	       strcmp(a->path, b->path) == 0;
}

static bool
matches_port(const struct rule *r, uint16_t port, bool udp)
{
	return r->udp == udp && (r->port == 0 || r->port == port);
}

bool
rule_matches_name(const struct rule *r, const char *name, uint16_t port, bool udp)
{
	size_t n, below;

	if (name == NULL || !matches_port(r, port, udp))
		return false;
	switch (r->kind) {
	case RULE_ANY:
		/* No star opens the host itself. */
		return strcmp(name, "localhost") != 0;
	case RULE_HOST:
		return strcmp(r->name, name) == 0;
	case RULE_BELOW:
		n = strlen(name);
		below = strlen(r->name);
		return n > below + 1 && name[n - below - 1] == '.' &&
		       strcmp(name + n - below, r->name) == 0;
	case RULE_NET:
		break;
	}
	return false;
}

bool
rule_matches_addr(const struct rule *r, const struct ip_addr *a, uint16_t port, bool udp)
{
	return r->kind == RULE_NET && matches_port(r, port, udp) && ip_addr_in(a, &r->net, r->bits);
}

bool
rule_matches_request(const struct rule *r, uint16_t method_bit, const char *path)
{
	return (r->methods == 0 || (r->methods & method_bit) != 0) &&
	       (r->path[0] == '\0' || http_path_matches(r->path, path));
}

static unsigned
stars(const char *path)
{
	unsigned n = 0;

	for (; *path != '\0'; path++)
		n += *path == '*';
	return n;
}

/* What is compared in turn, higher first. */
static void
rank(const struct rule *r, int out[6])
{
	unsigned n = stars(r->path);

	out[0] = (int)r->kind;
	out[1] = r->kind == RULE_NET ? r->bits : r->kind == RULE_BELOW ? (int)strlen(r->name) : 0;
	out[2] = r->port != 0;
	out[3] = (int)(strlen(r->path) - n);
	out[4] = -(int)n;
	out[5] = r->methods != 0;
}

int
rule_compare(const struct rule *a, const struct rule *b)
{
	int x[6], y[6];

	rank(a, x);
	rank(b, y);
	for (size_t i = 0; i < ARRAY_LEN(x); i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return (a->effect == RULE_DENY) - (b->effect == RULE_DENY);
}
