/*
 * How this works: one event loop, four phases.
 *   STARTING  lock, socket, record, jail, children; the link role says UP when paddock-guest has
 *             answered; the identity call tells the guest who it is; a timer bounds all of it
 *   RUNNING   sessions are handed to the link role; children are watched
 *   STOPPING  the guest is asked to power off, a timer falls back to QMP quit, then to SIGKILL
 *   DONE      every child awaited; files removed, clients answered
 * The start-up pipe (descriptor 3) tells the starter of steps, then OK or ERROR.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <link/link.h>
#include <supervisor/supervisor.h>
#include <wire/frame.h>
#include <wire/identity.h>

#include "save.h"
#include "sup_main.h"

#define REPORT_FD         3
#define BOOT_LIMIT_TCG_MS 180000
#define BOOT_LIMIT_KVM_MS 60000
#define CLONE_LIMIT_MS    30000 /* a hundred times what it takes; a loaded machine is no reason */
#define IDENTITY_LIMIT_MS 60000
#define TELL_AGAIN_MAX    3
#define SHUTDOWN_LIMIT_MS 30000
#define QUIT_LIMIT_MS     3000
#define HELLO_LIMIT_MS    20000
#define LOST_GRACE_MS     1000
#define TAIL_LINES        5

static void
report(struct sup *s, enum control_frame type, const char *text)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	if (s->report_fd < 0)
		return;
	frame_put(&b, (uint8_t)type, text, strlen(text));
	/* A starter that went away is no reason to stop. */
	if (io_write_full(s->report_fd, b.data, b.len, deadline_in_ms(1000)) < 0)
		log_debug("the starter is gone");
	if (type != CONTROL_PROGRESS && type != CONTROL_NOTE) {
		close(s->report_fd);
		s->report_fd = -1;
	}
}

void
sup_progress(struct sup *s, const char *what)
{
	log_debug("%s", what);
	report(s, CONTROL_PROGRESS, what);
	sup_control_progress(s, what);
}

static void
maybe_done(struct sup *s)
{
	if (s->phase == PHASE_STOPPING && sup_machine_gone(s)) {
		s->phase = PHASE_DONE;
		uv_stop(&s->loop);
	}
}

void
sup_child_ended(struct sup *s)
{
	maybe_done(s);
}

void
sup_fail(struct sup *s, const char *fmt, ...)
{
	va_list ap;

	if (s->phase >= PHASE_STOPPING)
		return;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	log_warn("%s", s->why);
	if (s->phase == PHASE_STARTING && s->cloning)
		sup_clone_failed(s);
	s->phase = PHASE_STOPPING;
	sup_machine_kill(s);
	maybe_done(s);
}

static void
on_lost_timer(uv_timer_t *t)
{
	struct sup *s = t->data;

	sup_fail(s, "%s", s->lost);
}

void
sup_lost(struct sup *s, const char *fmt, ...)
{
	va_list ap;

	if (s->phase >= PHASE_STOPPING || s->lost[0] != '\0')
		return;
	va_start(ap, fmt);
	vsnprintf(s->lost, sizeof(s->lost), fmt, ap);
	va_end(ap);
	log_debug("%s: is it the machine's end?", s->lost);
	uv_timer_start(&s->lost_timer, on_lost_timer, LOST_GRACE_MS, 0);
}

static void
on_shutdown_answer(struct sup *s, int status, const char *text)
{
	/* The machine's end, not this answer, is what counts; the timer is running. */
	log_debug("guest's answer to shutdown: %d %s", status, text);
	(void)s;
}

static void
on_stop_timer(uv_timer_t *t)
{
	struct sup *s = t->data;
	struct err e = {0};

	log_warn("the guest did not power off in time");
	snprintf(s->why, sizeof(s->why), "stopped by force: the guest did not power off in time");
	/* quit lets QEMU write its disk's metadata; SIGKILL is for a QEMU that does not do it. */
	if (s->asked_quit ||
		qmp_command(s->qmp, "quit", NULL, deadline_in_ms(QUIT_LIMIT_MS), &e) < 0) {
		sup_machine_kill(s);
		return;
	}
	s->asked_quit = true;
	uv_timer_start(&s->stop_timer, on_stop_timer, QUIT_LIMIT_MS, 0);
}

void
sup_stop(struct sup *s)
{
	struct session_open o = {.op = SESSION_OP_SHUTDOWN};
	bool running = s->phase == PHASE_RUNNING;
	struct err e = {0};

	if (s->phase >= PHASE_STOPPING)
		return;
	if (s->saving != NULL) {
		s->stop_asked = true; /* when it goes on */
		return;
	}
	s->phase = PHASE_STOPPING;
	if (running && sup_guest_call(s, &o, SHUTDOWN_LIMIT_MS, on_shutdown_answer, &e) == 0) {
		uv_timer_start(&s->stop_timer, on_stop_timer, SHUTDOWN_LIMIT_MS, 0);
		return;
	}
	sup_machine_kill(s);
	maybe_done(s);
}

static void
report_note(struct sup *s, const char *text)
{
	report(s, CONTROL_NOTE, text);
}

void
sup_note(struct sup *s, const char *fmt, ...)
{
	CLEAN_FREE char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	log_warn("%s", text);
	report(s, CONTROL_NOTE, text);
}

void
sup_ready(struct sup *s)
{
	char text[64];

	uv_timer_stop(&s->boot_timer);
	/* All files of the snapshot are open: it may go. */
	snapshot_unlock(&s->snapshot);
	if (s->wake.len > 0)
		sup_resume_done(s);
	s->phase = PHASE_RUNNING;
	s->boot_ms = clock_mono_ms() - s->start_ms;
	s->started_ns = clock_real_ns();
	state_set_last_stop(&s->paths, s->sandbox.name, "ended without a word (power cut or kill)");
	snprintf(text, sizeof(text), "ready after %llu ms", (unsigned long long)s->boot_ms);
	log_debug("%s", text);
	sup_ports_start(s, report_note);
	report(s, CONTROL_OK, "");
	sup_control_ready(s);
}

static void
on_identity(struct sup *s, int status, const char *text)
{
	if (s->phase != PHASE_STARTING)
		return;
	s->cloning = s->cloning && status == GUEST_CALL_SILENT;
	if (status == 0)
		sup_ready(s);
	else
		sup_fail(s, "the guest could not be set up: %s", text);
}

static int
call_identity(struct sup *s, guest_call_cb cb, struct err *e)
{
	struct session_open o = {.op = SESSION_OP_IDENTITY};
	int r = sup_identity_now(s, &o.identity, e);

	if (r == 0)
		r = sup_guest_call(s, &o, IDENTITY_LIMIT_MS, cb, e);
	session_open_release(&o);
	return r;
}

static void tell_again(struct sup *s);

/* Its programs stand still until it has been told: to wait for ever would be to hang. */
static void
on_told_again(struct sup *s, int status, const char *text)
{
	if (status == 0 || s->phase != PHASE_RUNNING || s->saving != NULL)
		return;
	log_warn("the guest was not told to go on: %s", text);
	if (++s->told_again < TELL_AGAIN_MAX)
		tell_again(s);
	else
		sup_fail(s, "the machine does not go on after it was saved: %s", text);
}

static void
tell_again(struct sup *s)
{
	struct err e = {0};

	s->again = IDENTITY_AGAIN;
	if (call_identity(s, on_told_again, &e) < 0)
		sup_fail(s, "the machine does not go on after it was saved: %s", e.msg);
}

void
sup_tell_again(struct sup *s)
{
	s->told_again = 0;
	tell_again(s);
}

void
sup_suspended(struct sup *s)
{
	s->suspended = true;
	s->phase = PHASE_STOPPING;
	sup_machine_kill(s);
	maybe_done(s);
}

static void
on_link(uv_poll_t *p, int status, int events)
{
	struct sup *s = p->data;
	struct err e = {0};
	char msg;
	ssize_t n = read(s->link_control, &msg, 1);

	(void)status;
	(void)events;
	if (n <= 0) {
		uv_poll_stop(p); /* the link role's end is told by its pidfd */
		return;
	}
	if (msg == LINK_DOWN) {
		sup_lost(s, "the line to the guest broke");
		return;
	}
	if (msg != LINK_UP || s->phase != PHASE_STARTING || s->guest_up)
		return;
	s->guest_up = true;
	sup_progress(s, "setting the machine up");
	/* One that was woken has been spoken to. */
	if (s->wake.len == 0 && qmp_hello(s->qmp, deadline_in_ms(HELLO_LIMIT_MS), &e) < 0)
		log_warn("qmp: %s", e.msg);
	sup_paused_watch(s);
	if (call_identity(s, on_identity, &e) < 0)
		sup_fail(s, "identity: %s", e.msg);
}

static void
drain_into(uv_poll_t *p, int fd, struct boundlog *l)
{
	char chunk[16384];
	ssize_t n = read(fd, chunk, sizeof(chunk));

	if (n > 0)
		boundlog_write(l, chunk, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		uv_poll_stop(p);
}

/* What was said just before the end is still in the pipe. */
static void
drain_all(int fd, struct boundlog *l)
{
	char chunk[16384];
	ssize_t n;

	if (fd < 0 || io_set_nonblock(fd, true) < 0)
		return;
	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		boundlog_write(l, chunk, (size_t)n);
}

/* After a panic the machine would start again, which QEMU takes for its end. */
void
sup_powered_off(struct sup *s)
{
	const char *when = s->phase == PHASE_STARTING ? " while it started" : "";
	char panic[200];

	drain_all(s->console_fd, &s->console);
	if (boundlog_find(&s->console, "Kernel panic - not syncing: ", panic, sizeof(panic)))
		sup_fail(s, "the guest's kernel panicked%s: %s", when, panic);
	else
		sup_fail(s, "the guest powered itself off%s", when);
}

char *
sup_last_words(struct sup *s)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	const char *text;

	drain_all(s->log_fd, &s->log);
	boundlog_tail(&s->log, 1, &b);
	text = strstr(buf_str(&b), "]: "); /* behind the time, the role and its pid */
	return xstrdup(text != NULL ? text + strlen("]: ") : "");
}

static void
on_console(uv_poll_t *p, int status, int events)
{
	struct sup *s = p->data;

	(void)status;
	(void)events;
	drain_into(p, s->console_fd, &s->console);
}

static void
on_log(uv_poll_t *p, int status, int events)
{
	struct sup *s = p->data;

	(void)status;
	(void)events;
	drain_into(p, s->log_fd, &s->log);
}

static void
on_boot_timer(uv_timer_t *t)
{
	struct sup *s = t->data;

	sup_fail(s, "the guest did not report in time: see paddock logs %s", s->sandbox.name);
}

static void
on_signal(uv_signal_t *h, int signum)
{
	log_debug("signal %d", signum);
	sup_stop(h->data);
}

static void
poll_start(struct sup *s, uv_poll_t *p, int fd, uv_poll_cb cb)
{
	io_set_nonblock(fd, true);
	uv_poll_init(&s->loop, p, fd);
	p->data = s;
	uv_poll_start(p, UV_READABLE, cb);
}

static uint64_t
boot_limit_ms(const struct sup *s)
{
	if (s->snapshot.id != NULL && s->wake.len == 0)
		return CLONE_LIMIT_MS;
	return s->accel == VMM_ACCEL_KVM ? BOOT_LIMIT_KVM_MS : BOOT_LIMIT_TCG_MS;
}

void
sup_watch_machine(struct sup *s)
{
	poll_start(s, &s->console_poll, s->console_fd, on_console);
	poll_start(s, &s->log_poll, s->log_fd, on_log);
	poll_start(s, &s->link_poll, s->link_control, on_link);
	uv_timer_start(&s->boot_timer, on_boot_timer, boot_limit_ms(s), 0);
}

static int
open_logs(struct sup *s, struct err *e)
{
	const char *name = s->sandbox.name;
	int r = boundlog_open(&s->console, state_sandbox_file(&s->paths, name, "console.log"), e);

	if (r == 0)
		r = boundlog_open(
			&s->log, state_sandbox_file(&s->paths, name, "supervisor.log"), e);
	if (r < 0)
		return r;
	if (dup3(s->log.fd, STDERR_FILENO, O_CLOEXEC) < 0)
		return err_sys(e, errno, "log");
	close(s->log.fd);
	s->log.fd = STDERR_FILENO;
	return 0;
}

static int
choose_accel(struct sup *s, struct err *e)
{
	enum vmm_accel want;
	int r;

	if (vmm_accel_parse(s->sandbox.accel, &want) < 0)
		return err_set(e, EINVAL, "accelerator '%s' is unknown: use auto, kvm or tcg",
			s->sandbox.accel);
	r = vmm_accel_choose(want, &s->accel, &s->note, e);
	if (r == 0 && s->note != NULL)
		report(s, CONTROL_NOTE, s->note);
	return r;
}

static int
check_workspaces(const struct sup *s, struct err *e)
{
	for (size_t i = 0; i < s->sandbox.nworkspaces; i++)
		if (access(workspace_source(&s->sandbox.workspaces[i]), F_OK) < 0)
			return err_sys(e, errno,
				"workspace '%s' (bring it back, or remove the sandbox: paddock rm "
				"%s)",
				workspace_source(&s->sandbox.workspaces[i]), s->sandbox.name);
	return sandbox_check_workspaces(&s->paths, &s->sandbox, e);
}

static int
start(struct sup *s, const char *name, struct err *e)
{
	CLEAN_FREE char *guest = NULL;
	int r;

	s->lock_fd = state_lock(&s->paths, name, e);
	if (s->lock_fd < 0)
		return s->lock_fd;
	r = sandbox_load(&s->paths, name, &s->sandbox, e);
	if (r == 0)
		r = open_logs(s, e);
	if (r == 0)
		r = sup_roles_open(s, e);
	if (r == 0)
		sup_changes_init(s);
	if (r == 0)
		r = sup_control_listen(s, e);
	/* Not before it listens: who changes the policy and finds nobody there has been in time. */
	if (r == 0)
		sup_policy_start(s, report_note);
	if (r == 0)
		r = check_workspaces(s, e);
	if (r == 0)
		r = choose_accel(s, e);
	if (r == 0)
		r = sup_authority_load(s, e);
	if (r < 0)
		return r;
	guest = supervisor_guest_binary(e);
	if (guest == NULL)
		return -ENOENT;
	r = image_open(s->paths.data, s->sandbox.image, guest, &s->image, e);
	if (r < 0)
		return r;
	return sup_start_machine(s, e);
}

/* What the starter is told: the reason, and the console's last words where they matter. */
static void
report_failure(struct sup *s)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	if (s->why[0] == '\0')
		buf_append_str(&b, "the sandbox was stopped while it started");
	else if (s->resuming)
		buf_printf(&b,
			"cannot go on where it was suspended: %s; to boot it from its disk "
			"instead: paddock suspend --discard %s",
			s->why, s->sandbox.name);
	else
		buf_append_str(&b, s->why);
	boundlog_tail(&s->console, TAIL_LINES, &b);
	report(s, CONTROL_ERROR, buf_str(&b));
}

static void
finish(struct sup *s, const char *name, bool was_ready)
{
	struct err e = {0};
	bool failed = s->why[0] != '\0';

	sup_guest_calls_drop(s);
	sup_saving_drop(s);
	drain_all(s->log_fd, &s->log);
	if (s->sandbox.name != NULL)
		state_set_last_stop(&s->paths, name,
			failed         ? s->why
			: s->suspended ? "suspended"
				       : "stopped");
	if (s->lock_fd >= 0 && state_runtime_remove(&s->paths, name, &e) < 0)
		log_warn("%s", e.msg);
	if (s->restart)
		report(s, CONTROL_BUSY, "");
	else if (!was_ready)
		report_failure(s);
	sup_control_finish(s, failed);
}

static void
init(struct sup *s)
{
	uv_loop_init(&s->loop);
	uv_timer_init(&s->loop, &s->boot_timer);
	uv_timer_init(&s->loop, &s->stop_timer);
	uv_timer_init(&s->loop, &s->lost_timer);
	uv_timer_init(&s->loop, &s->policy_timer);
	uv_timer_init(&s->loop, &s->log_timer);
	uv_signal_init(&s->loop, &s->sigterm);
	uv_signal_init(&s->loop, &s->sigint);
	s->boot_timer.data = s->stop_timer.data = s->lost_timer.data = s->policy_timer.data = s;
	s->log_timer.data = s;
	s->sigterm.data = s->sigint.data = s;
	uv_signal_start(&s->sigterm, on_signal, SIGTERM);
	uv_signal_start(&s->sigint, on_signal, SIGINT);
}

/* What a start takes of it. */
enum { HEAP = 768 << 10 };

int
sup_main(int argc, char **argv)
{
	static struct sup s = {.jail = JAIL_INIT,
		.snapshot = SNAPSHOT_INIT,
		.lock_fd = -1,
		.listen_fd = -1,
		.report_fd = REPORT_FD,
		.roles_fd = -1,
		.link_control = -1,
		.changes_fd = -1,
		.net_control = -1,
		.credentials_fd = -1,
		.fs_stream = -1,
		.fs_journal = -1,
		.fs_peer = -1,
		.ram_fd = -1,
		.events = {-1, -1},
		.console_fd = -1,
		.log_fd = -1,
		.log_writer = -1,
		.console = BOUNDLOG_INIT,
		.log = BOUNDLOG_INIT,
		.jail_net = JAIL_NET_INIT};
	struct err e = {0};
	int r;

	if (argc < 3 || sandbox_name_check(argv[2], NULL) < 0)
		return 2;
	mem_prefault(HEAP);
	log_init("supervisor", argc > 3 && strcmp(argv[3], "--debug") == 0 ? LOG_DEBUG : LOG_WARN);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "paddock");
	s.start_ms = clock_mono_ms();
	init(&s);
	r = state_paths_init(&s.paths, &e);
	if (r == 0)
		r = start(&s, argv[2], &e);
	if (r == -EWOULDBLOCK && s.lock_fd < 0) {
		report(&s, CONTROL_BUSY, "");
		return 0;
	}
	if (r < 0)
		sup_fail(&s, "%s", e.msg);
	if (s.lock_fd >= 0 && s.phase != PHASE_DONE)
		uv_run(&s.loop, UV_RUN_DEFAULT);
	finish(&s, argv[2], s.boot_ms != 0);
	return r < 0 ? 1 : 0;
}
