/*
 * How this works: two streams and one state. While no request is at the agent, the next message of
 * the guest's is taken and judged: refused and agreed ones are answered here, the others go to the
 * agent as they came, and until its answer is there nothing more is read from the guest. An answer
 * to a signature goes out once the log has its record; without one it is a refusal. The agent's end
 * is the end of the role, for a connection of a later client has to come from the user.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/crypto.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <sshagent/judge.h>
#include <sshagent/serve.h>
#include <wire/netevent.h>
#include <wire/session.h>
#include <wire/ssh.h>

#define READ_CHUNK 65536
/* A key may have to be touched, or a person be asked. */
#define ANSWER_LIMIT_MS 120000
#define LOG_LIMIT_MS    2000
/* Refusals that are logged: a guest has many. */
#define REFUSALS_MAX    64
#define REFUSALS_PER_MS 60000

static const char guest_program[] = "/proc/1/exe";

struct relay {
	const struct sshagent_options *o;
	struct sshagent_hosts hosts;
	struct sshagent_client clients[SSH_LINE_CLIENTS_MAX];
	struct buf session_in, session_out; /* frames */
	struct buf said;                    /* by the guest's end */
	struct buf agent_in, agent_out;
	bool waiting; /* for the agent's answer to this request */
	uint8_t client;
	struct sshagent_sight sight;
	uint64_t deadline_ms;
	size_t refusals;
	uint64_t refusals_since_ms;
	bool ended;
};

void
sshagent_prepare(void)
{
	unsigned char byte = 0;
	char text[SSHAGENT_PRINT_SIZE];

	OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
	sshagent_print(&byte, 1, text);
}

/* ---- the log */

static bool
log_event(struct relay *r, enum netevent_verdict verdict, const char *host, uint16_t port,
	const char *reason)
{
	struct netevent ev = {.op = NETEVENT_ONE,
		.kind = NETEVENT_TCP,
		.via = NETEVENT_TRANSPARENT,
		.verdict = verdict,
		.port = port,
		.count = 1};
	struct pollfd room = {r->o->events_fd, POLLOUT, 0};
	CLEAN_BUF struct buf b = BUF_INIT;

	netevent_set_text(ev.host, sizeof(ev.host), host, strlen(host));
	netevent_set_text(ev.rule, sizeof(ev.rule), "<ssh-agent>", strlen("<ssh-agent>"));
	netevent_set_text(ev.reason, sizeof(ev.reason), reason, strlen(reason));
	netevent_encode(&ev, &b);
	return poll(&room, 1, LOG_LIMIT_MS) == 1 &&
	       send(r->o->events_fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)b.len;
}

static void
log_refusal(struct relay *r, const struct sshagent_sight *sight)
{
	char text[NETEVENT_REASON_MAX];
	uint64_t now = clock_mono_ms();

	if (now - r->refusals_since_ms > REFUSALS_PER_MS) {
		r->refusals_since_ms = now;
		r->refusals = 0;
	}
	if (r->refusals++ >= REFUSALS_MAX)
		return;
	snprintf(text, sizeof(text), "%s%s%s", sight->why, sight->print[0] != '\0' ? ", by " : "",
		sight->print);
	(void)log_event(r, NETEVENT_BLOCKED, "(ssh agent)", 0, text);
}

/* ---- the guest's side */

static void
say(struct relay *r, const struct buf *b)
{
	for (size_t at = 0; at < b->len;) {
		size_t n = b->len - at < FRAME_CHUNK ? b->len - at : FRAME_CHUNK;

		frame_put(&r->session_out, SESSION_STDIN, b->data + at, n);
		at += n;
	}
}

static void
answer(struct relay *r, uint8_t client, const uint8_t *p, size_t n)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	ssh_line_put(&b, client, p, n);
	say(r, &b);
}

static void
answer_byte(struct relay *r, uint8_t client, enum sshagent_type type)
{
	uint8_t byte = (uint8_t)type;

	answer(r, client, &byte, 1);
}

static void
take_message(struct relay *r, uint8_t client, const uint8_t *p, size_t n)
{
	struct sshagent_client *c = &r->clients[client];

	if (n == 0) {
		*c = (struct sshagent_client){0};
		return;
	}
	switch (sshagent_judge(&r->hosts, c, p, n, &r->sight)) {
	case SSHAGENT_PASS:
		buf_append_be32(&r->agent_out, (uint32_t)n);
		buf_append(&r->agent_out, p, n);
		r->waiting = true;
		r->client = client;
		r->deadline_ms = deadline_in_ms(ANSWER_LIMIT_MS);
		return;
	case SSHAGENT_AGREE:
		answer_byte(r, client, SSHAGENT_SUCCESS);
		return;
	case SSHAGENT_REFUSE:
		if (r->sight.why != NULL)
			log_refusal(r, &r->sight);
		answer_byte(r, client, SSHAGENT_FAILURE);
		return;
	}
}

static int
take_messages(struct relay *r)
{
	struct ssh_line l;
	int more = 0;

	/* Not more answers than the guest takes. */
	while (!r->waiting && r->session_out.len < READ_CHUNK &&
		(more = ssh_line_peek(&r->said, SSH_LINE_REQUEST_MAX, &l)) > 0) {
		take_message(r, l.client, l.p, l.n);
		buf_consume(&r->said, SSH_LINE_HEAD + l.n);
	}
	return more < 0 ? -EBADMSG : 0;
}

static int
take_frames(struct relay *r)
{
	struct frame f;
	int more;

	while ((more = frame_peek(&r->session_in, &f)) > 0) {
		if (f.type == SESSION_STDOUT)
			buf_append(&r->said, f.p, f.n);
		else if (f.type == SESSION_EXIT || f.type == SESSION_ERROR)
			r->ended = true;
		buf_consume(&r->session_in, FRAME_HEAD + f.n);
	}
	return more < 0 ? -EBADMSG : 0;
}

static void
open_session(struct relay *r)
{
	CLEAN_BUF struct buf payload = BUF_INIT;
	CLEAN_STRV struct strv argv = {0};
	struct session_open o = {.op = SESSION_OP_EXEC, .stdin_open = true, .user = (char *)"root"};

	strv_add(&argv, guest_program);
	strv_add(&argv, SSH_LINE_COMMAND);
	o.argv = argv;
	o.cwd = (char *)"/";
	session_open_encode(&o, &payload);
	frame_put(&r->session_out, SESSION_OPEN, payload.data, payload.len);
}

/* ---- the agent's side */

static void
deliver(struct relay *r, const uint8_t *p, size_t n)
{
	bool is_sign = r->sight.host != NULL;
	bool signed_it = is_sign && p[0] == SSHAGENT_SIGN_RESPONSE;
	char text[NETEVENT_REASON_MAX];

	r->waiting = false;
	if (!is_sign && p[0] != SSHAGENT_IDENTITIES_ANSWER) {
		answer_byte(r, r->client, SSHAGENT_FAILURE);
		return;
	}
	snprintf(text, sizeof(text), "%s %s", signed_it ? "signed by" : "the agent refused",
		r->sight.print);
	if (is_sign && (!log_event(r, signed_it ? NETEVENT_ALLOWED : NETEVENT_FAILED,
				r->sight.host->name, r->sight.host->port, text) ||
			       !signed_it))
		answer_byte(r, r->client, SSHAGENT_FAILURE);
	else
		answer(r, r->client, p, n);
}

/* u32 length, message; nothing is expected but the answer to the one request. */
static int
take_answer(struct relay *r)
{
	const uint8_t *d = r->agent_in.data;
	size_t n;

	if (r->agent_in.len < 4)
		return 0;
	n = (size_t)d[0] << 24 | (size_t)d[1] << 16 | (size_t)d[2] << 8 | d[3];
	if (n == 0 || n > SSH_LINE_ANSWER_MAX || !r->waiting || r->agent_in.len > 4 + n)
		return -EBADMSG;
	if (r->agent_in.len < 4 + n)
		return 0;
	deliver(r, d + 4, n);
	buf_consume(&r->agent_in, 4 + n);
	return 0;
}

/* ---- both */

/* 1: something came or may come again, 0: the end. */
static int
read_more(struct buf *b, int fd)
{
	ssize_t n = buf_read_fd(b, fd, READ_CHUNK);

	return n > 0 || n == -EAGAIN || n == -EINTR;
}

static int
write_more(struct buf *b, int fd)
{
	ssize_t n = b->len > 0 ? buf_write_fd(b, fd) : 0;

	return n >= 0 || n == -EAGAIN || n == -EINTR;
}

static int
step(struct relay *r, struct err *e)
{
	struct pollfd p[2] = {{r->o->session_fd, 0, 0}, {r->o->agent_fd, POLLIN, 0}};
	int left = r->waiting ? deadline_left_ms(r->deadline_ms) : -1, rc;

	if (r->waiting && left == 0)
		return err_set(e, ETIMEDOUT, "the SSH agent does not answer");
	if (!r->waiting && r->said.len < SSH_LINE_HEAD + SSH_LINE_REQUEST_MAX)
		p[0].events |= POLLIN;
	if (r->session_out.len > 0)
		p[0].events |= POLLOUT;
	if (r->agent_out.len > 0)
		p[1].events |= POLLOUT;
	rc = poll(p, 2, left);
	if (rc < 0 && errno != EINTR)
		return err_sys(e, errno, "poll");
	if (rc <= 0)
		return 0;
	r->ended |= !write_more(&r->session_out, p[0].fd) || !write_more(&r->agent_out, p[1].fd);
	if (p[0].revents & POLLIN)
		r->ended |= !read_more(&r->session_in, p[0].fd);
	else if (p[0].revents & (POLLHUP | POLLERR))
		r->ended = true;
	if (p[1].revents & (POLLIN | POLLHUP | POLLERR))
		r->ended |= !read_more(&r->agent_in, p[1].fd);
	if (take_answer(r) < 0)
		return err_set(e, EBADMSG, "the SSH agent does not speak as it should");
	if (take_frames(r) < 0 || take_messages(r) < 0)
		return err_set(e, EBADMSG, "the guest's end does not speak as it should");
	return 0;
}

static void
relay_free(struct relay **p)
{
	struct relay *r = *p;

	sshagent_hosts_release(&r->hosts);
	buf_release(&r->session_in);
	buf_release(&r->session_out);
	buf_release(&r->said);
	buf_release(&r->agent_in);
	buf_release(&r->agent_out);
	free(r);
}

int
sshagent_serve(const struct sshagent_options *o, struct err *e)
{
	CLEANUP(relay_free) struct relay *r = xcalloc(1, sizeof(*r));
	int rc = sshagent_hosts_parse(o->hosts, &r->hosts, e);

	r->o = o;
	if (rc == 0 && (io_set_nonblock(o->session_fd, true) < 0 ||
			       io_set_nonblock(o->agent_fd, true) < 0))
		rc = err_sys(e, errno, "a descriptor");
	if (rc == 0)
		open_session(r);
	while (rc == 0 && !r->ended)
		rc = step(r, e);
	return rc;
}
