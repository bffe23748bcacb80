/*
 * How this works: per folder, the records as they came, in the order of the host's listing, and an
 * index by name. A record is handed on once, with the reference that came with it; from then on
 * only its name is known (its nodeid is 0), for the kernel has the rest.
 *
 * A record is not handed on where the guest has changed its inode since the host told of it, or the
 * host has said that it changed. Names that the guest makes or takes away are remembered, and are
 * the host's to look up from then on, while all others stay as they were told. Everything else that
 * happens to a folder on the host drops its listing whole.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <base/mem.h>
#include <wire/fuse.h>

#include "listings.h"

#define RECORDS_MAX 65536 /* of all folders; some 200 bytes each */
#define FOLDER_MAX  16384 /* of one */
#define NAMES_MAX   2048  /* that the guest has changed */
#define GIVE_MAX    16384 /* in one message */
#define NONE        UINT32_MAX

struct record {
	uint32_t at;   /* in raw: struct fuse_direntplus */
	uint32_t hash; /* of the name */
	uint64_t seen, notes;
};

struct listing {
	struct hnode by_dir;
	struct list lru;
	uint64_t dir;
	uint64_t begin, end; /* offsets: of the first record, and behind the last */
	bool complete;       /* nothing comes behind end */
	bool used;
	struct buf raw;
	struct record *records;
	size_t n, cap;
	uint32_t *index; /* nindex slots, a power of two above 2 * n; NONE: free */
	size_t nindex;
	size_t next; /* the record at which the last READDIRPLUS ended */
	uint64_t *names;
	size_t nnames;
};

void
listings_init(struct listings *l)
{
	*l = (struct listings){0};
	list_init(&l->lru);
}

static struct listing *
find(const struct listings *l, uint64_t dir)
{
	for (struct hnode *h = htab_first(&l->by_dir, hash_u64(0, dir)); h != NULL;
		h = htab_next(h)) {
		struct listing *f = container_of(h, struct listing, by_dir);

		if (f->dir == dir)
			return f;
	}
	return NULL;
}

static void
give_back(struct listings *l, uint64_t id, uint64_t nlookup)
{
	struct fuse_forget_one one = {.nodeid = id, .nlookup = nlookup};

	if (id != 0)
		buf_append(&l->unused, &one, sizeof(one));
}

static struct fuse_entry_out
entry_at(const struct buf *raw, size_t at)
{
	struct fuse_entry_out eo;

	memcpy(&eo, raw->data + at, sizeof(eo));
	return eo;
}

static struct fuse_dirent
dirent_at(const uint8_t *raw, size_t at)
{
	struct fuse_dirent d;

	memcpy(&d, raw + at + sizeof(struct fuse_entry_out), FUSE_NAME_OFFSET);
	return d;
}

static const char *
name_at(const uint8_t *raw, size_t at)
{
	return (const char *)raw + at + FUSE_NAME_OFFSET_DIRENTPLUS;
}

static void
drop(struct listings *l, struct listing *f)
{
	if (f == NULL)
		return;
	for (size_t k = 0; k < f->n; k++)
		give_back(l, entry_at(&f->raw, f->records[k].at).nodeid, 1);
	l->nrecords -= f->n;
	htab_remove(&l->by_dir, &f->by_dir);
	list_del(&f->lru);
	buf_release(&f->raw);
	free(f->records);
	free(f->index);
	free(f->names);
	free(f);
}

static struct listing *
oldest(const struct listings *l)
{
	return list_is_empty(&l->lru) ? NULL : container_of(l->lru.next, struct listing, lru);
}

void
listings_drop(struct listings *l, uint64_t dir)
{
	drop(l, find(l, dir));
}

void
listings_drop_all(struct listings *l)
{
	while (oldest(l) != NULL)
		drop(l, oldest(l));
}

void
listings_release(struct listings *l)
{
	listings_drop_all(l);
	htab_release(&l->by_dir);
	buf_release(&l->unused);
}

/* ---- a piece ---- */

static size_t
dirent_size(const struct fuse_dirent *d)
{
	return FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + d->namelen);
}

/* The record at this place is whole. */
static bool
next_record(const uint8_t *raw, size_t n, size_t at, struct fuse_dirent *ret)
{
	if (n - at < FUSE_NAME_OFFSET_DIRENTPLUS)
		return false;
	*ret = dirent_at(raw, at);
	return ret->namelen <= FUSE_WIRE_NAME_MAX && dirent_size(ret) <= n - at;
}

static bool
is_whole(const uint8_t *raw, size_t n)
{
	struct fuse_dirent d;

	for (size_t at = 0; at < n; at += dirent_size(&d))
		if (!next_record(raw, n, at, &d))
			return false;
	return true;
}

static bool
read_piece(const uint8_t **body, size_t *n, struct fuse_push_listing *ret)
{
	if (*n < sizeof(*ret))
		return false;
	memcpy(ret, *body, sizeof(*ret));
	*body += sizeof(*ret);
	*n -= sizeof(*ret);
	return is_whole(*body, *n);
}

void
listings_refuse(struct listings *l, const uint8_t *body, size_t n)
{
	struct fuse_push_listing head;
	struct fuse_dirent d;

	if (!read_piece(&body, &n, &head))
		return;
	for (size_t at = 0; at < n; at += dirent_size(&d)) {
		struct fuse_entry_out eo;

		d = dirent_at(body, at);
		memcpy(&eo, body + at, sizeof(eo));
		give_back(l, eo.nodeid, 1);
	}
}

static struct listing *
new_listing(struct listings *l, uint64_t dir, uint64_t offset)
{
	struct listing *f = xcalloc(1, sizeof(*f));

	f->dir = dir;
	f->begin = f->end = offset;
	htab_add(&l->by_dir, &f->by_dir, hash_u64(0, dir));
	list_init(&f->lru);
	return f;
}

static uint64_t
hash_name(const char *name, size_t len)
{
	return hash_bytes(0, name, len);
}

static void
index_record(struct listing *f, uint32_t k)
{
	size_t at = f->records[k].hash & (f->nindex - 1);

	while (f->index[at] != NONE)
		at = (at + 1) & (f->nindex - 1);
	f->index[at] = k;
}

/* Of the last record; of all, where there is no room for one more. */
static void
index_last(struct listing *f)
{
	if (f->nindex > 2 * f->n) {
		index_record(f, (uint32_t)(f->n - 1));
		return;
	}
	f->nindex = f->nindex > 0 ? f->nindex : 64;
	while (f->nindex <= 2 * f->n)
		f->nindex *= 2;
	f->index = xreallocarray(f->index, f->nindex, sizeof(*f->index));
	memset(f->index, 0xff, f->nindex * sizeof(*f->index));
	for (size_t k = 0; k < f->n; k++)
		index_record(f, (uint32_t)k);
}

static void
add_record(struct listing *f, const struct fuse_push *p, uint64_t notes, const uint8_t *raw,
	const struct fuse_dirent *d)
{
	size_t at = f->raw.len;

	if (f->n == f->cap) {
		f->cap = f->cap > 0 ? f->cap * 2 : 32;
		f->records = xreallocarray(f->records, f->cap, sizeof(*f->records));
	}
	buf_append(&f->raw, raw, dirent_size(d));
	f->records[f->n++] = (struct record){.at = (uint32_t)at,
		.hash = (uint32_t)hash_name(name_at(raw, 0), d->namelen),
		.seen = p->seen,
		.notes = notes};
	index_last(f);
	f->end = d->off;
}

void
listings_take(struct listings *l, const struct fuse_push *p, const uint8_t *body, size_t n)
{
	struct listing *f = find(l, p->nodeid);
	struct fuse_push_listing head;
	struct fuse_dirent d;

	if (!read_piece(&body, &n, &head))
		return;
	if (f == NULL || f->complete || f->end != head.offset || f->n > FOLDER_MAX) {
		drop(l, f);
		f = new_listing(l, p->nodeid, head.offset);
	}
	l->nrecords -= f->n;
	for (size_t at = 0; at < n; at += dirent_size(&d)) {
		d = dirent_at(body, at);
		add_record(f, p, l->notes, body + at, &d);
	}
	l->nrecords += f->n;
	f->complete = head.flags & FUSE_PUSH_LISTING_END;
	list_del(&f->lru);
	list_add_tail(&l->lru, &f->lru);
	while (l->nrecords > RECORDS_MAX && oldest(l) != f)
		drop(l, oldest(l));
}

/* ---- changes ---- */

static uint64_t *
revoked_of(struct listings *l, uint64_t id)
{
	return &l->revoked[hash_u64(0, id) % LISTINGS_REVOKED];
}

void
listings_revoke(struct listings *l, uint64_t id)
{
	*revoked_of(l, id) = ++l->notes;
}

static bool
is_touched(const struct listing *f, uint64_t hash)
{
	for (size_t k = 0; k < f->nnames; k++)
		if (f->names[k] == hash)
			return true;
	return false;
}

void
listings_touch(struct listings *l, uint64_t dir, const char *name)
{
	struct listing *f = find(l, dir);
	uint64_t hash = name != NULL ? hash_name(name, strlen(name)) : 0;

	if (f == NULL || (name != NULL && is_touched(f, hash)))
		return;
	if (name == NULL || f->nnames == NAMES_MAX) {
		drop(l, f);
		return;
	}
	if ((f->nnames & (f->nnames - 1)) == 0) /* a power of two: full */
		f->names = xreallocarray(
			f->names, f->nnames > 0 ? f->nnames * 2 : 1, sizeof(*f->names));
	f->names[f->nnames++] = hash;
}

/* ---- answers ---- */

static void
count_use(struct listings *l, struct listing *f)
{
	if (!f->used)
		l->used++;
	f->used = true;
}

static struct record *
record_named(struct listing *f, const char *name, size_t len, uint32_t hash)
{
	if (f->n == 0)
		return NULL;
	for (size_t at = hash & (f->nindex - 1); f->index[at] != NONE;
		at = (at + 1) & (f->nindex - 1)) {
		struct record *r = &f->records[f->index[at]];

		if (r->hash == hash && dirent_at(f->raw.data, r->at).namelen == len &&
			memcmp(name_at(f->raw.data, r->at), name, len) == 0)
			return r;
	}
	return NULL;
}

/* What the kernel may be told of it, which has its reference then. False: nothing but the name. */
static bool
hand_on(struct listings *l, const struct listings_check *c, struct listing *f, struct record *r,
	struct fuse_entry_out *ret)
{
	const struct fuse_entry_out none = {0};
	struct fuse_entry_out eo = entry_at(&f->raw, r->at);

	if (eo.nodeid == 0 || r->notes < *revoked_of(l, eo.nodeid) ||
		!c->holds(c->arg, &eo.attr, eo.nodeid, r->seen))
		return false;
	memcpy(f->raw.data + r->at, &none, sizeof(none));
	*ret = eo;
	return true;
}

enum listings_what
listings_lookup(struct listings *l, const struct listings_check *c, uint64_t dir, const char *name,
	struct fuse_entry_out *ret)
{
	struct listing *f = find(l, dir);
	size_t len = strlen(name);
	uint64_t hash = hash_name(name, len);
	struct record *r;

	if (f == NULL || is_touched(f, hash))
		return LISTINGS_UNKNOWN;
	r = record_named(f, name, len, (uint32_t)hash);
	if (r != NULL && !hand_on(l, c, f, r, ret))
		return LISTINGS_UNKNOWN;
	if (r == NULL && (f->begin != 0 || !f->complete))
		return LISTINGS_UNKNOWN;
	count_use(l, f);
	return r != NULL ? LISTINGS_FOUND : LISTINGS_ABSENT;
}

static uint64_t
offset_of(const struct listing *f, size_t k)
{
	return k == 0 ? f->begin : dirent_at(f->raw.data, f->records[k - 1].at).off;
}

/* The record at this offset; f->n: the end; NONE: no such place is known. */
static size_t
record_at(const struct listing *f, uint64_t offset)
{
	if (f->next <= f->n && offset_of(f, f->next) == offset)
		return f->next;
	for (size_t k = 0; k <= f->n; k++)
		if (offset_of(f, k) == offset)
			return k;
	return NONE;
}

bool
listings_read(struct listings *l, const struct listings_check *c, uint64_t dir, uint64_t offset,
	size_t size, struct buf *out)
{
	struct listing *f = find(l, dir);
	size_t k, begin = out->len;

	/* Without any record "." and ".." are missing, too. */
	if (f == NULL || f->n == 0 || f->nnames > 0)
		return false;
	k = record_at(f, offset);
	if (k == NONE || (k == f->n && !f->complete))
		return false;
	for (; k < f->n; k++) {
		struct record *r = &f->records[k];
		const struct fuse_dirent d = dirent_at(f->raw.data, r->at);
		size_t at = out->len, whole = dirent_size(&d);
		struct fuse_entry_out eo = {0};

		if (at - begin + whole > size)
			break;
		buf_append(out, f->raw.data + r->at, whole);
		if (!hand_on(l, c, f, r, &eo))
			memset(&eo, 0, sizeof(eo));
		memcpy(out->data + at, &eo, sizeof(eo));
	}
	f->next = k;
	count_use(l, f);
	return k == f->n || out->len > begin;
}

void
listings_forget(struct listings *l, uint64_t id, uint64_t nlookup)
{
	listings_drop(l, id);
	give_back(l, id, nlookup);
}

bool
listings_give_back(struct listings *l, struct buf *out)
{
	size_t n = l->unused.len / sizeof(struct fuse_forget_one);
	struct fuse_batch_forget_in in = {.count = (uint32_t)(n < GIVE_MAX ? n : GIVE_MAX)};
	size_t bytes = in.count * sizeof(struct fuse_forget_one);
	struct fuse_in_header h = {
		.len = (uint32_t)(sizeof(h) + sizeof(in) + bytes), .opcode = FUSE_BATCH_FORGET};

	if (n == 0)
		return false;
	buf_append(out, &h, sizeof(h));
	buf_append(out, &in, sizeof(in));
	buf_append(out, l->unused.data, bytes);
	buf_consume(&l->unused, bytes);
	return true;
}
