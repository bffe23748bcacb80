#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <state/change_list.h>

#define VERSION  1
#define FILE_MAX (32u << 20)

static const char *const kinds[CHANGE_KINDS] = {[CHANGE_HOOK] = "hook",
	[CHANGE_GIT] = "git",
	[CHANGE_EDITOR] = "editor",
	[CHANGE_SHELL] = "shell",
	[CHANGE_AGENT] = "agent"};
static const char *const whats[CHANGE_WHATS] = {[CHANGE_NONE] = "none",
	[CHANGE_ADDED] = "added",
	[CHANGE_MODIFIED] = "modified",
	[CHANGE_REMOVED] = "removed",
	[CHANGE_REFUSED] = "refused",
	[CHANGE_LOST] = "lost"};

const char *
change_kind_name(enum change_kind k)
{
	return k > 0 && k < CHANGE_KINDS ? kinds[k] : "other";
}

const char *
change_what_name(enum change_what w)
{
	return w < CHANGE_WHATS ? whats[w] : "none";
}

static unsigned
index_of(const char *const *names, unsigned n, const char *word)
{
	for (unsigned i = 0; i < n; i++)
		if (names[i] != NULL && strcmp(names[i], word) == 0)
			return i;
	return 0;
}

static void
item_release(struct change_item *i)
{
	free(i->path);
	free(i->key);
	free(i->value);
}

void
change_list_release(struct change_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		item_release(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

static void
drop(struct change_list *l, struct change_item *i)
{
	item_release(i);
	memmove(i, i + 1, (size_t)(l->v + l->n - (i + 1)) * sizeof(*i));
	l->n--;
}

static struct change_item *
add(struct change_list *l)
{
	if (l->n >= CHANGE_LIST_MAX) {
		l->incomplete = true;
		return NULL;
	}
	l->v = xreallocarray(l->v, l->n + 1, sizeof(*l->v));
	l->v[l->n] = (struct change_item){0};
	return &l->v[l->n++];
}

/* A refusal and a change of one file are two things. */
static struct change_item *
find(const struct change_list *l, const char *path, const char *key, bool refused)
{
	for (size_t i = 0; i < l->n; i++)
		if ((l->v[i].what == CHANGE_REFUSED) == refused &&
			strcmp(l->v[i].path, path) == 0 && strcmp(l->v[i].key, key) == 0)
			return &l->v[i];
	return NULL;
}

/* `now` is told against the state in which this run of the machine found it. */
static enum change_what
together(enum change_what before, enum change_what now)
{
	if (now == CHANGE_NONE)
		return before;
	switch (before) {
	case CHANGE_ADDED:
		return now == CHANGE_REMOVED ? CHANGE_NONE : CHANGE_ADDED;
	case CHANGE_MODIFIED:
		return now == CHANGE_REMOVED ? CHANGE_REMOVED : CHANGE_MODIFIED;
	case CHANGE_REMOVED:
		return now == CHANGE_ADDED ? CHANGE_MODIFIED : CHANGE_REMOVED;
	default:
		return now;
	}
}

static char *
escaped(const char *s)
{
	size_t n = strlen(s);
	char *out = xmalloc(n * 4 + 1);

	str_escape(s, n, out, n * 4 + 1);
	return out;
}

static void
update(struct change_item *i, const struct change *c, const char *value)
{
	enum change_what what = c->what == CHANGE_REFUSED ? c->what : together(i->before, c->what);
	/* Of a file with settings all are told when one has changed. */
	bool same = c->key[0] != '\0' && what == i->what && strcmp(value, i->value) == 0;

	if (!same)
		i->at_ms = (int64_t)c->at_ms;
	i->what = what;
	i->kind = c->kind;
	i->times += c->times;
	free(i->value);
	i->value = xstrdup(value);
}

void
change_list_put(struct change_list *l, const struct change *c)
{
	CLEAN_FREE char *path = escaped(c->path), *key = escaped(c->key);
	CLEAN_FREE char *value = escaped(c->value);
	struct change_item *i = find(l, path, key, c->what == CHANGE_REFUSED);

	if (c->what == CHANGE_LOST) {
		l->incomplete = true;
		return;
	}
	if (i == NULL && c->what == CHANGE_NONE)
		return;
	if (i == NULL) {
		i = add(l);
		if (i == NULL)
			return;
		i->path = TAKE_PTR(path);
		i->key = TAKE_PTR(key);
		i->value = xstrdup("");
	}
	update(i, c, value);
	/* This run of the machine may yet make it again what an earlier one had made of it. */
	if (i->what == CHANGE_NONE && i->before == CHANGE_NONE)
		drop(l, i);
}

void
change_list_begin(struct change_list *l)
{
	for (size_t i = l->n; i > 0; i--) {
		l->v[i - 1].before = l->v[i - 1].what;
		if (l->v[i - 1].what == CHANGE_NONE)
			drop(l, &l->v[i - 1]);
	}
}

char *
change_list_json(const struct change_list *l)
{
	json_t *a = json_array(), *o;
	char *text;

	for (size_t k = 0; k < l->n; k++) {
		const struct change_item *i = &l->v[k];

		if (i->what == CHANGE_NONE)
			continue;
		json_array_append_new(
			a, json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "path", i->path, "kind",
				   change_kind_name(i->kind), "change", change_what_name(i->what),
				   "key", i->key, "value", i->value, "at_ms", (json_int_t)i->at_ms,
				   "times", (json_int_t)i->times));
	}
	o = json_pack(
		"{s:i,s:b,s:o}", "version", VERSION, "complete", !l->incomplete, "changes", a);
	text = json_dumps(o, JSON_INDENT(2));
	json_decref(o);
	if (text == NULL)
		abort();
	return text;
}

int
change_list_save(
	const struct state_paths *p, const char *name, const struct change_list *l, struct err *e)
{
	CLEAN_FREE char *path = state_sandbox_file(p, name, "changes.json");
	CLEAN_FREE char *text = change_list_json(l);

	return io_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0600, e);
}

static int
from_json(json_t *v, struct change_list *l)
{
	const char *path, *kind, *what, *key, *value;
	json_int_t at, times;
	struct change_item *i;

	if (json_unpack(v, "{s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "path", &path, "kind", &kind, "change",
		    &what, "key", &key, "value", &value, "at_ms", &at, "times", &times) < 0)
		return -EINVAL;
	i = add(l);
	if (i == NULL)
		return 0;
	i->path = xstrdup(path);
	i->key = xstrdup(key);
	i->value = xstrdup(value);
	i->kind = (enum change_kind)index_of(kinds, CHANGE_KINDS, kind);
	i->what = (enum change_what)index_of(whats, CHANGE_WHATS, what);
	i->at_ms = at;
	i->times = (uint64_t)times;
	return 0;
}

static int
decode(const struct buf *b, struct change_list *l, struct err *e)
{
	json_error_t je;
	json_t *o = json_loadb((const char *)b->data, b->len, 0, &je), *a = NULL, *v;
	json_int_t version = 0;
	int complete = 1, r = 0;
	size_t k;

	if (o == NULL)
		return err_set(e, EINVAL, "changes.json line %d: %s", je.line, je.text);
	if (json_unpack(o, "{s:I,s:b,s:o}", "version", &version, "complete", &complete, "changes",
		    &a) < 0)
		r = err_set(e, EINVAL, "changes.json: not what this file holds");
	else if (version > VERSION)
		r = err_set(e, ENOTSUP,
			"changes.json has version %lld, this paddock knows %d: use a newer paddock",
			(long long)version, VERSION);
	l->incomplete = !complete;
	if (r == 0)
		json_array_foreach (a, k, v)
			if (r == 0 && from_json(v, l) < 0)
				r = err_set(e, EINVAL, "changes.json: entry %zu is damaged", k + 1);
	json_decref(o);
	return r;
}

int
change_list_load(
	const struct state_paths *p, const char *name, struct change_list *ret, struct err *e)
{
	CLEAN_FREE char *path = state_sandbox_file(p, name, "changes.json");
	CLEAN_BUF struct buf b = BUF_INIT;
	struct change_list l = {0};
	int r = io_read_file(AT_FDCWD, path, FILE_MAX, &b, e);

	*ret = l;
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = decode(&b, &l, e);
	if (r < 0) {
		change_list_release(&l);
		return err_prefix(e, "sandbox '%s'", name);
	}
	change_list_begin(&l);
	*ret = l;
	return 0;
}
