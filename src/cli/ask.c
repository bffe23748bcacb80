/* Short questions to the guest. Whatever it answers, they end within their limit. */
#include <errno.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <supervisor/supervisor.h>
#include <wire/session.h>

#include "cli.h"

#define LIMIT_MS   5000
#define ANSWER_MAX (1 << 20)

/* The whole frames that are in: 1 at the last one, 0 for more, -errno. */
static int
take_frames(struct buf *in, struct buf *ret)
{
	struct frame f;
	int r;

	while ((r = frame_peek(in, &f)) > 0) {
		if (f.type == SESSION_EXIT)
			return 1;
		if (f.type == SESSION_ERROR || ret->len > ANSWER_MAX)
			return -EBADMSG;
		if (f.type == SESSION_STDOUT)
			buf_append(ret, f.p, f.n);
		buf_consume(in, FRAME_HEAD + f.n);
	}
	return r;
}

int
guest_ask(const struct cli *c, const char *name, enum session_op op, struct buf *ret, struct err *e)
{
	CLEAN_BUF struct buf payload = BUF_INIT, frame = BUF_INIT, in = BUF_INIT;
	struct session_open o = {.op = op};
	CLEAN_CLOSE int fd = supervisor_session(&c->paths, name, e);
	uint64_t deadline = deadline_in_ms(LIMIT_MS);
	int r;

	if (fd < 0)
		return fd;
	session_open_encode(&o, &payload);
	frame_put(&frame, SESSION_OPEN, payload.data, payload.len);
	r = io_write_full(fd, frame.data, frame.len, deadline);
	while (r == 0) {
		uint8_t byte;

		r = take_frames(&in, ret);
		if (r != 0)
			break;
		r = io_read_full(fd, &byte, 1, deadline);
		if (r == 0)
			buf_append(&in, &byte, 1);
	}
	return r < 0 ? err_set(e, -r, "sandbox '%s' does not answer as it should", name) : 0;
}
