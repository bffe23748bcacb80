/*
 * How this works: {"version":1,"entries":[...]}, or {"version":1,"sealed":"BASE64"} of that list.
 * What was sealed once is never written plain again: without its key the store can be neither read
 * nor changed, only removed by its owner.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>
#include <cred/base64.h>
#include <cred/secret.h>

#include "entry.h"
#include "keyring.h"
#include "seal.h"

#define FILE_MAX      (16U << 20)
#define LOCK_LIMIT_MS 10000

static void
cleanup_json_p(json_t **o)
{
	json_decref(*o);
}
#define CLEAN_JSON CLEANUP(cleanup_json_p)

static char *
folder(const struct state_paths *p)
{
	return xasprintf("%s/secrets", p->data);
}

static char *
file(const struct state_paths *p)
{
	return xasprintf("%s/secrets/store.json", p->data);
}

static int
open_sealed(const char *coded, struct secrets *ret, struct err *e)
{
	uint8_t key[KEYRING_KEY_BYTES];
	CLEAN_BUF struct buf sealed = BUF_INIT;
	CLEAN_CRED_BUF struct buf plain = BUF_INIT;
	CLEAN_JSON json_t *list = NULL;
	int r = keyring_get(key, e);

	if (r == -ENOENT)
		return err_set(e, EACCES,
			"it is encrypted, and the Secret Service does not give its key: log in to "
			"your desktop's keyring, or remove the file and set the secrets anew");
	if (r == 0 && (!base64_get(&sealed, coded, strlen(coded)) ||
			      seal_get(key, sealed.data, sealed.len, &plain) < 0))
		r = err_set(e, EACCES, "the key of the Secret Service does not open it");
	explicit_bzero(key, sizeof(key));
	if (r < 0)
		return r;
	list = json_loadb((const char *)plain.data, plain.len, 0, NULL);
	ret->encrypted = true;
	return entries_from_json(list, ret, e);
}

static int
from_json(json_t *o, struct secrets *ret, struct err *e)
{
	const char *sealed = json_string_value(json_object_get(o, "sealed"));
	json_int_t version = json_integer_value(json_object_get(o, "version"));

	if (version > SECRETS_FILE_VERSION)
		return err_set(e, ENOTSUP,
			"it has version %lld, this paddock knows %d: use a newer paddock",
			(long long)version, SECRETS_FILE_VERSION);
	if (version < 1)
		return err_set(e, EINVAL, "it has no version");
	return sealed != NULL ? open_sealed(sealed, ret, e)
			      : entries_from_json(json_object_get(o, "entries"), ret, e);
}

int
secrets_load(const struct state_paths *p, struct secrets *ret, struct err *e)
{
	CLEAN_FREE char *path = file(p);
	CLEAN_CRED_BUF struct buf b = BUF_INIT;
	CLEAN_SECRETS struct secrets s = {0};
	CLEAN_JSON json_t *o = NULL;
	int r = io_read_file(AT_FDCWD, path, FILE_MAX, &b, e);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	/* jansson's own messages quote the text. */
	o = json_loadb((const char *)b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
	r = o != NULL ? from_json(o, &s, e) : err_set(e, EINVAL, "it is no JSON");
	if (r < 0)
		return err_prefix(e, "the secrets in '%s'", path);
	*ret = s;
	s = (struct secrets){0};
	return 0;
}

/* 0: sealed; -ENOENT: there is no Secret Service. */
static int
seal(const char *text, struct buf *out, struct err *e)
{
	uint8_t key[KEYRING_KEY_BYTES];
	CLEAN_BUF struct buf sealed = BUF_INIT;
	int r = keyring_get(key, e);

	if (r == -ENOENT)
		r = keyring_make(key, e);
	if (r == 0 && seal_put(key, text, strlen(text), &sealed) < 0)
		r = err_set(e, EIO, "the secrets cannot be encrypted");
	if (r == 0)
		base64_put(out, sealed.data, sealed.len);
	explicit_bzero(key, sizeof(key));
	return r;
}

static void
wipe(char *text)
{
	if (text != NULL)
		explicit_bzero(text, strlen(text));
	free(text);
}

int
secrets_save(const struct state_paths *p, struct secrets *s, struct err *e)
{
	CLEAN_FREE char *path = file(p), *dir = folder(p);
	CLEAN_CRED_BUF struct buf sealed = BUF_INIT, b = BUF_INIT;
	CLEAN_JSON json_t *list = entries_to_json(s);
	char *text = list != NULL ? json_dumps(list, JSON_COMPACT) : NULL;
	int r = text == NULL ? err_set(e, EINVAL, "a secret that is no UTF-8")
			     : seal(text, &sealed, e);

	if (r == -ENOENT && s->encrypted)
		r = err_set(e, EACCES,
			"the secrets are encrypted, and the Secret Service is gone: log in to your "
			"desktop's keyring");
	if (r == 0)
		buf_printf(&b, "{\"version\":%d,\"sealed\":\"%s\"}\n", SECRETS_FILE_VERSION,
			buf_str(&sealed));
	else if (r == -ENOENT)
		buf_printf(&b, "{\"version\":%d,\"entries\":%s}\n", SECRETS_FILE_VERSION, text);
	wipe(text);
	if (r < 0 && r != -ENOENT)
		return r;
	s->encrypted = r == 0;
	r = io_mkdirs(dir, 0700, e);
	return r == 0 ? io_write_file_atomic(AT_FDCWD, path, b.data, b.len, 0600, e) : r;
}

int
secrets_lock(const struct state_paths *p, struct err *e)
{
	CLEAN_FREE char *dir = folder(p);
	CLEAN_CLOSE int fd = -1;
	int r = io_mkdirs(dir, 0700, e);

	if (r < 0)
		return r;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open '%s'", dir);
	r = io_lock(fd, deadline_in_ms(LOCK_LIMIT_MS));
	if (r == -ETIMEDOUT)
		return err_set(e, EBUSY,
			"another command is changing the secrets and does not end: see ps");
	return r < 0 ? err_sys(e, -r, "lock '%s'", dir) : TAKE_FD(fd);
}

static bool
forget(struct secrets *s, const char *sandbox)
{
	bool any = false;

	for (size_t i = s->n; i > 0; i--)
		if (s->v[i - 1].sandbox != NULL && strcmp(s->v[i - 1].sandbox, sandbox) == 0)
			any |= secrets_remove(s, s->v[i - 1].cred.name, sandbox);
	return any;
}

int
secrets_forget(const struct state_paths *p, const char *sandbox, struct err *e)
{
	CLEAN_FREE char *path = file(p);
	CLEAN_SECRETS struct secrets s = {0};
	CLEAN_CLOSE int lock = -1;
	int r;

	if (access(path, F_OK) < 0)
		return 0;
	lock = secrets_lock(p, e);
	r = lock < 0 ? lock : secrets_load(p, &s, e);
	return r == 0 && forget(&s, sandbox) ? secrets_save(p, &s, e) : r;
}

static int
run_command(const struct secrets_entry *one, char **ret, struct err *e)
{
	char *argv[] = {"/bin/sh", "-c", one->command, NULL};
	CLEAN_CRED_BUF struct buf out = BUF_INIT;
	size_t n;
	int r = proc_run(argv, SOURCE_LIMIT_MS, &out, e);

	if (r < 0)
		return err_prefix(e, "the command of secret '%s'", one->cred.name);
	n = out.len;
	if (n > 0 && out.data[n - 1] == '\n')
		n--;
	r = cred_value_check(one->cred.name, out.data, n, e);
	if (r == 0)
		*ret = secret_dup(out.data, n);
	return r;
}

int
secrets_value(const struct secrets_entry *one, char **ret, struct err *e)
{
	if (one->command != NULL)
		return run_command(one, ret, e);
	*ret = secret_dup(one->cred.value, strlen(one->cred.value));
	return 0;
}
