#pragma once
/* What the first bytes of a client say about the protocol that it speaks. Pure. */
#include <stddef.h>
#include <stdint.h>

/* More than the longest request line, so that a decision always falls. */
#define FIRST_MAX 32768

enum first {
	FIRST_MORE, /* could still become TLS or HTTP */
	FIRST_TLS,
	FIRST_HTTP, /* or what a forgiving server would take for it: the strict parser judges */
	FIRST_OTHER,
};

enum first first_classify(const uint8_t *p, size_t n);
/*
 * The client falls silent with this. Other protocols may do that (and wait for an answer); the
 * beginning of a TLS record or of a request by a usual method may not: FIRST_TLS, FIRST_HTTP.
 */
enum first first_classify_cut(const uint8_t *p, size_t n);
