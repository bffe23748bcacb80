#pragma once
/* What the parts of the gate share. */
#include <cred/gate.h>

#include "match.h"

struct cred_gate {
	size_t holders; /* its owner and its streams */
	struct cred_set set;
	struct matcher matcher;
};

/* A text's tag: which credential, and whether it is the value. */
#define GATE_TAG(i, value) ((uint16_t)((i) << 1 | ((value) ? 1 : 0)))

/* Which texts are looked for. */
struct gate_want {
	const struct cred_gate *g;
	bool placeholders;            /* too, of credentials that are not at home there */
	const struct cred_dest *dest; /* for that */
};
match_want gate_wants;

/* Whether this place is at the destination. */
bool gate_place_at(const struct cred_place *p, const struct cred_dest *d);
/* Whether this credential, with a value, has one there. */
bool gate_cred_at(const struct cred *c, const struct cred_dest *d);
struct cred_alarm gate_alarm(const struct cred_gate *g, uint16_t tag, const char *where);
