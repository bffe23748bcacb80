#pragma once
/*
 * What an SSH client in the guest asks of the host's agent, judged (draft-ietf-sshm-ssh-agent;
 * OpenSSH's PROTOCOL.agent for session-bind@openssh.com, PROTOCOL for hostbound authentication).
 *
 * A signature is given for one purpose: public key authentication (RFC 4252 7) in a session that
 * the client has bound to the key of a named host before. Such a binding holds that host's own
 * signature of the session's identifier, which nobody else can make, and which another session
 * does not have. So neither the guest nor a server that it speaks to can use the agent elsewhere.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/err.h>

#define SSHAGENT_HOSTS_MAX   256 /* keys of named hosts */
#define SSHAGENT_BINDS_MAX   16  /* of one connection, as in ssh-agent(1) */
#define SSHAGENT_SESSION_MAX 64  /* bytes of a session's identifier: a hash */

enum sshagent_type { /* draft-ietf-sshm-ssh-agent 6.1 */
	SSHAGENT_FAILURE = 5,
	SSHAGENT_SUCCESS = 6,
	SSHAGENT_REQUEST_IDENTITIES = 11,
	SSHAGENT_IDENTITIES_ANSWER = 12,
	SSHAGENT_SIGN_REQUEST = 13,
	SSHAGENT_SIGN_RESPONSE = 14,
	SSHAGENT_EXTENSION = 27,
};

/* A public key (RFC 4253 6.6, the blob) under which a named host is known. */
struct sshagent_host {
	char *name;
	uint16_t port;
	struct buf key;
};

struct sshagent_hosts {
	struct sshagent_host v[SSHAGENT_HOSTS_MAX];
	size_t n;
};

void sshagent_hosts_release(struct sshagent_hosts *h);
/*
 * Lines of known_hosts (sshd(8)) with one name each: "NAME TYPE BASE64" or "[NAME]:PORT TYPE
 * BASE64". -EINVAL; *ret is untouched then.
 */
int sshagent_hosts_parse(const char *text, struct sshagent_hosts *ret, struct err *e);

/* What one client's connection has said so far; zeroed for a new one. */
struct sshagent_client {
	struct {
		uint8_t id[SSHAGENT_SESSION_MAX];
		size_t n;
		const struct sshagent_host *host;
	} binds[SSHAGENT_BINDS_MAX];
	size_t nbinds;
	bool spoiled; /* it was bound to somebody else, or for forwarding: no signature any more */
};

enum sshagent_verdict {
	SSHAGENT_PASS,   /* to the agent, as it is */
	SSHAGENT_AGREE,  /* done: SSHAGENT_SUCCESS */
	SSHAGENT_REFUSE, /* SSHAGENT_FAILURE */
};

#define SSHAGENT_PRINT_SIZE 64
struct sshagent_sight {
	const struct sshagent_host *host; /* of a signature; NULL: another message */
	char print[SSHAGENT_PRINT_SIZE];  /* "SHA256:...": the key that is to sign */
	const char *why;                  /* of a refusal that is worth a record; else NULL */
};

/* One message, at most SSH_LINE_REQUEST_MAX (wire/ssh.h): its type and content. */
enum sshagent_verdict sshagent_judge(const struct sshagent_hosts *hosts, struct sshagent_client *c,
	const uint8_t *p, size_t n, struct sshagent_sight *ret);

/* Whether this key (a blob) has signed data: ssh-ed25519, ecdsa-sha2-nistp*, ssh-rsa with SHA-2. */
bool sshagent_verify(const uint8_t *key, size_t nkey, const uint8_t *signature, size_t nsignature,
	const uint8_t *data, size_t n);
void sshagent_print(const uint8_t *key, size_t nkey, char out[SSHAGENT_PRINT_SIZE]);
