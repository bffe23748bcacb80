#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>

#include <proto/first.h>

#include "gate.h"

/* Readable from now on means: more than that, the end, or an error. */
static void
wake_at(int fd, size_t n)
{
	int bytes = (int)n;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

void
gate_wait(int fd, size_t seen)
{
	wake_at(fd, seen + 1);
}

void
gate_leave(int fd)
{
	wake_at(fd, 1);
}

static enum gate_sight
look_at_tls(struct gate *g, const uint8_t *p, size_t n, bool ended)
{
	switch (tls_hello_parse(p, n, &g->hello)) {
	case TLS_PARSE_OK:
		return GATE_TLS;
	case TLS_PARSE_MORE:
		g->brief = false;
		return ended ? GATE_BAD : GATE_MORE;
	case TLS_PARSE_BAD:
		break;
	}
	return GATE_BAD;
}

static enum gate_sight
look_at(struct gate *g, const uint8_t *p, size_t n, bool ended)
{
	switch (ended ? first_classify_cut(p, n) : first_classify(p, n)) {
	case FIRST_MORE:
		g->brief = first_classify_cut(p, n) == FIRST_OTHER;
		return GATE_MORE;
	case FIRST_HTTP:
		return GATE_HTTP;
	case FIRST_TLS:
		return look_at_tls(g, p, n, ended);
	case FIRST_OTHER:
		break;
	}
	return GATE_OTHER;
}

enum gate_sight
gate_look(struct gate *g, int fd)
{
	uint8_t bytes[FIRST_MAX];
	enum gate_sight sight;
	ssize_t n;

	do
		n = recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN && !g->late)
		return GATE_MORE;
	if (n < 0) /* nothing at all, or an error that whoever reads next will see */
		return GATE_OTHER;
	/* Readable and nothing new: the end, or urgent data, which nobody's first words are. */
	sight = look_at(g, bytes, (size_t)n, g->late || (size_t)n == g->seen);
	g->seen = (size_t)n;
	if (sight == GATE_MORE)
		wake_at(fd, g->seen + 1);
	else
		gate_leave(fd);
	return sight;
}
