#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/clock.h>
#include <base/io.h>
#include <base/proc.h>
#include <link/link.h>

#include "guest.h"
#include "guest_harness.h"
#include "session.h"

const uint8_t *rig_wake;
bool rig_without_identity;
void (*rig_crumbs)(int a, int b);

/* What the rest of the guest does in a machine. */

int
guest_user_find(const struct guest *g, const char *spec, struct guest_user *ret, struct err *e)
{
	(void)g;
	memset(ret, 0, sizeof(*ret));
	ret->uid = geteuid();
	ret->gid = getegid();
	if (spec != NULL && strcmp(spec, "nobody") == 0)
		ret->uid = ret->gid = 65534;
	else if (spec != NULL)
		return err_set(e, ENOENT, "no user '%s' in the sandbox", spec);
	strcpy(ret->name, "tester");
	strcpy(ret->home, "/");
	return 0;
}

void
guest_base_env(const struct guest *g, const struct guest_user *u, struct strv *ret)
{
	(void)g;
	strv_setenv(ret, "PATH", "/usr/local/bin:/usr/bin:/bin");
	strv_setenv(ret, "HOME", u->home);
	strv_setenv(ret, "LAYER", "base");
}

int
guest_identity_apply(struct guest *g, struct identity *i, struct err *e)
{
	if (strcmp(i->hostname, "refuse") == 0)
		return err_set(e, EINVAL, "this host name is refused");
	g->identity = *i;
	memset(i, 0, sizeof(*i));
	return 0;
}

/* The test's own programs are not stopped: they are the host's. */
int
guest_freeze(struct guest *g, struct err *e)
{
	(void)e;
	g->frozen = true;
	return 0;
}

void
guest_freeze_one(const struct guest *g, pid_t pid)
{
	(void)g;
	(void)pid;
}

void
guest_freeze_settle(const struct guest *g)
{
	(void)g;
}

void
guest_power_off(struct guest *g)
{
	loop_stop(g->loop);
}

static void
on_life(void *arg, uint32_t events)
{
	(void)events;
	loop_stop(arg);
}

/* Ends in exit(), so that a sanitizer may speak. */
static void
guest_main(int line, int life)
{
	struct guest g = {.loop = loop_new(), .has_identity = !rig_without_identity};
	struct loop_io *io = loop_io_add(g.loop, life, EPOLLIN, on_life, g.loop);
	struct err e;
	int r = guest_server_start(&g, line, &e);

	if (r == 0)
		r = loop_run(g.loop);
	guest_server_stop(&g);
	identity_release(&g.identity);
	loop_io_del(io);
	loop_free(g.loop);
	exit(r == 0 ? 0 : 1);
}

static void
link_main(int line, int control)
{
	struct link_options o = {.line_fd = line, .control_fd = control, .wake = rig_wake};
	struct err e;
	int r = link_serve(&o, &e);

	exit(r == 0 || r == -EPIPE || r == -ECONNRESET ? 0 : 1);
}

static pid_t
start(void (*f)(int, int), int a, int b)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		/* Nothing of the test's but these two: others would keep lines open. */
		int x = dup2(a, 200), y = dup2(b, 201);

		for (int fd = 3; fd < 200; fd++)
			close(fd);
		f(x, y);
		_exit(1);
	}
	close(a);
	close(b);
	return pid;
}

void
rig_start_guest(struct rig *r, int *ret_line)
{
	int line[2], life[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, life), 0);
	*r = (struct rig){.link = -1, .between = -1, .control = -1};
	r->guest = start(guest_main, line[0], life[0]);
	r->guest_life = life[1];
	*ret_line = line[1];
}

void
rig_start_link(struct rig *r, int line)
{
	struct pollfd p;
	int control[2];
	char msg = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
	r->link = start(link_main, line, control[0]);
	r->control = control[1];
	p = (struct pollfd){.fd = r->control, .events = POLLIN};
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(recv(r->control, &msg, 1, 0), 1);
	assert_int_equal(msg, LINK_UP);
}

void
rig_start(struct rig *r)
{
	int line, other[2];

	rig_start_guest(r, &line);
	if (rig_crumbs != NULL) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other), 0);
		r->between = start(rig_crumbs, line, other[0]);
		line = other[1];
	}
	rig_start_link(r, line);
}

static void
ended_well(pid_t pid)
{
	uint64_t deadline = deadline_in_ms(WAIT_MS);
	int status = -1;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (deadline_left_ms(deadline) == 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			fail_msg("a process did not end");
		}
		poll(NULL, 0, 2);
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("a process ended badly: status %x", status);
}

void
rig_stop_guest(struct rig *r)
{
	close(r->guest_life);
	r->guest_life = -1;
	ended_well(r->guest);
	r->guest = -1;
}

void
rig_stop_link(struct rig *r)
{
	close(r->control);
	ended_well(r->link);
}

void
rig_stop(struct rig *r)
{
	rig_stop_link(r);
	if (r->between > 0)
		ended_well(r->between);
	if (r->guest > 0)
		rig_stop_guest(r);
}

int
rig_connect(struct rig *r)
{
	int sv[2];
	char msg = LINK_SESSION;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(io_send_fds(r->control, &msg, 1, &sv[1], 1), 0);
	close(sv[1]);
	return sv[0];
}

void
peer_open_on(struct peer *p, int fd, const struct session_open *o)
{
	struct buf b = BUF_INIT;

	memset(p, 0, sizeof(*p));
	p->status = -1;
	p->fd = fd;
	session_open_encode(o, &b);
	peer_send(p, SESSION_OPEN, b.data, b.len);
	buf_release(&b);
}

void
peer_open(struct peer *p, struct rig *r, const struct session_open *o)
{
	peer_open_on(p, rig_connect(r), o);
}

void
peer_exec(struct peer *p, struct rig *r, struct session_open *o, ...)
{
	const char *word;
	va_list ap;

	o->op = SESSION_OP_EXEC;
	va_start(ap, o);
	while ((word = va_arg(ap, const char *)) != NULL)
		strv_add(&o->argv, word);
	va_end(ap);
	peer_open(p, r, o);
	session_open_release(o);
}

void
peer_send(struct peer *p, uint8_t type, const void *bytes, size_t n)
{
	struct buf b = BUF_INIT;

	frame_put(&b, type, bytes, n);
	assert_int_equal(io_write_full(p->fd, b.data, b.len, deadline_in_ms(WAIT_MS)), 0);
	buf_release(&b);
}

void
peer_say(struct peer *p, const char *text)
{
	peer_send(p, SESSION_STDIN, text, strlen(text));
}

void
peer_winsize(struct peer *p, uint16_t rows, uint16_t cols)
{
	struct buf b = BUF_INIT;

	session_put_winsize(&b, rows, cols);
	assert_int_equal(io_write_full(p->fd, b.data, b.len, deadline_in_ms(WAIT_MS)), 0);
	buf_release(&b);
}

static void
take_frame(struct peer *p, const struct frame *f)
{
	switch (f->type) {
	case SESSION_STARTED:
		assert_int_equal(f->n, 4);
		p->id = (uint32_t)f->p[2] << 8 | f->p[3];
		break;
	case SESSION_STDOUT:
		buf_append(&p->out, f->p, f->n);
		break;
	case SESSION_STDERR:
		buf_append(&p->errs, f->p, f->n);
		break;
	case SESSION_EXIT:
		assert_int_equal(f->n, 1);
		p->status = f->p[0];
		break;
	case SESSION_ERROR:
		assert_true(f->n >= 1 && f->n < sizeof(p->text));
		p->status = f->p[0];
		p->failed = true;
		memcpy(p->text, f->p + 1, f->n - 1);
		break;
	case SESSION_STDOUT_EOF:
		assert_int_equal(f->n, 0);
		break;
	default:
		fail_msg("frame of type %x", f->type);
	}
	assert_true(f->n <= FRAME_CHUNK);
}

int
peer_next(struct peer *p)
{
	uint64_t deadline = deadline_in_ms(WAIT_MS);
	struct frame f;

	for (;;) {
		struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
		int r = frame_peek(&p->in, &f);
		ssize_t n;

		assert_true(r >= 0);
		if (r > 0) {
			take_frame(p, &f);
			buf_consume(&p->in, FRAME_HEAD + f.n);
			return f.type;
		}
		if (poll(&pfd, 1, deadline_left_ms(deadline)) != 1)
			fail_msg("nothing came; output so far: '%s'", buf_str(&p->out));
		n = buf_read_fd(&p->in, p->fd, 65536);
		if (n == 0) {
			assert_int_equal(p->in.len, 0);
			return 0;
		}
		if (n < 0)
			return (int)n;
	}
}

void
peer_started(struct peer *p)
{
	assert_int_equal(peer_next(p), SESSION_STARTED);
}

void
peer_until(struct peer *p, const char *text)
{
	while (strstr(buf_str(&p->out), text) == NULL)
		if (peer_next(p) <= 0)
			fail_msg("'%s' did not come, but '%s' %s", text, buf_str(&p->out), p->text);
}

int
peer_run(struct peer *p)
{
	while (peer_next(p) > 0)
		assert_true(p->in.len == 0 || p->status == -1);
	return p->status;
}

void
peer_close(struct peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	buf_release(&p->in);
	buf_release(&p->out);
	buf_release(&p->errs);
}

int
sh(struct rig *r, struct peer *p, const char *script)
{
	struct session_open o = {0};

	peer_exec(p, r, &o, "sh", "-c", script, NULL);
	return peer_run(p);
}

static long
cpu_ms(clockid_t clock)
{
	struct timespec t;

	assert_int_equal(clock_gettime(clock, &t), 0);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

long
cpu_ms_within(pid_t pid, int ms)
{
	clockid_t clock;
	long before;

	assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
	before = cpu_ms(clock);
	poll(NULL, 0, ms);
	return cpu_ms(clock) - before;
}
