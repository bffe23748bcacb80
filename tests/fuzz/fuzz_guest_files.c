/* The files of the guest that PID 1 reads and whoever is root in there writes. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/mem.h>

#include "certs.h"
#include "deaf.h"
#include "textblock.h"
#include "users.h"
#include "workspaces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Only named by workspaces.c. */
int
guest_pump_start(int port_fd, const char *mountpoint, struct pump **ret, struct err *e)
{
	(void)port_fd;
	(void)mountpoint;
	(void)ret;
	return err_set(e, ENOSYS, "no pump");
}

void
guest_pump_go(struct pump *p)
{
	(void)p;
}

static void
find_users(const char *text)
{
	static const char *const specs[] = {"agent", "1000", "agent:docker", "0:0"};
	struct guest_user u;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(specs); i++)
		if (users_find(text, text, specs[i], &u, &e) == 0 &&
			(u.home[0] != '/' || u.shell[0] != '/' || u.ngroups > ARRAY_LEN(u.groups)))
			abort();
	users_find("agent:x:1:1::/:/\n", "g:x:1:\n", text, &u, &e);
}

/* A block that was put in is taken out without a trace of it, and put in again as it was. */
static void
edit_block(const char *text)
{
	CLEAN_BUF struct buf with = BUF_INIT;
	CLEAN_BUF struct buf without = BUF_INIT;
	CLEAN_BUF struct buf again = BUF_INIT;

	textblock_replace(text, "ours\n", &with);
	if (strstr(buf_str(&with), "\nours\n") == NULL)
		abort();
	textblock_replace(buf_str(&with), NULL, &without);
	textblock_replace(buf_str(&with), "ours\n", &again);
	if (with.len != again.len || memcmp(with.data, again.data, with.len) != 0)
		abort();
	if (without.len >= with.len)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN_FREE char *text = xstrndup((const char *)data, size);
	CLEAN_BUF struct buf out = BUF_INIT;
	struct err e;

	find_users(text);
	edit_block(text);
	certs_unknown(text, text, &out);
	if (out.len != 0)
		abort();
	certs_unknown(text, "", &out);
	deaf_status(text);
	workspaces_check_path(text, &e);
	return 0;
}
