/*
 * What a guest's SSH client may ask of the host's agent, and the ssh role between a scripted guest
 * and a scripted agent. Keys and signatures are OpenSSL's; messages are put together by hand.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/clock.h>
#include <base/mem.h>
#include <sshagent/judge.h>
#include <sshagent/serve.h>
#include <wire/netevent.h>
#include <wire/session.h>
#include <wire/ssh.h>

#define BIND  "session-bind@openssh.com"
#define BOUND "publickey-hostbound-v00@openssh.com"

/* ---- the data types of SSH, written */

static void
put(struct buf *b, const void *p, size_t n)
{
	buf_append_be32(b, (uint32_t)n);
	buf_append(b, p, n);
}

static void
put_text(struct buf *b, const char *text)
{
	put(b, text, strlen(text));
}

static void
put_byte(struct buf *b, uint8_t v)
{
	buf_append(b, &v, 1);
}

static void
put_mpint(struct buf *b, const BIGNUM *n)
{
	uint8_t bytes[600] = {0};
	int len = BN_bn2bin(n, bytes + 1);

	if (len > 0 && bytes[1] >= 0x80)
		put(b, bytes, (size_t)len + 1);
	else
		put(b, bytes + 1, (size_t)len);
}

/* ---- hosts' keys */

struct key {
	const char *type;
	EVP_PKEY *key;
	struct buf blob;
};

static void
key_make(struct key *k, const char *type)
{
	*k = (struct key){.type = type};
	put_text(&k->blob, type);
	if (strcmp(type, "ssh-ed25519") == 0) {
		uint8_t raw[32];
		size_t n = sizeof(raw);

		k->key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
		assert_int_equal(EVP_PKEY_get_raw_public_key(k->key, raw, &n), 1);
		put(&k->blob, raw, n);
	} else if (strcmp(type, "ssh-rsa") == 0) {
		BIGNUM *e = NULL, *n = NULL;

		k->key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
		assert_int_equal(EVP_PKEY_get_bn_param(k->key, OSSL_PKEY_PARAM_RSA_E, &e), 1);
		assert_int_equal(EVP_PKEY_get_bn_param(k->key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
		put_mpint(&k->blob, e);
		put_mpint(&k->blob, n);
		BN_free(e);
		BN_free(n);
	} else {
		const char *curve = type + strlen("ecdsa-sha2-");
		uint8_t point[200];
		size_t n = 0;

		k->key = EVP_PKEY_Q_keygen(NULL, NULL, "EC",
			strcmp(curve, "nistp256") == 0   ? "P-256"
			: strcmp(curve, "nistp384") == 0 ? "P-384"
							 : "P-521");
		assert_int_equal(EVP_PKEY_get_octet_string_param(
					 k->key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &n),
			1);
		put_text(&k->blob, curve);
		put(&k->blob, point, n);
	}
}

static void
key_free(struct key *k)
{
	EVP_PKEY_free(k->key);
	buf_release(&k->blob);
}

static void
key_sign(const struct key *k, const struct buf *data, struct buf *out)
{
	bool ec = strncmp(k->type, "ecdsa", 5) == 0, rsa = strcmp(k->type, "ssh-rsa") == 0;
	const EVP_MD *md = rsa                              ? EVP_sha512()
			   : !ec                            ? NULL
			   : strstr(k->type, "256") != NULL ? EVP_sha256()
			   : strstr(k->type, "384") != NULL ? EVP_sha384()
							    : EVP_sha512();
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t sig[600];
	size_t n = sizeof(sig);

	assert_int_equal(EVP_DigestSignInit(ctx, NULL, md, NULL, k->key), 1);
	assert_int_equal(EVP_DigestSign(ctx, sig, &n, data->data, data->len), 1);
	EVP_MD_CTX_free(ctx);
	put_text(out, rsa ? "rsa-sha2-512" : k->type);
	if (ec) {
		const unsigned char *at = sig;
		ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &at, (long)n);
		CLEAN_BUF struct buf two = BUF_INIT;

		put_mpint(&two, ECDSA_SIG_get0_r(s));
		put_mpint(&two, ECDSA_SIG_get0_s(s));
		put(out, two.data, two.len);
		ECDSA_SIG_free(s);
	} else {
		put(out, sig, n);
	}
}

static char *
known_line(const char *name, const struct key *k)
{
	char text[2000];

	EVP_EncodeBlock((unsigned char *)text, k->blob.data, (int)k->blob.len);
	return xasprintf("%s %s %s\n", name, k->type, text);
}

/* ---- messages */

static struct buf
bind_message(const struct key *host, const char *id, const struct buf *signature, bool forwarding)
{
	struct buf b = BUF_INIT;

	put_byte(&b, SSHAGENT_EXTENSION);
	put_text(&b, BIND);
	put(&b, host->blob.data, host->blob.len);
	put_text(&b, id);
	put(&b, signature->data, signature->len);
	put_byte(&b, forwarding);
	return b;
}

static struct buf
binding(const struct key *host, const char *id)
{
	CLEAN_BUF struct buf text = BUF_INIT, signature = BUF_INIT;

	buf_append_str(&text, id);
	key_sign(host, &text, &signature);
	return bind_message(host, id, &signature, false);
}

#define USER_KEY "the-user's-key"

/* host: NULL for RFC 4252's own method. */
static struct buf
log_in(const char *id, const struct key *host)
{
	struct buf b = BUF_INIT;

	put_text(&b, id);
	put_byte(&b, 50);
	put_text(&b, "git");
	put_text(&b, "ssh-connection");
	put_text(&b, host != NULL ? BOUND : "publickey");
	put_byte(&b, 1);
	put_text(&b, "ssh-ed25519");
	put_text(&b, USER_KEY);
	if (host != NULL)
		put(&b, host->blob.data, host->blob.len);
	return b;
}

/* Takes data. */
static struct buf
sign_message(struct buf data, uint32_t flags)
{
	struct buf b = BUF_INIT;

	put_byte(&b, SSHAGENT_SIGN_REQUEST);
	put_text(&b, USER_KEY);
	put(&b, data.data, data.len);
	buf_append_be32(&b, flags);
	buf_release(&data);
	return b;
}

struct scene {
	struct key github, other;
	struct sshagent_hosts hosts;
	struct sshagent_client client;
	struct sshagent_sight sight;
};

static void
scene_start(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	key_make(&s->github, "ssh-ed25519");
	key_make(&s->other, "ssh-ed25519");
	CLEAN_FREE char *line = known_line("[git.example.com]:2222", &s->github);

	assert_int_equal(sshagent_hosts_parse(line, &s->hosts, NULL), 0);
}

static void
scene_stop(struct scene *s)
{
	key_free(&s->github);
	key_free(&s->other);
	sshagent_hosts_release(&s->hosts);
}

/* Takes the message. */
static enum sshagent_verdict
ask(struct scene *s, struct buf m)
{
	enum sshagent_verdict v = sshagent_judge(&s->hosts, &s->client, m.data, m.len, &s->sight);

	buf_release(&m);
	return v;
}

static void
expect_refusal(struct scene *s, struct buf m, const char *why)
{
	assert_int_equal(ask(s, m), SSHAGENT_REFUSE);
	assert_non_null(s->sight.why);
	if (strstr(s->sight.why, why) == NULL)
		fail_msg("'%s' in '%s'", why, s->sight.why);
}

/* ---- judged */

static void
test_known_hosts(void **state)
{
	struct scene s;
	struct sshagent_hosts h = {0};

	(void)state;
	scene_start(&s);
	assert_int_equal(s.hosts.n, 1);
	assert_string_equal(s.hosts.v[0].name, "git.example.com");
	assert_int_equal(s.hosts.v[0].port, 2222);
	assert_int_equal(sshagent_hosts_parse("a ssh-ed25519 !!!!\n", &h, NULL), -EINVAL);
	assert_int_equal(sshagent_hosts_parse("a ssh-ed25519 AAAA\n", &h, NULL), -EINVAL);
	assert_int_equal(sshagent_hosts_parse("a ssh-ed25519\n", &h, NULL), -EINVAL);
	CLEAN_FREE char *wrong = known_line("[a]:0", &s.github);
	assert_int_equal(sshagent_hosts_parse(wrong, &h, NULL), -EINVAL);
	assert_int_equal(h.n, 0);
	scene_stop(&s);
}

static void
test_log_in(void **state)
{
	struct scene s;

	(void)state;
	scene_start(&s);
	assert_int_equal(ask(&s, binding(&s.github, "session-1")), SSHAGENT_AGREE);
	assert_int_equal(ask(&s, sign_message(log_in("session-1", &s.github), 0)), SSHAGENT_PASS);
	assert_ptr_equal(s.sight.host, &s.hosts.v[0]);
	assert_memory_equal(s.sight.print, "SHA256:", 7);
	assert_int_equal(strlen(s.sight.print), 7 + 43);
	/* Older servers; RSA's flags; the same session once more, as ssh does it for a second key.
	 */
	assert_int_equal(ask(&s, sign_message(log_in("session-1", NULL), 4)), SSHAGENT_PASS);
	assert_int_equal(ask(&s, binding(&s.github, "session-1")), SSHAGENT_AGREE);
	assert_int_equal(s.client.nbinds, 1);
	scene_stop(&s);
}

static void
test_other_hosts(void **state)
{
	struct scene s;

	(void)state;
	scene_start(&s);
	/* Nobody has said with whom the session is. */
	expect_refusal(&s, sign_message(log_in("session-1", NULL), 0), "unknown host");
	/* Another session than the one that is bound: of an evil server's in between. */
	assert_int_equal(ask(&s, binding(&s.github, "session-1")), SSHAGENT_AGREE);
	expect_refusal(&s, sign_message(log_in("session-2", NULL), 0), "something else");
	expect_refusal(&s, sign_message(log_in("session-1", &s.other), 0), "something else");
	/* Somebody else's, honestly told: and this connection is good for nothing any more. */
	expect_refusal(&s, binding(&s.other, "session-3"), "not named");
	expect_refusal(&s, sign_message(log_in("session-3", &s.other), 0), "not named");
	expect_refusal(&s, sign_message(log_in("session-1", &s.github), 0), "not named");
	scene_stop(&s);
}

static void
test_false_binding(void **state)
{
	CLEAN_BUF struct buf text = BUF_INIT, forged = BUF_INIT, good = BUF_INIT;
	struct scene s;

	(void)state;
	scene_start(&s);
	buf_append_str(&text, "session-1");
	key_sign(&s.other, &text, &forged);
	key_sign(&s.github, &text, &good);
	expect_refusal(&s, bind_message(&s.github, "session-1", &forged, false), "not signed");
	expect_refusal(&s, bind_message(&s.github, "session-2", &good, false), "not signed");
	assert_int_equal(s.client.nbinds, 0);
	/* Control. */
	assert_int_equal(
		ask(&s, bind_message(&s.github, "session-1", &good, false)), SSHAGENT_AGREE);
	/* ssh -A: from there on it would be the server's. */
	expect_refusal(&s, bind_message(&s.github, "session-1", &good, true), "forwarded");
	expect_refusal(&s, sign_message(log_in("session-1", NULL), 0), "not named");
	scene_stop(&s);
}

static void
test_something_else(void **state)
{
	static const uint8_t others[] = {1, 3, 9, 17, 18, 19, 20, 22, 23, 24, 25, 26, 0, 255};
	struct buf b = BUF_INIT, data;
	struct scene s;

	(void)state;
	scene_start(&s);
	for (size_t i = 0; i < sizeof(others); i++)
		assert_int_equal(sshagent_judge(&s.hosts, &s.client, &others[i], 1, &s.sight),
			SSHAGENT_REFUSE);
	put_byte(&b, SSHAGENT_REQUEST_IDENTITIES);
	assert_int_equal(ask(&s, b), SSHAGENT_PASS);
	assert_null(s.sight.host);
	b = (struct buf)BUF_INIT;
	put_byte(&b, SSHAGENT_EXTENSION);
	put_text(&b, "query");
	assert_int_equal(ask(&s, b), SSHAGENT_REFUSE);
	assert_int_equal(ask(&s, binding(&s.github, "session-1")), SSHAGENT_AGREE);
	/* A commit, a file: the same keys could sign them. */
	data = (struct buf)BUF_INIT;
	buf_append_str(&data, "SSHSIG");
	put_text(&data, "git");
	expect_refusal(&s, sign_message(data, 0), "something else");
	/* What stands behind a log-in, another key in it, unknown flags. */
	data = log_in("session-1", NULL);
	put_byte(&data, 0);
	expect_refusal(&s, sign_message(data, 0), "something else");
	expect_refusal(&s, sign_message(log_in("session-1", NULL), 1), "malformed");
	b = sign_message(log_in("session-1", NULL), 0);
	b.data[1 + 4] ^= 1;
	expect_refusal(&s, b, "something else");
	scene_stop(&s);
}

/* Cut anywhere, or with any byte changed, nothing is signed that was not to be. */
static void
test_damaged(void **state)
{
	struct scene s;

	(void)state;
	scene_start(&s);
	CLEAN_BUF struct buf bound = binding(&s.github, "session-1");
	CLEAN_BUF struct buf asked = sign_message(log_in("session-1", &s.github), 0);

	for (size_t n = 0; n < bound.len; n++)
		assert_int_equal(sshagent_judge(&s.hosts, &s.client, bound.data, n, &s.sight),
			SSHAGENT_REFUSE);
	for (size_t i = 0; i < bound.len; i++) {
		struct sshagent_client c = {0};

		bound.data[i] ^= 0x10;
		assert_int_equal(sshagent_judge(&s.hosts, &c, bound.data, bound.len, &s.sight),
			SSHAGENT_REFUSE);
		bound.data[i] ^= 0x10;
	}
	s.client = (struct sshagent_client){0};
	assert_int_equal(sshagent_judge(&s.hosts, &s.client, bound.data, bound.len, &s.sight),
		SSHAGENT_AGREE);
	for (size_t n = 0; n < asked.len; n++)
		assert_int_equal(sshagent_judge(&s.hosts, &s.client, asked.data, n, &s.sight),
			SSHAGENT_REFUSE);
	assert_int_equal(sshagent_judge(&s.hosts, &s.client, asked.data, asked.len, &s.sight),
		SSHAGENT_PASS);
	scene_stop(&s);
}

static void
test_key_types(void **state)
{
	static const char *const types[] = {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256",
		"ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		CLEAN_BUF struct buf text = BUF_INIT, sig = BUF_INIT;
		struct key k;

		key_make(&k, types[i]);
		buf_append_str(&text, "what is signed");
		key_sign(&k, &text, &sig);
		assert_true(sshagent_verify(
			k.blob.data, k.blob.len, sig.data, sig.len, text.data, text.len));
		assert_false(sshagent_verify(
			k.blob.data, k.blob.len, sig.data, sig.len, text.data, text.len - 1));
		for (size_t n = 0; n < sig.len; n++)
			assert_false(sshagent_verify(
				k.blob.data, k.blob.len, sig.data, n, text.data, text.len));
		for (size_t n = 0; n < k.blob.len; n++)
			assert_false(sshagent_verify(
				k.blob.data, n, sig.data, sig.len, text.data, text.len));
		key_free(&k);
	}
}

/* ---- the role */

struct role {
	int session, agent, events;
	struct sshagent_options o;
	pthread_t thread;
	struct buf in, said;
};

static void *
serve(void *arg)
{
	return (void *)(intptr_t)sshagent_serve(&((struct role *)arg)->o, NULL);
}

static void
role_start(struct role *r, const char *hosts)
{
	const struct timeval limit = {.tv_sec = 20};
	int session[2], agent[2], events[2];

	memset(r, 0, sizeof(*r));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, session), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, agent), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, events), 0);
	setsockopt(session[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(events[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	r->session = session[0];
	r->agent = agent[0];
	r->events = events[0];
	r->o = (struct sshagent_options){session[1], agent[1], events[1], hosts};
	assert_int_equal(pthread_create(&r->thread, NULL, serve, r), 0);
}

static void
role_stop(struct role *r)
{
	void *result;

	assert_int_equal(pthread_join(r->thread, &result), 0);
	assert_int_equal((intptr_t)result, 0);
	close(r->session);
	close(r->o.session_fd);
	close(r->o.agent_fd);
	close(r->events);
	close(r->o.events_fd);
	buf_release(&r->in);
	buf_release(&r->said);
}

static struct frame
next_frame(struct role *r)
{
	struct frame f = {0};

	while (frame_peek(&r->in, &f) == 0)
		assert_true(buf_read_fd(&r->in, r->session, 65536) > 0);
	return f;
}

/* As the guest's end. Takes the message. */
static void
guest_says(struct role *r, uint8_t client, struct buf m)
{
	CLEAN_BUF struct buf line = BUF_INIT, out = BUF_INIT;

	ssh_line_put(&line, client, m.data, m.len);
	frame_put(&out, SESSION_STDOUT, line.data, line.len);
	assert_int_equal(io_write_full(r->session, out.data, out.len, deadline_in_ms(10000)), 0);
	buf_release(&m);
}

static void
guest_hears(struct role *r, uint8_t client, const char *message, size_t n)
{
	struct ssh_line l;

	while (ssh_line_peek(&r->said, SSH_LINE_ANSWER_MAX, &l) == 0) {
		struct frame f = next_frame(r);

		assert_int_equal(f.type, SESSION_STDIN);
		buf_append(&r->said, f.p, f.n);
		buf_consume(&r->in, FRAME_HEAD + f.n);
	}
	assert_int_equal(l.client, client);
	assert_int_equal(l.n, n);
	assert_memory_equal(l.p, message, n);
	buf_consume(&r->said, SSH_LINE_HEAD + l.n);
}

/* As the agent. */
static void
agent_hears(struct role *r, uint8_t type)
{
	uint8_t bytes[4096];
	size_t n;

	assert_int_equal(io_read_full(r->agent, bytes, 4, deadline_in_ms(10000)), 0);
	n = (size_t)bytes[2] << 8 | bytes[3];
	assert_true(n <= sizeof(bytes));
	assert_int_equal(io_read_full(r->agent, bytes, n, deadline_in_ms(10000)), 0);
	assert_int_equal(bytes[0], type);
}

static void
agent_says(struct role *r, const char *message, size_t n)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	put(&b, message, n);
	assert_int_equal(io_write_full(r->agent, b.data, b.len, deadline_in_ms(10000)), 0);
}

static void
expect_event(struct role *r, enum netevent_verdict verdict, const char *reason)
{
	uint8_t bytes[NETEVENT_WIRE_MAX];
	struct netevent ev;
	ssize_t n = recv(r->events, bytes, sizeof(bytes), 0);

	assert_true(n > 0);
	assert_int_equal(netevent_decode(bytes, (size_t)n, &ev), 0);
	assert_int_equal(ev.verdict, verdict);
	assert_string_equal(ev.rule, "<ssh-agent>");
	if (strstr(ev.reason, reason) == NULL)
		fail_msg("'%s' in '%s'", reason, ev.reason);
	if (verdict != NETEVENT_BLOCKED) {
		assert_string_equal(ev.host, "git.example.com");
		assert_int_equal(ev.port, 2222);
	}
}

static void
test_role(void **state)
{
	struct scene s;
	struct role r;
	struct frame f;
	struct session_open o;
	struct buf m = BUF_INIT;

	(void)state;
	scene_start(&s);
	CLEAN_FREE char *line = known_line("[git.example.com]:2222", &s.github);
	role_start(&r, line);
	f = next_frame(&r);
	assert_int_equal(f.type, SESSION_OPEN);
	assert_int_equal(session_open_decode(f.p, f.n, &o), 0);
	assert_string_equal(o.argv.v[1], "ssh-agent");
	session_open_release(&o);
	buf_consume(&r.in, FRAME_HEAD + f.n);
	/* Two at once: the second waits for the first one's answer. */
	put_byte(&m, SSHAGENT_REQUEST_IDENTITIES);
	guest_says(&r, 0, m);
	guest_says(&r, 1, binding(&s.github, "session-1"));
	agent_hears(&r, SSHAGENT_REQUEST_IDENTITIES);
	agent_says(&r, "\x0ckeys", 5);
	guest_hears(&r, 0, "\x0ckeys", 5);
	guest_hears(&r, 1, "\x06", 1);
	/* Another client is bound to nothing. */
	guest_says(&r, 0, sign_message(log_in("session-1", NULL), 0));
	guest_hears(&r, 0, "\x05", 1);
	expect_event(&r, NETEVENT_BLOCKED, "unknown host, by SHA256:");
	guest_says(&r, 1, sign_message(log_in("session-1", NULL), 0));
	agent_hears(&r, SSHAGENT_SIGN_REQUEST);
	agent_says(&r, "\x0esigned", 7);
	guest_hears(&r, 1, "\x0esigned", 7);
	expect_event(&r, NETEVENT_ALLOWED, "signed by SHA256:");
	/* The person at the host says no. */
	guest_says(&r, 1, sign_message(log_in("session-1", NULL), 0));
	agent_hears(&r, SSHAGENT_SIGN_REQUEST);
	agent_says(&r, "\x05", 1);
	guest_hears(&r, 1, "\x05", 1);
	expect_event(&r, NETEVENT_FAILED, "refused SHA256:");
	/* The number's next client begins with nothing. */
	guest_says(&r, 1, (struct buf)BUF_INIT);
	guest_says(&r, 1, sign_message(log_in("session-1", NULL), 0));
	guest_hears(&r, 1, "\x05", 1);
	expect_event(&r, NETEVENT_BLOCKED, "unknown host");
	close(r.agent);
	role_stop(&r);
	scene_stop(&s);
}

/* No record, no signature. */
static void
test_role_without_log(void **state)
{
	struct scene s;
	struct role r;

	(void)state;
	scene_start(&s);
	CLEAN_FREE char *line = known_line("[git.example.com]:2222", &s.github);
	role_start(&r, line);
	buf_consume(&r.in, FRAME_HEAD + next_frame(&r).n);
	guest_says(&r, 0, binding(&s.github, "session-1"));
	guest_hears(&r, 0, "\x06", 1);
	shutdown(r.events, SHUT_RDWR);
	guest_says(&r, 0, sign_message(log_in("session-1", NULL), 0));
	agent_hears(&r, SSHAGENT_SIGN_REQUEST);
	agent_says(&r, "\x0esigned", 7);
	guest_hears(&r, 0, "\x05", 1);
	close(r.agent);
	role_stop(&r);
	scene_stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_hosts),
		cmocka_unit_test(test_log_in),
		cmocka_unit_test(test_other_hosts),
		cmocka_unit_test(test_false_binding),
		cmocka_unit_test(test_something_else),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_key_types),
		cmocka_unit_test(test_role),
		cmocka_unit_test(test_role_without_log),
	};

	signal(SIGPIPE, SIG_IGN);
	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
