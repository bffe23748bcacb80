#pragma once
/*
 * Which names in which folders git on the host would run as hooks. Pure: names and marks in,
 * decisions out. Git runs GITDIR/hooks/NAME when it is executable; GITDIR is, by git's own test
 * (setup.c, is_git_directory), a folder with HEAD, objects and refs, and that HEAD may lie in
 * another folder (commondir).
 */
#include <stdbool.h>
#include <sys/types.h>

enum hook_mark {
	HOOK_MARK_HEAD = 1,
	HOOK_MARK_OBJECTS = 2,
	HOOK_MARK_REFS = 4,
	HOOK_MARK_NAMED = 8, /* it is called .git: it may have the others soon */
};

enum hook_folder {
	HOOK_FOLDER_NONE,
	/* objects and refs beside it, but no HEAD: a source tree may look like that, too */
	HOOK_FOLDER_WEAK,
	HOOK_FOLDER_STRONG,
};

/* What a folder called hooks is in a folder with these marks. */
enum hook_folder hook_folder_kind(unsigned marks);

/*
 * Whether a host's file system could take name for word: letters' case aside, and where the name
 * has what such file systems drop or fold (bytes beyond ASCII, '~', a dot or a blank at its end)
 * whatever it is. The host is to be asked then.
 */
bool hook_name_like(const char *name, const char *word);
/* Letters' case aside, the same. */
bool hook_name_is(const char *name, const char *word);

/*
 * Whether the guest may not put this name into such a folder, or change what has it. depth: how
 * many folders lie between; folder: it is one itself.
 */
bool hook_kept_out(enum hook_folder kind, unsigned depth, const char *name, bool folder);

/* Whether git would run what has this name and mode if the folder that it lies in became hooks. */
bool hook_is_live(const char *name, mode_t mode);
