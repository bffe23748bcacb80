#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <net/net.h>
#include <signer/signer.h>
#include <wire/control.h>
#include <wire/line.h>
#include <wire/tlv.h>

#include "roles.h"

enum {
	TAG_FLAGS = 1,
	TAG_UID,
	TAG_GID,
	TAG_WORKSPACE,
	TAG_WORKSPACE_FLAGS,
	TAG_RESOLVE,
	TAG_SHADOW,
	TAG_POLICY,
	TAG_LOG_FOLDER,
	TAG_NAME,
	TAG_TRUST,
	TAG_AUTHORITY,
	TAG_SSH_HOSTS,
	TAG_WAKE,
	TAG_WORKSPACE_SOURCE,
};
enum { FLAG_DEBUG = 1, FLAG_ROOT = 2, FLAG_ALLOW_HOOKS = 4, FLAG_COPIED = 8 };
enum { WS_RO = 1, WS_FILE = 2 };

void
role_config_release(struct role_config *c)
{
	workspaces_free(c->workspaces, c->nworkspaces);
	strv_release(&c->shadows);
	strv_release(&c->resolve);
	free(c->policy);
	free(c->trust);
	free(c->authority);
	free(c->ssh_hosts);
	free(c->log_folder);
	free(c->name);
	buf_release(&c->wake);
	memset(c, 0, sizeof(*c));
}

void
role_config_encode(const struct role_config *c, struct buf *out)
{
	tlv_put_u64(out, TAG_FLAGS,
		(c->debug ? FLAG_DEBUG : 0) | (c->host_is_root ? FLAG_ROOT : 0) |
			(c->allow_hooks ? FLAG_ALLOW_HOOKS : 0) | (c->copied ? FLAG_COPIED : 0));
	tlv_put_u64(out, TAG_UID, c->guest_uid);
	tlv_put_u64(out, TAG_GID, c->guest_gid);
	for (size_t i = 0; i < c->nworkspaces; i++) {
		tlv_put_str(out, TAG_WORKSPACE, c->workspaces[i].path);
		tlv_put_u64(out, TAG_WORKSPACE_FLAGS,
			(c->workspaces[i].read_only ? WS_RO : 0) |
				(c->workspaces[i].is_file ? WS_FILE : 0));
		if (c->workspaces[i].source != NULL)
			tlv_put_str(out, TAG_WORKSPACE_SOURCE, c->workspaces[i].source);
	}
	for (size_t i = 0; i < c->shadows.n; i++)
		tlv_put_str(out, TAG_SHADOW, c->shadows.v[i]);
	for (size_t i = 0; i < c->resolve.n; i++)
		tlv_put_str(out, TAG_RESOLVE, c->resolve.v[i]);
	if (c->policy != NULL)
		tlv_put_str(out, TAG_POLICY, c->policy);
	if (c->trust != NULL)
		tlv_put_str(out, TAG_TRUST, c->trust);
	if (c->authority != NULL)
		tlv_put_str(out, TAG_AUTHORITY, c->authority);
	if (c->ssh_hosts != NULL)
		tlv_put_str(out, TAG_SSH_HOSTS, c->ssh_hosts);
	if (c->log_folder != NULL)
		tlv_put_str(out, TAG_LOG_FOLDER, c->log_folder);
	if (c->name != NULL)
		tlv_put_str(out, TAG_NAME, c->name);
	if (c->wake.len > 0)
		tlv_put(out, TAG_WAKE, c->wake.data, c->wake.len);
}

static int
add_workspace(struct role_config *c, const struct tlv *t)
{
	char *path = NULL;

	if (c->nworkspaces >= SANDBOX_WORKSPACES_MAX || tlv_str(t, 4095, &path) < 0)
		return -EBADMSG;
	c->workspaces = xreallocarray(c->workspaces, c->nworkspaces + 1, sizeof(*c->workspaces));
	c->workspaces[c->nworkspaces++] = (struct workspace){path, false, false, NULL};
	return 0;
}

static int
field(struct role_config *c, const struct tlv *t)
{
	uint64_t v = 0;

	if (t->tag == TAG_WORKSPACE)
		return add_workspace(c, t);
	if (t->tag == TAG_WORKSPACE_SOURCE)
		return c->nworkspaces == 0 || c->workspaces[c->nworkspaces - 1].source != NULL
			       ? -EBADMSG
			       : tlv_str(t, 4095, &c->workspaces[c->nworkspaces - 1].source);
	if (t->tag == TAG_RESOLVE)
		return tlv_strv(t, 1024, 256, &c->resolve);
	if (t->tag == TAG_SHADOW)
		return tlv_strv(t, 4095, SANDBOX_SHADOWS_MAX, &c->shadows);
	if (t->tag == TAG_POLICY)
		return tlv_str(t, NET_POLICY_MAX, &c->policy);
	if (t->tag == TAG_TRUST)
		return tlv_str(t, ROLE_TRUST_MAX, &c->trust);
	if (t->tag == TAG_AUTHORITY)
		return tlv_str(t, CA_PEM_MAX, &c->authority);
	if (t->tag == TAG_SSH_HOSTS)
		return tlv_str(t, CONTROL_SSH_HOSTS_MAX, &c->ssh_hosts);
	if (t->tag == TAG_LOG_FOLDER)
		return tlv_str(t, 4095, &c->log_folder);
	if (t->tag == TAG_NAME)
		return tlv_str(t, 255, &c->name);
	if (t->tag == TAG_WAKE) {
		buf_append(&c->wake, t->p, t->n);
		return c->wake.len == LINE_WAKE ? 0 : -EBADMSG;
	}
	if (tlv_u64(t, &v) < 0)
		return -EBADMSG;
	switch (t->tag) {
	case TAG_FLAGS:
		c->debug = v & FLAG_DEBUG;
		c->host_is_root = v & FLAG_ROOT;
		c->allow_hooks = v & FLAG_ALLOW_HOOKS;
		c->copied = v & FLAG_COPIED;
		break;
	case TAG_UID:
		c->guest_uid = (uid_t)v;
		break;
	case TAG_GID:
		c->guest_gid = (gid_t)v;
		break;
	case TAG_WORKSPACE_FLAGS:
		if (c->nworkspaces == 0)
			return -EBADMSG;
		c->workspaces[c->nworkspaces - 1].read_only = v & WS_RO;
		c->workspaces[c->nworkspaces - 1].is_file = v & WS_FILE;
		break;
	default:
		return -EBADMSG; /* same binary on both ends: nothing is unknown */
	}
	return 0;
}

int
role_config_decode(const void *p, size_t n, struct role_config *ret)
{
	struct role_config c = {0};
	struct tlv_reader rd;
	struct tlv t;
	int r;

	tlv_reader_init(&rd, p, n);
	while ((r = tlv_next(&rd, &t)) > 0) {
		r = field(&c, &t);
		if (r < 0)
			break;
	}
	if (r < 0) {
		role_config_release(&c);
		return -EBADMSG;
	}
	*ret = c;
	return 0;
}
