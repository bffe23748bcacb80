#pragma once
/*
 * What has been changed in an overlay is done to the folder below it: the upper folder of overlayfs
 * (Documentation/filesystems/overlayfs.rst: whiteouts, opaque folders), without redirect_dir,
 * metacopy and hard links.
 */
#include <sys/types.h>

#include <base/buf.h>
#include <base/err.h>

/*
 * May say that a file is to have other content: appends it to out and returns true. Asked for the
 * files of the upper folder itself, of those that are no larger than UPPER_FILTER_MAX.
 */
typedef bool upper_filter(const void *p, size_t n, struct buf *out);
#define UPPER_FILTER_MAX (16u << 20)

/* Descriptors of both folders. A symlink in either leads nowhere: it is one of their entries. */
int upper_apply(int upper, int folder, upper_filter *filter, struct err *e);
