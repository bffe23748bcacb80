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

#include <base/io.h>
#include <base/mem.h>
#include <state/state.h>

struct fixture {
	char root[64];
	struct state_paths p;
};

static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err e = {0};
	char data[96], run[96];

	snprintf(f->root, sizeof(f->root), "/tmp/paddock-test-XXXXXX");
	assert_non_null(mkdtemp(f->root));
	snprintf(data, sizeof(data), "%s/data", f->root);
	snprintf(run, sizeof(run), "%s/run", f->root);
	assert_int_equal(mkdir(run, 0700), 0);
	setenv("XDG_DATA_HOME", data, 1);
	setenv("XDG_RUNTIME_DIR", run, 1);
	if (state_paths_init(&f->p, &e) < 0)
		fail_msg("%s", e.msg);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	state_paths_release(&f->p);
	assert_int_equal(io_remove_tree(AT_FDCWD, f->root, NULL), 0);
	free(f);
	return 0;
}

static void
sample(struct sandbox *s)
{
	*s = (struct sandbox){.name = xstrdup("shell-web"),
		.agent = xstrdup("shell"),
		.image = xstrdup("shell-0123456789ab"),
		.cpus = 2,
		.memory_bytes = 1ULL << 32,
		.disk_bytes = 20ULL << 30,
		.accel = xstrdup("tcg"),
		.created = 1700000000};
	sandbox_add_workspace(s, "/home/u/web", false, false);
	sandbox_add_workspace(s, "/home/u/a \"b\"/ü", true, true)->source = xstrdup("/home/u/ü");
	strv_add(&s->env, "A=b c");
	strv_add(&s->resolve, "a.test:1:127.0.0.1");
	s->allow_hooks = true;
	s->with_settings = true;
	strv_add(&s->shadows, "/home/u/web/node_modules");
}

static void
test_round_trip(void **state)
{
	struct fixture *f = *state;
	struct sandbox a, b = {0};
	struct err e = {0};

	sample(&a);
	assert_int_equal(sandbox_create(&f->p, &a, NULL, NULL, &e), 0);
	assert_int_equal(sandbox_load(&f->p, "shell-web", &b, &e), 0);
	assert_string_equal(b.name, a.name);
	assert_string_equal(b.image, a.image);
	assert_int_equal(b.nworkspaces, 2);
	assert_string_equal(b.workspaces[1].path, a.workspaces[1].path);
	assert_true(b.workspaces[1].read_only && b.workspaces[1].is_file);
	assert_false(b.workspaces[0].read_only);
	assert_string_equal(workspace_source(&b.workspaces[0]), "/home/u/web");
	assert_string_equal(workspace_source(&b.workspaces[1]), "/home/u/ü");
	assert_int_equal(b.memory_bytes, a.memory_bytes);
	assert_string_equal(b.env.v[0], "A=b c");
	assert_string_equal(b.resolve.v[0], "a.test:1:127.0.0.1");
	assert_true(b.allow_hooks);
	assert_true(b.with_settings);
	assert_int_equal(b.shadows.n, 1);
	assert_string_equal(b.shadows.v[0], "/home/u/web/node_modules");
	assert_int_equal(sandbox_create(&f->p, &a, NULL, NULL, &e), -EEXIST);
	sandbox_release(&b);
	assert_int_equal(sandbox_remove(&f->p, "shell-web", &e), 0);
	assert_int_equal(sandbox_load(&f->p, "shell-web", &b, &e), -ENOENT);
	assert_int_equal(sandbox_remove(&f->p, "shell-web", &e), -ENOENT);
	sandbox_release(&a);
}

static int
fill_fails(const char *dir, void *arg, struct err *e)
{
	char path[256];

	(void)arg;
	snprintf(path, sizeof(path), "%s/half", dir);
	assert_int_equal(io_write_file_atomic(AT_FDCWD, path, "x", 1, 0600, e), 0);
	return err_set(e, ENOSPC, "no space");
}

static void
test_failed_creation_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct strv names = {0};
	struct sandbox a;
	struct err e = {0};
	char *dir;

	sample(&a);
	assert_int_equal(sandbox_create(&f->p, &a, fill_fails, NULL, &e), -ENOSPC);
	assert_int_equal(sandbox_names(&f->p, &names, &e), 0);
	assert_int_equal(names.n, 0);
	dir = xasprintf("%s/sandboxes", f->p.data);
	assert_int_equal(rmdir(dir), 0); /* really empty */
	free(dir);
	sandbox_release(&a);
	strv_release(&names);
}

/* What a creation or removal that was killed leaves is deleted; a live one's is not. */
static int
fill_while_others_clean(const char *dir, void *arg, struct err *e)
{
	struct fixture *f = arg;
	struct strv names = {0};

	assert_int_equal(sandbox_names(&f->p, &names, e), 0);
	assert_int_equal(names.n, 0);
	assert_int_equal(access(dir, F_OK), 0);
	return 0;
}

static void
test_left_overs(void **state)
{
	static const char *const words[] = {".web.newAAAAAA", ".web.rmAAAAAA", ".web.x.newAAAAAA"};
	struct fixture *f = *state;
	struct strv names = {0};
	struct sandbox a;
	struct err e = {0};

	for (size_t i = 0; i < 3; i++) {
		char *dir = xasprintf("%s/sandboxes/%s/sub", f->p.data, words[i]);

		assert_int_equal(io_mkdirs(dir, 0700, &e), 0);
		free(dir);
	}
	assert_int_equal(sandbox_names(&f->p, &names, &e), 0);
	assert_int_equal(names.n, 0);
	for (size_t i = 0; i < 3; i++) {
		char *dir = xasprintf("%s/sandboxes/%s", f->p.data, words[i]);

		assert_int_equal(access(dir, F_OK), -1);
		free(dir);
	}
	sample(&a);
	assert_int_equal(sandbox_create(&f->p, &a, fill_while_others_clean, f, &e), 0);
	sandbox_release(&a);
}

/* What a folder is called decides, or a copy would start on the original's disk. */
static void
test_copied_folder_is_its_own_sandbox(void **state)
{
	struct fixture *f = *state;
	struct sandbox a, b = {0};
	struct err e = {0};
	char *from = state_sandbox_dir(&f->p, "shell-web"), *to = state_sandbox_dir(&f->p, "copy");

	sample(&a);
	assert_int_equal(sandbox_create(&f->p, &a, NULL, NULL, &e), 0);
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(sandbox_load(&f->p, "copy", &b, &e), 0);
	assert_string_equal(b.name, "copy");
	sandbox_release(&a);
	sandbox_release(&b);
	free(from);
	free(to);
}

static void
test_own_state_is_no_workspace(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	char *below = xasprintf("%s/sandboxes/x", f->p.data),
	     *beside = xasprintf("%s-2", f->p.data);
	const char *const bad[] = {f->root, f->p.data, f->p.runtime, below};

	for (size_t i = 0; i < 4; i++) {
		struct sandbox s = {0};

		sandbox_add_workspace(&s, "/home/u/web", false, false);
		assert_int_equal(sandbox_check_workspaces(&f->p, &s, &e), 0);
		sandbox_add_workspace(&s, bad[i], true, false);
		assert_int_equal(sandbox_check_workspaces(&f->p, &s, &e), -EINVAL);
		sandbox_release(&s);
	}
	struct sandbox s = {0};

	sandbox_add_workspace(&s, beside, false, false);
	assert_int_equal(sandbox_check_workspaces(&f->p, &s, &e), 0);
	sandbox_release(&s);
	free(below);
	free(beside);
}

static void
test_newer_version_is_refused_and_kept(void **state)
{
	static const char text[] = "{\"version\": 99, \"name\": \"web\"}";
	struct fixture *f = *state;
	struct sandbox s = {0};
	struct err e = {0};
	struct buf b = BUF_INIT;
	char *dir = state_sandbox_dir(&f->p, "web"), *file = xasprintf("%s/sandbox.json", dir);

	assert_int_equal(io_mkdirs(dir, 0700, &e), 0);
	assert_int_equal(io_write_file_atomic(AT_FDCWD, file, text, strlen(text), 0600, &e), 0);
	assert_int_equal(sandbox_load(&f->p, "web", &s, &e), -ENOTSUP);
	assert_non_null(strstr(e.msg, "newer paddock"));
	assert_int_equal(io_read_file(AT_FDCWD, file, 1000, &b, &e), 0);
	assert_string_equal(buf_str(&b), text);
	buf_release(&b);
	free(dir);
	free(file);
}

static void
test_damaged_records(void **state)
{
	static const char *const bad[] = {"", "{", "[]", "{}", "{\"version\":\"1\"}",
		"{\"version\":1}",
		"{\"version\":1,\"name\":\"w\",\"agent\":\"a\",\"image\":\"../"
		"x\",\"workspaces\":[],"
		"\"cpus\":1,\"memory_bytes\":1,\"disk_bytes\":1,\"accel\":\"auto\",\"env\":[],"
		"\"resolve\":[],\"created\":1}",
		"{\"version\":1,\"name\":\"w\",\"agent\":\"a\",\"image\":\"x\",\"workspaces\":"
		"[{\"path\":\"rel\"}],\"cpus\":1,\"memory_bytes\":1,\"disk_bytes\":1,"
		"\"accel\":\"auto\",\"env\":[],\"resolve\":[],\"created\":1}"};
	struct fixture *f = *state;
	struct err e = {0};
	char *dir = state_sandbox_dir(&f->p, "web"), *file = xasprintf("%s/sandbox.json", dir);

	assert_int_equal(io_mkdirs(dir, 0700, &e), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct sandbox s = {0};

		assert_int_equal(
			io_write_file_atomic(AT_FDCWD, file, bad[i], strlen(bad[i]), 0600, &e), 0);
		e.msg[0] = '\0';
		assert_true(sandbox_load(&f->p, "web", &s, &e) < 0);
		assert_non_null(strstr(e.msg, "sandbox 'web'"));
	}
	free(dir);
	free(file);
}

static void
test_names(void **state)
{
	static const char *const good[] = {"ab", "0x", "claude-my.project", "a+b_c", "A-1"};
	static const char *const bad[] = {"", "a", ".a", "-rf", "a/b", "a b", "..", "a\n", "ä-b",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	char *n;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(sandbox_name_check(good[i], NULL), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(sandbox_name_check(bad[i], NULL), -EINVAL);
	n = sandbox_name_default("shell", "/home/u/My Project!");
	assert_string_equal(n, "shell-My-Project-");
	assert_int_equal(sandbox_name_check(n, NULL), 0);
	free(n);
}

static void
make_web(struct fixture *f)
{
	struct err e = {0};
	char *dir = state_sandbox_dir(&f->p, "web");

	assert_int_equal(io_mkdirs(dir, 0700, &e), 0);
	free(dir);
}

static void
test_lock(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	int a, b;

	assert_int_equal(state_lock(&f->p, "web", &e), -ENOENT);
	make_web(f);
	a = state_lock(&f->p, "web", &e);
	assert_true(a >= 0);
	assert_int_equal(write(a, "x", 1), -1); /* roles hold it: no way to fill the disk */
	assert_int_equal(state_lock(&f->p, "web", &e), -EWOULDBLOCK);
	/* rm's way: the folder goes while the lock is held; the next one gets a lock of its own. */
	assert_int_equal(sandbox_remove(&f->p, "web", &e), 0);
	assert_int_equal(state_lock(&f->p, "web", &e), -ENOENT);
	make_web(f);
	b = state_lock(&f->p, "web", &e);
	assert_true(b >= 0);
	close(a);
	assert_int_equal(state_lock(&f->p, "web", &e), -EWOULDBLOCK);
	close(b);
	b = state_lock(&f->p, "web", &e);
	assert_true(b >= 0);
	close(b);
}

/* The same sandbox from a log-in with another runtime folder: one lock, and it is found. */
static void
test_two_runtime_folders(void **state)
{
	struct fixture *f = *state;
	struct state_paths other = {0};
	struct err e = {0};
	char *run = xasprintf("%s/run2", f->root), *mine = xasprintf("%s/web", f->p.runtime);
	int lock, l, c;

	make_web(f);
	assert_int_equal(mkdir(run, 0700), 0);
	setenv("XDG_RUNTIME_DIR", run, 1);
	assert_int_equal(state_paths_init(&other, &e), 0);
	assert_string_not_equal(other.runtime, f->p.runtime);
	lock = state_lock(&f->p, "web", &e);
	l = state_socket_listen(&f->p, "web", &e);
	assert_true(lock >= 0 && l >= 0);
	assert_int_equal(state_lock(&other, "web", &e), -EWOULDBLOCK);
	c = state_socket_connect(&other, "web", &e);
	assert_true(c >= 0);
	close(c);
	close(l);
	close(lock);
	assert_int_equal(state_runtime_remove(&other, "web", &e), 0);
	assert_int_equal(access(mine, F_OK), -1);
	state_paths_release(&other);
	free(run);
	free(mine);
}

static void
test_images_lock(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	int a = state_images_lock(&f->p, false, &e), b = state_images_lock(&f->p, false, &e);

	assert_true(a >= 0 && b >= 0);
	assert_int_equal(state_images_lock(&f->p, true, &e), -EBUSY);
	close(a);
	close(b);
	a = state_images_lock(&f->p, true, &e);
	assert_true(a >= 0);
	assert_int_equal(state_images_lock(&f->p, false, &e), -EBUSY);
	close(a);
}

static void
test_socket(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	char *sock = xasprintf("%s/web/sock", f->p.runtime);
	struct stat st;
	int lock, l, c;

	make_web(f);
	assert_int_equal(state_socket_connect(&f->p, "web", &e), -ENOENT);
	lock = state_lock(&f->p, "web", &e);
	l = state_socket_listen(&f->p, "web", &e);
	assert_true(l >= 0);
	assert_int_equal(stat(sock, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	c = state_socket_connect(&f->p, "web", &e);
	assert_true(c >= 0);
	close(c);
	close(l);
	assert_int_equal(state_socket_connect(&f->p, "web", &e), -ECONNREFUSED);
	l = state_socket_listen(&f->p, "web", &e); /* over what a killed one left */
	assert_true(l >= 0);
	close(l);
	assert_int_equal(state_runtime_remove(&f->p, "web", &e), 0);
	assert_int_equal(state_socket_connect(&f->p, "web", &e), -ENOENT);
	close(lock);
	free(sock);
}

static void
test_runtime_of_others_is_refused(void **state)
{
	struct fixture *f = *state;
	struct state_paths p = {0};
	struct err e = {0};

	assert_int_equal(chmod(f->p.runtime, 0755), 0);
	assert_int_equal(state_paths_init(&p, &e), -EPERM);
	assert_int_equal(chmod(f->p.runtime, 0700), 0);
	assert_int_equal(chmod(f->p.data, 0770), 0);
	assert_int_equal(state_paths_init(&p, &e), -EPERM);
	assert_int_equal(chmod(f->p.data, 0755), 0);
	assert_int_equal(state_paths_init(&p, &e), 0);
	state_paths_release(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_failed_creation_leaves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_left_overs, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_newer_version_is_refused_and_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_records, setup, teardown),
		cmocka_unit_test(test_names),
		cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_copied_folder_is_its_own_sandbox, setup, teardown),
		cmocka_unit_test_setup_teardown(test_own_state_is_no_workspace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_runtime_folders, setup, teardown),
		cmocka_unit_test_setup_teardown(test_images_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_runtime_of_others_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
