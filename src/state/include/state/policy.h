#pragma once
/*
 * policy.json: {"version":1,"preset":"balanced","rules":["allow example.com",...]}, with the rules
 * in the language of policy/rule.h. One lies in each sandbox's folder; that of the config folder,
 * if there is one, is what new sandboxes begin with.
 */
#include <policy/policy.h>
#include <state/state.h>

#define POLICY_FILE_VERSION 1

/* -ENOENT where there is none, -EINVAL (or -ENOTSUP: newer) with a sentence that names the line. */
int policy_file_load(const char *path, struct policy *ret, struct err *e);
/* Atomically, mode 0600. */
int policy_file_save(const char *path, const struct policy *p, struct err *e);

char *state_policy_file(const struct state_paths *p, const char *name); /* caller frees */
/* A sandbox without a policy is no sandbox that was made by us: -ENOENT with a sentence. */
int state_policy_load(
	const struct state_paths *p, const char *name, struct policy *ret, struct err *e);
/* What new sandboxes get; balanced where the user has said nothing. */
int state_default_policy_load(const struct state_paths *p, struct policy *ret, struct err *e);
/* The folder is there: state_policy_lock has made it. */
int state_default_policy_save(const struct state_paths *p, const struct policy *by, struct err *e);

/*
 * Held while a policy is read, changed and written: two commands at once both count. name NULL: the
 * default. A descriptor; waits.
 */
int state_policy_lock(const struct state_paths *p, const char *name, struct err *e);
