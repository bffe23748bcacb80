/* Whatever QEMU, taken over by a guest, may say on its monitor: greeting, answer, events. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <vmm/vmm.h>

/* As much as a socket takes without a reader. */
#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN_CLOSE int peer = -1;
	struct err e = {0};
	struct qmp *q;
	char name[64];
	int sv[2];

	if (size > INPUT_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return 0;
	peer = sv[1];
	if (io_write_full(peer, data, size, deadline_in_ms(1000)) < 0 ||
		shutdown(peer, SHUT_WR) < 0)
		abort();
	q = qmp_new(sv[0]);
	/* All is there and the end behind it: nothing is waited for. */
	if (qmp_hello(q, deadline_in_ms(1000), &e) == 0)
		qmp_command(q, "stop", NULL, deadline_in_ms(1000), &e);
	while (qmp_event(q, name) == 1)
		if (memchr(name, '\0', sizeof(name)) == NULL)
			abort();
	qmp_free(q);
	return 0;
}
