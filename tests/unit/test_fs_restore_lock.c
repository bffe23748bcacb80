/* Locks when the server is killed and another one goes on with its journal. */
#include "fs_restart.h"

#include <sys/file.h>

static int
set_lock(struct world *w, struct fk_made f, uint64_t owner, uint32_t type, uint64_t start,
	uint64_t end, uint32_t flags)
{
	struct fuse_lk_in in = fk_lock_in(f.fh, owner, type, start, end, flags);

	return fk_call(&w->k, FUSE_SETLK, f.id, &in, sizeof(in), NULL, 0);
}

static int
host_open(struct world *w, const char *name)
{
	int fd = openat(w->k.rootfd, name, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* What a program on the host would find in the way of a lock of one byte. */
static short
in_the_way(int fd, off_t at, short type)
{
	struct flock fl = {.l_type = type, .l_start = at, .l_len = 1};

	assert_int_equal(fcntl(fd, F_GETLK, &fl), 0);
	return fl.l_type;
}

/* A lock that is cut, grown together and changed in kind, as it is here, is there afterwards. */
static void
test_locks_stay(void **state)
{
	struct world *w = *state;
	struct fk_made f, g;

	assert_int_equal(fk_create(&w->k, ROOT, "f", O_RDWR, 0644, &f), 0);
	assert_int_equal(fk_create(&w->k, ROOT, "g", O_RDWR, 0644, &g), 0);
	CLEAN_CLOSE int fd = host_open(w, "f"), other = host_open(w, "g");

	assert_int_equal(set_lock(w, f, 1, F_WRLCK, 0, 99, 0), 0);
	assert_int_equal(set_lock(w, f, 1, F_UNLCK, 20, 29, 0), 0);
	assert_int_equal(set_lock(w, f, 1, F_RDLCK, 40, 49, 0), 0);
	assert_int_equal(set_lock(w, f, 1, F_WRLCK, 100, 109, 0), 0);
	assert_int_equal(set_lock(w, f, 2, F_RDLCK, 45, 45, 0), 0);
	assert_int_equal(set_lock(w, f, 2, F_WRLCK, 1000, INT64_MAX, 0), 0);
	assert_int_equal(set_lock(w, g, 9, F_WRLCK, 0, INT64_MAX, FUSE_LK_FLOCK), 0);
	for (int round = 0; round < 3; round++) {
		restart(w);
		for (off_t at = 0; at < 111; at++) {
			bool none = (at >= 20 && at <= 29) || at == 110;
			bool shared = at >= 40 && at <= 49;

			assert_int_equal(in_the_way(fd, at, F_WRLCK), none     ? F_UNLCK
								      : shared ? F_RDLCK
									       : F_WRLCK);
		}
		assert_int_equal(in_the_way(fd, 999, F_WRLCK), F_UNLCK);
		assert_int_equal(in_the_way(fd, 1 << 20, F_RDLCK), F_WRLCK);
		assert_int_equal(flock(other, LOCK_SH | LOCK_NB), -1);
		/* And they are as they were to those who have them. */
		assert_int_equal(set_lock(w, f, 2, F_WRLCK, 45, 45, 0), -EAGAIN);
		assert_int_equal(set_lock(w, f, 1, F_WRLCK, 50, 60, 0), 0);
		assert_int_equal(fk_write(&w->k, f.id, f.fh, 0, "x", 0), 1);
	}
	/* Nothing of one that was given back comes again. */
	assert_int_equal(set_lock(w, f, 1, F_UNLCK, 0, INT64_MAX, 0), 0);
	assert_int_equal(set_lock(w, g, 9, F_UNLCK, 0, INT64_MAX, FUSE_LK_FLOCK), 0);
	assert_int_equal(fk_call(&w->k, FUSE_FLUSH, f.id,
				 FK_IN(fuse_flush_in, .fh = f.fh, .lock_owner = 2), NULL, 0),
		0);
	restart(w);
	assert_int_equal(in_the_way(fd, 0, F_WRLCK), F_UNLCK);
	assert_int_equal(in_the_way(fd, 1 << 20, F_WRLCK), F_UNLCK);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
}

static void
test_wal_lock_stays(void **state)
{
	struct world *w = *state;
	struct fk_made f;

	assert_int_equal(fk_create(&w->k, ROOT, "db-shm", O_RDWR, 0644, &f), 0);
	CLEAN_CLOSE int fd = host_open(w, "db-shm");

	assert_int_equal(set_lock(w, f, 1, F_RDLCK, 128, 128, 0), 0);
	assert_int_equal(set_lock(w, f, 2, F_RDLCK, 128, 128, 0), 0);
	for (int round = 0; round < 2; round++) {
		restart(w);
		assert_int_equal(in_the_way(fd, 128, F_RDLCK), F_WRLCK);
		assert_int_equal(set_lock(w, f, 1, F_WRLCK, 128, 128, 0), -EAGAIN);
	}
	assert_int_equal(set_lock(w, f, 1, F_UNLCK, 128, 128, 0), 0);
	restart(w);
	assert_int_equal(in_the_way(fd, 128, F_RDLCK), F_WRLCK);
	assert_int_equal(set_lock(w, f, 2, F_UNLCK, 128, 128, 0), 0);
	restart(w);
	assert_int_equal(in_the_way(fd, 128, F_RDLCK), F_UNLCK);
}

/* Somebody on the host was quicker: whoever had the lock is told, and nobody else. */
static void
test_lock_that_is_lost(void **state)
{
	struct world *w = *state;
	struct fk_made f, g, free;
	struct seen s;
	int64_t again;

	assert_int_equal(fk_create(&w->k, ROOT, "f", O_RDWR, 0644, &f), 0);
	assert_int_equal(fk_create(&w->k, ROOT, "g", O_RDWR, 0644, &g), 0);
	free.id = f.id;
	free.fh = (uint64_t)fk_open(&w->k, f.id, O_RDWR);
	CLEAN_CLOSE int fd = host_open(w, "f"), other = host_open(w, "g");

	assert_int_equal(set_lock(w, f, 1, F_WRLCK, 5, 5, 0), 0);
	assert_int_equal(set_lock(w, g, 2, F_RDLCK, 0, INT64_MAX, FUSE_LK_FLOCK), 0);
	kill_server(w);
	assert_int_equal(lockf(fd, F_TLOCK, 0), 0);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
	spawn(w);
	take_over(w, &s);
	take_rest(w, &s);
	seen_release(&s);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(fk_write(&w->k, f.id, f.fh, 0, "x", 0), -EIO);
		assert_int_equal(set_lock(w, f, 1, F_UNLCK, 5, 5, 0), -EIO);
		assert_int_equal(set_lock(w, g, 2, F_UNLCK, 0, INT64_MAX, FUSE_LK_FLOCK), -EIO);
		assert_int_equal(
			fk_call(&w->k, FUSE_FLUSH, f.id,
				FK_IN(fuse_flush_in, .fh = f.fh, .lock_owner = 1), NULL, 0),
			-EIO);
		assert_int_equal(fk_write(&w->k, free.id, free.fh, 0, "x", 0), 1);
		/* It does not come back by itself. */
		assert_int_equal(lockf(fd, F_ULOCK, 0), 0);
		assert_int_equal(flock(other, LOCK_UN), 0);
		restart(w);
	}
	assert_int_equal(fk_release(&w->k, f.id, f.fh), 0);
	assert_int_equal(fk_release(&w->k, f.id, f.fh), -EBADF);
	again = fk_open(&w->k, f.id, O_RDWR);
	f.fh = (uint64_t)again;
	assert_int_equal(set_lock(w, f, 1, F_WRLCK, 5, 5, 0), 0);
}

/* Who waits is asked for again, and answered when it is its turn. */
static void
test_wait_goes_on(void **state)
{
	struct world *w = *state;
	struct fuse_lk_in in;
	struct fk_made f;
	uint64_t waiting;
	struct seen s;
	int e = 1;

	assert_int_equal(fk_create(&w->k, ROOT, "f", O_RDWR, 0644, &f), 0);
	assert_int_equal(set_lock(w, f, 1, F_WRLCK, 0, 9, 0), 0);
	in = fk_lock_in(f.fh, 2, F_WRLCK, 0, 9, 0);
	fk_send(&w->k, FUSE_SETLKW, f.id, &in, sizeof(in), NULL, 0);
	waiting = w->k.unique;
	assert_int_equal(fk_getattr(&w->k, f.id, NULL), 0);
	kill_server(w);
	spawn(w);
	take_over(w, &s);
	w->k.unique = waiting - 2;
	fk_send(&w->k, FUSE_SETLKW, f.id, &in, sizeof(in), NULL, 0);
	w->k.unique += 100;
	take_rest(w, &s);
	assert_false(has_unique(&s.after, waiting, &e));
	assert_int_equal(set_lock(w, f, 1, F_UNLCK, 0, 9, 0), 0);
	w->k.unique = waiting;
	assert_int_equal(fk_answer(&w->k), 0);
	seen_release(&s);
}

/* A handle that only the pump's request names yet. */
static void
test_lock_by_the_request_that_opened(void **state)
{
	struct world *w = *state;
	struct fk_made f;

	fk_host_file(&w->k, "f", "");
	f.id = (uint64_t)fk_lookup(&w->k, ROOT, "f");
	assert_true(fk_open(&w->k, f.id, O_RDWR) >= 0);
	f.fh = w->k.unique;
	restart(w);
	assert_int_equal(set_lock(w, f, 1, F_WRLCK, 0, 9, 0), 0);
	CLEAN_CLOSE int fd = host_open(w, "f");

	assert_int_equal(in_the_way(fd, 0, F_RDLCK), F_WRLCK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_locks_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wal_lock_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock_that_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wait_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_lock_by_the_request_that_opened, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
