/* Operations on open files and their data. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model.h"

uint8_t *
pattern(size_t n, uint64_t v)
{
	static uint8_t b[CHUNK];

	for (size_t k = 0; k < n; k++)
		b[k] = (uint8_t)(v >> (k % 8 * 8)) ^ (uint8_t)k;
	return b;
}

static struct pair *
any_slot(void)
{
	t.slot = (int)rnd(HANDLES);
	return &t.open[t.slot];
}

struct pair *
any_open(void)
{
	struct pair *p = any_slot();

	return p->fd[0] >= 0 ? p : NULL;
}

void
op_open_file(void)
{
	static const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR};
	static const int extra[] = {0, O_CREAT, O_CREAT, O_CREAT | O_EXCL, O_TRUNC,
		O_CREAT | O_TRUNC, O_APPEND, O_CREAT | O_APPEND, O_NOFOLLOW};
	static const mode_t perms[] = {0644, 0600, 0444, 0755, 04755, 0640};
	struct pair *p = any_slot();
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

void
op_tmpfile(void)
{
	struct pair *p = any_slot();
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

void
op_write(void)
{
	struct pair *p = any_open();
	size_t n = rnd(CHUNK);
	off_t off = (off_t)rnd(SPAN);
	uint8_t *b = pattern(n, rnd(UINT64_MAX));

	if (p == NULL)
		return;
	say("pwrite %zu at %ld flags %x", n, (long)off, p->flags);
	/* pwrite on O_APPEND appends on Linux: write is what programs do. */
	if (p->flags & O_APPEND)
		BOTH(write(p->fd[side], b, n));
	else
		BOTH(pwrite(p->fd[side], b, n, off));
}

void
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

void
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

void
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

void
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

void
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
void
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

void
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

void
op_close(void)
{
	struct pair *p = any_open();

	if (p == NULL)
		return;
	say("close");
	BOTH(close(p->fd[side]));
	p->fd[0] = p->fd[1] = -1;
}

void
op_sync(void)
{
	struct pair *p = any_open();

	if (p == NULL)
		return;
	say("fsync");
	BOTH(fsync(p->fd[side]));
}
