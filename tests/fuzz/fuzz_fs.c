/*
 * Whole requests against the fs role's server, on a temporary folder: sequences that a hostile
 * guest could send. Most ids, handles and names come from small sets, so that they meet; after each
 * input the file outside of the served folder must be as it was. Now and then the server dies, and
 * the next one goes on with its journal, into which a hostile one may have written.
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

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <wire/fuse.h>
#include <wire/fuse_line.h>

#include "server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IDS   16
#define STEPS 64

static const struct journal_caps caps = {
	.inodes = 256, .handles = 64, .locks = 256, .entries = {256, 64, 32}, .ring = 4096};

struct world {
	void *memory, *copy; /* the journal's; what is left of it when a server has died */
	struct journal journal;
	char dir[PATH_MAX];
	int dirfd, rootfd, home;
	struct fs fs;
	uint64_t ids[IDS], handles[IDS];
	size_t nids, nhandles;
	uint64_t unique;
	const uint8_t *p;
	size_t left;
};

static uint8_t
byte(struct world *w)
{
	if (w->left == 0)
		return 0;
	w->left--;
	return *w->p++;
}

static void
must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_fs: %s: %s\n", what, strerror(errno));
	abort();
}

static char world_dir[PATH_MAX];

static void
world_gone(void)
{
	io_remove_tree(AT_FDCWD, world_dir, NULL);
}

/* Once: closing an inotify descriptor waits for a grace period of the kernel, 20 ms for each input.
 */
static void
world_make(struct world *w)
{
	const char *tmp = getenv("TMPDIR");
	struct err e = {0};
	int fd;

	log_init("fuzz_fs", LOG_QUIET);
	umask(0);
	/* TMPDIR in memory spares the disk, which is most of what an input costs. */
	snprintf(w->dir, sizeof(w->dir), "%s/paddock-fuzz-XXXXXX", tmp != NULL ? tmp : "/tmp");
	must(mkdtemp(w->dir) != NULL, "temporary folder");
	memcpy(world_dir, w->dir, sizeof(world_dir));
	atexit(world_gone);
	w->dirfd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(mkdirat(w->dirfd, "root", 0755) == 0, "root");
	fd = openat(w->dirfd, "outside", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	must(fd >= 0 && write(fd, "outside", 7) == 7, "outside");
	close(fd);
	w->rootfd = openat(w->dirfd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->fs = (struct fs){.opt = {.stream_fd = -1, .root_fd = w->rootfd, .guest_uid = 1000},
		.inotify_fd = -1,
		.handles_max = 40,
		.cached_max = 8};
	w->fs.opt.proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	w->home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	watch_init(&w->fs);
	must(fs_tables_init(&w->fs, &e) == 0, "tables");
	w->fs.ready = true;
	w->memory = malloc(journal_size(&caps));
	w->copy = malloc(journal_size(&caps));
	must(w->memory != NULL && w->copy != NULL, "memory");
}

static void
journal_start(struct world *w)
{
	memset(w->memory, 0, journal_size(&caps));
	must(journal_view(&w->journal, w->memory, journal_size(&caps), &caps) == 0, "journal");
	journal_begin(&w->journal);
	w->fs.journal = &w->journal;
	journal_inode_add(&w->fs, w->fs.root);
	journal_ready(&w->fs);
	w->journal.head->processes = 1;
}

static void
world_begin(struct world *w, const uint8_t *data, size_t size)
{
	if (w->dir[0] == '\0')
		world_make(w);
	must(fchdir(w->fs.opt.proc_fd) == 0, "folder of descriptors");
	must(symlinkat("../outside", w->rootfd, "link") == 0, "link");
	must(mkdirat(w->rootfd, "a", 0755) == 0 && mkfifoat(w->rootfd, "f", 0644) == 0, "content");
	journal_start(w);
	w->p = data;
	w->left = size;
	w->nids = w->nhandles = 0;
	w->ids[w->nids++] = FUSE_ROOT_ID;
}

static void
clear_root(struct world *w)
{
	int fd = openat(w->rootfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	struct dirent *de;

	must(d != NULL && fchmod(fd, 0755) == 0, "root");
	while ((de = readdir(d)) != NULL)
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			must(io_remove_tree(fd, de->d_name, NULL) == 0, "clear");
	closedir(d);
}

static void
world_end(struct world *w)
{
	CLEAN_CLOSE int fd = openat(w->dirfd, "outside", O_RDONLY | O_CLOEXEC);
	struct stat st;
	char b[16];

	must(fd >= 0, "outside is gone");
	must(read(fd, b, sizeof(b)) == 7 && memcmp(b, "outside", 7) == 0, "outside was written");
	must(fstatat(w->dirfd, "outside", &st, 0) == 0 && st.st_nlink == 1 &&
			st.st_mode == (S_IFREG | 0644),
		"outside was changed");
	fs_tables_reset(&w->fs);
	must(w->fs.ninodes == 1 && w->fs.nentries == 0 && w->fs.nhandles == 0 &&
			w->fs.ncached == 0 && w->fs.nheld == 0 && w->fs.nlock_waits == 0 &&
			w->fs.nlock_owners == 0 && w->fs.nlock_ranges == 0,
		"something was not released");
	w->fs.journal = NULL;
	w->fs.root->record = NULL;
	journal_release(&w->journal);
	clear_root(w);
	watch_read(&w->fs);
	buf_clear(&w->fs.out);
	buf_clear(&w->fs.notes);
	must(fchdir(w->home) == 0, "chdir");
}

static uint64_t
an_id(struct world *w)
{
	uint8_t b = byte(w);

	return b < 250 ? w->ids[b % w->nids] : b;
}

static uint64_t
a_handle(struct world *w)
{
	uint8_t b = byte(w);

	return b < 250 && w->nhandles > 0 ? w->handles[b % w->nhandles] : b;
}

static void
a_name(struct world *w, struct buf *b)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f", "link", "g", "..", ".",
		"a/b", "/outside", "../outside"};
	uint8_t k = byte(w);

	if (k < 250) {
		const char *s = names[k % (k < 200 ? 8 : sizeof(names) / sizeof(names[0]))];

		buf_append(b, s, strlen(s) + 1);
		return;
	}
	while (w->left > 0 && b->len < 600) {
		uint8_t c = byte(w);

		buf_append(b, &c, 1);
		if (c == 0)
			break;
	}
}

/* The fields that are ids and handles get likely values; the others are the input's bytes. */
static void
fill_fixed(struct world *w, uint32_t op, uint8_t *in, size_t n)
{
	uint64_t id = an_id(w), fh = a_handle(w);

	for (size_t k = 0; k < n; k++)
		in[k] = byte(w);
	switch (op) {
	case FUSE_RENAME:
	case FUSE_RENAME2:
		memcpy(in, &id, sizeof(id));
		if (n > 8)
			memset(in + 8, 0, 8), in[8] = (uint8_t)(fh & 3);
		break;
	case FUSE_LINK:
		memcpy(in, &id, sizeof(id));
		break;
	case FUSE_SETATTR:
		memset(in + 1, 0, 7);
		memcpy(in + 8, &fh, sizeof(fh));
		memset(in + 19, 0, 5);
		memset(in + 56, 0, 12);
		break;
	case FUSE_COPY_FILE_RANGE:
		memcpy(in, &fh, sizeof(fh));
		memcpy(in + 16, &id, sizeof(id));
		fh = a_handle(w);
		memcpy(in + 24, &fh, sizeof(fh));
		memset(in + 9, 0, 7);
		memset(in + 33, 0, 7);
		memset(in + 42, 0, 14);
		break;
	case FUSE_GETLK:
	case FUSE_SETLK:
	case FUSE_SETLKW: {
		/* Few owners and bytes, which now and then are SQLite's; whole files. */
		struct fuse_lk_in lk = {.fh = fh,
			.owner = in[0] % 3,
			.lk = {.start = in[1] % 16, .end = in[2], .type = in[3] % 4, .pid = 1},
			.lk_flags = in[4] % 4 == 0};

		if (in[1] > 240)
			lk.lk.start = lk.lk.end = 128;
		if (in[2] > 240)
			lk.lk.end = INT64_MAX;
		memcpy(in, &lk, sizeof(lk));
		break;
	}
	case FUSE_FLUSH: {
		uint64_t owner = in[0] % 3;

		memcpy(in, &fh, sizeof(fh));
		memcpy(in + 16, &owner, sizeof(owner));
		break;
	}
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_WRITE:
	case FUSE_FALLOCATE:
	case FUSE_LSEEK:
		memset(in + 10, 0, 6); /* offsets and sizes that a disk can bear */
		if (op != FUSE_LSEEK)
			memset(in + 18, 0, 6);
		/* fall through */
	default:
		if (n >= sizeof(fh))
			memcpy(in, &fh, sizeof(fh));
	}
}

static size_t
fixed_size(uint32_t op)
{
	switch (op) {
	case FUSE_GETATTR:
		return 16;
	case FUSE_SETATTR:
		return sizeof(struct fuse_setattr_in);
	case FUSE_MKNOD:
		return sizeof(struct fuse_mknod_in);
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		return sizeof(struct fuse_create_in);
	case FUSE_RENAME2:
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
		return 16;
	case FUSE_MKDIR:
	case FUSE_RENAME:
	case FUSE_LINK:
	case FUSE_OPEN:
	case FUSE_OPENDIR:
	case FUSE_SETXATTR:
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		return 8;
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_WRITE:
		return 40;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_LSEEK:
	case FUSE_FLUSH:
		return 24;
	case FUSE_GETLK:
	case FUSE_SETLK:
	case FUSE_SETLKW:
		return sizeof(struct fuse_lk_in);
	case FUSE_FALLOCATE:
		return sizeof(struct fuse_fallocate_in);
	case FUSE_COPY_FILE_RANGE:
		return sizeof(struct fuse_copy_file_range_in);
	default:
		return 0;
	}
}

static void
put_rest(struct world *w, uint32_t op, struct buf *m, size_t head)
{
	uint32_t n = byte(w);
	static const uint8_t zeros[256];

	switch (op) {
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_SYMLINK:
		a_name(w, m);
		/* fall through */
	case FUSE_LOOKUP:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_LINK:
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		a_name(w, m);
		break;
	case FUSE_SETXATTR:
		n %= 8;
		memcpy(m->data + head, &n, sizeof(n));
		memset(m->data + head + 4, 0, 4);
		buf_append(m, "user.a\0xxxxxxxx", 7 + n);
		break;
	case FUSE_GETXATTR:
	case FUSE_REMOVEXATTR:
		buf_append(m, n % 2 ? "user.a" : "security.a", n % 2 ? 7 : 11);
		break;
	case FUSE_WRITE:
		memcpy(m->data + head + 16, &n, sizeof(n));
		buf_append(m, zeros, n);
		break;
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		n *= 64;
		memcpy(m->data + head + 16, &n, sizeof(n));
		break;
	default:
		break;
	}
}

/* Where the reply is: behind what goes before it. */
static const uint8_t *
find_reply(const struct world *w, struct fuse_out_header *ret)
{
	const struct buf *out = &w->fs.out;
	size_t at = 0;

	do {
		must(out->len - at >= sizeof(*ret), "no reply");
		memcpy(ret, out->data + at, sizeof(*ret));
		must(ret->len >= sizeof(*ret) && ret->len + FUSE_LINE_SEAL <= out->len - at,
			"a malformed message");
		at += ret->len + FUSE_LINE_SEAL;
	} while (ret->unique == 0);
	return out->data + at - FUSE_LINE_SEAL - ret->len;
}

/* Ids and handles that the reply gave. */
static void
learn(struct world *w, uint32_t op)
{
	struct fuse_out_header h;
	const uint8_t *body = find_reply(w, &h) + sizeof(h);
	struct fuse_entry_out eo;
	struct fuse_open_out oo;
	size_t n;

	must(h.unique == w->unique && h.error <= 0 && h.error > -512, "a malformed reply");
	n = h.len - sizeof(h);
	if (h.error != 0)
		return;
	if ((op == FUSE_LOOKUP || op == FUSE_MKNOD || op == FUSE_MKDIR || op == FUSE_SYMLINK ||
		    op == FUSE_LINK || op == FUSE_CREATE || op == FUSE_TMPFILE) &&
		n >= sizeof(eo)) {
		memcpy(&eo, body, sizeof(eo));
		if (eo.nodeid != 0)
			w->ids[w->nids < IDS ? w->nids++ : eo.nodeid % (IDS - 1) + 1] = eo.nodeid;
	}
	if (op == FUSE_OPEN || op == FUSE_OPENDIR || op == FUSE_CREATE || op == FUSE_TMPFILE) {
		memcpy(&oo, body + n - sizeof(oo), sizeof(oo));
		w->handles[w->nhandles < IDS ? w->nhandles++ : oo.fh % IDS] = oo.fh;
	}
}

static void
step(struct world *w)
{
	static const uint8_t ops[] = {FUSE_LOOKUP, FUSE_LOOKUP, FUSE_FORGET, FUSE_GETATTR,
		FUSE_SETATTR, FUSE_READLINK, FUSE_SYMLINK, FUSE_MKNOD, FUSE_MKDIR, FUSE_MKDIR,
		FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_RENAME2, FUSE_LINK, FUSE_OPEN, FUSE_READ,
		FUSE_WRITE, FUSE_STATFS, FUSE_RELEASE, FUSE_SETXATTR, FUSE_GETXATTR, FUSE_LISTXATTR,
		FUSE_REMOVEXATTR, FUSE_OPENDIR, FUSE_READDIR, FUSE_READDIRPLUS, FUSE_RELEASEDIR,
		FUSE_CREATE, FUSE_CREATE, FUSE_FALLOCATE, FUSE_LSEEK, FUSE_COPY_FILE_RANGE,
		FUSE_TMPFILE, FUSE_BATCH_FORGET, FUSE_SETLK, FUSE_SETLK, FUSE_SETLKW, FUSE_GETLK,
		FUSE_FLUSH, FUSE_INTERRUPT};
	CLEAN_BUF struct buf m = BUF_INIT;
	struct fuse_in_header h = {.opcode = ops[byte(w) % sizeof(ops)], .unique = ++w->unique};
	uint64_t forget[3] = {1, 0, 1};
	size_t n = fixed_size(h.opcode);

	h.nodeid = an_id(w);
	/* As the pump sends it, which has answered already. */
	if ((h.opcode == FUSE_RELEASE || h.opcode == FUSE_RELEASEDIR) && byte(w) % 2)
		h.unique = 0;
	buf_append(&m, &h, sizeof(h));
	if (h.opcode == FUSE_FORGET) {
		buf_append(&m, forget, 8);
	} else if (h.opcode == FUSE_INTERRUPT) {
		forget[0] = w->unique - byte(w) % 8;
		buf_append(&m, forget, 8);
	} else if (h.opcode == FUSE_BATCH_FORGET) {
		forget[1] = h.nodeid;
		buf_append(&m, forget, sizeof(forget));
	} else {
		fill_fixed(w, h.opcode, buf_reserve(&m, n), n);
		buf_commit(&m, n);
		put_rest(w, h.opcode, &m, sizeof(h));
	}
	h.len = (uint32_t)m.len;
	memcpy(m.data, &h.len, sizeof(h.len));
	dispatch(&w->fs, m.data, m.len);
	/* Nothing is said twice, and who waits for a lock is answered later. */
	if (!fuse_request_is_oneway(h.opcode) && h.unique != 0 && w->fs.out.len > 0 &&
		h.opcode != FUSE_SETLK && h.opcode != FUSE_SETLKW)
		learn(w, h.opcode);
	if (w->fs.lock_retry_ms != 0)
		lock_retry(&w->fs);
	buf_clear(&w->fs.notes);
	buf_clear(&w->fs.out);
	journal_sent(&w->fs);
}

/* Somebody on the host. */
static void
host_step(struct world *w)
{
	static const char *const names[] = {"a", "b", "c", "d", "link"};
	const char *x = names[byte(w) % 5], *y = names[byte(w) % 5];

	if (renameat2(w->rootfd, x, w->rootfd, y, byte(w) & 3) < 0)
		unlinkat(w->rootfd, y, byte(w) % 2 ? AT_REMOVEDIR : 0);
	watch_read(&w->fs);
	buf_clear(&w->fs.notes);
}

/* Fields of records, mostly; the head and the ring too. */
static void
write_anything(struct world *w)
{
	uint8_t *const at[] = {(void *)w->journal.head, (void *)w->journal.inodes,
		(void *)w->journal.handles, (void *)w->journal.locks, w->journal.entries[0],
		w->journal.entries[1], w->journal.ring};

	for (int n = byte(w) % 8; n > 0; n--) {
		uint8_t *p = at[byte(w) % (sizeof(at) / sizeof(at[0]))];

		p += byte(w) * 4;
		for (int k = byte(w) % 9; k > 0; k--)
			*p++ = byte(w);
	}
}

/* What the guest holds references to. */
static size_t
count_known(const struct fs *fs)
{
	size_t n = 0;

	for (const struct inode *i = inode_after(fs, NULL); i != NULL; i = inode_after(fs, i))
		n += i->nlookup > 0;
	return n;
}

/* Another process: of the last one there is nothing but the journal. */
static void
crash(struct world *w)
{
	const size_t size = journal_size(&caps);
	struct fs next = {.opt = w->fs.opt,
		.inotify_fd = w->fs.inotify_fd,
		.handles_max = w->fs.handles_max,
		.cached_max = w->fs.cached_max};
	struct err e = {0};
	bool honest = byte(w) % 2;
	size_t nhandles = w->fs.nhandles, nknown = count_known(&w->fs);

	memcpy(w->copy, w->memory, size);
	fs_tables_release(&w->fs);
	/* The mark that the next one begins with takes a megabyte: not anew each time. */
	next.out = w->fs.out;
	buf_clear(&next.out);
	buf_release(&w->fs.notes);
	buf_release(&w->fs.early);
	free(w->fs.replied);
	journal_release(&w->journal);
	memcpy(w->memory, w->copy, size);
	w->fs = next;
	must(fs_tables_init(&w->fs, &e) == 0, "tables");
	must(journal_view(&w->journal, w->memory, size, &caps) == 0, "journal");
	if (!honest)
		write_anything(w);
	if (restore(&w->fs, &w->journal, &e) < 0) {
		must(!honest || w->journal.head->incomplete, "an honest journal was refused");
		fs_tables_release(&w->fs);
		next.out = w->fs.out;
		w->fs = next;
		must(fs_tables_init(&w->fs, &e) == 0, "tables");
		journal_release(&w->journal);
		journal_start(w);
	} else if (honest) {
		must(w->fs.nhandles == nhandles && count_known(&w->fs) == nknown,
			"something was forgotten");
	}
	w->fs.ready = true;
	while (w->fs.resync)
		coherence_resync_step(&w->fs);
	buf_clear(&w->fs.out);
	buf_clear(&w->fs.notes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	world_begin(&w, data, size);
	for (int k = 0; k < STEPS && w.left > 0; k++) {
		uint8_t b = byte(&w);

		if (b >= 240)
			host_step(&w);
		else if (b >= 232)
			crash(&w);
		else
			step(&w);
	}
	world_end(&w);
	return 0;
}
