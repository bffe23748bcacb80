#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <audit/audit.h>
#include <base/clock.h>
#include <base/log.h>

/*
 * How this works: wait for a record, open a transaction, take what else is there, commit. So a
 * quiet sandbox's record is on disk at once, and a flood costs one commit for each BATCH_MAX.
 */
#define BATCH_MAX 500
#define BATCH_MS  200
#define RETRY_MS  1000

enum take { TAKE_OK, TAKE_EMPTY, TAKE_END };

struct server {
	int fd;
	struct audit *audit;
	uint64_t lost;  /* not stored, and not told about yet */
	uint64_t retry; /* not before: the last attempt failed */
};

static enum take
take(const struct server *s, struct netevent *ret, bool *ret_good)
{
	uint8_t bytes[NETEVENT_WIRE_MAX + 1];
	ssize_t n;

	do
		n = recv(s->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? TAKE_EMPTY : TAKE_END;
	if (n == 0)
		return TAKE_END;
	*ret_good = netevent_decode(bytes, (size_t)n, ret) == 0;
	return TAKE_OK;
}

static int64_t
now_ms(void)
{
	return (int64_t)(clock_real_ns() / 1000000);
}

static int
store(struct server *s, const struct netevent *ev, struct err *e)
{
	return audit_add(s->audit, ev, now_ms(), e);
}

static int
store_lost(struct server *s, struct err *e)
{
	struct netevent ev = {.op = NETEVENT_LOST,
		.count = s->lost < UINT32_MAX ? (uint32_t)s->lost : UINT32_MAX};

	return s->lost > 0 ? store(s, &ev, e) : 0;
}

/* One transaction. A record that net should not have sent counts as lost, too. */
static enum take
batch(struct server *s)
{
	uint64_t deadline = deadline_in_ms(BATCH_MS);
	struct err e = {0};
	struct netevent ev;
	enum take t = TAKE_OK;
	uint64_t n = 0, bad = 0;
	bool good = false;
	int r = clock_mono_ms() < s->retry ? -EAGAIN : audit_begin(s->audit, &e);

	if (r == 0)
		r = store_lost(s, &e);
	while (n < BATCH_MAX && deadline_left_ms(deadline) > 0 &&
		(t = take(s, &ev, &good)) == TAKE_OK) {
		n++;
		bad += !good;
		if (r == 0 && good)
			r = store(s, &ev, &e);
	}
	if (r == 0)
		r = audit_commit(s->audit, &e);
	if (r == 0) {
		s->lost = bad;
		return t;
	}
	s->lost += n;
	if (r != -EAGAIN) {
		log_warn("%s", e.msg);
		audit_rollback(s->audit);
		s->retry = deadline_in_ms(RETRY_MS);
	}
	return t;
}

int
audit_serve(int fd, const char *path, struct err *e)
{
	struct server s = {.fd = fd};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int r = audit_open(path, &s.audit, e);

	if (r < 0)
		return r;
	do {
		if (poll(&p, 1, -1) < 0 && errno != EINTR) {
			r = err_sys(e, errno, "network log: poll");
			break;
		}
	} while (batch(&s) != TAKE_END);
	if (s.lost > 0)
		(void)batch(&s); /* only to say so */
	audit_close(s.audit);
	return r;
}
