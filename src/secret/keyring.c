#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/proc.h>
#include <cred/set.h>
#include <secret/store.h>

#include "keyring.h"

#define HEX_BYTES ((size_t)KEYRING_KEY_BYTES * 2)

static int
from_hex(const char *text, uint8_t key[KEYRING_KEY_BYTES])
{
	if (strspn(text, "0123456789abcdef") != HEX_BYTES)
		return -EINVAL;
	for (size_t i = 0; i < KEYRING_KEY_BYTES; i++)
		if (sscanf(text + i * 2, "%2hhx", &key[i]) != 1)
			return -EINVAL;
	return 0;
}

int
keyring_get(uint8_t key[KEYRING_KEY_BYTES], struct err *e)
{
	CLEAN_FREE char *tool = proc_find("secret-tool");
	char *argv[] = {tool, "lookup", "application", "paddock", "purpose", "store", NULL};
	CLEAN_CRED_BUF struct buf out = BUF_INIT;

	/* It fails where no Service answers, and where that has no such key: both mean none. */
	if (tool == NULL || proc_run(argv, KEYRING_LIMIT_MS, &out, NULL) < 0 || out.len == 0)
		return -ENOENT;
	return from_hex(buf_str(&out), key) == 0
		       ? 0
		       : err_set(e, EINVAL, "the key that the Secret Service has is damaged");
}

/* secret-tool reads what it keeps from its standard input. */
static int
hand_over(char *tool, const char *text, struct err *e)
{
	char *argv[] = {tool, "store", "--label=Paddock: key of the secrets' file", "application",
		"paddock", "purpose", "store", NULL};
	CLEAN_CLOSE int in = io_memfd("paddock-key", text, strlen(text), e);
	CLEAN_CLOSE int pidfd = -1;
	struct proc_spec spec = {.file = tool, .argv = argv, .fds = {in, -1, -1}, .nfds = 3};
	pid_t pid;
	int r = in < 0 ? in : proc_spawn(&spec, &pid, &pidfd, e);

	if (r < 0)
		return r;
	r = proc_wait(pid, pidfd, deadline_in_ms(KEYRING_LIMIT_MS));
	if (r == -ETIMEDOUT)
		proc_stop(pid, pidfd, 0);
	return r == 0 ? 0 : -ENOENT;
}

int
keyring_make(uint8_t key[KEYRING_KEY_BYTES], struct err *e)
{
	CLEAN_FREE char *tool = proc_find("secret-tool");
	uint8_t again[KEYRING_KEY_BYTES];
	char text[HEX_BYTES + 1];
	int r;

	if (tool == NULL)
		return -ENOENT;
	if (getrandom(key, KEYRING_KEY_BYTES, 0) != KEYRING_KEY_BYTES)
		return err_sys(e, errno, "random bytes");
	for (size_t i = 0; i < KEYRING_KEY_BYTES; i++)
		snprintf(text + i * 2, 3, "%02x", key[i]);
	r = hand_over(tool, text, e);
	explicit_bzero(text, sizeof(text));
	/* Only a key that comes back is one to rely on. */
	if (r == 0 && (keyring_get(again, e) < 0 || memcmp(again, key, sizeof(again)) != 0))
		r = -ENOENT;
	explicit_bzero(again, sizeof(again));
	return r;
}
