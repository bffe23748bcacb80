/*
 * How this works: whatever may wait for a disk or a network below the host's file system (data that
 * is not in the page cache, writes, fsync) is a job for one of a few threads; the next request is
 * taken meanwhile. A job works on descriptors of its own and on nothing else: tables, journal and
 * stream belong to the one thread that also starts and finishes jobs.
 *
 * Jobs of one file keep their order. What changes it runs alone, and what is read runs two at a
 * time, so that a file that hangs takes few threads with it. Between the start and the end of a
 * change, events about the file say nothing (they are mostly our own); when something else was seen
 * of it meanwhile, the guest is told to forget what it knows.
 *
 * A small write into the host's page cache is done at once, where the file system is a local one:
 * to hand it to a thread and back takes longer. When one was slow all the same (the host has too
 * much to write back), writes are the threads' for a while.
 *
 * Jobs and the bytes that they hold are limited: beyond that, no request is taken.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>

#include "server.h"

#define THREADS_MAX 16
#define READERS_MAX 2 /* of one file at a time */
#define JOBS_MAX    256
#define JOBS_BYTES  (32u << 20)
#define STACK_SIZE  (128u << 10)
#define END_MS      2000
#define LONG_MS     100
#define COPY_MAX    (64u << 20)
#define SMALL_MAX   65536
#define SLOW_MS     5
#define THREADS_MS  1000 /* after a slow one */

struct job {
	struct list at; /* in its file's queue, the pool's, or the finished ones */
	struct inode *inode;
	uint64_t unique, version, start_ms;
	uint64_t mount;
	enum job_kind kind;
	int fd, fd2;
	union {
		struct fuse_read_in read;
		struct fuse_write_in write;
		struct fuse_fsync_in fsync;
		struct fuse_fallocate_in fallocate;
		struct fuse_copy_file_range_in copy;
	} in;
	uint8_t *data; /* of a WRITE */
	size_t ndata, weight;
	struct buf out;
	struct statx before, after;
	int error;
	bool seen; /* before and after are valid */
};

struct jobs {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list queue, finished;
	size_t idle, nqueued;
	bool stop;
	int event;
	/* The serving thread's own. */
	pthread_t threads[THREADS_MAX];
	size_t nthreads, njobs, bytes;
	uint64_t slow_until_ms;
};

/* ---- in a thread of the pool, or in the serving one where there is no pool ---- */

static int
run_read(struct job *j)
{
	size_t done = 0, size = j->in.read.size;

	while (done < size) {
		ssize_t n = pread(j->fd, buf_reserve(&j->out, size - done), size - done,
			(off_t)(j->in.read.offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && done == 0)
			return -errno;
		if (n <= 0)
			break;
		buf_commit(&j->out, (size_t)n);
		done += (size_t)n;
	}
	return 0;
}

/* An error only where nothing was written. */
static int
run_write(struct job *j)
{
	struct fuse_write_out wo = {0};

	while (wo.size < j->ndata) {
		ssize_t n = pwrite(j->fd, j->data + wo.size, j->ndata - wo.size,
			(off_t)(j->in.write.offset + wo.size));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && wo.size == 0)
			return -errno;
		if (n <= 0)
			break;
		wo.size += (uint32_t)n;
	}
	buf_append(&j->out, &wo, sizeof(wo));
	return 0;
}

static int
run_copy(struct job *j)
{
	const struct fuse_copy_file_range_in *in = &j->in.copy;
	off_t off_in = (off_t)in->off_in, off_out = (off_t)in->off_out;
	size_t len = in->len < COPY_MAX ? (size_t)in->len : COPY_MAX;
	ssize_t n = copy_file_range(j->fd2, &off_in, j->fd, &off_out, len, 0);
	struct fuse_write_out wo = {.size = n > 0 ? (uint32_t)n : 0};

	if (n < 0)
		return -errno;
	buf_append(&j->out, &wo, sizeof(wo));
	return 0;
}

static int
run_statfs(struct job *j)
{
	struct fuse_statfs_out so = {0};
	struct statfs st;

	if (fstatfs(j->fd, &st) < 0)
		return -errno;
	so.st.blocks = st.f_blocks;
	so.st.bfree = st.f_bfree;
	so.st.bavail = st.f_bavail;
	so.st.files = st.f_files;
	so.st.ffree = st.f_ffree;
	so.st.bsize = (uint32_t)st.f_bsize;
	so.st.namelen = FUSE_WIRE_NAME_MAX;
	so.st.frsize = (uint32_t)st.f_frsize;
	buf_append(&j->out, &so, sizeof(so));
	return 0;
}

static int
run_kind(struct job *j)
{
	const struct fuse_fallocate_in *fa = &j->in.fallocate;
	int r = 0;

	switch (j->kind) {
	case JOB_READ:
		return run_read(j);
	case JOB_WRITE:
		return run_write(j);
	case JOB_COPY:
		return run_copy(j);
	case JOB_STATFS:
		return run_statfs(j);
	case JOB_FALLOCATE:
		r = fallocate(j->fd, (int)fa->mode, (off_t)fa->offset, (off_t)fa->length);
		break;
	case JOB_FSYNC:
		r = j->in.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(j->fd)
								   : fsync(j->fd);
		break;
	case JOB_SYNCFS:
		r = syncfs(j->fd);
		break;
	}
	return r < 0 ? -errno : 0;
}

static bool
is_change(const struct job *j)
{
	return j->kind == JOB_WRITE || j->kind == JOB_COPY || j->kind == JOB_FALLOCATE;
}

static void
run(struct job *j)
{
	bool seen = is_change(j) && stat_at(j->fd, "", &j->before) == 0;

	j->error = run_kind(j);
	j->seen = seen && stat_at(j->fd, "", &j->after) == 0;
}

static void *
thread_main(void *arg)
{
	const uint64_t one = 1;
	struct jobs *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct job *j;

		p->idle++;
		while (list_is_empty(&p->queue) && !p->stop)
			pthread_cond_wait(&p->more, &p->lock);
		p->idle--;
		if (p->stop)
			break;
		j = container_of(p->queue.next, struct job, at);
		list_del(&j->at);
		p->nqueued--;
		pthread_mutex_unlock(&p->lock);
		run(j);
		pthread_mutex_lock(&p->lock);
		list_add_tail(&p->finished, &j->at);
		if (write(p->event, &one, sizeof(one)) < 0)
			p->stop = true;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* ---- in the serving thread ---- */

static void
add_thread(struct jobs *p)
{
	pthread_attr_t a;
	sigset_t all, old;

	sigfillset(&all);
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, STACK_SIZE);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&p->threads[p->nthreads], &a, thread_main, p) == 0)
		p->nthreads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&a);
}

int
jobs_init(struct fs *fs, struct err *e)
{
	struct jobs *p = xcalloc(1, sizeof(*p));

	p->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	list_init(&p->queue);
	list_init(&p->finished);
	if (p->event >= 0)
		add_thread(p);
	if (p->nthreads == 0) {
		int r = err_sys(e, errno, "threads for the files' data");

		cleanup_close_p(&p->event);
		free(p);
		return r;
	}
	fs->jobs = p;
	return 0;
}

int
jobs_event_fd(const struct fs *fs)
{
	return fs->jobs != NULL ? fs->jobs->event : -1;
}

bool
jobs_any(const struct fs *fs)
{
	return fs->jobs != NULL && fs->jobs->njobs > 0;
}

bool
jobs_full(const struct fs *fs)
{
	const struct jobs *p = fs->jobs;

	return p != NULL && (p->njobs >= JOBS_MAX || p->bytes >= JOBS_BYTES);
}

static void
job_free(struct job *j)
{
	cleanup_close_p(&j->fd);
	cleanup_close_p(&j->fd2);
	buf_release(&j->out);
	free(j->data);
	free(j);
}

static void
hand_over(struct jobs *p, struct job *j)
{
	bool more;

	pthread_mutex_lock(&p->lock);
	list_add_tail(&p->queue, &j->at);
	p->nqueued++;
	/* A thread that was woken and has not run yet is idle, and has a job all the same. */
	more = p->nqueued > p->idle && p->nthreads < THREADS_MAX;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
	if (more)
		add_thread(p);
}

static void
begin(struct job *j)
{
	j->version = j->inode->version;
	j->start_ms = clock_mono_ms();
	if (is_change(j))
		j->inode->changing++;
	j->inode->running++;
}

/* What of a file's queue may run now. */
static void
start_next(struct fs *fs, struct inode *i)
{
	while (i->queue.next != NULL && !list_is_empty(&i->queue)) {
		struct job *j = container_of(i->queue.next, struct job, at);
		bool alone = j->kind != JOB_READ && j->kind != JOB_STATFS;

		if (i->alone || i->running >= (alone ? 1 : READERS_MAX))
			return;
		i->alone = alone;
		list_del(&j->at);
		begin(j);
		hand_over(fs->jobs, j);
	}
}

/* What the change means for what the guest knows. */
static void
end_change(struct fs *fs, struct job *j)
{
	struct inode *i = j->inode;
	bool strange = i->event_missed && clock_mono_ms() - j->start_ms > LONG_MS;

	i->changing--;
	i->event_missed = false;
	i->pushed = false;
	if (j->seen && i->version == j->version && !strange) {
		coherence_see(fs, i, &j->before);
		coherence_own(i, &j->after);
		push_attr(fs, i, &j->after);
		return;
	}
	note_inval_inode(fs, i->id, 0);
	i->known.valid = false;
	i->version++;
	journal_inode(i);
}

static int
end(struct fs *fs, struct job *j, struct buf *out)
{
	struct inode *i = j->inode;

	i->running--;
	i->alone = false;
	if (is_change(j))
		end_change(fs, j);
	if (j->error == 0)
		buf_append(out, j->out.data, j->out.len);
	return j->error;
}

static int
copy_fd(int fd)
{
	return fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
}

static struct job *
job_new(struct fs *fs, struct inode *i, const struct fuse_request *r, enum job_kind kind)
{
	struct job *j = xcalloc(1, sizeof(*j));

	_Static_assert(sizeof(j->in) <= sizeof(r->in), "a part of a request");
	list_init(&j->at);
	j->inode = i;
	j->unique = r->head.unique;
	j->mount = fs->mounts;
	j->kind = kind;
	j->fd = j->fd2 = -1;
	memcpy(&j->in, &r->in, sizeof(j->in));
	j->weight = kind == JOB_READ ? r->in.read.size : kind == JOB_WRITE ? r->ndata : 0;
	return j;
}

static int
run_here(struct fs *fs, struct job *j, int fd, int fd2, const struct fuse_request *r,
	struct buf *out)
{
	int e;

	j->fd = fd;
	j->fd2 = fd2;
	j->data = (uint8_t *)r->data;
	j->ndata = r->ndata;
	begin(j);
	run(j);
	e = end(fs, j, out);
	j->fd = j->fd2 = -1;
	j->data = NULL;
	job_free(j);
	return e;
}

/* Where a write waits for nothing but memory, as a rule. */
static bool
is_local(int fd)
{
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return false;
	switch ((uint32_t)st.f_type) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case TMPFS_MAGIC:
		return true;
	default:
		return false;
	}
}

/* A write that need not be a thread's. */
static bool
is_quick(const struct fs *fs, const struct inode *i, const struct job *j, int fd, size_t n)
{
	if (j->kind != JOB_WRITE || n > SMALL_MAX || i->running > 0 ||
		(i->queue.next != NULL && !list_is_empty(&i->queue)))
		return false;
	return !(fcntl(fd, F_GETFL) & (O_SYNC | O_DSYNC)) && is_local(fd) &&
	       clock_mono_ms() >= fs->jobs->slow_until_ms;
}

static int
run_quick(struct fs *fs, struct job *j, int fd, const struct fuse_request *r, struct buf *out)
{
	uint64_t start = clock_mono_ms(), now;
	int e = run_here(fs, j, fd, -1, r, out);

	now = clock_mono_ms();
	if (now - start >= SLOW_MS)
		fs->jobs->slow_until_ms = now + THREADS_MS;
	return e;
}

int
job_do(struct fs *fs, struct inode *i, const struct fuse_request *r, enum job_kind kind, int fd,
	int fd2, struct buf *out)
{
	struct job *j = job_new(fs, i, r, kind);

	if (fs->jobs == NULL)
		return run_here(fs, j, fd, fd2, r, out);
	if (is_quick(fs, i, j, fd, r->ndata))
		return run_quick(fs, j, fd, r, out);
	j->fd = copy_fd(fd);
	j->fd2 = copy_fd(fd2);
	if (j->fd < 0 || (fd2 >= 0 && j->fd2 < 0)) {
		job_free(j);
		return -EMFILE;
	}
	if (r->ndata > 0) {
		j->data = xmalloc(r->ndata);
		memcpy(j->data, r->data, r->ndata);
		j->ndata = r->ndata;
	}
	i->pins++;
	fs->jobs->njobs++;
	fs->jobs->bytes += j->weight;
	if (i->queue.next == NULL)
		list_init(&i->queue);
	list_add_tail(&i->queue, &j->at);
	start_next(fs, i);
	return OP_LATER;
}

static void
finish(struct fs *fs, struct job *j)
{
	struct inode *i = j->inode;

	fs->jobs->njobs--;
	fs->jobs->bytes -= j->weight;
	/* Of a mount that has ended meanwhile: the next one has requests of the same numbers. */
	if (j->mount == fs->mounts) {
		size_t start = reply_begin(fs);
		int e = end(fs, j, &fs->out);

		reply_end(fs, start, j->unique, e);
	} else {
		CLEAN_BUF struct buf none = BUF_INIT;

		end(fs, j, &none);
		buf_clear(&fs->early);
	}
	start_next(fs, i);
	i->pins--;
	inode_drop_if_unused(fs, i);
	job_free(j);
}

static struct job *
take_finished(struct jobs *p)
{
	struct job *j = NULL;

	pthread_mutex_lock(&p->lock);
	if (!list_is_empty(&p->finished)) {
		j = container_of(p->finished.next, struct job, at);
		list_del(&j->at);
	}
	pthread_mutex_unlock(&p->lock);
	return j;
}

void
jobs_finish(struct fs *fs, size_t out_max)
{
	uint64_t n;
	struct job *j = NULL;

	/* Before the look: what is added behind it rings again. */
	if (read(fs->jobs->event, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_warn("event of the files' threads: %s", strerror(errno));
	while (fs->out.len < out_max && (j = take_finished(fs->jobs)) != NULL)
		finish(fs, j);
	/* There may be more, for which there is no room: look again. */
	n = 1;
	if (fs->out.len >= out_max && write(fs->jobs->event, &n, sizeof(n)) < 0)
		log_warn("event of the files' threads: %s", strerror(errno));
}

static void
drop_list(struct list *jobs)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, jobs) job_free(container_of(l, struct job, at));
	list_init(jobs);
}

void
jobs_release(struct fs *fs)
{
	struct jobs *p = fs->jobs;
	struct timespec until;
	bool all = true;

	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_MS / 1000;
	for (size_t k = 0; k < p->nthreads; k++)
		all = pthread_timedjoin_np(p->threads[k], NULL, &until) == 0 && all;
	for (struct inode *i = inode_after(fs, NULL); i != NULL; i = inode_after(fs, i))
		if (i->queue.next != NULL)
			drop_list(&i->queue);
	fs->jobs = NULL;
	/* A thread that hangs in the host's kernel keeps what it works with, until the process
	 * ends. */
	if (!all)
		return;
	drop_list(&p->queue);
	drop_list(&p->finished);
	close(p->event);
	free(p);
}
