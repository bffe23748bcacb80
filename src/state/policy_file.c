#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <state/policy.h>

/* 1024 rules of the greatest length, escaped. */
#define FILE_MAX      (4U << 20)
#define LOCK_LIMIT_MS 5000

static int
add_rules(json_t *rules, struct policy *p, struct err *e)
{
	json_t *v;
	size_t i;

	json_array_foreach (rules, i, v) {
		const char *line = json_string_value(v);
		struct rule rule;
		int r = line == NULL ? err_set(e, EINVAL, "a rule is a text")
				     : rule_parse_line(line, &rule, e);

		if (r == 0)
			r = policy_add(p, &rule, e);
		if (r < 0)
			return err_prefix(e, "rule %zu", i + 1);
	}
	return 0;
}

static int
from_json(json_t *o, struct policy *ret, struct err *e)
{
	enum policy_preset preset;
	json_int_t version = 0;
	json_t *rules = NULL;
	json_error_t je;
	const char *word;

	if (json_unpack(o, "{s:I}", "version", &version) < 0)
		return err_set(e, EINVAL, "it has no version");
	if (version > POLICY_FILE_VERSION)
		return err_set(e, ENOTSUP,
			"it has version %lld, this paddock knows %d: use a newer paddock",
			(long long)version, POLICY_FILE_VERSION);
	if (json_unpack_ex(o, &je, 0, "{s:s,s:o}", "preset", &word, "rules", &rules) < 0)
		return err_set(e, EINVAL, "%s", je.text);
	if (policy_preset_parse(word, &preset) < 0)
		return err_set(e, EINVAL, "preset '%.40s': write open, balanced or locked", word);
	if (!json_is_array(rules))
		return err_set(e, EINVAL, "rules is a list");
	policy_init(ret, preset);
	return add_rules(rules, ret, e);
}

int
policy_file_load(const char *path, struct policy *ret, struct err *e)
{
	CLEAN_POLICY struct policy p = {0};
	CLEAN_BUF struct buf b = BUF_INIT;
	json_error_t je;
	json_t *o;
	int r = io_read_file(AT_FDCWD, path, FILE_MAX, &b, e);

	if (r < 0)
		return r;
	o = json_loadb(buf_str(&b), b.len, JSON_REJECT_DUPLICATES, &je);
	if (o == NULL)
		return err_set(e, EINVAL, "'%s' line %d: %s", path, je.line, je.text);
	r = from_json(o, &p, e);
	json_decref(o);
	if (r < 0)
		return err_prefix(e, "'%s'", path);
	*ret = p;
	p = (struct policy){0};
	return 0;
}

int
policy_file_save(const char *path, const struct policy *p, struct err *e)
{
	json_t *rules = json_array(), *o;
	CLEAN_FREE char *text = NULL;
	CLEAN_BUF struct buf b = BUF_INIT;
	char line[RULE_LINE_MAX];

	for (size_t i = 0; i < p->nown; i++) {
		rule_format_line(&p->rules[i], line);
		json_array_append_new(rules, json_string(line));
	}
	o = json_pack("{s:i,s:s,s:o}", "version", POLICY_FILE_VERSION, "preset",
		policy_preset_name(p->preset), "rules", rules);
	text = json_dumps(o, JSON_INDENT(2));
	json_decref(o);
	if (text == NULL)
		abort();
	buf_printf(&b, "%s\n", text);
	return io_write_file_atomic(AT_FDCWD, path, b.data, b.len, 0600, e);
}

char *
state_policy_file(const struct state_paths *p, const char *name)
{
	return state_sandbox_file(p, name, "policy.json");
}

int
state_policy_load(const struct state_paths *p, const char *name, struct policy *ret, struct err *e)
{
	CLEAN_FREE char *path = state_policy_file(p, name);
	int r = policy_file_load(path, ret, e);

	if (r == -ENOENT)
		return err_set(e, ENOENT,
			"sandbox '%s' has no policy: give it one with paddock network proxy %s "
			"--policy allow|deny",
			name, name);
	return r;
}

static char *
default_file(const struct state_paths *p)
{
	return xasprintf("%s/policy.json", p->config);
}

int
state_default_policy_load(const struct state_paths *p, struct policy *ret, struct err *e)
{
	CLEAN_FREE char *path = default_file(p);
	int r = policy_file_load(path, ret, e);

	if (r != -ENOENT)
		return r;
	policy_init(ret, POLICY_BALANCED);
	return 0;
}

int
state_default_policy_save(const struct state_paths *p, const struct policy *by, struct err *e)
{
	CLEAN_FREE char *path = default_file(p);

	return policy_file_save(path, by, e);
}

int
state_policy_lock(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_FREE char *path = name != NULL ? state_sandbox_dir(p, name) : xstrdup(p->config);
	CLEAN_CLOSE int fd = -1;
	int r = name == NULL ? io_mkdirs(path, 0700, e) : 0;

	if (r < 0)
		return r;
	/* The folder itself: no file is left behind, and the running sandbox's lock is another. */
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ENOENT, "no sandbox '%s': see paddock ls", name);
	if (fd < 0)
		return err_sys(e, errno, "open '%s'", path);
	/* Whoever has it writes one small file. */
	r = io_lock(fd, deadline_in_ms(LOCK_LIMIT_MS));
	if (r == -ETIMEDOUT)
		return err_set(e, EBUSY,
			"another command is changing the policy and does not end: see ps");
	return r < 0 ? err_sys(e, -r, "lock '%s'", path) : TAKE_FD(fd);
}
