#pragma once
/*
 * credentials.json of a sandbox: which credentials it knows, under which placeholders. Never a
 * value.
 *   {"version":1,"credentials":[{"name":"github","env":["GH_TOKEN"],"placeholder":"ghp_...",
 *     "places":[{"hosts":["api.github.com"],"header":"authorization","format":"Bearer %s"}]}]}
 */
#include <cred/set.h>
#include <state/state.h>

#define CREDENTIALS_FILE_VERSION 1

/* Empty where there is no file. -EINVAL, or -ENOTSUP for a newer one. */
int state_credentials_load(
	const struct state_paths *p, const char *name, struct cred_set *ret, struct err *e);
/* Atomically, mode 0600. To be held meanwhile: state_policy_lock. */
int state_credentials_save(
	const struct state_paths *p, const char *name, const struct cred_set *s, struct err *e);
