#pragma once
#include <base/str.h>

/* The user's settings for the sandbox's git, as KEY=VALUE (git-config(1)); none without a git. */
void git_settings(struct strv *ret);

/*
 * user.signingkey as the sandbox may know it: with gpg.format "ssh" the public key, literally,
 * also where the setting names a file; never what is in a private one. Caller frees; NULL: nothing
 * to tell.
 */
char *git_signing_key(const char *format, const char *key, const char *home);
