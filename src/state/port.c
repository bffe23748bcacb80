#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <state/port.h>

#define PORTS_MAX 64

static const char *const forms = "write [[HOST_IP:]HOST_PORT:]SANDBOX_PORT[/tcp|tcp4|tcp6]";

enum protocol { TCP_ANY, TCP_BOTH, TCP_4, TCP_6, PROTOCOL_UDP, PROTOCOL_UNKNOWN };

static enum protocol
protocol_of(const char *text)
{
	if (text == NULL)
		return TCP_ANY;
	if (strcmp(text, "tcp") == 0)
		return TCP_BOTH;
	if (strcmp(text, "tcp4") == 0)
		return TCP_4;
	if (strcmp(text, "tcp6") == 0)
		return TCP_6;
	return str_has_prefix(text, "udp") ? PROTOCOL_UDP : PROTOCOL_UNKNOWN;
}

static int
number(const char *text, uint64_t min, uint16_t *ret)
{
	uint64_t v;

	if (str_to_u64(text, min, UINT16_MAX, &v) < 0)
		return -EINVAL;
	*ret = (uint16_t)v;
	return 0;
}

static int
address(char *text, struct port *ret)
{
	size_t n = strlen(text);

	if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
		text[n - 1] = '\0';
		text++;
	}
	ret->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
	return inet_pton(ret->family, text, &ret->addr) == 1 ? 0 : -EINVAL;
}

/* From the right, as an IPv6 address has colons of its own. Eats text. */
static int
split(char *text, struct port *ret, bool *ret_addressed)
{
	char *colon = strrchr(text, ':');
	const char *guest = colon != NULL ? colon + 1 : text;

	if (number(guest, 1, &ret->guest) < 0)
		return -EINVAL;
	*ret_addressed = false;
	if (colon == NULL)
		return 0;
	*colon = '\0';
	colon = strrchr(text, ':');
	if (number(colon != NULL ? colon + 1 : text, 0, &ret->host) < 0)
		return -EINVAL;
	if (colon == NULL)
		return 0;
	*colon = '\0';
	*ret_addressed = true;
	return address(text, ret);
}

static void
set_loopback(struct port *p, int family)
{
	p->family = family;
	if (family == AF_INET)
		p->addr.v4.s_addr = htonl(INADDR_LOOPBACK);
	else
		p->addr.v6 = in6addr_loopback;
}

static int
families(const char *word, enum protocol proto, bool addressed, struct port ret[2], size_t *ret_n,
	struct err *e)
{
	*ret_n = 1;
	if (!addressed) {
		ret[1] = ret[0];
		set_loopback(&ret[0], proto == TCP_6 ? AF_INET6 : AF_INET);
		set_loopback(&ret[1], AF_INET6);
		*ret_n = proto == TCP_BOTH ? 2 : 1;
		return 0;
	}
	if ((proto == TCP_4 && ret[0].family != AF_INET) ||
		(proto == TCP_6 && ret[0].family != AF_INET6))
		return err_set(e, EINVAL,
			"port '%s': the address is of the other IP version: leave the "
			"protocol out",
			word);
	return 0;
}

int
port_parse(const char *word, struct port ret[2], size_t *ret_n, struct err *e)
{
	CLEAN_FREE char *text = xstrdup(word);
	char *slash = strchr(text, '/');
	enum protocol proto = protocol_of(slash != NULL ? slash + 1 : NULL);
	bool addressed;

	if (proto == PROTOCOL_UDP)
		return err_set(e, EINVAL, "port '%s': only TCP ports can be published", word);
	if (slash != NULL)
		*slash = '\0';
	memset(ret, 0, 2 * sizeof(*ret));
	if (proto == PROTOCOL_UNKNOWN || split(text, &ret[0], &addressed) < 0)
		return err_set(e, EINVAL, "port '%s': %s", word, forms);
	return families(word, proto, addressed, ret, ret_n, e);
}

static void
format(const struct port *p, const char *arrow, char out[PORT_TEXT_MAX])
{
	char addr[INET6_ADDRSTRLEN];
	bool v6 = p->family == AF_INET6;

	inet_ntop(p->family, &p->addr, addr, sizeof(addr));
	snprintf(out, PORT_TEXT_MAX, "%s%s%s:%u%s%u/%s", v6 ? "[" : "", addr, v6 ? "]" : "",
		p->host, arrow, p->guest, v6 ? "tcp6" : "tcp4");
}

void
port_format(const struct port *p, char out[PORT_TEXT_MAX])
{
	format(p, ":", out);
}

void
port_show(const struct port *p, char out[PORT_TEXT_MAX])
{
	format(p, "->", out);
}

bool
port_equal(const struct port *a, const struct port *b)
{
	size_t n = a->family == AF_INET ? sizeof(a->addr.v4) : sizeof(a->addr.v6);

	return a->family == b->family && a->host == b->host && a->guest == b->guest &&
	       memcmp(&a->addr, &b->addr, n) == 0;
}

socklen_t
port_sockaddr(const struct port *p, struct sockaddr_storage *ret)
{
	struct sockaddr_in v4 = {
		.sin_family = AF_INET, .sin_port = htons(p->host), .sin_addr = p->addr.v4};
	struct sockaddr_in6 v6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(p->host), .sin6_addr = p->addr.v6};

	if (p->family == AF_INET) {
		memcpy(ret, &v4, sizeof(v4));
		return sizeof(v4);
	}
	memcpy(ret, &v6, sizeof(v6));
	return sizeof(v6);
}

int
port_add_word(struct strv *list, const char *word, struct err *e)
{
	char text[PORT_TEXT_MAX];
	struct port p[2];
	size_t n = 0;
	int r = port_parse(word, p, &n, e);

	for (size_t i = 0; i < n && r == 0; i++) {
		port_format(&p[i], text);
		if (strv_has(list, text))
			continue;
		if (list->n >= PORTS_MAX)
			return err_set(e, ENOSPC, "port '%s': a sandbox publishes at most %d ports",
				word, PORTS_MAX);
		strv_add(list, text);
	}
	return r;
}

/* A port alone means every listener that leads to it. */
static bool
means(const struct port *want, bool alone, const char *text)
{
	struct port have[2];
	size_t n;

	if (port_parse(text, have, &n, NULL) < 0)
		return false;
	return alone ? have[0].guest == want->guest : port_equal(want, &have[0]);
}

int
port_remove_word(struct strv *list, const char *word, struct err *e)
{
	bool alone = strchr(word, ':') == NULL;
	struct port p[2];
	size_t n, kept = 0;
	int gone = 0, r = port_parse(word, p, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < list->n; i++) {
		if (means(&p[0], alone, list->v[i]) ||
			(n == 2 && means(&p[1], alone, list->v[i]))) {
			free(list->v[i]);
			gone++;
		} else {
			list->v[kept++] = list->v[i];
		}
	}
	list->n = kept;
	if (list->v != NULL)
		list->v[kept] = NULL;
	return gone;
}
