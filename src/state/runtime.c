/*
 * How this works: the supervisor and every process that it starts share one flock on the sandbox's
 * file "lock" for as long as they live; the kernel drops it with the last of them, so a kill -9
 * leaves nothing stale. The lock lies beside the disk that it guards, not in the runtime folder:
 * two shells may disagree about XDG_RUNTIME_DIR (a log-in and cron, sudo with and without -i), and
 * still nobody may start or remove a sandbox that runs. For the same reason the sandbox's symlink
 * "run" tells where its supervisor listens. rm moves the folder away while it holds the lock, so
 * whoever gets a lock checks that the name still leads to the file that it locked.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <state/state.h>

#include "runtime.h"

bool
is_still_at(int fd, const char *path)
{
	struct stat mine, there;

	return fstat(fd, &mine) == 0 && lstat(path, &there) == 0 && mine.st_ino == there.st_ino &&
	       mine.st_dev == there.st_dev;
}

static int
lock_once(const char *path, struct err *e)
{
	/* Read-only: the roles hold it too and must not be able to write there. */
	CLEAN_CLOSE int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_sys(e, errno, "lock '%s'", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_sys(e, errno, "lock '%s'", path);
	return is_still_at(fd, path) ? TAKE_FD(fd) : -ESTALE;
}

int
state_lock(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_FREE char *path = state_sandbox_file(p, name, "lock");
	int r = -ESTALE;

	for (int tries = 0; tries < 100 && r == -ESTALE; tries++)
		r = lock_once(path, e);
	if (r == -ENOENT)
		return err_set(e, ENOENT, "no sandbox '%s': see paddock ls", name);
	return r == -ESTALE ? err_set(e, ESTALE, "lock '%s': it keeps being removed", path) : r;
}

int
state_runtime_remove(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_FREE char *link = state_sandbox_file(p, name, "run");
	CLEAN_FREE char *own = xasprintf("%s/%s", p->runtime, name);
	char dir[PATH_MAX];
	ssize_t n = readlink(link, dir, sizeof(dir) - 1);
	int r = io_remove_tree(AT_FDCWD, own, e);

	if (n > 0) {
		/* Perhaps another runtime folder's: nothing but what we made there is removed. */
		CLEAN_FREE char *sock = xasprintf("%.*s/sock", (int)n, dir);

		dir[n] = '\0';
		unlink(sock);
		rmdir(dir);
		unlink(link);
	}
	return r;
}

/* sun_path holds 108 bytes; through a descriptor of the folder the name is always short. */
static void
address(int dirfd, struct sockaddr_un *ret)
{
	ret->sun_family = AF_UNIX;
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/sock", dirfd);
}

/* The runtime folder of this sandbox, made and noted in the sandbox's own folder. */
static int
make_dir(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_FREE char *dir = xasprintf("%s/%s", p->runtime, name);
	CLEAN_FREE char *link = state_sandbox_file(p, name, "run");
	int fd;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "create folder '%s'", dir);
	unlink(link); /* ours to replace: the lock is held */
	if (symlink(dir, link) < 0)
		return err_sys(e, errno, "create '%s'", link);
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_sys(e, errno, "open '%s'", dir) : fd;
}

int
state_socket_listen(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_CLOSE int dir = make_dir(p, name, e);
	CLEAN_CLOSE int fd = -1;
	struct sockaddr_un a = {0};
	mode_t old;
	int r;

	if (dir < 0)
		return dir;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	unlinkat(dir, "sock", 0);
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
	CLEAN_FREE char *path = state_sandbox_file(p, name, "run");
	CLEAN_CLOSE int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEAN_CLOSE int fd = -1;
	struct sockaddr_un a = {0};

	if (dir < 0)
		return err_sys(e, errno, "open '%s'", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	address(dir, &a);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, errno, "connect to sandbox '%s'", name);
	return TAKE_FD(fd);
}

int
state_images_lock(const struct state_paths *p, bool alone, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/templates", p->data);
	CLEAN_CLOSE int fd = -1;
	int r = io_mkdirs(path, 0700, e);

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? err_set(e, EBUSY,
						      "templates are %s by another command: try "
						      "again when it has ended",
						      alone ? "in use" : "being removed")
					    : err_sys(e, errno, "lock '%s'", path);
	return TAKE_FD(fd);
}

char *
state_suspended(const struct state_paths *p, const char *name)
{
	return state_sandbox_file(p, name, "suspended");
}

bool
state_is_suspended(const struct state_paths *p, const char *name)
{
	CLEAN_FREE char *folder = state_suspended(p, name);

	return access(folder, F_OK) == 0;
}

/* Its name goes first: half a folder must never be found by the next start. */
int
state_suspended_remove(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_FREE char *folder = state_suspended(p, name);
	CLEAN_FREE char *old = state_sandbox_file(p, name, STATE_SUSPENDING "old");
	int r = io_remove_tree(AT_FDCWD, old, e);

	if (r < 0)
		return r;
	if (rename(folder, old) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "remove '%s'", folder);
	return io_remove_tree(AT_FDCWD, old, e);
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
