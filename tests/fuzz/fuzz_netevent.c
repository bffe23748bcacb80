/* A record as the net role, perhaps taken over, may send it: what decodes is printable and encodes
 * again into something that decodes to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <wire/netevent.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int condition)
{
	if (!condition)
		abort();
}

static void
printable(const char *text, size_t max)
{
	require(strnlen(text, max + 1) <= max);
	for (; *text != '\0'; text++)
		require(*text >= 0x20 && *text < 0x7f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct netevent ev, again;

	if (netevent_decode(data, size, &ev) < 0)
		return 0;
	printable(ev.host, NETEVENT_HOST_MAX);
	printable(ev.method, NETEVENT_METHOD_MAX);
	printable(ev.path, NETEVENT_PATH_MAX);
	printable(ev.rule, NETEVENT_RULE_MAX);
	printable(ev.reason, NETEVENT_REASON_MAX);
	require(netevent_kind_name(ev.kind) != NULL && netevent_via_name(ev.via) != NULL);
	require(netevent_verdict_name(ev.verdict) != NULL);
	netevent_encode(&ev, &b);
	require(b.len <= NETEVENT_WIRE_MAX);
	require(netevent_decode(b.data, b.len, &again) == 0);
	require(ev.conn == again.conn && ev.count == again.count &&
		strcmp(ev.host, again.host) == 0);
	return 0;
}
