#include <string.h>

#include <base/cleanup.h>

#include "preset.h"

/*
 * What "balanced" lets through: where packages, source code and container images come from, and
 * the agents' own hosts. Whole domains, for their hosts change. Left out on purpose: storage and
 * hosting where anybody can rent a place for what he wants to carry out (bucket domains of the
 * clouds, pages of code hosts, paste sites); a registry that keeps its layers there needs a rule of
 * its owner's, for that account alone.
 */
struct preset_domain {
	const char *pattern;
	bool apex; /* the domain itself as well */
};

static const struct preset_domain packages[] = {
	{"*.npmjs.org", false},
	{"*.npmjs.com", false},
	{"*.yarnpkg.com", false},
	{"*.jsr.io", true},
	{"*.nodejs.org", true},
	{"*.bun.sh", true},
	{"*.deno.land", true},
	{"*.pypi.org", true},
	{"*.pythonhosted.org", false},
	{"*.pypa.io", false},
	{"*.astral.sh", true},
	{"*.anaconda.org", true},
	{"*.crates.io", true},
	{"*.rust-lang.org", false},
	{"*.rustup.rs", true},
	{"*.golang.org", true},
	{"*.go.dev", true},
	{"*.rubygems.org", true},
	{"*.ruby-lang.org", false},
	{"*.packagist.org", true},
	{"*.maven.org", false},
	{"*.maven.apache.org", false},
	{"*.gradle.org", false},
	{"*.nuget.org", false},
	{"*.hex.pm", true},
	{"*.cpan.org", false},
	{"*.metacpan.org", true},
	{"*.haskell.org", false},
	{"*.dart.dev", true},
	{"*.pub.dev", true},
	{"*.swift.org", false},
	{"*.ziglang.org", true},
	{"*.debian.org", true},
	{"*.ubuntu.com", false},
	{"*.launchpad.net", true},
	{"*.launchpadcontent.net", false},
	{"*.alpinelinux.org", false},
	{"*.archlinux.org", false},
	{"*.fedoraproject.org", false},
	{"*.centos.org", false},
	{"*.opensuse.org", false},
	{"*.llvm.org", false},
	{"*.nodesource.com", false},
};

static const struct preset_domain code[] = {
	{"*.github.com", true},
	{"*.githubusercontent.com", false},
	{"*.githubassets.com", false},
	{"*.gitlab.com", true},
	{"*.bitbucket.org", true},
	{"*.codeberg.org", true},
	{"*.sr.ht", false},
	{"*.sourceforge.net", true},
	{"*.kernel.org", false},
	{"*.gnu.org", false},
	{"*.googlesource.com", false},
	{"*.docker.io", true},
	{"*.docker.com", false},
	/* Docker Hub's own layers: one account of that storage. */
	{"*.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com", false},
	{"*.ghcr.io", true},
	{"*.quay.io", true},
	{"*.gcr.io", true},
	{"*.k8s.io", false},
	{"*.mcr.microsoft.com", true},
	{"*.ecr.aws", false},
};

static const struct preset_domain agents[] = {
	{"*.anthropic.com", true},
	{"*.claude.ai", true},
	{"*.claude.com", true},
	{"*.claudeusercontent.com", false},
	{"*.openai.com", true},
	{"*.chatgpt.com", true},
	{"*.oaistatic.com", false},
	{"*.oaiusercontent.com", false},
	{"*.githubcopilot.com", false},
	{"*.generativelanguage.googleapis.com", true},
	{"*.cloudcode-pa.googleapis.com", true},
	{"*.cursor.sh", false},
	{"*.cursor.com", true},
	{"*.opencode.ai", true},
	{"*.models.dev", true},
	{"*.factory.ai", true},
};

static const struct {
	const struct preset_domain *v;
	size_t n;
} balanced[] = {
	{packages, ARRAY_LEN(packages)}, {code, ARRAY_LEN(code)}, {agents, ARRAY_LEN(agents)}};

static void
add_domain(const struct preset_domain *d, void (*add)(void *arg, const struct rule *r), void *arg)
{
	struct rule r = {.effect = RULE_ALLOW, .preset = true};

	/* The table is tested: every line of it is a rule. */
	if (rule_parse_resource(d->pattern, &r, NULL) < 0)
		return;
	add(arg, &r);
	if (d->apex) {
		r.kind = RULE_HOST;
		add(arg, &r);
	}
}

void
preset_rules(enum policy_preset preset, void (*add)(void *arg, const struct rule *r), void *arg)
{
	if (preset != POLICY_BALANCED)
		return;
	for (size_t g = 0; g < ARRAY_LEN(balanced); g++)
		for (size_t i = 0; i < balanced[g].n; i++)
			add_domain(&balanced[g].v[i], add, arg);
}
