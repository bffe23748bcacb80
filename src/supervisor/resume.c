/*
 * How this works: what a machine was suspended in is used once. QEMU loads it and waits; then the
 * file "used" is made, and only then does the machine run, whose disk from its first write on is
 * another than the one that belongs to the saved memory. Whoever is killed before that first write
 * has lost nothing: the disk is as it was, and so is the folder. After a power cut nobody can know
 * how far the disk got, so there "used" alone is enough for the memory to be of no use any more.
 */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <fs/fs.h>
#include <snapshot/saved.h>

#include "save.h"

#define LOAD_LIMIT_MS 60000
#define UNREAD_MAX    (1u << 20)

static void
remove_folder(const struct sup *s)
{
	struct err e = {0};

	if (state_suspended_remove(&s->paths, s->sandbox.name, &e) < 0)
		log_warn("%s", e.msg);
}

/* What was left by one that was killed while it saved. The lock is ours. */
static void
sweep(const struct sup *s)
{
	CLEAN_FREE char *home = state_sandbox_dir(&s->paths, s->sandbox.name);
	CLEAN_CLOSEDIR DIR *d = opendir(home);
	struct dirent *de;

	while (d != NULL && (de = readdir(d)) != NULL)
		if (str_has_prefix(de->d_name, STATE_SUSPENDING))
			io_remove_tree(dirfd(d), de->d_name, NULL);
}

static int
take(struct sup *s, const char *folder, const struct saved *d)
{
	s->snapshot = (struct snapshot){.id = xstrdup("suspended"),
		.qemu_major = d->qemu_major,
		.qemu_minor = d->qemu_minor,
		.tsc_khz = d->tsc_khz,
		.ram = xasprintf("%s/" SAVED_RAM, folder),
		.state = xasprintf("%s/" SAVED_STATE, folder),
		.lock = -1};
	buf_append(&s->wake, d->wake, LINE_WAKE);
	s->copied = d->copied;
	s->again = IDENTITY_AGAIN | IDENTITY_WOKEN;
	return 1;
}

int
sup_resume_find(struct sup *s, struct err *e)
{
	CLEAN_FREE char *folder = state_suspended(&s->paths, s->sandbox.name);
	CLEAN_FREE char *disk = state_sandbox_file(&s->paths, s->sandbox.name, SAVED_DISK);
	CLEANUP(saved_release) struct saved d = {0};
	CLEAN_BUF struct buf key = BUF_INIT;
	int r;

	sweep(s);
	r = saved_read(folder, &d, e);
	if (r == -ENOENT)
		return 0;
	s->resuming = true;
	if (r == 0)
		r = sup_saved_key(s, &key, e);
	if (r == 0)
		r = saved_check(&d, buf_str(&key), disk, sup_tsc_rate(s), fs_journal_version(), e);
	if (r == 0)
		return take(s, folder, &d);
	if (r == -EUCLEAN) {
		sup_note(s, "what was running when it was suspended is lost, it boots: %s", e->msg);
		remove_folder(s);
		s->resuming = false;
		return 0;
	}
	return r;
}

int
sup_resume_fs(const struct sup *s, int journal, int stream, struct err *e)
{
	CLEAN_FREE char *folder = state_suspended(&s->paths, s->sandbox.name);
	CLEAN_FREE char *path = xasprintf("%s/" SAVED_FS, folder);
	CLEAN_FREE char *unread = xasprintf("%s/" SAVED_FS_UNREAD, folder);
	CLEAN_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	CLEAN_BUF struct buf b = BUF_INIT;
	int r = fd < 0 ? err_sys(e, errno, "open '%s'", path) : io_copy(fd, journal, e);

	if (r == 0)
		r = io_read_file(AT_FDCWD, unread, UNREAD_MAX, &b, e);
	/* It was in such a socket before, so there is room. */
	if (r == 0 && b.len > 0 &&
		send(stream, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)b.len)
		r = err_set(e, EIO, "the line of the workspaces takes too little");
	return r;
}

int
sup_resume_go(struct sup *s, struct err *e)
{
	CLEAN_FREE char *folder = state_suspended(&s->paths, s->sandbox.name);
	uint64_t deadline = deadline_in_ms(LOAD_LIMIT_MS);
	int r = qmp_hello(s->qmp, deadline, e);

	if (r == 0)
		r = qmp_loaded(s->qmp, deadline, e);
	if (r == -EPIPE)
		err_set(e, EPIPE, "QEMU does not load it (see supervisor.log)");
	if (r == 0)
		r = saved_mark_used(folder, e);
	return r == 0 ? qmp_command(s->qmp, "cont", NULL, deadline, e) : r;
}

void
sup_resume_done(struct sup *s)
{
	/* Another fs role finds what this one has written down. */
	s->copied = false;
	remove_folder(s);
}
