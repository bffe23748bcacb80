/*
 * dockerd's runc, and its BuildKit's: found first in their PATH, it is this program under another
 * name. It amends what the container is made of (oci.h), then becomes the runc of the image. What
 * it cannot read it leaves alone, so that no container fails for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>

#include "oci.h"
#include "runc.h"
#include "textblock.h"

#define SPEC_MAX (16u << 20)

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

static int
rewrite(const char *path, enum oci_kind kind, struct err *e)
{
	CLEAN_BUF struct buf old = BUF_INIT;
	CLEAN_BUF struct buf new = BUF_INIT;
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		return err_sys(e, errno, "'%s'", path);
	r = io_read_file(AT_FDCWD, path, SPEC_MAX, &old, e);
	if (r == 0)
		r = oci_amend(buf_str(&old), kind, is_there, &new, e);
	if (r < 0)
		return err_prefix(e, "'%s'", path);
	return text_write(path, new.data, new.len, st.st_mode & 07777, e);
}

static int
amend(const struct runc_call *c, struct err *e)
{
	static const char *const making[] = {"create", "run", "restore"};
	CLEAN_FREE char *config = xasprintf("%s/config.json", c->bundle);

	if (c->command == NULL)
		return 0;
	if (strcmp(c->command, "exec") == 0)
		return c->process != NULL ? rewrite(c->process, OCI_PROCESS, e) : 0;
	for (size_t i = 0; i < ARRAY_LEN(making); i++)
		if (strcmp(c->command, making[i]) == 0)
			return rewrite(config, OCI_CONTAINER, e);
	return 0;
}

int
guest_runc(char **argv)
{
	/* Debian's, Docker's own packages', and by hand. */
	static const char *const places[] = {
		"/usr/local/sbin/runc", "/usr/local/bin/runc", "/usr/sbin/runc", "/usr/bin/runc"};
	struct runc_call c;
	struct err e;

	log_init("runc", LOG_WARN);
	runc_parse(argv + 1, &c);
	if (amend(&c, &e) < 0)
		log_warn("the sandbox's certificates are not in this container: %s", e.msg);
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		execv(places[i], argv);
	fprintf(stderr, "paddock: no runc that can be run in the sandbox: %s\n", strerror(errno));
	return 127;
}
