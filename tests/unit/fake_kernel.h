#pragma once
/*
 * A FUSE client in place of the guest's kernel: drives fs_serve, in a process of its own, over a
 * socket pair on a temporary folder. Header only; each test program has its own copy.
 */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <fs/fs.h>
#include <wire/fuse.h>
#include <wire/fuse_line.h>

#define FK_UID     1234
#define FK_WAIT_MS 10000

struct fk {
	char dir[64]; /* holds "root" (served) and "outside" (must stay out of reach) */
	int dirfd, rootfd;
	int sock;
	pid_t pid;
	uint64_t unique;
	struct buf in;
	struct buf body;  /* of the latest reply */
	struct buf notes; /* notifications, whole messages */
	struct fuse_init_out init;
};

static inline bool
fk_put(const char *path, const char *text)
{
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* A user namespace in which the caller is root. */
static inline bool
fk_user_namespace(void)
{
	char uids[32], gids[32];

	snprintf(uids, sizeof(uids), "0 %d 1", (int)geteuid());
	snprintf(gids, sizeof(gids), "0 %d 1", (int)getegid());
	return unshare(CLONE_NEWUSER) == 0 && fk_put("/proc/self/uid_map", uids) &&
	       fk_put("/proc/self/setgroups", "deny") && fk_put("/proc/self/gid_map", gids);
}

/* A user namespace in which inotify instances are used up. */
static inline void
fk_forbid_inotify(void)
{
	if (!fk_user_namespace() || !fk_put("/proc/sys/user/max_inotify_instances", "0"))
		_exit(4);
}

enum { FK_NO_INOTIFY = 1 }; /* in place of a limit of open files */

/* In the server's process, to its end: the options' other fields are the caller's. */
static inline void
fk_serve_with(struct fs_options *o)
{
	struct err e = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	o->guest_uid = o->guest_gid = FK_UID;
	o->proc_fd = fs_proc_open(&e);
	if (o->proc_fd < 0)
		_exit(3);
	_exit(fs_serve(o, &e) < 0 ? 1 : 0);
}

static inline void
fk_serve(int sock, int rootfd, rlim_t nofile)
{
	struct fs_options o = {.stream_fd = sock, .root_fd = rootfd};
	struct rlimit l = {nofile, nofile};

	if (nofile == FK_NO_INOTIFY)
		fk_forbid_inotify();
	else if (nofile > 0)
		setrlimit(RLIMIT_NOFILE, &l);
	fk_serve_with(&o);
}

/* The next whole message from the server, into b. */
static inline void
fk_message(struct fk *k, struct buf *b)
{
	uint64_t deadline = deadline_in_ms(FK_WAIT_MS);
	uint8_t nonce[FUSE_LINE_NONCE];
	struct fuse_line line = {0};
	enum fuse_line_event ev;
	size_t len = 0;
	ssize_t n;

	while ((ev = fuse_line_next(&line, &k->in, &len, nonce)) == FUSE_LINE_MORE) {
		struct pollfd p = {k->sock, POLLIN, 0};

		if (poll(&p, 1, deadline_left_ms(deadline)) != 1)
			fail_msg("no answer from the server");
		n = buf_read_fd(&k->in, k->sock, 65536);
		if (n <= 0)
			fail_msg("the server is gone");
	}
	assert_int_equal(ev, FUSE_LINE_MESSAGE);
	buf_append(b, k->in.data, len);
	fuse_line_took(&k->in, len);
}

static inline void
fk_send(struct fk *k, uint32_t op, uint64_t id, const void *fixed, size_t nfixed, const void *rest,
	size_t n)
{
	struct fuse_in_header h = {.len = (uint32_t)(sizeof(h) + nfixed + n),
		.opcode = op,
		.unique = k->unique += 2,
		.nodeid = id};
	struct buf b = BUF_INIT;

	buf_append(&b, &h, sizeof(h));
	buf_append(&b, fixed, nfixed);
	buf_append(&b, rest, n);
	assert_int_equal(io_write_full(k->sock, b.data, b.len, deadline_in_ms(FK_WAIT_MS)), 0);
	buf_release(&b);
}

/* The answer to the latest request: its error (0 or negative), its body in k->body. */
static inline int
fk_answer(struct fk *k)
{
	struct fuse_out_header h;

	for (;;) {
		struct buf m = BUF_INIT;

		fk_message(k, &m);
		memcpy(&h, m.data, sizeof(h));
		assert_true(m.len >= sizeof(h));
		if (fuse_line_is_reply(m.data, m.len, &h)) {
			buf_clear(&m);
			buf_append(&m, &h, sizeof(h));
		}
		if (h.unique == 0) {
			buf_append(&k->notes, m.data, m.len);
			buf_release(&m);
			continue;
		}
		assert_int_equal(h.unique, k->unique);
		buf_clear(&k->body);
		buf_append(&k->body, m.data + sizeof(h), m.len - sizeof(h));
		buf_release(&m);
		assert_true(h.error <= 0);
		assert_true(h.error == 0 || k->body.len == 0);
		return h.error;
	}
}

static inline int
fk_call(struct fk *k, uint32_t op, uint64_t id, const void *fixed, size_t nfixed, const void *rest,
	size_t n)
{
	fk_send(k, op, id, fixed, nfixed, rest, n);
	return fk_answer(k);
}

#define FK_IN(type, ...) &(struct type){__VA_ARGS__}, sizeof(struct type)

/* The reply's body as a struct; it must have just this size. */
#define FK_OUT(k, type)                                                                            \
	(*({                                                                                       \
		assert_int_equal((k)->body.len, sizeof(struct type));                              \
		(struct type *)(void *)(k)->body.data;                                             \
	}))

static inline int
fk_name(struct fk *k, uint32_t op, uint64_t id, const char *name)
{
	return fk_call(k, op, id, NULL, 0, name, strlen(name) + 1);
}

/* The id, 0 for a negative entry, or -errno. */
static inline int64_t
fk_lookup(struct fk *k, uint64_t dir, const char *name)
{
	int r = fk_name(k, FUSE_LOOKUP, dir, name);

	return r < 0 ? r : (int64_t)FK_OUT(k, fuse_entry_out).nodeid;
}

/* "a/b/c" from the root, which must exist. */
static inline uint64_t
fk_walk(struct fk *k, const char *path)
{
	char copy[512], *save = NULL;
	int64_t id = FUSE_ROOT_ID;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *c = strtok_r(copy, "/", &save); c != NULL; c = strtok_r(NULL, "/", &save)) {
		id = fk_lookup(k, (uint64_t)id, c);
		if (id <= 0)
			fail_msg("lookup of %s in %s: %lld", c, path, (long long)id);
	}
	return (uint64_t)id;
}

/* fh, or -errno */
static inline int64_t
fk_open(struct fk *k, uint64_t id, uint32_t flags)
{
	int r = fk_call(k, FUSE_OPEN, id, FK_IN(fuse_open_in, flags), NULL, 0);

	return r < 0 ? r : (int64_t)FK_OUT(k, fuse_open_out).fh;
}

static inline int
fk_write(struct fk *k, uint64_t id, uint64_t fh, uint64_t off, const char *text, uint32_t flags)
{
	uint32_t n = (uint32_t)strlen(text);
	int r = fk_call(k, FUSE_WRITE, id,
		FK_IN(fuse_write_in, .fh = fh, .offset = off, .size = n, .flags = flags), text, n);

	return r < 0 ? r : (int)FK_OUT(k, fuse_write_out).size;
}

static inline int
fk_read(struct fk *k, uint64_t id, uint64_t fh, uint64_t off, uint32_t size)
{
	int r = fk_call(k, FUSE_READ, id,
		FK_IN(fuse_read_in, .fh = fh, .offset = off, .size = size), NULL, 0);

	return r < 0 ? r : (int)k->body.len;
}

static inline int
fk_release(struct fk *k, uint64_t id, uint64_t fh)
{
	return fk_call(k, FUSE_RELEASE, id, FK_IN(fuse_release_in, fh), NULL, 0);
}

static inline int
fk_getattr(struct fk *k, uint64_t id, struct fuse_attr *ret)
{
	int r = fk_call(k, FUSE_GETATTR, id, FK_IN(fuse_getattr_in, 0), NULL, 0);

	if (r == 0 && ret != NULL)
		*ret = FK_OUT(k, fuse_attr_out).attr;
	return r;
}

/* Entry and open handle of a new file. */
struct fk_made {
	uint64_t id, fh;
};

static inline int
fk_create(struct fk *k, uint64_t dir, const char *name, uint32_t flags, uint32_t mode,
	struct fk_made *ret)
{
	int r = fk_call(k, FUSE_CREATE, dir,
		FK_IN(fuse_create_in, .flags = flags, .mode = S_IFREG | mode), name,
		strlen(name) + 1);
	struct fuse_entry_out eo;
	struct fuse_open_out oo;

	if (r < 0)
		return r;
	assert_int_equal(k->body.len, sizeof(eo) + sizeof(oo));
	memcpy(&eo, k->body.data, sizeof(eo));
	memcpy(&oo, k->body.data + sizeof(eo), sizeof(oo));
	*ret = (struct fk_made){eo.nodeid, oo.fh};
	return 0;
}

static inline int
fk_mkdir(struct fk *k, uint64_t dir, const char *name, uint32_t mode)
{
	return fk_call(k, FUSE_MKDIR, dir, FK_IN(fuse_mkdir_in, mode), name, strlen(name) + 1);
}

static inline int
fk_rename(struct fk *k, uint64_t dir, const char *name, uint64_t newdir, const char *newname,
	uint32_t flags)
{
	char both[600];
	int n = snprintf(both, sizeof(both), "%s%c%s", name, 0, newname);

	return fk_call(
		k, FUSE_RENAME2, dir, FK_IN(fuse_rename2_in, newdir, flags), both, (size_t)n + 1);
}

static inline void
fk_forget(struct fk *k, uint64_t id, uint64_t n)
{
	fk_send(k, FUSE_FORGET, id, FK_IN(fuse_forget_in, n), NULL, 0);
}

/* A file made on the host, without the server knowing. */
static inline void
fk_host_file(const struct fk *k, const char *path, const char *text)
{
	CLEAN_CLOSE int fd =
		openat(k->rootfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/*
 * A file on the host whose times are set and whose data is still to come, as at a write that is
 * under way: mapped and touched, and old enough that a further change would have another time.
 * Gives what it is written through.
 */
static inline char *
fk_host_under_way(const struct fk *k, const char *path, int *ret_fd)
{
	const struct timespec tick = {0, 5000000};
	struct timespec now;
	struct stat st;
	char *map;

	*ret_fd = openat(k->rootfd, path, O_RDWR | O_CLOEXEC);
	assert_true(*ret_fd >= 0);
	map = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	map[0] = 'a';
	assert_int_equal(fstat(*ret_fd, &st), 0);
	do {
		nanosleep(&tick, NULL);
		clock_gettime(CLOCK_REALTIME, &now);
	} while ((now.tv_sec - st.st_ctim.tv_sec) * 1000000000L + now.tv_nsec - st.st_ctim.tv_nsec <
		 50000000);
	return map;
}

static inline struct stat
fk_host_stat(const struct fk *k, const char *path)
{
	struct stat st;

	if (fstatat(k->rootfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s on the host: %s", path, strerror(errno));
	return st;
}

static inline bool
fk_host_has(const struct fk *k, const char *path)
{
	return faccessat(k->rootfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline void
fk_host_is(const struct fk *k, const char *path, const char *text)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	assert_int_equal(io_read_file(k->rootfd, path, 1 << 20, &b, NULL), 0);
	assert_string_equal(buf_str(&b), text);
}

/*
 * Waits for a notification that the predicate accepts; earlier ones are dropped. GETATTR of the
 * root keeps the conversation going.
 */
static inline bool
fk_wait_note(struct fk *k, bool (*match)(const uint8_t *msg, size_t n, void *arg), void *arg,
	uint64_t wait_ms)
{
	uint64_t deadline = deadline_in_ms(wait_ms);

	for (;;) {
		struct pollfd p = {k->sock, POLLIN, 0};
		ssize_t n;

		while ((n = fuse_wire_peek(&k->notes, sizeof(struct fuse_out_header))) > 0) {
			bool hit = match(k->notes.data, (size_t)n, arg);

			buf_consume(&k->notes, (size_t)n);
			if (hit)
				return true;
		}
		if (k->in.len == 0 && poll(&p, 1, deadline_left_ms(deadline)) != 1)
			return false;
		fk_message(k, &k->notes);
	}
}

static inline int
fk_init(struct fk *k)
{
	int r = fk_call(k, FUSE_INIT, 0,
		/* newer than the headers that this was built with */
		FK_IN(fuse_init_in, .major = 7, .minor = FUSE_KERNEL_MINOR_VERSION + 1,
			.max_readahead = 128 << 10, .flags = UINT32_MAX),
		NULL, 0);

	if (r == 0)
		k->init = FK_OUT(k, fuse_init_out);
	return r;
}

static inline void
fk_folders(struct fk *k)
{
	snprintf(k->dir, sizeof(k->dir), "/tmp/paddock-fs-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	k->dirfd = open(k->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(k->dirfd, "root", 0755), 0);
	assert_int_equal(mkdirat(k->dirfd, "outside", 0755), 0);
	k->rootfd = openat(k->dirfd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static inline void
fk_host_dirs(const struct fk *k, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (mkdirat(k->rootfd, names[i], 0755) < 0)
			fail_msg("%s: %s", names[i], strerror(errno));
}

/* nofile: the server's limit of open files; 0: as it is. */
static inline void
fk_start(struct fk *k, rlim_t nofile)
{
	int sv[2];

	memset(k, 0, sizeof(*k));
	fk_folders(k);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	k->pid = fork();
	if (k->pid == 0) {
		close(sv[0]);
		fk_serve(sv[1], k->rootfd, nofile);
	}
	close(sv[1]);
	k->sock = sv[0];
	assert_int_equal(fk_init(k), 0);
}

/* The server must end by itself, in good order, when its stream does. */
static inline int
fk_stop(struct fk *k)
{
	int status = 0;

	close(k->sock);
	assert_int_equal(waitpid(k->pid, &status, 0), k->pid);
	io_remove_tree(AT_FDCWD, k->dir, NULL);
	close(k->rootfd);
	close(k->dirfd);
	buf_release(&k->in);
	buf_release(&k->body);
	buf_release(&k->notes);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline int
fk_setup(void **state)
{
	struct fk *k = calloc(1, sizeof(*k));

	*state = k;
	fk_start(k, 0);
	return 0;
}

static inline int
fk_teardown(void **state)
{
	int r = fk_stop(*state);

	free(*state);
	if (r != 0)
		print_error("the server ended with %d\n", r);
	return r;
}

static inline struct fuse_lk_in
fk_lock_in(uint64_t fh, uint64_t owner, uint32_t type, uint64_t start, uint64_t end, uint32_t flags)
{
	return (struct fuse_lk_in){.fh = fh,
		.owner = owner,
		.lk = {.start = start, .end = end, .type = type, .pid = (uint32_t)owner + 1000},
		.lk_flags = flags};
}
