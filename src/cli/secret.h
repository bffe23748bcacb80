#pragma once
/* What the verbs of `paddock secret` share. */
#include "credentials.h"

/* Running sandboxes obey what the store says of this secret now. sandbox NULL: all of them. */
int secret_apply(const struct cli *c, const char *sandbox, const char *name, struct err *e);
/* --sandbox, which must be there; NULL without. */
int secret_sandbox(const struct cli *c, const struct args *a, const char **ret, struct err *e);
/* Takes the entry into the store, and says how that keeps it. */
int secret_keep(const struct cli *c, struct secrets_entry *one, struct err *e);

extern const struct verb verb_secret_set, verb_secret_ls, verb_secret_rm, verb_secret_import;
