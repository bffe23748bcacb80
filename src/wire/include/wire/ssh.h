#pragma once
/*
 * Between the ssh role and the guest's end of the agent, over the standard streams of a session:
 * messages of SSH's agent protocol without the length before them, each behind the number of the
 * client whose it is. An empty one of the guest's means that this client has gone.
 *   u8 client, u32 length (big-endian), message
 */
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

#define SSH_LINE_SOCKET      "/run/ssh-agent.sock" /* in the guest: SSH_AUTH_SOCK */
#define SSH_LINE_COMMAND     "ssh-agent"           /* paddock-guest's word for it */
#define SSH_LINE_CLIENTS_MAX 32
#define SSH_LINE_HEAD        5
#define SSH_LINE_REQUEST_MAX 32768
#define SSH_LINE_ANSWER_MAX  262144 /* OpenSSH's own limit */

struct ssh_line {
	uint8_t client;
	const uint8_t *p; /* into the buffer */
	size_t n;
};

/*
 * The first whole message of in: 1 (the caller then consumes SSH_LINE_HEAD + n), 0 for "more
 * bytes", -EMSGSIZE for a client or a length (over max) that cannot be.
 */
int ssh_line_peek(const struct buf *in, size_t max, struct ssh_line *ret);
void ssh_line_put(struct buf *out, uint8_t client, const void *p, size_t n);
