#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <wire/control.h>
#include <wire/tlv.h>

enum {
	TAG_STATE = 1,
	TAG_ACCEL,
	TAG_STARTED,
	TAG_BOOT,
	TAG_ROLE,
	TAG_PID, /* of the role before */
	TAG_PORT_ASKED,
	TAG_PORT_LISTENING, /* of the port before */
	TAG_PORT_ERROR,     /* likewise */
	TAG_PUBLISH,
	TAG_UNPUBLISH,
	TAG_CREDENTIAL,
};

#define PROCESSES_MAX   64
#define PORTS_MAX       256
#define CREDENTIALS_MAX 64
#define PORT_MAX        256 /* bytes of one text about a port */

const char *
control_state_name(enum control_state s)
{
	switch (s) {
	case CONTROL_STARTING:
		return "starting";
	case CONTROL_RUNNING:
		return "running";
	case CONTROL_STOPPING:
		return "stopping";
	}
	return "unknown";
}

void
control_status_release(struct control_status *s)
{
	for (size_t i = 0; i < s->nprocesses; i++)
		free(s->processes[i].role);
	for (size_t i = 0; i < s->nports; i++) {
		free(s->ports[i].asked);
		free(s->ports[i].listening);
		free(s->ports[i].error);
	}
	free(s->ports);
	strv_release(&s->credentials);
	free(s->processes);
	free(s->accel);
	memset(s, 0, sizeof(*s));
}

void
control_status_add_process(struct control_status *s, const char *role, uint32_t pid)
{
	s->processes = xreallocarray(s->processes, s->nprocesses + 1, sizeof(*s->processes));
	s->processes[s->nprocesses++] = (struct control_process){xstrdup(role), pid};
}

void
control_status_add_port(
	struct control_status *s, const char *asked, const char *listening, const char *error)
{
	s->ports = xreallocarray(s->ports, s->nports + 1, sizeof(*s->ports));
	s->ports[s->nports++] =
		(struct control_port){xstrdup(asked), xstrdup(listening), xstrdup(error)};
}

void
control_status_encode(const struct control_status *s, struct buf *out)
{
	tlv_put_u64(out, TAG_STATE, s->state);
	tlv_put_str(out, TAG_ACCEL, s->accel != NULL ? s->accel : "");
	tlv_put_u64(out, TAG_STARTED, s->started_ns);
	tlv_put_u64(out, TAG_BOOT, s->boot_ms);
	for (size_t i = 0; i < s->nprocesses; i++) {
		tlv_put_str(out, TAG_ROLE, s->processes[i].role);
		tlv_put_u64(out, TAG_PID, s->processes[i].pid);
	}
	for (size_t i = 0; i < s->nports; i++) {
		tlv_put_str(out, TAG_PORT_ASKED, s->ports[i].asked);
		tlv_put_str(out, TAG_PORT_LISTENING, s->ports[i].listening);
		tlv_put_str(out, TAG_PORT_ERROR, s->ports[i].error);
	}
	for (size_t i = 0; i < s->credentials.n; i++)
		tlv_put_str(out, TAG_CREDENTIAL, s->credentials.v[i]);
}

static int
add_role(struct control_status *s, const struct tlv *t)
{
	char *role = NULL;

	if (s->nprocesses >= PROCESSES_MAX || tlv_str(t, 64, &role) < 0)
		return -EBADMSG;
	control_status_add_process(s, role, 0);
	free(role);
	return 0;
}

static int
add_port(struct control_status *s, const struct tlv *t)
{
	CLEAN_FREE char *asked = NULL;

	if (s->nports >= PORTS_MAX || tlv_str(t, PORT_MAX, &asked) < 0)
		return -EBADMSG;
	control_status_add_port(s, asked, "", "");
	return 0;
}

static int
field(struct control_status *s, const struct tlv *t)
{
	uint64_t v = 0;

	switch (t->tag) {
	case TAG_STATE:
		if (tlv_u64(t, &v) < 0 || v < CONTROL_STARTING || v > CONTROL_STOPPING)
			return -EBADMSG;
		s->state = (enum control_state)v;
		return 0;
	case TAG_ACCEL:
		return tlv_str(t, 16, &s->accel);
	case TAG_STARTED:
		return tlv_u64(t, &s->started_ns);
	case TAG_BOOT:
		return tlv_u64(t, &s->boot_ms);
	case TAG_ROLE:
		return add_role(s, t);
	case TAG_PID:
		if (s->nprocesses == 0 || tlv_u64(t, &v) < 0 || v > UINT32_MAX)
			return -EBADMSG;
		s->processes[s->nprocesses - 1].pid = (uint32_t)v;
		return 0;
	case TAG_PORT_ASKED:
		return add_port(s, t);
	case TAG_PORT_LISTENING:
		return s->nports == 0 ? -EBADMSG
				      : tlv_str(t, PORT_MAX, &s->ports[s->nports - 1].listening);
	case TAG_PORT_ERROR:
		return s->nports == 0 ? -EBADMSG
				      : tlv_str(t, PORT_MAX, &s->ports[s->nports - 1].error);
	case TAG_CREDENTIAL:
		return tlv_strv(t, 64, CREDENTIALS_MAX, &s->credentials);
	default:
		return 0;
	}
}

int
control_status_decode(const void *p, size_t n, struct control_status *ret)
{
	struct control_status s = {0};
	struct tlv_reader rd;
	struct tlv t;
	int r;

	tlv_reader_init(&rd, p, n);
	while ((r = tlv_next(&rd, &t)) > 0) {
		r = field(&s, &t);
		if (r < 0)
			break;
	}
	if (r < 0 || s.state == 0) {
		control_status_release(&s);
		return -EBADMSG;
	}
	*ret = s;
	return 0;
}

void
control_ports_release(struct control_ports *p)
{
	strv_release(&p->unpublish);
	strv_release(&p->publish);
}

void
control_ports_encode(const struct control_ports *p, struct buf *out)
{
	for (size_t i = 0; i < p->unpublish.n; i++)
		tlv_put_str(out, TAG_UNPUBLISH, p->unpublish.v[i]);
	for (size_t i = 0; i < p->publish.n; i++)
		tlv_put_str(out, TAG_PUBLISH, p->publish.v[i]);
}

int
control_ports_decode(const void *p, size_t n, struct control_ports *ret)
{
	struct control_ports c = {0};
	struct tlv_reader rd;
	struct tlv t;
	int r;

	tlv_reader_init(&rd, p, n);
	while ((r = tlv_next(&rd, &t)) > 0) {
		if (t.tag == TAG_PUBLISH)
			r = tlv_strv(&t, PORT_MAX, PORTS_MAX, &c.publish);
		else if (t.tag == TAG_UNPUBLISH)
			r = tlv_strv(&t, PORT_MAX, PORTS_MAX, &c.unpublish);
		if (r < 0)
			break;
	}
	if (r < 0) {
		control_ports_release(&c);
		return -EBADMSG;
	}
	*ret = c;
	return 0;
}
