#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <wire/control.h>
#include <wire/tlv.h>

enum {
	TAG_STATE = 1,
	TAG_ACCEL,
	TAG_STARTED,
	TAG_BOOT,
	TAG_ROLE,
	TAG_PID /* of the role before */
};

#define PROCESSES_MAX 64

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
