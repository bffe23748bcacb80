#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/cleanup.h>

#define CHUNK (256u << 10)

/* [at, end) has data. */
static int
copy_range(int from, int to, off_t at, off_t end, char *chunk, struct err *e)
{
	while (at < end) {
		size_t want = end - at < (off_t)CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t n = pread(from, chunk, want, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, n < 0 ? errno : EIO, "read");
		for (ssize_t done = 0; done < n;) {
			ssize_t put = pwrite(to, chunk + done, (size_t)(n - done), at + done);

			if (put < 0 && errno != EINTR)
				return err_sys(e, errno, "write");
			done += put > 0 ? put : 0;
		}
		at += n;
	}
	return 0;
}

int
io_copy(int from, int to, struct err *e)
{
	CLEAN_FREE char *chunk = NULL;
	struct stat st, have;
	off_t at = 0;
	int r = 0;

	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	if (fstat(from, &st) < 0 || fstat(to, &have) < 0)
		return err_sys(e, errno, "fstat");
	if (have.st_size != st.st_size && ftruncate(to, st.st_size) < 0)
		return err_sys(e, errno, "ftruncate");
	chunk = xmalloc(CHUNK);
	while (r == 0 && at < st.st_size) {
		off_t data = lseek(from, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO) /* nothing but a hole is left */
			break;
		hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
		if (hole < 0) /* a file system that knows no holes */
			data = at, hole = st.st_size;
		r = copy_range(from, to, data, hole, chunk, e);
		at = hole;
	}
	return r;
}

int
io_copy_file(const char *from, const char *to, struct err *e)
{
	CLEAN_FREE char *fresh = xasprintf("%s.new", to);
	CLEAN_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
	int r;

	out = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (in < 0 || out < 0)
		return err_sys(e, errno, "copy '%s' to '%s'", from, fresh);
	r = io_copy(in, out, e);
	if (r == 0 && (fdatasync(out) < 0 || rename(fresh, to) < 0))
		r = err_sys(e, errno, "create '%s'", to);
	if (r < 0)
		unlink(fresh);
	return r;
}
