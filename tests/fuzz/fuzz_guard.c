/*
 * Names made, linked, moved and removed by a guest in whatever order, in an empty workspace: git on
 * the host must not come to run anything of it as a hook.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/io.h>
#include <base/log.h>
#include <wire/fuse.h>

#include "server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IDS   24
#define STEPS 48

struct world {
	char dir[PATH_MAX];
	int rootfd, home;
	struct fs fs;
	uint64_t ids[IDS], unique;
	size_t nids;
	const uint8_t *p;
	size_t left;
};

static char world_dir[PATH_MAX];

static void
world_gone(void)
{
	io_remove_tree(AT_FDCWD, world_dir, NULL);
}

static void
must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_guard: %s: %s\n", what, strerror(errno));
	abort();
}

static void
world_make(struct world *w)
{
	const char *tmp = getenv("TMPDIR");
	struct err e = {0};

	umask(0);
	log_init("fuzz_guard", LOG_QUIET);
	/* TMPDIR in memory spares the disk, which is most of what an input costs. */
	snprintf(w->dir, sizeof(w->dir), "%s/paddock-fuzz-XXXXXX", tmp != NULL ? tmp : "/tmp");
	must(mkdtemp(w->dir) != NULL, "temporary folder");
	memcpy(world_dir, w->dir, sizeof(world_dir));
	atexit(world_gone);
	w->rootfd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->fs = (struct fs){.opt = {.stream_fd = -1, .root_fd = w->rootfd, .guest_uid = 1000},
		.inotify_fd = -1,
		.handles_max = 40,
		.cached_max = 8};
	w->fs.opt.proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	w->home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(fs_tables_init(&w->fs, &e) == 0, "tables");
	w->fs.ready = true;
}

static uint8_t
byte(struct world *w)
{
	if (w->left == 0)
		return 0;
	w->left--;
	return *w->p++;
}

static uint64_t
an_id(struct world *w)
{
	return w->ids[byte(w) % w->nids];
}

static void
put_name(struct world *w, struct buf *b)
{
	static const char *const names[] = {"hooks", "objects", "refs", "HEAD", ".git",
		"pre-commit", "x", "a.sample", "y", "Hooks"};
	const char *s = names[byte(w) % (sizeof(names) / sizeof(names[0]))];

	buf_append(b, s, strlen(s) + 1);
}

/* Sends a request and learns the id that its reply begins with, where it has one. */
static void
call(struct world *w, uint32_t op, uint64_t id, const struct buf *body, bool has_entry)
{
	struct fuse_in_header h = {.len = (uint32_t)(sizeof(h) + body->len),
		.opcode = op,
		.unique = w->unique += 2,
		.nodeid = id};
	CLEAN_BUF struct buf m = BUF_INIT;
	struct fuse_out_header reply;
	struct fuse_entry_out eo;

	buf_append(&m, &h, sizeof(h));
	buf_append(&m, body->data, body->len);
	buf_clear(&w->fs.out);
	dispatch(&w->fs, m.data, m.len);
	if (!has_entry || w->fs.out.len < sizeof(reply) + sizeof(eo))
		return;
	memcpy(&reply, w->fs.out.data, sizeof(reply));
	memcpy(&eo, w->fs.out.data + sizeof(reply), sizeof(eo));
	if (reply.error == 0 && eo.nodeid != 0)
		w->ids[w->nids < IDS ? w->nids++ : 1 + byte(w) % (IDS - 1)] = eo.nodeid;
}

#define PUT(b, type, ...) buf_append(b, &(struct type){__VA_ARGS__}, sizeof(struct type))

static void
make(struct world *w, uint8_t what)
{
	static const uint32_t modes[] = {0644, 0755};
	CLEAN_BUF struct buf b = BUF_INIT;
	uint64_t dir = an_id(w);
	uint32_t mode = modes[byte(w) % 2];

	if (what == 0)
		PUT(&b, fuse_mkdir_in, .mode = 0755);
	else if (what == 1)
		PUT(&b, fuse_mknod_in, .mode = S_IFREG | mode);
	else if (what == 2)
		PUT(&b, fuse_link_in, .oldnodeid = an_id(w));
	put_name(w, &b);
	if (what == 3)
		buf_append_str(&b, byte(w) % 2 ? "x" : "../x"), buf_append(&b, "", 1);
	call(w,
		what == 0   ? FUSE_MKDIR
		: what == 1 ? FUSE_MKNOD
		: what == 2 ? FUSE_LINK
			    : FUSE_SYMLINK,
		dir, &b, true);
}

static void
move(struct world *w)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	uint64_t dir = an_id(w);

	PUT(&b, fuse_rename2_in, .newdir = an_id(w), .flags = byte(w) % 3);
	put_name(w, &b);
	put_name(w, &b);
	call(w, FUSE_RENAME2, dir, &b, false);
}

static void
change_mode(struct world *w)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	PUT(&b, fuse_setattr_in, .valid = FATTR_MODE, .mode = 0755);
	call(w, FUSE_SETATTR, an_id(w), &b, false);
}

static void
named(struct world *w, uint32_t op)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	uint64_t dir = an_id(w);

	put_name(w, &b);
	call(w, op, dir, &b, op == FUSE_LOOKUP);
}

static void
step(struct world *w)
{
	uint8_t op = byte(w) % 12;

	switch (op) {
	case 0:
	case 1:
	case 2:
	case 3:
		make(w, op);
		break;
	case 4:
	case 5:
		move(w);
		break;
	case 6:
		change_mode(w);
		break;
	case 7:
		named(w, byte(w) % 2 ? FUSE_UNLINK : FUSE_RMDIR);
		break;
	case 8: /* all is forgotten */
		fs_tables_reset(&w->fs);
		w->nids = 1;
		break;
	default:
		named(w, FUSE_LOOKUP);
		break;
	}
}

static bool
is_there(int dirfd_, const char *name)
{
	return faccessat(dirfd_, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* As git looks: through links, at what may be executed, by names that hooks have. */
static void
check_hooks(int gitdir)
{
	int fd = openat(gitdir, "hooks", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;
	struct stat st;

	while (d != NULL && (de = readdir(d)) != NULL)
		if (strchr(de->d_name, '.') == NULL && fstatat(fd, de->d_name, &st, 0) == 0)
			must(!S_ISREG(st.st_mode) || !(st.st_mode & 0111), "a hook is live");
	if (d != NULL)
		closedir(d);
}

static void
check_tree(int dirfd_, const char *name, int depth)
{
	int fd = openat(dirfd_, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	if (d == NULL)
		return;
	if (is_there(fd, "objects") && is_there(fd, "refs"))
		check_hooks(fd);
	while (depth < 12 && (de = readdir(d)) != NULL)
		if (de->d_type == DT_DIR && strcmp(de->d_name, ".") != 0 &&
			strcmp(de->d_name, "..") != 0)
			check_tree(fd, de->d_name, depth + 1);
	closedir(d);
}

static void
clear_root(struct world *w)
{
	int fd = openat(w->rootfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	struct dirent *de;

	must(d != NULL, "root");
	while ((de = readdir(d)) != NULL)
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			must(io_remove_tree(fd, de->d_name, NULL) == 0, "clear");
	closedir(d);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	if (w.dir[0] == '\0')
		world_make(&w);
	must(fchdir(w.fs.opt.proc_fd) == 0, "folder of descriptors");
	guard_init(&w.fs);
	w.p = data;
	w.left = size;
	w.ids[0] = FUSE_ROOT_ID;
	w.nids = 1;
	for (int i = 0; i < STEPS && w.left > 0; i++)
		step(&w);
	check_tree(w.rootfd, ".", 0);
	fs_tables_reset(&w.fs);
	guard_release(&w.fs);
	clear_root(&w);
	buf_clear(&w.fs.out);
	buf_clear(&w.fs.notes);
	must(fchdir(w.home) == 0, "chdir");
	return 0;
}
