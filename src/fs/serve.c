/*
 * How this works: one thread, one poll. Whole messages are taken off the stream, handled in order
 * and their replies queued; notifications go behind the reply during which they arose. A guest that
 * does not take its replies is not read from either, so what is queued stays bounded. Events of the
 * host's changes are read at most WATCH_DELAY_MS after the first of them.
 *
 * What may wait for a disk is done by threads meanwhile (jobs.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>

#include <wire/change.h>

#include "server.h"

#define READ_SIZE      (256u << 10)
#define OUT_HIGH       (4u << 20)  /* no more requests are read */
#define OUT_FLUSH      (64u << 10) /* written at once rather than after the batch */
#define OUT_KEEP       (4u << 20)  /* an empty buffer larger than this is given back */
#define WATCH_DELAY_MS 5
#define LOOK_MS        1000

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

int
fs_proc_open(struct err *e)
{
	static const char path[] = "/proc/self/fd";
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC);

	if (fd < 0 && errno == EPERM && unshare(CLONE_NEWNS) == 0)
		fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC);
	/* Without the right to mount there is no jail either: tests, by an ordinary user. */
	if (fd < 0)
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, errno, "open %s", path) : fd;
}

static void
set_budget(struct fs *fs)
{
	struct rlimit l = {1024, 1024};
	size_t n, leases;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &l) < 0 && getrlimit(RLIMIT_NOFILE, &l) < 0)
			l.rlim_cur = 1024;
	}
	n = l.rlim_cur > 1u << 20 ? 1u << 20 : (size_t)l.rlim_cur;
	n = n > 2 * FDS_RESERVED ? n - FDS_RESERVED : FDS_RESERVED;
	/* Of a tree of more small files than `leases` each opening goes to the host. */
	leases = n < FDS_FEW ? 1 : 3;
	fs->handles_max = n / 8 * (6 - leases);
	fs->leases_max = n / 8 * leases;
	/* Cached folders, and as many files without a name. */
	fs->cached_max = n / 8;
}

static void
find_stage(struct fs *fs)
{
	struct statfs st;
	struct statx sx;

	if (fstatfs(fs->opt.root_fd, &st) < 0 || stat_at(fs->opt.root_fd, "", &sx) < 0)
		return;
	fs->stage = st.f_type == TMPFS_MAGIC && (st.f_flags & ST_RDONLY) &&
		    (sx.stx_mask & STATX_MNT_ID);
	fs->stage_mnt = sx.stx_mnt_id;
}

static int
prepare(struct fs *fs, struct err *e)
{
	int r;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	if (unshare(CLONE_FS) < 0)
		return err_sys(e, errno, "own working folder");
	umask(0); /* the guest's kernel has applied its own */
	if (fchdir(fs->opt.proc_fd) < 0)
		return err_sys(e, errno, "folder of descriptors");
	set_budget(fs);
	find_stage(fs);
	watch_init(fs);
	r = fs_tables_init(fs, e);
	if (r == 0)
		r = shadow_init(fs, e);
	if (r == 0)
		guard_init(fs);
	if (r == 0)
		changes_init(fs);
	return r == 0 ? jobs_init(fs, e) : r;
}

/* Where another process stopped, or from the start. */
static int
take_journal(struct fs *fs, struct err *e)
{
	struct journal *j = NULL;
	int r = journal_open(fs->opt.journal_fd, &j, e);

	if (r < 0)
		return r;
	if (journal_begin(j)) {
		r = restore(fs, j, e);
	} else {
		fs->journal = j;
		journal_inode_add(fs, fs->root);
	}
	if (r == 0) {
		j->head->processes++;
		return 0;
	}
	fs->journal = NULL;
	journal_close(j);
	return r;
}

static int
flush(struct fs *fs)
{
	while (fs->out.len > 0) {
		ssize_t n = send(
			fs->opt.stream_fd, fs->out.data, fs->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		buf_consume(&fs->out, (size_t)n);
		fs->sent += (size_t)n;
	}
	journal_sent(fs);
	if (fs->out.len == 0 && fs->out.cap > OUT_KEEP)
		buf_release(&fs->out);
	return 0;
}

/* 1 where there may be more to handle once the output has drained. */
static int
handle_messages(struct fs *fs)
{
	ssize_t n;
	int r;

	if (fs->deaf && !fuse_line_answered(&fs->in, fs->nonce))
		return 0;
	fs->deaf = false;
	while (fs->out.len < OUT_HIGH && !jobs_full(fs)) {
		n = fuse_wire_peek(&fs->in, sizeof(struct fuse_in_header));
		if (n <= 0)
			return (int)n;
		dispatch(fs, fs->in.data, (size_t)n);
		buf_consume(&fs->in, (size_t)n);
		if (fs->out.len >= OUT_FLUSH) {
			r = flush(fs);
			if (r < 0)
				return r;
		}
	}
	return 1;
}

/* Returns 0, 1 at the end of the stream, -errno. */
static int
read_stream(struct fs *fs)
{
	ssize_t n;

	do
		n = recv(fs->opt.stream_fd, buf_reserve(&fs->in, READ_SIZE), READ_SIZE,
			MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return 1;
	buf_commit(&fs->in, (size_t)n);
	return 0;
}

static void
append_notes(struct fs *fs)
{
	if (fs->ready)
		buf_append(&fs->out, fs->notes.data, fs->notes.len);
	buf_clear(&fs->notes);
}

/* Files that are open where nobody watches. */
static void
look_at_open(struct fs *fs)
{
	uint64_t now;

	if (!fs->blind || fs->nhandles == 0) {
		fs->look_at_ms = 0;
		return;
	}
	now = clock_mono_ms();
	if (fs->look_at_ms != 0 && now < fs->look_at_ms)
		return;
	if (fs->look_at_ms != 0)
		coherence_look_at_open(fs);
	fs->look_at_ms = now + LOOK_MS;
}

/* Host changes, while there is room for what they cause. */
static void
handle_events(struct fs *fs, bool readable)
{
	uint64_t now;

	if (fs->out.len >= OUT_HIGH)
		return;
	if (readable && fs->watch_at_ms == 0)
		fs->watch_at_ms = clock_mono_ms() + WATCH_DELAY_MS;
	now = fs->watch_at_ms != 0 ? clock_mono_ms() : 0;
	if (fs->watch_at_ms != 0 && now >= fs->watch_at_ms)
		watch_read(fs);
	if (fs->resync)
		coherence_resync_step(fs);
	look_at_open(fs);
	if (fs->lock_retry_ms != 0 && clock_mono_ms() >= fs->lock_retry_ms)
		lock_retry(fs);
	append_notes(fs);
}

/* What the guest's replies, and the threads, leave room for. */
static bool
is_full(const struct fs *fs)
{
	return fs->out.len >= OUT_HIGH || jobs_full(fs);
}

/* Until something about the host is due; -1: nothing is. */
static int
host_timeout_ms(const struct fs *fs)
{
	uint64_t at = UINT64_MAX;

	if (fs->out.len >= OUT_HIGH)
		return -1;
	if (fs->resync)
		return 0;
	if (fs->watch_at_ms != 0)
		at = fs->watch_at_ms;
	else if (fs->blind && fs->nhandles > 0)
		at = fs->look_at_ms != 0 ? fs->look_at_ms : clock_mono_ms() + LOOK_MS;
	if (fs->lock_retry_ms != 0 && fs->lock_retry_ms < at)
		at = fs->lock_retry_ms;
	return at != UINT64_MAX ? deadline_left_ms(at) : -1;
}

static int
timeout_ms(const struct fs *fs)
{
	uint64_t due = changes_due_ms(fs);
	int ms = host_timeout_ms(fs), left;

	if (due == 0)
		return ms;
	left = deadline_left_ms(due);
	return ms < 0 || left < ms ? left : ms;
}

/* THAW has been said, or nobody is there to say it. */
static bool
is_thawed(int fd)
{
	char byte = 0;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

	return n < 0 ? errno != EAGAIN && errno != EINTR : n == 0 || byte == FS_THAW;
}

/*
 * The machine is being saved, and the journal with it: what was begun ends, then nothing moves. The
 * supervisor sets the limit: a file that hangs on the host must not keep all others for ever.
 */
static int
freeze(struct fs *fs)
{
	struct pollfd p[2] = {{fs->opt.changes_fd, POLLIN, 0}, {jobs_event_fd(fs), POLLIN, 0}};
	char byte = FS_FROZEN;
	int r;

	fs->freeze = false;
	while (jobs_any(fs)) {
		poll(p, 2, -1);
		jobs_finish(fs, SIZE_MAX);
		if (p[0].revents != 0 && is_thawed(p[0].fd))
			return 0;
	}
	append_notes(fs);
	r = flush(fs);
	if (r < 0 || send(p[0].fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
		return r;
	do
		poll(p, 1, -1);
	while (!is_thawed(p[0].fd));
	return 0;
}

/* Waits, then does one round. 0, 1 at the end of the stream, -errno. */
static int
turn(struct fs *fs)
{
	bool full = is_full(fs), no_room = fs->out.len >= OUT_HIGH;
	struct pollfd p[4] = {
		{fs->opt.stream_fd, (short)((full ? 0 : POLLIN) | (fs->out.len > 0 ? POLLOUT : 0)),
			0},
		/* Not while its events wait for their moment anyway. */
		{no_room || fs->watch_at_ms != 0 ? -1 : fs->inotify_fd, POLLIN, 0},
		{no_room ? -1 : jobs_event_fd(fs), POLLIN, 0},
		{fs->changes != NULL ? fs->opt.changes_fd : -1, POLLIN, 0},
	};
	int r = poll(p, 4, timeout_ms(fs)), end = 0;

	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	if (p[2].revents & POLLIN)
		jobs_finish(fs, OUT_HIGH);
	handle_events(fs, p[1].revents & POLLIN);
	if (p[0].revents & (POLLIN | POLLHUP | POLLERR) && !full)
		end = read_stream(fs);
	else if (p[0].revents & (POLLERR | POLLHUP))
		return -EPIPE;
	if (end < 0)
		return end;
	do {
		r = handle_messages(fs);
		if (r >= 0) {
			int f = flush(fs);

			r = f < 0 ? f : r;
		}
	} while (r == 1 && !is_full(fs));
	changes_turn(fs, p[3].revents != 0);
	if (r >= 0 && fs->freeze)
		r = freeze(fs);
	return r < 0 ? r : end;
}

static int
serve(struct fs *fs, struct err *e)
{
	int r = 0;

	while (r == 0)
		r = turn(fs);
	if (r == -EMSGSIZE)
		return err_set(e, EMSGSIZE, "a message of impossible length from the guest");
	log_debug("end of the stream: %d", r);
	/* The other end is gone: as good an end as any. */
	if (r == -EPIPE || r == -ECONNRESET)
		return 0;
	return r < 0 ? err_sys(e, -r, "stream") : 0;
}

int
fs_serve(const struct fs_options *o, struct err *e)
{
	struct fs fs = {.opt = *o, .inotify_fd = -1};
	int r = prepare(&fs, e);

	if (r == 0 && o->journal_fd > 0)
		r = take_journal(&fs, e);
	if (r == 0)
		r = serve(&fs, e);
	jobs_release(&fs);
	changes_end(&fs);
	fs_tables_release(&fs);
	journal_close(fs.journal);
	free(fs.replied);
	shadow_release(&fs);
	guard_release(&fs);
	changes_release(&fs);
	watch_release(&fs);
	buf_release(&fs.in);
	buf_release(&fs.out);
	buf_release(&fs.notes);
	buf_release(&fs.early);
	return r;
}
