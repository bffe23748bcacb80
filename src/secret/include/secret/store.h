#pragma once
/*
 * What `paddock secret set` keeps, of the user and of single sandboxes. Nothing prints a value.
 */
#include <stdbool.h>
#include <stddef.h>

#include <base/err.h>
#include <cred/set.h>
#include <state/state.h>

#define SECRETS_FILE_VERSION 1
#define SECRETS_ENTRIES_MAX  256
#define SECRETS_COMMAND_MAX  4096
#define SOURCE_LIMIT_MS      120000 /* for a command that prints a value: it may ask its user */
#define KEYRING_LIMIT_MS     30000  /* the Secret Service may ask its user to unlock it */

struct secrets_entry {
	char *sandbox; /* NULL: of all of the user's */
	/* Name; the value, unless there is a command; for one that is no service's or kit's, where
	 * it goes. Its placeholder is the shape, or NULL. */
	struct cred cred;
	char *command; /* for sh -c on the host, whose output is the value; NULL: none */
};

struct secrets {
	struct secrets_entry *v;
	size_t n;
	bool encrypted; /* as it was read; secrets_save sets it */
};

#define CLEAN_SECRETS __attribute__((cleanup(secrets_release)))
void secrets_release(struct secrets *s);
/* Takes it, in place of the one with its name and sandbox. */
void secrets_put(struct secrets *s, struct secrets_entry *one);
/* sandbox NULL: of the user. NULL: none. */
struct secrets_entry *secrets_find(const struct secrets *s, const char *name, const char *sandbox);
bool secrets_remove(struct secrets *s, const char *name, const char *sandbox);

/* Empty where there is no file. -EACCES where its key cannot be had, -ENOTSUP for a newer one. */
int secrets_load(const struct state_paths *p, struct secrets *ret, struct err *e);
/* With the key of the Secret Service, made there when it has none; plain without the Service, but
 * never what was encrypted before (-EACCES). */
int secrets_save(const struct state_paths *p, struct secrets *s, struct err *e);
/* Takes away those of a sandbox that is gone: another one of its name is not to have them. */
int secrets_forget(const struct state_paths *p, const char *sandbox, struct err *e);
/* Held while it is read, changed and written. A descriptor; waits. */
int secrets_lock(const struct state_paths *p, struct err *e);

/* The value of an entry: its own, or what its command prints, without the last line end. Caller
 * frees with secret_free. The command's terminal is the caller's. */
int secrets_value(const struct secrets_entry *one, char **ret, struct err *e);
