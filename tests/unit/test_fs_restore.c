/* What holds when the server is killed and another one goes on with its journal. */
#include "fs_restart.h"

#include <base/mem.h>

static bool
has_entry_note(const struct buf *b, const char *name)
{
	struct fuse_out_header h;

	for (size_t at = 0; at < b->len; at += h.len) {
		size_t skip = sizeof(h) + sizeof(struct fuse_notify_inval_entry_out);

		memcpy(&h, b->data + at, sizeof(h));
		if (h.unique == 0 && h.error == FUSE_NOTIFY_INVAL_ENTRY &&
			strcmp((const char *)b->data + at + skip, name) == 0)
			return true;
		skip = sizeof(h) + sizeof(struct fuse_notify_delete_out);
		if (h.unique == 0 && h.error == FUSE_NOTIFY_DELETE &&
			strcmp((const char *)b->data + at + skip, name) == 0)
			return true;
	}
	return false;
}

/* The same request once more. */
static void
send_again(struct world *w, uint64_t unique, uint32_t op, uint64_t id, const void *fixed,
	size_t nfixed, const char *name)
{
	uint64_t latest = w->k.unique;

	w->k.unique = unique - 2;
	fk_send(&w->k, op, id, fixed, nfixed, name, strlen(name) + 1);
	w->k.unique = latest;
}

/* A folder "d", whose id is returned, with a file "f" that is open. */
static int64_t
make_open(struct world *w, uint32_t mode, struct fk_made *ret)
{
	int64_t d;

	assert_int_equal(fk_mkdir(&w->k, ROOT, "d", 0755), 0);
	d = (int64_t)FK_OUT(&w->k, fuse_entry_out).nodeid;
	assert_int_equal(fk_create(&w->k, (uint64_t)d, "f", O_RDWR, mode, ret), 0);
	return d;
}

static void
test_ids_and_handles_stay(void **state)
{
	struct world *w = *state;
	struct fk_made f;
	int64_t d = make_open(w, 0444, &f);

	for (int round = 0; round < 3; round++) {
		restart(w);
		assert_int_equal(fk_write(&w->k, f.id, f.fh, (uint64_t)round, "x", 0), 1);
		assert_int_equal(fk_lookup(&w->k, ROOT, "d"), d);
		assert_int_equal(fk_lookup(&w->k, (uint64_t)d, "f"), f.id);
	}
	fk_host_is(&w->k, "d/f", "xxx");
	assert_int_equal(fk_release(&w->k, f.id, f.fh), 0);
	restart(w);
	assert_int_equal(fk_write(&w->k, f.id, f.fh, 0, "x", 0), -EBADF);
	/* A handle that is new has another number than any before it. */
	assert_int_not_equal(fk_open(&w->k, f.id, O_RDONLY), f.fh);
}

/* After four thousand million of them the numbers begin anew. */
static void
test_handles_begin_anew(void **state)
{
	struct world *w = *state;
	struct fk_made f;
	int64_t fh;

	make_open(w, 0644, &f);
	w->j->head->handle_generation = UINT32_MAX;
	restart(w);
	fh = fk_open(&w->k, f.id, O_RDWR);
	assert_true(fh > 0);
	restart(w);
	assert_int_equal(fk_write(&w->k, f.id, (uint64_t)fh, 0, "x", 0), 1);
	assert_int_equal(fk_write(&w->k, f.id, f.fh, 0, "y", 0), 1);
}

/* The folder's content is taken away, and a copy is there in its place. */
static void
put_copy(const struct world *w)
{
	CLEAN_FREE char *d = xasprintf("%s/root/d", w->k.dir);
	CLEAN_FREE char *copy = xasprintf("%s/root/copy", w->k.dir);
	CLEAN_FREE char *away = xasprintf("%s/away", w->k.dir);
	struct err e = {0};

	assert_int_equal(io_copy_tree(d, copy, &e), 0);
	assert_int_equal(rename(d, away), 0);
	assert_int_equal(rename(copy, d), 0);
}

static void
test_goes_on_in_a_copy(void **state)
{
	struct world *w = *state;
	struct fk_made f;
	int64_t d = make_open(w, 0644, &f);

	assert_int_equal(fk_write(&w->k, f.id, f.fh, 0, "old", 0), 3);
	assert_int_equal(linkat(w->k.rootfd, "d/f", w->k.rootfd, "d/again", 0), 0);
	assert_int_equal(fk_lookup(&w->k, (uint64_t)d, "again"), f.id);
	put_copy(w);
	w->copied = true;
	restart(w);
	assert_int_equal(fk_write(&w->k, f.id, f.fh, 0, "new", 0), 3);
	assert_int_equal(fk_lookup(&w->k, (uint64_t)d, "again"), f.id);
	fk_host_is(&w->k, "d/f", "new");
	fk_host_is(&w->k, "d/again", "new");
	/* Where the next one begins is written down. */
	w->copied = false;
	restart(w);
	assert_int_equal(fk_write(&w->k, f.id, f.fh, 0, "NEW", 0), 3);
	fk_host_is(&w->k, "d/f", "NEW");
}

/* The control: nobody has said that it is one. */
static void
test_another_file_is_not_taken_for_it(void **state)
{
	struct world *w = *state;
	struct fk_made f;

	make_open(w, 0644, &f);
	put_copy(w);
	restart(w);
	assert_int_equal(fk_write(&w->k, f.id, f.fh, 0, "x", 0), -EIO);
	fk_host_is(&w->k, "d/f", "");
}

static void
test_forgotten_stays_forgotten(void **state)
{
	struct world *w = *state;
	int64_t a, b;

	fk_host_file(&w->k, "a", "");
	fk_host_file(&w->k, "b", "");
	a = fk_lookup(&w->k, ROOT, "a");
	b = fk_lookup(&w->k, ROOT, "b");
	assert_int_equal(fk_lookup(&w->k, ROOT, "b"), b);
	fk_forget(&w->k, (uint64_t)a, 1);
	fk_forget(&w->k, (uint64_t)b, 1);
	assert_int_equal(fk_getattr(&w->k, ROOT, NULL), 0);
	restart(w);
	assert_int_equal(fk_getattr(&w->k, (uint64_t)a, NULL), -ESTALE);
	assert_int_equal(fk_getattr(&w->k, (uint64_t)b, NULL), 0);
	fk_forget(&w->k, (uint64_t)b, 1);
	assert_int_equal(fk_getattr(&w->k, (uint64_t)b, NULL), -ESTALE);
	assert_true(fk_lookup(&w->k, ROOT, "a") > b);
}

/* It lay in the stream, whole or in part, and nobody had taken it up. */
static void
test_request_that_was_not_seen(void **state)
{
	struct world *w = *state;
	struct fuse_mkdir_in in = {.mode = 0755};
	struct seen s;
	uint64_t unique;
	int e = -1;

	kill(w->k.pid, SIGSTOP);
	fk_send(&w->k, FUSE_MKDIR, ROOT, &in, sizeof(in), "new", 4);
	unique = w->k.unique;
	assert_int_equal(write(w->k.sock, "\x99\0\0", 3), 3);
	kill_server(w);
	spawn(w);
	take_over(w, &s);
	send_again(w, unique, FUSE_MKDIR, ROOT, &in, sizeof(in), "new");
	take_rest(w, &s);
	assert_true(has_unique(&s.after, unique, &e));
	assert_int_equal(e, 0);
	seen_release(&s);
}

/*
 * Replies that fill the stream, so that those behind them stay in the server. Threads read: the
 * stream is full from when the first of these, larger than it, has begun to arrive.
 */
static void
fill_stream(struct world *w, const struct fk_made *f)
{
	struct pollfd begun = {w->k.sock, POLLIN, 0};

	for (int i = 0; i < 3; i++)
		fk_send(&w->k, FUSE_READ, f->id,
			FK_IN(fuse_read_in, .fh = f->fh, .size = FUSE_WIRE_IO_MAX), NULL, 0);
	assert_int_equal(poll(&begun, 1, FK_WAIT_MS), 1);
}

static void
wait_for(struct world *w, const char *path)
{
	uint64_t deadline = deadline_in_ms(FK_WAIT_MS);

	while (faccessat(w->k.rootfd, path, F_OK, 0) < 0)
		if (poll(NULL, 0, 1) < 0 || deadline_left_ms(deadline) == 0)
			fail_msg("'%s' did not come", path);
}

/* Until the server means to tell of this name: what the journal holds for the stream. */
static void
wait_for_note(struct world *w, const char *name)
{
	uint64_t deadline = deadline_in_ms(FK_WAIT_MS);

	for (;;) {
		CLEAN_BUF struct buf b = BUF_INIT;
		uint64_t at = w->j->head->ring_tail;
		const uint8_t *msg;
		size_t n;

		while (journal_read_message(w->j, &at, &msg, &n))
			buf_append(&b, msg, n);
		if (has_entry_note(&b, name))
			return;
		if (poll(NULL, 0, 1) < 0 || deadline_left_ms(deadline) == 0)
			fail_msg("nothing is told of '%s'", name);
	}
}

static void
make_big(struct world *w, struct fk_made *f)
{
	assert_int_equal(fk_create(&w->k, ROOT, "big", O_RDWR, 0644, f), 0);
	assert_int_equal(ftruncate(openat(w->k.rootfd, "big", O_WRONLY | O_CLOEXEC), 2 << 20), 0);
}

/* Done, but its reply was not sent: it is sent by the next one, and nothing is done twice. */
static void
test_reply_that_was_not_sent(void **state)
{
	struct world *w = *state;
	struct fuse_mkdir_in in = {.mode = 0755};
	uint64_t first, made, wrong;
	struct fk_made f;
	struct seen s;
	int e = -1;

	make_big(w, &f);
	first = w->k.unique + 2;
	fill_stream(w, &f);
	fk_send(&w->k, FUSE_MKDIR, ROOT, &in, sizeof(in), "done", 5);
	made = w->k.unique;
	fk_send(&w->k, FUSE_UNLINK, ROOT, NULL, 0, "none", 5);
	wrong = w->k.unique;
	fk_send(&w->k, FUSE_MKDIR, ROOT, &in, sizeof(in), "last", 5);
	wait_for(w, "last");
	kill_server(w);
	spawn(w);
	take_over(w, &s);
	assert_false(has_unique(&s.before, made, &e));
	assert_false(has_unique(&s.before, first + 4, &e)); /* READ: to be asked again */
	send_again(w, made, FUSE_MKDIR, ROOT, &in, sizeof(in), "done");
	send_again(w, wrong, FUSE_UNLINK, ROOT, NULL, 0, "none");
	take_rest(w, &s);
	assert_true(has_unique(&s.after, made, &e));
	assert_int_equal(e, 0);
	assert_true(has_unique(&s.after, wrong, &e));
	assert_int_equal(e, -ENOENT);
	/* Once each. */
	for (size_t at = 0, n = 0; at < s.after.len;) {
		struct fuse_out_header h;

		memcpy(&h, s.after.data + at, sizeof(h));
		n += h.unique == made || h.unique == wrong;
		at += h.len;
		assert_true(n <= 2);
	}
	seen_release(&s);
}

static void
test_note_that_was_not_sent(void **state)
{
	struct world *w = *state;
	struct fk_made f;
	struct seen s;

	fk_host_file(&w->k, "told", "");
	assert_true(fk_lookup(&w->k, ROOT, "told") > 0);
	make_big(w, &f);
	fill_stream(w, &f);
	assert_int_equal(unlinkat(w->k.rootfd, "told", 0), 0);
	wait_for_note(w, "told");
	kill_server(w);
	spawn(w);
	take_over(w, &s);
	take_rest(w, &s);
	assert_false(has_entry_note(&s.before, "told"));
	assert_true(has_entry_note(&s.after, "told"));
	seen_release(&s);
}

/* The process ended in the middle of this request. */
static uint64_t
end_within(struct world *w, uint32_t op)
{
	kill_server(w);
	w->k.unique += 2;
	w->j->head->running = (struct journal_doubt){.unique = w->k.unique, .opcode = op};
	return w->k.unique;
}

static void
test_ended_within_a_request(void **state)
{
	struct world *w = *state;
	struct fuse_mkdir_in in = {.mode = 0755};
	struct fuse_getattr_in get = {0};
	uint64_t unique;
	struct seen s;
	int e = 1;

	/* Not safe to do twice. */
	unique = end_within(w, FUSE_MKDIR);
	spawn(w);
	take_over(w, &s);
	send_again(w, unique, FUSE_MKDIR, ROOT, &in, sizeof(in), "twice");
	take_rest(w, &s);
	assert_true(has_unique(&s.after, unique, &e));
	assert_int_equal(e, -EIO);
	assert_true(has_entry_note(&s.after, "twice"));
	seen_release(&s);
	/* The next one is a request like any other. */
	assert_int_equal(fk_mkdir(&w->k, ROOT, "twice", 0755), 0);
	/* Safe to do twice, unless it is what kills. */
	for (int round = 0; round < 2; round++) {
		unique = end_within(w, FUSE_GETATTR);
		if (round == 1) {
			w->j->head->doubts[3] = (struct journal_doubt){
				.unique = unique, .opcode = FUSE_GETATTR, .times = 1};
		}
		spawn(w);
		take_over(w, &s);
		w->k.unique = unique - 2;
		fk_send(&w->k, FUSE_GETATTR, ROOT, &get, sizeof(get), NULL, 0);
		take_rest(w, &s);
		assert_true(has_unique(&s.after, unique, &e));
		assert_int_equal(e, round == 0 ? 0 : -EIO);
		seen_release(&s);
	}
}

/* Negative names, watches and attributes hold again: what the host did meanwhile is told. */
static void
test_changes_meanwhile(void **state)
{
	struct world *w = *state;
	struct seen s;

	fk_host_file(&w->k, "gone", "");
	fk_host_file(&w->k, "kept", "");
	assert_true(fk_lookup(&w->k, ROOT, "gone") > 0);
	assert_true(fk_lookup(&w->k, ROOT, "kept") > 0);
	assert_int_equal(fk_lookup(&w->k, ROOT, "come"), 0);
	kill_server(w);
	assert_int_equal(unlinkat(w->k.rootfd, "gone", 0), 0);
	fk_host_file(&w->k, "come", "");
	spawn(w);
	take_over(w, &s);
	take_rest(w, &s);
	take_rest(w, &s);
	assert_true(has_entry_note(&s.after, "gone"));
	assert_true(has_entry_note(&s.after, "come"));
	assert_false(has_entry_note(&s.after, "kept"));
	seen_release(&s);
}

/* The guest has a mount there, which goes if the answer is another one. */
static void
test_shadow_stays(void **state)
{
	struct world *w = *state;
	int64_t id = fk_lookup(&w->k, ROOT, "target");

	assert_true(id > 0);
	for (int round = 0; round < 2; round++) {
		restart(w);
		assert_int_equal(fk_getattr(&w->k, (uint64_t)id, NULL), 0);
		assert_int_equal(fk_lookup(&w->k, ROOT, "target"), id);
	}
	assert_int_equal(fk_lookup(&w->k, (uint64_t)id, "x"), 0);
}

/* What was told for long is told again, for a second only. */
static void
test_watches_are_gone(void **state)
{
	struct world *w = *state;
	struct fuse_entry_out eo;
	struct seen s;

	fk_host_file(&w->k, "kept", "");
	assert_int_equal(fk_name(&w->k, FUSE_LOOKUP, ROOT, "kept"), 0);
	eo = FK_OUT(&w->k, fuse_entry_out);
	assert_true(eo.entry_valid > 1 && eo.attr_valid > 1);
	kill_server(w);
	w->no_inotify = true;
	spawn(w);
	take_over(w, &s);
	take_rest(w, &s);
	take_rest(w, &s);
	assert_true(has_entry_note(&s.after, "kept"));
	seen_release(&s);
	assert_int_equal(fk_name(&w->k, FUSE_LOOKUP, ROOT, "kept"), 0);
	assert_int_equal(FK_OUT(&w->k, fuse_entry_out).nodeid, eo.nodeid);
	eo = FK_OUT(&w->k, fuse_entry_out);
	assert_true(eo.entry_valid == 1 && eo.attr_valid == 1);
}

/* Somebody has written into the journal that a folder is below itself: nobody goes round with it.
 */
static void
test_circle(void **state)
{
	struct world *w = *state;
	struct fk_made made;
	struct journal_entry first;
	uint64_t b;

	assert_int_equal(mkdirat(w->k.rootfd, "a", 0755), 0);
	assert_int_equal(mkdirat(w->k.rootfd, "a/b", 0755), 0);
	b = fk_walk(&w->k, "a/b");
	memcpy(&first, w->j->entries[0], sizeof(first));
	assert_int_equal(first.parent, 0);
	assert_int_equal(first.child, 1);
	first.parent = 2; /* a in b */
	memcpy(w->j->entries[0], &first, sizeof(first));
	restart(w);
	assert_int_equal(fk_create(&w->k, b, "x", O_RDWR, 0644, &made), -ESTALE);
	assert_int_equal(fk_create(&w->k, fk_walk(&w->k, "a/b"), "x", O_RDWR, 0644, &made), 0);
}

/* A journal that did not hold everything is none: better no server than a stale one. */
static void
test_incomplete(void **state)
{
	struct world *w = *state;
	struct seen s;
	int status = 0;

	kill_server(w);
	w->j->head->incomplete = 1;
	spawn(w);
	assert_int_equal(waitpid(w->k.pid, &status, 0), w->k.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	w->j->head->incomplete = 0;
	spawn(w);
	take_over(w, &s);
	seen_release(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ids_and_handles_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_handles_begin_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(test_goes_on_in_a_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_another_file_is_not_taken_for_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forgotten_stays_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_request_that_was_not_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reply_that_was_not_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_note_that_was_not_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ended_within_a_request, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shadow_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watches_are_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_circle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_incomplete, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
