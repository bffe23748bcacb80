/* Snapshots on disk: what one belongs to, how it appears, is found, bounded and dropped. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <snapshot/saved.h>
#include <snapshot/snapshot.h>

static char folder[64];              /* the data folder of this test */
static const char *boot = "earlier"; /* when those of make() are made */
static uint64_t rate;

static uint64_t
measure(void)
{
	return rate;
}

static int
setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/paddock-test-snapshot-XXXXXX");
	return mkdtemp(folder) == NULL;
}

static int
teardown(void **state)
{
	struct err e = {0};

	(void)state;
	return io_remove_tree(AT_FDCWD, folder, &e) < 0;
}

static void
put(const char *dir, const char *name, const char *text)
{
	CLEAN_FREE char *path = xasprintf("%s/%s", dir, name);
	struct err e = {0};

	if (io_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0600, &e) < 0)
		fail_msg("%s", e.msg);
}

static bool
there(const char *name)
{
	CLEAN_FREE char *path = xasprintf("%s/snapshots/%s", folder, name);

	return access(path, F_OK) == 0;
}

/* One of a few bytes, as a maker does it. */
static void
make(const char *key, const char *image, uint64_t tsc_khz)
{
	struct snapshot s = {.key = (char *)key,
		.image = (char *)image,
		.boot_id = (char *)boot,
		.qemu_major = 7,
		.qemu_minor = 2,
		.tsc_khz = tsc_khz,
		.created = 1};
	CLEAN_FREE char *work = NULL;
	struct err e = {0};
	CLEAN_CLOSE int lock = snapshot_lock(folder, 1000, &e);
	CLEAN_CLOSE int fd = snapshot_begin(folder, &work, &e);

	assert_true(lock >= 0 && fd >= 0);
	put(work, SNAPSHOT_RAM, "ram");
	put(work, SNAPSHOT_STATE, "state");
	put(work, SNAPSHOT_DISK, "disk");
	if (snapshot_publish(folder, work, &s, &e) < 0)
		fail_msg("%s", e.msg);
}

static int
open_one(const char *key, uint64_t tsc_khz)
{
	CLEANUP(snapshot_release) struct snapshot s = SNAPSHOT_INIT;

	rate = tsc_khz;
	return snapshot_open(folder, key, tsc_khz != 0 ? measure : NULL, &s, NULL);
}

static void
made_and_found(void **state)
{
	CLEANUP(snapshot_release) struct snapshot s = SNAPSHOT_INIT;
	char id[SNAPSHOT_ID_SIZE];
	struct stat st;
	struct err e = {0};

	(void)state;
	assert_int_equal(open_one("a", 0), -ENOENT);
	make("a", "shell-1", 2000000);
	assert_int_equal(open_one("b", 0), -ENOENT);
	rate = 2000500;
	if (snapshot_open(folder, "a", measure, &s, &e) < 0)
		fail_msg("%s", e.msg);
	snapshot_id("a", id);
	assert_string_equal(s.id, id);
	assert_string_equal(s.image, "shell-1");
	assert_int_equal(s.qemu_major, 7);
	assert_int_equal(s.qemu_minor, 2);
	assert_int_equal(stat(s.ram, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
	assert_int_equal(stat(s.state, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
	*strrchr(s.ram, '/') = '\0';
	assert_int_equal(stat(s.ram, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	*strrchr(s.ram, '/') = '\0';
	assert_int_equal(stat(s.ram, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

/* Thrown away: at once there is none, and the next one can be made. */
static void
what_does_not_fit_goes(void **state)
{
	CLEAN_FREE char *meta = NULL, *now = snapshot_boot_id(NULL);
	char id[SNAPSHOT_ID_SIZE];
	struct err e = {0};

	(void)state;
	assert_non_null(now);
	snapshot_id("a", id);
	make("a", "shell-1", 2000000);
	assert_int_equal(open_one("a", 2010000), -ENOENT);
	assert_false(there(id));
	/* Within one boot of the host it cannot have changed, and is not measured. */
	boot = now;
	make("a", "shell-1", 2000000);
	boot = "earlier";
	assert_int_equal(open_one("a", 2010000), 0);
	make("a", "shell-1", 2000000);
	meta = xasprintf("%s/snapshots/%s/snapshot.json", folder, id);
	if (io_write_file_atomic(AT_FDCWD, meta, "{\"version\":99}", 14, 0600, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(open_one("a", 0), -ENOENT);
	assert_false(there(id));
	/* Another key of the same name: made by nobody, but it is the key that counts. */
	make("a", "shell-1", 0);
	if (io_write_file_atomic(AT_FDCWD, meta,
		    "{\"version\":1,\"image\":\"i\",\"key\":\"z\",\"boot_id\":\"b\",\"qemu_major\":"
		    "7,"
		    "\"qemu_minor\":2,\"tsc_khz\":0,\"created\":1}",
		    93, 0600, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(open_one("a", 0), -ENOENT);
	make("a", "shell-1", 0);
	assert_int_equal(open_one("a", 0), 0);
}

static void
used_ones_stay(void **state)
{
	CLEANUP(snapshot_release) struct snapshot s = SNAPSHOT_INIT;
	char id[SNAPSHOT_ID_SIZE];
	struct err e = {0};
	uint64_t freed = 0;

	(void)state;
	snapshot_id("a", id);
	make("a", "shell-1", 0);
	assert_int_equal(snapshot_open(folder, "a", NULL, &s, &e), 0);
	assert_int_equal(snapshot_drop(folder, NULL, &freed, &e), 0);
	assert_int_equal(freed, 0);
	assert_true(there(id));
	snapshot_unlock(&s);
	assert_int_equal(snapshot_drop(folder, "other", &freed, &e), 0);
	assert_true(there(id));
	assert_int_equal(snapshot_drop(folder, "shell-1", &freed, &e), 0);
	assert_true(freed > 0);
	assert_false(there(id));
}

static void
least_recently_used_goes(void **state)
{
	char first[SNAPSHOT_ID_SIZE], second[SNAPSHOT_ID_SIZE], key[16];
	const struct timespec old[2] = {{1000, 0}, {1000, 0}};
	CLEANUP(snapshot_list_release) struct snapshot_list l = {0};
	struct err e = {0};

	(void)state;
	snapshot_id("key 0", first);
	snapshot_id("key 1", second);
	for (int i = 0; i < SNAPSHOTS_MAX; i++) {
		CLEAN_FREE char *meta = NULL;
		char id[SNAPSHOT_ID_SIZE];

		snprintf(key, sizeof(key), "key %d", i);
		make(key, "shell-1", 0);
		snapshot_id(key, id);
		meta = xasprintf("%s/snapshots/%s/snapshot.json", folder, id);
		assert_int_equal(utimensat(AT_FDCWD, meta, old, 0), 0);
	}
	/* The first is used once more, and so it is another that goes for the next. */
	assert_int_equal(open_one("key 0", 0), 0);
	assert_true(there(first));
	make("one more", "shell-1", 0);
	assert_true(there(first));
	assert_int_equal(snapshot_list(folder, &l, &e), 0);
	assert_int_equal(l.n, SNAPSHOTS_MAX);
}

/* What a killed maker left goes with the next; one at work keeps its folder. */
static void
left_overs(void **state)
{
	CLEAN_FREE char *dead = NULL, *live = NULL, *next = NULL;
	struct err e = {0};
	int fd = snapshot_begin(folder, &dead, &e);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	fd = snapshot_begin(folder, &live, &e);
	assert_true(fd >= 0);
	assert_int_equal(access(dead, F_OK), -1);
	CLEAN_CLOSE int other = snapshot_begin(folder, &next, &e);

	assert_true(other >= 0);
	assert_int_equal(access(live, F_OK), 0);
	close(fd);
}

static void
failures_are_kept(void **state)
{
	CLEAN_FREE char *why = NULL, *path = NULL;
	const time_t now = time(NULL);
	const struct timespec recent[2] = {{now - 9 * 60, 0}, {now - 9 * 60, 0}};
	const struct timespec old[2] = {{now - 11 * 60, 0}, {now - 11 * 60, 0}};
	char id[SNAPSHOT_ID_SIZE];
	struct err e = {0};
	uint64_t freed;

	(void)state;
	snapshot_id("a", id);
	make("a", "shell-1", 0);
	assert_false(snapshot_is_failed(folder, id, &why));
	snapshot_failed(folder, id, "it did not answer");
	assert_false(there(id));
	assert_true(snapshot_is_failed(folder, id, &why));
	assert_string_equal(why, "it did not answer");
	path = xasprintf("%s/snapshots/.failed-%s", folder, id);
	assert_int_equal(utimensat(AT_FDCWD, path, recent, 0), 0);
	free(TAKE_PTR(why));
	assert_true(snapshot_is_failed(folder, id, &why));
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	free(TAKE_PTR(why));
	assert_false(snapshot_is_failed(folder, id, &why));
	snapshot_failed(folder, id, "again");
	assert_int_equal(snapshot_drop(folder, NULL, &freed, &e), 0);
	assert_int_equal(access(path, F_OK), -1);
}

/* Each thing that it is made of makes another key of it. */
static void
keys(void **state)
{
	CLEAN_FREE char *disk = xasprintf("%s/t/disk", folder);
	CLEAN_FREE char *kernel = xasprintf("%s/t/kernel", folder);
	CLEAN_FREE char *initramfs = xasprintf("%s/t/initramfs", folder);
	CLEAN_FREE char *qemu = xasprintf("%s/t/qemu", folder);
	CLEAN_FREE char *dir = xasprintf("%s/t", folder);
	struct image image = {
		.id = (char *)"shell-1", .disk = disk, .kernel = kernel, .initramfs = initramfs};
	struct snapshot_shape shape = {.image = &image,
		.qemu = qemu,
		.machine = {.accel = VMM_ACCEL_TCG,
			.cpus = 2,
			.memory_bytes = 1ull << 30,
			.tsc_khz = 2000000,
			.mac = "52:54:00:12:34:56"},
		.disk_bytes = 1ull << 34};
	CLEAN_BUF struct buf first = BUF_INIT;
	struct err e = {0};

	(void)state;
	assert_int_equal(io_mkdirs(dir, 0700, &e), 0);
	put(dir, "disk", "1");
	put(dir, "kernel", "1");
	put(dir, "initramfs", "1");
	put(dir, "qemu", "1");
	assert_int_equal(snapshot_key(&shape, &first, &e), 0);

#define SAME(yes, ...)                                                                             \
	do {                                                                                       \
		CLEAN_BUF struct buf key = BUF_INIT;                                               \
		struct snapshot_shape before = shape;                                              \
		__VA_ARGS__;                                                                       \
		assert_int_equal(snapshot_key(&shape, &key, &e), 0);                               \
		assert_int_equal(strcmp(buf_str(&key), buf_str(&first)) == 0, yes);                \
		shape = before;                                                                    \
	} while (0)
	SAME(true, (void)0);
	/* Measured anew each time: compared with a tolerance instead. */
	SAME(true, shape.machine.tsc_khz = 2000001);
	SAME(true, shape.machine.tap_fd = 9);
	SAME(true, shape.machine.memory = VMM_MEMORY_CLONE);
	SAME(false, shape.machine.cpus = 1);
	SAME(false, shape.machine.memory_bytes = 2ull << 30);
	SAME(false, shape.machine.accel = VMM_ACCEL_KVM);
	SAME(false, shape.machine.debug = true);
	SAME(false, shape.disk_bytes++);
	SAME(false, image.id = (char *)"shell-2");
	image.id = (char *)"shell-1";
	SAME(false, put(dir, "kernel", "22"));
	shape.qemu = "/nowhere/qemu";
	buf_clear(&first);
	assert_int_equal(snapshot_key(&shape, &first, &e), -ENOENT);
}

static void
descriptions(void **state)
{
	static const char *const bad[] = {"", "[]", "{}", "{\"version\":\"1\"}", "{\"version\":1}",
		"{\"version\":0,\"image\":\"i\",\"key\":\"k\",\"boot_id\":\"b\",\"qemu_major\":7,"
		"\"qemu_minor\":2,"
		"\"tsc_khz\":0,\"created\":1}",
		"{\"version\":1,\"image\":\"i\",\"key\":\"k\",\"boot_id\":\"b\",\"qemu_major\":-7,"
		"\"qemu_minor\":2,"
		"\"tsc_khz\":0,\"created\":1}"};
	struct snapshot s = {.key = (char *)"a\nb",
		.image = (char *)"shell-1",
		.boot_id = (char *)"b",
		.qemu_major = 10,
		.tsc_khz = 2600000,
		.created = 42};
	CLEANUP(snapshot_release) struct snapshot back = SNAPSHOT_INIT;
	CLEAN_FREE char *text = snapshot_encode(&s);
	struct err e = {0};

	(void)state;
	assert_int_equal(snapshot_decode(text, &back, &e), 0);
	assert_string_equal(back.key, "a\nb");
	assert_int_equal(back.qemu_major, 10);
	assert_int_equal(back.tsc_khz, 2600000);
	assert_int_equal(back.created, 42);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_true(snapshot_decode(bad[i], &s, &e) < 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* A machine of somebody's own, with the disk that belongs to it. */
static void
put_saved_in(const char *of, const char *disk, const char *key)
{
	struct saved s = {.key = (char *)key,
		.boot_id = (char *)of,
		.qemu_major = 7,
		.qemu_minor = 2,
		.tsc_khz = 2000000,
		.journal = 2,
		.wake = {1, 0xab},
		.created = 5};
	struct err e = {0};

	put(folder, "disk", "content");
	if (saved_disk_of(disk, &s.disk, &e) < 0 || saved_write(folder, &s, &e) < 0)
		fail_msg("%s", e.msg);
}

static void
put_saved(const char *disk, const char *key)
{
	CLEAN_FREE char *now = snapshot_boot_id(NULL);

	put_saved_in(now, disk, key);
}

static int
check_saved(const char *disk, const char *key, unsigned journal)
{
	CLEANUP(saved_release) struct saved s = {0};
	struct err e = {0};
	int r = saved_read(folder, &s, &e);

	assert_true(r < 0 || (s.wake[1] == 0xab && s.qemu_minor == 2 && s.created == 5));
	return r < 0 ? r : saved_check(&s, key, disk, measure, journal, &e);
}

static void
saved_machine(void **state)
{
	CLEAN_FREE char *disk = xasprintf("%s/disk", folder);
	struct timespec changed[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
	struct err e = {0};

	(void)state;
	assert_int_equal(check_saved(disk, "key", 2), -ENOENT);
	put_saved(disk, "key");
	assert_int_equal(check_saved(disk, "key", 2), 0);
	/* The host is another: it is kept for when it is the same again. */
	assert_int_equal(check_saved(disk, "other", 2), -ESTALE);
	assert_int_equal(check_saved(disk, "key", 3), -ESTALE);
	/* A machine was begun from it, but has not written. */
	assert_int_equal(saved_mark_used(folder, &e), 0);
	assert_int_equal(check_saved(disk, "key", 2), 0);
	/* It has: */
	assert_int_equal(utimensat(AT_FDCWD, disk, changed, 0), 0);
	assert_int_equal(check_saved(disk, "key", 2), -EUCLEAN);
	assert_int_equal(check_saved(disk, "other", 2), -EUCLEAN);
}

/* What is asked for besides, and what another machine is told that goes on from it. */
static void
saved_with_copies(void **state)
{
	CLEAN_FREE char *disk = xasprintf("%s/disk", folder), *to = xasprintf("%s/to", folder);
	CLEAN_FREE char *own = xasprintf("%s/disk.qcow2", folder);
	static const char *const files[] = {"ram", "state", "fs", "fs-unread", "disk.qcow2"};
	CLEAN_STRV struct strv pairs = {0}, got = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(saved_copies_read(folder, &got, &e), 0);
	assert_int_equal(got.n, 0);
	strv_add(&pairs, "/home/u/a b");
	strv_add(&pairs, "/home/u/a b-ü\n");
	assert_int_equal(saved_copies_write(folder, &pairs, &e), 0);
	assert_int_equal(saved_copies_read(folder, &got, &e), 0);
	assert_int_equal(got.n, 2);
	assert_string_equal(got.v[1], pairs.v[1]);
	put(folder, "copies", "/home/u/a");
	assert_int_equal(saved_copies_read(folder, &got, &e), -EBADMSG);
	put_saved(disk, "key");
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		put(folder, files[i], "x");
	for (int copied = 0; copied < 2; copied++) {
		CLEANUP(saved_release) struct saved s = {0};

		assert_int_equal(mkdir(to, 0700), 0);
		assert_int_equal(saved_place(folder, to, own, copied, &e), 0);
		assert_int_equal(saved_read(to, &s, &e), 0);
		assert_int_equal(s.copied, copied);
		assert_int_equal(io_remove_tree(AT_FDCWD, to, &e), 0);
	}
}

/* After a power cut the disk's times tell nothing. */
static void
saved_and_used_before_the_host_started(void **state)
{
	CLEAN_FREE char *disk = xasprintf("%s/disk", folder);

	(void)state;
	put_saved(disk, "key");
	assert_int_equal(check_saved(disk, "key", 2), 0);
	put(folder, "used", "another boot");
	assert_int_equal(check_saved(disk, "key", 2), -EUCLEAN);
}

/* What nobody waited for is gone with a power cut, all or half of it; once settled it is not. */
static void
saved_before_the_host_started(void **state)
{
	CLEAN_FREE char *disk = xasprintf("%s/disk", folder);
	struct err e = {0};

	(void)state;
	rate = 2000000;
	put_saved_in("another boot", disk, "key");
	assert_int_equal(check_saved(disk, "key", 2), -EUCLEAN);
	if (saved_settle(folder, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(check_saved(disk, "key", 2), 0);
}

static void
saved_damaged(void **state)
{
	CLEAN_FREE char *disk = xasprintf("%s/disk", folder);

	(void)state;
	put(folder, "saved.json", "{\"version\": 1}");
	assert_int_equal(check_saved(disk, "key", 2), -EPROTO);
	put(folder, "saved.json", "{\"version\": 2, \"key\": \"key\"}");
	assert_int_equal(check_saved(disk, "key", 2), -EBADMSG);
	put(folder, "saved.json", "nothing");
	assert_int_equal(check_saved(disk, "key", 2), -EBADMSG);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(made_and_found),
		TEST(what_does_not_fit_goes),
		TEST(used_ones_stay),
		TEST(least_recently_used_goes),
		TEST(left_overs),
		TEST(failures_are_kept),
		TEST(keys),
		cmocka_unit_test(descriptions),
		TEST(saved_machine),
		TEST(saved_with_copies),
		TEST(saved_and_used_before_the_host_started),
		TEST(saved_before_the_host_started),
		TEST(saved_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
