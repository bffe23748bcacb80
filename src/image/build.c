/*
 * How this works: a build has two folders. Its work folder, DATA/templates/.build-XXXXXX, becomes
 * the template by a rename. The image's tree lies in a scratch folder elsewhere, because the users
 * of the image (subordinate ids) must get through to it, which nobody gets through $HOME; the link
 * .build-XXXXXX/scratch remembers it. Whatever of this has no name without a dot when a build
 * starts, was left by an interrupted one and is deleted.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/proc.h>

#include "build.h"
#include <base/digest.h>
#include "kernel.h"
#include "needs.h"
#include "plan.h"
#include "sources.h"
#include "step.h"
#include "store.h"

#define KEYRING "/usr/share/keyrings/debian-archive-keyring.gpg"

struct build {
	const char *data_dir;
	const struct recipe *recipe;
	const struct progress *progress;
	char *work;    /* .build-XXXXXX */
	char *scratch; /* TMPDIR/paddock-XXXXXX */
	char *root;    /* scratch/root */
	char *log_path;
	int log_fd;
	int lock_fd;
	struct plan plan;
};

/* ---- leftovers ---- */

/* Deletes a scratch folder of ours: its content as the image's root, itself as the user. */
static int
remove_scratch(const char *scratch, struct err *e)
{
	CLEAN_FREE char *root = xasprintf("%s/root", scratch);
	CLEAN_STRV struct strv argv = {0};
	struct stat st;
	int r;

	if (lstat(scratch, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "stat '%s'", scratch);
	/* The name may have been reused by somebody else since. */
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return 0;
	if (lstat(root, &st) == 0 && S_ISDIR(st.st_mode)) {
		plan_empty(root, &argv);
		r = proc_run(argv.v, 300000, NULL, e);
		if (r < 0)
			return err_prefix(e, "remove '%s'", root);
		if (rmdir(root) < 0)
			return err_sys(e, errno, "remove '%s'", root);
	}
	return io_remove_tree(AT_FDCWD, scratch, e);
}

static int
remove_work(const char *work, struct err *e)
{
	CLEAN_FREE char *link = xasprintf("%s/scratch", work);
	char scratch[PATH_MAX];
	ssize_t n = readlink(link, scratch, sizeof(scratch) - 1);
	int r = 0;

	if (n > 0) {
		scratch[n] = '\0';
		r = remove_scratch(scratch, e);
	}
	return r < 0 ? r : io_remove_tree(AT_FDCWD, work, e);
}

static int
sweep_folder(const char *folder, struct err *e)
{
	CLEAN_CLOSEDIR DIR *d = opendir(folder);
	struct dirent *de;
	int r = 0;

	while (d != NULL && r == 0 && (de = readdir(d)) != NULL) {
		CLEAN_FREE char *path = xasprintf("%s/%s", folder, de->d_name);

		if (str_has_prefix(de->d_name, ".build-") || str_has_prefix(de->d_name, ".gone-"))
			r = remove_work(path, e);
	}
	return r;
}

int
build_sweep(const char *data_dir, struct err *e)
{
	CLEAN_FREE char *templates = xasprintf("%s/templates", data_dir);
	CLEAN_FREE char *kernels = xasprintf("%s/kernels", data_dir);
	int r = sweep_folder(templates, e);

	return r < 0 ? r : sweep_folder(kernels, e);
}

/* ---- the steps ---- */

static int
prepare_folders(struct build *b, struct err *e)
{
	const char *tmpdir = getenv("TMPDIR");
	CLEAN_FREE char *link = NULL;
	int r;

	tmpdir = tmpdir != NULL && tmpdir[0] == '/' ? tmpdir : "/var/tmp";
	r = needs_check_scratch(tmpdir, e);
	if (r == 0)
		r = needs_check_data(b->data_dir, e);
	if (r < 0)
		return r;
	b->work = xasprintf("%s/templates/.build-XXXXXX", b->data_dir);
	if (mkdtemp(b->work) == NULL)
		return err_sys(e, errno, "create '%s'", b->work);
	b->scratch = xasprintf("%s/paddock-XXXXXX", tmpdir);
	if (mkdtemp(b->scratch) == NULL)
		return err_sys(e, errno, "create '%s'", b->scratch);
	link = xasprintf("%s/scratch", b->work);
	if (symlink(b->scratch, link) < 0 || chmod(b->scratch, 0755) < 0)
		return err_sys(e, errno, "prepare '%s'", b->scratch);
	b->root = xasprintf("%s/root", b->scratch);
	b->log_fd = open(b->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	return b->log_fd < 0 ? err_sys(e, errno, "create '%s'", b->log_path) : 0;
}

static void
make_plan(struct build *b)
{
	char *dump_argv[] = {(char *)"apt-config", (char *)"dump", NULL};
	CLEAN_BUF struct buf dump = BUF_INIT, text = BUF_INIT;
	CLEAN_STRV struct strv sources = {0}, build = {0}, keep = {0};
	struct mirror m = {0};

	if (sources_of_host(b->recipe->suite, &m) == 1)
		sources_for_suite(&m, b->recipe->suite, KEYRING, &sources);
	mirror_release(&m);
	/* Without it the build goes by apt's defaults, and says so if they do not do. */
	if (proc_run(dump_argv, 30000, &dump, NULL) == 0)
		apt_options_pick(buf_str(&dump), &build, &keep);
	plan_make(&(struct plan_input){.recipe = b->recipe,
			  .root = b->root,
			  .sources = &sources,
			  .apt_build = &build,
			  .apt_keep = &keep},
		&b->plan);
	plan_print(&b->plan, &text);
	io_write_full(b->log_fd, text.data, text.len, UINT64_MAX);
	log_debug("plan of the build:\n%s", buf_str(&text));
}

/*
 * fds: what the step's program finds from descriptor 3 on. The lock is always among them: a program
 * that outlives us keeps others from its folders.
 */
static int
run_step(struct build *b, const char *what, const struct strv *argv, const int *fds, size_t nfds,
	struct err *e)
{
	struct step s = {.what = what,
		.argv = argv,
		.nfds = nfds,
		.log_fd = b->log_fd,
		.log_path = b->log_path,
		.tmpdir = b->scratch,
		.progress = b->progress};

	memcpy(s.fds, fds, nfds * sizeof(*fds));
	return step_run(&s, e);
}

static int
bootstrap(struct build *b, struct err *e)
{
	/*
	 * No more than this one: mmdebstrap has apt write to the next free descriptors through a
	 * shell, and dash knows only those up to 9.
	 */
	return run_step(b, "mmdebstrap", &b->plan.bootstrap, &b->lock_fd, 1, e);
}

/* root -> disk.ext4 and boot.tar in the work folder */
static int
pack(struct build *b, struct err *e)
{
	CLEAN_FREE char *disk_path = xasprintf("%s/disk.ext4", b->work);
	CLEAN_FREE char *boot_path = xasprintf("%s/boot.tar", b->work);
	CLEAN_CLOSE int disk = -1, boot = -1;
	int r;

	disk = open(disk_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	boot = open(boot_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (disk < 0 || boot < 0)
		return err_sys(e, errno, "create '%s'", disk < 0 ? disk_path : boot_path);
	/* The image's root is another user and opens it by its descriptor; the folder is closed. */
	if (fchmod(disk, 0666) < 0 || ftruncate(disk, (off_t)b->recipe->disk_bytes) < 0)
		return err_sys(e, errno, "size '%s'", disk_path);
	_Static_assert(PLAN_FD_DISK == 3 && PLAN_FD_BOOT == 4, "a step's descriptors start at 3");
	r = run_step(b, "packing the disk", &b->plan.pack, (int[]){disk, boot, b->lock_fd}, 3, e);
	/* Never written again: sandboxes' disks are overlays on it. */
	if (r == 0 && (fchmod(disk, 0444) < 0))
		r = err_sys(e, errno, "write '%s'", disk_path);
	return r;
}

/* rename, after all that it makes visible is on the disk. */
static int
rename_synced(const char *from, const char *to, struct err *e)
{
	CLEAN_CLOSE int fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || syncfs(fd) < 0)
		return err_sys(e, errno, "sync '%s'", from);
	if (rename(from, to) < 0)
		return err_sys(e, errno, "create '%s'", to);
	return 0;
}

static int
read_word(const char *folder, const char *file, char **ret, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/%s", folder, file);
	CLEAN_BUF struct buf text = BUF_INIT;
	CLEAN_FREE char *word = NULL;
	int r = io_read_file(AT_FDCWD, path, 4096, &text, e);

	if (r < 0)
		return r;
	word = xstrndup(buf_str(&text), strcspn(buf_str(&text), "\n"));
	if (!store_name_fits(word))
		return err_set(e, EBADMSG, "'%s' holds no version", path);
	*ret = TAKE_PTR(word);
	return 0;
}

/* boot/{vmlinuz,modules} -> kernels/RELEASE_VERSION, unless an earlier build has brought it. */
static int
install_kernel(struct build *b, const char *boot, struct template *t, struct err *e)
{
	CLEAN_FREE char *version = NULL, *folder = NULL, *fresh = NULL, *from = NULL, *to = NULL;
	int r = read_word(boot, "release", &t->kernel_release, e);

	if (r == 0)
		r = read_word(boot, "version", &version, e);
	if (r < 0)
		return r;
	/* A rebuilt package keeps its release, so the version is part of the name. */
	t->kernel = xasprintf("%s_%s", t->kernel_release, version);
	folder = xasprintf("%s/kernels/%s", b->data_dir, t->kernel);
	if (access(folder, F_OK) == 0)
		return 0;
	fresh = xasprintf("%s/kernels/.build-XXXXXX", b->data_dir);
	if (mkdtemp(fresh) == NULL)
		return err_sys(e, errno, "create '%s'", fresh);
	from = xasprintf("%s/vmlinuz", boot);
	to = xasprintf("%s/vmlinux", fresh);
	r = vmlinux_extract(from, to, e);
	if (r < 0)
		return r;
	free(from);
	free(to);
	from = xasprintf("%s/modules", boot);
	to = xasprintf("%s/modules", fresh);
	if (rename(from, to) < 0)
		return err_sys(e, errno, "create '%s'", to);
	return rename_synced(fresh, folder, e);
}

static int
unpack_boot(struct build *b, char **ret_boot, struct err *e)
{
	CLEAN_FREE char *tar = xasprintf("%s/boot.tar", b->work);
	CLEAN_FREE char *boot = xasprintf("%s/boot", b->work);
	char *argv[] = {(char *)"tar", (char *)"--no-same-owner", (char *)"-C", boot, (char *)"-xf",
		tar, NULL};
	int r;

	if (mkdir(boot, 0700) < 0)
		return err_sys(e, errno, "create '%s'", boot);
	r = proc_run(argv, 60000, NULL, e);
	if (r == 0)
		*ret_boot = TAKE_PTR(boot);
	return r;
}

/* The work folder becomes the template. */
static int
publish(struct build *b, struct template *t, struct err *e)
{
	static const char *const leftovers[] = {"boot", "boot.tar", "scratch"};
	CLEAN_FREE char *folder = xasprintf("%s/templates/%s", b->data_dir, t->id);
	CLEAN_FREE char *file = xasprintf("%s/template.json", b->work);
	CLEAN_FREE char *text = template_encode(t);
	CLEAN_FREE char *templates = xasprintf("%s/templates", b->data_dir);
	CLEAN_CLOSE int fd = -1;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(leftovers) && r == 0; i++) {
		CLEAN_FREE char *path = xasprintf("%s/%s", b->work, leftovers[i]);

		r = io_remove_tree(AT_FDCWD, path, e);
	}
	if (r == 0)
		r = io_write_file_atomic(AT_FDCWD, file, text, strlen(text), 0600, e);
	if (r < 0)
		return r;
	r = rename_synced(b->work, folder, e);
	if (r < 0)
		return r;
	fd = open(templates, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_sys(e, errno, "sync '%s'", templates);
	return 0;
}

static void
describe(struct build *b, struct template *t)
{
	char recipe[RECIPE_DIGEST_SIZE];
	uint64_t now = clock_real_ns(), id;

	recipe_digest(b->recipe, recipe);
	/* Two builds of one recipe are two images. */
	id = digest_add(DIGEST_INIT, recipe, sizeof(recipe));
	id = digest_add(id, &now, sizeof(now));
	t->id = xasprintf("%s-%012" PRIx64, b->recipe->name, id >> 16);
	t->name = xstrdup(b->recipe->name);
	t->recipe = xstrdup(recipe);
	t->disk_bytes = b->recipe->disk_bytes;
	t->created = (int64_t)(now / 1000000000);
}

static int
build_steps(struct build *b, struct template *t, struct err *e)
{
	CLEAN_FREE char *boot = NULL, *from = NULL, *to = NULL;
	int r = prepare_folders(b, e);

	if (r < 0)
		return r;
	make_plan(b);
	progress_step(b->progress, "building the machine image");
	r = bootstrap(b, e);
	if (r < 0)
		return r;
	progress_step(b->progress, "packing the machine image");
	r = pack(b, e);
	if (r == 0)
		r = remove_scratch(b->scratch, e);
	if (r == 0)
		r = unpack_boot(b, &boot, e);
	if (r == 0)
		r = install_kernel(b, boot, t, e);
	if (r < 0)
		return r;
	from = xasprintf("%s/ca-certificates.crt", boot);
	to = xasprintf("%s/ca-certificates.crt", b->work);
	if (rename(from, to) < 0)
		return err_sys(e, errno, "create '%s'", to);
	describe(b, t);
	return publish(b, t, e);
}

int
build_image(const char *data_dir, const struct recipe *recipe, int lock_fd,
	const struct progress *p, char **ret_id, struct err *e)
{
	struct build b = {.data_dir = data_dir,
		.recipe = recipe,
		.progress = p,
		.log_fd = -1,
		.lock_fd = lock_fd,
		.log_path = xasprintf("%s/templates/build.log", data_dir)};
	struct template t = {0};
	int r;

	progress_step(p, "checking what the build needs");
	r = needs_check(KEYRING, e);
	if (r == 0)
		r = build_sweep(data_dir, e);
	if (r == 0)
		r = build_steps(&b, &t, e);
	if (r == 0)
		*ret_id = TAKE_PTR(t.id);
	else if (b.work != NULL && remove_work(b.work, NULL) < 0)
		log_debug("left for the next build: %s", b.work);
	template_release(&t);
	plan_release(&b.plan);
	if (b.log_fd >= 0)
		close(b.log_fd);
	free(b.work);
	free(b.scratch);
	free(b.root);
	free(b.log_path);
	return r < 0 ? err_prefix(e, "machine image") : 0;
}
