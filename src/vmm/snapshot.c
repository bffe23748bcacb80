/*
 * How this works: QEMU's migration, to and from a file. Its capability x-ignore-shared leaves out
 * memory that is a shared file (VMM_MEMORY_FILE), so that what is written is the devices alone, a
 * quarter of a megabyte. The machine is not stopped by us before: its stream would then say that it
 * was, and a clone would wait to be told to go on. That is what a machine of somebody's own does:
 * it is stopped, handed over to another QEMU whose memory is such a file, and saved from there.
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

#define POLL_MS       2
#define IGNORE_SHARED "{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":%s}]}"

/* By default it takes care of a network that nobody else is on. */
#define BANDWIDTH "{\"max-bandwidth\":1099511627776}"

/* Both ends of a migration must have said the same. */
static int
ignore_shared(struct qmp *q, bool on, uint64_t deadline_ms, struct err *e)
{
	CLEAN_FREE char *arguments = xasprintf(IGNORE_SHARED, on ? "true" : "false");

	return qmp_command(q, "migrate-set-capabilities", arguments, deadline_ms, e);
}

static void
json_decref_p(json_t **j)
{
	json_decref(*j);
}

/* 1 completed, 0 not yet, -errno */
static int
progress(struct qmp *q, uint64_t deadline_ms, struct err *e)
{
	CLEAN_FREE char *text = NULL;
	CLEANUP(json_decref_p) json_t *j = NULL;
	const char *status, *why;
	char shown[160] = "no reason given";
	int r = qmp_query(q, "query-migrate", NULL, deadline_ms, &text, e);

	if (r < 0)
		return r;
	j = json_loads(text, 0, NULL);
	status = json_string_value(json_object_get(j, "status"));
	why = json_string_value(json_object_get(j, "error-desc"));
	if (status != NULL && strcmp(status, "completed") == 0)
		return 1;
	if (status != NULL && strcmp(status, "failed") != 0 && strcmp(status, "cancelled") != 0)
		return 0;
	if (why != NULL)
		str_escape(why, strlen(why), shown, sizeof(shown));
	return err_set(e, EIO, "QEMU could not save the machine: %s", shown);
}

int
qmp_save(struct qmp *q, int fd, uint64_t deadline_ms, struct err *e)
{
	int r = ignore_shared(q, true, deadline_ms, e);

	if (r == 0)
		r = qmp_pass_fd(q, "state", fd, deadline_ms, e);
	if (r == 0)
		r = qmp_command(q, "migrate", "{\"uri\":\"fd:state\"}", deadline_ms, e);
	while (r == 0 && (r = progress(q, deadline_ms, e)) == 0) {
		if (deadline_left_ms(deadline_ms) == 0)
			return err_set(e, ETIMEDOUT, "QEMU did not save the machine in time");
		poll(NULL, 0, POLL_MS); /* its events do not tell which state was reached */
	}
	return r < 0 ? r : 0;
}

int
qmp_send(struct qmp *q, int fd, uint64_t deadline_ms, struct err *e)
{
	/* It is on where the machine was a clone. */
	int r = ignore_shared(q, false, deadline_ms, e);

	if (r == 0)
		r = qmp_command(q, "migrate-set-parameters", BANDWIDTH, deadline_ms, e);
	if (r == 0)
		r = qmp_pass_fd(q, "machine", fd, deadline_ms, e);
	return r == 0 ? qmp_command(q, "migrate", "{\"uri\":\"fd:machine\"}", deadline_ms, e) : r;
}

int
qmp_sent(struct qmp *q, uint64_t deadline_ms, struct err *e)
{
	return progress(q, deadline_ms, e);
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

static int
incoming(struct qmp *q, int qemu_fd, uint64_t deadline_ms, struct err *e)
{
	CLEAN_FREE char *arguments = xasprintf("{\"uri\":\"fd:%d\"}", qemu_fd);

	return qmp_command(q, "migrate-incoming", arguments, deadline_ms, e);
}

int
qmp_take(struct qmp *q, int qemu_fd, uint64_t deadline_ms, struct err *e)
{
	int r = incoming(q, qemu_fd, deadline_ms, e);

	return r == 0 ? qmp_loaded(q, deadline_ms, e) : r;
}

int
qmp_load(struct qmp *q, int qemu_fd, uint64_t deadline_ms, struct err *e)
{
	int r = ignore_shared(q, true, deadline_ms, e);

	return r < 0 ? r : incoming(q, qemu_fd, deadline_ms, e);
}
