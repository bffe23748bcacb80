#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/io.h>
#include <base/str.h>

#include "deaf.h"

/* The text behind "\nKEY:\t", up to its line's end; NULL where there is none. */
static const char *
field(const char *status, const char *key)
{
	const char *at = strstr(status, key);

	return at != NULL ? at + strlen(key) : NULL;
}

/* "NSpid:\t4711\t1": its number in each namespace, the innermost last. */
static bool
is_inner_init(const char *numbers)
{
	size_t n = strcspn(numbers, "\n"), tab = n;

	while (tab > 0 && numbers[tab - 1] != '\t')
		tab--;
	return tab > 0 && n - tab == 1 && numbers[tab] == '1';
}

bool
deaf_status(const char *status)
{
	const char *nspid = field(status, "\nNSpid:\t"), *caught = field(status, "\nSigCgt:\t");

	if (nspid == NULL || caught == NULL)
		return false;
	return is_inner_init(nspid) && (strtoull(caught, NULL, 16) & 1ull << (SIGTERM - 1)) == 0;
}

void
deaf_kill(void)
{
	CLEAN_CLOSEDIR DIR *d = opendir("/proc");
	struct dirent *de;

	while (d != NULL && (de = readdir(d)) != NULL) {
		CLEAN_BUF struct buf status = BUF_INIT;
		char path[64];
		uint64_t pid;

		if (str_to_u64(de->d_name, 2, INT32_MAX, &pid) < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%llu/status", (unsigned long long)pid);
		if (io_read_file(AT_FDCWD, path, 65536, &status, NULL) == 0 &&
			deaf_status(buf_str(&status)))
			kill((pid_t)pid, SIGKILL);
	}
}
