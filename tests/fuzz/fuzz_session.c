/* Everything of the session protocol that is decoded from a peer's bytes: frames first, then each
 * payload as whatever it could be. */
#include <stdint.h>
#include <stdlib.h>

#include <base/buf.h>
#include <wire/identity.h>
#include <wire/session.h>
#include <wire/tlv.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
open_again(const struct session_open *o)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct session_open again;

	/* What was accepted can be said, and is then accepted again. */
	session_open_encode(o, &b);
	if (session_open_decode(b.data, b.len, &again) < 0)
		abort();
	session_open_release(&again);
}

static void
payload(const uint8_t *p, size_t n)
{
	struct session_open o;
	struct identity i;
	struct session_info info;
	struct tlv_reader r;

	if (session_open_decode(p, n, &o) == 0) {
		open_again(&o);
		if (o.identity.len > 0 && identity_decode(o.identity.data, o.identity.len, &i) == 0)
			identity_release(&i);
		session_open_release(&o);
	}
	if (identity_decode(p, n, &i) == 0)
		identity_release(&i);
	tlv_reader_init(&r, p, n);
	while (session_info_next(&r, &info) > 0)
		session_info_release(&info);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN_BUF struct buf in = BUF_INIT;
	uint16_t rows, cols;
	struct frame f;

	buf_append(&in, data, size);
	while (frame_peek(&in, &f) > 0) {
		payload(f.p, f.n);
		session_get_winsize(&f, &rows, &cols);
		buf_consume(&in, FRAME_HEAD + f.n);
	}
	payload(data, size);
	return 0;
}
