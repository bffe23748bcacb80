/*
 * Random operations on a mounted workspace and, the same ones, on a plain folder: each result, each
 * errno, each byte read must agree, and at the end of a round the two trees.
 *
 *   fs_model MOUNT PLAIN SEED OPERATIONS [HOST [SECONDS]]
 *   fs_model --host HOST COMMAND...
 *
 * With HOST, the folder behind MOUNT, some changes are made there, as a person's editor would;
 * MOUNT must show them within a time (FS_MODEL_SHOW_MS; the longest wait is printed). Where MOUNT
 * is in a guest and HOST is not, HOST is "-", and the second form on the host is what started it.
 * With SECONDS there are as many rounds, each with the next seed, as fit, the last one cut short,
 * and each minute a line tells how far it is. An operation that has not ended after STUCK_MS is a
 * failure and is named. FS_MODEL_TRACE=1 tells each operation, with FS_MODEL_PAUSE_MS
 * there are pauses of up to that between them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/io.h>

#include "model.h"

/* What is not watched (a symlink with several names) is looked at again after a second. */
#define SHOW_MS 1500

#define TELL_S   60
#define STUCK_MS 300000

struct model t;

/* For who watches from another thread. */
static atomic_ulong begun; /* operations, and ends of rounds */

uint64_t
rnd(uint64_t n)
{
	t.rng ^= t.rng << 13;
	t.rng ^= t.rng >> 7;
	t.rng ^= t.rng << 17;
	return t.rng % n;
}

void
die(const char *fmt, ...)
{
	va_list ap;

	/* How it came to that. */
	for (unsigned long k = t.said > LAST ? t.said - LAST : 0; k + 1 < t.said; k++)
		fprintf(stderr, "%s\n", t.last[k % LAST]);
	fprintf(stderr, "seed %lu step %lu: %s: ", t.seed, t.step, t.what);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

void
say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t.what, sizeof(t.what), fmt, ap);
	va_end(ap);
	snprintf(t.last[t.said++ % LAST], sizeof(t.last[0]), "%lu handle %d: %s", t.step, t.slot,
		t.what);
	if (getenv("FS_MODEL_TRACE") != NULL)
		fprintf(stderr, "%lu %s\n", t.step, t.what);
}

void
path(char out[NAME_MAX_LEN])
{
	size_t depth = rnd(3), n = 0;

	for (size_t k = 0; k < depth; k++)
		n += (size_t)sprintf(out + n, "d%d/", (int)rnd(3));
	sprintf(out + n, "%c%d", rnd(4) == 0 ? 'd' : 'f', (int)rnd(NAMES));
}

void
agree(struct outcome a, struct outcome b)
{
	if (a.r < 0 && b.r < 0 && a.err == b.err)
		return;
	if (a.r != b.r || (a.r < 0 && a.err != b.err))
		die("mount %ld (%s), plain %ld (%s)", a.r, a.r < 0 ? strerror(a.err) : "", b.r,
			b.r < 0 ? strerror(b.err) : "");
}

static const struct {
	op_fn *run;
	unsigned weight;
} ops[] = {
	{op_open_file, 20},
	{op_write, 16},
	{op_read, 16},
	{op_fstat, 6},
	{op_mmap, 6},
	{op_size, 6},
	{op_allocate, 5},
	{op_seek, 4},
	{op_copy, 4},
	{op_rename, 10},
	{op_link, 4},
	{op_symlink, 3},
	{op_remove, 8},
	{op_make, 8},
	{op_mode, 5},
	{op_times, 4},
	{op_list, 5},
	{op_xattr, 5},
	{op_close, 6},
	{op_sync, 2},
	{op_tmpfile, 1},
	{op_host, 6},
};

static void
step(void)
{
	unsigned total = 0, at;

	for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++)
		total += ops[k].weight;
	at = (unsigned)rnd(total);
	for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
		if (at < ops[k].weight) {
			begun++;
			t.slot = -1;
			ops[k].run();
			return;
		}
		at -= ops[k].weight;
	}
}

static void
close_all(void)
{
	for (int k = 0; k < HANDLES; k++)
		for (int side = 0; side < SIDES; side++) {
			if (t.open[k].fd[side] >= 0)
				close(t.open[k].fd[side]);
			t.open[k].fd[side] = -1;
		}
}

/* Both sides in a folder of the round's own. */
static void
round_begin(const int base[SIDES], unsigned long seed, char name[32])
{
	t.seed = seed;
	t.rng = seed * 0x9e3779b97f4a7c15ULL + 1;
	sprintf(name, "seed%lu", seed);
	for (int side = 0; side < SIDES; side++) {
		if (mkdirat(base[side], name, 0755) < 0)
			die("mkdir %s: %s", name, strerror(errno));
		t.root[side] = openat(base[side], name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (t.root[side] < 0)
			die("open %s: %s", name, strerror(errno));
	}
	host_enter(name);
}

/* As slow as a guest under emulation: what the host does meets other states of ours. */
static void
pause_between(void)
{
	static unsigned seed;

	if (t.pause_us > 0)
		usleep((useconds_t)((uint64_t)rand_r(&seed) % t.pause_us));
}

/* Until a deadline, where there is one. */
static void
play(unsigned long steps, uint64_t end)
{
	for (t.step = 0; t.step < steps && (end == 0 || deadline_left_ms(end) > 0); t.step++) {
		pause_between();
		step();
		t.operations++;
	}
	begun++;
	say("the end of a round");
	host_await("f0", "d0/f1");
	same_tree(".");
	close_all();
}

static void
make_removable(int fd, const char *name)
{
	char *l, *n, *save = NULL;

	if (fchmodat(fd, name, 0700, 0) < 0)
		return;
	l = list(fd, name);
	for (n = l != NULL ? strtok_r(l, "\n", &save) : NULL; n != NULL;
		n = strtok_r(NULL, "\n", &save)) {
		char sub[512];

		if (n[strlen(n) - 1] != DT_DIR + 'a' || n[0] == '.')
			continue;
		n[strlen(n) - 2] = '\0';
		snprintf(sub, sizeof(sub), "%s/%s", name, n);
		make_removable(fd, sub);
	}
	free(l);
}

static void
round_end(const int base[SIDES], const char *name)
{
	for (int side = 0; side < SIDES; side++) {
		struct err e = {0};

		close(t.root[side]);
		make_removable(base[side], name);
		if (io_remove_tree(base[side], name, &e) < 0)
			die("remove on side %d: %s", side, e.msg);
	}
}

static unsigned long
number(int argc, char **argv, int k)
{
	return k < argc ? strtoul(argv[k], NULL, 10) : 0;
}

static void
tell(void)
{
	printf("seeds to %lu: %lu operations agree, %lu host changes seen, the slowest after %lu "
	       "ms\n",
		t.seed, t.operations, t.host_changes, (unsigned long)t.longest_ms);
	fflush(stdout);
}

/*
 * A call that the kernel does not come back from, or an answer from the other end that does not
 * come: the thread that waits for it cannot tell, another one can.
 */
static void *
watch_progress(void *arg)
{
	uint64_t since = clock_mono_ms();
	unsigned long seen = 0;
	bool told_each_minute = *(bool *)arg;

	for (;;) {
		unsigned long now = begun;

		sleep(TELL_S);
		if (told_each_minute)
			tell();
		if (now != seen) {
			seen = now;
			since = clock_mono_ms();
		} else if (clock_mono_ms() - since > STUCK_MS) {
			fprintf(stderr, "seed %lu step %lu: %s: has not ended\n", t.seed, t.step,
				t.what);
			_exit(1);
		}
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	int base[SIDES];
	uint64_t end = 0;
	unsigned long seed, rounds = 0;
	const char *show = getenv("FS_MODEL_SHOW_MS"), *pause = getenv("FS_MODEL_PAUSE_MS");
	pthread_t watcher;
	bool is_long;
	char name[32];

	if (argc > 3 && strcmp(argv[1], "--host") == 0)
		return host_serve(argv[2], argv + 3);
	if (argc < 5)
		return 2;
	t.show_ms = show != NULL ? strtoul(show, NULL, 10) : SHOW_MS;
	t.pause_us = pause != NULL ? strtoul(pause, NULL, 10) * 1000 : 0;
	for (int side = 0; side < SIDES; side++) {
		base[side] = open(argv[1 + side], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (base[side] < 0)
			die("%s: %s", argv[1 + side], strerror(errno));
	}
	memset(t.open, -1, sizeof(t.open));
	umask(022);
	signal(SIGPIPE, SIG_IGN); /* a FIFO whose reader is gone: EPIPE, on both sides */
	host_begin(argc > 5 ? argv[5] : NULL);
	is_long = number(argc, argv, 6) > 0;
	if (is_long)
		end = deadline_in_ms(number(argc, argv, 6) * 1000);
	if (pthread_create(&watcher, NULL, watch_progress, &is_long) != 0)
		die("no thread");
	seed = number(argc, argv, 3);
	do {
		if (rounds > 0)
			round_end(base, name);
		round_begin(base, seed + rounds++, name);
		play(number(argc, argv, 4), end);
	} while (is_long && deadline_left_ms(end) > 0);
	tell();
	return 0;
}
