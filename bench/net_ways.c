#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/mem.h>

#include "net_ways.h"

#define START_LIMIT_MS 20000

static char folder[] = "/tmp/paddock-bench.XXXXXX";

void
die(const char *what)
{
	perror(what);
	exit(1);
}

/* %1$s: the folder, %2$u: its port, %3$u: the origin's. Logs are off, as are caches. */
static const struct {
	const char *name, *program, *config;
	bool connect;
	const char *argv[6]; /* CONFIG stands for the file */
} others[] = {
	{"squid", "/usr/sbin/squid",
		"http_port 127.0.0.1:%2$u\nhttp_access allow all\ncache deny all\n"
		"access_log none\ncache_log %1$s/squid.log\npid_filename none\n"
		"coredump_dir %1$s\npinger_enable off\nvisible_hostname bench\n"
		"shutdown_lifetime 0 seconds\nmax_filedescriptors 16384\n# origin %3$u\n",
		true, {"squid", "-N", "-f", "CONFIG"}},
	{"tinyproxy", "/usr/bin/tinyproxy",
		"Port %2$u\nListen 127.0.0.1\nAllow 127.0.0.1\nMaxClients 4000\nTimeout 600\n"
		"LogLevel Critical\nConnectPort %3$u\n# %1$s\n",
		true, {"tinyproxy", "-d", "-c", "CONFIG"}},
	{"haproxy, TCP", "/usr/sbin/haproxy",
		"# %1$s\nglobal\n maxconn 4000\ndefaults\n mode tcp\n option splice-auto\n"
		" timeout connect 5s\n timeout client 600s\n timeout server 600s\n"
		"listen bench\n bind 127.0.0.1:%2$u\n server origin 127.0.0.1:%3$u\n",
		false, {"haproxy", "-db", "-f", "CONFIG"}},
};

static uint16_t
free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	CLEAN_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
		getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		die("bind");
	return ntohs(a.sin_port);
}

static void
write_config(const char *path, const char *format, uint16_t port, uint16_t origin)
{
	CLEAN_FCLOSE FILE *f = fopen(path, "we");

	if (f == NULL)
		die(path);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* from the table above alone */
	fprintf(f, format, folder, port, origin);
#pragma GCC diagnostic pop
	if (fchmod(fileno(f), 0644) < 0)
		die(path);
}

static pid_t
run(size_t i, const char *config)
{
	const char *argv[ARRAY_LEN(others[0].argv) + 1] = {NULL};
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t k = 0; k < ARRAY_LEN(others[0].argv) && others[i].argv[k] != NULL; k++)
		argv[k] = strcmp(others[i].argv[k], "CONFIG") == 0 ? config : others[i].argv[k];
	if (chdir(folder) == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execv(others[i].program, (char **)argv);
	}
	_exit(127);
}

static bool
await_port(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint64_t deadline = deadline_in_ms(START_LIMIT_MS);

	while (deadline_left_ms(deadline) > 0) {
		CLEAN_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			return true;
		usleep(20000);
	}
	return false;
}

size_t
ways_start(uint16_t origin_port, struct way *out)
{
	size_t n = 0;

	if (mkdtemp(folder) == NULL || chmod(folder, 0777) < 0) /* squid becomes another user */
		die(folder);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		struct way *w = &out[n];
		CLEAN_FREE char *config = xasprintf("%s/%zu.conf", folder, i);

		if (access(others[i].program, X_OK) < 0) {
			printf("%s is not installed: left out\n", others[i].name);
			continue;
		}
		*w = (struct way){.name = others[i].name, .port = free_port()};
		write_config(config, others[i].config, w->port, origin_port);
		w->pid = run(i, config);
		if (others[i].connect)
			snprintf(w->target, sizeof(w->target), "127.0.0.1:%u", origin_port);
		n++;
		if (await_port(w->port))
			continue;
		printf("%s does not listen: left out\n", w->name);
		kill(w->pid, SIGKILL);
		n--;
	}
	return n;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void
ways_end(const struct way *ways, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ways[i].pid != 0)
			kill(ways[i].pid, SIGKILL);
	nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}
