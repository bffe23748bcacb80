/* What the fs role, which the guest may have taken over, tells the supervisor. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <wire/change.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct buf b = BUF_INIT;
	struct change c, again;

	if (change_decode(p, n, &c) < 0)
		return 0;
	if (c.kind == 0 || c.kind >= CHANGE_KINDS || c.what >= CHANGE_WHATS || c.path[0] != '/')
		abort();
	change_encode(&c, &b);
	if (change_decode(b.data, b.len, &again) < 0 || strcmp(again.value, c.value) != 0)
		abort();
	change_release(&again);
	change_release(&c);
	buf_release(&b);
	return 0;
}
