#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>

#include <jansson.h>

#include <base/mem.h>

#include "netlog.h"

/*
 * How this works: the log role's commits show as writes in the log's folder, which inotify tells
 * of. The write is heard a moment before the commit can be read (SQLite's index of its WAL
 * follows), so once more is looked after a while in any case.
 */
#define LOOK_MS 300

struct feed {
	const char *name;
	struct audit *audit; /* NULL: has no log yet */
	int alive; /* a connection to its supervisor: closed when it ends; -1: it does not run */
	int64_t last;
	bool json, colour;
};

static void
feed_release(struct feed *f)
{
	audit_close(f->audit);
	cleanup_close_p(&f->alive);
}

static void
time_text(int64_t ms, bool iso, char out[40])
{
	time_t t = (time_t)(ms / 1000);
	char date[32];
	struct tm tm;

	if ((iso ? gmtime_r(&t, &tm) : localtime_r(&t, &tm)) == NULL ||
		strftime(date, sizeof(date), iso ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &tm) == 0)
		strcpy(date, "?");
	if (iso)
		snprintf(out, 40, "%s.%03dZ", date, (int)(ms % 1000));
	else
		snprintf(out, 40, "%s", date);
}

static void
set_text(json_t *o, const char *name, const char *text)
{
	if (text[0] != '\0')
		json_object_set_new(o, name, json_string(text));
}

static void
print_json(const struct feed *f, const struct audit_event *ev)
{
	char when[40];
	json_t *o;

	time_text(ev->time_ms, true, when);
	o = json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:i,s:s,s:I,s:b}", "id", (json_int_t)ev->id, "time",
		when, "sandbox", f->name, "type", netevent_kind_name(ev->ev.kind), "decision",
		netevent_verdict_name(ev->ev.verdict), "host", ev->ev.host, "port",
		(int)ev->ev.port, "proxy", netevent_via_name(ev->ev.via), "count",
		(json_int_t)ev->ev.count, "open", ev->open);
	set_text(o, "rule", ev->ev.rule);
	set_text(o, "reason", ev->ev.reason);
	set_text(o, "method", ev->ev.method);
	set_text(o, "path", ev->ev.path);
	if (ev->ev.status != 0)
		json_object_set_new(o, "status", json_integer(ev->ev.status));
	if (!ev->open) {
		json_object_set_new(o, "bytes_up", json_integer((json_int_t)ev->ev.up));
		json_object_set_new(o, "bytes_down", json_integer((json_int_t)ev->ev.down));
		json_object_set_new(o, "duration_ms", json_integer((json_int_t)ev->ev.duration_ms));
	}
	json_dumpf(o, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	printf("\n");
	json_decref(o);
}

static const char *
colour_of(enum netevent_verdict v)
{
	return v == NETEVENT_BLOCKED ? "\033[31m" : v == NETEVENT_ALLOWED ? "\033[32m" : "\033[33m";
}

/* Every text is printable ASCII by now (audit/query.c sees to it). */
static void
print_text(const struct feed *f, const struct audit_event *ev)
{
	char when[40], host[NETLOG_HOST_MAX];

	time_text(ev->time_ms, false, when);
	netlog_host(&ev->ev, host);
	printf("%s  %s  %s%-7s%s  %-4s  %s", when, f->name,
		f->colour ? colour_of(ev->ev.verdict) : "", netevent_verdict_name(ev->ev.verdict),
		f->colour ? "\033[0m" : "", netevent_kind_name(ev->ev.kind), host);
	if (ev->ev.method[0] != '\0')
		printf("  %s %s", ev->ev.method, ev->ev.path);
	printf("  %s", netevent_via_name(ev->ev.via));
	if (ev->ev.rule[0] != '\0')
		printf("  %s", ev->ev.rule);
	if (ev->ev.reason[0] != '\0')
		printf("  (%s)", ev->ev.reason);
	if (ev->ev.count > 1)
		printf("  x%u", ev->ev.count);
	printf("\n");
}

static int
print_event(void *arg, const struct audit_event *ev)
{
	struct feed *f = arg;

	f->last = ev->id;
	if (f->json)
		print_json(f, ev);
	else
		print_text(f, ev);
	return 0;
}

static int
print_new(const struct cli *c, struct feed *f, const struct netlog_query *q, bool first,
	struct err *e)
{
	int r = f->audit == NULL ? netlog_open(c, f->name, &f->audit, e) : 0;

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return audit_events(
		f->audit, f->last, first ? q->limit : 0, q->only_blocked, print_event, f, e);
}

static int
watch_folders(const struct cli *c, const struct strv *names, struct err *e)
{
	CLEAN_CLOSE int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (watch < 0)
		return err_sys(e, errno, "inotify");
	for (size_t i = 0; i < names->n; i++) {
		CLEAN_FREE char *dir = state_sandbox_file(&c->paths, names->v[i], AUDIT_FOLDER);

		(void)inotify_add_watch(watch, dir, IN_MODIFY | IN_CREATE);
	}
	return TAKE_FD(watch);
}

/* False: none of them runs any more. */
static bool
wait_for_more(struct feed *feeds, size_t n, int watch)
{
	CLEAN_FREE struct pollfd *p = xcalloc(n + 1, sizeof(*p));
	char events[4096];
	bool any = false;

	p[n] = (struct pollfd){.fd = watch, .events = POLLIN};
	for (size_t i = 0; i < n; i++)
		p[i] = (struct pollfd){.fd = feeds[i].alive, .events = POLLIN};
	if (poll(p, n + 1, LOOK_MS) < 0 && errno != EINTR)
		return false;
	while (read(watch, events, sizeof(events)) > 0)
		;
	for (size_t i = 0; i < n; i++) {
		if (p[i].revents != 0) {
			close(feeds[i].alive);
			feeds[i].alive = -1;
		}
		any |= feeds[i].alive >= 0;
	}
	return any;
}

static int
follow(const struct cli *c, struct feed *feeds, const struct strv *names,
	const struct netlog_query *q, bool on, struct err *e)
{
	CLEAN_CLOSE int watch = on ? watch_folders(c, names, e) : -1;
	bool more = on, first = true;

	if (on && watch < 0)
		return watch;
	for (;;) {
		bool last = !more;

		for (size_t i = 0; i < names->n; i++) {
			int r = print_new(c, &feeds[i], q, first, e);

			if (r < 0)
				return r;
		}
		if (fflush(stdout) != 0)
			return err_sys(e, errno, "write the output");
		if (last)
			return 0;
		first = false;
		more = wait_for_more(feeds, names->n, watch);
	}
}

int
netlog_feed(const struct cli *c, const struct strv *names, const struct netlog_query *q, bool json,
	bool on, struct err *e)
{
	CLEAN_FREE struct feed *feeds = xcalloc(names->n + 1, sizeof(*feeds));
	bool colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
	int r;

	for (size_t i = 0; i < names->n; i++)
		feeds[i] = (struct feed){.name = names->v[i],
			.alive = on ? state_socket_connect(&c->paths, names->v[i], NULL) : -1,
			.json = json,
			.colour = colour};
	r = follow(c, feeds, names, q, on, e);
	for (size_t i = 0; i < names->n; i++)
		feed_release(&feeds[i]);
	return r;
}
