#pragma once
/* The shapes in which a text is written by those who send it, and base64 (RFC 4648). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

#include "match.h"

/* As it is, percent-encoded, JSON-escaped, in base64 at each offset, of both alphabets. */
void shapes_add(struct matcher *m, const char *text, uint16_t tag);

void base64_put(struct buf *out, const void *p, size_t n);
/* Strict, padding optional. False: not base64; out may hold a part then. */
bool base64_get(struct buf *out, const char *p, size_t n);
/* "%41" becomes "A", the rest stays. */
void percent_get(struct buf *out, const char *p, size_t n);
