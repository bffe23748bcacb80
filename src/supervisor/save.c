/*
 * How this works: a running machine is saved while nothing moves.
 *
 *   ARMING    the guest's programs stop, it writes its files, and is told the word by which it will
 *             know that it woke
 *   FREEZING  the fs role ends what it has begun, and then does nothing
 *   WRITING   the machine is stopped; QEMU writes its devices, the role save (role_save.c) the
 *             memory
 *   then      the fs role's journal and what QEMU has not read of its words are kept as well, and
 *             saved.json makes the folder whole
 *
 * What is suspended ends with that: its folder gets the name that the next start looks for. All
 * else goes on. So it does where anything fails: nothing of the machine was given up before.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <linux/sockios.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <fs/fs.h>
#include <snapshot/saved.h>
#include <supervisor/supervisor.h>
#include <wire/change.h>

#include "save.h"
#include "sup.h"

#define ARM_LIMIT_MS    30000
#define FREEZE_LIMIT_MS 10000
#define WRITE_LIMIT_MS  300000
#define QMP_LIMIT_MS    10000
#define UNREAD_MAX      (1u << 20)

enum stage { ARMING, FREEZING, WRITING, UNDOING };

struct saving {
	struct sup *sup;
	enum stage stage;
	bool suspend;
	char *folder;
	uint8_t wake[LINE_WAKE];
	struct buf unread; /* of the fs role's words, when the machine had stopped */
	bool frozen, stopped, written;
	uv_timer_t timer;      /* of the stage */
	char why[ERR_MSG_MAX]; /* UNDOING: until the role save has ended */
};

static void
on_closed(uv_handle_t *h)
{
	struct saving *v = h->data;

	buf_release(&v->unread);
	free(v->folder);
	free(v);
}

static void
tell_fs(const struct sup *s, char what)
{
	if (s->changes_fd >= 0 && send(s->changes_fd, &what, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
		log_warn("the fs role does not listen");
}

static void
go_on(struct saving *v)
{
	struct sup *s = v->sup;
	struct err e = {0};

	if (v->stopped && qmp_command(s->qmp, "cont", NULL, deadline_in_ms(QMP_LIMIT_MS), &e) < 0)
		sup_fail(s, "the machine does not go on after it was saved: %s", e.msg);
	if (v->frozen)
		tell_fs(s, FS_THAW);
	/* Its clock may have stood still, and its programs do. */
	if (s->phase == PHASE_RUNNING)
		sup_tell_again(s);
}

/* What the role save has copied beside it (role_save.c). */
static void
remove_copies(const struct saving *v)
{
	CLEAN_STRV struct strv pairs = {0};

	if (saved_copies_read(v->folder, &pairs, NULL) < 0)
		return;
	for (size_t i = 0; i + 1 < pairs.n; i += 2)
		io_remove_tree(AT_FDCWD, pairs.v[i + 1], NULL);
}

static void
end(struct saving *v, const char *why)
{
	struct sup *s = v->sup;
	bool suspended = why == NULL && v->suspend;

	if (!suspended)
		go_on(v);
	sup_paused_forget(s);
	s->saving = NULL;
	uv_timer_stop(&v->timer);
	if (why != NULL) {
		log_warn("not saved: %s", why);
		if (v->written)
			remove_copies(v);
		io_remove_tree(AT_FDCWD, v->folder, NULL);
	}
	if (!suspended)
		sup_control_saved(s, why);
	uv_close((uv_handle_t *)&v->timer, on_closed);
	if (suspended) {
		tell_fs(s, FS_THAW); /* it is asked for its last words */
		sup_suspended(s);
	} else if (s->stop_asked) {
		sup_stop(s);
	}
}

/* The machine goes on only when nobody reads its memory or its disk any more. */
static void
fail(struct saving *v, const char *why)
{
	const struct child *c = &v->sup->child[CHILD_SAVE];

	if (c->role == NULL) {
		end(v, why);
		return;
	}
	v->stage = UNDOING;
	snprintf(v->why, sizeof(v->why), "%s", why);
	kill(c->pid, SIGKILL);
}

/* What is on its way to QEMU, which reads no more than the guest has room for. */
static int
peek_unread(const struct sup *s, struct buf *out, struct err *e)
{
	int n = 0;
	ssize_t got;

	if (ioctl(s->fs_peer, SIOCINQ, &n) < 0)
		return err_sys(e, errno, "the line of the workspaces");
	if (n > (int)UNREAD_MAX)
		return err_set(e, EMSGSIZE, "the line of the workspaces holds %d bytes", n);
	if (n == 0)
		return 0;
	got = recv(s->fs_peer, buf_reserve(out, (size_t)n), (size_t)n, MSG_PEEK | MSG_DONTWAIT);
	if (got != n)
		return err_set(e, EIO, "the line of the workspaces could not be read");
	buf_commit(out, (size_t)got);
	return 0;
}

/* Nothing was read since the machine has stopped, so its memory and these bytes fit together. */
static int
check_unread(const struct saving *v, struct err *e)
{
	int n = -1;

	if (ioctl(v->sup->fs_peer, SIOCINQ, &n) < 0 || (size_t)n != v->unread.len)
		return err_set(
			e, EAGAIN, "the workspaces' line moved while it was saved: try again");
	return 0;
}

/* Of a machine that goes on, the folder's maker puts all of it on the disk at once (saved_settle).
 */
static int
write_unread(const struct saving *v, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/" SAVED_FS_UNREAD, v->folder);
	const struct buf *b = &v->unread;

	return v->suspend ? io_write_file_atomic(AT_FDCWD, path, b->data, b->len, 0600, e)
			  : io_write_new_file(AT_FDCWD, path, b->data, b->len, 0600, e);
}

static int
save_journal(const struct saving *v, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/" SAVED_FS, v->folder);
	CLEAN_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = fd < 0 ? err_sys(e, errno, "create '%s'", path)
		       : io_copy(v->sup->fs_journal, fd, e);

	return r == 0 && v->suspend && fsync(fd) < 0 ? err_sys(e, errno, "write '%s' to disk", path)
						     : r;
}

static int
describe(const struct saving *v, struct err *e)
{
	struct sup *s = v->sup;
	CLEAN_FREE char *disk = v->suspend
					? state_sandbox_file(&s->paths, s->sandbox.name, SAVED_DISK)
					: xasprintf("%s/" SAVED_DISK, v->folder);
	CLEAN_FREE char *boot = snapshot_boot_id(e);
	CLEAN_BUF struct buf key = BUF_INIT;
	struct saved d = {.boot_id = boot,
		.tsc_khz = s->tsc_khz,
		.journal = fs_journal_version(),
		.durable = v->suspend,
		.created = (int64_t)(clock_real_ns() / 1000000000)};
	int r = boot == NULL ? -ENOENT : sup_saved_key(s, &key, e);

	if (r == 0)
		r = saved_disk_of(disk, &d.disk, e);
	if (r < 0)
		return r;
	d.key = (char *)buf_str(&key);
	qmp_version(s->qmp, &d.qemu_major, &d.qemu_minor);
	memcpy(d.wake, v->wake, LINE_WAKE);
	return saved_write(v->folder, &d, e);
}

/* The name that the next start looks for, on the disk. */
static int
publish(const struct saving *v, struct err *e)
{
	struct sup *s = v->sup;
	CLEAN_FREE char *to = state_suspended(&s->paths, s->sandbox.name);
	CLEAN_FREE char *home = state_sandbox_dir(&s->paths, s->sandbox.name);
	CLEAN_CLOSE int dir = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || rename(v->folder, to) < 0 || fsync(dir) < 0)
		return err_sys(e, errno, "create '%s'", to);
	return 0;
}

static void
finish(struct saving *v)
{
	struct err e = {0};
	int r = check_unread(v, &e);

	if (r == 0)
		r = save_journal(v, &e);
	if (r == 0)
		r = write_unread(v, &e);
	if (r == 0)
		r = describe(v, &e);
	if (r == 0 && v->suspend)
		r = publish(v, &e);
	end(v, r < 0 ? e.msg : NULL);
}

static void
on_timer(uv_timer_t *t)
{
	struct saving *v = t->data;

	if (v->sup->phase != PHASE_RUNNING || v->stage == UNDOING)
		return;
	fail(v, v->stage == FREEZING ? "what the workspaces' server does on the host does not end"
				     : "it does not get done in time");
}

static void
enter(struct saving *v, enum stage stage, uint64_t limit_ms)
{
	v->stage = stage;
	uv_timer_start(&v->timer, on_timer, limit_ms, 0);
}

static int
write_devices(const struct saving *v, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/" SAVED_STATE, v->folder);
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_sys(e, errno, "create '%s'", path);
	return qmp_save(v->sup->qmp, fd, deadline_in_ms(QMP_LIMIT_MS), e);
}

static int
write_memory(const struct saving *v, struct err *e)
{
	CLEANUP(vmm_ram_release) struct vmm_ram m = VMM_RAM_INIT;
	struct sup *s = v->sup;
	int r = qmp_memory_address(s->qmp, &m.address, deadline_in_ms(QMP_LIMIT_MS), e);

	if (r == 0)
		r = vmm_ram_open(s->child[CHILD_QEMU].pid, &m, e);
	return r == 0 ? sup_spawn_save(s, v->folder, v->suspend, &m, e) : r;
}

void
sup_saving_frozen(struct sup *s)
{
	struct saving *v = s->saving;
	struct err e = {0};
	int r;

	if (v == NULL || v->stage != FREEZING)
		return;
	enter(v, WRITING, WRITE_LIMIT_MS);
	r = qmp_command(s->qmp, "stop", NULL, deadline_in_ms(QMP_LIMIT_MS), &e);
	v->stopped = r == 0;
	if (r == 0)
		r = peek_unread(s, &v->unread, &e);
	if (r == 0)
		r = write_devices(v, &e);
	if (r == 0)
		r = write_memory(v, &e);
	if (r < 0)
		fail(v, e.msg);
}

void
sup_saving_ended(struct sup *s, int code)
{
	struct saving *v = s->saving;

	if (v == NULL || v->stage < WRITING)
		return;
	if (v->stage == UNDOING) {
		end(v, v->why);
		return;
	}
	v->written = code == 0;
	if (code != 0) {
		CLEAN_FREE char *words = sup_last_words(s);

		fail(v, words[0] != '\0' ? words : "its memory could not be written");
		return;
	}
	finish(v);
}

static void
on_armed(struct sup *s, int status, const char *text)
{
	struct saving *v = s->saving;

	if (v == NULL || v->stage != ARMING)
		return;
	if (status != 0) {
		fail(v, text[0] != '\0' ? text : "the guest refused");
		return;
	}
	enter(v, FREEZING, FREEZE_LIMIT_MS);
	v->frozen = true;
	tell_fs(s, FS_FREEZE);
}

/* Beside the name that it will have. */
static char *
make_folder(const struct sup *s, struct err *e)
{
	CLEAN_FREE char *path =
		state_sandbox_file(&s->paths, s->sandbox.name, STATE_SUSPENDING "XXXXXX");

	if (mkdtemp(path) == NULL) {
		err_sys(e, errno, "create folder '%s'", path);
		return NULL;
	}
	return TAKE_PTR(path);
}

int
sup_save(struct sup *s, const char *folder, struct err *e)
{
	struct session_open o = {.op = SESSION_OP_SAVE};
	struct saving *v;
	int r;

	if (s->phase != PHASE_RUNNING)
		return err_set(e, EAGAIN, "the sandbox is not running: try again in a moment");
	if (s->paused)
		return err_set(e, EAGAIN, PAUSED_TEXT);
	if (s->saving != NULL)
		return err_set(e, EBUSY, "it is being saved already");
	v = xcalloc(1, sizeof(*v));
	*v = (struct saving){.sup = s, .suspend = folder == NULL};
	v->folder = folder != NULL ? xstrdup(folder) : make_folder(s, e);
	r = v->folder == NULL ? -EIO : 0;
	if (r == 0 && getrandom(v->wake, sizeof(v->wake), 0) != sizeof(v->wake))
		r = err_sys(e, errno, "getrandom");
	if (r == 0) {
		buf_append(&o.wake, v->wake, sizeof(v->wake));
		r = sup_guest_call(s, &o, ARM_LIMIT_MS, on_armed, e);
		session_open_release(&o);
	}
	if (r < 0) {
		if (v->suspend && v->folder != NULL)
			rmdir(v->folder);
		free(v->folder);
		free(v);
		return r;
	}
	s->saving = v;
	uv_timer_init(&s->loop, &v->timer);
	v->timer.data = v;
	enter(v, ARMING, 2 * (uint64_t)ARM_LIMIT_MS);
	return 0;
}

void
sup_saving_drop(struct sup *s)
{
	struct saving *v = s->saving;

	if (v == NULL)
		return;
	s->saving = NULL;
	uv_timer_stop(&v->timer);
	io_remove_tree(AT_FDCWD, v->folder, NULL);
	uv_close((uv_handle_t *)&v->timer, on_closed);
}
