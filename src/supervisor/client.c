/* The commands' side of the control protocol, and the start of a supervisor. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/proc.h>
#include <supervisor/supervisor.h>
#include <wire/frame.h>

/* Longer than the supervisor's own limits, which give the better message. */
#define START_LIMIT_MS  300000
#define STOP_LIMIT_MS   90000
#define STATUS_LIMIT_MS 3000
#define SAVE_LIMIT_MS   360000
#define BUSY_LIMIT_MS   10000
#define POLICY_LIMIT_MS 15000
#define RETRY_MS        10

/* One whole frame; exactly its bytes are taken from the descriptor. */
static int
read_frame(int fd, struct buf *b, struct frame *ret, uint64_t deadline)
{
	int r;

	buf_clear(b);
	while ((r = frame_peek(b, ret)) == 0) {
		size_t want = FRAME_HEAD;
		uint32_t n;

		if (b->len >= FRAME_HEAD) {
			memcpy(&n, b->data + 1, sizeof(n));
			want = FRAME_HEAD + be32toh(n);
		}
		size_t more = want - b->len;

		r = io_read_full(fd, buf_reserve(b, more), more, deadline);
		if (r < 0)
			return r;
		buf_commit(b, more);
	}
	return r < 0 ? r : 0;
}

struct talk {
	const struct progress *progress;
	void (*note)(const char *text);
};

/* The first line becomes the error, what follows (the console's last lines) a note. */
static int
error_reply(const struct frame *f, const struct talk *t, struct err *e)
{
	CLEAN_FREE char *text = xstrndup((const char *)f->p, f->n);
	char *rest = strchr(text, '\n');

	if (rest != NULL)
		*rest++ = '\0';
	if (rest != NULL && t != NULL && t->note != NULL)
		t->note(rest);
	return err_set(e, EIO, "%s", text);
}

/* Reads until OK (0, payload in b), BUSY (-EBUSY), ERROR or a failure. */
static int
read_answer(int fd, const struct talk *t, struct buf *b, struct frame *f, uint64_t limit_ms,
	struct err *e)
{
	uint64_t deadline = deadline_in_ms(limit_ms);

	for (;;) {
		int r = read_frame(fd, b, f, deadline);

		if (r == -ETIMEDOUT)
			return err_set(e, ETIMEDOUT, "no answer from the supervisor within %llu s",
				(unsigned long long)limit_ms / 1000);
		if (r < 0)
			return err_set(e, EPIPE, "the supervisor ended");
		CLEAN_FREE char *text = xstrndup((const char *)f->p, f->n);

		if (f->type == CONTROL_OK)
			return 0;
		if (f->type == CONTROL_BUSY)
			return -EBUSY;
		if (f->type == CONTROL_ERROR)
			return error_reply(f, t, e);
		if (f->type == CONTROL_PROGRESS && t != NULL)
			progress_step(t->progress, text);
		if (f->type == CONTROL_NOTE && t != NULL && t->note != NULL)
			t->note(text);
	}
}

static int
request(int fd, enum control_frame type, const struct buf *payload, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	int r;

	frame_put(&b, (uint8_t)type, payload != NULL ? payload->data : NULL,
		payload != NULL ? payload->len : 0);
	r = io_write_full(fd, b.data, b.len, deadline_in_ms(STATUS_LIMIT_MS));
	if (r == -ETIMEDOUT)
		return err_set(e, ETIMEDOUT, "the supervisor does not listen");
	/* It went away with our connection in its queue: ECONNRESET, or EPIPE. */
	return r < 0 ? err_set(e, EPIPE, "the supervisor ended") : 0;
}

/* Connection refused or no socket: nobody runs there. */
static bool
nobody(int r)
{
	return r == -ECONNREFUSED || r == -ENOENT;
}

int
supervisor_begin(const char *name, int *ret_begun, struct err *e)
{
	char *argv[] = {"paddock", (SUPERVISOR_ROLE_ARG "supervisor"), (char *)name,
		log_get_level() == LOG_DEBUG ? "--debug" : NULL, NULL};
	CLEAN_CLOSE int writer = -1;
	int report[2], r;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	writer = report[1];
	struct proc_spec spec = {.file = "/proc/self/exe",
		.argv = argv,
		.fds = {-1, -1, -1, writer},
		.nfds = 4,
		.cwd = "/",
		.new_session = true};
	r = proc_spawn(&spec, &pid, NULL, e);
	if (r < 0) {
		close(report[0]);
		return err_prefix(e, "supervisor");
	}
	*ret_begun = report[0];
	return 0;
}

/* What the one that was spawned with this pipe says. */
static int
await(const struct state_paths *p, const char *name, int report, const struct talk *t,
	struct err *e)
{
	CLEAN_FREE char *log = NULL;
	CLEAN_BUF struct buf b = BUF_INIT;
	struct frame f;
	int r = read_answer(report, t, &b, &f, START_LIMIT_MS, e);

	if (r != -EPIPE)
		return r;
	log = state_sandbox_file(p, name, "supervisor.log");
	return err_set(e, EIO, "the supervisor ended unexpectedly: see '%s'", log);
}

/* -EBUSY: another supervisor has the lock; it is about to listen, or about to be gone. */
static int
start_once(const struct state_paths *p, const char *name, const struct talk *t, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	CLEAN_CLOSE int fd = state_socket_connect(p, name, e);
	struct frame f;
	int r;

	if (fd >= 0) {
		r = request(fd, CONTROL_WAIT, NULL, e);
		if (r == 0)
			r = read_answer(fd, t, &b, &f, START_LIMIT_MS, e);
		return r == -EPIPE ? -EBUSY : r;
	}
	if (!nobody(fd))
		return fd;
	r = supervisor_begin(name, &fd, e);
	return r < 0 ? r : await(p, name, fd, t, e);
}

int
supervisor_start(const struct state_paths *p, const char *name, const struct progress *pr,
	void (*note)(const char *text), struct err *e)
{
	struct talk t = {pr, note};
	uint64_t deadline = 0;
	int r;

	while ((r = start_once(p, name, &t, e)) == -EBUSY) {
		/* From the first refusal on: until then its orderly stop was awaited. */
		if (deadline == 0)
			deadline = deadline_in_ms(BUSY_LIMIT_MS);
		if (deadline_left_ms(deadline) == 0)
			return err_set(e, EBUSY,
				"sandbox '%s' is held by another command that does not end: see ps",
				name);
		poll(NULL, 0, RETRY_MS); /* the lock's holder has no way to tell us */
	}
	return r;
}

int
supervisor_begun(const struct state_paths *p, const char *name, int begun,
	const struct progress *pr, void (*note)(const char *text), struct err *e)
{
	struct talk t = {pr, note};
	int r = await(p, name, begun, &t, e);

	return r == -EBUSY ? supervisor_start(p, name, pr, note, e) : r;
}

/*
 * Asks the supervisor that runs, and waits for its OK, which is in f and b. Its connection, -ESRCH
 * when none runs or it ends meanwhile, or -errno with its own sentence.
 */
static int
ask(const struct state_paths *p, const char *name, enum control_frame type,
	const struct buf *payload, uint64_t limit_ms, struct buf *b, struct frame *f, struct err *e)
{
	CLEAN_CLOSE int fd = state_socket_connect(p, name, e);
	int r;

	if (fd < 0)
		return nobody(fd) ? err_set(e, ESRCH, "sandbox '%s' does not run", name) : fd;
	r = request(fd, type, payload, e);
	if (r == 0)
		r = read_answer(fd, NULL, b, f, limit_ms, e);
	if (r == -EPIPE)
		return -ESRCH;
	return r < 0 ? r : TAKE_FD(fd);
}

/* The same where the answer says no more than OK, and nothing follows it. */
static int
tell(const struct state_paths *p, const char *name, enum control_frame type,
	const struct buf *payload, uint64_t limit_ms, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct frame f;
	int r = ask(p, name, type, payload, limit_ms, &b, &f, e);

	if (r < 0)
		return r;
	close(r);
	return 0;
}

int
supervisor_status(
	const struct state_paths *p, const char *name, struct control_status *ret, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct frame f;
	CLEAN_CLOSE int fd = ask(p, name, CONTROL_STATUS, NULL, STATUS_LIMIT_MS, &b, &f, e);

	if (fd < 0)
		return fd;
	if (control_status_decode(f.p, f.n, ret) < 0)
		return err_set(e, EBADMSG, "the supervisor's answer is damaged");
	return 0;
}

int
supervisor_session(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct frame f;

	return ask(p, name, CONTROL_SESSION, NULL, START_LIMIT_MS, &b, &f, e);
}

int
supervisor_ports(const struct state_paths *p, const char *name, const struct control_ports *change,
	struct err *e)
{
	CLEAN_BUF struct buf payload = BUF_INIT;

	control_ports_encode(change, &payload);
	return tell(p, name, CONTROL_PORTS, &payload, STATUS_LIMIT_MS, e);
}

int
supervisor_policy_changed(const struct state_paths *p, const char *name, struct err *e)
{
	int r = tell(p, name, CONTROL_POLICY, NULL, POLICY_LIMIT_MS, e);

	return r == -ESRCH ? 0 : r;
}

/* With a descriptor, which stays the caller's. */
static int
hand_over(const struct state_paths *p, const char *name, enum control_frame type, const char *text,
	int passed, struct err *e)
{
	CLEAN_CLOSE int fd = state_socket_connect(p, name, e);
	CLEAN_BUF struct buf b = BUF_INIT, answer = BUF_INIT;
	struct frame f;
	int r;

	if (fd < 0)
		return nobody(fd) ? err_set(e, ESRCH, "sandbox '%s' does not run", name) : fd;
	frame_put(&b, (uint8_t)type, text, strlen(text));
	r = io_send_fds(fd, b.data, b.len, &passed, 1);
	if (r < 0)
		return err_sys(e, -r, "hand a descriptor to the supervisor");
	r = read_answer(fd, NULL, &answer, &f, POLICY_LIMIT_MS, e);
	return r == -EPIPE ? -ESRCH : r;
}

int
supervisor_credentials(const struct state_paths *p, const char *name, int memory, struct err *e)
{
	return hand_over(p, name, CONTROL_CREDENTIALS, "", memory, e);
}

int
supervisor_ssh_agent(
	const struct state_paths *p, const char *name, int agent, const char *hosts, struct err *e)
{
	return hand_over(p, name, CONTROL_SSH_AGENT, hosts, agent, e);
}

int
supervisor_changes(const struct state_paths *p, const char *name, struct err *e)
{
	return tell(p, name, CONTROL_CHANGES, NULL, STATUS_LIMIT_MS, e);
}

/* After OK the supervisor has only to exit; end of file on its connection tells when. */
static int
wait_for_end(const char *name, int fd, struct err *e)
{
	uint64_t deadline = deadline_in_ms(STATUS_LIMIT_MS);
	char byte;

	if (io_read_full(fd, &byte, 1, deadline) == -ETIMEDOUT)
		return err_set(e, ETIMEDOUT, "the supervisor of '%s' does not end", name);
	return 0;
}

int
supervisor_stop(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct frame f;
	CLEAN_CLOSE int fd = ask(p, name, CONTROL_STOP, NULL, STOP_LIMIT_MS, &b, &f, e);

	if (fd < 0)
		return fd == -ESRCH ? 0 : fd;
	return wait_for_end(name, fd, e);
}

int
supervisor_suspend(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct frame f;
	CLEAN_CLOSE int fd = ask(p, name, CONTROL_SAVE, NULL, SAVE_LIMIT_MS, &b, &f, e);

	return fd < 0 ? fd : wait_for_end(name, fd, e);
}

int
supervisor_save(const struct state_paths *p, const char *name, const char *folder, struct err *e)
{
	CLEAN_BUF struct buf payload = BUF_INIT;

	buf_append_str(&payload, folder);
	return tell(p, name, CONTROL_SAVE, &payload, SAVE_LIMIT_MS, e);
}

int
supervisor_kill(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_CLOSE int fd = state_socket_connect(p, name, e);
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (fd < 0)
		return nobody(fd) ? 0 : fd;
	/* The listener's credentials: the supervisor itself, even when it no longer answers. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return err_sys(e, errno, "find the supervisor of '%s'", name);
	if (kill(cred.pid, SIGKILL) < 0 && errno != ESRCH)
		return err_sys(e, errno, "end the supervisor of '%s'", name);
	return wait_for_end(name, fd, e);
}

char *
supervisor_beside(const char *name, struct err *e)
{
	static const char *const places[] = {"", "/../libexec/paddock"};
	char self[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0) {
		err_sys(e, errno, "find this program");
		return NULL;
	}
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		char *path = xasprintf("%s%s/%s", self, places[i], name);

		if (access(path, R_OK) == 0)
			return path;
		free(path);
	}
	err_set(e, ENOENT, "%s is missing beside '%s': install paddock anew", name, self);
	return NULL;
}

char *
supervisor_guest_binary(struct err *e)
{
	return supervisor_beside("paddock-guest", e);
}
