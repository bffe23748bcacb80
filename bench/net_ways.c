#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/mem.h>

#include "net_common.h"
#include "net_ways.h"

#define START_LIMIT_MS 60000

static char folder[] = "/tmp/paddock-bench.XXXXXX";
static int keeper = -1;

/* ---- the end ------------------------------------------------------------------------------- */

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

/* PR_SET_PDEATHSIG would not do: a program that becomes another user loses it (prctl(2)). */
static void
keep(int fd)
{
	pid_t pids[64];
	size_t n = 0;

	setsid();
	while (n < ARRAY_LEN(pids) && read(fd, &pids[n], sizeof(pids[n])) == sizeof(pids[n]))
		n++;
	for (size_t i = 0; i < n; i++)
		kill(pids[i], SIGKILL);
	nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	_exit(0);
}

const char *
ways_folder(void)
{
	int p[2];

	if (keeper >= 0)
		return folder;
	if (mkdtemp(folder) == NULL || chmod(folder, 0777) < 0 || pipe2(p, O_CLOEXEC) < 0)
		die(folder);
	if (fork() == 0) {
		close(p[1]);
		keep(p[0]);
	}
	close(p[0]);
	keeper = p[1];
	return folder;
}

pid_t
ways_fork(void)
{
	pid_t pid;

	ways_folder();
	pid = fork();
	if (pid == 0)
		close(keeper);
	else if (pid < 0 || write(keeper, &pid, sizeof(pid)) != sizeof(pid))
		die("fork");
	return pid;
}

/* ---- the beginning ------------------------------------------------------------------------- */

static uint16_t
free_port(void)
{
	uint16_t port;
	CLEAN_CLOSE int fd = bench_listen(&port);

	(void)fd;
	return port;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* from the benches' tables alone */
static void
write_config(const char *path, const char *format, uint16_t port, uint16_t origin)
{
	CLEAN_FCLOSE FILE *f = fopen(path, "we");

	if (f == NULL || fprintf(f, format, folder, port, origin) < 0 ||
		fchmod(fileno(f), 0644) < 0)
		die(path);
}

static bool
prepare(const struct other *o, uint16_t port, uint16_t origin)
{
	CLEAN_FREE char *command = NULL;

	if (o->prepare == NULL)
		return true;
	if (asprintf(&command, o->prepare, folder, port, origin) < 0)
		die("prepare");
	return system(command) == 0;
}
#pragma GCC diagnostic pop

static pid_t
run(const struct other *o, const char *config, uint16_t port)
{
	const char *argv[ARRAY_LEN(o->argv) + 1] = {NULL};
	CLEAN_FREE char *number = xasprintf("%u", port);
	pid_t pid = ways_fork();

	if (pid != 0)
		return pid;
	for (size_t k = 0; k < ARRAY_LEN(o->argv) && o->argv[k] != NULL; k++)
		argv[k] = strcmp(o->argv[k], "CONFIG") == 0   ? config
			  : strcmp(o->argv[k], "FOLDER") == 0 ? folder
			  : strcmp(o->argv[k], "PORT") == 0   ? number
							      : o->argv[k];
	if (chdir(folder) == 0) {
		CLEAN_FREE char *log = xasprintf("%s/log", folder);
		int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
		int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

		dup2(null, 0);
		dup2(out, 1);
		dup2(out, 2);
		execv(o->program, (char **)argv);
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

static bool
start_one(const struct other *o, uint16_t origin_port, struct way *w)
{
	CLEAN_FREE char *config = xasprintf("%s/%s.conf", ways_folder(), o->argv[0]);

	if (access(o->program, X_OK) < 0) {
		printf("%s is not installed: left out\n", o->name);
		return false;
	}
	*w = (struct way){.name = o->name, .port = free_port()};
	write_config(config, o->config, w->port, origin_port);
	if (o->connect)
		snprintf(w->target, sizeof(w->target), "127.0.0.1:%u", origin_port);
	if (prepare(o, w->port, origin_port)) {
		w->pid = run(o, config, w->port);
		if (await_port(w->port))
			return true;
		kill(w->pid, SIGKILL);
	}
	printf("%s does not listen: left out\n", w->name);
	return false;
}

size_t
ways_start(const struct other *others, size_t n, uint16_t origin_port, struct way *out)
{
	size_t started = 0;

	for (size_t i = 0; i < n; i++)
		started += start_one(&others[i], origin_port, &out[started]);
	return started;
}
