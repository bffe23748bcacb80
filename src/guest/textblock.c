#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "textblock.h"

#define BEGIN "# paddock begin (written at every start)\n"
#define END   "# paddock end\n"

#define FILE_MAX (16u << 20)
#define BLOCK    4096u /* the file system's */

/* The marker where it is a whole line. */
static const char *
find_line(const char *text, const char *line)
{
	for (const char *p = text; (p = strstr(p, line)) != NULL; p++)
		if (p == text || p[-1] == '\n')
			return p;
	return NULL;
}

static void
add_block(const char *content, struct buf *out)
{
	buf_append_str(out, BEGIN);
	buf_append_str(out, content);
	if (content[strlen(content) - 1] != '\n')
		buf_append_str(out, "\n");
	buf_append_str(out, END);
}

void
textblock_replace(const char *text, const char *content, struct buf *out)
{
	size_t n = strlen(text);
	/* A last line without an end gets one, so that a marker there is a line, too. */
	CLEAN_FREE char *lines = xasprintf("%s%s", text, n > 0 && text[n - 1] != '\n' ? "\n" : "");
	const char *begin = find_line(lines, BEGIN);
	const char *end = begin != NULL ? find_line(begin, END) : NULL;

	if (begin == NULL && (content == NULL || content[0] == '\0')) {
		buf_append(out, text, n);
		return;
	}
	buf_append(out, lines, begin != NULL ? (size_t)(begin - lines) : strlen(lines));
	if (content != NULL && content[0] != '\0')
		add_block(content, out);
	if (end != NULL)
		buf_append_str(out, end + strlen(END));
}

bool
textblock_is_in(const char *text)
{
	return find_line(text, BEGIN) != NULL;
}

/*
 * Beside it and renamed over it, so that nobody reads half a file. ext4 writes a renamed file's
 * data out before the rename (auto_da_alloc), so a crash leaves the old or the new one.
 */
static int
replace_file(const char *path, const void *p, size_t n, unsigned mode, struct err *e)
{
	CLEAN_FREE char *tmp = xasprintf("%s.paddock-new", path);
	CLEAN_CLOSE int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "create '%s'", tmp);
	r = io_write_full(fd, p, n, UINT64_MAX);
	if (r == 0 && fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(tmp);
		return err_sys(e, -r, "write '%s'", path);
	}
	return 0;
}

/*
 * At its end: a fraction of what a new file costs. A crash may leave the first part of the block,
 * which the next start replaces (textblock_replace), or of its marker, which is a comment.
 */
static int
append_file(const char *path, const void *p, size_t n)
{
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : io_write_full(fd, p, n, UINT64_MAX);
}

/*
 * Where it is, which is a fraction of a new file's work, too: one that is new or has no more than a
 * block of the disk, for such a one a crash or a full disk leaves as it was or as it is to be. Half
 * of a new one is found at the next start, which writes it again.
 */
static int
write_in_place(const char *path, const void *p, size_t n, unsigned mode)
{
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, mode);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_nlink > 1 ||
		(st.st_size > 0 && (n > BLOCK || st.st_size > BLOCK)))
		return -EINVAL;
	r = io_write_full(fd, p, n, UINT64_MAX);
	if (r == 0 && st.st_size > (off_t)n && ftruncate(fd, (off_t)n) < 0)
		r = -errno;
	if (r == 0 && (st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
		r = -errno;
	return r;
}

int
text_write(const char *path, const void *p, size_t n, unsigned mode, struct err *e)
{
	CLEAN_BUF struct buf old = BUF_INIT;

	if (io_read_file(AT_FDCWD, path, FILE_MAX, &old, NULL) == 0 && old.len == n &&
		(n == 0 || memcmp(old.data, p, n) == 0))
		return 0;
	return write_in_place(path, p, n, mode) == 0 ? 0 : replace_file(path, p, n, mode, e);
}

int
textblock_update(
	const char *path, struct buf *old, const char *content, unsigned mode, struct err *e)
{
	CLEAN_BUF struct buf new = BUF_INIT;
	const char *text = buf_str(old);

	if (old->len > 0 && content != NULL && content[0] != '\0' && !textblock_is_in(text)) {
		buf_append_str(&new, text[old->len - 1] != '\n' ? "\n" : "");
		add_block(content, &new);
		if (append_file(path, new.data, new.len) == 0)
			return 0;
		buf_clear(&new);
	}
	textblock_replace(text, content, &new);
	if (new.len == old->len && (new.len == 0 || memcmp(new.data, old->data, new.len) == 0))
		return 0;
	return replace_file(path, new.data, new.len, mode, e);
}

int
textblock_apply(const char *path, const char *content, unsigned mode, struct err *e)
{
	CLEAN_BUF struct buf old = BUF_INIT;
	int r = io_read_file(AT_FDCWD, path, FILE_MAX, &old, e);

	return r < 0 && r != -ENOENT ? r : textblock_update(path, &old, content, mode, e);
}
