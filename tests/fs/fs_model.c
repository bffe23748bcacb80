/*
 * Random operations on a mounted workspace and, the same ones, on a plain folder: each result, each
 * errno, each byte read must agree, and at the end the two trees.
 *
 *   fs_model MOUNT PLAIN SEED OPERATIONS [HOST]
 *
 * With HOST, the folder behind MOUNT, some changes are made there, as a person's editor would;
 * MOUNT must show them within SHOW_MS (the longest wait is printed).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <base/clock.h>

#define HANDLES 12
#define SPAN    200000
#define CHUNK   20000
#define NAMES   5
/* What is not watched (a symlink with several names) is looked at again after a second. */
#define SHOW_MS 1500

static struct {
	int root[3]; /* mount, plain, host (or -1) */
	struct pair {
		int fd[2];
		int flags;
	} open[HANDLES];
	uint64_t rng;
	unsigned long step, seed;
	char what[256];
	uint64_t longest_ms;
	unsigned host_changes;
} t;

static uint64_t
rnd(uint64_t n)
{
	t.rng ^= t.rng << 13;
	t.rng ^= t.rng >> 7;
	t.rng ^= t.rng << 17;
	return t.rng % n;
}

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "seed %lu step %lu: %s: ", t.seed, t.step, t.what);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

static void __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t.what, sizeof(t.what), fmt, ap);
	va_end(ap);
	if (getenv("FS_MODEL_TRACE") != NULL)
		fprintf(stderr, "%lu %s\n", t.step, t.what);
}

/* "f2", "d1/f0", "d1/d3/f4": few names, so that they meet. */
static void
path(char out[64])
{
	size_t depth = rnd(3), n = 0;

	for (size_t k = 0; k < depth; k++)
		n += (size_t)sprintf(out + n, "d%d/", (int)rnd(3));
	sprintf(out + n, "%c%d", rnd(4) == 0 ? 'd' : 'f', (int)rnd(NAMES));
}

struct outcome {
	long r;
	int err;
};

static void
agree(struct outcome a, struct outcome b)
{
	if (a.r < 0 && b.r < 0 && a.err == b.err)
		return;
	if (a.r != b.r || (a.r < 0 && a.err != b.err))
		die("mount %ld (%s), plain %ld (%s)", a.r, a.r < 0 ? strerror(a.err) : "", b.r,
			b.r < 0 ? strerror(b.err) : "");
}

#define DO(out, call)                                                                              \
	do {                                                                                       \
		errno = 0;                                                                         \
		(out).r = (long)(call);                                                            \
		(out).err = errno;                                                                 \
	} while (0)

/* The same call on both sides; `dir` is the root, `fd` a handle of the pair p. */
#define BOTH(call)                                                                                 \
	do {                                                                                       \
		struct outcome o_[2];                                                              \
		for (int side = 0; side < 2; side++) {                                             \
			int dir = t.root[side];                                                    \
			(void)dir;                                                                 \
			DO(o_[side], call);                                                        \
		}                                                                                  \
		agree(o_[0], o_[1]);                                                               \
	} while (0)

static void
same_stat(const struct stat *a, const struct stat *b)
{
	if (a->st_mode != b->st_mode || a->st_nlink != b->st_nlink ||
		(!S_ISDIR(a->st_mode) && a->st_size != b->st_size))
		die("mount mode %o links %ld size %ld, plain %o %ld %ld", a->st_mode,
			(long)a->st_nlink, (long)a->st_size, b->st_mode, (long)b->st_nlink,
			(long)b->st_size);
}

static void
stat_both(const char *p, int flags)
{
	struct stat st[2];

	BOTH(fstatat(dir, p, &st[side], flags));
	if (fstatat(t.root[1], p, &st[1], flags) == 0)
		same_stat(&st[0], &st[1]);
}

static struct pair *
any_open(void)
{
	struct pair *p = &t.open[rnd(HANDLES)];

	return p->fd[0] >= 0 ? p : NULL;
}

static void
op_open_file(void)
{
	static const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR};
	static const int extra[] = {0, O_CREAT, O_CREAT, O_CREAT | O_EXCL, O_TRUNC,
		O_CREAT | O_TRUNC, O_APPEND, O_CREAT | O_APPEND, O_NOFOLLOW};
	static const mode_t perms[] = {0644, 0600, 0444, 0755, 04755, 0640};
	struct pair *p = &t.open[rnd(HANDLES)];
	int flags = modes[rnd(4)] | extra[rnd(9)] | O_CLOEXEC | O_NONBLOCK;
	mode_t mode = perms[rnd(6)];
	struct outcome o[2];
	char name[64];

	path(name);
	say("open %s %x", name, flags);
	for (int side = 0; side < 2; side++) {
		if (p->fd[side] >= 0)
			close(p->fd[side]);
		DO(o[side], openat(t.root[side], name, flags, mode & ~(mode_t)07000));
		p->fd[side] = (int)o[side].r;
		o[side].r = o[side].r < 0 ? -1 : 0;
	}
	p->flags = flags;
	agree(o[0], o[1]);
}

static void
op_tmpfile(void)
{
	struct pair *p = &t.open[rnd(HANDLES)];
	char name[64], link[64];

	path(name);
	say("tmpfile -> %s", name);
	for (int side = 0; side < 2; side++) {
		if (p->fd[side] >= 0)
			close(p->fd[side]);
		p->fd[side] = openat(t.root[side], ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
		if (p->fd[side] < 0)
			die("O_TMPFILE on side %d: %s", side, strerror(errno));
	}
	p->flags = O_RDWR;
	BOTH(write(p->fd[side], "nameless", 8));
	BOTH((sprintf(link, "/proc/self/fd/%d", p->fd[side]),
		linkat(AT_FDCWD, link, dir, name, AT_SYMLINK_FOLLOW)));
}

static uint8_t *
pattern(size_t n)
{
	static uint8_t b[CHUNK];
	uint64_t v = rnd(UINT64_MAX);

	for (size_t k = 0; k < n; k++)
		b[k] = (uint8_t)(v >> (k % 8 * 8)) ^ (uint8_t)k;
	return b;
}

static void
op_write(void)
{
	struct pair *p = any_open();
	size_t n = rnd(CHUNK);
	off_t off = (off_t)rnd(SPAN);
	uint8_t *b = pattern(n);

	if (p == NULL)
		return;
	say("pwrite %zu at %ld flags %x", n, (long)off, p->flags);
	/* pwrite on O_APPEND appends on Linux: write is what programs do. */
	if (p->flags & O_APPEND)
		BOTH(write(p->fd[side], b, n));
	else
		BOTH(pwrite(p->fd[side], b, n, off));
}

static void
op_read(void)
{
	static uint8_t b[2][CHUNK];
	struct pair *p = any_open();
	size_t n = rnd(CHUNK);
	off_t off = (off_t)rnd(SPAN);

	if (p == NULL)
		return;
	say("pread %zu at %ld", n, (long)off);
	memset(b, 0, sizeof(b));
	BOTH(pread(p->fd[side], b[side], n, off));
	if (memcmp(b[0], b[1], n) != 0)
		die("different bytes");
}

static void
op_fstat(void)
{
	struct pair *p = any_open();
	struct stat st[2];

	if (p == NULL)
		return;
	say("fstat");
	/* A FIFO is open in the guest alone: when the host unlinks it, nothing leads there. */
	if (fstat(p->fd[1], &st[1]) == 0 && S_ISFIFO(st[1].st_mode))
		return;
	BOTH(fstat(p->fd[side], &st[side]));
	same_stat(&st[0], &st[1]);
}

static void
op_mmap(void)
{
	struct pair *p = any_open();
	size_t n = rnd(CHUNK) + 1, at = rnd(n);
	bool store = rnd(2);
	uint8_t got[2] = {0, 0};
	struct stat st;

	if (p == NULL || (p->flags & O_ACCMODE) != O_RDWR)
		return;
	say("mmap %zu %s at %zu", n, store ? "store" : "load", at);
	if (fstat(p->fd[1], &st) < 0 || st.st_size < (off_t)n)
		return;
	for (int side = 0; side < 2; side++) {
		uint8_t *m = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd[side], 0);

		if (m == MAP_FAILED)
			die("mmap side %d: %s", side, strerror(errno));
		if (store)
			m[at] = (uint8_t)t.step;
		got[side] = m[at];
		if (store && msync(m, n, MS_SYNC) < 0)
			die("msync side %d: %s", side, strerror(errno));
		munmap(m, n);
	}
	if (got[0] != got[1])
		die("mapped bytes %02x and %02x", got[0], got[1]);
}

static void
op_size(void)
{
	struct pair *p = any_open();
	off_t size = (off_t)rnd(SPAN);
	char name[64], full[2][128];

	if (p != NULL && rnd(2)) {
		say("ftruncate %ld", (long)size);
		BOTH(ftruncate(p->fd[side], size));
		return;
	}
	path(name);
	say("truncate %s %ld", name, (long)size);
	for (int side = 0; side < 2; side++)
		snprintf(full[side], sizeof(full[side]), "/proc/self/fd/%d/%s", t.root[side], name);
	BOTH(truncate(full[side], size));
}

static void
op_allocate(void)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
	struct pair *p = any_open();
	int mode = modes[rnd(4)];
	off_t off = (off_t)rnd(SPAN), len = (off_t)rnd(CHUNK) + 1;

	if (p == NULL)
		return;
	say("fallocate %x %ld+%ld", mode, (long)off, (long)len);
	BOTH(fallocate(p->fd[side], mode, off, len));
}

/* Nothing but zeros from off to end, as the plain side has it. */
static bool
is_hole(int fd, off_t off, off_t end)
{
	static uint8_t b[2 * SPAN];
	ssize_t n = pread(fd, b, end > off ? (size_t)(end - off) : 0, off);

	for (ssize_t k = 0; k < n; k++)
		if (b[k] != 0)
			return false;
	return true;
}

/*
 * Where holes are may differ: unwritten blocks count as data while they are in the page cache. But
 * what is called a hole must be empty, and the ends of the file must agree.
 */
static void
op_seek(void)
{
	struct pair *p = any_open();
	off_t off = (off_t)rnd(SPAN), at, size;
	struct stat st;

	if (p == NULL || (p->flags & O_ACCMODE) == O_WRONLY || fstat(p->fd[1], &st) < 0 ||
		!S_ISREG(st.st_mode))
		return;
	say("lseek %ld", (long)off);
	size = st.st_size;
	at = lseek(p->fd[0], off, SEEK_DATA);
	if (at < 0 && (errno != ENXIO || !is_hole(p->fd[1], off, size)))
		die("no data, but there is: %s", strerror(errno));
	if (at >= 0 && (at < off || at >= size || !is_hole(p->fd[1], off, at)))
		die("data at %ld, but before that there is some", (long)at);
	at = lseek(p->fd[0], off, SEEK_HOLE);
	if ((at < 0) != (off >= size) || (at >= 0 && (at < off || at > size)))
		die("hole at %ld of %ld", (long)at, (long)size);
	BOTH(lseek(p->fd[side], off, SEEK_SET));
}

static void
op_copy(void)
{
	struct pair *a = any_open(), *b = any_open();
	size_t n = rnd(CHUNK);
	off_t from = (off_t)rnd(SPAN), to = (off_t)rnd(SPAN), x, y;

	if (a == NULL || b == NULL)
		return;
	say("copy_file_range %zu %ld->%ld", n, (long)from, (long)to);
	BOTH((x = from, y = to, copy_file_range(a->fd[side], &x, b->fd[side], &y, n, 0)));
}

static void
op_rename(void)
{
	static const unsigned flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	unsigned f = flags[rnd(5)];
	char a[64], b[64];

	path(a);
	path(b);
	say("rename %s %s %x", a, b, f);
	BOTH(renameat2(dir, a, dir, b, f));
	stat_both(a, AT_SYMLINK_NOFOLLOW);
	stat_both(b, AT_SYMLINK_NOFOLLOW);
}

static void
op_link(void)
{
	char a[64], b[64];

	path(a);
	path(b);
	say("link %s %s", a, b);
	BOTH(linkat(dir, a, dir, b, 0));
	stat_both(a, AT_SYMLINK_NOFOLLOW);
}

static void
op_symlink(void)
{
	char a[64], b[64], text[2][64] = {{0}, {0}};

	path(a);
	path(b);
	say("symlink %s %s", a, b);
	BOTH(symlinkat(a, dir, b));
	BOTH(readlinkat(dir, b, text[side], 63));
	if (memcmp(text[0], text[1], 64) != 0)
		die("link texts differ");
}

static void
op_remove(void)
{
	int flags = rnd(4) == 0 ? AT_REMOVEDIR : 0;
	char a[64];

	path(a);
	say("unlink %s %x", a, flags);
	BOTH(unlinkat(dir, a, flags));
	stat_both(a, AT_SYMLINK_NOFOLLOW);
}

static void
op_make(void)
{
	char a[64];

	path(a);
	if (rnd(8) == 0) {
		mode_t type = rnd(2) ? S_IFIFO : S_IFSOCK;

		say("mknod %s", a);
		BOTH(mknodat(dir, a, type | 0644, 0));
	} else {
		say("mkdir %s", a);
		BOTH(mkdirat(dir, a, 0755));
	}
	stat_both(a, AT_SYMLINK_NOFOLLOW);
}

static void
op_mode(void)
{
	static const mode_t modes[] = {0644, 0600, 0444, 0755, 0, 0111, 0222, 01777};
	struct pair *p = any_open();
	mode_t mode = modes[rnd(8)];
	char a[64];

	if (p != NULL && rnd(3) == 0) {
		say("fchmod %o", mode);
		BOTH(fchmod(p->fd[side], mode));
		return;
	}
	path(a);
	say("chmod %s %o", a, mode);
	BOTH(fchmodat(dir, a, mode, 0));
	stat_both(a, 0);
}

static void
op_times(void)
{
	struct timespec ts[2] = {{(time_t)rnd(2000000000), (long)rnd(1000000000)},
		{(time_t)rnd(2000000000) - 1000, (long)rnd(1000000000)}};
	int flags = rnd(2) ? AT_SYMLINK_NOFOLLOW : 0;
	struct stat st[2];
	char a[64];

	path(a);
	say("utimensat %s", a);
	BOTH(utimensat(dir, a, ts, flags));
	if (fstatat(t.root[0], a, &st[0], flags) == 0 &&
		fstatat(t.root[1], a, &st[1], flags) == 0 &&
		memcmp(&st[0].st_mtim, &ts[1], sizeof(ts[1])) !=
			memcmp(&st[1].st_mtim, &ts[1], sizeof(ts[1])))
		die("mtime %ld.%09ld and %ld.%09ld", (long)st[0].st_mtim.tv_sec,
			st[0].st_mtim.tv_nsec, (long)st[1].st_mtim.tv_sec, st[1].st_mtim.tv_nsec);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names, sorted and joined; the caller frees. NULL with errno. */
static char *
list(int root, const char *p)
{
	int fd = openat(root, p, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	char *names[4096], *all;
	size_t n = 0, len = 1;
	struct dirent *de;
	DIR *d;

	if (fd < 0)
		return NULL;
	d = fdopendir(fd);
	while ((de = readdir(d)) != NULL && n < 4096) {
		names[n] = malloc(strlen(de->d_name) + 3);
		len += (size_t)sprintf(names[n++], "%s %c", de->d_name, de->d_type + 'a') + 1;
	}
	closedir(d);
	qsort(names, n, sizeof(*names), by_name);
	all = calloc(1, len + 1);
	for (size_t k = 0; k < n; k++) {
		strcat(strcat(all, names[k]), "\n");
		free(names[k]);
	}
	return all;
}

static void
op_list(void)
{
	char a[64], *l[2];

	path(a);
	if (rnd(3) == 0)
		strcpy(a, ".");
	say("readdir %s", a);
	for (int side = 0; side < 2; side++)
		l[side] = list(t.root[side], a);
	if ((l[0] == NULL) != (l[1] == NULL) || (l[0] != NULL && strcmp(l[0], l[1]) != 0))
		die("mount:\n%s\nplain:\n%s", l[0] != NULL ? l[0] : "-", l[1] != NULL ? l[1] : "-");
	free(l[0]);
	free(l[1]);
}

static void
op_xattr(void)
{
	char a[64], full[2][128], name[32], value[2][64];
	uint8_t *data = pattern(20);

	path(a);
	sprintf(name, "user.x%d", (int)rnd(3));
	say("xattr %s %s", a, name);
	memset(value, 0, sizeof(value));
	for (int side = 0; side < 2; side++)
		snprintf(full[side], sizeof(full[side]), "/proc/self/fd/%d/%s", t.root[side], a);
	switch (rnd(4)) {
	case 0:
		BOTH(lsetxattr(full[side], name, data, 20, 0));
		break;
	case 1:
		BOTH(lremovexattr(full[side], name));
		break;
	case 2:
		BOTH(llistxattr(full[side], NULL, 0));
		break;
	default:
		BOTH(lgetxattr(full[side], name, value[side], 64));
		if (memcmp(value[0], value[1], 64) != 0)
			die("values differ");
	}
}

static void
op_close(void)
{
	struct pair *p = any_open();

	if (p == NULL)
		return;
	say("close");
	BOTH(close(p->fd[side]));
	p->fd[0] = p->fd[1] = -1;
}

static void
op_sync(void)
{
	struct pair *p = any_open();

	if (p == NULL)
		return;
	say("fsync");
	BOTH(fsync(p->fd[side]));
}

/* The content as a name shows it now; -1 where it is no file. */
static long
content(int root, const char *name, uint8_t *out)
{
	int fd = openat(root, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n = -1;

	if (fd >= 0) {
		n = pread(fd, out, SPAN, 0);
		close(fd);
	}
	return n;
}

static bool
looks_same(int which, const char *name)
{
	static uint8_t b[2][SPAN];
	struct stat st[2];
	int r[2];
	long n[2];

	for (int side = 0; side < 2; side++) {
		int dir = side == 0 ? t.root[which] : t.root[1];

		r[side] = fstatat(dir, name, &st[side], AT_SYMLINK_NOFOLLOW);
		n[side] = r[side] < 0 || !S_ISREG(st[side].st_mode) ? -1
								    : content(dir, name, b[side]);
	}
	if (r[0] != r[1] || n[0] != n[1])
		return false;
	if (r[0] == 0 && (st[0].st_mode != st[1].st_mode || st[0].st_nlink != st[1].st_nlink))
		return false;
	return n[0] <= 0 || memcmp(b[0], b[1], (size_t)n[0]) == 0;
}

static int
host_write(int dir, const char *name, const uint8_t *b, size_t n, int flags)
{
	struct stat st;
	int fd, r;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
		return -1;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0644);
	if (fd < 0)
		return -1;
	r = (int)write(fd, b, n);
	close(fd);
	return r;
}

static bool
stats_agree(const struct stat *a, const struct stat *b)
{
	return a->st_mode == b->st_mode && a->st_nlink == b->st_nlink &&
	       (S_ISDIR(a->st_mode) || a->st_size == b->st_size);
}

/* Every name and its attributes below a folder: a hard link's change shows at each of its names. */
static bool
tree_agrees(int which, const char *p)
{
	char *a = list(t.root[which], p), *b = list(t.root[1], p), *name, *save = NULL, sub[512];
	bool same = a == NULL ? b == NULL : b != NULL && strcmp(a, b) == 0;

	for (name = same && a != NULL ? strtok_r(a, "\n", &save) : NULL; name != NULL && same;
		name = strtok_r(NULL, "\n", &save)) {
		struct stat st[2];

		name[strlen(name) - 2] = '\0';
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", p, name);
		same = fstatat(t.root[which], sub, &st[0], AT_SYMLINK_NOFOLLOW) == 0 &&
		       fstatat(t.root[1], sub, &st[1], AT_SYMLINK_NOFOLLOW) == 0 &&
		       stats_agree(&st[0], &st[1]) &&
		       (!S_ISDIR(st[0].st_mode) || tree_agrees(which, sub));
	}
	free(a);
	free(b);
	return same;
}

static bool
handles_agree(void)
{
	for (int k = 0; k < HANDLES; k++) {
		struct stat st[2];

		if (t.open[k].fd[0] < 0 || fstat(t.open[k].fd[1], &st[1]) < 0 ||
			S_ISFIFO(st[1].st_mode))
			continue;
		if (fstat(t.open[k].fd[0], &st[0]) < 0 || !stats_agree(&st[0], &st[1]))
			return false;
	}
	return true;
}

/* What the sides do not agree on, or NULL. */
static const char *
disagreement(int which, const char *a, const char *b)
{
	if (!looks_same(which, a))
		return "the first name";
	if (!looks_same(which, b))
		return "the second name";
	if (!tree_agrees(which, "."))
		return "the tree";
	if (which == 0 && !handles_agree())
		return "an open file";
	return NULL;
}

/* Waits until both sides agree on everything, and on the content of two files. */
static uint64_t
await_same(int which, const char *a, const char *b)
{
	uint64_t start = clock_mono_ms(), ms = 0;
	const char *what;

	while ((what = disagreement(which, a, b)) != NULL) {
		ms = clock_mono_ms() - start;
		if (ms > SHOW_MS)
			die("not seen at the %s after %d ms: %s", which == 0 ? "mount" : "host",
				SHOW_MS, what);
	}
	return ms;
}

/* The same change by somebody else: behind the mount, and on the plain side. */
static void
op_host(void)
{
	const int dirs[2] = {t.root[2], t.root[1]};
	uint64_t ms;
	char a[64], b[64];
	size_t n = rnd(CHUNK);
	uint8_t *data = pattern(n);
	int kind = (int)rnd(6);

	if (t.root[2] < 0)
		return;
	path(a);
	path(b);
	say("host change %d: %s %s", kind, a, b);
	await_same(2, a, b); /* where the host is another sandbox's mount */
	for (int k = 0; k < 2; k++) {
		switch (kind) {
		case 0:
			host_write(dirs[k], a, data, n, O_TRUNC);
			break;
		case 1:
			host_write(dirs[k], a, data, n, O_APPEND);
			break;
		case 2:
			host_write(dirs[k], "save~", data, n, O_TRUNC);
			renameat(dirs[k], "save~", dirs[k], a);
			unlinkat(dirs[k], "save~", 0);
			break;
		case 3:
			unlinkat(dirs[k], a, 0);
			break;
		case 4:
			renameat(dirs[k], a, dirs[k], b);
			break;
		default:
			if (fchmodat(dirs[k], a, 0640, AT_SYMLINK_NOFOLLOW) < 0)
				continue;
		}
	}
	t.host_changes++;
	ms = await_same(0, a, b);
	t.longest_ms = ms > t.longest_ms ? ms : t.longest_ms;
}

static const struct {
	void (*run)(void);
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
			ops[k].run();
			return;
		}
		at -= ops[k].weight;
	}
}

/* Depth first: every name, attribute and byte. */
static void
same_tree(const char *p)
{
	char *l[2], *name, *save = NULL, sub[512];

	say("final tree: %s", p);
	stat_both(p, AT_SYMLINK_NOFOLLOW);
	if (!looks_same(0, p))
		die("contents differ");
	l[0] = list(t.root[0], p);
	l[1] = list(t.root[1], p);
	if ((l[0] == NULL) != (l[1] == NULL) || (l[0] != NULL && strcmp(l[0], l[1]) != 0))
		die("mount:\n%s\nplain:\n%s", l[0] != NULL ? l[0] : "-", l[1] != NULL ? l[1] : "-");
	if (l[0] == NULL)
		goto out;
	for (name = strtok_r(l[0], "\n", &save); name != NULL; name = strtok_r(NULL, "\n", &save)) {
		name[strlen(name) - 2] = '\0';
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", p, name);
		same_tree(sub);
	}
out:
	free(l[0]);
	free(l[1]);
}

int
main(int argc, char **argv)
{
	unsigned long steps;

	if (argc < 5)
		return 2;
	for (int k = 0; k < 3; k++)
		t.root[k] = -1;
	t.root[0] = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t.root[1] = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t.seed = strtoul(argv[3], NULL, 10);
	steps = strtoul(argv[4], NULL, 10);
	if (argc > 5)
		t.root[2] = open(argv[5], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t.root[0] < 0 || t.root[1] < 0 || (argc > 5 && t.root[2] < 0))
		return 2;
	t.rng = t.seed * 0x9e3779b97f4a7c15ULL + 1;
	umask(022);
	for (int k = 0; k < HANDLES; k++)
		t.open[k].fd[0] = t.open[k].fd[1] = -1;
	for (t.step = 0; t.step < steps; t.step++)
		step();
	same_tree(".");
	printf("%lu operations agree, %u host changes seen, the slowest after %lu ms\n", steps,
		t.host_changes, (unsigned long)t.longest_ms);
	return 0;
}
