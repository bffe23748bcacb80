/*
 * How this works: dockerd first, so that it stops its containers in its own way; then everybody
 * gets SIGTERM (and SIGHUP, which is what an interactive shell heeds), then SIGKILL; then the disk
 * is synced, unmounted as far as it goes, made read-only, and the power goes off. Each stage has
 * its limit, and the last one is reached whatever happens before: the journal covers the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>

#include "guest.h"
#include "step.h"

#define DOCKER_LIMIT_MS 10000
#define TERM_LIMIT_MS   4000
#define KILL_LIMIT_MS   2000
#define DISK_LIMIT_S    10
#define MOUNTINFO_MAX   (4u << 20)

/* Reaps until nobody is left or the time is over. SIGCHLD is blocked in PID 1, so it can be
 * awaited. */
static bool
reap_all(uint64_t deadline_ms)
{
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);
		int left = deadline_left_ms(deadline_ms);
		struct timespec t = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000L};

		if (pid < 0 && errno == ECHILD)
			return true;
		if (pid > 0 || (pid < 0 && errno == EINTR))
			continue;
		if (left == 0)
			return false;
		sigtimedwait(&chld, NULL, &t);
	}
}

bool
guest_kill_all(void)
{
	kill(-1, SIGKILL);
	return reap_all(deadline_in_ms(KILL_LIMIT_MS));
}

static void
end_processes(void)
{
	kill(-1, SIGTERM);
	kill(-1, SIGHUP);
	kill(-1, SIGCONT);
	if (!reap_all(deadline_in_ms(TERM_LIMIT_MS)) && !guest_kill_all())
		log_warn("some processes did not end");
}

/* mountinfo's octal escapes (proc(5)), in place. */
static void
unescape(char *s)
{
	char *to = s;

	for (; *s != '\0'; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
			s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Everything above the root, the latest first. Lazily: somebody may still stand in it. */
static void
unmount_all(void)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	CLEAN_STRV struct strv points = {0};
	CLEAN_FREE char *copy = NULL;
	char *save = NULL;

	if (io_read_file(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &b, NULL) < 0)
		return;
	copy = xstrdup(buf_str(&b));
	for (char *line = strtok_r(copy, "\n", &save); line != NULL;
		line = strtok_r(NULL, "\n", &save)) {
		char *in_line = NULL, *field = strtok_r(line, " ", &in_line);

		for (int i = 0; i < 4 && field != NULL; i++)
			field = strtok_r(NULL, " ", &in_line);
		if (field == NULL)
			continue;
		unescape(field);
		strv_add(&points, field);
	}
	for (size_t i = points.n; i-- > 0;)
		if (strcmp(points.v[i], "/") != 0 && strcmp(points.v[i], "/dev") != 0)
			umount2(points.v[i], MNT_DETACH);
}

static void *
settle_disk(void *arg)
{
	CLEAN_CLOSE int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)arg;
	/* Of the disk alone: sync(2) would also ask the workspaces' server, which may be gone. */
	if (root >= 0 && syncfs(root) < 0)
		log_warn("sync: %s", strerror(errno));
	/* The pump's last words, that its file system has gone, are news to nobody now. */
	if (log_get_level() < LOG_DEBUG)
		log_init("guest", LOG_QUIET);
	unmount_all();
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		log_debug("the disk stays writable: %s", strerror(errno));
	return NULL;
}

/* In a thread, for a disk or a mount that hangs must not keep the machine up. */
static void
settle_disk_in_time(void)
{
	struct timespec until;
	pthread_t thread;

	if (pthread_create(&thread, NULL, settle_disk, NULL) != 0) {
		settle_disk(NULL);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += DISK_LIMIT_S;
	if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0)
		return;
	if (log_get_level() < LOG_WARN)
		log_init("guest", LOG_WARN);
	log_warn("the disk did not settle in time");
}

void __attribute__((noreturn)) guest_power_off(struct guest *g)
{
	struct step s = step_begin();

	g->shutting_down = true;
	guest_thaw(g);
	guest_docker_stop(g, DOCKER_LIMIT_MS);
	step_done(&s, "docker stopped");
	end_processes();
	step_done(&s, "processes ended");
	settle_disk_in_time();
	step_done(&s, "disk settled");
	reboot(RB_POWER_OFF);
	/* Only where the kernel knows no way to: with QEMU's -no-reboot this ends it as well. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
