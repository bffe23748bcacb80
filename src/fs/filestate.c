#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/htab.h>
#include <base/mem.h>
#include <proto/gitconfig.h>

#include "filestate.h"
#include "server.h"

#define READ_MAX     (512u << 10)
#define SETTINGS_MAX 64  /* in one file */
#define VALUE_MAX    280 /* CHANGE_VALUE_MAX holds it */

void
filestate_release(struct filestate *s)
{
	for (size_t i = 0; i < s->nsettings; i++) {
		free(s->settings[i].key);
		free(s->settings[i].value);
	}
	free(s->settings);
	memset(s, 0, sizeof(*s));
}

struct filestate_setting *
filestate_find(const struct filestate *s, const char *key)
{
	for (size_t i = 0; i < s->nsettings; i++)
		if (strcmp(s->settings[i].key, key) == 0)
			return &s->settings[i];
	return NULL;
}

/*
 * Of what is too long only the beginning is kept, and a digest: hostile files are not to grow it,
 * and what is told of it is to differ when it does.
 */
static char *
shorten(char *whole)
{
	char *shorter;

	if (strlen(whole) <= VALUE_MAX)
		return whole;
	shorter = xasprintf("%.200s ... %016llx", whole,
		(unsigned long long)hash_bytes(0, whole, strlen(whole)));
	free(whole);
	return shorter;
}

static void
set(struct filestate *s, const char *key, const char *value)
{
	struct filestate_setting *old = filestate_find(s, key);
	char *joined;

	/* The last place is for all that there is no room for. */
	if (old == NULL && s->nsettings >= SETTINGS_MAX - 1) {
		key = "(more)";
		old = filestate_find(s, key);
	}
	if (old == NULL) {
		s->settings = xreallocarray(s->settings, s->nsettings + 1, sizeof(*s->settings));
		s->settings[s->nsettings++] =
			(struct filestate_setting){xstrdup(key), shorten(xstrdup(value))};
		return;
	}
	joined = shorten(xasprintf("%s; %s", old->value, value));
	free(old->value);
	old->value = joined;
}

static int
add_setting(void *arg, const char *key, const char *value)
{
	if (gitconfig_is_active(key, value))
		set(arg, key, value != NULL ? value : "");
	return 0;
}

/* Git does not go on with a file that it cannot read, but another version may. */
static void
read_settings(const struct buf *b, bool whole, struct filestate *s)
{
	if (!whole)
		set(s, "(too long to be looked at)", "");
	else if (gitconfig_parse((const char *)b->data, b->len, add_setting, s) < 0)
		set(s, "(not understood by git)", "");
}

int
filestate_open(const struct fs *fs, const char *path, uint64_t flags)
{
	return io_openat2(fs->opt.root_fd, path + 1, flags | O_NOFOLLOW,
		RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

bool
filestate_content(int fd, struct buf *out)
{
	while (out->len <= READ_MAX) {
		ssize_t n = pread(fd, buf_reserve(out, 65536), 65536, (off_t)out->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		buf_commit(out, (size_t)n);
	}
	return false;
}

void
filestate_read(const struct fs *fs, const char *path, bool settings, struct filestate *ret)
{
	CLEAN_CLOSE int fd = filestate_open(fs, path, O_PATH), data = -1;
	CLEAN_BUF struct buf b = BUF_INIT;
	struct statx st;
	bool whole;

	*ret = (struct filestate){0};
	if (fd < 0 || stat_at(fd, "", &st) < 0)
		return;
	ret->type = st.stx_mode & S_IFMT;
	if (S_ISLNK(st.stx_mode)) {
		ssize_t n = readlinkat(fd, "", (char *)buf_reserve(&b, PATH_MAX), PATH_MAX);

		buf_commit(&b, n > 0 ? (size_t)n : 0);
		ret->digest = hash_bytes(fs->seed, b.data, b.len);
		if (settings) /* wherever it leads, git goes there */
			set(ret, "(a symlink)", buf_str(&b));
		return;
	}
	if (!S_ISREG(st.stx_mode)) {
		/* A folder says nothing; what is in it does. */
		ret->type = S_ISDIR(st.stx_mode) ? 0 : ret->type;
		return;
	}
	ret->exec = st.stx_mode & 0111;
	data = openat(fs->opt.proc_fd, fd_name(fd).s, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	whole = data >= 0 && filestate_content(data, &b);
	if (settings) {
		read_settings(&b, whole, ret);
		return;
	}
	ret->digest = hash_bytes(fs->seed, b.data, b.len);
	if (!whole)
		ret->digest = hash_u64(ret->digest, st.stx_size) ^ (uint64_t)st.stx_mtime.tv_sec ^
			      st.stx_mtime.tv_nsec;
}

bool
filestate_same_settings(const struct filestate *a, const struct filestate *b)
{
	if (a->nsettings != b->nsettings)
		return false;
	for (size_t i = 0; i < a->nsettings; i++)
		if (strcmp(a->settings[i].key, b->settings[i].key) != 0 ||
			strcmp(a->settings[i].value, b->settings[i].value) != 0)
			return false;
	return true;
}

bool
filestate_same(const struct filestate *a, const struct filestate *b)
{
	return a->type == b->type && a->digest == b->digest && a->exec == b->exec;
}

void
filestate_copy(const struct filestate *from, struct filestate *ret)
{
	*ret = *from;
	ret->settings = NULL;
	ret->nsettings = 0;
	for (size_t i = 0; i < from->nsettings; i++)
		set(ret, from->settings[i].key, from->settings[i].value);
}
