/*
 * How this works: a node for each inode of which the host has told something: attributes, that it
 * may be opened, content; and what folders hold (listings.h). What a request on its way to the host
 * may change is dropped before it goes (answers_sending), what the host says has changed when it
 * says so (answers_note), and what the host told before it knew of our change is not taken
 * (`changed`). So a reply from here is one that the kernel could have cached, for as long as it
 * could have.
 *
 * A file opened here has a handle of our own (handles.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <base/mem.h>
#include <wire/fuse.h>

#include "answers.h"

#define NODES_MAX 32768
#define BYTES_MAX (16u << 20)
#define HEAD      sizeof(struct fuse_in_header)
#define SET_OWNER (FATTR_UID | FATTR_GID | FATTR_KILL_SUIDGID | FATTR_LOCKOWNER | FATTR_FH)
#define LISTING   (FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR)

struct node {
	struct hnode by_id;
	struct list lru;
	uint64_t id;
	bool has_attr, openable;
	uint64_t attr_seen, ttl_s;
	struct fuse_attr attr;
	uint8_t *data; /* attr.size bytes, whatever has_attr says: size */
	size_t size;
};

void
answers_init(struct answers *a)
{
	*a = (struct answers){0};
	list_init(&a->lru);
	listings_init(&a->listings);
}

static struct node *
find(const struct answers *a, uint64_t id)
{
	for (struct hnode *h = htab_first(&a->nodes, hash_u64(0, id)); h != NULL;
		h = htab_next(h)) {
		struct node *n = container_of(h, struct node, by_id);

		if (n->id == id)
			return n;
	}
	return NULL;
}

static void
drop_data(struct answers *a, struct node *n)
{
	if (n->data == NULL)
		return;
	a->bytes -= n->size;
	free(n->data);
	n->data = NULL;
}

static void
drop(struct answers *a, struct node *n)
{
	if (n == NULL)
		return;
	drop_data(a, n);
	htab_remove(&a->nodes, &n->by_id);
	list_del(&n->lru);
	a->nnodes--;
	free(n);
}

static struct node *
oldest(const struct answers *a)
{
	return list_is_empty(&a->lru) ? NULL : container_of(a->lru.next, struct node, lru);
}

/* The node, made where it is new, as the newest. */
static struct node *
get(struct answers *a, uint64_t id)
{
	struct node *n = find(a, id);

	if (n == NULL) {
		if (a->nnodes >= NODES_MAX)
			drop(a, oldest(a));
		n = xcalloc(1, sizeof(*n));
		n->id = id;
		htab_add(&a->nodes, &n->by_id, hash_u64(0, id));
		a->nnodes++;
		list_init(&n->lru);
	}
	list_del(&n->lru);
	list_add_tail(&a->lru, &n->lru);
	return n;
}

static void
drop_all(struct answers *a)
{
	while (oldest(a) != NULL)
		drop(a, oldest(a));
	listings_drop_all(&a->listings);
}

void
answers_release(struct answers *a)
{
	drop_all(a);
	htab_release(&a->nodes);
	buf_release(&a->first);
	listings_release(&a->listings);
}

void
answers_restart(struct answers *a)
{
	drop_all(a);
	a->sent = 0;
	a->links_changed = 0;
	memset(a->changed, 0, sizeof(a->changed));
}

static uint64_t *
changed_of(struct answers *a, uint64_t id)
{
	return &a->changed[hash_u64(0, id) % ANSWERS_CHANGED];
}

static bool
attr_valid(const struct answers *a, const struct node *n)
{
	return n != NULL && n->has_attr && n->attr_seen >= a->links_changed;
}

/* ---- replies ---- */

static void
put_reply(struct buf *reply, uint64_t unique, int error, const void *body, size_t n)
{
	struct fuse_out_header h = {
		.len = (uint32_t)(sizeof(h) + n), .error = error, .unique = unique};

	buf_append(reply, &h, sizeof(h));
	if (n > 0)
		buf_append(reply, body, n);
}

static enum answers_what
put_attr(struct buf *reply, const struct fuse_request *r, const struct node *n)
{
	struct fuse_attr_out ao = {.attr_valid = n->ttl_s, .attr = n->attr};

	put_reply(reply, r->head.unique, 0, &ao, sizeof(ao));
	return ANSWERS_REPLY;
}

/*
 * Of a listed name's inode. Link counts change under a name that is not in the message, but those
 * of folders and of files with one name only under names that are.
 */
static bool
holds(void *arg, const struct fuse_attr *attr, uint64_t id, uint64_t seen)
{
	struct answers *a = arg;

	return seen >= *changed_of(a, id) &&
	       (S_ISDIR(attr->mode) || attr->nlink == 1 || seen >= a->links_changed);
}

static enum answers_what
lookup(struct answers *a, const struct fuse_request *r, struct buf *reply)
{
	const struct listings_check c = {holds, a};
	struct fuse_entry_out eo;

	switch (listings_lookup(&a->listings, &c, r->head.nodeid, r->name, &eo)) {
	case LISTINGS_FOUND:
		put_reply(reply, r->head.unique, 0, &eo, sizeof(eo));
		return ANSWERS_REPLY;
	case LISTINGS_ABSENT:
		/* Not to be kept: the host does not know that it was asked. */
		put_reply(reply, r->head.unique, -ENOENT, NULL, 0);
		return ANSWERS_REPLY;
	case LISTINGS_UNKNOWN:
		break;
	}
	return ANSWERS_SEND;
}

static enum answers_what
read_folder(struct answers *a, const struct fuse_request *r, struct buf *reply)
{
	const struct listings_check c = {holds, a};
	const struct fuse_read_in *in = &r->in.read;
	struct fuse_out_header h = {.unique = r->head.unique};
	size_t start = reply->len;

	buf_append(reply, &h, sizeof(h));
	if (!listings_read(&a->listings, &c, r->head.nodeid, in->offset, in->size, reply)) {
		reply->len = start;
		return ANSWERS_SEND;
	}
	h.len = (uint32_t)(reply->len - start);
	memcpy(reply->data + start, &h, sizeof(h));
	return ANSWERS_REPLY;
}

static enum answers_what
setattr(struct answers *a, const struct fuse_request *r, struct buf *reply)
{
	struct node *n = find(a, r->head.nodeid);

	/* Everything belongs to the agent, whoever is told to own it. */
	if ((r->in.setattr.valid & ~(uint32_t)SET_OWNER) != 0 || !attr_valid(a, n))
		return ANSWERS_SEND;
	return put_attr(reply, r, n);
}

static enum answers_what
open_here(struct answers *a, const struct fuse_request *r, uint64_t now_ms, struct buf *reply)
{
	bool dir = r->head.opcode == FUSE_OPENDIR;
	struct node *n = find(a, r->head.nodeid);
	struct fuse_open_out oo = {.open_flags = dir ? LISTING : FOPEN_KEEP_CACHE};

	if (n == NULL || !n->openable || (r->in.open.flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY ||
		!handles_open(&a->handles, n->id, r->in.open.flags, dir, now_ms, &oo.fh))
		return ANSWERS_SEND;
	/* As lock_tells_close on the host has it. */
	if (!dir && !locked_has(&a->locked, n->id))
		oo.open_flags |= FOPEN_NOFLUSH;
	put_reply(reply, r->head.unique, 0, &oo, sizeof(oo));
	return ANSWERS_REPLY;
}

static enum answers_what
read_here(struct answers *a, const struct fuse_request *r, struct buf *reply)
{
	const struct fuse_read_in *in = &r->in.read;
	struct node *n = find(a, r->head.nodeid);
	size_t at, len;

	if (n == NULL || n->data == NULL)
		return ANSWERS_SEND;
	at = in->offset < n->size ? (size_t)in->offset : n->size;
	len = n->size - at < in->size ? n->size - at : in->size;
	put_reply(reply, r->head.unique, 0, n->data + at, len);
	/* The kernel has it now. */
	if (at + len == n->size)
		drop_data(a, n);
	return ANSWERS_REPLY;
}

static void
put_u64(uint8_t *msg, size_t at, uint64_t v)
{
	memcpy(msg + at, &v, sizeof(v));
}

static enum answers_what
release(struct answers *a, uint8_t *msg, const struct fuse_request *r, struct buf *reply)
{
	uint64_t fh = r->in.release.fh;

	put_reply(reply, r->head.unique, 0, NULL, 0);
	if (!handles_release(&a->handles, &fh))
		return ANSWERS_REPLY;
	put_u64(msg, HEAD, fh);
	put_u64(msg, offsetof(struct fuse_in_header, unique), 0);
	return ANSWERS_REPLY_SEND;
}

/* Where a request names a handle, or 0. */
static size_t
handle_at(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
	case FUSE_FLUSH:
	case FUSE_LSEEK:
	case FUSE_COPY_FILE_RANGE:
	case FUSE_FALLOCATE:
	case FUSE_GETLK:
	case FUSE_SETLK:
	case FUSE_SETLKW:
		return HEAD;
	case FUSE_GETATTR:
		return HEAD + offsetof(struct fuse_getattr_in, fh);
	case FUSE_SETATTR:
		return HEAD + offsetof(struct fuse_setattr_in, fh);
	default:
		return 0;
	}
}

static bool
is_lock(uint32_t opcode)
{
	return opcode == FUSE_GETLK || opcode == FUSE_SETLK || opcode == FUSE_SETLKW;
}

static void
put_host_handle(struct answers *a, uint8_t *msg, const struct fuse_request *r)
{
	size_t at = handle_at(r->head.opcode);
	uint64_t fh;

	if (at == 0)
		return;
	memcpy(&fh, msg + at, sizeof(fh));
	put_u64(msg, at, handles_for_host(&a->handles, fh, is_lock(r->head.opcode), &a->first));
}

static void
forget_one(struct answers *a, uint64_t id, uint64_t nlookup)
{
	drop(a, find(a, id));
	listings_forget(&a->listings, id, nlookup);
}

/* There is no hurry: rm -r forgets a file at a time, and the host takes many at once. */
static enum answers_what
forget(struct answers *a, const struct fuse_request *r)
{
	struct fuse_forget_one one;

	if (r->head.opcode == FUSE_FORGET)
		forget_one(a, r->head.nodeid, r->in.forget.nlookup);
	for (size_t at = 0; at + sizeof(one) <= r->ndata; at += sizeof(one)) {
		memcpy(&one, r->data + at, sizeof(one));
		forget_one(a, one.nodeid, one.nlookup);
	}
	return ANSWERS_KEPT;
}

static enum answers_what
try(struct answers *a, uint8_t *msg, const struct fuse_request *r, uint64_t now_ms,
	struct buf *reply)
{
	struct node *n;

	switch (r->head.opcode) {
	case FUSE_LOOKUP:
		return lookup(a, r, reply);
	case FUSE_GETATTR:
		n = find(a, r->head.nodeid);
		return attr_valid(a, n) ? put_attr(reply, r, n) : ANSWERS_SEND;
	case FUSE_SETATTR:
		return setattr(a, r, reply);
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		return open_here(a, r, now_ms, reply);
	case FUSE_READ:
		return read_here(a, r, reply);
	case FUSE_READDIRPLUS:
		return read_folder(a, r, reply);
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		return release(a, msg, r, reply);
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		return forget(a, r);
	case FUSE_RMDIR:
		/* A network file system on the host keeps a file that was removed in its folder,
		 * until it is forgotten. */
		listings_give_back(&a->listings, &a->first);
		return ANSWERS_SEND;
	default:
		return ANSWERS_SEND;
	}
}

/*
 * What the host answers to always, as an error; 0: anything else. The kernel asks for a file's
 * capabilities before its first write and at each change of owner, and in a workspace there are
 * none. Python asks of each file that it opens whether it is a terminal.
 */
static int
fixed_answer(const struct fuse_request *r)
{
	if (r->head.opcode == FUSE_IOCTL)
		return -ENOTTY;
	return r->head.opcode == FUSE_GETXATTR && strcmp(r->name, "security.capability") == 0
		       ? -EOPNOTSUPP
		       : 0;
}

enum answers_what
answers_request(struct answers *a, uint8_t *msg, size_t n, uint64_t now_ms, struct buf *reply)
{
	const uint32_t magic = FUSE_PUSH_MAGIC;
	struct fuse_request r;
	enum answers_what what;
	int fixed;

	if (fuse_request_decode(msg, n, &r) < 0)
		return ANSWERS_SEND;
	fixed = fixed_answer(&r);
	if (fixed < 0) {
		put_reply(reply, r.head.unique, fixed, NULL, 0);
		return ANSWERS_REPLY;
	}
	if (locked_spares(&a->locked, msg, n)) {
		put_reply(reply, r.head.unique, 0, NULL, 0);
		return ANSWERS_REPLY;
	}
	if (r.head.opcode == FUSE_INIT && n >= HEAD + sizeof(struct fuse_init_in))
		memcpy(msg + HEAD + offsetof(struct fuse_init_in, unused), &magic, sizeof(magic));
	if (!a->on)
		return ANSWERS_SEND;
	what = try(a, msg, &r, now_ms, reply);
	if (what == ANSWERS_SEND) {
		put_host_handle(a, msg, &r);
		memcpy(msg + offsetof(struct fuse_in_header, padding), &a->listings.used,
			sizeof(a->listings.used));
	}
	return what;
}

/* ---- what goes to the host ---- */

static void
touch(struct answers *a, uint64_t id)
{
	drop(a, find(a, id));
	*changed_of(a, id) = a->sent;
}

/* A name comes into a folder, or leaves it. */
static void
touch_folder(struct answers *a, uint64_t id, const char *name)
{
	struct node *n = find(a, id);

	*changed_of(a, id) = a->sent;
	if (n != NULL)
		n->has_attr = false;
	listings_touch(&a->listings, id, name);
}

static void
sending(struct answers *a, const struct fuse_request *r)
{
	uint64_t id = r->head.nodeid;

	switch (r->head.opcode) {
	case FUSE_OPEN:
		if ((r->in.open.flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY)
			touch(a, id);
		break;
	case FUSE_SETATTR:
	case FUSE_WRITE:
	case FUSE_FALLOCATE:
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
		touch(a, id);
		break;
	case FUSE_COPY_FILE_RANGE:
		touch(a, r->in.copy.nodeid_out);
		break;
	case FUSE_LINK:
		touch(a, r->in.link.oldnodeid);
		/* fall through */
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		a->links_changed = a->sent;
		touch_folder(a, id, r->name);
		break;
	case FUSE_RENAME:
	case FUSE_RENAME2:
		a->links_changed = a->sent;
		touch_folder(a, id, r->name);
		touch_folder(a, r->in.rename.newdir, r->name2);
		break;
	case FUSE_CREATE:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
		touch_folder(a, id, r->name);
		break;
	case FUSE_INIT:
	case FUSE_DESTROY:
		drop_all(a);
		buf_clear(&a->listings.unused);
		break;
	}
}

void
answers_sending(struct answers *a, const uint8_t *msg, size_t n)
{
	struct fuse_request r;

	a->sent++;
	if (fuse_request_decode(msg, n, &r) == 0)
		sending(a, &r);
}

/* ---- what comes from the host ---- */

static void
keep_content(struct answers *a, struct node *n, const uint8_t *p, size_t len)
{
	if (n->data != NULL || len == 0 || len != n->attr.size || len > FUSE_PUSH_CONTENT_MAX)
		return;
	for (struct list *l = a->lru.next; a->bytes + len > BYTES_MAX && l != &a->lru; l = l->next)
		drop_data(a, container_of(l, struct node, lru));
	n->data = xmalloc(len);
	n->size = len;
	memcpy(n->data, p, len);
	a->bytes += len;
}

static void
take_push(struct answers *a, uint32_t code, const uint8_t *body, size_t len)
{
	struct fuse_push p;
	struct node *n;

	if (len < sizeof(p))
		return;
	memcpy(&p, body, sizeof(p));
	body += sizeof(p);
	len -= sizeof(p);
	a->on = true;
	/* It was true before our change. */
	if (p.seen < *changed_of(a, p.nodeid)) {
		if (code == FUSE_PUSH_LISTING)
			listings_refuse(&a->listings, body, len);
		return;
	}
	n = get(a, p.nodeid);
	n->has_attr = true;
	n->attr_seen = p.seen;
	n->attr = p.attr;
	n->ttl_s = p.ttl_s;
	if (code != FUSE_PUSH_ATTR)
		n->openable = true;
	if (code == FUSE_PUSH_LISTING)
		listings_take(&a->listings, &p, body, len);
	if (code == FUSE_PUSH_FILE)
		keep_content(a, n, body, len);
}

static uint64_t
u64_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* The host has changed an inode, or a name in it: each such notification begins with its id. */
static void
told_changed(struct answers *a, uint64_t id)
{
	drop(a, find(a, id));
	listings_drop(&a->listings, id);
	listings_revoke(&a->listings, id);
}

bool
answers_note(struct answers *a, const uint8_t *msg, size_t n)
{
	struct fuse_out_header h;
	const uint8_t *body = msg + sizeof(h);

	memcpy(&h, msg, sizeof(h));
	n -= sizeof(h);
	switch ((uint32_t)h.error) {
	case FUSE_PUSH_ATTR:
	case FUSE_PUSH_FILE:
	case FUSE_PUSH_FOLDER:
	case FUSE_PUSH_LISTING:
		take_push(a, (uint32_t)h.error, body, n);
		return true;
	case FUSE_PUSH_VOID:
		if (n >= sizeof(struct fuse_push))
			told_changed(a, u64_at(body + offsetof(struct fuse_push, nodeid)));
		return true;
	case FUSE_NOTIFY_INVAL_INODE:
	case FUSE_NOTIFY_INVAL_ENTRY:
	case FUSE_NOTIFY_DELETE:
		if (n >= sizeof(uint64_t))
			told_changed(a, u64_at(body));
		return false;
	default:
		return false;
	}
}

/* ---- what is to be sent without being asked ---- */

bool
answers_has_more(const struct answers *a)
{
	return a->handles.n > 0 || a->listings.unused.len > 0;
}

bool
answers_keep(struct answers *a, uint64_t now_ms, struct buf *out)
{
	return listings_give_back(&a->listings, out) || handles_keep(&a->handles, now_ms, out);
}

bool
answers_reply(struct answers *a, const uint8_t *msg, size_t n)
{
	return handles_reply(&a->handles, msg, n);
}
