#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <state/policy.h>

static char root[64], file[128];
static struct state_paths paths;

static int
setup(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/paddock-test-XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(file, sizeof(file), "%s/policy.json", root);
	paths = (struct state_paths){.data = xasprintf("%s/data", root),
		.config = xasprintf("%s/config/paddock", root),
		.runtime = xasprintf("%s/run", root)};
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	state_paths_release(&paths);
	return io_remove_tree(AT_FDCWD, root, NULL);
}

static void
write_text(const char *text)
{
	assert_int_equal(io_write_file_atomic(AT_FDCWD, file, text, strlen(text), 0600, NULL), 0);
}

static void
add(struct policy *p, const char *line)
{
	struct err e = {0};
	struct rule r;

	if (rule_parse_line(line, &r, &e) < 0 || policy_add(p, &r, &e) < 0)
		fail_msg("%s", e.msg);
}

static void
test_round_trip(void **state)
{
	CLEAN_POLICY struct policy p = {0}, q = {0};
	CLEAN_BUF struct buf a = BUF_INIT, b = BUF_INIT;
	struct err e = {0};
	struct stat st;

	(void)state;
	policy_init(&p, POLICY_BALANCED);
	add(&p, "allow *.example.com:443");
	add(&p, "deny api.example.com --method PUT,DELETE --path /a/b");
	assert_int_equal(policy_file_save(file, &p, &e), 0);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(policy_file_load(file, &q, &e), 0);
	policy_encode(&p, &a);
	policy_encode(&q, &b);
	assert_string_equal(buf_str(&a), buf_str(&b));
	assert_int_equal(p.nrules, q.nrules);
}

/* L5 of the attacks: what cannot be read is an error that says where. */
static void
test_damaged(void **state)
{
	static const struct {
		const char *text, *says;
		int code;
	} t[] = {
		{"", "line 1", EINVAL},
		{"{\n\"version\": 1,\n\"preset\": }", "line 3", EINVAL},
		{"[]", "version", EINVAL},
		{"{\"preset\":\"open\",\"rules\":[]}", "version", EINVAL},
		{"{\"version\":1,\"rules\":[]}", "preset", EINVAL},
		{"{\"version\":1,\"preset\":\"none\",\"rules\":[]}", "preset 'none'", EINVAL},
		{"{\"version\":1,\"preset\":\"open\"}", "rules", EINVAL},
		{"{\"version\":1,\"preset\":\"open\",\"rules\":{}}", "list", EINVAL},
		{"{\"version\":1,\"preset\":\"open\",\"rules\":[1]}", "rule 1", EINVAL},
		{"{\"version\":1,\"preset\":\"open\",\"rules\":[\"allow a.test\",\"alow b.test\"]}",
			"rule 2", EINVAL},
		{"{\"version\":1,\"version\":1,\"preset\":\"open\",\"rules\":[]}", "duplicate",
			EINVAL},
		{"{\"version\":2,\"preset\":\"open\",\"rules\":[],\"more\":1}", "newer", ENOTSUP},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct policy p = {0};
		struct err e = {0};

		write_text(t[i].text);
		assert_int_equal(policy_file_load(file, &p, &e), -t[i].code);
		if (strstr(e.msg, t[i].says) == NULL)
			fail_msg("'%s' does not say '%s'", e.msg, t[i].says);
		assert_null(p.rules);
	}
	struct policy p = {0};

	assert_int_equal(unlink(file), 0);
	assert_int_equal(policy_file_load(file, &p, NULL), -ENOENT);
}

static void
test_default(void **state)
{
	CLEAN_POLICY struct policy p = {0};
	CLEAN_CLOSE int lock = -1;
	struct err e = {0};

	(void)state;
	assert_int_equal(state_default_policy_load(&paths, &p, &e), 0);
	assert_int_equal(p.preset, POLICY_BALANCED);
	lock = state_policy_lock(&paths, NULL, &e);
	assert_true(lock >= 0);
	policy_set_preset(&p, POLICY_LOCKED);
	add(&p, "allow a.test");
	assert_int_equal(state_default_policy_save(&paths, &p, &e), 0);
	policy_release(&p);
	assert_int_equal(state_default_policy_load(&paths, &p, &e), 0);
	assert_int_equal(p.preset, POLICY_LOCKED);
	assert_int_equal(p.nown, 1);
	assert_int_equal(state_policy_lock(&paths, "nobody", &e), -ENOENT);
	assert_non_null(strstr(e.msg, "no sandbox 'nobody'"));
	assert_int_equal(state_policy_load(&paths, "nobody", &p, &e), -ENOENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_default, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
