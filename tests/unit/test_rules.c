#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <base/str.h>
#include <policy/http.h>
#include <policy/policy.h>

static void
test_resources(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: refused */
	} t[] = {
		{"Example.COM", "example.com"},
		{"example.com.", "example.com"},
		{"example.com:443", "example.com:443"},
		{"example.com:443/tcp", "example.com:443"},
		{"example.com:443/udp", "example.com:443/udp"},
		{"*.Example.com", "*.example.com"},
		{"*.example.com:8443", "*.example.com:8443"},
		{"*", "*"},
		{"*:443", "*:443"},
		{"localhost:8080", "localhost:8080"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"192.0.2.7", "192.0.2.7"},
		{"192.0.2.7/32", "192.0.2.7"},
		{"192.0.2.7:22", "192.0.2.7:22"},
		{"10.1.2.3/8", "10.0.0.0/8"},
		{"10.0.0.0/8:443", "10.0.0.0/8:443"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"192.0.2.255/25", "192.0.2.128/25"},
		{"2001:DB8::7", "2001:db8::7"},
		{"[2001:db8::7]", "2001:db8::7"},
		{"[2001:db8::7]:443", "[2001:db8::7]:443"},
		{"2001:db8:ffff::/33", "2001:db8:8000::/33"},
		{"[2001:db8::/32]:443", "[2001:db8::/32]:443"},
		{"::/0", "::/0"},
		/* One address has one name, however it is written. */
		{"::ffff:10.0.0.0/104", "10.0.0.0/8"},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1:80"},
		{"::ffff:10.0.0.0/95", NULL},
		{"", NULL},
		{".", NULL},
		{":443", NULL},
		{"example.com:", NULL},
		{"example.com:0", NULL},
		{"example.com:65536", NULL},
		{"example.com:4294967739", NULL},
		{"example.com:+443", NULL},
		{"example.com: 443", NULL},
		{"example.com:443x", NULL},
		{"example.com/repos", NULL},
		{"https://example.com/", NULL},
		{"*.", NULL},
		{"**", NULL},
		{"**.example.com", NULL},
		{"a*.example.com", NULL},
		{"api.*.example.com", NULL},
		{"*.localhost", NULL},
		{"app.localhost", NULL},
		{"host.docker.internal:8080", NULL},
		{"gateway.docker.internal", NULL},
		{"127.1", NULL},
		{"2130706433", NULL},
		{"0x7f.1", NULL},
		{"10.0.0.0/33", NULL},
		{"10.0.0.0/-1", NULL},
		{"10.0.0.0/", NULL},
		{"10.0.0/8", NULL},
		{"2001:db8::/129", NULL},
		{"[2001:db8::7", NULL},
		{"[2001:db8::7]443", NULL},
		{"[example.com]:443", NULL},
		{"[192.0.2.1]:443x", NULL},
		{"fe80::1%eth0", NULL},
		{"b\xc3\xbc"
		 "cher.example",
			NULL},
		{"a b", NULL},
		{"a\tb", NULL},
	};
	char out[RULE_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct rule r = {0}, again = {0};
		struct err e = {0};

		if (t[i].out == NULL) {
			if (rule_parse_resource(t[i].in, &r, &e) != -EINVAL)
				fail_msg("'%s' was taken", t[i].in);
			assert_true(strlen(e.msg) > 10);
			continue;
		}
		if (rule_parse_resource(t[i].in, &r, &e) != 0)
			fail_msg("%s", e.msg);
		rule_format(&r, out);
		assert_string_equal(out, t[i].out);
		assert_int_equal(rule_parse_resource(out, &again, &e), 0);
		assert_true(rule_same_match(&r, &again));
	}
}

static void
test_lines(void **state)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{"allow example.com", "allow example.com"},
		{"deny  *.example.com:80 ", "deny *.example.com:80"},
		{"bypass pinned.example.com", "bypass pinned.example.com"},
		{"allow api.example.com --path /v1/** --method HEAD,GET",
			"allow api.example.com --method GET,HEAD --path /v1/**"},
		{"allow api.example.com --method ANY", "allow api.example.com"},
		{"deny * --method DELETE", "deny * --method DELETE"},
		{"deny localhost", "deny localhost"},
		{"deny *:443/udp", "deny *:443/udp"},
		{"", NULL},
		{"example.com", NULL},
		{"allow", NULL},
		{"ALLOW example.com", NULL},
		{"allow example.com --method", NULL},
		{"allow example.com --method get", NULL},
		{"allow example.com --method GET,", NULL},
		{"allow example.com --method GET,,HEAD", NULL},
		{"allow example.com --method SUBSCRIBE", NULL},
		{"allow example.com --path repos", NULL},
		{"allow example.com --path /a?b", NULL},
		{"allow example.com --path /a/../b", NULL},
		{"allow example.com --path //a", NULL},
		{"allow example.com --path /%41", NULL},
		{"allow example.com --port 443", NULL},
		{"allow example.com another.example.com", NULL},
		{"allow example.com\nallow *", NULL},
		{"allow 192.0.2.0/24 --method GET", NULL},
		{"allow example.com:443/udp --path /a", NULL},
		{"allow example.com/udp", NULL},
		{"allow 8.8.8.8:53/udp", NULL}, /* DNS is answered here */
		{"bypass example.com --method GET", NULL},
		{"bypass example.com:443/udp", NULL},
		{"allow localhost", NULL},
	};
	char out[RULE_LINE_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct rule r;
		struct err e = {0};

		if (t[i].out == NULL) {
			if (rule_parse_line(t[i].in, &r, &e) != -EINVAL)
				fail_msg("'%s' was taken", t[i].in);
			continue;
		}
		if (rule_parse_line(t[i].in, &r, &e) != 0)
			fail_msg("%s", e.msg);
		rule_format_line(&r, out);
		assert_string_equal(out, t[i].out);
	}
}

/* What is longer than anything that is meant must not be cut into something that is. */
static void
test_lengths(void **state)
{
	char text[4000];
	struct rule r = {0};

	(void)state;
	for (size_t n = 1; n < sizeof(text); n++) {
		memset(text, 'a', n);
		text[n] = '\0';
		assert_int_equal(rule_parse_resource(text, &r, NULL), n <= 63 ? 0 : -EINVAL);
		text[0] = '/';
		assert_int_equal(rule_parse_path(text, &r, NULL), n < RULE_PATH_MAX ? 0 : -EINVAL);
		assert_int_equal(rule_parse_line(text, &r, NULL), -EINVAL);
		assert_int_equal(rule_parse_methods(text, &r, NULL), -EINVAL);
	}
}

static void
test_path_canonical(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: refused */
	} t[] = {
		{"/", "/"},
		{"/repos/a?per_page=1&x=/../y", "/repos/a"},
		{"/repos/a/", "/repos/a/"},
		{"/%7Euser/%61", "/~user/a"},
		{"/a%20b%c3%a9", "/a%20b%C3%A9"},
		{"/a:b@c!$&'()*+,=-._~", "/a:b@c!$&'()*+,=-._~"},
		{"/v1.2/x", "/v1.2/x"},
		{"/.git/config", "/.git/config"},
		{"/%F0%9F%90%B4", "/%F0%9F%90%B4"},
		{"", NULL},
		{"repos", NULL},
		{"*", NULL},
		{"http://example.com/", NULL},
		{"//repos", NULL},
		{"/repos//a", NULL},
		{"/./repos", NULL},
		{"/repos/../admin", NULL},
		{"/repos/..", NULL},
		{"/repos/.", NULL},
		{"/repos/%2e%2e/admin", NULL},
		{"/repos/%2E./admin", NULL},
		{"/repos/a./b", NULL},
		{"/repos/a.", NULL},
		{"/repos%2fadmin", NULL},
		{"/repos%5cadmin", NULL},
		{"/repos\\admin", NULL},
		{"/repos;x=1/admin", NULL},
		{"/repos%3bx/admin", NULL},
		{"/repos/%252e%252e/admin", NULL},
		{"/repos/%25", NULL},
		{"/repos/%", NULL},
		{"/repos/%4", NULL},
		{"/repos/%4g", NULL},
		{"/repos/%00", NULL},
		{"/repos/%0a", NULL},
		{"/repos/%7f", NULL},
		{"/repos/a b", NULL},
		{"/repos/\x01", NULL},
		{"/repos/\xc3\xa9", NULL},
		{"/repos#x", NULL},
		{"/repos|x", NULL},
		/* Overlong, cut off, surrogate, beyond U+10FFFF, a lone continuation. */
		{"/%c0%ae%c0%ae/admin", NULL},
		{"/%e0%80%ae/admin", NULL},
		{"/%f0%80%80%ae", NULL},
		{"/%c3/admin", NULL},
		{"/%c3", NULL},
		{"/%c3a", NULL},
		{"/%ed%a0%80", NULL},
		{"/%f4%90%80%80", NULL},
		{"/%80", NULL},
		{"/%ff", NULL},
	};
	char out[HTTP_PATH_MAX], again[HTTP_PATH_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		int r = http_path_canonical(t[i].in, strlen(t[i].in), out);

		if (t[i].out == NULL) {
			if (r != -EINVAL)
				fail_msg("'%s' was taken", t[i].in);
			continue;
		}
		assert_int_equal(r, 0);
		assert_string_equal(out, t[i].out);
		assert_int_equal(http_path_canonical(out, strlen(out), again), 0);
		assert_string_equal(again, out);
	}
}

static void
test_path_length(void **state)
{
	CLEAN_FREE char *in = xmalloc(3 * HTTP_PATH_MAX + 1);
	char out[HTTP_PATH_MAX];

	(void)state;
	for (size_t i = 0; i < HTTP_PATH_MAX; i++)
		memcpy(in + 3 * i, "%20", 3);
	in[0] = '/';
	in[1] = in[2] = 'a';
	assert_int_equal(http_path_canonical(in, 3000, out), 0);
	assert_int_equal(http_path_canonical(in, 3 * HTTP_PATH_MAX, out), -ENAMETOOLONG);
	for (size_t i = 1; i < 3 * HTTP_PATH_MAX; i++)
		in[i] = i % 2 ? 'a' : '/';
	assert_int_equal(http_path_canonical(in, 3 * HTTP_PATH_MAX, out), -ENAMETOOLONG);
}

static void
test_path_matches(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool matches;
	} t[] = {
		{"/repos", "/repos", true},
		{"/repos", "/repos/", false},
		{"/repos", "/Repos", false},
		{"/repos/*", "/repos/a", true},
		{"/repos/*", "/repos/", true},
		{"/repos/*", "/repos/a/b", false},
		{"/repos/*/pulls", "/repos/a/pulls", true},
		{"/repos/*/pulls", "/repos/a/b/pulls", false},
		{"/repos/**", "/repos/", true},
		{"/repos/**", "/repos/a/b/c", true},
		{"/repos/**", "/repos", false},
		{"/repos/**", "/reposx", false},
		{"/repos/**/pulls", "/repos/a/b/pulls", true},
		{"/repos/**/pulls", "/repos/pulls", false},
		{"/v*/x", "/v1/x", true},
		{"/v*/x", "/v/x", true},
		{"/**", "/", true},
		{"/**", "/a/b", true},
		{"/*", "/", true},
		{"/a***", "/a/b/c", true},
		{"/***b", "/a/b", true},
		{"/***b", "/a/c", false},
		{"/*a*b*c", "/xaxbxc", true},
		{"/*a*b*c", "/xaxb/xc", false},
		{"/a", "/aa", false},
		{"/aa", "/a", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		if (http_path_matches(t[i].pattern, t[i].path) != t[i].matches)
			fail_msg("'%s' '%s'", t[i].pattern, t[i].path);
}

/* The worst that a guest can ask for is no work for anybody. */
static void
test_path_cost(void **state)
{
	char pattern[RULE_PATH_MAX], path[HTTP_PATH_MAX];

	(void)state;
	for (size_t i = 0; i + 1 < sizeof(pattern); i++)
		pattern[i] = i % 2 ? '*' : 'a';
	pattern[0] = '/';
	pattern[sizeof(pattern) - 2] = 'b';
	pattern[sizeof(pattern) - 1] = '\0';
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	for (int i = 0; i < 10; i++)
		assert_false(http_path_matches(pattern, path));
}

static void
policy_from(const char *text, struct policy *ret)
{
	struct err e = {0};

	if (policy_decode(text, strlen(text), ret, &e) < 0)
		fail_msg("%s", e.msg);
}

/*
 * "NAME|ADDRESS PORT [host] [METHOD TARGET]" in words: a name, a name resolved to an address, or an
 * address alone.
 */
struct question {
	char name[300], address[64], method[32], target[512];
	struct ip_addr addr;
	struct policy_dest dest;
};

static void
read_question(const char *text, struct question *q)
{
	char first[400], flag[64] = "", *bar;
	unsigned port = 0;
	int n = 0;

	*q = (struct question){0};
	assert_true(sscanf(text, "%399s %u%n", first, &port, &n) == 2);
	bar = strchr(first, '|');
	assert_non_null(bar);
	*bar = '\0';
	memcpy(q->name, first, strlen(first) + 1);
	memcpy(q->address, bar + 1, strlen(bar + 1) + 1);
	sscanf(text + n, " %63s %511s", flag, q->target);
	q->dest = (struct policy_dest){.name = q->name[0] != '\0' ? q->name : NULL,
		.port = (uint16_t)port,
		.addr_is_host = strcmp(flag, "host") == 0,
		.overridden = strcmp(flag, "resolve") == 0,
		.udp = strcmp(flag, "udp") == 0};
	if (q->address[0] != '\0') {
		assert_int_equal(ip_addr_parse(q->address, &q->addr), 0);
		q->dest.addr = &q->addr;
	}
	if (q->target[0] != '\0') {
		memcpy(q->method, flag, sizeof(q->method));
		q->dest.method = q->method;
		q->dest.target = q->target;
	}
}

struct decided {
	const char *question, *text; /* the text begins with this */
};

static void
check(const char *policy, const struct decided *t, size_t n)
{
	CLEAN_POLICY struct policy p = {0};
	char text[POLICY_TEXT_MAX];

	policy_from(policy, &p);
	for (size_t i = 0; i < n; i++) {
		struct policy_decision d;
		struct question q;

		read_question(t[i].question, &q);
		d = policy_decide(&p, &q.dest);
		policy_decision_text(&d, text);
		if (strcmp(text, t[i].text) != 0)
			fail_msg("%s: '%s', not '%s'", t[i].question, text, t[i].text);
		if (!str_has_prefix(text, d.outcome == POLICY_ALLOW  ? "allowed"
					  : d.outcome == POLICY_DENY ? "denied"
								     : "depends"))
			fail_msg("%s: outcome %d", t[i].question, d.outcome);
	}
}

static void
test_hosts(void **state)
{
	static const struct decided t[] = {
		{"api.example.com| 443", "allowed by rule api.example.com:443"},
		{"api.example.com| 80", "denied by rule *.example.com"},
		{"www.example.com| 443", "denied by rule *.example.com"},
		{"a.b.example.com| 443", "denied by rule *.example.com"},
		{"example.com| 443", "denied by rule example.com"},
		{"notexample.com| 443", "allowed by default"},
		{"example.com.evil.test| 443", "allowed by default"},
		{"xexample.com| 443", "allowed by default"},
	};

	(void)state;
	check("open\ndeny example.com\ndeny *.example.com\nallow api.example.com:443\n", t,
		ARRAY_LEN(t));
}

static void
test_order(void **state)
{
	static const struct decided t[] = {
		{"a.lab.example.com| 443", "denied by rule *.lab.example.com"},
		{"a.lab.example.com| 22", "allowed by rule *.lab.example.com:22"},
		{"www.example.com| 443", "allowed by rule *.example.com"},
		{"other.test| 443", "allowed by rule *:443"},
		{"other.test| 80", "denied by rule *"},
		{"|203.0.113.9 443", "allowed by rule *:443"},
		{"|203.0.113.9 80", "denied by rule *"},
		/* A star never opens what is not the Internet, nor the host itself. */
		{"|10.0.0.1 443", "denied: private address"},
		{"other.test|10.0.0.1 443", "denied: private address"},
		{"other.test|127.0.0.1 443", "denied: loopback address"},
		{"other.test|203.0.113.9 443", "allowed by rule *:443"},
		{"other.test|203.0.113.9 443 host", "denied: the host's own address"},
		{"host.docker.internal| 443", "denied: the host's own service"},
		{"db| 443", "denied: name of a single label"},
		{"x.local| 443", "denied: special-use name"},
		{"127.1| 443", "denied: number as a name"},
		{"app.localhost| 443", "denied: the guest itself"},
		{"B.example.com| 443", "denied: invalid name"},
		{"www.example.com| 0", "denied: port 0"},
	};

	(void)state;
	check("locked\nallow *.example.com\ndeny *.lab.example.com\nallow *.lab.example.com:22\n"
	      "deny *\nallow *:443\n",
		t, ARRAY_LEN(t));
}

/* Rules that tie can only come from two sides: the preset's and the owner's, or the same text. */
static void
test_ties(void **state)
{
	static const struct decided preset[] = {
		{"github.com| 443", "denied by rule github.com"},
		{"api.github.com| 443", "allowed by rule *.github.com"},
		{"x.npmjs.org| 443", "denied by rule *.npmjs.org"},
		{"evil.test| 443", "denied by default"},
	};
	static const struct decided requests[] = {
		{"a.test| 80 GET /x/y", "denied by rule a.test --path /x/*"},
		{"a.test| 80 GET /x", "allowed by rule a.test"},
		{"b.test| 80 GET /", "denied by rule b.test --method GET,HEAD"},
		{"b.test| 80 POST /", "allowed by rule b.test --method GET,POST"},
	};
	static const struct decided last[] = {{"a.test| 80", "allowed by rule a.test"}};

	(void)state;
	check("balanced\ndeny github.com\ndeny *.npmjs.org\n", preset, ARRAY_LEN(preset));
	check("locked\nallow a.test\nallow a.test --path /*/y\ndeny a.test --path /x/*\n"
	      "allow b.test --method GET,POST\ndeny b.test --method GET,HEAD\n",
		requests, ARRAY_LEN(requests));
	check("open\ndeny a.test\nallow a.test\n", last, ARRAY_LEN(last));
}

static void
test_addresses(void **state)
{
	static const struct decided t[] = {
		{"|10.1.2.3 22", "allowed by rule 10.1.0.0/16"},
		{"|10.1.9.9 22", "denied by rule 10.1.9.9"},
		{"|10.1.9.9 443", "allowed by rule 10.1.9.9:443"},
		{"|10.2.0.1 22", "denied by default"},
		{"|::ffff:10.1.2.3 22", "allowed by rule 10.1.0.0/16"},
		{"|64:ff9b::a01:203 22", "denied by default"},
		/* A rule for more than the range does not name it. */
		{"|172.16.0.1 22", "denied: private address"},
		{"|192.168.7.7 22", "allowed by rule 192.168.0.0/16"},
		{"|169.254.1.1 80", "allowed by rule 169.254.0.0/16"},
		{"|169.254.169.254 80", "denied: metadata address"},
		{"|203.0.113.9 22", "allowed by rule 203.0.113.0/24"},
		{"|198.51.100.1 22", "denied by default"},
		{"|fd00::1 22", "allowed by rule fc00::/7"},
		{"|fe80::1 22", "denied by default"},
		/* The host's own addresses are named localhost. */
		{"|10.1.2.3 22 host", "denied: the host's own address"},
		/* A rule for addresses allows no name, but says where an allowed one may go. */
		{"evil.test| 22", "denied by default"},
		{"intra.test| 22", "allowed by rule intra.test"},
		{"intra.test|10.2.0.1 22", "allowed by rule intra.test"},
		{"intra.test|100.64.0.1 22", "allowed by rule intra.test"},
		{"intra.test|10.1.9.9 22", "allowed by rule intra.test"},
		{"intra.test|169.254.169.254 22", "denied: metadata address"},
		{"intra.test|127.0.0.1 22", "denied: loopback address"},
		{"intra.test|0.0.0.0 22", "denied: unspecified address"},
		{"intra.test|224.0.0.1 22", "denied: multicast address"},
		{"x.below.test| 22", "allowed by rule *.below.test"},
		{"x.below.test|10.2.0.1 22", "denied: private address"},
		{"x.below.test|10.1.2.3 22", "allowed by rule *.below.test"},
		{"x.below.test|10.1.9.9 22", "denied by rule 10.1.9.9"},
	};

	(void)state;
	check("locked\nallow 10.1.0.0/16\ndeny 10.1.9.9\nallow 10.1.9.9:443\nallow 172.0.0.0/8\n"
	      "allow 192.168.0.0/16\nallow 169.254.0.0/16\nallow 203.0.113.0/24\nallow fc00::/7\n"
	      "allow intra.test\nallow *.below.test\n",
		t, ARRAY_LEN(t));
}

/* Of the documented example: a range that is denied, and who may go there nevertheless. */
static void
test_denied_range(void **state)
{
	static const struct decided t[] = {
		{"a.example.com|192.0.2.1 443", "denied by rule 192.0.2.0/24"},
		{"a.example.com|198.51.100.1 443", "allowed by rule *.example.com"},
		{"www.example.com|192.0.2.1 443", "allowed by rule www.example.com"},
		{"github.com|192.0.2.1 443", "denied by rule 192.0.2.0/24"},
	};

	(void)state;
	check("balanced\nallow *.example.com\nallow www.example.com\ndeny 192.0.2.0/24\n", t,
		ARRAY_LEN(t));
}

/* D2 of the attacks: every form of what is not the Internet, under the preset that opens all. */
static void
test_floor(void **state)
{
	static const char *const addresses[] = {"10.0.0.1", "172.16.5.4", "192.168.0.1",
		"127.0.0.1", "169.254.1.1", "169.254.169.254", "100.64.0.1", "198.18.0.1",
		"0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::ffff:127.0.0.1",
		"::ffff:10.0.0.1", "::127.0.0.1", "fc00::1", "fe80::1", "::1",
		"::", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:a00:1::", "2001::1", "ff02::1"};
	const struct policy open = {.preset = POLICY_OPEN};
	char question[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++)
		for (int named = 0; named < 2; named++) {
			struct policy_decision d;
			struct question q;

			snprintf(question, sizeof(question), "%s|%s 443",
				named ? "rebind.test" : "", addresses[i]);
			read_question(question, &q);
			d = policy_decide(&open, &q.dest);
			if (d.outcome != POLICY_DENY || d.reason != POLICY_REASON_RANGE)
				fail_msg("%s: %d", question, d.reason);
		}
	check("open\n", (const struct decided[]){{"a.test|192.0.2.1 443", "allowed by default"}},
		1);
}

static void
test_own_names(void **state)
{
	static const struct decided t[] = {
		{"host.docker.internal| 8080", "allowed by rule localhost:8080"},
		{"gateway.docker.internal| 8080", "allowed by rule localhost:8080"},
		{"host.docker.internal| 8081", "denied: the host's own service"},
		{"host.docker.internal| 22", "denied by rule localhost:22"},
		{"a.test|127.0.0.1 8080", "denied: loopback address"},
		{"wiki| 443", "allowed by rule wiki"},
		{"wiki|10.0.0.1 443", "allowed by rule wiki"},
		{"db.corp.internal| 5432", "allowed by rule *.corp.internal"},
		{"db.other.internal| 5432", "denied: special-use name"},
		{"printer| 631", "denied: name of a single label"},
		{"a.test| 22 resolve", "allowed: resolved by the owner"},
		{"b.test|127.0.0.1 22 resolve", "denied by rule b.test"},
		{"c.test| 22 resolve", "denied by rule c.test:22"},
		{"c.test| 443 resolve", "allowed: resolved by the owner"},
		{"d.below.test| 443 resolve", "allowed: resolved by the owner"},
	};

	(void)state;
	check("open\nallow localhost:8080\ndeny localhost:22\nallow wiki\nallow *.corp.internal\n"
	      "deny b.test\ndeny c.test:22\ndeny *.below.test\n",
		t, ARRAY_LEN(t));
}

static void
test_requests(void **state)
{
	static const struct decided t[] = {
		{"api.test| 443", "depends on the request: rule api.test --method DELETE"},
		{"api.test|203.0.113.1 443",
			"depends on the request: rule api.test --method DELETE"},
		{"api.test|10.0.0.1 443", "denied: private address"},
		{"api.test| 443 DELETE /x", "denied by rule api.test --method DELETE"},
		{"api.test| 443 GET /x", "allowed by rule *.test"},
		{"api.test| 443 delete /x",
			"denied: unknown method, with rule api.test --method DELETE"},
		{"api.test| 443 BREW /x",
			"denied: unknown method, with rule api.test --method DELETE"},
		{"api.test| 443 GET /x/../y",
			"denied: ambiguous path, with rule api.test --method DELETE"},
		{"ro.test| 443 GET /v1/a/b?c=/v2/",
			"allowed by rule ro.test --method GET,HEAD --path /v1/**"},
		{"ro.test| 443 POST /v1/a", "denied by rule ro.test"},
		{"ro.test| 443 GET /v2/a", "denied by rule ro.test"},
		{"ro.test| 443 GET /v1/secret/a", "denied by rule ro.test --path /v1/secret/**"},
		{"ro.test| 443 GET /v1/%73ecret/a", "denied by rule ro.test --path /v1/secret/**"},
		/* Where every rule says the same, nothing need be seen. */
		{"same.test| 443", "allowed by rule *.test"},
		{"same.test| 443 BREW //", "allowed by rule *.test"},
		{"other.test| 443 delete /..", "allowed by rule *.test"},
	};

	(void)state;
	check("locked\nallow *.test\ndeny api.test --method DELETE\ndeny ro.test\n"
	      "allow ro.test --method GET,HEAD --path /v1/**\ndeny ro.test --path /v1/secret/**\n"
	      "allow same.test --method GET\n",
		t, ARRAY_LEN(t));
}

static void
test_udp(void **state)
{
	static const struct decided t[] = {
		{"a.test| 443 udp", "allowed by rule a.test:443/udp"},
		{"a.test| 444 udp", "denied by default"},
		{"a.test| 443", "denied by default"},
		{"b.test| 443", "allowed by rule b.test"},
		{"b.test| 443 udp", "denied by default"},
	};

	(void)state;
	check("locked\nallow a.test:443/udp\nallow b.test\n", t, ARRAY_LEN(t));
}

/* No preset and no star opens it, nor does the owner's word where a name leads. */
static void
test_udp_default(void **state)
{
	static const struct decided t[] = {
		{"a.test| 443", "allowed by default"},
		{"a.test| 443 udp", "denied by default"},
		{"|93.184.216.34 443 udp", "denied by default"},
		{"b.test| 443 udp", "allowed by rule b.test:443/udp"},
	};
	CLEAN_POLICY struct policy p = {0};
	static const char text[] = "open\nallow b.test:443/udp\nallow *.c.test:99/udp\n"
				   "allow d.test:443/udp\ndeny e.test:7/udp\nallow f.test:8\n";
	const struct policy_dest resolved = {
		.name = "a.test", .port = 443, .udp = true, .overridden = true};
	uint16_t ports[POLICY_RULES_MAX];
	struct err e = {0};

	(void)state;
	check("open\nallow *\nallow b.test:443/udp\n", t + 1, ARRAY_LEN(t) - 1);
	check("open\nallow b.test:443/udp\n", t, ARRAY_LEN(t));
	assert_int_equal(policy_decode(text, sizeof(text) - 1, &p, &e), 0);
	assert_int_equal(policy_decide(&p, &resolved).outcome, POLICY_DENY);
	assert_int_equal(policy_udp_ports(&p, ports), 2);
	assert_true(ports[0] == 99 && ports[1] == 443);
}

static void
test_bypass(void **state)
{
	CLEAN_POLICY struct policy p = {0};
	struct question q;

	(void)state;
	policy_from("locked\nbypass a.test\nbypass 192.0.2.0/24\ndeny a.test\n", &p);
	assert_int_equal(p.nown, 3);
	read_question("a.test| 443", &q);
	assert_true(policy_bypasses(&p, &q.dest));
	assert_int_equal(policy_decide(&p, &q.dest).outcome, POLICY_DENY);
	read_question("b.test| 443", &q);
	assert_false(policy_bypasses(&p, &q.dest));
	read_question("b.test|192.0.2.4 443", &q);
	assert_true(policy_bypasses(&p, &q.dest));
	policy_release(&p);
	/* The host's own services have one name in rules and others inside. */
	policy_from("locked\nbypass localhost:8443\n", &p);
	read_question("host.docker.internal| 8443", &q);
	assert_true(policy_bypasses(&p, &q.dest));
	read_question("host.docker.internal| 8444", &q);
	assert_false(policy_bypasses(&p, &q.dest));
}

static bool
is_host(const struct rule *r, void *arg)
{
	return r->kind == RULE_HOST && strcmp(r->name, arg) == 0;
}

static void
test_list(void **state)
{
	CLEAN_POLICY struct policy p = {0}, q = {0};
	CLEAN_BUF struct buf b = BUF_INIT;
	struct err e = {0};
	struct rule r;
	size_t preset;

	(void)state;
	policy_init(&p, POLICY_BALANCED);
	preset = p.nrules;
	assert_true(preset > 50 && p.nown == 0);
	assert_int_equal(rule_parse_line("allow a.test", &r, &e), 0);
	assert_int_equal(policy_add(&p, &r, &e), 0);
	assert_int_equal(rule_parse_line("deny b.test --method GET --path /x", &r, &e), 0);
	assert_int_equal(policy_add(&p, &r, &e), 0);
	assert_int_equal(rule_parse_line("deny a.test", &r, &e), 0);
	assert_int_equal(policy_add(&p, &r, &e), 0); /* replaces */
	assert_int_equal(p.nown, 2);
	assert_int_equal(p.nrules, preset + 2);
	policy_encode(&p, &b);
	assert_string_equal(
		buf_str(&b), "balanced\ndeny a.test\ndeny b.test --method GET --path /x\n");
	policy_from(buf_str(&b), &q);
	assert_int_equal(q.nrules, p.nrules);
	assert_true(rule_same_match(&q.rules[p.nrules - 1], &p.rules[p.nrules - 1]));
	policy_set_preset(&p, POLICY_LOCKED);
	assert_int_equal(p.nrules, 2);
	assert_int_equal(policy_remove(&p, is_host, (void *)"a.test"), 1);
	assert_int_equal(policy_remove(&p, is_host, (void *)"a.test"), 0);
	assert_int_equal(p.nown, 1);
	assert_string_equal(p.rules[0].name, "b.test");
	policy_set_preset(&p, POLICY_BALANCED);
	assert_int_equal(policy_remove(&p, is_host, (void *)"github.com"), 0); /* the preset's */
	for (unsigned i = 2; i <= POLICY_RULES_MAX; i++) {
		char line[64];

		snprintf(line, sizeof(line), "allow h%u.test", i);
		assert_int_equal(rule_parse_line(line, &r, &e), 0);
		assert_int_equal(policy_add(&p, &r, &e), 0);
	}
	assert_int_equal(rule_parse_line("allow more.test", &r, &e), 0);
	assert_int_equal(policy_add(&p, &r, &e), -ENOSPC);
	assert_int_equal(p.nrules, preset + POLICY_RULES_MAX);
}

static void
test_damaged_lists(void **state)
{
	static const char *const bad[] = {"", "\n", "half", "half\n", "open", "open\nallow a.test",
		"open\n\n", "open\nopen\n", "open\nallow a.test\nfrobnicate\n"};
	struct policy p = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = {0};

		assert_int_equal(policy_decode(bad[i], strlen(bad[i]), &p, &e), -EINVAL);
		assert_null(p.rules);
		assert_non_null(strstr(e.msg, "line "));
	}
	assert_int_equal(policy_decode("open\nallow a\0b\n", 15, &p, NULL), -EINVAL);
}

/* No line of the preset lets anybody rent a place behind it. */
static void
test_presets(void **state)
{
	static const struct decided t[] = {
		{"x.npmjs.org| 443", "allowed by rule *.npmjs.org"},
		{"codeload.github.com| 443", "allowed by rule *.github.com"},
		{"github.com| 22", "allowed by rule github.com"},
		{"api.anthropic.com| 443", "allowed by rule *.anthropic.com"},
		{"api.openai.com| 443", "allowed by rule *.openai.com"},
		{"x.debian.org| 80", "allowed by rule *.debian.org"},
		{"evil.test| 443", "denied by default"},
		{"my-bucket.s3.amazonaws.com| 443", "denied by default"},
		{"x.blob.core.windows.net| 443", "denied by default"},
		{"storage.googleapis.com| 443", "denied by default"},
		{"mine.r2.cloudflarestorage.com| 443", "denied by default"},
		{"me.github.io| 443", "denied by default"},
		{"pastebin.com| 443", "denied by default"},
		{"github.com|10.0.0.1 443", "denied: private address"},
		{"|203.0.113.1 443", "denied by default"},
		{"host.docker.internal| 80", "denied: the host's own service"},
	};
	enum policy_preset preset = POLICY_OPEN;
	CLEAN_POLICY struct policy p = {0};
	char line[RULE_LINE_MAX];
	struct rule r;

	(void)state;
	check("balanced\n", t, ARRAY_LEN(t));
	policy_init(&p, POLICY_BALANCED);
	for (size_t i = 0; i < p.nrules; i++) {
		assert_true(p.rules[i].preset && p.rules[i].effect == RULE_ALLOW);
		rule_format_line(&p.rules[i], line);
		assert_int_equal(rule_parse_line(line, &r, NULL), 0);
		for (size_t k = 0; k < i; k++)
			if (rule_same_match(&p.rules[k], &p.rules[i]))
				fail_msg("twice: %s", line);
	}
	assert_int_equal(policy_preset_parse("balanced", &preset), 0);
	assert_int_equal(preset, POLICY_BALANCED);
	assert_int_equal(policy_preset_parse("none", &preset), -EINVAL);
	assert_string_equal(policy_preset_name(POLICY_LOCKED), "locked");
}

/* The command that a denial names makes the same attempt succeed. */
static void
test_allow_with(void **state)
{
	static const struct {
		const char *policy, *question, *command; /* "": none can */
	} t[] = {
		{"locked\n", "a.test| 443", "paddock network allow box a.test:443"},
		{"open\ndeny a.test:443\n", "a.test| 443", "paddock network allow box a.test:443"},
		{"open\ndeny *\n", "a.test| 443", "paddock network allow box a.test:443"},
		{"open\n", "a.test|10.0.0.1 443", "paddock network allow box a.test:443"},
		{"open\n", "a.test|169.254.169.254 80",
			"paddock network allow box 169.254.169.254:80"},
		{"open\n", "|fe80::1 80", "paddock network allow box [fe80::1]:80"},
		{"open\ndeny 192.0.2.0/24\n", "a.test|192.0.2.1 80",
			"paddock network allow box a.test:80"},
		{"locked\n", "|203.0.113.1 22", "paddock network allow box 203.0.113.1:22"},
		{"open\n", "host.docker.internal| 5432",
			"paddock network allow box localhost:5432"},
		{"open\n", "wiki| 80", "paddock network allow box wiki:80"},
		{"locked\n", "a.test| 443 udp", "paddock network allow box a.test:443/udp"},
		{"locked\nallow a.test --method GET\n", "a.test| 443 POST /x/y?z",
			"paddock network allow box a.test:443 --method POST --path /x/y"},
		{"locked\nallow a.test --method GET\n", "a.test| 443 POST /$(id)'",
			"paddock network allow box a.test:443 --method POST"},
		{"open\n", "127.1| 80", ""},
		{"open\n", "a.test| 0", ""},
		{"open\n", "a.test| 80", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		CLEAN_POLICY struct policy p = {0};
		char command[POLICY_ALLOW_WITH_MAX], line[POLICY_ALLOW_WITH_MAX];
		struct policy_decision d;
		struct question q;
		struct err e = {0};
		struct rule r;

		policy_from(t[i].policy, &p);
		read_question(t[i].question, &q);
		d = policy_decide(&p, &q.dest);
		policy_allow_with(&q.dest, &d, "box", command);
		assert_string_equal(command, t[i].command);
		if (command[0] == '\0')
			continue;
		snprintf(line, sizeof(line), "allow%s",
			command + strlen("paddock network allow box"));
		assert_int_equal(rule_parse_line(line, &r, &e), 0);
		assert_int_equal(policy_add(&p, &r, &e), 0);
		if (policy_decide(&p, &q.dest).outcome != POLICY_ALLOW)
			fail_msg("%s is of no use for %s", command, t[i].question);
	}
}

/* Names that are not the public DNS's: resolved where a rule means just them. */
static void
test_names_rules(void **state)
{
	CLEAN_POLICY struct policy p = {0};

	(void)state;
	policy_from("locked\nallow wiki\nallow *.corp.internal\ndeny printer\nallow *\n", &p);
	assert_true(policy_names(&p, "wiki"));
	assert_true(policy_names(&p, "db.corp.internal"));
	assert_false(policy_names(&p, "printer"));
	assert_false(policy_names(&p, "db.other.internal"));
	assert_false(policy_names(&p, "intranet"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_path_canonical),
		cmocka_unit_test(test_path_length),
		cmocka_unit_test(test_path_matches),
		cmocka_unit_test(test_path_cost),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_ties),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_denied_range),
		cmocka_unit_test(test_floor),
		cmocka_unit_test(test_own_names),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_udp_default),
		cmocka_unit_test(test_bypass),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_damaged_lists),
		cmocka_unit_test(test_presets),
		cmocka_unit_test(test_allow_with),
		cmocka_unit_test(test_names_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
