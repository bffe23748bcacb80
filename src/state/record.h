#pragma once
/* sandbox.json <-> struct sandbox. Pure. */
#include <state/state.h>

#include <base/buf.h>

/*
 * 2: a workspace may lie elsewhere on the host than where the sandbox sees it ("source"). Records
 * without one are still written as 1, which older versions read.
 */
#define RECORD_VERSION 2

void record_encode(const struct sandbox *s, struct buf *out);
int record_decode(const char *text, size_t n, struct sandbox *ret, struct err *e);
