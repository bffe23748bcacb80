#pragma once
/* RFC 4648. */
#include <stdbool.h>
#include <stddef.h>

#include <base/buf.h>

void base64_put(struct buf *out, const void *p, size_t n);
/* Of both alphabets, padding optional. False: not base64; out may hold a part then. */
bool base64_get(struct buf *out, const char *p, size_t n);
