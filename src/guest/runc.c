/*
 * dockerd's runc, and its BuildKit's: found first in their PATH, it is this program under another
 * name. It amends what the container is made of (oci.h), then becomes the runc of the image. What
 * it cannot read it leaves alone, so that no container fails for it.
 *
 * What a container wrote over a list of Java's (java.h) is put in its place before anybody looks:
 * by the `delete` of a container that was created, which dockerd awaits, or at the end of the `run`
 * of a build step: BuildKit takes the layer then, and deletes later.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>

#include "certs.h"
#include "java.h"
#include "oci.h"
#include "runc.h"
#include "textblock.h"

#define SPEC_MAX  (16u << 20)
#define CERTS_MAX (16u << 20)
#define JAVA_DIR  "/run/paddock/java"

void
runc_parse(char *const *argv, struct runc_call *ret)
{
	/* runc(8): global options that have a value of their own */
	static const char *const valued[] = {
		"--log", "--log-format", "--root", "--criu", "--rootless", NULL};
	size_t i = 0;

	*ret = (struct runc_call){.bundle = "."};
	while (argv[i] != NULL && argv[i][0] == '-') {
		bool skip = false;

		for (size_t k = 0; valued[k] != NULL; k++)
			skip |= strcmp(argv[i], valued[k]) == 0;
		i += skip && argv[i + 1] != NULL ? 2 : 1;
	}
	if (argv[i] == NULL)
		return;
	ret->command = argv[i++];
	for (; argv[i] != NULL; i++) {
		const char *a = argv[i];

		if (argv[i + 1] == NULL && a[0] != '-')
			ret->id = a; /* of all but exec, whose words end with its own */
		if ((strcmp(a, "--bundle") == 0 || strcmp(a, "-b") == 0) && argv[i + 1] != NULL)
			ret->bundle = argv[++i];
		else if (str_has_prefix(a, "--bundle="))
			ret->bundle = a + strlen("--bundle=");
		else if ((strcmp(a, "--process") == 0 || strcmp(a, "-p") == 0) &&
			 argv[i + 1] != NULL)
			ret->process = argv[++i];
		else if (str_has_prefix(a, "--process="))
			ret->process = a + strlen("--process=");
	}
}

static bool
is_there(const char *path)
{
	return access(path, R_OK) == 0;
}

/* Where nothing of Java can be had, the container starts without. */
static void
prepare_java(const struct runc_call *c, const char *config, struct java_overlays *ret)
{
	CLEAN_BUF struct buf pem = BUF_INIT;
	struct oci_container container CLEANUP(oci_container_release) = {0};
	struct err e;

	if (io_read_file(AT_FDCWD, CERTS_HOST, CERTS_MAX, &pem, NULL) < 0)
		return;
	if (oci_container_read(config, &container, &e) < 0 ||
		java_prepare(JAVA_DIR, c->id, c->bundle, &container, buf_str(&pem), ret, &e) < 0)
		log_warn("the sandbox's certificates are not in this container's Java: %s", e.msg);
}

static int
rewrite(const struct runc_call *c, const char *path, enum oci_kind kind, struct java_overlays *java,
	struct err *e)
{
	CLEAN_BUF struct buf old = BUF_INIT;
	CLEAN_BUF struct buf new = BUF_INIT;
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		return err_sys(e, errno, "'%s'", path);
	r = io_read_file(AT_FDCWD, path, SPEC_MAX, &old, e);
	if (r == 0 && kind == OCI_CONTAINER)
		prepare_java(c, buf_str(&old), java);
	if (r == 0)
		r = oci_amend(buf_str(&old), kind, is_there, java->v, java->n, &new, e);
	if (r < 0)
		return err_prefix(e, "'%s'", path);
	return text_write(path, new.data, new.len, st.st_mode & 07777, e);
}

static int
amend(const struct runc_call *c, struct java_overlays *java, struct err *e)
{
	static const char *const making[] = {"create", "run", "restore"};
	CLEAN_FREE char *config = xasprintf("%s/config.json", c->bundle);

	if (c->command == NULL)
		return 0;
	if (strcmp(c->command, "exec") == 0)
		return c->process != NULL ? rewrite(c, c->process, OCI_PROCESS, java, e) : 0;
	for (size_t i = 0; i < ARRAY_LEN(making); i++)
		if (strcmp(c->command, making[i]) == 0)
			return rewrite(c, config, OCI_CONTAINER, java, e);
	return 0;
}

static int
become(char **argv)
{
	/* Debian's, Docker's own packages', and by hand. */
	static const char *const places[] = {
		"/usr/local/sbin/runc", "/usr/local/bin/runc", "/usr/sbin/runc", "/usr/bin/runc"};

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		execv(places[i], argv);
	fprintf(stderr, "paddock: no runc that can be run in the sandbox: %s\n", strerror(errno));
	return 127;
}

/* Signals go on to it; with us it ends. */
static int
await(pid_t pid, const sigset_t *all)
{
	int status, sig;

	for (;;) {
		if (sigwait(all, &sig) != 0)
			continue;
		if (sig != SIGCHLD)
			kill(pid, sig);
		else if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
}

static int
run(char **argv)
{
	pid_t us = getpid(), pid;
	sigset_t all, old;

	signal(SIGCHLD, SIG_DFL); /* ignored, it would not come */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigprocmask(SIG_SETMASK, &old, NULL);
		_exit(getppid() == us ? become(argv) : 127);
	}
	if (pid < 0) {
		fprintf(stderr, "paddock: runc: %s\n", strerror(errno));
		return 127;
	}
	return await(pid, &all);
}

/* Whether a container ends with this, which then is not the end for us. */
static bool
is_last(const struct runc_call *c)
{
	return c->command != NULL &&
	       (strcmp(c->command, "run") == 0 || strcmp(c->command, "delete") == 0) &&
	       java_is_prepared(JAVA_DIR, c->id);
}

int
guest_runc(char **argv)
{
	struct java_overlays java CLEANUP(java_overlays_release) = {0};
	struct runc_call c;
	struct err e;
	int r;

	log_init("runc", LOG_WARN);
	runc_parse(argv + 1, &c);
	if (amend(&c, &java, &e) < 0)
		log_warn("the sandbox's certificates are not in this container: %s", e.msg);
	if (!is_last(&c))
		return become(argv);
	r = run(argv);
	/* One that cannot be deleted still runs. */
	if ((r == 0 || strcmp(c.command, "run") == 0) && java_settle(JAVA_DIR, c.id, &e) < 0)
		log_warn("what container %s did to Java's certificates is lost: %s", c.id, e.msg);
	return r;
}
