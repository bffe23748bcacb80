/*
 * The home of a sandbox's agent: the kit's files, the first time; and the user's own settings of
 * the agent where they were asked for, the first time and whenever they have changed since. Nothing
 * ever comes back from there.
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

#include "cli.h"

#define READY_FILE    "kit-files"     /* the kit's are written */
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

static int
write_home(const struct cli *c, const char *name, const struct buf *archive, struct err *e)
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
write_kit_files(const struct cli *c, const struct sandbox *s, const struct kit *k, struct err *e)
{
	CLEAN_FREE char *ready = state_sandbox_file(&c->paths, s->name, READY_FILE);
	CLEAN_BUF struct buf archive = BUF_INIT;
	CLEAN_HOME struct home h = {0};
	int r;

	if (k->nfiles == 0 || access(ready, F_OK) == 0)
		return 0;
	home_add_kit_files(&h, k, first_workspace(s));
	r = home_archive(&h, &archive, e);
	if (r == 0)
		r = write_home(c, s->name, &archive, e);
	/* Interrupted before this, they are written once more. */
	return r == 0 ? io_write_file_atomic(AT_FDCWD, ready, "", 0, 0600, e) : r;
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
write_settings(const struct cli *c, const struct sandbox *s, const struct kit *k, struct err *e)
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
	r = home_add_settings(&h, k, folder, first_workspace(s), &left, e);
	if (r == 0)
		r = home_archive(&h, &archive, e);
	if (r < 0)
		return r;
	snprintf(digest, sizeof(digest), "%016" PRIx64 "\n",
		digest_add(DIGEST_INIT, archive.data, archive.len));
	if (was_sent(sent, digest))
		return 0;
	tell(c, &h, &left);
	r = write_home(c, s->name, &archive, e);
	return r == 0 ? io_write_file_atomic(AT_FDCWD, sent, digest, strlen(digest), 0600, e) : r;
}

int
agent_prepare(const struct cli *c, const char *name, const struct kit *k, struct err *e)
{
	struct sandbox s = {0};
	int r = sandbox_load(&c->paths, name, &s, e);

	if (r == 0)
		r = write_kit_files(c, &s, k, e);
	if (r == 0 && s.with_settings)
		r = write_settings(c, &s, k, e);
	sandbox_release(&s);
	return r < 0 ? err_prefix(e, "kit '%s'", k->name) : 0;
}
