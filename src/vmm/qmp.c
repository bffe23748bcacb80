/*
 * How this works: QEMU sends lines, each a JSON object: the greeting, an answer ("return" or
 * "error", with the id of its command) or an event. Commands carry a rising id; an answer with
 * another id belongs to a command that was given up and is dropped. Events go into a queue of
 * bounded length whenever they arrive. A line over QMP_LINE_MAX or without sense ends the
 * connection (broken stays set), because there is no way back into step.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <jansson.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <vmm/vmm.h>

#include "qmp_fd.h"

#define QMP_LINE_MAX (1u << 20)
#define EVENTS_MAX   64
#define EVENT_NAME   64

struct qmp {
	int fd;
	int broken; /* -errno once the stream is unusable */
	struct buf in;
	long long next_id;
	unsigned major, minor; /* QEMU's version */
	char events[EVENTS_MAX][EVENT_NAME];
	size_t first, nevents;
};

struct qmp *
qmp_new(int fd)
{
	struct qmp *q = xcalloc(1, sizeof(*q));

	q->fd = fd;
	q->next_id = 1;
	io_set_nonblock(fd, true);
	return q;
}

void
qmp_free(struct qmp *q)
{
	if (q == NULL)
		return;
	cleanup_close_p(&q->fd);
	buf_release(&q->in);
	free(q);
}

int
qmp_fd(const struct qmp *q)
{
	return q->fd;
}

/* The oldest goes when nobody asks: the latest events tell what the machine is now. */
static void
keep_event(struct qmp *q, const char *name)
{
	size_t at;

	if (q->nevents == EVENTS_MAX) {
		q->first = (q->first + 1) % EVENTS_MAX;
		q->nevents--;
	}
	at = (q->first + q->nevents++) % EVENTS_MAX;
	str_escape(name, strlen(name), q->events[at], EVENT_NAME);
}

static void
json_decref_p(json_t **j)
{
	json_decref(*j);
}

#define CLEAN_JSON CLEANUP(json_decref_p)

/* Cuts the first line off. 1 with *ret (the caller's reference), 0 for "none yet", -errno. */
static int
next_line(struct qmp *q, json_t **ret)
{
	const uint8_t *end = q->in.len == 0 ? NULL : memchr(q->in.data, '\n', q->in.len);
	json_t *j;

	if (q->broken < 0)
		return q->broken;
	if (end == NULL ? q->in.len > QMP_LINE_MAX : end - q->in.data > QMP_LINE_MAX)
		return q->broken = -EMSGSIZE;
	if (end == NULL)
		return 0;
	j = json_loadb((const char *)q->in.data, (size_t)(end - q->in.data), 0, NULL);
	buf_consume(&q->in, (size_t)(end - q->in.data) + 1);
	if (!json_is_object(j)) {
		json_decref(j);
		return q->broken = -EBADMSG;
	}
	*ret = j;
	return 1;
}

/* As next_line, but events are put aside on the way. */
static int
next_answer(struct qmp *q, json_t **ret)
{
	json_t *j = NULL;
	int r;

	while ((r = next_line(q, &j)) > 0) {
		const char *event = json_string_value(json_object_get(j, "event"));

		if (event == NULL) {
			*ret = j;
			return 1;
		}
		keep_event(q, event);
		json_decref(j);
	}
	return r;
}

/* One read: 0 or more bytes, -EAGAIN, -EPIPE at the end, -errno. */
static ssize_t
fill(struct qmp *q)
{
	ssize_t n = buf_read_fd(&q->in, q->fd, 65536);

	if (n == 0 || n == -ECONNRESET)
		return -EPIPE;
	return n;
}

static int
await_answer(struct qmp *q, uint64_t deadline_ms, json_t **ret)
{
	for (;;) {
		struct pollfd p = {.fd = q->fd, .events = POLLIN};
		ssize_t n;
		int r = next_answer(q, ret);

		if (r != 0)
			return r;
		r = poll(&p, 1, deadline_left_ms(deadline_ms));
		if (r == 0)
			return -ETIMEDOUT;
		if (r < 0 && errno != EINTR)
			return -errno;
		n = fill(q);
		if (n < 0 && n != -EAGAIN && n != -EINTR)
			return (int)n;
	}
}

static int
explain(struct err *e, int r, const char *what)
{
	switch (-r) {
	case ETIMEDOUT:
		return err_set(e, ETIMEDOUT, "QEMU: no answer to %s in time", what);
	case EPIPE:
		return err_set(e, EPIPE, "QEMU ended before it answered to %s", what);
	case EMSGSIZE:
		return err_set(e, EMSGSIZE, "QEMU: a line of over %u bytes", QMP_LINE_MAX);
	case EBADMSG:
		return err_set(e, EBADMSG, "QEMU: a line that is not QMP");
	default:
		return err_sys(e, -r, "QEMU: %s", what);
	}
}

/* What QEMU says went wrong, fit for a terminal. */
static int
refused(const json_t *error, const char *name, struct err *e)
{
	const char *desc = json_string_value(json_object_get(error, "desc"));
	char text[160] = "no reason given";

	if (desc != NULL)
		str_escape(desc, strlen(desc), text, sizeof(text));
	return err_set(e, EIO, "QEMU refused %s: %s", name, text);
}

/* A descriptor goes along with the first byte of the command that it belongs to (add-fd). */
static int
send_line(struct qmp *q, const char *line, int fd, uint64_t deadline_ms)
{
	size_t first = 0;
	int r = 0;

	if (fd >= 0) {
		first = 1;
		r = io_send_fds(q->fd, line, 1, &fd, 1);
	}
	return r < 0 ? r : io_write_full(q->fd, line + first, strlen(line) - first, deadline_ms);
}

static int
send_command(struct qmp *q, const char *name, const char *arguments, int fd, long long id,
	uint64_t deadline_ms, struct err *e)
{
	CLEAN_JSON json_t *c = json_pack("{s:s, s:I}", "execute", name, "id", (json_int_t)id);
	CLEAN_FREE char *text = NULL;
	CLEAN_FREE char *line = NULL;
	int r;

	if (arguments != NULL) {
		json_t *a = json_loads(arguments, JSON_REJECT_DUPLICATES, NULL);

		if (!json_is_object(a)) {
			json_decref(a);
			return err_set(e, EINVAL, "QMP: the arguments of %s are no object", name);
		}
		json_object_set_new(c, "arguments", a);
	}
	text = json_dumps(c, JSON_COMPACT);
	line = xasprintf("%s\n", text);
	r = send_line(q, line, fd, deadline_ms);
	return r < 0 ? explain(e, r, name) : 0;
}

/* ret may be NULL; fd -1: none goes along. */
static int
command(struct qmp *q, const char *name, const char *arguments, int fd, uint64_t deadline_ms,
	char **ret, struct err *e)
{
	long long id = q->next_id++;
	int r = send_command(q, name, arguments, fd, id, deadline_ms, e);

	while (r >= 0) {
		CLEAN_JSON json_t *j = NULL;
		const json_t *got;

		r = await_answer(q, deadline_ms, &j);
		if (r < 0)
			return explain(e, r, name);
		got = json_object_get(j, "id");
		if (!json_is_integer(got) || json_integer_value(got) != id)
			continue;
		got = json_object_get(j, "return");
		if (got == NULL)
			return refused(json_object_get(j, "error"), name, e);
		if (ret != NULL)
			*ret = json_dumps(got, JSON_COMPACT | JSON_ENCODE_ANY);
		return 0;
	}
	return r;
}

int
qmp_command(
	struct qmp *q, const char *name, const char *arguments, uint64_t deadline_ms, struct err *e)
{
	return command(q, name, arguments, -1, deadline_ms, NULL, e);
}

int
qmp_query(struct qmp *q, const char *name, const char *arguments, uint64_t deadline_ms, char **ret,
	struct err *e)
{
	return command(q, name, arguments, -1, deadline_ms, ret, e);
}

int
qmp_pass_fd(struct qmp *q, const char *name, const char *arguments, int fd, uint64_t deadline_ms,
	struct err *e)
{
	return command(q, name, arguments, fd, deadline_ms, NULL, e);
}

void
qmp_version(const struct qmp *q, unsigned *ret_major, unsigned *ret_minor)
{
	*ret_major = q->major;
	*ret_minor = q->minor;
}

/* {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, ...}}; 0.0 where it is not told */
static void
take_version(struct qmp *q, json_t *greeting)
{
	int major = 0, minor = 0;

	if (json_unpack(greeting, "{s:{s:{s:i,s:i}}}", "version", "qemu", "major", &major, "minor",
		    &minor) == 0 &&
		major >= 0 && minor >= 0) {
		q->major = (unsigned)major;
		q->minor = (unsigned)minor;
	}
}

int
qmp_hello(struct qmp *q, uint64_t deadline_ms, struct err *e)
{
	CLEAN_JSON json_t *j = NULL;
	int r = await_answer(q, deadline_ms, &j);

	if (r < 0)
		return explain(e, r, "the greeting");
	if (!json_is_object(json_object_get(j, "QMP"))) {
		q->broken = -EBADMSG;
		return explain(e, -EBADMSG, "the greeting");
	}
	take_version(q, json_object_get(j, "QMP"));
	return qmp_command(q, "qmp_capabilities", NULL, deadline_ms, e);
}

/* Late answers are dropped here; what is left are events. */
static int
drain(struct qmp *q)
{
	json_t *j = NULL;
	int r;

	while ((r = next_answer(q, &j)) > 0)
		json_decref(j);
	return r;
}

int
qmp_event(struct qmp *q, char name[64])
{
	int r = drain(q), end = 0;

	while (r == 0 && q->nevents == 0 && end == 0) {
		ssize_t n = fill(q);

		if (n == -EAGAIN || n == -EINTR)
			break;
		if (n < 0)
			end = (int)n;
		r = drain(q);
	}
	if (q->nevents > 0) {
		memcpy(name, q->events[q->first], EVENT_NAME);
		q->first = (q->first + 1) % EVENTS_MAX;
		q->nevents--;
		return 1;
	}
	return r < 0 ? r : end;
}
