/*
 * --ssh-agent: which hosts, and their keys. The user's own known_hosts say by which keys a host is
 * known (ssh-keygen(1) -F finds them, hashed names included); the sandbox is told the same, so that
 * ssh in it asks nobody and believes nobody else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/mem.h>
#include <base/proc.h>
#include <policy/name.h>
#include <supervisor/supervisor.h>
#include <wire/control.h>

#include "cli.h"

#define KEYGEN_LIMIT_MS 10000
#define WRITE_LIMIT_MS  60000
#define GUEST_FILE      "/etc/ssh/ssh_known_hosts"

/* "HOST" as it is, "HOST:PORT" as known_hosts has it: "[HOST]:PORT". NULL: it is neither. */
static char *
known_name(const char *word)
{
	const char *colon = strrchr(word, ':');
	CLEAN_FREE char *host =
		xstrndup(word, colon != NULL ? (size_t)(colon - word) : strlen(word));
	char name[HOST_NAME_TEXT_MAX];
	uint64_t port = 22;

	if (host_name_canonical(host, name) < 0 || strcmp(host, name) != 0 ||
		(colon != NULL && str_to_u64(colon + 1, 1, 65535, &port) < 0))
		return NULL;
	return port == 22 ? xstrdup(name) : xasprintf("[%s]:%u", name, (unsigned)port);
}

/* "NAMES TYPE KEY [COMMENT]" of one file's: "NAME TYPE KEY" for each. Marked ones are no keys of
 * the host's own. */
static void
find_in(const char *name, const char *file, struct buf *out)
{
	char *argv[] = {
		(char *)"ssh-keygen", (char *)"-F", (char *)name, (char *)"-f", (char *)file, NULL};
	CLEAN_BUF struct buf text = BUF_INIT;
	char *save = NULL;

	if (access(file, R_OK) < 0 || proc_run(argv, KEYGEN_LIMIT_MS, &text, NULL) < 0)
		return;
	CLEAN_FREE char *copy = xstrdup(buf_str(&text));

	for (char *l = strtok_r(copy, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
		char *word = NULL, *names = strtok_r(l, " ", &word);
		char *type = strtok_r(NULL, " ", &word), *key = strtok_r(NULL, " ", &word);

		if (key != NULL && names[0] != '#' && names[0] != '@')
			buf_printf(out, "%s %s %s\n", name, type, key);
	}
}

static void
keys_of(const char *name, struct buf *out)
{
	const char *home = getenv("HOME");
	CLEAN_FREE char *own = xasprintf("%s/.ssh/known_hosts", home != NULL ? home : "");

	find_in(name, own, out);
	find_in(name, GUEST_FILE, out);
}

int
ssh_pick(const struct args *a, struct strv *ret, struct err *e)
{
	args_all(a, "ssh-agent", ret);
	for (size_t i = 0; i < ret->n; i++) {
		CLEAN_FREE char *name = known_name(ret->v[i]);
		CLEAN_BUF struct buf keys = BUF_INIT;

		if (name == NULL)
			return usage_error(e,
				"--ssh-agent '%.80s': write a host's name, or HOST:PORT",
				ret->v[i]);
		keys_of(name, &keys);
		if (keys.len == 0)
			return usage_error(e,
				"--ssh-agent %s: no key of this host is in your known_hosts: "
				"connect once with ssh, and compare what it shows",
				ret->v[i]);
	}
	return 0;
}

/* -1: there is none. */
static int
connect_agent(void)
{
	const char *path = getenv("SSH_AUTH_SOCK");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	CLEAN_CLOSE int fd = -1;

	if (path == NULL || path[0] == '\0' || strlen(path) >= sizeof(a.sun_path))
		return -1;
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	return TAKE_FD(fd);
}

static int
write_known_hosts(const struct cli *c, const char *name, const struct buf *keys, struct err *e)
{
	struct guest_job j = {.user = "root",
		.cwd = "/",
		.input = keys->data,
		.ninput = keys->len,
		.cancel_fd = -1,
		.limit_ms = WRITE_LIMIT_MS};
	int r;

	strv_add(&j.argv, "tee");
	strv_add(&j.argv, GUEST_FILE);
	r = guest_run(c, name, &j, e);
	strv_release(&j.argv);
	return r > 0 ? err_set(e, EIO, "'%s' cannot be written in the sandbox", GUEST_FILE) : r;
}

/* The supervisor keeps the one that it has. */
static bool
has_agent(const struct cli *c, const char *name)
{
	struct control_status st = {0};
	bool found = false;

	if (supervisor_status(&c->paths, name, &st, NULL) == 0)
		for (size_t i = 0; i < st.nprocesses; i++)
			found |= strcmp(st.processes[i].role, "ssh") == 0;
	control_status_release(&st);
	return found;
}

static int
give(const struct cli *c, const struct sandbox *s, struct err *e)
{
	CLEAN_BUF struct buf keys = BUF_INIT;
	CLEAN_CLOSE int agent = connect_agent();
	int r;

	for (size_t i = 0; i < s->ssh.n; i++) {
		CLEAN_FREE char *name = known_name(s->ssh.v[i]);

		if (name != NULL)
			keys_of(name, &keys);
	}
	if (agent < 0 || keys.len == 0) {
		ui_note(agent < 0
				? "note: no SSH agent is here (SSH_AUTH_SOCK): the sandbox goes "
				  "without"
				: "note: your known_hosts has no key of the SSH agent's hosts any "
				  "more: the sandbox goes without");
		return 0;
	}
	if (keys.len > CONTROL_SSH_HOSTS_MAX)
		return err_set(
			e, E2BIG, "the hosts of --ssh-agent have too many keys: name fewer hosts");
	r = write_known_hosts(c, s->name, &keys, e);
	if (r == 0)
		r = supervisor_ssh_agent(&c->paths, s->name, agent, buf_str(&keys), e);
	return r == -ESRCH ? 0 : r;
}

int
ssh_give(const struct cli *c, const char *name, struct err *e)
{
	struct sandbox s = {0};
	int r = sandbox_load(&c->paths, name, &s, e);

	if (r == 0 && s.ssh.n > 0 && !has_agent(c, name))
		r = give(c, &s, e);
	sandbox_release(&s);
	return r < 0 ? err_prefix(e, "--ssh-agent") : 0;
}
