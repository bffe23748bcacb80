/* Files for a home, and their archive. Pure. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <kit/home.h>

void
home_release(struct home *h)
{
	for (size_t i = 0; i < h->nfiles; i++) {
		free(h->files[i].path);
		buf_release(&h->files[i].content);
	}
	free(h->files);
	memset(h, 0, sizeof(*h));
}

void
home_add(struct home *h, const char *path, unsigned mode, struct buf *content)
{
	h->files = xreallocarray(h->files, h->nfiles + 1, sizeof(*h->files));
	h->bytes += content->len;
	h->files[h->nfiles++] =
		(struct home_file){.path = xstrdup(path), .mode = mode, .content = *content};
	*content = (struct buf)BUF_INIT;
}

void
home_add_kit_files(
	struct home *h, const struct kit *k, const struct kit_vars *v, const struct strv *written)
{
	for (size_t i = 0; i < k->nfiles; i++) {
		CLEAN_FREE char *text = kit_file_fill(&k->files[i], v);
		struct buf content = BUF_INIT;

		if (text == NULL || strv_has(written, k->files[i].path))
			continue;
		buf_append_str(&content, text);
		home_add(h, k->files[i].path, k->files[i].mode, &content);
	}
}

/* ---- ustar ---- */

#define BLOCK 512

struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
	char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct ustar) == BLOCK, "a header is one block");

/* The last 100 bytes from behind a slash, and what is before it in prefix. */
static bool
set_name(struct ustar *u, const char *path)
{
	size_t n = strlen(path);
	const char *slash =
		n > sizeof(u->name) ? strchr(path + n - sizeof(u->name) - 1, '/') : NULL;

	if (n <= sizeof(u->name)) {
		memcpy(u->name, path, n);
		return true;
	}
	if (slash == NULL || slash[1] == '\0' || (size_t)(slash - path) > sizeof(u->prefix))
		return false;
	memcpy(u->prefix, path, (size_t)(slash - path));
	memcpy(u->name, slash + 1, strlen(slash + 1));
	return true;
}

static void
set_checksum(struct ustar *u)
{
	const unsigned char *p = (const unsigned char *)u;
	unsigned sum = 0;

	memset(u->checksum, ' ', sizeof(u->checksum));
	for (size_t i = 0; i < BLOCK; i++)
		sum += p[i];
	snprintf(u->checksum, sizeof(u->checksum), "%06o", sum);
}

int
home_archive(const struct home *h, struct buf *out, struct err *e)
{
	static const uint8_t zeros[2 * BLOCK];

	for (size_t i = 0; i < h->nfiles; i++) {
		const struct home_file *f = &h->files[i];
		struct ustar u = {.type = '0', .magic = "ustar", .version = {'0', '0'}};

		if (!set_name(&u, f->path))
			return err_set(e, ENAMETOOLONG, "the path '%.80s...' is too long", f->path);
		snprintf(u.mode, sizeof(u.mode), "%07o", f->mode);
		snprintf(u.uid, sizeof(u.uid), "%07o", 0);
		snprintf(u.gid, sizeof(u.gid), "%07o", 0);
		snprintf(u.size, sizeof(u.size), "%011zo", f->content.len);
		snprintf(u.mtime, sizeof(u.mtime), "%011o", 0);
		set_checksum(&u);
		buf_append(out, &u, sizeof(u));
		if (f->content.len > 0)
			buf_append(out, f->content.data, f->content.len);
		buf_append(out, zeros, (BLOCK - f->content.len % BLOCK) % BLOCK);
	}
	buf_append(out, zeros, sizeof(zeros));
	return 0;
}
