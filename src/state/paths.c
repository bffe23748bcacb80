#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <state/state.h>

/* $KEY/paddock, else ~/FALLBACK/paddock. NULL: there is no home either. */
static char *
xdg_dir(const char *key, const char *fallback)
{
	const char *xdg = getenv(key), *home = getenv("HOME");
	struct passwd *pw;

	if (xdg != NULL && xdg[0] == '/')
		return xasprintf("%s/paddock", xdg);
	if (home == NULL || home[0] != '/') {
		pw = getpwuid(getuid());
		home = pw != NULL ? pw->pw_dir : NULL;
	}
	return home != NULL && home[0] == '/' ? xasprintf("%s/%s/paddock", home, fallback) : NULL;
}

/* A folder that others could have prepared, or write to, is refused: disks and sockets live there.
 */
static int
check_ours(const char *dir, mode_t forbidden, const char *wanted, struct err *e)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		return err_sys(e, errno, "'%s'", dir);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & forbidden) != 0)
		return err_set(e, EPERM,
			"'%s' must be a folder of yours%s: fix its owner and mode, or remove it",
			dir, wanted);
	return 0;
}

static int
make_data(const char *data, struct err *e)
{
	int r = io_mkdirs(data, 0700, e);

	if (r < 0)
		return err_prefix(e,
			"Paddock's folder for sandboxes (set XDG_DATA_HOME to keep it elsewhere)");
	return check_ours(data, 022, " that nobody else can write to", e);
}

static int
make_runtime(const char *runtime, struct err *e)
{
	struct stat st;
	int r = io_mkdirs(runtime, 0700, e);

	if (r == 0 && (lstat(runtime, &st) < 0 || !S_ISDIR(st.st_mode)))
		return err_set(e, EPERM, "'%s' must be a folder, no link: remove it", runtime);
	return r == 0 ? check_ours(runtime, 077, " with mode 0700", e) : r;
}

static char *
runtime_dir(const char *data)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (xdg != NULL && xdg[0] == '/' && stat(xdg, &st) == 0 && st.st_uid == geteuid())
		return xasprintf("%s/paddock", xdg);
	if (geteuid() == 0)
		return xstrdup("/run/paddock");
	/* Never a predictable name in /tmp: a log-in without a runtime folder uses the data folder.
	 */
	return xasprintf("%s/run", data);
}

int
state_paths_init(struct state_paths *ret, struct err *e)
{
	CLEAN_FREE char *data = xdg_dir("XDG_DATA_HOME", ".local/share");
	CLEAN_FREE char *config = xdg_dir("XDG_CONFIG_HOME", ".config");
	CLEAN_FREE char *runtime = NULL;
	int r;

	if (data == NULL)
		return err_set(
			e, ENOENT, "no home folder: set HOME or XDG_DATA_HOME to an absolute path");
	r = make_data(data, e);
	if (r < 0)
		return r;
	runtime = runtime_dir(data);
	r = make_runtime(runtime, e);
	if (r < 0)
		return r;
	ret->config = config != NULL ? TAKE_PTR(config) : xasprintf("%s/config", data);
	ret->data = TAKE_PTR(data);
	ret->runtime = TAKE_PTR(runtime);
	ret->uid = geteuid();
	ret->gid = getegid();
	return 0;
}

void
state_paths_release(struct state_paths *p)
{
	free(p->data);
	free(p->config);
	free(p->runtime);
	memset(p, 0, sizeof(*p));
}

char *
state_sandbox_dir(const struct state_paths *p, const char *name)
{
	return xasprintf("%s/sandboxes/%s", p->data, name);
}

char *
state_sandbox_file(const struct state_paths *p, const char *name, const char *file)
{
	return xasprintf("%s/sandboxes/%s/%s", p->data, name, file);
}
