/*
 * A policy's text and questions to it: lines up to an empty one are the policy, what follows is a
 * host name, a path and the bytes of an address. Whatever was read is written and read again as the
 * same; no decision allows what the floor forbids.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <policy/http.h>
#include <policy/policy.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int condition)
{
	if (!condition)
		abort();
}

static void
check_round_trip(const struct policy *p)
{
	CLEAN_BUF struct buf b = BUF_INIT, again = BUF_INIT;
	CLEAN_POLICY struct policy q = {0};

	policy_encode(p, &b);
	require(policy_decode(buf_str(&b), b.len, &q, NULL) == 0);
	policy_encode(&q, &again);
	require(b.len == again.len && memcmp(b.data, again.data, b.len) == 0);
}

static void
check_path(const char *target)
{
	char path[HTTP_PATH_MAX], again[HTTP_PATH_MAX];

	if (http_path_canonical(target, strlen(target), path) < 0)
		return;
	require(path[0] == '/' && strstr(path, "//") == NULL && strstr(path, "/../") == NULL);
	require(http_path_canonical(path, strlen(path), again) == 0 && strcmp(path, again) == 0);
	require(http_path_matches("/**", path));
}

/* Whatever the rules: without one that is no larger, no address outside the Internet. */
static void
check_decision(const struct policy *p, const struct policy_dest *d)
{
	struct policy_decision v = policy_decide(p, d);
	char text[POLICY_TEXT_MAX], rule[RULE_TEXT_MAX], command[POLICY_ALLOW_WITH_MAX];

	policy_decision_text(&v, text);
	policy_decision_rule(&v, rule);
	policy_allow_with(d, &v, "box", command);
	require(strpbrk(command, "$`'\"\\;&|<>()\n") == NULL);
	require(d->method == NULL || v.outcome != POLICY_INSPECT);
	if (p->nrules == 0 && v.outcome == POLICY_ALLOW)
		require(p->preset == POLICY_OPEN && v.range == IP_RANGE_PUBLIC);
	if (v.outcome == POLICY_ALLOW && d->addr != NULL && d->name == NULL)
		require(v.range == IP_RANGE_PUBLIC || (v.rule != NULL && v.rule->kind == RULE_NET));
}

static const char *
next_word(const char **at, const char *end)
{
	const char *word = *at;

	*at += strnlen(word, (size_t)(end - word));
	*at += *at < end;
	return word;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN_FREE char *text = xmalloc(size + 1);
	const char *blank, *at, *end = text + size;
	CLEAN_POLICY struct policy p = {0};
	char name[HOST_NAME_TEXT_MAX];
	const char *target;
	struct ip_addr a;

	memcpy(text, data, size);
	text[size] = '\0';
	blank = memmem(text, size, "\n\n", 2);
	at = blank != NULL ? blank + 2 : end;
	if (policy_decode(text, blank != NULL ? (size_t)(blank + 1 - text) : size, &p, NULL) < 0)
		policy_init(&p, POLICY_OPEN);
	else
		check_round_trip(&p);
	const char *host = next_word(&at, end);

	target = next_word(&at, end);
	check_path(target);
	struct policy_dest d = {
		.name = host_name_canonical(host, name) == 0 ? name : NULL, .port = 443};

	check_decision(&p, &d);
	if (end - at >= 16) {
		a = ip_addr_v6((const uint8_t *)at);
		d.addr = &a;
		check_decision(&p, &d);
		d.name = NULL;
		check_decision(&p, &d);
	}
	d.method = "GET";
	d.target = target;
	check_decision(&p, &d);
	return 0;
}
