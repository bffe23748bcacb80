#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>

#define LOCK_POLL_MS 20

static int
set_flag(int fd, int get, int set, int flag, bool on)
{
	int flags = fcntl(fd, get);

	if (flags < 0)
		return -errno;
	flags = on ? flags | flag : flags & ~flag;
	return fcntl(fd, set, flags) < 0 ? -errno : 0;
}

int
io_set_nonblock(int fd, bool on)
{
	return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int
io_set_cloexec(int fd, bool on)
{
	return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

static int
wait_for(int fd, short events, uint64_t deadline_ms)
{
	struct pollfd p = {.fd = fd, .events = events};
	int r, left;

	do {
		left = deadline_ms == UINT64_MAX ? -1 : deadline_left_ms(deadline_ms);
		r = poll(&p, 1, left);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r == 0 ? -ETIMEDOUT : 0;
}

int
io_read_full(int fd, void *p, size_t n, uint64_t deadline_ms)
{
	uint8_t *at = p;

	while (n > 0) {
		int r = wait_for(fd, POLLIN, deadline_ms);
		ssize_t got;

		if (r < 0)
			return r;
		got = read(fd, at, n);
		if (got == 0)
			return -EPIPE;
		if (got < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return -errno;
		}
		at += got;
		n -= (size_t)got;
	}
	return 0;
}

int
io_lock(int fd, uint64_t deadline_ms)
{
	/* flock(2) has no time limit of its own, and nothing tells when it would go through. */
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (deadline_left_ms(deadline_ms) == 0)
			return -ETIMEDOUT;
		poll(NULL, 0, LOCK_POLL_MS);
	}
	return 0;
}

int
io_write_full(int fd, const void *p, size_t n, uint64_t deadline_ms)
{
	const uint8_t *at = p;

	while (n > 0) {
		int r = wait_for(fd, POLLOUT, deadline_ms);
		ssize_t put;

		if (r < 0)
			return r;
		put = write(fd, at, n);
		if (put < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return -errno;
		}
		at += put;
		n -= (size_t)put;
	}
	return 0;
}

int
io_read_fd_all(int fd, size_t max, struct buf *out, struct err *e)
{
	size_t start = out->len;

	for (;;) {
		ssize_t n = buf_read_fd(out, fd, 65536);

		if (n < 0)
			return err_sys(e, (int)-n, "read");
		if (n == 0)
			return 0;
		if (out->len - start > max)
			return err_set(e, EFBIG, "larger than %zu bytes", max);
	}
}

int
io_read_at_once(int fd, size_t max, struct buf *out, struct err *e)
{
	struct stat st;
	size_t size, got = 0;
	uint8_t *to;

	/* Not pread(2): the net role, which is given credentials so, may not call it. */
	if (fstat(fd, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(e, errno, "read");
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return err_set(e, EFBIG, "larger than %zu bytes", max);
	size = (size_t)st.st_size;
	to = buf_reserve(out, size + 1); /* with the NUL of buf_str */
	while (got < size) {
		ssize_t n = read(fd, to + got, size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, n < 0 ? errno : EIO, "read");
		got += (size_t)n;
	}
	buf_commit(out, size);
	return 0;
}

int
io_read_file(int dirfd, const char *path, size_t max, struct buf *out, struct err *e)
{
	CLEAN_CLOSE int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "open '%s'", path);
	r = io_read_fd_all(fd, max, out, e);
	return r < 0 ? err_prefix(e, "'%s'", path) : 0;
}

static int
fsync_parent(int dirfd, const char *path)
{
	CLEAN_FREE char *copy = xstrdup(path);
	CLEAN_CLOSE int fd = openat(dirfd, dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

int
io_write_file_atomic(
	int dirfd, const char *path, const void *p, size_t n, mode_t mode, struct err *e)
{
	CLEAN_FREE char *tmp = xasprintf("%s.tmp%d", path, (int)getpid());
	CLEAN_CLOSE int fd = -1;
	int r;

	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return err_sys(e, errno, "create '%s'", tmp);
	r = io_write_full(fd, p, n, UINT64_MAX);
	if (r == 0 && fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dirfd, tmp, dirfd, path) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, tmp, 0);
		return err_sys(e, -r, "write '%s'", path);
	}
	r = fsync_parent(dirfd, path);
	return r < 0 ? err_sys(e, -r, "sync the folder of '%s'", path) : 0;
}

int
io_write_new_file(int dirfd, const char *path, const void *p, size_t n, mode_t mode, struct err *e)
{
	CLEAN_CLOSE int fd =
		openat(dirfd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "create '%s'", path);
	r = io_write_full(fd, p, n, UINT64_MAX);
	return r < 0 ? err_sys(e, -r, "write '%s'", path) : 0;
}

int
io_sync_files(int dirfd, struct err *e)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEAN_CLOSEDIR DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	if (d == NULL)
		return err_sys(e, errno, "read a folder");
	while ((de = readdir(d)) != NULL) {
		CLEAN_CLOSE int file = openat(dirfd, de->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

		if (strcmp(de->d_name, "..") != 0 && (file < 0 || fsync(file) < 0))
			return err_sys(e, errno, "write '%s' to disk", de->d_name);
	}
	return 0;
}

int
io_mkdirs(const char *path, mode_t mode, struct err *e)
{
	CLEAN_FREE char *copy = xstrdup(path);
	int why = ENOENT;

	for (char *p = copy + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		/* These two may be said of a folder that is there: what counts is the whole path.
		 */
		if (mkdir(copy, mode) < 0 && errno != EEXIST) {
			if (errno != EROFS && errno != EACCES)
				return err_sys(e, errno == ENOENT ? why : errno,
					"create folder '%s'", copy);
			why = errno;
		}
		*p = c;
		if (c == '\0')
			break;
	}
	struct stat st;

	if (stat(path, &st) < 0)
		return err_sys(e, errno == ENOENT ? why : errno, "create folder '%s'", path);
	if (!S_ISDIR(st.st_mode))
		return err_sys(e, ENOTDIR, "'%s'", path);
	return 0;
}

int
io_openat2(int dirfd, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};

	return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
}

static int /* NOLINTNEXTLINE(misc-no-recursion): depth has a limit */
remove_entry(int dirfd, const char *name, dev_t dev, int depth, struct err *e)
{
	CLEAN_CLOSEDIR DIR *d = NULL;
	struct dirent *de;
	struct stat st;
	int fd, r;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_sys(e, errno, "remove '%s'", name);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "open '%s'", name);
	if (fstat(fd, &st) < 0 || (dev != 0 && st.st_dev != dev) || depth > 200) {
		close(fd);
		return err_set(e, EXDEV, "'%s' is on another file system", name);
	}
	d = fdopendir(fd);
	if (d == NULL) {
		close(fd);
		return err_sys(e, ENOMEM, "read '%s'", name);
	}
	while ((de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		r = remove_entry(fd, de->d_name, st.st_dev, depth + 1, e);
		if (r < 0)
			return r;
	}
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove '%s'", name);
	return 0;
}

int
io_remove_tree(int dirfd, const char *path, struct err *e)
{
	return remove_entry(dirfd, path, 0, 0, e);
}

int
io_send_fds(int sock, const void *p, size_t n, const int *fds, size_t nfds)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
		struct cmsghdr align;
	} ctl = {0};
	struct iovec iov = {.iov_base = (void *)p, .iov_len = n};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t r;

	if (nfds > IO_FDS_MAX)
		return -EINVAL;
	if (nfds > 0) {
		struct cmsghdr *c;

		m.msg_control = ctl.bytes;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	do
		r = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return (size_t)r == n ? 0 : -EMSGSIZE;
}

ssize_t
io_recv_fds(int sock, void *p, size_t n, int *ret_fds, size_t max_fds, size_t *ret_nfds)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = {.iov_base = p, .iov_len = n};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl.bytes,
		.msg_controllen = sizeof(ctl.bytes)};
	size_t got = 0;
	ssize_t r;

	do
		r = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (got < max_fds)
				ret_fds[got++] = fd;
			else
				close(fd);
		}
	}
	*ret_nfds = got;
	return r;
}

int
io_memfd(const char *name, const void *p, size_t n, struct err *e)
{
	CLEAN_CLOSE int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "memfd '%s'", name);
	r = io_write_full(fd, p, n, UINT64_MAX);
	if (r < 0)
		return err_sys(e, -r, "memfd '%s'", name);
	if (lseek(fd, 0, SEEK_SET) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) <
			0)
		return err_sys(e, errno, "memfd '%s'", name);
	return TAKE_FD(fd);
}
