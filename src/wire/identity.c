#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <wire/identity.h>
#include <wire/tlv.h>

enum {
	TAG_HOSTNAME = 1,
	TAG_NAME,
	TAG_UID,
	TAG_GID,
	TAG_TIME,
	TAG_TIMEZONE,
	TAG_ENTROPY,
	TAG_CA,
	TAG_ENV = 11, /* 9 and 10 are of earlier versions */
	TAG_WORKSPACE,
	TAG_WORKSPACE_FLAGS, /* follows its TAG_WORKSPACE */
	TAG_ADDRESS,
	TAG_GATEWAY,
	TAG_DISK,
	TAG_SHADOW,
	TAG_AGAIN,
	TAG_GIT,
	TAG_MACHINE_ID,
};

enum { WS_RO = 1, WS_FILE = 2 };

void
identity_release(struct identity *i)
{
	free(i->hostname);
	free(i->name);
	free(i->machine_id);
	free(i->timezone);
	buf_release(&i->entropy);
	buf_release(&i->ca_pem);
	strv_release(&i->git);
	strv_release(&i->env);
	for (size_t k = 0; k < i->nworkspaces; k++)
		free(i->workspaces[k].path);
	free(i->workspaces);
	strv_release(&i->shadows);
	free(i->address);
	free(i->gateway);
	memset(i, 0, sizeof(*i));
}

static void
add_workspace_take(struct identity *i, char *path, bool read_only, bool is_file)
{
	i->workspaces = xreallocarray(i->workspaces, i->nworkspaces + 1, sizeof(*i->workspaces));
	i->workspaces[i->nworkspaces++] = (struct identity_workspace){path, read_only, is_file};
}

void
identity_add_workspace(struct identity *i, const char *path, bool read_only, bool is_file)
{
	add_workspace_take(i, xstrdup(path), read_only, is_file);
}

static void
put_opt(struct buf *b, uint16_t tag, const char *s)
{
	if (s != NULL)
		tlv_put_str(b, tag, s);
}

void
identity_encode(const struct identity *i, struct buf *out)
{
	put_opt(out, TAG_HOSTNAME, i->hostname);
	put_opt(out, TAG_NAME, i->name);
	put_opt(out, TAG_MACHINE_ID, i->machine_id);
	tlv_put_u64(out, TAG_UID, i->uid);
	tlv_put_u64(out, TAG_GID, i->gid);
	tlv_put_u64(out, TAG_TIME, i->time_ns);
	put_opt(out, TAG_TIMEZONE, i->timezone);
	tlv_put(out, TAG_ENTROPY, i->entropy.data, i->entropy.len);
	tlv_put(out, TAG_CA, i->ca_pem.data, i->ca_pem.len);
	for (size_t k = 0; k < i->git.n; k++)
		tlv_put_str(out, TAG_GIT, i->git.v[k]);
	for (size_t k = 0; k < i->env.n; k++)
		tlv_put_str(out, TAG_ENV, i->env.v[k]);
	for (size_t k = 0; k < i->nworkspaces; k++) {
		tlv_put_str(out, TAG_WORKSPACE, i->workspaces[k].path);
		tlv_put_u64(out, TAG_WORKSPACE_FLAGS,
			(i->workspaces[k].read_only ? WS_RO : 0) |
				(i->workspaces[k].is_file ? WS_FILE : 0));
	}
	for (size_t k = 0; k < i->shadows.n; k++)
		tlv_put_str(out, TAG_SHADOW, i->shadows.v[k]);
	put_opt(out, TAG_ADDRESS, i->address);
	put_opt(out, TAG_GATEWAY, i->gateway);
	tlv_put_u64(out, TAG_DISK, i->disk_bytes);
	tlv_put_u64(out, TAG_AGAIN, i->again);
}

static int
get_u32(const struct tlv *t, uint32_t *ret)
{
	uint64_t v;

	if (tlv_u64(t, &v) < 0 || v > UINT32_MAX)
		return -EBADMSG;
	*ret = (uint32_t)v;
	return 0;
}

static int
get_bytes(const struct tlv *t, struct buf *b)
{
	buf_clear(b);
	buf_append(b, t->p, t->n);
	return 0;
}

static int
get_workspace(struct identity *i, const struct tlv *t)
{
	char *path = NULL;

	if (i->nworkspaces >= IDENTITY_WORKSPACES_MAX || t->n == 0 || t->p[0] != '/' ||
		tlv_str(t, 4095, &path) < 0)
		return -EBADMSG;
	add_workspace_take(i, path, false, false);
	return 0;
}

static int
get_workspace_flags(struct identity *i, const struct tlv *t)
{
	uint64_t v;

	if (i->nworkspaces == 0 || tlv_u64(t, &v) < 0)
		return -EBADMSG;
	i->workspaces[i->nworkspaces - 1].read_only = v & WS_RO;
	i->workspaces[i->nworkspaces - 1].is_file = v & WS_FILE;
	return 0;
}

static int
field(struct identity *i, const struct tlv *t)
{
	switch (t->tag) {
	case TAG_HOSTNAME:
		return tlv_str(t, 64, &i->hostname);
	case TAG_NAME:
		return tlv_str(t, 255, &i->name);
	case TAG_MACHINE_ID:
		return tlv_str(t, 32, &i->machine_id);
	case TAG_UID:
		return get_u32(t, &i->uid);
	case TAG_GID:
		return get_u32(t, &i->gid);
	case TAG_TIME:
		return tlv_u64(t, &i->time_ns);
	case TAG_TIMEZONE:
		return tlv_str(t, 255, &i->timezone);
	case TAG_ENTROPY:
		return get_bytes(t, &i->entropy);
	case TAG_CA:
		return get_bytes(t, &i->ca_pem);
	case TAG_GIT:
		return tlv_strv(t, 4095, IDENTITY_GIT_MAX, &i->git);
	case TAG_ENV:
		return tlv_strv(t, 131072, 4096, &i->env);
	case TAG_WORKSPACE:
		return get_workspace(i, t);
	case TAG_WORKSPACE_FLAGS:
		return get_workspace_flags(i, t);
	case TAG_ADDRESS:
		return tlv_str(t, 63, &i->address);
	case TAG_GATEWAY:
		return tlv_str(t, 63, &i->gateway);
	case TAG_DISK:
		return tlv_u64(t, &i->disk_bytes);
	case TAG_AGAIN:
		return get_u32(t, &i->again);
	case TAG_SHADOW:
		return t->n == 0 || t->p[0] != '/'
			       ? -EBADMSG
			       : tlv_strv(t, 4095, IDENTITY_SHADOWS_MAX, &i->shadows);
	default:
		return 0;
	}
}

int
identity_decode(const void *p, size_t n, struct identity *ret)
{
	struct identity i = {0};
	struct tlv_reader rd;
	struct tlv t;
	int r;

	tlv_reader_init(&rd, p, n);
	while ((r = tlv_next(&rd, &t)) > 0) {
		r = field(&i, &t);
		if (r < 0)
			break;
	}
	if (r < 0 || i.hostname == NULL || i.address == NULL || i.gateway == NULL) {
		identity_release(&i);
		return -EBADMSG;
	}
	*ret = i;
	return 0;
}
