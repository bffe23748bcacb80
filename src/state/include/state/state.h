#pragma once
/*
 * State in plain files (design.md, section 4). Every file is written atomically and carries a
 * version; a newer version than ours is refused with a clear message and never destroyed.
 *   data     $XDG_DATA_HOME/paddock: templates/, kernels/, sandboxes/NAME/
 *   config   $XDG_CONFIG_HOME/paddock: policy.json, made when there is something to keep
 *   runtime  $XDG_RUNTIME_DIR/paddock: NAME/sock
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <base/err.h>
#include <base/str.h>

struct state_paths {
	char *data;
	char *config;
	char *runtime;
	uid_t uid; /* of the host user */
	gid_t gid;
};

/* From the environment; makes both folders (mode 0700); refuses those that others could write. */
int state_paths_init(struct state_paths *ret, struct err *e);
void state_paths_release(struct state_paths *p);
char *state_sandbox_dir(const struct state_paths *p, const char *name); /* caller frees */
char *state_sandbox_file(const struct state_paths *p, const char *name, const char *file);

struct workspace {
	char *path; /* as the sandbox sees it: absolute, resolved when it was named */
	bool read_only;
	bool is_file;
	char *source; /* where it lies on the host, in a fork that has a copy; NULL: at path */
};

#define SANDBOX_WORKSPACES_MAX 64
#define SANDBOX_SHADOWS_MAX    64

/* sandbox.json */
struct sandbox {
	char *name;
	char *agent;
	char *image; /* the template's id */
	struct workspace *workspaces;
	size_t nworkspaces; /* the first is the primary one */
	unsigned cpus;
	uint64_t memory_bytes;
	uint64_t disk_bytes;
	char *accel;         /* auto, kvm, tcg */
	struct strv env;     /* KEY=VALUE for every session */
	struct strv resolve; /* HOST:PORT:ADDRESS[:PORT] */
	struct strv ports;   /* published ones, as port_format writes them (state/port.h) */
	bool allow_hooks;    /* the guest may write git's hooks */
	bool with_settings;  /* the user's own settings of the agent go in */
	struct strv ssh;     /* HOST[:PORT]: where the host's SSH agent may be used */
	struct strv shadows; /* folders in workspaces that are the sandbox's own; absolute */
	int64_t created;     /* seconds since the epoch */
};

void sandbox_release(struct sandbox *s);
/* Returned: to set source; valid until the next call. */
struct workspace *sandbox_add_workspace(
	struct sandbox *s, const char *path, bool read_only, bool is_file);
const char *workspace_source(const struct workspace *w); /* never NULL */
void workspaces_free(struct workspace *v, size_t n);
/* path is base or lies in it: what follows base in it ("" or "/..."). Else NULL. */
const char *path_below(const char *path, const char *base);

/*
 * At least two characters, the first a letter or digit, then letters, digits, '.', '_', '+', '-';
 * at most 63. 0 or -EINVAL with a sentence.
 */
int sandbox_name_check(const char *name, struct err *e);
/* "<agent>-<folder>" with every other character replaced by '-'. Caller frees. */
char *sandbox_name_default(const char *agent, const char *workspace);

/* -ENOENT when there is none. */
int sandbox_load(const struct state_paths *p, const char *name, struct sandbox *ret, struct err *e);

/*
 * Makes the sandbox's folder with sandbox.json and whatever fill() puts into it (the disk), under a
 * temporary name, then renames it into place: there is a whole sandbox or none. -EEXIST. The files
 * in it are synced before that; fill() needs not.
 */
int sandbox_create(const struct state_paths *p, const struct sandbox *s,
	int (*fill)(const char *dir, void *arg, struct err *e), void *arg, struct err *e);

/* Writes the record anew; the lock must be held. */
int sandbox_save(const struct state_paths *p, const struct sandbox *s, struct err *e);

/* -EEXIST with what to do about it. */
int sandbox_exists_error(const char *name, struct err *e);

/*
 * A workspace that held Paddock's own state would hand the guest the disks and sockets of all
 * sandboxes, and with a forged disk header the host's files: -EINVAL.
 */
int sandbox_check_workspaces(const struct state_paths *p, const struct sandbox *s, struct err *e);

/* Renames it out of the way, then deletes it. Nobody may be running it (hold state_lock). */
int sandbox_remove(const struct state_paths *p, const char *name, struct err *e);

/* Names, sorted. Also deletes what interrupted creations and removals left behind. */
int sandbox_names(const struct state_paths *p, struct strv *ret, struct err *e);

/*
 * The lock of a running sandbox, held by its supervisor and everything that it starts (or by rm
 * while it deletes). Returns a descriptor, -EWOULDBLOCK when somebody has it, -ENOENT.
 */
int state_lock(const struct state_paths *p, const char *name, struct err *e);
/* Removes the socket and its folder; the lock must be held. */
int state_runtime_remove(const struct state_paths *p, const char *name, struct err *e);

/*
 * Held shared from the choice of an image until a sandbox stands on it, alone while an image is
 * removed. Does not wait: -EBUSY. A descriptor.
 */
int state_images_lock(const struct state_paths *p, bool alone, struct err *e);

/*
 * The control socket, whatever the length of its path. fd or -errno. connect finds it whatever
 * XDG_RUNTIME_DIR its supervisor had: -ENOENT or -ECONNREFUSED when none runs.
 */
int state_socket_listen(const struct state_paths *p, const char *name, struct err *e);
int state_socket_connect(const struct state_paths *p, const char *name, struct err *e);

/*
 * What it was suspended in (snapshot/saved.h): a folder of its own. The lock must be held to remove
 * it.
 */
char *state_suspended(const struct state_paths *p, const char *name); /* caller frees */
bool state_is_suspended(const struct state_paths *p, const char *name);
int state_suspended_remove(const struct state_paths *p, const char *name, struct err *e);
/* Beside it, with something random behind: being made or removed. */
#define STATE_SUSPENDING ".suspending-"

/* Why a sandbox last stopped, for inspect and run ("" when it never ran). */
int state_set_last_stop(const struct state_paths *p, const char *name, const char *why);
char *state_last_stop(const struct state_paths *p, const char *name); /* caller frees; never NULL */
