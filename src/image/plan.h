#pragma once
/*
 * A build as data: the command lines in the order in which they run, hook scripts included. Pure:
 * the same inputs give the same plan, and plan_print shows it to a test or to a person.
 */
#include <base/buf.h>
#include <base/str.h>

#include "recipe.h"

struct plan_input {
	const struct recipe *recipe;
	const char *root;             /* folder of the image while it is being made */
	const struct strv *sources;   /* apt's one-line entries; empty: mmdebstrap's own default */
	const struct strv *apt_build; /* apt.conf lines for the build */
	const struct strv *apt_keep;  /* and those that stay in the image */
};

/* Descriptors that the pack step finds open. */
#define PLAN_FD_DISK 3
#define PLAN_FD_BOOT 4

struct plan {
	struct strv bootstrap; /* fills root */
	struct strv pack;      /* root -> disk and boot files, on the descriptors above */
	struct strv empty;     /* deletes what is in root, which the user may not do by itself */
};

void plan_make(const struct plan_input *in, struct plan *ret);
/* The step that empties a root alone, for what an interrupted build left. */
void plan_empty(const char *root, struct strv *ret);
void plan_release(struct plan *p);

/* One argument a line; of a script, the assignments before it and its name. */
void plan_print(const struct plan *p, struct buf *out);
