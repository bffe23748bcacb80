/*
 * How this works: a window as long as the shortest text moves over the bytes. Its last two bytes
 * tell how far the next window that can be the beginning of a text lies; where that is here, the
 * texts whose beginning ends in these two bytes are compared whole. Behind the last whole window
 * every text is compared with the few bytes that are left.
 */
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <cred/secret.h>

#include "match.h"

#define BLOCKS 65536

static unsigned
block(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

void
matcher_init(struct matcher *m)
{
	*m = (struct matcher){0};
}

void
matcher_release(struct matcher *m)
{
	for (size_t i = 0; i < m->n; i++)
		secret_free(m->v[i].p);
	free(m->v);
	secret_free(m->shift);
	secret_free(m->first);
	free(m->next);
	*m = (struct matcher){0};
}

void
matcher_add(struct matcher *m, const void *p, size_t n, uint16_t tag)
{
	if (n < MATCH_MIN || m->n >= MATCH_MAX)
		return;
	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].n == n && m->v[i].tag == tag && memcmp(m->v[i].p, p, n) == 0)
			return;
	m->v = xreallocarray(m->v, m->n + 1, sizeof(*m->v));
	m->v[m->n++] = (struct match_text){.p = secret_dup(p, n), .n = n, .tag = tag};
	if (n > m->longest)
		m->longest = n;
	if (m->window == 0 || n < m->window)
		m->window = n;
}

/* The tables tell of the texts' bytes: they are as secret as these. */
void
matcher_build(struct matcher *m)
{
	if (m->n == 0)
		return;
	if (m->window > 255)
		m->window = 255;
	m->shift = secret_alloc(BLOCKS);
	m->first = secret_alloc(BLOCKS * sizeof(*m->first));
	m->next = xcalloc(m->n, sizeof(*m->next));
	memset(m->shift, (int)(m->window - 1), BLOCKS);
	for (size_t i = 0; i < m->n; i++) {
		const uint8_t *p = (const uint8_t *)m->v[i].p;
		unsigned last = block(p + m->window - 2);

		for (size_t k = 0; k + 2 <= m->window; k++) {
			uint8_t *s = &m->shift[block(p + k)];
			size_t far = m->window - 2 - k;

			if (far < *s)
				*s = (uint8_t)far;
		}
		m->next[i] = m->first[last];
		m->first[last] = (uint16_t)(i + 1);
	}
}

struct search {
	const uint8_t *p;
	size_t n, at;
	bool final;
	match_want *want;
	const void *arg;
	const struct match_text *best;
	bool more;
};

static void
try_text(struct search *s, const struct match_text *t)
{
	size_t left = s->n - s->at, n = t->n < left ? t->n : left;

	if (memcmp(t->p, s->p + s->at, n) != 0 || !s->want(s->arg, t->tag))
		return;
	if (n < t->n)
		s->more |= !s->final;
	else if (s->best == NULL || t->n > s->best->n)
		s->best = t;
}

static enum match_kind
found_here(const struct search *s, struct match *ret)
{
	*ret = (struct match){s->at, s->best != NULL ? s->best->n : 0, s->best};
	/* A longer one may begin with it. */
	if (s->more)
		return MATCH_MORE;
	return s->best != NULL ? MATCH_FOUND : MATCH_NONE;
}

enum match_kind
matcher_find(const struct matcher *m, const uint8_t *p, size_t n, bool final, match_want *want,
	const void *arg, struct match *ret)
{
	struct search s = {.p = p, .n = n, .final = final, .want = want, .arg = arg};

	while (m->n > 0 && s.at < n && n - s.at >= m->window) {
		unsigned last = block(p + s.at + m->window - 2);
		enum match_kind kind;

		if (m->shift[last] > 0) {
			s.at += m->shift[last];
			continue;
		}
		for (unsigned i = m->first[last]; i > 0; i = m->next[i - 1])
			try_text(&s, &m->v[i - 1]);
		kind = found_here(&s, ret);
		if (kind != MATCH_NONE)
			return kind;
		s.at++;
	}
	for (; m->n > 0 && !final && s.at < n; s.at++) {
		for (size_t i = 0; i < m->n; i++)
			try_text(&s, &m->v[i]);
		if (found_here(&s, ret) != MATCH_NONE)
			return MATCH_MORE;
	}
	return MATCH_NONE;
}
