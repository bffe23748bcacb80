#pragma once
/* Carries out a build: recipe -> folder in templates/. The store's lock is held (lock_fd). */
#include <base/err.h>
#include <base/progress.h>

#include "recipe.h"

/* Caller frees *ret_id. */
int build_image(const char *data_dir, const struct recipe *r, int lock_fd, const struct progress *p,
	char **ret_id, struct err *e);

/* With the lock held: what interrupted builds and removals left behind. */
int build_sweep(const char *data_dir, struct err *e);
