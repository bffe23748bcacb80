#pragma once
/* What create, run, exec and secret share: a sandbox's credentials and where their values are. */
#include <cred/service.h>
#include <cred/set.h>
#include <secret/store.h>

#include "cli.h"

/*
 * The credentials of a sandbox with this kit, each with its value where there is one: of --secret,
 * of the store for this sandbox, of the caller's environment, of the store for all. Their
 * placeholders are shapes, or NULL. name NULL: it has none yet.
 */
int credentials_ask(const struct cli *c, const struct args *a, const struct kit *kit,
	const char *name, struct cred_set *ret, struct err *e);
/* The one of this name alone, as the store has it; without a value where it has none. */
int credentials_one(const struct cli *c, const struct kit *kit, const char *sandbox,
	const char *name, struct cred *ret, struct err *e);
/*
 * Those with a value are handed to the running sandbox, under its own placeholders, which are kept
 * in its folder. The set is used up. removed: a name to be taken away, or NULL.
 */
int credentials_give(const struct cli *c, const char *name, struct cred_set *set,
	const char *removed, struct err *e);
/* Placeholders of those that the running sandbox was given, where neither env nor s->env have one.
 */
int credentials_env(const struct cli *c, const struct sandbox *s, struct strv *env, struct err *e);

/* Fills in what is known by name. False: no such service. */
bool credentials_service(const char *name, struct cred *c);
