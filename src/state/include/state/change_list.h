#pragma once
/*
 * sandboxes/NAME/changes.json: what the guest changed in the workspaces that the host may run
 * later, from the sandbox's creation on. Texts in it are escaped: fit for a terminal as they are.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/err.h>
#include <state/state.h>
#include <wire/change.h>

#define CHANGE_LIST_MAX 1000

struct change_item {
	enum change_kind kind;
	enum change_what what;
	enum change_what before; /* what earlier runs of the machine had made of it */
	char *path, *key, *value;
	int64_t at_ms; /* since the epoch */
	uint64_t times;
};

struct change_list {
	struct change_item *v;
	size_t n;
	bool incomplete; /* there was more than is kept */
};

void change_list_release(struct change_list *l);
/* Missing: an empty one. -ENOTSUP: written by a newer version. */
int change_list_load(
	const struct state_paths *p, const char *name, struct change_list *ret, struct err *e);
int change_list_save(
	const struct state_paths *p, const char *name, const struct change_list *l, struct err *e);
/* The file's text, which is also what paddock diff --json prints. Caller frees. */
char *change_list_json(const struct change_list *l);
/* From here on another fs role tells, which begins with what it finds. */
void change_list_begin(struct change_list *l);
/* What the fs role tells, into what is known already. */
void change_list_put(struct change_list *l, const struct change *c);
/* "git", "hook", ...; "added", ... */
const char *change_kind_name(enum change_kind k);
const char *change_what_name(enum change_what w);
