/* The guest's certificates in containers: the runtime's files with them, its command lines. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/mem.h>

#include "certs.h"
#include "oci.h"
#include "runc.h"

/* runc.c needs it for other things than are tried here. */
struct pump;
int guest_pump_start(int port_fd, const char *mountpoint, struct pump **ret, struct err *e);
void guest_pump_go(struct pump *p);

int
guest_pump_start(int port_fd, const char *mountpoint, struct pump **ret, struct err *e)
{
	(void)port_fd;
	(void)mountpoint;
	(void)ret;
	return err_set(e, ENOSYS, "no pump in here");
}

void
guest_pump_go(struct pump *p)
{
	(void)p;
}

static bool
all(const char *source)
{
	(void)source;
	return true;
}

static bool
no_extra(const char *source)
{
	return strcmp(source, CERTS_HOST) != 0;
}

static bool
none(const char *source)
{
	(void)source;
	return false;
}

static json_t *
added(const char *text, enum oci_kind kind, bool (*has)(const char *))
{
	CLEAN_BUF struct buf out = BUF_INIT;
	struct err e = {0};
	json_t *j;

	if (oci_amend(text, kind, has, NULL, 0, &out, &e) < 0)
		fail_msg("%s", e.msg);
	j = json_loads(buf_str(&out), 0, NULL);
	assert_non_null(j);
	return j;
}

/* The value of a variable, which is there at most once; NULL: not at all. */
static const char *
variable(const json_t *process, const char *name)
{
	const char *found = NULL;
	size_t i, n = strlen(name);
	json_t *v;

	json_array_foreach (json_object_get(process, "env"), i, v) {
		const char *s = json_string_value(v);

		if (strncmp(s, name, n) != 0 || s[n] != '=')
			continue;
		assert_null(found);
		found = s + n + 1;
	}
	return found;
}

static const json_t *
mount_at(const json_t *config, const char *destination)
{
	size_t i;
	json_t *m;

	json_array_foreach (json_object_get(config, "mounts"), i, m)
		if (strcmp(json_string_value(json_object_get(m, "destination")), destination) == 0)
			return m;
	return NULL;
}

/* Every variable names a file that is mounted, read-only, after what makes /dev. */
static void
container(void **state)
{
	json_auto_t *j = added("{\"process\":{\"env\":[\"PATH=/bin\"],\"args\":[\"x\"]},"
			       "\"mounts\":[{\"destination\":\"/dev\",\"type\":\"tmpfs\"}],"
			       "\"linux\":{\"resources\":{\"memory\":{\"limit\":-1}},"
			       "\"big\":9223372036854775807}}",
		OCI_CONTAINER, all);
	const json_t *process = json_object_get(j, "process"), *m;

	(void)state;
	assert_string_equal(variable(process, "PATH"), "/bin");
	for (const struct oci_variable *v = oci_trust_variables; v->name != NULL; v++) {
		assert_string_equal(variable(process, v->name), v->value);
		m = mount_at(j, v->value);
		assert_non_null(m);
		assert_string_equal(json_string_value(json_object_get(m, "type")), "bind");
		assert_string_equal(
			json_string_value(json_array_get(json_object_get(m, "options"), 1)), "ro");
	}
	assert_string_equal(json_string_value(json_object_get(
				    mount_at(j, OCI_TRUST_DIR "/ca-certificates.crt"), "source")),
		CERTS_BUNDLE);
	m = json_array_get(json_object_get(j, "mounts"), 0);
	assert_string_equal(json_string_value(json_object_get(m, "destination")), "/dev");
	m = json_object_get(j, "linux"); /* the rest is as it was */
	assert_int_equal(json_integer_value(json_object_get(m, "big")), INT64_MAX);
}

static void
what_is_set_stays(void **state)
{
	json_auto_t *j =
		added("{\"env\":[\"SSL_CERT_FILE=/mine\",\"CURL_CA_BUNDLE=\"]}", OCI_PROCESS, all);

	(void)state;
	assert_string_equal(variable(j, "SSL_CERT_FILE"), "/mine");
	assert_string_equal(variable(j, "CURL_CA_BUNDLE"), "");
	/* The beginning of a name is not the name. */
	assert_string_equal(variable(j, "PIP_CERT"), OCI_TRUST_DIR "/ca-certificates.crt");
	assert_null(json_object_get(j, "mounts"));
}

static void
only_what_is_there(void **state)
{
	json_auto_t *some = added("{\"process\":{}}", OCI_CONTAINER, no_extra);
	json_auto_t *nothing =
		added("{\"process\":{\"env\":null},\"mounts\":null}", OCI_CONTAINER, none);
	json_auto_t *bare = added("{}", OCI_CONTAINER, all);

	(void)state;
	assert_null(mount_at(some, OCI_TRUST_DIR "/ca-extra.crt"));
	assert_null(variable(json_object_get(some, "process"), "NODE_EXTRA_CA_CERTS"));
	assert_non_null(variable(json_object_get(some, "process"), "SSL_CERT_FILE"));
	assert_int_equal(json_array_size(json_object_get(nothing, "mounts")), 0);
	assert_null(variable(json_object_get(nothing, "process"), "SSL_CERT_FILE"));
	assert_null(json_object_get(bare, "process"));
	assert_non_null(mount_at(bare, OCI_TRUST_DIR "/ca-certificates.crt"));
}

/* Over all that is mounted; without an upper folder for reading alone. */
static void
overlays(void **state)
{
	static const struct oci_overlay two[] = {
		{(char *)"/a", (char *)"/l:/r/a", (char *)"/u", (char *)"/w"},
		{(char *)"/b", (char *)"/l:/r/b", NULL, NULL}};
	CLEAN_BUF struct buf out = BUF_INIT;
	CLEAN_FREE char *a = NULL, *b = NULL;
	json_auto_t *j = NULL;
	const json_t *mounts;
	struct err e = {0};

	(void)state;
	assert_int_equal(oci_amend("{\"process\":{},\"mounts\":[{\"destination\":\"/dev\"}]}",
				 OCI_CONTAINER, all, two, ARRAY_LEN(two), &out, &e),
		0);
	j = json_loads(buf_str(&out), 0, NULL);
	mounts = json_object_get(j, "mounts");
	assert_true(json_array_size(mounts) > 3);
	a = json_dumps(json_array_get(mounts, json_array_size(mounts) - 2), JSON_COMPACT);
	b = json_dumps(json_array_get(mounts, json_array_size(mounts) - 1), JSON_COMPACT);
	assert_string_equal(a,
		"{\"destination\":\"/a\",\"type\":\"overlay\",\"source\":\"overlay\",\"options\":["
		"\"lowerdir=/l:/r/a\",\"upperdir=/u\",\"workdir=/w\",\"redirect_dir=off\","
		"\"metacopy=off\",\"index=off\"]}");
	assert_string_equal(b,
		"{\"destination\":\"/b\",\"type\":\"overlay\",\"source\":\"overlay\",\"options\":["
		"\"lowerdir=/l:/r/b\",\"ro\",\"redirect_dir=off\",\"metacopy=off\","
		"\"index=off\"]}");
}

static void
what_it_is(void **state)
{
	struct oci_container full CLEANUP(oci_container_release) = {0};
	struct oci_container bare CLEANUP(oci_container_release) = {0};
	struct oci_container odd CLEANUP(oci_container_release) = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(
		oci_container_read(
			"{\"root\":{\"path\":\"/r\",\"readonly\":true},\"linux\":{"
			"\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"user\"}]},"
			"\"process\":{\"env\":[\"JAVA_HOME_X=/x\",\"JAVA_HOME=/j\"]},"
			"\"mounts\":[{\"destination\":\"/dev\"},{},{\"destination\":\"/a\"}]}",
			&full, &e),
		0);
	assert_string_equal(full.root, "/r");
	assert_string_equal(full.java_home, "/j");
	assert_true(full.readonly && full.user_namespace);
	assert_int_equal(full.mounted.n, 2);
	assert_string_equal(full.mounted.v[1], "/a");
	assert_int_equal(
		oci_container_read("{\"root\":{\"path\":\"rootfs\"},\"linux\":{\"namespaces\""
				   ":[{\"type\":\"mount\"}]}}",
			&bare, &e),
		0);
	assert_string_equal(bare.root, "rootfs");
	assert_null(bare.java_home);
	assert_false(bare.readonly || bare.user_namespace);
	assert_int_equal(oci_container_read("{\"root\":7,\"linux\":[],\"process\":{\"env\":[3]},"
					    "\"mounts\":\"x\"}",
				 &odd, &e),
		0);
	assert_null(odd.root);
	assert_int_equal(oci_container_read("{", &odd, &e), -EINVAL);
}

static void
no_such_json(void **state)
{
	static const char *const bad[] = {"", "{", "[]", "null", "{\"process\":[]}",
		"{\"process\":{\"env\":\"x\"}}", "{\"mounts\":{}}", "{\"a\":18446744073709551615}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CLEAN_BUF struct buf out = BUF_INIT;
		struct err e = {0};

		if (oci_amend(bad[i], OCI_CONTAINER, all, NULL, 0, &out, &e) != -EINVAL ||
			out.len != 0)
			fail_msg("taken: %s", bad[i]);
	}
}

/* dockerd's for the network, and no other. */
static void
hook(void **state)
{
	json_auto_t *j =
		added("{\"hooks\":{\"prestart\":[{\"path\":\"/bin/mine\",\"args\":[\"mine\"]},"
		      "{\"path\":\"/proc/7/exe\",\"args\":[\"libnetwork-setkey\",\"-exec-root=/"
		      "r\",\"c\",\"k\"]}]}}",
			OCI_CONTAINER, none);
	CLEAN_FREE char *text = json_dumps(json_object_get(j, "hooks"), JSON_COMPACT);

	(void)state;
	assert_string_equal(text,
		"{\"prestart\":[{\"path\":\"/bin/mine\",\"args\":[\"mine\"]},"
		"{\"path\":\"" RUNC_DIR "/libnetwork-setkey\",\"args\":[\"libnetwork-setkey\","
		"\"-exec-root=/r\",\"c\",\"k\"],\"env\":[\"PADDOCK_SETKEY=/proc/7/exe\"]}]}");
}

static void
command_lines(void **state)
{
	static const struct {
		const char *argv[16], *command, *bundle, *process, *id;
	} lines[] = {
		{{NULL}, NULL, ".", NULL},
		{{"--version"}, NULL, ".", NULL},
		/* containerd's shim */
		{{"--root", "/run/r", "--log", "/run/l", "--log-format", "json", "create",
			 "--bundle", "/run/b", "--pid-file", "p", "id"},
			"create", "/run/b", NULL, "id"},
		{{"--root", "create", "--systemd-cgroup", "exec", "--process", "/tmp/p", "--detach",
			 "id"},
			"exec", ".", "/tmp/p", "id"},
		/* BuildKit */
		{{"--log=l", "run", "--bundle=/b", "--keep", "id"}, "run", "/b", NULL, "id"},
		{{"delete", "--force", "id"}, "delete", ".", NULL, "id"},
		{{"run", "-b", "/b", "id"}, "run", "/b", NULL, "id"},
		{{"exec", "-p", "f", "id"}, "exec", ".", "f", "id"},
		{{"create", "--bundle"}, "create", ".", NULL},
		{{"--root"}, NULL, ".", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct runc_call c;

		runc_parse((char *const *)lines[i].argv, &c);
		if ((c.command == NULL) != (lines[i].command == NULL) ||
			(c.process == NULL) != (lines[i].process == NULL))
			fail_msg("line %zu", i);
		if (c.command != NULL)
			assert_string_equal(c.command, lines[i].command);
		assert_string_equal(c.bundle, lines[i].bundle);
		if ((c.id == NULL) != (lines[i].id == NULL))
			fail_msg("line %zu", i);
		if (c.process != NULL)
			assert_string_equal(c.process, lines[i].process);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(container),
		cmocka_unit_test(what_is_set_stays),
		cmocka_unit_test(only_what_is_there),
		cmocka_unit_test(overlays),
		cmocka_unit_test(what_it_is),
		cmocka_unit_test(no_such_json),
		cmocka_unit_test(hook),
		cmocka_unit_test(command_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
