/* The list of rules: made, changed, written and read. The decision is in decide.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <policy/policy.h>

#include "preset.h"

static const char *const presets[POLICY_PRESET_COUNT] = {
	[POLICY_LOCKED] = "locked", [POLICY_BALANCED] = "balanced", [POLICY_OPEN] = "open"};

const char *
policy_preset_name(enum policy_preset preset)
{
	return (unsigned)preset < POLICY_PRESET_COUNT ? presets[preset] : "?";
}

int
policy_preset_parse(const char *word, enum policy_preset *ret)
{
	for (size_t i = 0; i < POLICY_PRESET_COUNT; i++)
		if (strcmp(presets[i], word) == 0) {
			*ret = (enum policy_preset)i;
			return 0;
		}
	return -EINVAL;
}

/* Grows by the rule behind all others. */
static void
append(void *arg, const struct rule *r)
{
	struct policy *p = arg;

	p->rules = xreallocarray(p->rules, p->nrules + 1, sizeof(*p->rules));
	p->rules[p->nrules++] = *r;
}

void
policy_init(struct policy *p, enum policy_preset preset)
{
	*p = (struct policy){0};
	policy_set_preset(p, preset);
}

void
policy_release(struct policy *p)
{
	free(p->rules);
	*p = (struct policy){0};
}

void
policy_set_preset(struct policy *p, enum policy_preset preset)
{
	p->preset = preset;
	p->nrules = p->nown;
	preset_rules(preset, append, p);
}

/* Bypass rules and the others say different things: they do not replace each other. */
static bool
is_replaced(const struct rule *old, const struct rule *by)
{
	return (old->effect == RULE_BYPASS) == (by->effect == RULE_BYPASS) &&
	       rule_same_match(old, by);
}

int
policy_add(struct policy *p, const struct rule *r, struct err *e)
{
	for (size_t i = 0; i < p->nown; i++)
		if (is_replaced(&p->rules[i], r)) {
			p->rules[i].effect = r->effect;
			return 0;
		}
	if (p->nown >= POLICY_RULES_MAX)
		return err_set(
			e, ENOSPC, "a policy has at most %d rules: remove some", POLICY_RULES_MAX);
	append(p, r);
	memmove(&p->rules[p->nown + 1], &p->rules[p->nown],
		(p->nrules - p->nown - 1) * sizeof(*p->rules));
	p->rules[p->nown] = *r;
	p->rules[p->nown++].preset = false;
	return 0;
}

size_t
policy_remove(struct policy *p, bool (*drop)(const struct rule *r, void *arg), void *arg)
{
	size_t kept = 0, own = p->nown;

	for (size_t i = 0; i < p->nrules; i++)
		if (i >= own || !drop(&p->rules[i], arg))
			p->rules[kept++] = p->rules[i];
	p->nown = own - (p->nrules - kept);
	p->nrules = kept;
	return own - p->nown;
}

void
policy_encode(const struct policy *p, struct buf *out)
{
	char line[RULE_LINE_MAX];

	buf_printf(out, "%s\n", policy_preset_name(p->preset));
	for (size_t i = 0; i < p->nown; i++) {
		rule_format_line(&p->rules[i], line);
		buf_printf(out, "%s\n", line);
	}
}

static int
decode_line(const char *line, bool first, struct policy *p, struct err *e)
{
	enum policy_preset preset;
	struct rule r;
	int rc;

	if (first) {
		if (policy_preset_parse(line, &preset) < 0)
			return err_set(e, EINVAL, "a policy begins with open, balanced or locked");
		policy_init(p, preset);
		return 0;
	}
	rc = rule_parse_line(line, &r, e);
	return rc == 0 ? policy_add(p, &r, e) : rc;
}

int
policy_decode(const char *text, size_t n, struct policy *ret, struct err *e)
{
	CLEAN_POLICY struct policy p = {0};
	char line[RULE_LINE_MAX];
	size_t number = 0;

	do {
		const char *end = memchr(text, '\n', n);
		size_t len = end != NULL ? (size_t)(end - text) : n;
		int r;

		if (end == NULL || len >= sizeof(line) || memchr(text, '\0', len) != NULL)
			return err_set(e, EINVAL, "policy line %zu: no such line", number + 1);
		memcpy(line, text, len);
		line[len] = '\0';
		r = decode_line(line, number++ == 0, &p, e);
		if (r < 0)
			return err_prefix(e, "policy line %zu", number);
		text += len + 1;
		n -= len + 1;
	} while (n > 0);
	*ret = p;
	p = (struct policy){0};
	return 0;
}
