#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <wire/line.h>
#include <wire/session.h>
#include <wire/tlv.h>

enum {
	TAG_OP = 1,
	TAG_ARG,
	TAG_ENV,
	TAG_CWD,
	TAG_USER,
	TAG_FLAGS,
	TAG_ROWS,
	TAG_COLS,
	TAG_SESSION,
	TAG_PORT,
	TAG_IDENTITY,
	TAG_INFO,
	TAG_PID,
	TAG_COMMAND,
	TAG_WAKE,
};

enum {
	FLAG_TTY = 1,
	FLAG_STDIN = 2,
	FLAG_DETACH = 4,
	FLAG_PRIVILEGED = 8,
	FLAG_LOGIN = 16,
	FLAG_ATTACHED = 32,
};

void
session_open_release(struct session_open *o)
{
	strv_release(&o->argv);
	strv_release(&o->env);
	free(o->cwd);
	free(o->user);
	buf_release(&o->identity);
	buf_release(&o->wake);
	memset(o, 0, sizeof(*o));
}

void
session_open_encode(const struct session_open *o, struct buf *out)
{
	uint64_t flags = (o->tty ? FLAG_TTY : 0) | (o->stdin_open ? FLAG_STDIN : 0) |
			 (o->detach ? FLAG_DETACH : 0) | (o->privileged ? FLAG_PRIVILEGED : 0) |
			 (o->login_shell ? FLAG_LOGIN : 0);

	tlv_put_u64(out, TAG_OP, o->op);
	for (size_t i = 0; i < o->argv.n; i++)
		tlv_put_str(out, TAG_ARG, o->argv.v[i]);
	for (size_t i = 0; i < o->env.n; i++)
		tlv_put_str(out, TAG_ENV, o->env.v[i]);
	if (o->cwd != NULL)
		tlv_put_str(out, TAG_CWD, o->cwd);
	if (o->user != NULL)
		tlv_put_str(out, TAG_USER, o->user);
	tlv_put_u64(out, TAG_FLAGS, flags);
	tlv_put_u64(out, TAG_ROWS, o->rows);
	tlv_put_u64(out, TAG_COLS, o->cols);
	tlv_put_u64(out, TAG_SESSION, o->session);
	tlv_put_u64(out, TAG_PORT, o->port);
	if (o->identity.len > 0)
		tlv_put(out, TAG_IDENTITY, o->identity.data, o->identity.len);
	if (o->wake.len > 0)
		tlv_put(out, TAG_WAKE, o->wake.data, o->wake.len);
}

static int
get_max(const struct tlv *t, uint64_t max, uint64_t *ret)
{
	uint64_t v;

	if (tlv_u64(t, &v) < 0 || v > max)
		return -EBADMSG;
	*ret = v;
	return 0;
}

static int
open_field(struct session_open *o, const struct tlv *t)
{
	uint64_t v = 0;
	int r = 0;

	switch (t->tag) {
	case TAG_OP:
		r = get_max(t, SESSION_OP_SAVE, &v);
		o->op = (enum session_op)v;
		break;
	case TAG_ARG:
		return tlv_strv(t, SESSION_STR_MAX, SESSION_ARGS_MAX, &o->argv);
	case TAG_ENV:
		return tlv_strv(t, SESSION_STR_MAX, SESSION_ARGS_MAX, &o->env);
	case TAG_CWD:
		return tlv_str(t, 4095, &o->cwd);
	case TAG_USER:
		return tlv_str(t, 255, &o->user);
	case TAG_FLAGS:
		r = get_max(t, UINT32_MAX, &v);
		o->tty = v & FLAG_TTY;
		o->stdin_open = v & FLAG_STDIN;
		o->detach = v & FLAG_DETACH;
		o->privileged = v & FLAG_PRIVILEGED;
		o->login_shell = v & FLAG_LOGIN;
		break;
	case TAG_ROWS:
		r = get_max(t, UINT16_MAX, &v);
		o->rows = (uint16_t)v;
		break;
	case TAG_COLS:
		r = get_max(t, UINT16_MAX, &v);
		o->cols = (uint16_t)v;
		break;
	case TAG_SESSION:
		r = get_max(t, UINT32_MAX, &v);
		o->session = (uint32_t)v;
		break;
	case TAG_PORT:
		r = get_max(t, UINT16_MAX, &v);
		o->port = (uint16_t)v;
		break;
	case TAG_IDENTITY:
		buf_clear(&o->identity);
		buf_append(&o->identity, t->p, t->n);
		break;
	case TAG_WAKE:
		buf_clear(&o->wake);
		buf_append(&o->wake, t->p, t->n);
		break;
	default: /* a newer peer's field: skipped */
		break;
	}
	return r;
}

static bool
open_is_whole(const struct session_open *o)
{
	switch (o->op) {
	case SESSION_OP_EXEC:
		for (size_t i = 0; i < o->env.n; i++)
			if (strchr(o->env.v[i], '=') == NULL || o->env.v[i][0] == '=')
				return false;
		return o->argv.n > 0 && o->argv.v[0][0] != '\0' &&
		       (o->cwd == NULL || o->cwd[0] == '/');
	case SESSION_OP_IDENTITY:
		return o->identity.len > 0;
	case SESSION_OP_FORWARD:
		return o->port > 0;
	case SESSION_OP_SAVE:
		return o->wake.len == LINE_WAKE;
	case SESSION_OP_ATTACH:
	case SESSION_OP_SHUTDOWN:
	case SESSION_OP_LIST:
	case SESSION_OP_PING:
	case SESSION_OP_LISTENERS:
		return true;
	}
	return false;
}

int
session_open_decode(const void *p, size_t n, struct session_open *ret)
{
	struct session_open o = {0};
	struct tlv_reader rd;
	struct tlv t;
	int r;

	tlv_reader_init(&rd, p, n);
	while ((r = tlv_next(&rd, &t)) > 0) {
		r = open_field(&o, &t);
		if (r < 0)
			break;
	}
	if (r < 0 || !open_is_whole(&o)) {
		session_open_release(&o);
		return -EBADMSG;
	}
	*ret = o;
	return 0;
}

void
session_put_winsize(struct buf *b, uint16_t rows, uint16_t cols)
{
	uint16_t v[2] = {htobe16(rows), htobe16(cols)};

	frame_put(b, SESSION_WINSIZE, v, sizeof(v));
}

int
session_get_winsize(const struct frame *f, uint16_t *ret_rows, uint16_t *ret_cols)
{
	uint16_t v[2];

	if (f->n != sizeof(v))
		return -EBADMSG;
	memcpy(v, f->p, sizeof(v));
	*ret_rows = be16toh(v[0]);
	*ret_cols = be16toh(v[1]);
	return 0;
}

void
session_info_release(struct session_info *i)
{
	free(i->command);
	memset(i, 0, sizeof(*i));
}

void
session_info_encode(const struct session_info *i, struct buf *out)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	tlv_put_u64(&b, TAG_SESSION, i->id);
	tlv_put_u64(&b, TAG_PID, i->pid);
	tlv_put_u64(&b, TAG_FLAGS, (i->tty ? FLAG_TTY : 0) | (i->attached ? FLAG_ATTACHED : 0));
	tlv_put_str(&b, TAG_COMMAND, i->command != NULL ? i->command : "");
	tlv_put(out, TAG_INFO, b.data, b.len);
}

static int
info_field(struct session_info *i, const struct tlv *t)
{
	uint64_t v = 0;
	int r = 0;

	switch (t->tag) {
	case TAG_SESSION:
		r = get_max(t, UINT32_MAX, &v);
		i->id = (uint32_t)v;
		break;
	case TAG_PID:
		r = get_max(t, UINT32_MAX, &v);
		i->pid = (uint32_t)v;
		break;
	case TAG_FLAGS:
		r = get_max(t, UINT32_MAX, &v);
		i->tty = v & FLAG_TTY;
		i->attached = v & FLAG_ATTACHED;
		break;
	case TAG_COMMAND:
		return tlv_str(t, 4096, &i->command);
	default:
		break;
	}
	return r;
}

int
session_info_next(struct tlv_reader *rd, struct session_info *ret)
{
	struct session_info i = {0};
	struct tlv_reader in;
	struct tlv t;
	int r = tlv_next(rd, &t);

	if (r <= 0)
		return r;
	if (t.tag != TAG_INFO)
		return -EBADMSG;
	tlv_reader_init(&in, t.p, t.n);
	while ((r = tlv_next(&in, &t)) > 0) {
		r = info_field(&i, &t);
		if (r < 0)
			break;
	}
	if (r < 0) {
		session_info_release(&i);
		return -EBADMSG;
	}
	*ret = i;
	return 1;
}

void
session_listener_encode(uint16_t port, struct buf *out)
{
	tlv_put_u64(out, TAG_PORT, port);
}

int
session_listener_next(struct tlv_reader *rd, uint16_t *ret)
{
	uint64_t v;
	struct tlv t;
	int r = tlv_next(rd, &t);

	if (r <= 0)
		return r;
	if (t.tag != TAG_PORT || get_max(&t, UINT16_MAX, &v) < 0)
		return -EBADMSG;
	*ret = (uint16_t)v;
	return 1;
}
