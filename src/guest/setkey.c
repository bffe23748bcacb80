/*
 * How this works: for each container that is started, dockerd has runc start dockerd once more as
 * its hook (OCI runtime specification, config.md, "POSIX-platform Hooks"), for one message on a
 * socket: where the container's network namespace is. Without KVM that takes a program of 90 MB
 * seconds, a third of the start of a container. So this program is named in its place (oci.c):
 *
 *   libnetwork-setkey [-exec-root=DIR] CONTAINER CONTROLLER     the container's state on stdin
 *     -> DIR/libnetwork/CONTROLLER.sock   {"ContainerID":"CONTAINER","Key":"/proc/PID/ns/net"}
 *     <-                                  success, or else what went wrong
 *
 * That is moby's own affair (libnetwork/sandbox_externalkey_unix.go): whatever looks different is
 * left to dockerd's own hook, with the same state.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/str.h>

#include "setkey.h"

#define EXEC_ROOT "-exec-root="
#define STATE_MAX 65536
#define REPLY_MAX 1024

/* The state, read into a file, so that it can be read once more. */
static int
keep_state(struct buf *ret)
{
	int fd = memfd_create("state", 0);

	if (fd < 0 || io_read_fd_all(STDIN_FILENO, STATE_MAX, ret, NULL) < 0 ||
		io_write_full(fd, ret->data, ret->len, UINT64_MAX) < 0 ||
		lseek(fd, 0, SEEK_SET) < 0 || dup2(fd, STDIN_FILENO) < 0)
		return -1;
	return 0;
}

static char *
message(const char *state, const char *container)
{
	json_auto_t *s = json_loads(state, 0, NULL), *m = NULL;
	CLEAN_FREE char *key = NULL;
	json_int_t pid = json_integer_value(json_object_get(s, "pid"));

	if (pid <= 0)
		return NULL;
	key = xasprintf("/proc/%lld/ns/net", (long long)pid);
	m = json_pack("{s:s, s:s}", "ContainerID", container, "Key", key);
	return m != NULL ? json_dumps(m, JSON_COMPACT) : NULL;
}

static int
connect_to(const char *root, const char *controller)
{
	CLEAN_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int n = snprintf(a.sun_path, sizeof(a.sun_path), "%s/libnetwork/%s.sock", root, controller);

	if (fd < 0 || n < 0 || (size_t)n >= sizeof(a.sun_path) ||
		connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	return TAKE_FD(fd);
}

/* dockerd has the message in one read, so it is sent in one piece. */
static int
tell(int fd, const char *text)
{
	char reply[REPLY_MAX + 1];
	ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);

	if (n == (ssize_t)strlen(text))
		n = recv(fd, reply, REPLY_MAX, 0);
	reply[n > 0 ? n : 0] = '\0';
	if (strcmp(reply, "success") == 0)
		return 0;
	fprintf(stderr, SETKEY_NAME ": %s\n", n > 0 ? reply : "dockerd does not answer");
	return 1;
}

int
guest_setkey(char **argv)
{
	CLEAN_BUF struct buf state = BUF_INIT;
	CLEAN_FREE char *text = NULL;
	CLEAN_CLOSE int fd = -1;
	const char *root = "/var/run/docker", *real = getenv(SETKEY_REAL);
	char **a = argv + 1;

	if (*a != NULL && str_has_prefix(*a, EXEC_ROOT))
		root = *a++ + strlen(EXEC_ROOT);
	if (keep_state(&state) == 0 && a[0] != NULL && a[0][0] != '-' && a[1] != NULL &&
		a[2] == NULL)
		text = message(buf_str(&state), a[0]);
	if (text != NULL)
		fd = connect_to(root, a[1]);
	if (fd >= 0)
		return tell(fd, text);
	if (real != NULL)
		execv(real, argv);
	fprintf(stderr, SETKEY_NAME ": %s\n", strerror(errno));
	return 1;
}
