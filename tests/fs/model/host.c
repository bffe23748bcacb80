/*
 * Changes by somebody else: to the folder behind the mount, as a person's editor makes them, and to
 * the plain one. The folder is either here, or at the other end of a pipe: then this program runs
 * there too (host_serve), has started the command that leads to this end, and does what the lines
 * say that begin with '@'. It answers each with one line.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/clock.h>

#include "model.h"

static struct {
	bool remote;
	int base, root; /* of all rounds, of this one; -1 */
} host = {.base = -1, .root = -1};

static bool
host_there(void)
{
	return host.remote || host.root >= 0;
}

/* ---- the changes ---- */

static int
save(int dir, const char *name, const uint8_t *b, size_t n, int flags)
{
	struct stat st;
	int fd, r;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
		return -1;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0644);
	if (fd < 0)
		return -1;
	r = (int)write(fd, b, n);
	close(fd);
	return r;
}

/* Best effort: what is refused in one place is refused in the other. */
static void
make_change(int dir, const struct change *c)
{
	const uint8_t *data = pattern(c->n, c->v);

	switch (c->kind) {
	case 0:
		save(dir, c->a, data, c->n, O_TRUNC);
		break;
	case 1:
		save(dir, c->a, data, c->n, O_APPEND);
		break;
	case 2:
		save(dir, "save~", data, c->n, O_TRUNC);
		if (renameat(dir, "save~", dir, c->a) < 0)
			unlinkat(dir, "save~", 0);
		break;
	case 3:
		unlinkat(dir, c->a, 0);
		break;
	case 4:
		if (renameat(dir, c->a, dir, c->b) < 0)
			return;
		break;
	default:
		if (fchmodat(dir, c->a, 0640, AT_SYMLINK_NOFOLLOW) < 0)
			return;
	}
}

/* ---- this end ---- */

/* One line out, one line in. */
static void
ask(char *answer, size_t size)
{
	fflush(stdout);
	if (fgets(answer, (int)size, stdin) == NULL)
		die("the other end is gone");
}

static void
change_host(const struct change *c)
{
	char ok[16];

	if (!host.remote) {
		make_change(host.root, c);
		return;
	}
	printf("@change %d %zu %" PRIu64 " %s %s\n", c->kind, c->n, c->v, c->a, c->b);
	ask(ok, sizeof(ok));
}

static void
view_host(const char *a, const char *b, struct view *ret)
{
	char line[128];

	if (!host.remote) {
		view_take(host.root, a, b, ret);
		return;
	}
	printf("@view %s %s\n", a, b);
	ask(line, sizeof(line));
	if (sscanf(line, "%" SCNx64 " %" SCNx64 " %" SCNx64, &ret->a, &ret->b, &ret->tree) != 3)
		die("nonsense from the other end: %s", line);
}

void
host_begin(const char *where)
{
	host.remote = where != NULL && strcmp(where, "-") == 0;
	if (where == NULL || host.remote)
		return;
	host.base = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (host.base < 0)
		die("%s: %s", where, strerror(errno));
}

static int
enter(int base, int old, const char *name)
{
	if (old >= 0)
		close(old);
	return openat(base, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void
host_enter(const char *name)
{
	uint64_t end = deadline_in_ms(t.show_ms);
	char ok[16] = "";

	if (host.remote) {
		printf("@enter %s\n", name);
		ask(ok, sizeof(ok));
		if (strcmp(ok, "ok\n") != 0)
			die("the host does not have it");
	}
	/* Where the host is another sandbox's mount, it may take a moment. */
	while (host.base >= 0 && (host.root = enter(host.base, host.root, name)) < 0)
		if (deadline_left_ms(end) == 0)
			die("the host does not have it");
}

static const char *
host_difference(const char *a, const char *b)
{
	struct view plain, there;

	view_take(t.root[PLAIN], a, b, &plain);
	view_host(a, b, &there);
	return view_difference(&plain, &there);
}

static const char *
mount_difference(const char *a, const char *b)
{
	struct view plain, mount;
	const char *what;

	view_take(t.root[PLAIN], a, b, &plain);
	view_take(t.root[MOUNT], a, b, &mount);
	what = view_difference(&plain, &mount);
	return what != NULL ? what : handles_difference();
}

/* Waits until both agree with the plain side on everything, and on the content of two files. */
static uint64_t
await(const char *(*difference)(const char *a, const char *b), const char *a, const char *b,
	const char *where)
{
	uint64_t start = clock_mono_ms(), ms = 0;
	const char *what;

	while ((what = difference(a, b)) != NULL) {
		ms = clock_mono_ms() - start;
		if (ms > t.show_ms)
			die("not seen %s after %d ms: %s", where, (int)t.show_ms, what);
	}
	return ms;
}

void
host_await(const char *a, const char *b)
{
	if (host_there())
		await(host_difference, a, b, "on the host");
}

/* The same change by somebody else: behind the mount, and on the plain side. */
void
op_host(void)
{
	struct change c = {.kind = (int)rnd(6), .n = rnd(CHUNK), .v = rnd(UINT64_MAX)};
	uint64_t ms;

	if (!host_there())
		return;
	path(c.a);
	path(c.b);
	say("host change %d: %s %s", c.kind, c.a, c.b);
	host_await(c.a, c.b);
	change_host(&c);
	make_change(t.root[PLAIN], &c);
	t.host_changes++;
	ms = await(mount_difference, c.a, c.b, "at the mount");
	t.longest_ms = ms > t.longest_ms ? ms : t.longest_ms;
}

/* ---- the other end ---- */

/* A component of a round's name, or a path of path(): nothing else comes from there. */
static bool
is_inside(const char *p)
{
	return p[0] != '/' && strstr(p, "..") == NULL;
}

static void
serve_line(const char *line, FILE *to)
{
	struct change c;
	struct view v;
	char name[NAME_MAX_LEN];

	if (sscanf(line, "@change %d %zu %" SCNu64 " %63s %63s", &c.kind, &c.n, &c.v, c.a, c.b) ==
			5 &&
		c.n <= CHUNK && is_inside(c.a) && is_inside(c.b)) {
		make_change(host.root, &c);
		fprintf(to, "ok\n");
	} else if (sscanf(line, "@view %63s %63s", c.a, c.b) == 2 && is_inside(c.a) &&
		   is_inside(c.b)) {
		view_take(host.root, c.a, c.b, &v);
		fprintf(to, "%" PRIx64 " %" PRIx64 " %" PRIx64 "\n", v.a, v.b, v.tree);
	} else if (sscanf(line, "@enter %63s", name) == 1 && is_inside(name)) {
		host.root = enter(host.base, host.root, name);
		fprintf(to, host.root >= 0 ? "ok\n" : "no\n");
	} else {
		fprintf(to, "nonsense\n");
	}
	fflush(to);
}

static pid_t
start(char **command, FILE **ret_from, FILE **ret_to)
{
	int up[2], down[2];
	pid_t pid;

	if (pipe(up) < 0 || pipe(down) < 0)
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		dup2(down[0], 0);
		dup2(up[1], 1);
		for (int k = 0; k < 2; k++) {
			close(up[k]);
			close(down[k]);
		}
		execvp(command[0], command);
		fprintf(stderr, "%s: %s\n", command[0], strerror(errno));
		_exit(127);
	}
	close(up[1]);
	close(down[0]);
	*ret_from = fdopen(up[0], "r");
	*ret_to = fdopen(down[1], "w");
	return pid;
}

int
host_serve(const char *folder, char **command)
{
	char line[512];
	FILE *from, *to;
	int status = 0;
	pid_t pid;

	host_begin(folder);
	umask(022);
	signal(SIGPIPE, SIG_IGN); /* the command's own words tell of its end */
	pid = start(command, &from, &to);
	while (fgets(line, sizeof(line), from) != NULL) {
		if (line[0] == '@') {
			serve_line(line, to);
		} else {
			fputs(line, stdout);
			fflush(stdout);
		}
	}
	fclose(to);
	waitpid(pid, &status, 0);
	if (status != 0)
		fprintf(stderr, "%s: status %x\n", command[0], (unsigned)status);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
