#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/str.h>

#include <base/digest.h>
#include "initramfs.h"

#define GUEST_MAX  (64u << 20)
#define MODULE_MAX (16u << 20)
#define LIST_MAX   65536
/* To be raised when the archive is put together in another way. */
#define INITRAMFS_VERSION "1"
/* One that a starting machine may be about to open is younger than this. */
#define UNUSED_AFTER_S 3600

/* Inode numbers only tell hard links apart, of which there are none: all are 0. */
static void
header(struct buf *out, mode_t mode, unsigned nlink, dev_t rdev, size_t n, const char *path)
{
	buf_printf(out, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 0u,
		(unsigned)mode, 0u, 0u, nlink, 0u, n, 0u, 0u, major(rdev), minor(rdev),
		strlen(path) + 1, 0u);
}

static void
pad4(struct buf *out)
{
	static const char zero[4];
	size_t over = out->len % 4;

	if (over > 0)
		buf_append(out, zero, 4 - over);
}

void
cpio_begin(struct buf *out)
{
	buf_clear(out);
}

void
cpio_entry(struct buf *out, const char *path, mode_t mode, dev_t rdev, const void *p, size_t n)
{
	header(out, mode, S_ISDIR(mode) ? 2 : 1, rdev, n, path);
	buf_append(out, path, strlen(path) + 1);
	pad4(out);
	if (n > 0)
		buf_append(out, p, n);
	pad4(out);
}

void
cpio_end(struct buf *out)
{
	header(out, 0, 1, 0, 0, "TRAILER!!!");
	buf_append(out, "TRAILER!!!", 11);
	pad4(out);
}

/* Each line of the list is a path in the archive; its file lies in modules/ under the same name. */
static int
add_modules(const char *kernel_dir, struct buf *list, struct buf *out, struct err *e)
{
	CLEAN_FREE char *copy = xstrdup(buf_str(list));
	char *save = NULL;

	cpio_entry(out, "modules", S_IFDIR | 0755, 0, NULL, 0);
	for (char *line = strtok_r(copy, "\n", &save); line != NULL;
		line = strtok_r(NULL, "\n", &save)) {
		CLEAN_BUF struct buf module = BUF_INIT;
		CLEAN_FREE char *file = xasprintf("%s%s", kernel_dir, line);
		int r;

		if (!str_has_prefix(line, "/modules/") || strstr(line, "..") != NULL)
			return err_set(e, EBADMSG, "modules.list names '%s'", line);
		r = io_read_file(AT_FDCWD, file, MODULE_MAX, &module, e);
		if (r < 0)
			return r;
		cpio_entry(out, line + 1, S_IFREG | 0644, 0, module.data, module.len);
	}
	cpio_entry(out, "modules.list", S_IFREG | 0644, 0, list->data, list->len);
	return 0;
}

static int
compose(const char *kernel_dir, struct buf *guest, struct buf *list, struct buf *out, struct err *e)
{
	static const char *const folders[] = {"dev", "proc", "sys", "run", "root"};

	cpio_begin(out);
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		cpio_entry(out, folders[i], S_IFDIR | 0755, 0, NULL, 0);
	/* So that PID 1 has somewhere to speak to before it mounts anything. */
	cpio_entry(out, "dev/console", S_IFCHR | 0600, makedev(5, 1), NULL, 0);
	cpio_entry(out, "dev/null", S_IFCHR | 0666, makedev(1, 3), NULL, 0);
	cpio_entry(out, "init", S_IFREG | 0755, 0, guest->data, guest->len);
	int r = add_modules(kernel_dir, list, out, e);

	if (r == 0)
		cpio_end(out);
	return r;
}

/* Those of earlier builds of paddock-guest. Best effort: they cost a megabyte each. */
static void
drop_old(const char *kernel_dir, const char *keep)
{
	CLEAN_CLOSEDIR DIR *d = opendir(kernel_dir);
	time_t now = time(NULL);
	struct dirent *de;
	struct stat st;

	while (d != NULL && (de = readdir(d)) != NULL)
		if (str_has_prefix(de->d_name, "initramfs-") && strcmp(de->d_name, keep) != 0 &&
			fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			st.st_atime + UNUSED_AFTER_S < now && st.st_mtime + UNUSED_AFTER_S < now)
			unlinkat(dirfd(d), de->d_name, 0);
}

/* A piece at a time: each start asks, and the whole of it would be a megabyte of fresh memory. */
static int
digest_file(const char *path, uint64_t *d, struct err *e)
{
	CLEAN_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t piece[16384];
	ssize_t n;

	if (fd < 0)
		return err_sys(e, errno, "open '%s'", path);
	while ((n = read(fd, piece, sizeof(piece))) != 0) {
		if (n < 0 && errno != EINTR)
			return err_sys(e, errno, "read '%s'", path);
		if (n > 0)
			*d = digest_add(*d, piece, (size_t)n);
	}
	return 0;
}

static char *
path_of(const char *kernel_dir, uint64_t digest)
{
	return xasprintf("%s/initramfs-%016" PRIx64, kernel_dir, digest);
}

/* Named by what is in it, whatever the guest's program was a moment ago. digest: of all else. */
static int
make(const char *kernel_dir, const char *guest_bin, struct buf *list, uint64_t digest,
	char **ret_path, struct err *e)
{
	CLEAN_BUF struct buf guest = BUF_INIT, archive = BUF_INIT;
	CLEAN_FREE char *path = NULL;
	int r = io_read_file(AT_FDCWD, guest_bin, GUEST_MAX, &guest, e);

	if (r < 0)
		return err_prefix(e, "the guest's program");
	path = path_of(kernel_dir, digest_add(digest, guest.data, guest.len));
	r = compose(kernel_dir, &guest, list, &archive, e);
	if (r == 0)
		r = io_write_file_atomic(AT_FDCWD, path, archive.data, archive.len, 0444, e);
	if (r < 0)
		return err_prefix(e, "initramfs");
	drop_old(kernel_dir, strrchr(path, '/') + 1);
	*ret_path = TAKE_PTR(path);
	return 0;
}

int
initramfs_ensure(const char *kernel_dir, const char *guest_bin, char **ret_path, struct err *e)
{
	CLEAN_BUF struct buf list = BUF_INIT;
	CLEAN_FREE char *list_path = xasprintf("%s/modules/modules.list", kernel_dir);
	CLEAN_FREE char *path = NULL;
	uint64_t digest = digest_add(DIGEST_INIT, INITRAMFS_VERSION, sizeof(INITRAMFS_VERSION));
	uint64_t whole;
	int r = io_read_file(AT_FDCWD, list_path, LIST_MAX, &list, e);

	if (r < 0)
		return err_prefix(e, "the kernel's modules");
	whole = digest = digest_add(digest, list.data, list.len);
	r = digest_file(guest_bin, &whole, e);
	if (r < 0)
		return err_prefix(e, "the guest's program");
	path = path_of(kernel_dir, whole);
	if (access(path, R_OK) < 0)
		return make(kernel_dir, guest_bin, &list, digest, ret_path, e);
	*ret_path = TAKE_PTR(path);
	return 0;
}
