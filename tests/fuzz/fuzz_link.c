/*
 * The link role's end of the line, fed by a guest that says anything. The first byte says how large
 * the pieces are that arrive; the rest comes behind a SETTINGS frame, so that it gets somewhere.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/buf.h>
#include <wire/line.h>

#include "mux.h"

#define STREAMS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(struct mux_stream *const *s, const struct buf *out)
{
	for (int i = 0; i < STREAMS; i++)
		if (s[i]->down.len > LINE_WINDOW || s[i]->up.len > MUX_UP_MAX)
			abort();
	if (out->len > 1 << 20)
		abort();
}

/* What the role's loop does between two reads: a slow client, a fast one, one that has left. */
static int
round_of(struct mux *m, struct mux_stream *const *s, struct buf *out)
{
	struct err e;
	int r;

	mux_stream_passed(s[0], s[0]->down.len / 2);
	mux_stream_passed(s[1], s[1]->down.len);
	if (!s[2]->discard)
		mux_stream_discard(s[2]);
	if (s[0]->up.len < 1024 && !s[0]->closed)
		buf_append(&s[0]->up, "some words of the client's", 26);
	mux_stream_resume(s[0]);
	r = mux_pull(m, out, 65536, &e);
	check(s, out);
	buf_clear(out);
	return r;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
	CLEAN_BUF struct buf out = BUF_INIT;
	struct mux *m = mux_new();
	struct mux_stream *s[STREAMS];
	size_t piece = size > 0 ? data[0] + 1u : 1;
	struct err e;
	int r;

	for (int i = 0; i < STREAMS; i++)
		if ((s[i] = mux_stream_new(m)) == NULL)
			abort();
	r = round_of(m, s, &out);
	if (r < 0 || mux_is_up(m))
		abort();
	r = mux_feed(m, settings, sizeof(settings), &e);
	if (r < 0 || !mux_is_up(m))
		abort();
	for (size_t at = 1; at < size && r == 0; at += piece) {
		size_t n = size - at < piece ? size - at : piece;

		r = mux_feed(m, data + at, n, &e);
		if (r == 0)
			r = round_of(m, s, &out);
	}
	for (int i = 0; i < STREAMS; i++)
		mux_stream_free(s[i]);
	if (r == 0)
		mux_pull(m, &out, 65536, &e);
	mux_free(m);
	return 0;
}
