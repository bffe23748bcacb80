/*
 * The home of a sandbox's agent: the kit's files, the first time, and those that name a credential
 * once that is there (without it the agent shall not believe that it has a key); and the user's own
 * settings of the agent where they were asked for, the first time and whenever they have changed
 * since. Nothing ever comes back from there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/digest.h>
#include <base/io.h>
#include <base/mem.h>
#include <kit/home.h>
#include <state/credentials.h>

#include "cli.h"

#define READY_FILE    "kit-files"     /* the paths of the kit's that are written; empty: all */
#define SETTINGS_FILE "settings-sent" /* the digest of what was */
#define FILES_MAX_MS  60000
#define NOTES_MAX     8

struct last_line {
	char text[160];
};

static void
keep_line(void *arg, const char *text)
{
	struct last_line *l = arg;

	snprintf(l->text, sizeof(l->text), "%s", text);
}

/* keep: what is there already stays as it is. */
static int
write_home(
	const struct cli *c, const char *name, const struct buf *archive, bool keep, struct err *e)
{
	static const char *const words[] = {"tar", "-x", "-p", "-m", "--no-same-owner", "-f", "-"};
	struct last_line last = {0};
	struct guest_job j = {.cwd = "/home/agent",
		.input = archive->data,
		.ninput = archive->len,
		.line = keep_line,
		.arg = &last,
		.cancel_fd = -1,
		.limit_ms = FILES_MAX_MS};
	int r;

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		strv_add(&j.argv, words[i]);
	if (keep)
		strv_add(&j.argv, "--skip-old-files");
	r = guest_run(c, name, &j, e);
	strv_release(&j.argv);
	return r > 0 ? err_set(e, EIO, "files cannot be written into the sandbox's home: %s",
			       last.text)
		     : r;
}

static const char *
first_workspace(const struct sandbox *s)
{
	return s->nworkspaces > 0 ? s->workspaces[0].path : "/";
}

static int
find_vars(const struct cli *c, const struct sandbox *s, struct kit_vars *ret, struct err *e)
{
	CLEAN_CRED_SET struct cred_set known = {0};
	int r = state_credentials_load(&c->paths, s->name, &known, e);

	ret->workspace = first_workspace(s);
	for (size_t i = 0; i < known.n && r == 0; i++)
		strv_setenv(&ret->credentials, known.v[i].name, known.v[i].placeholder);
	return r;
}

/* The paths that are written already. False: none, it is the first start. */
static bool
read_ready(const char *ready, const struct kit *k, struct strv *ret)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	char *save = NULL;

	if (io_read_file(AT_FDCWD, ready, KIT_PRINT_MAX, &b, NULL) < 0)
		return false;
	CLEAN_FREE char *text = xstrdup(buf_str(&b));

	for (char *l = strtok_r(text, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save))
		strv_add(ret, l);
	for (size_t i = 0; i < k->nfiles && b.len == 0; i++)
		strv_add(ret, k->files[i].path);
	return true;
}

static int
write_kit_files(const struct cli *c, const struct sandbox *s, const struct kit *k,
	const struct kit_vars *v, struct err *e)
{
	CLEAN_FREE char *ready = state_sandbox_file(&c->paths, s->name, READY_FILE);
	CLEAN_BUF struct buf archive = BUF_INIT, paths = BUF_INIT;
	CLEAN_STRV struct strv written = {0};
	CLEAN_HOME struct home h = {0};
	bool again = read_ready(ready, k, &written);
	int r;

	home_add_kit_files(&h, k, v, &written);
	if (h.nfiles == 0)
		return 0;
	r = home_archive(&h, &archive, e);
	if (r == 0)
		r = write_home(c, s->name, &archive, again, e);
	for (size_t i = 0; i < written.n; i++)
		buf_printf(&paths, "%s\n", written.v[i]);
	for (size_t i = 0; i < h.nfiles; i++)
		buf_printf(&paths, "%s\n", h.files[i].path);
	/* Interrupted before this, they are written once more. */
	return r == 0 ? io_write_file_atomic(AT_FDCWD, ready, paths.data, paths.len, 0600, e) : r;
}

/* ---- the user's own settings ---- */

static void
tell(const struct cli *c, const struct home *h, const struct strv *left)
{
	char size[16];

	if (c->quiet)
		return;
	str_from_size(h->bytes, size);
	for (size_t i = 0; i < left->n && i < NOTES_MAX; i++) {
		CLEAN_FREE char *note = xasprintf("note: not copied in: %s", left->v[i]);

		ui_note(note);
	}
	if (left->n > NOTES_MAX)
		fprintf(stderr, "note: and %zu more\n", left->n - NOTES_MAX);
	fprintf(stderr, "note: your settings are copied in: %zu files, %s\n", h->nfiles, size);
}

static bool
was_sent(const char *path, const char *digest)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	return io_read_file(AT_FDCWD, path, 100, &b, NULL) == 0 && strcmp(buf_str(&b), digest) == 0;
}

static int
write_settings(const struct cli *c, const struct sandbox *s, const struct kit *k,
	const struct kit_vars *v, struct err *e)
{
	CLEAN_FREE char *sent = state_sandbox_file(&c->paths, s->name, SETTINGS_FILE);
	CLEAN_BUF struct buf archive = BUF_INIT;
	CLEAN_STRV struct strv left = {0};
	CLEAN_HOME struct home h = {0};
	const char *folder = getenv("HOME");
	char digest[32];
	int r;

	if (folder == NULL || folder[0] != '/')
		return err_set(e, EINVAL, "--with-settings needs HOME, the folder they are in");
	r = home_add_settings(&h, k, folder, v, &left, e);
	if (r == 0)
		r = home_archive(&h, &archive, e);
	if (r < 0)
		return r;
	snprintf(digest, sizeof(digest), "%016" PRIx64 "\n",
		digest_add(DIGEST_INIT, archive.data, archive.len));
	if (was_sent(sent, digest))
		return 0;
	tell(c, &h, &left);
	r = write_home(c, s->name, &archive, false, e);
	return r == 0 ? io_write_file_atomic(AT_FDCWD, sent, digest, strlen(digest), 0600, e) : r;
}

int
agent_prepare(const struct cli *c, const char *name, const struct kit *k, struct err *e)
{
	struct sandbox s = {0};
	struct kit_vars v = {0};
	int r = sandbox_load(&c->paths, name, &s, e);

	if (r == 0)
		r = find_vars(c, &s, &v, e);
	if (r == 0)
		r = write_kit_files(c, &s, k, &v, e);
	if (r == 0 && s.with_settings)
		r = write_settings(c, &s, k, &v, e);
	strv_release(&v.credentials);
	sandbox_release(&s);
	return r < 0 ? err_prefix(e, "kit '%s'", k->name) : 0;
}
