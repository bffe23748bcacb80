/*
 * How this works: one inotify instance; a watch on each folder that the guest has looked into,
 * added before the first look, and on files that a folder's watch does not cover (several hard
 * links, or mounted alone). Events are read a few milliseconds after the first one came, so that a
 * burst (most of it the guest's own) costs one look per name. An event says where to look, never
 * what happened: the host is compared with what the guest was told.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>

#include "server.h"

#define RETRY_MS    10000
#define DATA_EVENTS (IN_MODIFY | IN_CLOSE_WRITE)
#define FILE_EVENTS (DATA_EVENTS | IN_ATTRIB | IN_DELETE_SELF)
#define NAME_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define FOLDER_EVENTS                                                                              \
	(NAME_EVENTS | DATA_EVENTS | IN_ATTRIB | IN_DELETE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)
#define SEEN_MAX 256 /* names of one batch that were already looked at */
#define DIRS_MAX 64

void
watch_init(struct fs *fs)
{
	fs->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fs->inotify_fd >= 0)
		return;
	fs->blind_said = true;
	log_warn("no inotify (%s%s): the guest re-reads everything after a second", strerror(errno),
		errno == EMFILE ? "; see fs.inotify.max_user_instances" : "");
}

void
watch_release(struct fs *fs)
{
	if (fs->inotify_fd >= 0)
		close(fs->inotify_fd);
	fs->inotify_fd = -1;
}

static void
set_blind(struct fs *fs, struct inode *i, int code)
{
	i->wd_retry_ms = clock_mono_ms() + RETRY_MS;
	fs->blind = true;
	if (fs->blind_said)
		return;
	fs->blind_said = true;
	log_warn("cannot watch a folder (%s%s): what is not watched the guest re-reads after a "
		 "second",
		strerror(code), code == ENOSPC ? "; see fs.inotify.max_user_watches" : "");
}

static void
watch_add(struct fs *fs, struct inode *i, uint32_t events)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	int wd;

	if (i->wd >= 0 || (i->wd_retry_ms != 0 && clock_mono_ms() < i->wd_retry_ms))
		return;
	if (fs->inotify_fd < 0) {
		set_blind(fs, i, ENOSYS);
		return;
	}
	if (nodefd_get(fs, i, &n) < 0)
		return; /* gone: the request that wanted this will say so */
	/* Relative to the working folder, which is proc_fd: exactly the file that n.fd holds. */
	wd = inotify_add_watch(fs->inotify_fd, fd_name(n.fd).s, events);
	if (wd < 0) {
		set_blind(fs, i, errno);
		return;
	}
	i->wd = wd;
	i->wd_retry_ms = 0;
	journal_inode(i);
	htab_add(&fs->by_wd, &i->by_wd, hash_u64(0, (uint64_t)wd));
}

void
watch_folder(struct fs *fs, struct inode *dir)
{
	if (dir->key.type == S_IFDIR)
		watch_add(fs, dir, FOLDER_EVENTS);
}

void
watch_file(struct fs *fs, struct inode *i)
{
	if (i->key.type == S_IFREG)
		watch_add(fs, i, FILE_EVENTS);
}

/* One host file may be several inodes here (seen through several mounts): they share its watch. */
static struct inode *
first_of(const struct fs *fs, int wd)
{
	struct hnode *h = htab_first(&fs->by_wd, hash_u64(0, (uint64_t)wd));

	return h != NULL ? container_of(h, struct inode, by_wd) : NULL;
}

static void
forget_wd(struct fs *fs, struct inode *i)
{
	htab_remove(&fs->by_wd, &i->by_wd);
	i->wd = -1;
	journal_inode(i);
}

void
watch_drop(struct fs *fs, struct inode *i)
{
	int wd = i->wd;

	if (wd < 0)
		return;
	forget_wd(fs, i);
	if (first_of(fs, wd) == NULL)
		inotify_rm_watch(fs->inotify_fd, wd);
}

/* What one batch has looked at already. */
struct batch {
	const struct inotify_event *seen[SEEN_MAX];
	int dirs[DIRS_MAX]; /* watches in which names changed */
	size_t ndirs;
};

static bool
already_seen(struct batch *b, const struct inotify_event *ev)
{
	uint64_t h = hash_bytes((uint64_t)ev->wd, ev->name, ev->len);
	const struct inotify_event **slot = &b->seen[h % SEEN_MAX], *old = *slot;

	if (old != NULL && old->wd == ev->wd && old->len == ev->len &&
		!(old->mask & NAME_EVENTS) == !(ev->mask & NAME_EVENTS) &&
		(old->mask & DATA_EVENTS || !(ev->mask & DATA_EVENTS)) &&
		memcmp(old->name, ev->name, ev->len) == 0)
		return true;
	*slot = ev;
	return false;
}

/* The inodes with a watch, pinned one at a time: what is done to one may free another. */
static void
check_watched(struct fs *fs, int wd, const char *name, unsigned how)
{
	struct hnode *h = htab_first(&fs->by_wd, hash_u64(0, (uint64_t)wd));

	while (h != NULL) {
		struct inode *i = container_of(h, struct inode, by_wd), *next = NULL;

		h = htab_next(h);
		if (h != NULL)
			next = container_of(h, struct inode, by_wd);
		i->pins++;
		if (next != NULL)
			next->pins++;
		if (name != NULL)
			coherence_check_entry(fs, i, name, how);
		else
			coherence_check_inode(fs, i, how);
		if (next != NULL)
			next->pins--;
		i->pins--;
		inode_drop_if_unused(fs, i);
	}
}

/* A folder's own size and times change with its names: looked at once per batch. */
static void
check_dirs(struct fs *fs, struct batch *b)
{
	for (size_t k = 0; k < b->ndirs; k++)
		check_watched(fs, b->dirs[k], NULL, 0);
	b->ndirs = 0;
}

static void
add_dir(struct fs *fs, struct batch *b, int wd)
{
	for (size_t k = 0; k < b->ndirs; k++)
		if (b->dirs[k] == wd)
			return;
	if (b->ndirs == DIRS_MAX)
		check_dirs(fs, b);
	b->dirs[b->ndirs++] = wd;
}

static void
watch_gone(struct fs *fs, int wd)
{
	struct inode *i;

	while ((i = first_of(fs, wd)) != NULL) {
		forget_wd(fs, i);
		coherence_unwatched(fs, i);
	}
}

static void
one_event(struct fs *fs, struct batch *b, const struct inotify_event *ev)
{
	unsigned how = (ev->mask & NAME_EVENTS ? CHECK_NAMES : 0) |
		       (ev->mask & IN_DELETE ? CHECK_DELETED : 0) |
		       (ev->mask & DATA_EVENTS ? CHECK_DATA : 0);

	log_debug("event: watch %d %x '%s'", ev->wd, ev->mask, ev->len > 0 ? ev->name : "");
	if (ev->mask & IN_Q_OVERFLOW) {
		if (!fs->overflow_said)
			log_warn("so much changed that events were lost: comparing everything; "
				 "see fs.inotify.max_queued_events");
		fs->overflow_said = true;
		coherence_resync_start(fs);
		return;
	}
	if (ev->mask & IN_IGNORED) {
		watch_gone(fs, ev->wd);
		return;
	}
	if (ev->len > 0 && (ev->mask & NAME_EVENTS))
		add_dir(fs, b, ev->wd);
	if (!already_seen(b, ev))
		check_watched(fs, ev->wd, ev->len > 0 ? ev->name : NULL, how);
}

/* The events that were there at the call; a host that never stops must not keep requests waiting.
 */
void
watch_read(struct fs *fs)
{
	char data[32768] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct batch b = {.ndirs = 0};
	ssize_t n = read(fs->inotify_fd, data, sizeof(data)), size;

	fs->watch_at_ms = 0;
	for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n; at += size) {
		const struct inotify_event *ev = (const void *)(data + at);

		size = (ssize_t)(sizeof(*ev) + ev->len);
		one_event(fs, &b, ev);
	}
	check_dirs(fs, &b);
}
