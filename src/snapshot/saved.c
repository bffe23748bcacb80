#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <snapshot/saved.h>
#include <snapshot/snapshot.h>

#include "rate.h"

#define VERSION  2
#define META     "saved.json"
#define USED     "used"
#define META_MAX (1u << 20)

void
saved_release(struct saved *s)
{
	free(s->key);
	free(s->boot_id);
	memset(s, 0, sizeof(*s));
}

static void
to_hex(const uint8_t *p, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static bool
from_hex(const char *s, uint8_t *out, size_t n)
{
	if (strlen(s) != 2 * n || strspn(s, "0123456789abcdef") != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		const char two[3] = {s[2 * i], s[2 * i + 1], '\0'};

		out[i] = (uint8_t)strtoul(two, NULL, 16);
	}
	return true;
}

int
saved_write(const char *folder, const struct saved *s, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/" META, folder), *text = NULL;
	char wake[2 * LINE_WAKE + 1];

	to_hex(s->wake, LINE_WAKE, wake);
	json_auto_t *j = json_pack(
		"{s:i, s:s, s:s, s:i, s:i, s:I, s:i, s:s, s:I, s:b, s:{s:I, s:I, s:I}}", "version",
		VERSION, "key", s->key, "boot_id", s->boot_id, "qemu_major", (int)s->qemu_major,
		"qemu_minor", (int)s->qemu_minor, "tsc_khz", (json_int_t)s->tsc_khz, "journal",
		(int)s->journal, "wake", wake, "created", (json_int_t)s->created, "durable",
		(int)s->durable, "disk", "size", (json_int_t)s->disk.size, "mtime_s",
		(json_int_t)s->disk.mtime_s, "mtime_ns", (json_int_t)s->disk.mtime_ns);
	if (s->copied)
		json_object_set_new(j, "copied", json_true());
	text = json_dumps(j, JSON_INDENT(2));
	if (text == NULL)
		abort();
	return io_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0600, e);
}

static int
decode(const char *text, struct saved *ret, struct err *e)
{
	const char *key, *boot, *wake;
	int version = 0, major, minor, journal, durable;
	json_int_t tsc, created, size, mtime_s, mtime_ns;
	json_error_t why;
	json_auto_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &why);

	if (j == NULL || json_unpack(j, "{s:i}", "version", &version) < 0)
		return err_set(e, EBADMSG, "not a saved machine's description");
	if (version != VERSION)
		return err_set(e, EPROTO, "written by another paddock (version %d, this is %d)",
			version, VERSION);
	if (json_unpack_ex(j, &why, 0,
		    "{s:s, s:s, s:i, s:i, s:I, s:i, s:s, s:I, s:b, s:{s:I, s:I, s:I}}", "key", &key,
		    "boot_id", &boot, "qemu_major", &major, "qemu_minor", &minor, "tsc_khz", &tsc,
		    "journal", &journal, "wake", &wake, "created", &created, "durable", &durable,
		    "disk", "size", &size, "mtime_s", &mtime_s, "mtime_ns", &mtime_ns) < 0)
		return err_set(e, EBADMSG, "%s", why.text);
	struct saved s = {.qemu_major = (unsigned)major,
		.qemu_minor = (unsigned)minor,
		.tsc_khz = (uint64_t)tsc,
		.journal = (unsigned)journal,
		.created = (int64_t)created,
		.durable = durable != 0,
		.disk = {(uint64_t)size, (int64_t)mtime_s, (uint32_t)mtime_ns}};

	if (!from_hex(wake, s.wake, LINE_WAKE))
		return err_set(e, EBADMSG, "not a saved machine's description");
	s.copied = json_is_true(json_object_get(j, "copied"));
	s.key = xstrdup(key);
	s.boot_id = xstrdup(boot);
	*ret = s;
	return 0;
}

/* Without a word where it is not there, or cannot be read: then it counts as of an earlier boot. */
static void
look_at_used(const char *folder, struct saved *s)
{
	CLEAN_FREE char *path = xasprintf("%s/" USED, folder), *now = snapshot_boot_id(NULL);
	CLEAN_BUF struct buf b = BUF_INIT;
	int r = io_read_file(AT_FDCWD, path, 64, &b, NULL);

	if (r == -ENOENT)
		return;
	s->used = r == 0 && now != NULL && strcmp(buf_str(&b), now) == 0;
	s->used_before = !s->used;
}

int
saved_read(const char *folder, struct saved *ret, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/" META, folder);
	CLEAN_BUF struct buf b = BUF_INIT;
	int r = io_read_file(AT_FDCWD, path, META_MAX, &b, e);

	if (r == 0) {
		r = decode(buf_str(&b), ret, e);
		if (r < 0)
			err_prefix(e, "'%s'", path);
	}
	if (r == 0)
		look_at_used(folder, ret);
	return r;
}

int
saved_settle(const char *folder, struct err *e)
{
	CLEAN_CLOSE int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	CLEANUP(saved_release) struct saved s = {0};
	int r = dir < 0 ? err_sys(e, errno, "open '%s'", folder) : io_sync_files(dir, e);

	if (r == 0)
		r = saved_read(folder, &s, e);
	s.durable = true;
	return r == 0 ? saved_write(folder, &s, e) : r;
}

int
saved_mark_used(const char *folder, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/" USED, folder), *boot = snapshot_boot_id(e);

	if (boot == NULL)
		return -ENOENT;
	return io_write_file_atomic(AT_FDCWD, path, boot, strlen(boot), 0600, e);
}

int
saved_disk_of(const char *path, struct saved_disk *ret, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_sys(e, errno, "'%s'", path);
	*ret = (struct saved_disk){
		(uint64_t)st.st_size, (int64_t)st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
	return 0;
}

int
saved_check(const struct saved *s, const char *key, const char *disk, uint64_t (*tsc_khz)(void),
	unsigned journal, struct err *e)
{
	CLEAN_FREE char *boot = snapshot_boot_id(NULL);
	struct saved_disk now;
	int r = saved_disk_of(disk, &now, e);

	if (r < 0)
		return r;
	if (s->used_before || now.size != s->disk.size || now.mtime_s != s->disk.mtime_s ||
		now.mtime_ns != s->disk.mtime_ns)
		return err_set(e, EUCLEAN, "its disk has gone on since it was saved");
	if (!s->durable && (boot == NULL || strcmp(boot, s->boot_id) != 0))
		return err_set(e, EUCLEAN, "the host went down before it was all on the disk");
	if (strcmp(s->key, key) != 0 || s->journal != journal)
		return err_set(e, ESTALE,
			"QEMU, the kernel, paddock or the processor is another than when it was "
			"saved");
	if (tsc_khz != NULL && (boot == NULL || strcmp(boot, s->boot_id) != 0) &&
		!snapshot_same_rate(s->tsc_khz, tsc_khz()))
		return err_set(e, ESTALE, "the host's clock rate was another when it was saved");
	return 0;
}

static int
link_file(const char *from, const char *to, const char *name, struct err *e)
{
	CLEAN_FREE char *old = xasprintf("%s/%s", from, name), *new = xasprintf("%s/%s", to, name);

	return link(old, new) < 0 ? err_sys(e, errno, "link '%s'", new) : 0;
}

int
saved_place(const char *from, const char *to, const char *disk, bool copied, struct err *e)
{
	static const char *const files[] = {SAVED_RAM, SAVED_STATE, SAVED_FS, SAVED_FS_UNREAD};
	CLEAN_FREE char *saved = xasprintf("%s/" SAVED_DISK, from);
	CLEANUP(saved_release) struct saved s = {0};
	int r = saved_read(from, &s, e);

	if (r == 0)
		r = io_copy_file(saved, disk, e);
	for (size_t i = 0; i < ARRAY_LEN(files) && r == 0; i++)
		r = link_file(from, to, files[i], e);
	if (r == 0)
		r = saved_disk_of(disk, &s.disk, e);
	s.copied = copied;
	return r == 0 ? saved_write(to, &s, e) : r;
}

/* A path holds no NUL. */
int
saved_copies_write(const char *folder, const struct strv *pairs, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/" SAVED_COPIES, folder);
	CLEAN_BUF struct buf b = BUF_INIT;

	for (size_t i = 0; i < pairs->n; i++)
		buf_append(&b, pairs->v[i], strlen(pairs->v[i]) + 1);
	return io_write_file_atomic(AT_FDCWD, path, b.data, b.len, 0600, e);
}

int
saved_copies_read(const char *folder, struct strv *ret, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/" SAVED_COPIES, folder);
	CLEAN_BUF struct buf b = BUF_INIT;
	int r = io_read_file(AT_FDCWD, path, META_MAX, &b, e);

	if (r == -ENOENT)
		return 0;
	for (size_t at = 0; r == 0 && at < b.len; at += strlen(buf_str(&b) + at) + 1)
		strv_add(ret, buf_str(&b) + at);
	return r == 0 && ret->n % 2 != 0 ? err_set(e, EBADMSG, "'%s' is damaged", path) : r;
}
