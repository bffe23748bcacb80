/*
 * What the guest's end sends to the ssh role: framed messages of several clients, judged. Whatever
 * comes, no signature is passed on, for nobody here has the named host's private key.
 */
#include <stdint.h>
#include <stdlib.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <sshagent/judge.h>
#include <wire/ssh.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char known[] =
	"git.example.com ssh-ed25519 "
	"AAAAC3NzaC1lZDI1NTE5AAAAIMDGGSOpnxpV0KCFXT1hlMOtB45o/8Lx3EKXeNfV1UPK\n";

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sshagent_client clients[SSH_LINE_CLIENTS_MAX] = {0};
	static struct sshagent_hosts hosts;
	CLEAN_BUF struct buf in = BUF_INIT;
	struct sshagent_sight sight;
	struct ssh_line l;

	if (hosts.n == 0 && sshagent_hosts_parse(known, &hosts, NULL) < 0)
		abort();
	buf_append(&in, data, size);
	while (ssh_line_peek(&in, SSH_LINE_REQUEST_MAX, &l) > 0) {
		enum sshagent_verdict v =
			sshagent_judge(&hosts, &clients[l.client], l.p, l.n, &sight);

		if (v == SSHAGENT_AGREE || (v == SSHAGENT_PASS && sight.host != NULL) ||
			(v == SSHAGENT_PASS && l.p[0] != SSHAGENT_REQUEST_IDENTITIES))
			abort();
		buf_consume(&in, SSH_LINE_HEAD + l.n);
	}
	return 0;
}
