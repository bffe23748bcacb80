#pragma once
/* sandbox.json <-> struct sandbox. Pure. */
#include <state/state.h>

#include <base/buf.h>

#define RECORD_VERSION 1

void record_encode(const struct sandbox *s, struct buf *out);
int record_decode(const char *text, size_t n, struct sandbox *ret, struct err *e);
