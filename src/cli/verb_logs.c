#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <base/mem.h>

#include "verbs.h"

/* A guest's line may be without end. */
#define LINE_MAX_SHOWN 65536

struct log_file {
	const char *path;
	int fd;
	struct buf pending; /* a line that is not yet whole */
};

static void
log_file_release(struct log_file *f)
{
	cleanup_close_p(&f->fd);
	buf_release(&f->pending);
}

/* The guest wrote this: nothing of it may act on the reader's terminal (attacks.md I1). */
static void
print_line(const uint8_t *line, size_t n)
{
	size_t shown = n > 0 && line[n - 1] == '\r' ? n - 1 : n;
	CLEAN_FREE char *text = xmalloc(shown * 4 + 1);

	str_escape((const char *)line, shown, text, shown * 4 + 1);
	printf("%s\n", text);
}

static void
print_whole_lines(struct buf *b)
{
	const uint8_t *nl;

	while (b->len > 0 &&
		((nl = memchr(b->data, '\n', b->len)) != NULL || b->len > LINE_MAX_SHOWN)) {
		size_t n = nl != NULL ? (size_t)(nl - b->data) : b->len;

		print_line(b->data, n);
		buf_consume(b, n + (nl != NULL));
	}
}

/* All that is there; a missing file is an empty one. */
static int
print_rest(struct log_file *f, struct err *e)
{
	ssize_t n = 1;

	if (f->fd < 0)
		f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
	while (f->fd >= 0 && (n = buf_read_fd(&f->pending, f->fd, 65536)) > 0)
		print_whole_lines(&f->pending);
	return n < 0 ? err_sys(e, (int)-n, "read '%s'", f->path) : 0;
}

static int
print_file(const char *path, struct err *e)
{
	CLEANUP(log_file_release) struct log_file f = {.path = path, .fd = -1};
	int r = print_rest(&f, e);

	if (f.pending.len > 0)
		print_line(f.pending.data, f.pending.len);
	return r;
}

/* A full log becomes NAME.1 and begins anew. */
static bool
turned_over(const struct log_file *f)
{
	struct stat mine, there;

	return f->fd >= 0 && stat(f->path, &there) == 0 && fstat(f->fd, &mine) == 0 &&
	       mine.st_ino != there.st_ino;
}

/* Waits until the folder changes: true; false when the supervisor has ended. */
static bool
wait_for_more(int watch, int alive)
{
	struct pollfd p[] = {{.fd = watch, .events = POLLIN}, {.fd = alive, .events = POLLIN}};
	char events[4096];

	if (poll(p, ARRAY_LEN(p), -1) < 0)
		return errno == EINTR;
	while (read(watch, events, sizeof(events)) > 0)
		;
	return p[1].revents == 0;
}

/* Until the sandbox stops, which the end of an idle connection to its supervisor tells. */
static int
follow(const struct cli *c, const char *name, const char *path, struct err *e)
{
	CLEANUP(log_file_release) struct log_file f = {.path = path, .fd = -1};
	CLEAN_FREE char *dir = state_sandbox_dir(&c->paths, name);
	CLEAN_CLOSE int alive = state_socket_connect(&c->paths, name, NULL);
	CLEAN_CLOSE int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	bool more = alive >= 0;
	int r;

	if (watch < 0 || inotify_add_watch(watch, dir, IN_MODIFY | IN_CREATE) < 0)
		return err_sys(e, errno, "watch '%s'", dir);
	while ((r = print_rest(&f, e)) == 0) {
		if (turned_over(&f)) {
			cleanup_close_p(&f.fd);
			f.fd = -1;
			continue;
		}
		if (fflush(stdout) != 0)
			return err_sys(e, errno, "write the output");
		if (!more)
			break;
		more = wait_for_more(watch, alive);
	}
	if (f.pending.len > 0)
		print_line(f.pending.data, f.pending.len);
	return r;
}

static int
logs_exec(struct cli *c, const struct args *a, struct err *e)
{
	const char *file = args_has(a, "supervisor") ? "supervisor.log" : "console.log";
	struct sandbox s = {0};
	int r;

	if (a->nwords != 1)
		return usage_error(e, "write: paddock logs [-f] [--supervisor] SANDBOX");
	r = sandbox_name_check(a->words[0], e);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = sandbox_load(&c->paths, a->words[0], &s, e);
	sandbox_release(&s);
	if (r < 0)
		return r;
	CLEAN_FREE char *path = state_sandbox_file(&c->paths, a->words[0], file);
	CLEAN_FREE char *older = xasprintf("%s.1", path);

	r = print_file(older, e);
	if (r < 0)
		return r;
	return args_has(a, "follow") ? follow(c, a->words[0], path, e) : print_file(path, e);
}

static const struct option_def logs_options[] = {
	{"follow", 'f', NULL, "go on showing what comes, until the sandbox stops"},
	{"supervisor", 0, NULL, "what paddock's own processes said (with --debug at start: more)"},
	{0},
};

const struct verb verb_logs = {.name = "logs",
	.summary = "Show the console of a sandbox's machine",
	.usage = "[-f] [--supervisor] SANDBOX",
	.options = logs_options,
	.exec = logs_exec};
