#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "session_program.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define NAME_MAX_LEN 256

/* The program's ends, closed here once it has them. */
struct ends {
	int fd[3];
};

static void
close_ends(struct ends *s)
{
	for (int i = 0; i < 3; i++)
		if (s->fd[i] >= 0 && (i == 0 || s->fd[i] != s->fd[i - 1]))
			close(s->fd[i]);
}

static void
close_io(struct program_io *io)
{
	cleanup_close_p(&io->in);
	cleanup_close_p(&io->out);
	cleanup_close_p(&io->err);
	*io = (struct program_io){-1, -1, -1};
}

/* One descriptor for the loop's reads, one for its writes: an epoll set takes each but once. */
static int
terminal(const struct session_open *o, const struct guest_user *u, struct program_io *io,
	struct ends *ends, struct err *e)
{
	int r = spawn_pty(u, o->rows, o->cols, &io->out, &ends->fd[0], e);

	if (r < 0)
		return r;
	ends->fd[1] = ends->fd[2] = ends->fd[0];
	io->in = fcntl(io->out, F_DUPFD_CLOEXEC, 0);
	return io->in < 0 ? err_sys(e, errno, "terminal") : 0;
}

/* The end of mine is non-blocking; the user owns the pipe, to be able to open /dev/stdout. */
static int
one_pipe(const struct guest_user *u, int *read_end, int *write_end, int *mine, struct err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	*read_end = p[0];
	*write_end = p[1];
	if (geteuid() == 0 && fchown(p[0], u->uid, u->gid) < 0)
		return err_sys(e, errno, "pipe");
	return io_set_nonblock(*mine, true) < 0 ? err_sys(e, errno, "pipe") : 0;
}

static int
dev_null(int *ret, struct err *e)
{
	*ret = open("/dev/null", O_RDWR | O_CLOEXEC);
	return *ret < 0 ? err_sys(e, errno, "open /dev/null") : 0;
}

static int
pipes(const struct session_open *o, const struct guest_user *u, struct program_io *io,
	struct ends *ends, struct err *e)
{
	int r;

	if (o->stdin_open && !o->detach)
		r = one_pipe(u, &ends->fd[0], &io->in, &io->in, e);
	else
		r = dev_null(&ends->fd[0], e);
	if (r < 0)
		return r;
	if (o->detach) {
		r = dev_null(&ends->fd[1], e);
		return r < 0 ? r : dev_null(&ends->fd[2], e);
	}
	r = one_pipe(u, &io->out, &ends->fd[1], &io->out, e);
	return r < 0 ? r : one_pipe(u, &io->err, &ends->fd[2], &io->err, e);
}

static void
set_all(struct strv *env, const struct strv *from)
{
	for (size_t i = 0; i < from->n; i++) {
		const char *eq = strchr(from->v[i], '=');
		CLEAN_FREE char *key = NULL;

		if (eq == NULL || eq == from->v[i])
			continue;
		key = xstrndup(from->v[i], (size_t)(eq - from->v[i]));
		strv_setenv(env, key, eq + 1);
	}
}

static void
environment(const struct guest *g, const struct session_open *o, const struct guest_user *u,
	struct strv *ret)
{
	guest_base_env(g, u, ret);
	set_all(ret, &g->identity.env);
	set_all(ret, &o->env);
	if (o->tty && strv_getenv(ret, "TERM") == NULL)
		strv_setenv(ret, "TERM", "xterm");
}

static void
folder(const struct guest *g, const struct session_open *o, const struct guest_user *u,
	struct spawn *s)
{
	const struct identity *i = &g->identity;

	if (o->cwd != NULL) {
		s->cwd = o->cwd;
	} else if (i->nworkspaces > 0 && !i->workspaces[0].is_file) {
		s->cwd = i->workspaces[0].path;
	} else {
		s->cwd = u->home;
		s->cwd_optional = true;
	}
}

static void
arguments(const struct session_open *o, struct strv *ret)
{
	const char *slash = strrchr(o->argv.v[0], '/');

	if (o->login_shell)
		strv_addf(ret, "-%s", slash != NULL ? slash + 1 : o->argv.v[0]);
	else
		strv_add(ret, o->argv.v[0]);
	for (size_t i = 1; i < o->argv.n; i++)
		strv_add(ret, o->argv.v[i]);
}

static int
spawn_program(const struct guest *g, const struct session_open *o, const struct guest_user *u,
	const struct ends *ends, struct program *ret, struct err *e)
{
	CLEAN_STRV struct strv env = {0};
	CLEAN_STRV struct strv argv = {0};
	struct spawn s = {.file = o->argv.v[0],
		.tty = o->tty,
		.fds = {ends->fd[0], ends->fd[1], ends->fd[2]},
		.user = u};

	environment(g, o, u, &env);
	arguments(o, &argv);
	folder(g, o, u, &s);
	s.argv = argv.v;
	s.envp = env.v;
	s.path = strv_getenv(&env, "PATH");
	if (s.path == NULL)
		s.path = DEFAULT_PATH;
	if (spawn_start(&s, &ret->pid, &ret->report, e) < 0)
		return -e->code;
	guest_freeze_one(g, ret->pid);
	return 0;
}

int
program_start(
	const struct guest *g, const struct session_open *o, struct program *ret, struct err *e)
{
	struct ends ends = {{-1, -1, -1}};
	struct guest_user u;
	int r;

	r = guest_user_find(g, o->user, &u, e);
	if (r < 0) {
		ret->status = 126; /* as docker exec has it */
		return r;
	}
	if (o->tty)
		r = terminal(o, &u, &ret->io, &ends, e);
	else
		r = pipes(o, &u, &ret->io, &ends, e);
	if (r == 0)
		r = spawn_program(g, o, &u, &ends, ret, e);
	close_ends(&ends);
	if (r < 0)
		close_io(&ret->io);
	return r;
}

char *
program_name(const struct session_open *o)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	for (size_t i = 0; i < o->argv.n && b.len < NAME_MAX_LEN; i++) {
		if (i > 0)
			buf_append_str(&b, " ");
		buf_append(&b, o->argv.v[i], strnlen(o->argv.v[i], NAME_MAX_LEN));
	}
	return xstrndup(buf_str(&b), b.len < NAME_MAX_LEN ? b.len : NAME_MAX_LEN);
}
