/* Pure: bytes and named hosts to verdicts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <base/str.h>
#include <sshagent/judge.h>
#include <wire/ssh.h>

#include "wire.h"

/* ---- named hosts */

void
sshagent_hosts_release(struct sshagent_hosts *h)
{
	for (size_t i = 0; i < h->n; i++) {
		free(h->v[i].name);
		buf_release(&h->v[i].key);
	}
	h->n = 0;
}

/* "NAME" or "[NAME]:PORT". */
static int
parse_name(char *word, struct sshagent_host *h)
{
	char *end = word[0] == '[' ? strstr(word, "]:") : NULL;
	uint64_t port = 22;

	if (word[0] == '[' && (end == NULL || str_to_u64(end + 2, 1, 65535, &port) < 0))
		return -EINVAL;
	if (end != NULL)
		*end = '\0';
	h->name = xstrdup(end != NULL ? word + 1 : word);
	h->port = (uint16_t)port;
	return 0;
}

static int
parse_key(const char *type, const char *text, struct buf *key)
{
	struct ssh_bytes b, said;
	size_t n = strlen(text);
	int len;

	if (n == 0 || n % 4 != 0 || n > SSH_LINE_REQUEST_MAX)
		return -EINVAL;
	len = EVP_DecodeBlock(buf_reserve(key, n), (const unsigned char *)text, (int)n);
	if (len < 0)
		return -EINVAL;
	len -= (text[n - 1] == '=') + (text[n - 2] == '=');
	buf_commit(key, (size_t)len);
	b = (struct ssh_bytes){key->data, key->len};
	return ssh_string(&b, &said) && ssh_is(said, type) ? 0 : -EINVAL;
}

static int
parse_line(char *line, struct sshagent_hosts *h)
{
	char *save = NULL, *name = strtok_r(line, " ", &save), *type = strtok_r(NULL, " ", &save);
	char *key = strtok_r(NULL, " ", &save);
	struct sshagent_host *one = &h->v[h->n];

	if (key == NULL || h->n >= SSHAGENT_HOSTS_MAX || strtok_r(NULL, " ", &save) != NULL)
		return -EINVAL;
	*one = (struct sshagent_host){0};
	h->n++; /* released with the others, whatever becomes of it */
	return parse_name(name, one) < 0 ? -EINVAL : parse_key(type, key, &one->key);
}

int
sshagent_hosts_parse(const char *text, struct sshagent_hosts *ret, struct err *e)
{
	CLEAN_FREE char *copy = xstrdup(text);
	CLEAN_FREE struct sshagent_hosts *h = xcalloc(1, sizeof(*h));
	char *save = NULL;
	int r = 0;

	for (char *l = strtok_r(copy, "\n", &save); l != NULL && r == 0;
		l = strtok_r(NULL, "\n", &save))
		r = parse_line(l, h);
	if (r < 0) {
		sshagent_hosts_release(h);
		return err_set(e, EINVAL, "the named hosts' keys are damaged");
	}
	*ret = *h;
	return 0;
}

/* ---- messages */

static enum sshagent_verdict
refuse(struct sshagent_sight *ret, const char *why)
{
	ret->why = why;
	return SSHAGENT_REFUSE;
}

static const struct sshagent_host *
host_of_key(const struct sshagent_hosts *hosts, struct ssh_bytes key)
{
	for (size_t i = 0; i < hosts->n; i++) {
		const struct buf *k = &hosts->v[i].key;

		if (ssh_same(key, (struct ssh_bytes){k->data, k->len}))
			return &hosts->v[i];
	}
	return NULL;
}

static const struct sshagent_host *
host_of_session(const struct sshagent_client *c, struct ssh_bytes id)
{
	for (size_t i = 0; i < c->nbinds; i++)
		if (ssh_same(id, (struct ssh_bytes){c->binds[i].id, c->binds[i].n}))
			return c->binds[i].host;
	return NULL;
}

/* string hostkey, string session identifier, string signature, bool is_forwarding */
static enum sshagent_verdict
bind_session(const struct sshagent_hosts *hosts, struct sshagent_client *c, struct ssh_bytes b,
	struct sshagent_sight *ret)
{
	struct ssh_bytes key, id, signature;
	const struct sshagent_host *host, *before;
	uint8_t forwarding;

	if (!ssh_string(&b, &key) || !ssh_string(&b, &id) || !ssh_string(&b, &signature) ||
		!ssh_byte(&b, &forwarding) || b.n > 0 || id.n == 0 || id.n > SSHAGENT_SESSION_MAX)
		return SSHAGENT_REFUSE;
	host = host_of_key(hosts, key);
	before = host_of_session(c, id);
	if (forwarding != 0 || host == NULL || (before != NULL && before != host)) {
		c->spoiled = true;
		return refuse(ret, forwarding != 0 ? "the agent was to be forwarded further"
						   : "a session with a host that is not named");
	}
	if (!sshagent_verify(key.p, key.n, signature.p, signature.n, id.p, id.n))
		return refuse(ret, "a session that the host's key has not signed");
	if (before != NULL)
		return SSHAGENT_AGREE;
	if (c->nbinds == SSHAGENT_BINDS_MAX)
		return SSHAGENT_REFUSE;
	memcpy(c->binds[c->nbinds].id, id.p, id.n);
	c->binds[c->nbinds].n = id.n;
	c->binds[c->nbinds++].host = host;
	return SSHAGENT_AGREE;
}

/* RFC 4252 7, and publickey-hostbound-v00@openssh.com. NULL: it is something else. */
static const struct sshagent_host *
authentication(const struct sshagent_client *c, struct ssh_bytes b, struct ssh_bytes key)
{
	struct ssh_bytes id, user, service, method, algorithm, said, host_key;
	const struct sshagent_host *host;
	uint8_t type, has_signature;
	bool bound;

	if (!ssh_string(&b, &id) || !ssh_byte(&b, &type) || !ssh_string(&b, &user) ||
		!ssh_string(&b, &service) || !ssh_string(&b, &method) ||
		!ssh_byte(&b, &has_signature) || !ssh_string(&b, &algorithm) ||
		!ssh_string(&b, &said))
		return NULL;
	bound = ssh_is(method, "publickey-hostbound-v00@openssh.com");
	if (type != 50 || has_signature != 1 || !ssh_is(service, "ssh-connection") ||
		(!bound && !ssh_is(method, "publickey")) || !ssh_same(said, key))
		return NULL;
	host = host_of_session(c, id);
	if (host == NULL)
		return NULL;
	if (bound &&
		(!ssh_string(&b, &host_key) ||
			!ssh_same(host_key, (struct ssh_bytes){host->key.data, host->key.len})))
		return NULL;
	return b.n == 0 ? host : NULL;
}

/* string key, string data, u32 flags (2 and 4: SHA-256 and SHA-512 of RSA) */
static enum sshagent_verdict
sign(const struct sshagent_client *c, struct ssh_bytes b, struct sshagent_sight *ret)
{
	struct ssh_bytes key, data;
	uint32_t flags;

	if (!ssh_string(&b, &key) || !ssh_string(&b, &data) || !ssh_u32(&b, &flags) || b.n > 0 ||
		(flags & ~6U) != 0)
		return refuse(ret, "a malformed request for a signature");
	sshagent_print(key.p, key.n, ret->print);
	if (c->spoiled)
		return refuse(ret, "a signature for a host that is not named");
	if (c->nbinds == 0)
		return refuse(ret, "a signature for a session with an unknown host");
	ret->host = authentication(c, data, key);
	if (ret->host == NULL)
		return refuse(ret, "a signature for something else than a log-in at a named host");
	return SSHAGENT_PASS;
}

enum sshagent_verdict
sshagent_judge(const struct sshagent_hosts *hosts, struct sshagent_client *c, const uint8_t *p,
	size_t n, struct sshagent_sight *ret)
{
	struct ssh_bytes b = {p, n}, name;
	uint8_t type;

	*ret = (struct sshagent_sight){0};
	if (n > SSH_LINE_REQUEST_MAX || !ssh_byte(&b, &type))
		return SSHAGENT_REFUSE;
	switch (type) {
	case SSHAGENT_REQUEST_IDENTITIES:
		return b.n == 0 ? SSHAGENT_PASS : SSHAGENT_REFUSE;
	case SSHAGENT_SIGN_REQUEST:
		return sign(c, b, ret);
	case SSHAGENT_EXTENSION:
		if (ssh_string(&b, &name) && ssh_is(name, "session-bind@openssh.com"))
			return bind_session(hosts, c, b, ret);
		return SSHAGENT_REFUSE;
	default: /* keys added, removed, locked: never */
		return SSHAGENT_REFUSE;
	}
}
