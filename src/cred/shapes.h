#pragma once
/* The shapes in which a text is written by those who send it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <cred/base64.h>

#include "match.h"

/* As it is, percent-encoded, JSON-escaped, in base64 at each offset, of both alphabets. */
void shapes_add(struct matcher *m, const char *text, uint16_t tag);

/* "%41" becomes "A", the rest stays. */
void percent_get(struct buf *out, const char *p, size_t n);
