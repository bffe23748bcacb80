#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <jansson.h>

#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <supervisor/supervisor.h>
#include <wire/session.h>
#include <wire/tlv.h>

#include "verbs.h"

static json_t *
session_list(const void *p, size_t n)
{
	struct session_info i = {0};
	struct tlv_reader rd;
	json_t *a = json_array();

	tlv_reader_init(&rd, p, n);
	while (session_info_next(&rd, &i) > 0) {
		char command[512];

		str_escape(i.command, strlen(i.command), command, sizeof(command));
		json_array_append_new(
			a, json_pack("{s:i,s:i,s:b,s:b,s:s}", "id", (int)i.id, "pid", (int)i.pid,
				   "tty", i.tty, "attached", i.attached, "command", command));
		session_info_release(&i);
	}
	return a;
}

static json_t *
guest_sessions(const struct cli *c, const char *name)
{
	CLEAN_BUF struct buf list = BUF_INIT;

	if (guest_ask(c, name, SESSION_OP_LIST, &list, NULL) < 0)
		return json_array();
	return session_list(list.data, list.len);
}

static void
add_disk(json_t *o, const struct cli *c, const char *name)
{
	CLEAN_FREE char *disk = state_sandbox_file(&c->paths, name, "disk.qcow2");
	struct stat st;

	if (stat(disk, &st) == 0)
		json_object_set_new(
			o, "disk_used_bytes", json_integer((json_int_t)st.st_blocks * 512));
}

static void
add_running(json_t *o, const struct cli *c, const char *name, const struct control_status *st)
{
	json_t *p = json_object();

	for (size_t i = 0; i < st->nprocesses; i++)
		json_object_set_new(p, st->processes[i].role, json_integer(st->processes[i].pid));
	json_object_set_new(o, "accelerator", json_string(st->accel));
	json_object_set_new(o, "boot_ms", json_integer((json_int_t)st->boot_ms));
	json_object_set_new(o, "processes", p);
	if (st->state == CONTROL_RUNNING)
		json_object_set_new(o, "sessions", guest_sessions(c, name));
}

static json_t *
strv_json(const struct strv *s)
{
	json_t *a = json_array();

	for (size_t i = 0; i < s->n; i++)
		json_array_append_new(a, json_string_nocheck(s->v[i]));
	return a;
}

static int
inspect_one(struct cli *c, const char *name, json_t *out, struct err *e)
{
	struct control_status st = {0};
	struct sandbox s = {0};
	json_t *o, *ws = json_array();
	bool running;
	int r = sandbox_load(&c->paths, name, &s, e);

	if (r < 0) {
		json_decref(ws);
		return r;
	}
	running = supervisor_status(&c->paths, name, &st, NULL) == 0;
	for (size_t i = 0; i < s.nworkspaces; i++)
		json_array_append_new(ws, json_pack("{s:s,s:s,s:b}", "path", s.workspaces[i].path,
						  "source", workspace_source(&s.workspaces[i]),
						  "read_only", s.workspaces[i].read_only));
	o = json_pack("{s:s,s:s,s:s,s:s,s:o,s:I,s:I,s:I,s:I,s:o,s:o}", "name", s.name, "agent",
		s.agent, "status",
		running                               ? control_state_name(st.state)
		: state_is_suspended(&c->paths, name) ? "suspended"
						      : "stopped",
		"image", s.image, "workspaces", ws, "cpus", (json_int_t)s.cpus, "memory_bytes",
		(json_int_t)s.memory_bytes, "disk_bytes", (json_int_t)s.disk_bytes, "created",
		(json_int_t)s.created, "env", strv_json(&s.env), "resolve", strv_json(&s.resolve));
	json_object_set_new(o, "ports", strv_json(&s.ports));
	json_object_set_new(o, "allow_hooks", json_boolean(s.allow_hooks));
	json_object_set_new(o, "with_settings", json_boolean(s.with_settings));
	json_object_set_new(o, "shadows", strv_json(&s.shadows));
	json_object_set_new(o, "ssh_agent", strv_json(&s.ssh));
	add_disk(o, c, name);
	if (running) {
		add_running(o, c, name, &st);
	} else {
		CLEAN_FREE char *why = state_last_stop(&c->paths, name);

		json_object_set_new(o, "last_stop", json_string(why));
	}
	json_array_append_new(out, o);
	control_status_release(&st);
	sandbox_release(&s);
	return 0;
}

static int
inspect_exec(struct cli *c, const struct args *a, struct err *e)
{
	json_t *out;
	int r;

	if (a->nwords == 0)
		return usage_error(e, "write: paddock inspect SANDBOX [SANDBOX...]");
	r = state_paths_init(&c->paths, e);
	out = json_array();
	for (size_t i = 0; i < a->nwords && r == 0; i++) {
		r = sandbox_name_check(a->words[i], e);
		if (r == 0)
			r = inspect_one(c, a->words[i], out, e);
	}
	if (r == 0) {
		json_dumpf(out, stdout, JSON_INDENT(2));
		printf("\n");
	}
	json_decref(out);
	return r;
}

const struct verb verb_inspect = {.name = "inspect",
	.summary = "Show all about sandboxes, as JSON",
	.usage = "SANDBOX [SANDBOX...]",
	.exec = inspect_exec};
