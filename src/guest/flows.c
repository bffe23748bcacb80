#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>

#include "flows.h"

struct flows {
	uint32_t address;
	int probe; /* of UDP: to ask which way an address is */
	size_t nreset;
};

static bool
is_tcp(int fd)
{
	int type = 0, protocol = 0;
	socklen_t n = sizeof(type), m = sizeof(protocol);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &m) == 0 &&
	       protocol == IPPROTO_TCP;
}

/* IPv4, also in an IPv6 socket; IPv6 itself leads nowhere but to the machine. */
static bool
peer_of(int fd, struct sockaddr_in *ret)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a = {.in6 = {0}};
	socklen_t n = sizeof(a);

	if (getpeername(fd, &a.any, &n) < 0)
		return false;
	*ret = (struct sockaddr_in){.sin_family = AF_INET};
	if (a.any.sa_family == AF_INET) {
		ret->sin_addr = a.in.sin_addr;
		return true;
	}
	if (a.any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a.in6.sin6_addr))
		return false;
	memcpy(&ret->sin_addr, a.in6.sin6_addr.s6_addr + 12, 4);
	return true;
}

/* By the address from which we would speak to it: that of a container's bridge is another one. */
static bool
is_outside(const struct flows *f, const struct sockaddr_in *peer)
{
	struct sockaddr_in to = *peer, from = {0};
	socklen_t n = sizeof(from);

	to.sin_port = htons(9);
	return peer->sin_addr.s_addr != f->address &&
	       connect(f->probe, (struct sockaddr *)&to, sizeof(to)) == 0 &&
	       getsockname(f->probe, (struct sockaddr *)&from, &n) == 0 &&
	       from.sin_addr.s_addr == f->address;
}

static void
look_at(struct flows *f, int pidfd, int number)
{
	static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	CLEAN_CLOSE int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	struct sockaddr_in peer;

	if (fd < 0 || !is_tcp(fd) || !peer_of(fd, &peer) || !is_outside(f, &peer))
		return;
	if (connect(fd, &nobody, sizeof(nobody)) == 0)
		f->nreset++;
	else
		log_debug("a connection stays: %s", strerror(errno));
}

static void
look_at_process(struct flows *f, pid_t pid)
{
	CLEAN_FREE char *path = xasprintf("/proc/%d/fd", (int)pid);
	CLEAN_CLOSEDIR DIR *d = opendir(path);
	CLEAN_CLOSE int pidfd = -1;
	struct dirent *de;

	while (d != NULL && (de = readdir(d)) != NULL) {
		char target[64];
		ssize_t n = readlinkat(dirfd(d), de->d_name, target, sizeof(target) - 1);

		if (n <= 0)
			continue;
		target[n] = '\0';
		if (!str_has_prefix(target, "socket:"))
			continue;
		if (pidfd < 0)
			pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (pidfd < 0)
			return; /* it has ended */
		look_at(f, pidfd, atoi(de->d_name));
	}
}

int
flows_reset(uint32_t address, struct err *e)
{
	CLEAN_CLOSE int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CLEAN_CLOSEDIR DIR *d = opendir("/proc");
	struct flows f = {.address = address, .probe = probe};
	struct dirent *de;

	if (probe < 0 || d == NULL)
		return err_sys(e, errno, "end the connections");
	while ((de = readdir(d)) != NULL)
		if (isdigit((unsigned char)de->d_name[0]))
			look_at_process(&f, (pid_t)atoi(de->d_name));
	log_debug("%zu connections were reset", f.nreset);
	return 0;
}
