/*
 * How this works: the supervisor holds an flock on NAME/lock in the runtime folder for as long as
 * it lives; the kernel drops it with the process, so a kill -9 leaves nothing stale. Because rm
 * deletes the file, whoever gets the lock checks that the name still leads to the file it locked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <state/state.h>

static int
lock_once(const char *path, struct err *e)
{
	CLEAN_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat mine, there;

	if (fd < 0)
		return err_sys(e, errno, "lock '%s'", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_sys(e, errno, "lock '%s'", path);
	if (fstat(fd, &mine) < 0 || stat(path, &there) < 0 || mine.st_ino != there.st_ino ||
		mine.st_dev != there.st_dev)
		return -ESTALE;
	return TAKE_FD(fd);
}

int
state_lock(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_FREE char *dir = state_runtime_dir(p, name);
	CLEAN_FREE char *path = xasprintf("%s/lock", dir);
	int r = -ESTALE;

	for (int tries = 0; tries < 100 && (r == -ESTALE || r == -ENOENT); tries++) {
		if (mkdir(dir, 0700) < 0 && errno != EEXIST)
			return err_sys(e, errno, "create folder '%s'", dir);
		r = lock_once(path, e);
	}
	return r == -ESTALE ? err_set(e, ESTALE, "lock '%s': it keeps being removed", path) : r;
}

int
state_runtime_remove(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_FREE char *dir = state_runtime_dir(p, name);

	return io_remove_tree(AT_FDCWD, dir, e);
}

/* sun_path holds 108 bytes; through a descriptor of the folder the name is always short. */
static int
address(int dirfd, struct sockaddr_un *ret)
{
	ret->sun_family = AF_UNIX;
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/sock", dirfd);
	return 0;
}

static int
open_dir(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_FREE char *dir = state_runtime_dir(p, name);
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? err_sys(e, errno, "open '%s'", dir) : fd;
}

int
state_socket_listen(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_CLOSE int dir = open_dir(p, name, e);
	CLEAN_CLOSE int fd = -1;
	struct sockaddr_un a = {0};
	mode_t old;
	int r;

	if (dir < 0)
		return dir;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	unlinkat(dir, "sock", 0); /* ours to replace: the lock is held */
	address(dir, &a);
	old = umask(0177);
	r = bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0 ? -errno : 0;
	umask(old);
	if (r < 0)
		return err_sys(e, -r, "control socket of sandbox '%s'", name);
	return TAKE_FD(fd);
}

int
state_socket_connect(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_CLOSE int dir = open_dir(p, name, e);
	CLEAN_CLOSE int fd = -1;
	struct sockaddr_un a = {0};

	if (dir < 0)
		return dir;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	address(dir, &a);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, errno, "connect to sandbox '%s'", name);
	return TAKE_FD(fd);
}

int
state_set_last_stop(const struct state_paths *p, const char *name, const char *why)
{
	CLEAN_FREE char *path = state_sandbox_file(p, name, "last-stop");

	return io_write_file_atomic(AT_FDCWD, path, why, strlen(why), 0600, NULL);
}

char *
state_last_stop(const struct state_paths *p, const char *name)
{
	CLEAN_FREE char *path = state_sandbox_file(p, name, "last-stop");
	CLEAN_BUF struct buf b = BUF_INIT;

	if (io_read_file(AT_FDCWD, path, 4096, &b, NULL) < 0)
		return xstrdup("");
	return xstrndup(buf_str(&b), strnlen(buf_str(&b), b.len));
}
