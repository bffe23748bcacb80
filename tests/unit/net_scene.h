#pragma once
/* The net role with one origin, and what it tells the network log. */
#include "net_events.h"
#include "net_rig.h"

#define PAGE "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

struct scene {
	struct rig g;
	uint16_t port;
	int origin;
	int events[2]; /* net's end, ours */
};

/* PORT in the policy: the origin's. more: sets hooks; NULL: there are none to set. */
static inline void
scene_start_with(struct scene *s, const char *policy, void (*more)(struct scene *s))
{
	const char *at = policy != NULL ? strstr(policy, "PORT") : NULL;
	char text[256];
	struct err e;

	memset(s, 0, sizeof(*s));
	s->origin = origin_at(FAKE_PUBLIC, &s->port, 20);
	events_open(s->events);
	if (at != NULL) {
		snprintf(text, sizeof(text), "%.*s%u%s", (int)(at - policy), policy, s->port,
			at + strlen("PORT"));
		policy = text;
	}
	if (policy != NULL) {
		s->g.own_policy = true;
		assert_int_equal(policy_decode(policy, strlen(policy), &s->g.policy, &e), 0);
	}
	s->g.hooks.gate_limit_ms = 300;
	s->g.events_fd = s->events[0];
	if (more != NULL)
		more(s);
	rig_start(&s->g);
}

static inline void
scene_start(struct scene *s, const char *policy)
{
	scene_start_with(s, policy, NULL);
}

static inline void
scene_stop(struct scene *s)
{
	rig_stop(&s->g);
	close(s->origin);
	events_close(s->events);
}

/* The next record that is no question of DNS. */
static inline struct netevent
next_event(struct scene *s)
{
	return events_next(s->events);
}

static inline void
expect_blocked(struct scene *s, enum netevent_kind kind, const char *host, const char *rule,
	const char *reason)
{
	struct netevent ev = next_event(s);

	assert_int_equal(ev.op, NETEVENT_ONE);
	assert_int_equal(ev.verdict, NETEVENT_BLOCKED);
	assert_int_equal(ev.kind, kind);
	assert_string_equal(ev.host, host);
	assert_string_equal(ev.rule, rule);
	if (strstr(ev.reason, reason) == NULL)
		fail_msg("%s", ev.reason);
}

static inline int
proxy_connect(struct scene *s)
{
	return guest_connect(&s->g, NET_GATEWAY, NET_PROXY_PORT);
}

/* A head, or a page, up to its blank line. */
static inline char *
read_head(int fd)
{
	static char text[8192];
	size_t n = 0;

	while (n < sizeof(text) - 1 && (n < 4 || memcmp(text + n - 4, "\r\n\r\n", 4) != 0)) {
		if (peer_recv(fd, text + n, 1, 0) != 1)
			fail_msg("ended within: %.*s", (int)n, text);
		n++;
	}
	text[n] = '\0';
	return text;
}

static inline void
expect_in_head(int fd, const char *part)
{
	const char *head = read_head(fd);

	if (strstr(head, part) == NULL)
		fail_msg("no %s in %s", part, head);
}

/* The rest up to the end, which must come. */
static inline char *
read_rest(int fd)
{
	static char text[8192];
	ssize_t n = peer_recv(fd, text, sizeof(text) - 1, MSG_WAITALL);

	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

/* PORT in the text becomes the origin's port. */
static inline void
ask(int fd, uint16_t port, const char *text)
{
	char out[1024], number[8];
	size_t n = 0;

	snprintf(number, sizeof(number), "%u", port);
	while (*text != '\0' && n < sizeof(out) - sizeof(number)) {
		if (strncmp(text, "PORT", 4) == 0) {
			n += (size_t)sprintf(out + n, "%s", number);
			text += 4;
		} else {
			out[n++] = *text++;
		}
	}
	out[n] = '\0';
	peer_send(fd, out);
}

/* A ClientHello for this name ("": none) in one record. */
static inline size_t
hello(const char *name, uint8_t out[512])
{
	static const uint8_t start[] = {3, 3};
	size_t n = strlen(name), ext = n > 0 ? n + 9 : 0, body = 2 + 32 + 1 + 4 + 2 + 2 + ext,
	       at = 0;
	uint8_t *p = out;

	memset(out, 0, 512);
	memcpy(p, "\x16\x03\x01", 3);
	p[4] = (uint8_t)(body + 4);
	p[5] = 1;
	p[8] = (uint8_t)body;
	memcpy(p + 9, start, 2);
	at = 9 + 2 + 32 + 1;
	memcpy(p + at, "\0\2\x13\1\1\0", 6);
	at += 6;
	p[at + 1] = (uint8_t)ext;
	at += 2;
	if (n > 0) {
		uint8_t e[9] = {0, 0, 0, (uint8_t)(n + 5), 0, (uint8_t)(n + 3), 0, 0, (uint8_t)n};

		memcpy(p + at, e, 9);
		memcpy(p + at + 9, name, n);
		at += 9 + n;
	}
	return at;
}

static inline void
expect_alert(int guest)
{
	peer_expect(guest, "\x15\x03\x03");
	uint8_t rest[4];

	assert_int_equal(peer_recv(guest, rest, 4, MSG_WAITALL), 4);
	assert_int_equal(rest[3], 49);
	peer_expect_end(guest);
	close(guest);
}
