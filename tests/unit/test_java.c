/* Java's lists in a container: found, covered, and what the container did to them put in its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>

#include "java.h"

#define OPENJDK "/opt/java/openjdk/lib/security"
#define DEBIAN  "/etc/ssl/certs/java"

/* $1: the folder of the test, $2: lists that keytool has made. */
static const char *const make_root =
	"cd \"$1\" && mkdir state outside root && cp \"$2\"/one-jks outside/cacerts && cd root &&"
	"mkdir -p ." OPENJDK "/policy ." DEBIAN " usr/lib/jvm/a/lib/security usr/lib/jvm/b/jre/lib/"
	"security usr/lib/jvm/out/lib/security usr/lib/jvm/odd/lib/security/cacerts home/mine/lib/"
	"security && cp \"$2\"/one-jks ." OPENJDK "/cacerts && chmod 0640 ." OPENJDK "/cacerts &&"
	"echo x > ." OPENJDK "/other && echo p > ." OPENJDK "/policy/p && chmod 0711 ." OPENJDK
	" &&"
	"cp \"$2\"/one-pkcs12 ." DEBIAN
	"/cacerts && cp \"$2\"/one-jks home/mine/lib/security/cacerts &&"
	"ln -s " DEBIAN "/cacerts usr/lib/jvm/a/lib/security/cacerts &&"
	"ln -s ../../../../../../.." DEBIAN "/cacerts usr/lib/jvm/b/jre/lib/security/cacerts &&"
	"ln -s \"$1\"/outside/cacerts usr/lib/jvm/out/lib/security/cacerts && ln -s a "
	"usr/lib/jvm/c";

struct world {
	char dir[64], *root, *state;
	struct buf pem;
	struct oci_container container;
	struct java_overlays found;
	struct err e;
};

static int
shell(const char *script, const char *arg, struct buf *out)
{
	char *argv[] = {"sh", "-ec", (char *)script, "sh", (char *)arg, (char *)KEYSTORES, NULL};
	struct err e = {0};
	int r = proc_run(argv, 20000, out, &e);

	if (r < 0)
		print_error("%s\n", e.msg);
	return r;
}

static int
setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	*state = w;
	snprintf(w->dir, sizeof(w->dir), "/tmp/paddock-java-XXXXXX");
	if (mkdtemp(w->dir) == NULL || shell(make_root, w->dir, NULL) < 0)
		return -1;
	w->root = xasprintf("%s/root", w->dir);
	w->state = xasprintf("%s/state", w->dir);
	w->container.root = xstrdup(w->root);
	return io_read_file(AT_FDCWD, KEYSTORES "/two-pem", 1 << 20, &w->pem, NULL);
}

static int
teardown(void **state)
{
	struct world *w = *state;

	io_remove_tree(AT_FDCWD, w->dir, NULL);
	java_overlays_release(&w->found);
	oci_container_release(&w->container);
	buf_release(&w->pem);
	free(w->root);
	free(w->state);
	free(w);
	return 0;
}

static void
prepare(struct world *w)
{
	java_overlays_release(&w->found);
	if (java_prepare(w->state, "id", "/", &w->container, buf_str(&w->pem), &w->found, &w->e) <
		0)
		fail_msg("%s", w->e.msg);
}

static const struct oci_overlay *
over(const struct world *w, const char *folder)
{
	for (size_t i = 0; i < w->found.n; i++)
		if (strcmp(w->found.v[i].destination, folder) == 0)
			return &w->found.v[i];
	return NULL;
}

static void
assert_says(const struct world *w, const char *script, const char *expected)
{
	CLEAN_BUF struct buf out = BUF_INIT;

	assert_int_equal(shell(script, w->dir, &out), 0);
	assert_string_equal(buf_str(&out), expected);
}

/* Each list once, however many names it has, and none from outside. */
static void
found(void **state)
{
	struct world *w = *state;
	CLEAN_FREE char *lower = NULL;
	const struct oci_overlay *o;

	prepare(w);
	assert_int_equal(w->found.n, 2);
	assert_non_null(over(w, DEBIAN));
	o = over(w, OPENJDK);
	assert_non_null(o);
	lower = xasprintf(":%s" OPENJDK, w->root);
	assert_true(str_has_suffix(o->lower, lower));
	assert_true(str_has_prefix(o->lower, w->state));
	/* As the image has them, but for what is in it. */
	assert_says(w,
		"cd \"$1\"/state/id/0; [ \"$(readlink folder)\" = " OPENJDK " ] || cd ../1;"
		"stat -c %a list upper list/cacerts; ls list upper; grep -c paddock-ca-1 "
		"list/cacerts",
		"711\n711\n640\nlist:\ncacerts\n\nupper:\n1\n");
	/* Control: that of the environment is found in that alone. */
	w->container.java_home = xstrdup("/home/mine");
	prepare(w);
	assert_int_equal(w->found.n, 3);
	assert_non_null(over(w, "/home/mine/lib/security"));
	assert_says(w, "cmp \"$1\"/root" OPENJDK "/cacerts \"$2\"/one-jks; ls \"$1\"/root" OPENJDK,
		"cacerts\nother\npolicy\n");
}

static void
not_wanted(void **state)
{
	struct world *w = *state;

	strv_add(&w->container.mounted, "/etc/ssl/");
	strv_add(&w->container.mounted, "/opt/java/openj");
	strv_add(&w->container.mounted, "/");
	prepare(w);
	assert_int_equal(w->found.n, 1);
	assert_non_null(over(w, OPENJDK));
	strv_add(&w->container.mounted, OPENJDK "/cacerts");
	prepare(w);
	assert_int_equal(w->found.n, 0);
	assert_says(w, "ls -a \"$1\"/state", ".\n..\n");
	strv_release(&w->container.mounted);
	w->container.mounted = (struct strv){0};
	w->container.user_namespace = true;
	prepare(w);
	assert_int_equal(w->found.n, 0);
	w->container.user_namespace = false;
	assert_int_equal(java_prepare(w->state, "../id", "/", &w->container, buf_str(&w->pem),
				 &w->found, &w->e),
		0);
	assert_int_equal(w->found.n, 0);
	prepare(w); /* control */
	assert_int_equal(w->found.n, 2);
}

static void
read_only(void **state)
{
	struct world *w = *state;

	w->container.readonly = true;
	prepare(w);
	assert_int_equal(w->found.n, 2);
	assert_null(w->found.v[0].upper);
	assert_int_equal(java_settle(w->state, "id", &w->e), 0);
	assert_says(w, "ls -a \"$1\"/state", ".\n..\n");
}

/* The upper folder as overlayfs leaves it. */
static void
settled(void **state)
{
	struct world *w = *state;

	prepare(w);
	assert_true(java_is_prepared(w->state, "id"));
	assert_false(java_is_prepared(w->state, ".") || java_is_prepared(w->state, NULL));
	assert_says(w,
		"cd \"$1\"/state/id/0; [ \"$(readlink folder)\" = " OPENJDK " ] || cd ../1;"
		"cp list/cacerts upper/cacerts; chmod 0604 upper/cacerts; mknod upper/other c 0 0;"
		"mkdir upper/policy; echo new > upper/policy/new; ln -s /etc/passwd upper/link;"
		"cp \"$2\"/one-jks upper/third; mkfifo upper/fifo",
		"");
	assert_int_equal(java_settle(w->state, "id", &w->e), 0);
	assert_says(w,
		"cd \"$1\"/root" OPENJDK "; find . ! -name . | sort; cat policy/*; readlink link;"
		"stat -c %a cacerts; cmp cacerts \"$2\"/one-jks; cmp third \"$2\"/one-jks;"
		"ls -a \"$1\"/state; cmp \"$1\"/root" DEBIAN "/cacerts \"$2\"/one-pkcs12",
		"./cacerts\n./link\n./policy\n./policy/new\n./policy/p\n./third\nnew\np\n/etc/"
		"passwd\n604\n.\n..\n");
	assert_false(java_is_prepared(w->state, "id"));
	assert_int_equal(java_settle(w->state, "id", &w->e), 0); /* once more: nothing */
}

/* A container that put a symlink in the way: it leads nowhere but in its own root file system. */
static void
no_way_out(void **state)
{
	struct world *w = *state;

	prepare(w);
	assert_says(w,
		"cd \"$1\"; for i in 0 1; do echo bad > state/id/$i/upper/cacerts; done;"
		"rm -r root/opt root/etc; ln -s \"$1\"/outside root/etc; mkdir -p root" OPENJDK
		" root\"$1\"/outside/ssl/certs/java; ln -s \"$1\"/outside/cacerts root" OPENJDK
		"/cacerts",
		"");
	assert_int_equal(java_settle(w->state, "id", &w->e), 0);
	assert_says(w,
		"cmp \"$1\"/outside/cacerts \"$2\"/one-jks; ls \"$1\"/outside; cat "
		"\"$1\"/root" OPENJDK "/cacerts; find \"$1\"/root" OPENJDK " -type l;"
		"cat \"$1\"/root\"$1\"/outside/ssl/certs/java/cacerts",
		"cacerts\nbad\nbad\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(found, setup, teardown),
		cmocka_unit_test_setup_teardown(not_wanted, setup, teardown),
		cmocka_unit_test_setup_teardown(read_only, setup, teardown),
		cmocka_unit_test_setup_teardown(settled, setup, teardown),
		cmocka_unit_test_setup_teardown(no_way_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
