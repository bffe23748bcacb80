#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>
#include <base/str.h>

#include "needs.h"

#define SUBIDS_NEEDED 65536
/* The image's tree, and the disk and kernel that are made of it. */
#define SCRATCH_BYTES  (UINT64_C(5) << 29)
#define DATA_BYTES     (UINT64_C(2) << 30)
#define SUBID_FILE_MAX (4u << 20)

static const struct {
	const char *program, *package;
	bool user_only;
} needed[] = {
	{"mmdebstrap", "mmdebstrap", false},
	{"apt-get", "apt", false},
	{"dpkg-deb", "dpkg", false},
	{"mke2fs", "e2fsprogs", false},
	{"debugfs", "e2fsprogs", false},
	{"tar", "tar", false},
	{"xz", "xz-utils", false},
	{"zstd", "zstd", false},
	{"newuidmap", "uidmap", true},
};

static int
check_programs(const char *keyring, struct err *e)
{
	CLEAN_BUF struct buf packages = BUF_INIT;
	bool root = geteuid() == 0;

	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		CLEAN_FREE char *path = NULL;

		if (needed[i].user_only && root)
			continue;
		path = proc_find(needed[i].program);
		if (path == NULL && strstr(buf_str(&packages), needed[i].package) == NULL)
			buf_printf(&packages, " %s", needed[i].package);
	}
	if (access(keyring, R_OK) < 0)
		buf_append_str(&packages, " debian-archive-keyring");
	if (packages.len == 0)
		return 0;
	return err_set(e, ENOENT, "building the machine image needs: %sapt-get install%s",
		root ? "" : "sudo ", buf_str(&packages));
}

bool
needs_subids(const char *text, const char *user)
{
	size_t n = strlen(user);

	for (const char *p = text; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n') {
		const char *count;

		if (strncmp(p, user, n) != 0 || p[n] != ':')
			continue;
		count = strchr(p + n + 1, ':');
		/* mmdebstrap takes the first line of the name, so that one decides. */
		return count != NULL && strtoull(count + 1, NULL, 10) >= SUBIDS_NEEDED;
	}
	return false;
}

static int
check_subids(struct err *e)
{
	static const char *const files[] = {"/etc/subuid", "/etc/subgid"};
	struct passwd *pw = getpwuid(getuid());

	if (pw == NULL)
		return err_set(e, ENOENT,
			"user %u has no name in the user database, which "
			"subordinate ids are given by",
			(unsigned)getuid());
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		CLEAN_BUF struct buf text = BUF_INIT;

		/* A missing file is one without a line for us. */
		io_read_file(AT_FDCWD, files[i], SUBID_FILE_MAX, &text, NULL);
		if (!needs_subids(buf_str(&text), pw->pw_name))
			return err_set(e, EPERM,
				"user '%s' has no subordinate ids in %s: sudo usermod "
				"--add-subuids "
				"100000-165535 --add-subgids 100000-165535 %s",
				pw->pw_name, files[i], pw->pw_name);
	}
	return 0;
}

/* The real thing, because distributions have several ways to forbid it. */
static int
check_namespaces(struct err *e)
{
	char *argv[] = {(char *)"mmdebstrap", (char *)"--unshare-helper", (char *)"true", NULL};
	struct err why = {0};

	if (proc_run(argv, 30000, NULL, &why) == 0)
		return 0;
	if (access("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", F_OK) == 0)
		return err_set(e, EPERM,
			"this user may not make namespaces: AppArmor may forbid it; try: sudo "
			"sysctl "
			"kernel.apparmor_restrict_unprivileged_userns=0 (%.60s)",
			why.msg);
	return err_set(e, EPERM,
		"this user may not make namespaces; try: sudo sysctl -w "
		"user.max_user_namespaces=15000 "
		"kernel.unprivileged_userns_clone=1 (%.60s)",
		why.msg);
}

int
needs_check(const char *keyring, struct err *e)
{
	int r = check_programs(keyring, e);

	if (r == 0 && geteuid() != 0)
		r = check_subids(e);
	if (r == 0)
		r = check_namespaces(e);
	return r;
}

static int
check_space(const char *dir, uint64_t bytes, const char *advice, struct err *e)
{
	struct statvfs v;
	char size[16];

	if (statvfs(dir, &v) < 0)
		return err_sys(e, errno, "folder '%s'", dir);
	str_from_size(bytes, size);
	if ((uint64_t)v.f_bavail * v.f_frsize < bytes)
		return err_set(
			e, ENOSPC, "'%s' has less than %s free: make room%s", dir, size, advice);
	return 0;
}

int
needs_check_data(const char *dir, struct err *e)
{
	return check_space(dir, DATA_BYTES, " (paddock template ls; paddock template rm)", e);
}

int
needs_check_scratch(const char *dir, struct err *e)
{
	CLEAN_FREE char *path = xstrdup(dir);
	struct statvfs v;
	struct stat st;
	int r;

	if (statvfs(dir, &v) < 0)
		return err_sys(e, errno, "temporary folder '%s'", dir);
	if ((v.f_flag & (ST_NOEXEC | ST_RDONLY)) != 0)
		return err_set(e, EPERM,
			"'%s' is mounted noexec or read-only: set TMPDIR to a folder where "
			"programs may "
			"run",
			dir);
	r = check_space(dir, SCRATCH_BYTES, ", or set TMPDIR to a bigger disk", e);
	if (r < 0)
		return r;
	/* The image's users are strangers to the host: they must get through every folder on the
	 * way. */
	while (geteuid() != 0) {
		char *slash = strrchr(path, '/');

		if (stat(path[0] != '\0' ? path : "/", &st) == 0 && (st.st_mode & S_IXOTH) == 0)
			return err_set(e, EPERM,
				"'%s' is closed to the image's users: set TMPDIR to a folder that "
				"everyone may enter, such as /var/tmp",
				path);
		if (slash == NULL)
			break;
		*slash = '\0';
	}
	return 0;
}
