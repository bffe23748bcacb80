#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <idn2.h>

#include <base/mem.h>
#include <policy/http.h>
#include <state/policy.h>
#include <supervisor/supervisor.h>

#include "network.h"

static bool
is_ascii(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text >= 0x80)
			return false;
	return true;
}

/* Only the host is converted: "*." before and ":443/udp" behind it stay. */
char *
network_ascii(const char *text, struct err *e)
{
	size_t before = str_has_prefix(text, "*.") ? 2 : 0;
	size_t host = strcspn(text + before, ":/");
	char shown[128], *out = NULL;
	int r;

	if (is_ascii(text))
		return xstrdup(text);
	CLEAN_FREE char *name = xstrndup(text + before, host);

	/* UTS 46, non-transitional, as browsers do it: sharp s stays what it is. */
	r = idn2_to_ascii_8z(name, &out, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (r != IDN2_OK) {
		str_escape(text, strlen(text), shown, sizeof(shown));
		err_set(e, EINVAL, "'%s' is no host name: %s", shown, idn2_strerror(r));
		return NULL;
	}
	CLEAN_FREE char *rest = xasprintf("%.*s%s%s", (int)before, text, out, text + before + host);

	idn2_free(out);
	return TAKE_PTR(rest);
}

int
network_rule(const struct args *a, enum rule_effect effect, const char *resource, struct rule *ret,
	struct err *e)
{
	const char *methods = args_get(a, "method"), *path = args_get(a, "path");
	CLEAN_FREE char *text = network_ascii(resource, e);
	struct rule r = {.effect = effect};
	int rc = text == NULL ? -EINVAL : rule_parse_resource(text, &r, e);

	if (rc == 0 && methods != NULL)
		rc = rule_parse_methods(methods, &r, e);
	if (rc == 0 && path != NULL)
		rc = rule_parse_path(path, &r, e);
	if (rc == 0)
		rc = rule_check(&r, e);
	if (rc == 0)
		*ret = r;
	return rc;
}

const struct option_def network_rule_options[] = {
	{"method", 0, "LIST", "of HTTP requests: GET,HEAD,..."},
	{"path", 0, "PATTERN",
		"of HTTP requests: * is anything but a slash, ** anything; e.g. '/repos/**'"},
	{0},
};

/* All of them or none: the first that is wrong ends it. */
int
network_add_rules(const struct args *a, enum rule_effect effect, struct policy *p, struct err *e)
{
	char line[RULE_LINE_MAX];
	struct rule rule;
	int r = 0;

	for (size_t i = 1; i < a->nwords && r == 0; i++) {
		r = network_rule(a, effect, a->words[i], &rule, e);
		if (r == 0)
			r = policy_add(p, &rule, e);
	}
	for (size_t i = 1; i < a->nwords && r == 0; i++) {
		r = network_rule(a, effect, a->words[i], &rule, e);
		rule_format_line(&rule, line);
		printf("%s\n", line);
	}
	return r;
}

static int
set_preset(struct policy *p, const char *word, struct err *e)
{
	enum policy_preset preset;

	if (strcmp(word, "allow") == 0)
		word = "open";
	else if (strcmp(word, "deny") == 0)
		word = "locked";
	if (policy_preset_parse(word, &preset) < 0)
		return usage_error(e,
			"'%s' is no policy: write allow (open), deny (locked) or balanced", word);
	policy_set_preset(p, preset);
	return 0;
}

static bool
is_same_bypass(const struct rule *r, void *arg)
{
	return r->effect == RULE_BYPASS && rule_same_match(r, arg);
}

/* What each option of the table does. */
static const struct {
	const char *option;
	enum rule_effect effect;
	bool range, udp;
} changes[] = {
	{"allow-host", RULE_ALLOW, false, false},
	{"block-host", RULE_DENY, false, false},
	{"allow-cidr", RULE_ALLOW, true, false},
	{"block-cidr", RULE_DENY, true, false},
	{"bypass-host", RULE_BYPASS, false, false},
	{"bypass-cidr", RULE_BYPASS, true, false},
	{"allow-network", RULE_ALLOW, false, false},
	{"deny-network", RULE_DENY, false, false},
	{"allow-udp", RULE_ALLOW, false, true},
};

const struct option_def network_policy_options[] = {
	{"policy", 0, "allow|deny",
		"what no rule matches: allow (the preset open), deny (locked), or balanced"},
	{"allow-host", 0, "HOST", "allow a host, *.domain or address, each with :PORT or without"},
	{"block-host", 0, "HOST", "deny one"},
	{"allow-cidr", 0, "RANGE",
		"allow a range of addresses, and take it off the blocked and bypassed ones"},
	{"block-cidr", 0, "RANGE", "deny a range of addresses, resolved ones too"},
	{"allow-udp", 0, "HOST:PORT",
		"allow UDP (QUIC, for example) to a host, *.domain or address"},
	{"bypass-host", 0, "HOST", "never intercept the TLS of a host"},
	{"bypass-cidr", 0, "RANGE", "never intercept the TLS of a range of addresses"},
	{0},
};

static int
apply_one(const struct option_value *o, size_t index, struct policy *p, struct err *e)
{
	const struct args none = {0};
	bool as_udp = changes[index].udp && strchr(o->value, '/') == NULL;
	CLEAN_FREE char *text = xasprintf("%s%s", o->value, as_udp ? "/udp" : "");
	struct rule r;
	int rc = network_rule(&none, changes[index].effect, text, &r, e);

	if (rc == 0 && changes[index].range && r.kind != RULE_NET)
		rc = err_set(e, EINVAL, "'%.80s' is no range of addresses: write 192.0.2.0/24",
			o->value);
	if (rc == 0 && changes[index].udp && !r.udp)
		rc = err_set(e, EINVAL, "'%.80s': write HOST:PORT", o->value);
	if (rc < 0)
		return err_prefix(e, "--%s", o->def->name);
	if (changes[index].range && changes[index].effect == RULE_ALLOW)
		policy_remove(p, is_same_bypass, &r);
	return policy_add(p, &r, e);
}

/* In the order in which they were typed: of two for the same the last word counts. */
static int
apply_options(const struct args *a, struct policy *p, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < a->noptions && r == 0; i++)
		for (size_t k = 0; k < ARRAY_LEN(changes) && r == 0; k++)
			if (strcmp(a->options[i].def->name, changes[k].option) == 0)
				r = apply_one(&a->options[i], k, p, e);
	return r;
}

bool
network_policy_asked(const struct args *a)
{
	for (const struct option_def *d = network_policy_options; d->name != NULL; d++)
		if (args_has(a, d->name))
			return true;
	return false;
}

int
network_policy_apply(const struct args *a, struct policy *p, struct err *e)
{
	const char *word = args_get(a, "policy");
	int r = word != NULL ? set_preset(p, word, e) : 0;

	return r == 0 ? apply_options(a, p, e) : r;
}

bool
network_make_asked(const struct args *a)
{
	return args_has(a, "network") || args_has(a, "allow-network") ||
	       args_has(a, "deny-network") || args_has(a, "allow-udp");
}

int
network_make_apply(const struct args *a, struct policy *p, struct err *e)
{
	const char *word = args_get(a, "network");
	enum policy_preset preset;

	if (word != NULL && policy_preset_parse(word, &preset) < 0)
		return usage_error(e, "--network '%s': write open, balanced or locked", word);
	if (word != NULL)
		policy_set_preset(p, preset);
	return apply_options(a, p, e);
}

int
network_load(const struct cli *c, const char *name, struct sandbox *ret_sandbox,
	struct policy *ret_policy, struct err *e)
{
	int r = sandbox_load(&c->paths, name, ret_sandbox, e);

	if (r < 0)
		return r;
	r = state_policy_load(&c->paths, name, ret_policy, e);
	if (r < 0)
		sandbox_release(ret_sandbox);
	return r;
}

int
network_change(const struct cli *c, const struct args *a, const char *name, bool replace,
	network_change_fn *change, struct err *e)
{
	CLEAN_FREE char *path = state_policy_file(&c->paths, name);
	CLEAN_POLICY struct policy p = {0};
	CLEAN_CLOSE int lock = -1;
	struct sandbox s = {0};
	int r = sandbox_load(&c->paths, name, &s, e);

	sandbox_release(&s);
	if (r < 0)
		return r;
	lock = state_policy_lock(&c->paths, name, e);
	if (lock < 0)
		return lock;
	r = state_policy_load(&c->paths, name, &p, e);
	/* A newer version's is never destroyed. */
	if (r == -ENOENT && replace)
		r = 0;
	if (r == 0)
		r = change(a, &p, e);
	if (r == 0)
		r = policy_file_save(path, &p, e);
	return r == 0 ? supervisor_policy_changed(&c->paths, name, e) : r;
}

static void
print_rule(const char *effect, const char *text, const char *from)
{
	printf("%-8s  %-48s  %s\n", effect, text, from);
}

void
network_print(const struct policy *p, const struct sandbox *s, bool all)
{
	const char *preset = policy_preset_name(p->preset);
	char text[RULE_TEXT_MAX];

	printf("Policy: %s, which %s what no rule matches\n\n", preset,
		p->preset == POLICY_OPEN ? "allows" : "denies");
	print_rule("DECISION", "RESOURCE", "FROM");
	for (size_t i = 0; i < (all ? p->nrules : p->nown); i++) {
		rule_format(&p->rules[i], text);
		print_rule(rule_effect_name(p->rules[i].effect), text,
			i < p->nown ? (s != NULL ? "sandbox" : "default") : preset);
	}
	for (size_t i = 0; s != NULL && i < s->resolve.n; i++)
		print_rule("allow", s->resolve.v[i], "--resolve");
	if (!all && p->nrules > p->nown)
		printf("\nand %zu rules of the preset %s: add --all\n", p->nrules - p->nown,
			preset);
}

static json_t *
methods_json(uint16_t bits)
{
	char text[HTTP_METHODS_TEXT_MAX], *save = NULL;
	json_t *a = json_array();

	http_methods_format(bits, text);
	for (char *m = strtok_r(text, ",", &save); m != NULL; m = strtok_r(NULL, ",", &save))
		json_array_append_new(a, json_string(m));
	return a;
}

static json_t *
rule_json(const struct rule *r, const char *from)
{
	struct rule resource = *r;
	char text[RULE_TEXT_MAX];
	json_t *o;

	resource.methods = 0;
	resource.path[0] = '\0';
	rule_format(&resource, text);
	o = json_pack("{s:s,s:s,s:s}", "decision", rule_effect_name(r->effect), "resource", text,
		"from", from);
	if (r->methods != 0)
		json_object_set_new(o, "methods", methods_json(r->methods));
	if (r->path[0] != '\0')
		json_object_set_new(o, "path", json_string(r->path));
	return o;
}

void
network_print_json(const struct policy *p, const struct sandbox *s)
{
	const char *preset = policy_preset_name(p->preset),
		   *own = s != NULL ? "sandbox" : "default";
	json_t *o, *rules = json_array();

	for (size_t i = 0; i < p->nrules; i++)
		json_array_append_new(rules, rule_json(&p->rules[i], i < p->nown ? own : preset));
	for (size_t i = 0; s != NULL && i < s->resolve.n; i++)
		json_array_append_new(
			rules, json_pack("{s:s,s:s,s:s}", "decision", "allow", "resource",
				       s->resolve.v[i], "from", "resolve"));
	o = json_pack("{s:s,s:s,s:o}", "preset", preset, "default",
		p->preset == POLICY_OPEN ? "allow" : "deny", "rules", rules);
	if (s != NULL)
		json_object_set_new(o, "sandbox", json_string(s->name));
	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
}
