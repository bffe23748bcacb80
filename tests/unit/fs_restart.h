#pragma once
/*
 * A server that is killed at chosen moments, and another one that goes on with its journal. The
 * client plays the guest's pump: it answers the mark and sends again what has no answer.
 */
#include "fake_kernel.h"

/* The room's own: the journal's layout, to set the scene in it. */
#include "journal.h"

#define ROOT FUSE_ROOT_ID

struct world {
	struct fk k;
	int server_end, journal_fd;
	struct journal *j;
	struct fuse_line line;
	bool no_inotify, copied; /* for the next process */
	int processes;
};

/* Each process has folders of its own to show in the place of shadows. */
static inline int
make_shadow(struct world *w)
{
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "shadows%d", w->processes++);
	assert_int_equal(mkdirat(w->k.dirfd, name, 0755), 0);
	fd = openat(w->k.dirfd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(fd, "0", 0755), 0);
	return fd;
}

static inline void
spawn(struct world *w)
{
	CLEAN_CLOSE int shadow_fd = make_shadow(w);

	w->k.pid = fork();
	if (w->k.pid == 0) {
		struct strv shadows = {0};
		struct fs_options o = {.stream_fd = w->server_end,
			.root_fd = w->k.rootfd,
			.shadows = &shadows,
			.shadow_fd = shadow_fd,
			.journal_fd = w->journal_fd,
			.copied = w->copied};

		strv_add(&shadows, "/target");
		close(w->k.sock);
		if (w->no_inotify)
			fk_forbid_inotify();
		fk_serve_with(&o);
	}
}

static inline int
setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct fk *k = &w->k;
	struct err e = {0};
	int sv[2];

	*state = w;
	fk_folders(k);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	k->sock = sv[0];
	w->server_end = sv[1];
	w->journal_fd = fs_journal_new(&e);
	assert_true(w->journal_fd >= 0);
	assert_int_equal(journal_open(w->journal_fd, &w->j, &e), 0);
	spawn(w);
	assert_int_equal(fk_init(k), 0);
	return 0;
}

static inline int
teardown(void **state)
{
	struct world *w = *state;
	int r;

	close(w->server_end);
	r = fk_stop(&w->k);
	journal_close(w->j);
	close(w->journal_fd);
	free(w);
	return r;
}

static inline void
kill_server(struct world *w)
{
	kill(w->k.pid, SIGKILL);
	assert_int_equal(waitpid(w->k.pid, NULL, 0), w->k.pid);
}

/* What came before the mark and behind it. */
struct seen {
	struct buf before, after;
};

static inline void
seen_release(struct seen *s)
{
	buf_release(&s->before);
	buf_release(&s->after);
}

static inline bool
has_unique(const struct buf *b, uint64_t unique, int *ret_error)
{
	struct fuse_out_header h;

	for (size_t at = 0; at < b->len; at += h.len) {
		memcpy(&h, b->data + at, sizeof(h));
		if (h.unique == unique) {
			*ret_error = h.error;
			return true;
		}
	}
	return false;
}

static inline bool
read_more(struct world *w)
{
	struct pollfd p = {w->k.sock, POLLIN, 0};

	if (poll(&p, 1, FK_WAIT_MS) != 1)
		fail_msg("no answer from the server");
	return buf_read_fd(&w->k.in, w->k.sock, 65536) > 0;
}

/* Reads to the mark, and answers it. */
static inline void
take_over(struct world *w, struct seen *s)
{
	uint8_t nonce[FUSE_LINE_NONCE];
	struct buf answer = BUF_INIT;
	enum fuse_line_event ev;
	size_t n;

	memset(s, 0, sizeof(*s));
	while ((ev = fuse_line_next(&w->line, &w->k.in, &n, nonce)) != FUSE_LINE_RESTART) {
		assert_int_not_equal(ev, FUSE_LINE_BROKEN);
		if (ev == FUSE_LINE_MESSAGE) {
			buf_append(&s->before, w->k.in.data, n);
			fuse_line_took(&w->k.in, n);
		} else {
			assert_true(read_more(w));
		}
	}
	fuse_line_answer(&answer, nonce);
	assert_int_equal(
		io_write_full(w->k.sock, answer.data, answer.len, deadline_in_ms(FK_WAIT_MS)), 0);
	buf_release(&answer);
}

/* Everything up to the answer of a GETATTR that is sent now. */
static inline void
take_rest(struct world *w, struct seen *s)
{
	uint8_t nonce[FUSE_LINE_NONCE];
	enum fuse_line_event ev;
	int error;
	size_t n;

	fk_send(&w->k, FUSE_GETATTR, ROOT, FK_IN(fuse_getattr_in, 0), NULL, 0);
	while (!has_unique(&s->after, w->k.unique, &error)) {
		ev = fuse_line_next(&w->line, &w->k.in, &n, nonce);
		if (ev == FUSE_LINE_MESSAGE) {
			buf_append(&s->after, w->k.in.data, n);
			fuse_line_took(&w->k.in, n);
		} else {
			assert_int_equal(ev, FUSE_LINE_MORE);
			assert_true(read_more(w));
		}
	}
}

static inline void
restart(struct world *w)
{
	struct seen s;

	kill_server(w);
	spawn(w);
	take_over(w, &s);
	take_rest(w, &s); /* the latest replies may come a second time */
	seen_release(&s);
}
