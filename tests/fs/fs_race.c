/*
 * Several programs at work in one folder, here, in sandboxes and on the host at once: what a local
 * disk guarantees must hold between all of them.
 *
 *   fs_race FOLDER NAME ROUNDS WORKERS   works; NAME differs from the others' names
 *   fs_race --check FOLDER ALL ROUNDS    afterwards; ALL is the sum of ROUNDS times WORKERS
 *
 * In each round each worker adds one to a counter under flock and to another under a record lock,
 * appends a line to a log, replaces a file by rename, finds whole what others put there, and tries
 * to be the one who creates this round's claim.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE    64
#define WHOLE   12000
#define COUNTER 8192

static int dir;
static char who[64];

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *fmt, ...)
{
	int e = errno;
	va_list ap;

	fprintf(stderr, "%s: ", who);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (%s)\n", strerror(e));
	exit(1);
}

/*
 * A counter's file has another size each time: what is read by a size that is not the newest shows.
 * 0 is an empty file; from 1 on one grows and the other shrinks.
 */
struct counter {
	const char *name;
	int first, step;
};
static const struct counter grows = {"flock", 10, 1}, shrinks = {"record", COUNTER - 1, -1};

static size_t
counter_size(const struct counter *c, long number)
{
	return number > 0 ? (size_t)(c->first + c->step * number) : 0;
}

static long
read_number(const struct counter *c, int fd)
{
	char text[COUNTER] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	long number = strtol(text, NULL, 10);

	if (n < 0)
		die("read a counter");
	if (number < 0 || (size_t)n != counter_size(c, number))
		die("the counter %s has %zd bytes and says %ld", c->name, n, number);
	return number;
}

static void
add_one(const struct counter *c, int fd)
{
	char text[COUNTER];
	long number = read_number(c, fd) + 1;
	ssize_t n = (ssize_t)counter_size(c, number);

	if (number > COUNTER / 2)
		die("the counter %s is at its end", c->name);
	snprintf(text, sizeof(text), "%0*ld", (int)n, number);
	if (pwrite(fd, text, (size_t)n, 0) != n || ftruncate(fd, n) < 0)
		die("write the counter %s", c->name);
}

static int
open_counter(const struct counter *c)
{
	int fd = openat(dir, c->name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		die("open %s", c->name);
	return fd;
}

static void
count_by_flock(void)
{
	int fd = open_counter(&grows);

	if (flock(fd, LOCK_EX) < 0)
		die("flock");
	add_one(&grows, fd);
	close(fd);
}

/* F_SETLKW, and in every other round F_OFD_SETLKW: they exclude each other too. */
static void
count_by_record(int round)
{
	struct flock fl = {.l_type = F_WRLCK, .l_start = 100, .l_len = 1};
	int fd = open_counter(&shrinks);

	if (fcntl(fd, round % 2 ? F_OFD_SETLKW : F_SETLKW, &fl) < 0)
		die("record lock");
	add_one(&shrinks, fd);
	close(fd);
}

static void
append_line(int round)
{
	char line[LINE + 1];
	int fd = openat(dir, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	snprintf(line, sizeof(line), "%-*s", LINE, who);
	snprintf(line + 40, LINE - 40, "%08d", round);
	line[48] = ' ';
	line[LINE - 1] = '\n';
	if (fd < 0 || write(fd, line, LINE) != LINE)
		die("append");
	close(fd);
}

static void
replace(int round)
{
	char name[96], data[WHOLE];
	int fd;

	snprintf(name, sizeof(name), "new.%s", who);
	memset(data, 'a' + (round + who[0]) % 26, sizeof(data));
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, data, sizeof(data)) != sizeof(data))
		die("write %s", name);
	close(fd);
	if (renameat(dir, name, dir, "current") < 0)
		die("rename %s", name);
}

static void
find_whole(void)
{
	char data[WHOLE + 1];
	int fd = openat(dir, "current", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof(data));

	if (n != WHOLE)
		die("%zd bytes of the file that is replaced", n);
	for (int k = 1; k < WHOLE; k++)
		if (data[k] != data[0])
			die("'%c' at %d of a file of '%c'", data[k], k, data[0]);
	close(fd);
}

static void
claim(int round)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "claim.%d", round);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 && errno != EEXIST)
		die("claim %s", name);
	if (fd < 0)
		return;
	/* One who is the first alone writes here; two would both append. */
	if (write(fd, who, strlen(who)) < 0 || write(fd, "\n", 1) < 0)
		die("write %s", name);
	close(fd);
	snprintf(name, sizeof(name), "claims");
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, "1\n", 2) != 2)
		die("write %s", name);
	close(fd);
}

static void
make_and_remove(void)
{
	if (mkdirat(dir, "folder", 0755) < 0 && errno != EEXIST)
		die("mkdir");
	if (unlinkat(dir, "folder", AT_REMOVEDIR) < 0 && errno != ENOENT)
		die("rmdir");
}

static void
work(const char *name, int worker, int rounds)
{
	snprintf(who, sizeof(who), "%.24s.%d", name, worker);
	for (int round = 0; round < rounds; round++) {
		count_by_flock();
		count_by_record(round);
		append_line(round);
		replace(round);
		find_whole();
		claim(round);
		make_and_remove();
	}
}

static int
work_all(const char *name, int rounds, int workers)
{
	int failed = 0, status;

	for (int w = 0; w < workers; w++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			work(name, w, rounds);
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		failed += status != 0;
	return failed == 0 ? 0 : 1;
}

static void
check_counter(const struct counter *c, long all)
{
	long n = read_number(c, open_counter(c));

	if (n != all)
		die("the counter %s says %ld, not %ld", c->name, n, all);
}

static int
by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, LINE);
}

/* Each line whole, each one once. */
static void
check_log(long all)
{
	char *lines = malloc((size_t)all * LINE + 1);
	int fd = openat(dir, "log", O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t got;

	while ((got = read(fd, lines + n, (size_t)all * LINE + 1 - n)) > 0)
		n += (size_t)got;
	if (n != (size_t)all * LINE)
		die("the log has %zu bytes, not %ld", n, all * LINE);
	qsort(lines, (size_t)all, LINE, by_bytes);
	for (long k = 0; k < all; k++) {
		char *line = lines + k * LINE;

		if (memchr(line, '\n', LINE) != line + LINE - 1)
			die("a torn line: %.*s", LINE, line);
		if (k > 0 && by_bytes(line, line - LINE) == 0)
			die("twice: %.*s", LINE, line);
	}
	free(lines);
}

static void
check_claims(int rounds)
{
	struct stat st;

	if (fstatat(dir, "claims", &st, 0) < 0 || st.st_size != (off_t)2 * rounds)
		die("%ld claims of %d", (long)st.st_size / 2, rounds);
}

int
main(int argc, char **argv)
{
	bool check = argc > 4 && strcmp(argv[1], "--check") == 0;

	if (argc < 5)
		return 2;
	dir = open(argv[check ? 2 : 1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		die("open the folder");
	if (!check)
		return work_all(argv[2], atoi(argv[3]), atoi(argv[4]));
	snprintf(who, sizeof(who), "check");
	check_counter(&grows, atol(argv[3]));
	check_counter(&shrinks, atol(argv[3]));
	check_log(atol(argv[3]));
	check_claims(atoi(argv[4]));
	find_whole();
	return 0;
}
