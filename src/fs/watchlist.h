#pragma once
/*
 * Which files of a workspace programs on the host run, or take orders from, by themselves: without
 * being asked to beyond "open this folder" or "git status". Pure. Makefiles, package.json and the
 * like are not among them: they run when somebody runs them.
 */
#include <stdbool.h>

#include <wire/change.h>

/* 0: it is not watched. *ret_settings: to be compared by git's settings, not as a whole. */
enum change_kind watchlist_find(const char *path, bool *ret_settings);
