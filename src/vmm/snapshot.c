/*
 * How this works: QEMU writes a stopped machine's devices, without its memory, to a file (its
 * xen-save-devices-state, which has nothing to do with Xen; a quarter of a megabyte). The memory is
 * a shared file already (VMM_MEMORY_FILE), or is taken from QEMU's process (ram.c). A clone reads
 * the devices as a migration that comes in; what is written has no section of its configuration, so
 * none is expected (plan.c). It says that the machine ran, so the clone runs when it has read it,
 * unless it was started to wait (-S).
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/mem.h>
#include <vmm/vmm.h>

#include "qmp_fd.h"

#define POLL_MS 2

static void
json_decref_p(json_t **j)
{
	json_decref(*j);
}

int
qmp_save(struct qmp *q, int fd, uint64_t deadline_ms, struct err *e)
{
	int r = qmp_command(q, "stop", NULL, deadline_ms, e);

	if (r == 0)
		r = qmp_pass_fd(q, "add-fd", "{\"fdset-id\":1}", fd, deadline_ms, e);
	if (r < 0)
		return r;
	/* "live" would have it keep its disk from anybody else: there is nobody else. */
	r = qmp_command(q, "xen-save-devices-state",
		"{\"filename\":\"/dev/fdset/1\",\"live\":false}", deadline_ms, e);
	qmp_command(q, "remove-fd", "{\"fdset-id\":1}", deadline_ms, r == 0 ? e : NULL);
	return r;
}

int
qmp_loaded(struct qmp *q, uint64_t deadline_ms, struct err *e)
{
	for (;;) {
		CLEAN_FREE char *text = NULL;
		CLEANUP(json_decref_p) json_t *j = NULL;
		const char *status;
		int r = qmp_query(q, "query-status", NULL, deadline_ms, &text, e);

		if (r < 0)
			return r;
		j = json_loads(text, 0, NULL);
		status = json_string_value(json_object_get(j, "status"));
		if (status != NULL && strcmp(status, "inmigrate") != 0)
			return 0;
		if (deadline_left_ms(deadline_ms) == 0)
			return err_set(e, ETIMEDOUT, "QEMU did not load the machine in time");
		poll(NULL, 0, POLL_MS);
	}
}

/* Guest memory begins at the guest's address 0; QEMU says so in words, to people alone. */
int
qmp_memory_address(struct qmp *q, uint64_t *ret, uint64_t deadline_ms, struct err *e)
{
	CLEAN_FREE char *text = NULL;
	const char *at;
	char *end;
	int r = qmp_query(q, "human-monitor-command", "{\"command-line\":\"gpa2hva 0\"}",
		deadline_ms, &text, e);

	if (r < 0)
		return r;
	at = strstr(text, " is 0x");
	*ret = at == NULL ? 0 : strtoull(at + strlen(" is "), &end, 16);
	if (*ret == 0)
		return err_set(e, EBADMSG, "QEMU does not tell where the machine's memory is");
	return 0;
}
