#pragma once
/*
 * A kit: one YAML file that says what an agent needs (paddock-kit(5)). Parsing is pure; the text is
 * the user's, or somebody's whose kit the user tries, so it is bounded and nothing in it is
 * trusted: install steps run inside a sandbox, files go below the home of its agent, and the
 * host's own services cannot be opened by it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/err.h>
#include <base/str.h>

#define KIT_TEXT_MAX  65536  /* a kit as it is written */
#define KIT_PRINT_MAX 524288 /* and with all that it extends, printed */
#define KIT_NAME_MAX  32
#define KIT_LIST_MAX  64 /* entries of any list or map */

struct kit_step {
	bool root;
	char *run; /* for sh -e */
};

struct kit_file {
	char *path;    /* below the home: no "..", no leading slash */
	char *content; /* may hold KIT_VAR_*  */
	unsigned mode; /* 0400 to 0777 */
};

/*
 * In the forms of cred/set.h. Without hosts it is the service of this name (cred/service.h), of
 * which env and placeholder may be other ones; header and format are NULL then.
 */
struct kit_credential {
	char *name;
	struct strv env;   /* where the value may come from, in this order */
	struct strv hosts; /* canonical names; "*.example.com" */
	char *header;
	char *format;      /* "Bearer %s"; exactly one %s */
	char *placeholder; /* the shape of what the sandbox holds in its place; NULL: any */
};

/* What of the user's own settings goes into the home, when that is asked for (kit/home.h). */
struct kit_setting {
	char *path;       /* of a file or folder, below ".NAME/" or ".config/NAME/" of the home */
	struct strv keys; /* of a file that is a JSON object: these alone; empty: the whole */
};

/* The first workspace, in a file's content: as it is, and for the inside of a JSON string. */
#define KIT_VAR_WORKSPACE      "${WORKSPACE}"
#define KIT_VAR_WORKSPACE_JSON "${WORKSPACE_JSON}"
/* "${CREDENTIAL:NAME}": what the sandbox holds in place of this one. */
#define KIT_VAR_CREDENTIAL "${CREDENTIAL:"

/* What a file is filled in with. */
struct kit_vars {
	const char *workspace;
	struct strv credentials; /* NAME=PLACEHOLDER, of those that the sandbox was given */
};

struct kit {
	char *name;
	char *description; /* NULL: none */
	char *extends;     /* name, or path relative to this kit's file; NULL: none, or resolved */
	struct strv packages, npm;
	struct kit_step *steps;
	size_t nsteps;
	struct kit_file *files;
	size_t nfiles;
	struct strv command; /* always there */
	struct strv args;    /* its default arguments */
	bool has_command, has_args;
	struct strv env;   /* KEY=VALUE */
	struct strv rules; /* lines of the policy language: "allow api.example.com:443" */
	struct kit_credential *credentials;
	size_t ncredentials;
	struct kit_setting *settings;
	size_t nsettings;
};

#define CLEAN_KIT __attribute__((cleanup(kit_release)))
void kit_release(struct kit *k);

/* -EINVAL with "LINE:COLUMN: sentence"; *ret is untouched then. */
int kit_parse(const char *text, size_t n, struct kit *ret, struct err *e);

/*
 * What the child does not say itself is the parent's; lists come after the parent's, where the
 * child's entry replaces one of the same key (env, file or setting's path, credential name).
 */
void kit_extend(struct kit *child, const struct kit *parent);

/* Asked once extends is resolved: it has something to run, its files name its own credentials, and
 * what kit_print writes can be read. */
int kit_check_whole(const struct kit *k, struct err *e);

/* As JSON, which kit_parse reads back to an equal kit. Caller frees. */
char *kit_print(const struct kit *k);

bool kit_has_setting(const struct kit *k, const char *path);

/* Of what its template's disk holds besides the base image: packages, npm, install steps. */
bool kit_has_layer(const struct kit *k);
/* 16 hexadecimal digits over just that, and the base image's id. */
#define KIT_DIGEST_SIZE 17
void kit_layer_digest(const struct kit *k, const char *base_id, char out[KIT_DIGEST_SIZE]);

/*
 * The content of a file with its variables filled in; caller frees. NULL: it names a credential
 * that is not in v.
 */
char *kit_file_fill(const struct kit_file *f, const struct kit_vars *v);

bool kit_name_fits(const char *name);

/* The kits that paddock brings. Their texts are NUL-terminated; NULL: none of that name. */
const char *kit_builtin(const char *name);
/* In the order in which they are shown; NULL behind the last. */
const char *kit_builtin_name(size_t i);

/*
 * Finds, reads and resolves. word: a path when it has a slash or ends in ".yaml", else a name, of
 * one's own in config_dir (may be NULL) or a built-in one. -ENOENT when there is none of that name;
 * messages begin with the kit's file. *ret_from (caller frees; may be NULL): its path, or NULL for
 * a built-in one.
 */
int kit_load(
	const char *config_dir, const char *word, struct kit *ret, char **ret_from, struct err *e);
bool kit_word_is_path(const char *word);
/* $XDG_CONFIG_HOME/paddock/kits. Caller frees; NULL without a home. */
char *kit_config_dir(void);
/* Names of one's own kits, sorted. */
int kit_own_names(const char *config_dir, struct strv *ret, struct err *e);
