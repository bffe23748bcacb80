/* Locks: between the guest's own owners, against programs on the host, and of a hostile guest. */
#include <sys/file.h>

#include "fake_kernel.h"

#define ROOT FUSE_ROOT_ID
/* More than what is behind the events of everything before it. */
#define QUIET_MS 120

struct range {
	uint64_t start, end;
};
static const struct range whole = {0, INT64_MAX};

static struct fuse_lk_in
lock_in(uint64_t fh, uint64_t owner, uint32_t type, struct range r, uint32_t flags)
{
	return fk_lock_in(fh, owner, type, r.start, r.end, flags);
}

static int
record(struct fk *k, struct fk_made f, uint64_t owner, uint32_t type, struct range r)
{
	struct fuse_lk_in in = lock_in(f.fh, owner, type, r, 0);

	return fk_call(k, FUSE_SETLK, f.id, &in, sizeof(in), NULL, 0);
}

static int
whole_file(struct fk *k, struct fk_made f, uint32_t type)
{
	struct fuse_lk_in in = lock_in(f.fh, 77, type, whole, FUSE_LK_FLOCK);

	return fk_call(k, FUSE_SETLK, f.id, &in, sizeof(in), NULL, 0);
}

/* Sends a SETLKW and returns its unique. */
static uint64_t
wait_lock(struct fk *k, struct fk_made f, uint64_t owner, uint32_t flags)
{
	struct fuse_lk_in in = lock_in(f.fh, owner, F_WRLCK, whole, flags);

	fk_send(k, FUSE_SETLKW, f.id, &in, sizeof(in), NULL, 0);
	return k->unique;
}

/* The error of the answer to an earlier request; anything else that comes is a mistake. */
static int
late_answer(struct fk *k, uint64_t unique)
{
	uint64_t last = k->unique;
	int e;

	k->unique = unique;
	e = fk_answer(k);
	k->unique = last;
	return e;
}

static int
flush(struct fk *k, struct fk_made f, uint64_t owner)
{
	return fk_call(k, FUSE_FLUSH, f.id, FK_IN(fuse_flush_in, .fh = f.fh, .lock_owner = owner),
		NULL, 0);
}

static struct fk_made
made(struct fk *k, const char *name)
{
	struct fk_made f;

	assert_int_equal(fk_create(k, ROOT, name, O_RDWR, 0644, &f), 0);
	return f;
}

static int
host_open(const struct fk *k, const char *name)
{
	int fd = openat(k->rootfd, name, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* A host program's fcntl(F_SETLK), as another process: 0 or the errno. */
static int
host_record(int fd, short type, struct range r)
{
	struct flock fl = {.l_type = type,
		.l_start = (off_t)r.start,
		.l_len = r.end == INT64_MAX ? 0 : (off_t)(r.end - r.start + 1)};

	return fcntl(fd, F_SETLK, &fl) < 0 ? errno : 0;
}

static void
test_owners_exclude_each_other(void **state)
{
	struct fk *k = *state;
	struct fk_made f = made(k, "f");
	const struct range low = {0, 9}, high = {10, 19}, both = {5, 14};

	assert_int_equal(record(k, f, 1, F_WRLCK, low), 0);
	assert_int_equal(record(k, f, 2, F_WRLCK, high), 0);
	assert_int_equal(record(k, f, 2, F_WRLCK, both), -EAGAIN);
	assert_int_equal(record(k, f, 2, F_RDLCK, low), -EAGAIN);
	/* Through another handle the owner is the same. */
	f.fh = (uint64_t)fk_open(k, f.id, O_RDONLY);
	assert_int_equal(record(k, f, 1, F_UNLCK, low), 0);
	assert_int_equal(record(k, f, 2, F_RDLCK, both), 0);
	assert_int_equal(record(k, f, 1, F_RDLCK, (struct range){0, 9}), 0);
	assert_int_equal(record(k, f, 1, F_WRLCK, (struct range){0, 9}), -EAGAIN);
	assert_int_equal(record(k, f, 1, F_RDLCK, (struct range){15, 15}), -EAGAIN);
}

static void
test_getlk(void **state)
{
	struct fk *k = *state;
	struct fk_made f = made(k, "f");
	struct fuse_lk_in in = lock_in(f.fh, 2, F_WRLCK, whole, 0);
	CLEAN_CLOSE int fd = host_open(k, "f");
	struct fuse_file_lock lk;

	assert_int_equal(fk_call(k, FUSE_GETLK, f.id, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(FK_OUT(k, fuse_lk_out).lk.type, F_UNLCK);
	assert_int_equal(record(k, f, 1, F_RDLCK, (struct range){5, 7}), 0);
	assert_int_equal(fk_call(k, FUSE_GETLK, f.id, &in, sizeof(in), NULL, 0), 0);
	lk = FK_OUT(k, fuse_lk_out).lk;
	assert_int_equal(lk.type, F_RDLCK);
	assert_int_equal(lk.start, 5);
	assert_int_equal(lk.end, 7);
	assert_int_equal(lk.pid, 1001);
	assert_int_equal(record(k, f, 1, F_UNLCK, whole), 0);
	/* The pid of somebody on the host is nothing that the guest could use. */
	assert_int_equal(host_record(fd, F_WRLCK, whole), 0);
	assert_int_equal(fk_call(k, FUSE_GETLK, f.id, &in, sizeof(in), NULL, 0), 0);
	lk = FK_OUT(k, fuse_lk_out).lk;
	assert_int_equal(lk.type, F_WRLCK);
	assert_int_equal(lk.end, INT64_MAX);
	assert_int_equal(lk.pid, 0);
}

static void
test_the_host_is_excluded(void **state)
{
	struct fk *k = *state;
	struct fk_made f = made(k, "f"), g = made(k, "g");
	CLEAN_CLOSE int fd = host_open(k, "f"), other = host_open(k, "g");

	assert_int_equal(host_record(fd, F_WRLCK, whole), 0);
	assert_int_equal(record(k, f, 1, F_RDLCK, (struct range){3, 3}), -EAGAIN);
	assert_int_equal(host_record(fd, F_UNLCK, whole), 0);
	assert_int_equal(record(k, f, 1, F_RDLCK, (struct range){3, 3}), 0);
	assert_int_equal(host_record(fd, F_WRLCK, whole), EAGAIN);
	assert_int_equal(host_record(fd, F_RDLCK, whole), 0);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(whole_file(k, g, F_RDLCK), -EAGAIN);
	assert_int_equal(flock(other, LOCK_UN), 0);
	assert_int_equal(whole_file(k, g, F_WRLCK), 0);
	assert_int_equal(flock(other, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(fk_release(k, g.id, g.fh), 0);
	assert_int_equal(flock(other, LOCK_SH | LOCK_NB), 0);
}

/* What a process's close lets go of, and what its handle's last close does. */
static void
test_closes(void **state)
{
	struct fk *k = *state;
	struct fk_made f = made(k, "f");
	CLEAN_CLOSE int fd = host_open(k, "f");

	assert_int_equal(record(k, f, 1, F_WRLCK, whole), 0);
	assert_int_equal(flush(k, f, 2), 0);
	assert_int_equal(host_record(fd, F_WRLCK, whole), EAGAIN);
	assert_int_equal(flush(k, f, 1), 0);
	assert_int_equal(host_record(fd, F_WRLCK, whole), 0);
	assert_int_equal(host_record(fd, F_UNLCK, whole), 0);
	assert_int_equal(record(k, f, 3, F_WRLCK, whole), 0);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	assert_int_equal(host_record(fd, F_WRLCK, whole), 0);
}

static bool
is_inval(const uint8_t *msg, size_t n, void *id)
{
	struct fuse_notify_inval_inode_out note;
	struct fuse_out_header h;

	memcpy(&h, msg, sizeof(h));
	if (h.error != FUSE_NOTIFY_INVAL_INODE || n != sizeof(h) + sizeof(note))
		return false;
	memcpy(&note, msg + sizeof(h), sizeof(note));
	return note.ino == *(uint64_t *)id && note.off == 0;
}

/* What was written under a lock is what the next one to get it reads. */
static void
test_a_lock_brings_what_was_written(void **state)
{
	struct fk *k = *state;
	struct fk_made f = made(k, "f");
	CLEAN_CLOSE int fd = host_open(k, "f");

	assert_int_equal(fk_write(k, f.id, f.fh, 0, "guest", 0), 5);
	assert_int_equal(host_record(fd, F_WRLCK, whole), 0);
	assert_int_equal(pwrite(fd, "hosts", 5, 0), 5);
	assert_int_equal(host_record(fd, F_UNLCK, whole), 0);
	buf_clear(&k->notes);
	assert_int_equal(record(k, f, 1, F_RDLCK, whole), 0);
	/* Before the reply, which is to say: it is here by now. */
	assert_int_equal(k->in.len, 0);
	assert_true(fk_wait_note(k, is_inval, &f.id, 0));
}

/* Also what was only under way when the guest last looked. */
static void
test_a_lock_brings_what_was_under_way(void **state)
{
	struct fk *k = *state;
	struct fk_made f;
	char *map;
	int fd;

	fk_host_file(k, "f", "one");
	f.id = fk_walk(k, "f");
	f.fh = (uint64_t)fk_open(k, f.id, O_RDWR);
	map = fk_host_under_way(k, "f", &fd);
	for (int n = 0; n < 2; n++) /* notes come behind the reply that they belong to */
		assert_int_equal(fk_getattr(k, f.id, NULL), 0);
	map[0] = 'b';
	buf_clear(&k->notes);
	assert_int_equal(record(k, f, 1, F_WRLCK, whole), 0);
	assert_true(fk_wait_note(k, is_inval, &f.id, 0));
	assert_int_equal(munmap(map, 1), 0);
	close(fd);
}

/* Those who share a lock are told when the first of them gets it. */
static void
test_who_shares_a_lock_is_not_told_again(void **state)
{
	struct fk *k = *state;
	struct fk_made f, g;

	fk_host_file(k, "f", "one");
	f.id = g.id = fk_walk(k, "f");
	f.fh = (uint64_t)fk_open(k, f.id, O_RDWR);
	g.fh = (uint64_t)fk_open(k, f.id, O_RDWR);
	for (int n = 0; n < 2; n++) {
		fk_host_file(k, "f", n == 0 ? "two" : "three");
		buf_clear(&k->notes);
		assert_int_equal(whole_file(k, f, F_RDLCK), 0);
		assert_int_equal(record(k, f, 1, F_RDLCK, (struct range){5, 9}), 0);
		assert_true(fk_wait_note(k, is_inval, &f.id, 0));
		buf_clear(&k->notes);
		assert_int_equal(whole_file(k, g, F_RDLCK), 0);
		assert_int_equal(record(k, g, 2, F_RDLCK, (struct range){6, 9}), 0);
		assert_false(fk_wait_note(k, is_inval, &f.id, 0));
		/* Another part of the file. */
		fk_host_file(k, "f", n == 0 ? "four" : "five");
		assert_int_equal(record(k, g, 2, F_RDLCK, (struct range){4, 6}), 0);
		assert_true(fk_wait_note(k, is_inval, &f.id, 0));
		for (uint64_t owner = 1; owner < 3; owner++)
			assert_int_equal(flush(k, f, owner), 0);
		assert_int_equal(whole_file(k, f, F_UNLCK), 0);
		assert_int_equal(whole_file(k, g, F_UNLCK), 0);
	}
}

/* Somebody closes the file on the host as one who has written does, and the guest is not told. */
static void
close_unheard(struct fk *k, struct fk_made f)
{
	buf_clear(&k->notes);
	close(host_open(k, "f"));
	assert_false(fk_wait_note(k, is_inval, &f.id, QUIET_MS));
}

/*
 * While the guest has a lock it is not told of what may not even be a change: the answer to what it
 * has just asked would be lost (check_stat). But it is when it has none any more.
 */
static void
test_a_doubt_waits_for_the_lock(void **state)
{
	struct fk *k = *state;
	struct fk_made f;

	fk_host_file(k, "f", "one");
	f.id = fk_walk(k, "f");
	f.fh = (uint64_t)fk_open(k, f.id, O_RDWR);
	assert_int_equal(whole_file(k, f, F_WRLCK), 0);
	close_unheard(k, f);
	assert_int_equal(record(k, f, 1, F_RDLCK, whole), 0);
	close_unheard(k, f);
	assert_int_equal(whole_file(k, f, F_UNLCK), 0);
	assert_false(fk_wait_note(k, is_inval, &f.id, 0));
	assert_int_equal(flush(k, f, 1), 0);
	assert_true(fk_wait_note(k, is_inval, &f.id, 0));
	assert_int_equal(whole_file(k, f, F_WRLCK), 0);
	close_unheard(k, f);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	assert_true(fk_wait_note(k, is_inval, &f.id, 0));
	/* What is a change cannot wait. */
	f.fh = (uint64_t)fk_open(k, f.id, O_RDWR);
	assert_int_equal(whole_file(k, f, F_WRLCK), 0);
	buf_clear(&k->notes);
	fk_host_file(k, "f", "longer");
	assert_true(fk_wait_note(k, is_inval, &f.id, FK_WAIT_MS));
}

/* Where the host replaces a file all the time, what was looked up can be opened all the same. */
static void
test_looked_up_and_replaced(void **state)
{
	struct fk *k = *state;
	int64_t id, fh;

	for (int i = 0; i < 2; i++) {
		fk_host_file(k, "f", "old");
		fk_host_file(k, "g", "new");
		id = fk_lookup(k, ROOT, "f");
		assert_true(id > 0);
		assert_int_equal(renameat(k->rootfd, "g", k->rootfd, "f"), 0);
		fh = fk_open(k, (uint64_t)id, O_RDONLY);
		if (i == 0)
			assert_int_equal(fh, -ESTALE);
	}
	assert_true(fh >= 0);
	assert_int_equal(fk_read(k, (uint64_t)id, (uint64_t)fh, 0, 10), 3);
	assert_memory_equal(k->body.data, "old", 3);
}

static void
test_waiting(void **state)
{
	struct fk *k = *state;
	struct fk_made f = made(k, "f"), other = f;
	CLEAN_CLOSE int fd = host_open(k, "f");
	uint64_t first, second;

	/* For another owner: told as soon as that one lets go, in the order of asking. */
	assert_int_equal(record(k, f, 1, F_WRLCK, whole), 0);
	first = wait_lock(k, f, 2, 0);
	second = wait_lock(k, f, 3, 0);
	assert_int_equal(fk_getattr(k, f.id, NULL), 0); /* nobody else has to wait */
	assert_int_equal(record(k, f, 1, F_UNLCK, whole), 0);
	assert_int_equal(late_answer(k, first), 0);
	assert_int_equal(flush(k, f, 2), 0);
	assert_int_equal(late_answer(k, second), 0);
	assert_int_equal(flush(k, f, 3), 0);
	/* For the host. */
	assert_int_equal(host_record(fd, F_WRLCK, whole), 0);
	first = wait_lock(k, f, 1, 0);
	assert_int_equal(fk_getattr(k, f.id, NULL), 0);
	assert_int_equal(host_record(fd, F_UNLCK, whole), 0);
	assert_int_equal(late_answer(k, first), 0);
	assert_int_equal(flush(k, f, 1), 0);
	/* flock, whose holder is released. */
	other.fh = (uint64_t)fk_open(k, f.id, O_RDWR);
	assert_int_equal(whole_file(k, f, F_WRLCK), 0);
	first = wait_lock(k, other, 9, FUSE_LK_FLOCK);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	assert_int_equal(late_answer(k, first), 0);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
}

static void
test_waiting_ends(void **state)
{
	struct fk *k = *state;
	struct fk_made f = made(k, "f");
	CLEAN_CLOSE int fd = host_open(k, "f");
	uint64_t first, second;

	assert_int_equal(host_record(fd, F_WRLCK, whole), 0);
	first = wait_lock(k, f, 1, 0);
	second = wait_lock(k, f, 2, 0);
	fk_send(k, FUSE_INTERRUPT, 0, FK_IN(fuse_interrupt_in, first + 1), NULL, 0);
	fk_send(k, FUSE_INTERRUPT, 0, FK_IN(fuse_interrupt_in, first), NULL, 0);
	assert_int_equal(late_answer(k, first), -EINTR);
	fk_send(k, FUSE_RELEASE, f.id, FK_IN(fuse_release_in, f.fh), NULL, 0);
	assert_int_equal(fk_answer(k), 0);
	assert_int_equal(late_answer(k, second), -EBADF);
	/* It was not taken behind anybody's back. */
	assert_int_equal(host_record(fd, F_UNLCK, whole), 0);
	assert_int_equal(fk_getattr(k, f.id, NULL), 0);
	assert_int_equal(host_record(fd, F_WRLCK, whole), 0);
}

/* Users of SQLite's WAL index share it in the guest, and nobody shares it with the host. */
static void
test_wal_index(void **state)
{
	const struct range dms = {128, 128}, low = {120, 120};
	struct fk *k = *state;
	struct fk_made f = made(k, "db-shm"), other = made(k, "other");
	struct fuse_lk_in ask = lock_in(f.fh, 3, F_WRLCK, dms, 0);
	CLEAN_CLOSE int fd = host_open(k, "db-shm"), fd2 = host_open(k, "other");

	assert_int_equal(record(k, f, 1, F_WRLCK, dms), 0);
	assert_int_equal(record(k, f, 2, F_RDLCK, dms), -EAGAIN);
	assert_int_equal(record(k, f, 1, F_RDLCK, dms), 0);
	assert_int_equal(record(k, f, 2, F_RDLCK, dms), 0);
	assert_int_equal(record(k, f, 2, F_WRLCK, dms), -EAGAIN);
	assert_int_equal(fk_call(k, FUSE_GETLK, f.id, &ask, sizeof(ask), NULL, 0), 0);
	assert_int_equal(FK_OUT(k, fuse_lk_out).lk.type, F_RDLCK);
	assert_int_equal(FK_OUT(k, fuse_lk_out).lk.pid, 1001);
	assert_int_equal(host_record(fd, F_RDLCK, dms), EAGAIN);
	assert_int_equal(host_record(fd, F_RDLCK, low), 0); /* that byte alone */
	assert_int_equal(record(k, f, 1, F_UNLCK, dms), 0);
	assert_int_equal(host_record(fd, F_RDLCK, dms), EAGAIN);
	assert_int_equal(flush(k, f, 2), 0);
	assert_int_equal(host_record(fd, F_RDLCK, dms), 0);
	/* And the reverse; at a file of another name they share it. */
	assert_int_equal(record(k, f, 1, F_RDLCK, dms), -EAGAIN);
	assert_int_equal(host_record(fd2, F_RDLCK, dms), 0);
	assert_int_equal(record(k, other, 1, F_RDLCK, dms), 0);
	assert_int_equal(host_record(fd, F_UNLCK, whole), 0);
	assert_int_equal(record(k, f, 1, F_RDLCK, dms), 0);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	assert_int_equal(host_record(fd, F_WRLCK, dms), 0);
}

/* FLUSH is asked for where there may be locks, and only there. */
static void
test_who_is_asked_to_flush(void **state)
{
	struct fk *k = *state;
	struct fk_made f = made(k, "f");

	assert_true(fk_open(k, f.id, O_RDONLY) >= 0);
	assert_true(FK_OUT(k, fuse_open_out).open_flags & FOPEN_NOFLUSH);
	assert_true(fk_open(k, f.id, O_RDWR) >= 0);
	assert_false(FK_OUT(k, fuse_open_out).open_flags & FOPEN_NOFLUSH);
	assert_int_equal(record(k, f, 1, F_WRLCK, whole), 0);
	assert_true(fk_open(k, f.id, O_RDONLY) >= 0);
	assert_false(FK_OUT(k, fuse_open_out).open_flags & FOPEN_NOFLUSH);
}

/* A lock stays where it is when a file loses one of its names, at which handles are opened anew. */
static void
test_locks_outlive_names(void **state)
{
	struct fk *k = *state;
	struct fk_made f = made(k, "f");
	CLEAN_CLOSE int fd = host_open(k, "f");

	assert_int_equal(whole_file(k, f, F_WRLCK), 0);
	assert_int_equal(record(k, f, 1, F_WRLCK, whole), 0);
	assert_int_equal(fk_call(k, FUSE_LINK, ROOT, FK_IN(fuse_link_in, f.id), "g", 2), 0);
	assert_int_equal(fk_name(k, FUSE_UNLINK, ROOT, "f"), 0);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(host_record(fd, F_RDLCK, whole), EAGAIN);
	assert_int_equal(fk_name(k, FUSE_UNLINK, ROOT, "g"), 0);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), 0);
	assert_int_equal(host_record(fd, F_RDLCK, whole), 0);
}

/* What cannot be locked: foreign handles, folders, nonsense. Many owners and many who wait are
 * refused one day, and the rest goes on. */
static void
test_hostile(void **state)
{
	struct fk *k = *state;
	struct fk_made f = made(k, "f"), g = made(k, "g"), wrong = {f.id, g.fh};
	struct fuse_lk_in in = lock_in(f.fh, 1, 7, whole, 0);
	int refused = 0, e;

	assert_int_equal(record(k, wrong, 1, F_WRLCK, whole), -EBADF);
	assert_int_equal(fk_call(k, FUSE_SETLK, f.id, &in, sizeof(in), NULL, 0), -EINVAL);
	assert_int_equal(fk_call(k, FUSE_SETLK, f.id, &in, sizeof(in) - 1, NULL, 0), -EINVAL);
	assert_int_equal(record(k, f, 1, F_WRLCK, (struct range){5, 4}), -EINVAL);
	assert_int_equal(record(k, f, 1, F_WRLCK, (struct range){0, UINT64_MAX}), -EINVAL);
	assert_int_equal(record(k, f, 1, F_WRLCK, (struct range){INT64_MAX, INT64_MAX}),
		0); /* its last byte */
	for (uint64_t owner = 10; owner < 6000; owner++) {
		e = record(k, f, owner, F_RDLCK, (struct range){owner, owner});
		assert_true(e == 0 || e == -ENOLCK);
		refused += e != 0;
	}
	assert_in_range(refused, 1, 5990);
	assert_int_equal(record(k, f, 11, F_UNLCK, whole), 0);
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
	assert_int_equal(record(k, g, 1, F_WRLCK, whole), 0);
	refused = 0;
	for (int n = 0; n < 1100; n++)
		wait_lock(k, g, 2, 0);
	/* Only those beyond the limit are answered now. */
	while (refused < 1100 - 1024) {
		assert_int_equal(
			late_answer(k, k->unique - 2 * (uint64_t)(1100 - 1024 - 1 - refused)),
			-ENOLCK);
		refused++;
	}
	assert_int_equal(fk_getattr(k, g.id, NULL), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fk_setup, fk_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_owners_exclude_each_other),
		T(test_getlk),
		T(test_the_host_is_excluded),
		T(test_closes),
		T(test_a_lock_brings_what_was_written),
		T(test_a_lock_brings_what_was_under_way),
		T(test_a_doubt_waits_for_the_lock),
		T(test_who_shares_a_lock_is_not_told_again),
		T(test_looked_up_and_replaced),
		T(test_waiting),
		T(test_waiting_ends),
		T(test_wal_index),
		T(test_who_is_asked_to_flush),
		T(test_locks_outlive_names),
		T(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
