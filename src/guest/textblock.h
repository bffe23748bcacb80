#pragma once
/*
 * A part of a text file that is ours, between two marker lines, in a file that is otherwise the
 * user's or the image's: what he writes around it stays. Pure.
 */
#include <stdbool.h>

#include <base/buf.h>
#include <base/err.h>

/*
 * The text with our block's content replaced, or the block put at the end where there was none;
 * without content (NULL or "") the block goes. A block that lost its end marker ends at the last
 * line. Appends to out.
 */
void textblock_replace(const char *text, const char *content, struct buf *out);

/* Whether there is a block of ours. */
bool textblock_is_in(const char *text);

/* textblock_replace on a file (created with this mode), written only where something changes. */
int textblock_apply(const char *path, const char *content, unsigned mode, struct err *e);
/* The same where it has been read already: old. */
int textblock_update(
	const char *path, struct buf *old, const char *content, unsigned mode, struct err *e);

/* Writes the file unless it already says just this. Not synced: it is written anew at each boot. */
int text_write(const char *path, const void *p, size_t n, unsigned mode, struct err *e);
