/*
 * Without NSS: a static program cannot load its modules, and the guest's users are in these two
 * files by construction. passwd(5), group(5).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "certs.h"
#include "users.h"

#define FILE_MAX (4u << 20)
#define AGENT    "agent"
#define PATH_OF_AGENT                                                                              \
	"/home/agent/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define PATH_OF_OTHERS "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#define FIELDS_MAX 7

/* One line cut at its colons; fields point into copy, which the caller frees. */
struct record {
	char *copy;
	char *field[FIELDS_MAX];
	size_t n;
};

#define CLEAN_RECORD CLEANUP(record_release)

static void
record_release(struct record *r)
{
	free(r->copy);
	*r = (struct record){0};
}

/* The next line of *text with at least min fields; false at the end. */
static bool
next_record(const char **text, size_t min, struct record *r)
{
	while (**text != '\0') {
		size_t len = strcspn(*text, "\n");
		char *at;

		record_release(r);
		r->copy = at = xstrndup(*text, len);
		*text += len + ((*text)[len] == '\n' ? 1 : 0);
		while (at != NULL && r->n < FIELDS_MAX)
			r->field[r->n++] = strsep(&at, ":");
		if (r->n >= min && r->field[0][0] != '\0' && r->field[0][0] != '#')
			return true;
	}
	return false;
}

static bool
parse_id(const char *s, uint32_t *ret)
{
	uint64_t v;

	/* (uid_t)-1 means "no change" to the kernel. */
	if (str_to_u64(s, 0, UINT32_MAX - 1, &v) < 0)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static void
copy_field(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

/* By name, or by number where who is one. A name that is all digits is taken as a name first. */
static bool
find_user(const char *passwd, const char *who, struct guest_user *u)
{
	uint32_t number = 0;
	bool is_number = parse_id(who, &number);

	for (int by_number = 0; by_number <= (is_number ? 1 : 0); by_number++) {
		CLEAN_RECORD struct record r = {0};
		const char *text = passwd;

		while (next_record(&text, 7, &r)) {
			struct guest_user found = {0};

			if (!parse_id(r.field[2], &found.uid) || !parse_id(r.field[3], &found.gid))
				continue;
			if (by_number ? found.uid != number : strcmp(r.field[0], who) != 0)
				continue;
			copy_field(found.name, sizeof(found.name), r.field[0]);
			copy_field(found.home, sizeof(found.home), r.field[5]);
			copy_field(found.shell, sizeof(found.shell), r.field[6]);
			*u = found;
			return true;
		}
	}
	if (!is_number)
		return false;
	*u = (struct guest_user){.uid = number, .gid = 0};
	snprintf(u->name, sizeof(u->name), "%u", number);
	return true;
}

static bool
find_group(const char *group, const char *who, uint32_t *ret)
{
	CLEAN_RECORD struct record r = {0};
	uint32_t gid;

	for (const char *text = group; next_record(&text, 3, &r);) {
		if (strcmp(r.field[0], who) == 0 && parse_id(r.field[2], &gid)) {
			*ret = gid;
			return true;
		}
	}
	return parse_id(who, ret);
}

static bool
is_member(char *members, const char *name)
{
	char *save = NULL;

	for (char *m = strtok_r(members, ",", &save); m != NULL; m = strtok_r(NULL, ",", &save))
		if (strcmp(m, name) == 0)
			return true;
	return false;
}

static void
find_groups(const char *group, struct guest_user *u)
{
	CLEAN_RECORD struct record r = {0};
	uint32_t gid;

	u->groups[u->ngroups++] = u->gid;
	for (const char *text = group; next_record(&text, 4, &r);)
		if (u->ngroups < ARRAY_LEN(u->groups) && parse_id(r.field[2], &gid) &&
			gid != u->gid && is_member(r.field[3], u->name))
			u->groups[u->ngroups++] = gid;
}

static void
fill_in(struct guest_user *u)
{
	if (u->home[0] != '/')
		copy_field(u->home, sizeof(u->home), "/");
	if (u->shell[0] != '/')
		copy_field(u->shell, sizeof(u->shell), "/bin/sh");
}

int
users_find(const char *passwd, const char *group, const char *spec, struct guest_user *ret,
	struct err *e)
{
	CLEAN_FREE char *who = xstrdup(spec);
	char *colon = strchr(who, ':');
	char shown[80];
	struct guest_user u;

	if (colon != NULL)
		*colon++ = '\0';
	str_escape(spec, strlen(spec), shown, sizeof(shown));
	if (who[0] == '\0' || (colon != NULL && (colon[0] == '\0' || strchr(colon, ':') != NULL)))
		return err_set(
			e, EINVAL, "user '%s' is not of the form name|uid[:group|gid]", shown);
	if (!find_user(passwd, who, &u))
		return err_set(e, ENOENT, "there is no user '%s' in this sandbox", shown);
	if (colon != NULL) {
		/* An explicit group is the only one, as with docker exec. */
		if (!find_group(group, colon, &u.gid))
			return err_set(e, ENOENT, "there is no group '%s' in this sandbox", shown);
		u.groups[u.ngroups++] = u.gid;
	} else {
		find_groups(group, &u);
	}
	fill_in(&u);
	*ret = u;
	return 0;
}

int
guest_user_find(const struct guest *g, const char *spec, struct guest_user *ret, struct err *e)
{
	CLEAN_BUF struct buf passwd = BUF_INIT;
	CLEAN_BUF struct buf group = BUF_INIT;
	int r = io_read_file(AT_FDCWD, "/etc/passwd", FILE_MAX, &passwd, e);

	(void)g;
	if (r == 0)
		r = io_read_file(AT_FDCWD, "/etc/group", FILE_MAX, &group, e);
	/* root must be reachable even where the agent has broken these files. */
	if (r < 0 && (spec == NULL || strcmp(spec, "root") != 0))
		return r;
	r = users_find(buf_str(&passwd), buf_str(&group), spec != NULL ? spec : AGENT, ret, e);
	if (r < 0 && spec != NULL && strcmp(spec, "root") == 0) {
		*ret = (struct guest_user){
			.name = "root", .home = "/root", .shell = "/bin/sh", .ngroups = 1};
		return 0;
	}
	return r;
}

/* Every runtime looks for its certificates in a place of its own. */
static void
certificate_env(struct strv *env)
{
	static const char *const names[] = {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT",
		"CURL_CA_BUNDLE", "GIT_SSL_CAINFO"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		strv_setenv(env, names[i], CERTS_BUNDLE);
	/* Node has the usual ones built in, and complains of a file that is not there. */
	if (access(CERTS_HOST, R_OK) == 0)
		strv_setenv(env, "NODE_EXTRA_CA_CERTS", CERTS_HOST);
}

/*
 * inotify does not tell of what the host does in a workspace: FUSE has no message for it. Watchers
 * that can look for themselves are told to; in a workspace that costs no round trip, for what has
 * not changed is known here.
 */
static void
watcher_env(struct strv *env)
{
	strv_setenv(env, "CHOKIDAR_USEPOLLING", "1"); /* Vite, nodemon, and most others of Node */
	strv_setenv(env, "CHOKIDAR_INTERVAL", "300");
	strv_setenv(env, "WATCHPACK_POLLING", "300");      /* webpack, Next.js */
	strv_setenv(env, "WATCHFILES_FORCE_POLLING", "1"); /* uvicorn */
}

void
guest_base_env(const struct guest *g, const struct guest_user *u, struct strv *ret)
{
	static const char *const persistent = "/etc/sandbox-persistent.sh";
	const struct identity *i = &g->identity;

	strv_setenv(ret, "HOME", u->home);
	strv_setenv(ret, "USER", u->name);
	strv_setenv(ret, "LOGNAME", u->name);
	strv_setenv(ret, "SHELL", u->shell);
	strv_setenv(ret, "PATH", strcmp(u->name, AGENT) == 0 ? PATH_OF_AGENT : PATH_OF_OTHERS);
	strv_setenv(ret, "LANG", "C.UTF-8");
	certificate_env(ret);
	strv_setenv(ret, "IS_SANDBOX", "1");
	if (i->nworkspaces > 0) {
		watcher_env(ret);
		strv_setenv(ret, "WORKSPACE_DIR", i->workspaces[0].path);
	}
	if (i->timezone != NULL)
		strv_setenv(ret, "TZ", i->timezone);
	if (access(persistent, R_OK) == 0)
		strv_setenv(ret, "BASH_ENV", persistent);
	for (size_t k = 0; k < i->env.n; k++) {
		CLEAN_FREE char *key = xstrdup(i->env.v[k]);
		char *eq = strchr(key, '=');

		if (eq == NULL || eq == key)
			continue;
		*eq = '\0';
		strv_setenv(ret, key, eq + 1);
	}
}
