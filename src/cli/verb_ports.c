#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include <base/mem.h>
#include <state/port.h>
#include <supervisor/supervisor.h>
#include <wire/tlv.h>

#include "verbs.h"

/* What is published, and what listens in the sandbox. */
struct view {
	struct control_status st;
	bool running;
	struct sandbox s;
	unsigned char listens[8192]; /* a bit for each port */
};

static void
view_release(struct view *v)
{
	control_status_release(&v->st);
	sandbox_release(&v->s);
}

static bool
listens(const struct view *v, unsigned port)
{
	return v->listens[port / 8] & 1u << port % 8;
}

static void
read_listeners(const struct cli *c, const char *name, struct view *v)
{
	CLEAN_BUF struct buf list = BUF_INIT;
	struct tlv_reader rd;
	struct err e = {0};
	uint16_t port;

	if (guest_ask(c, name, SESSION_OP_LISTENERS, &list, &e) < 0) {
		ui_note(e.msg);
		return;
	}
	tlv_reader_init(&rd, list.data, list.len);
	while (session_listener_next(&rd, &port) > 0)
		v->listens[port / 8] |= (unsigned char)(1u << port % 8);
}

/* A stopped one has what its record says. */
static int
view_load(const struct cli *c, const char *name, struct view *v, struct err *e)
{
	int r = sandbox_load(&c->paths, name, &v->s, e);

	if (r < 0)
		return r;
	v->running = supervisor_status(&c->paths, name, &v->st, NULL) == 0 &&
		     v->st.state == CONTROL_RUNNING;
	if (v->running)
		read_listeners(c, name, v);
	else
		for (size_t i = 0; i < v->s.ports.n; i++)
			control_status_add_port(&v->st, v->s.ports.v[i], "", "");
	return 0;
}

/* The listener as it is open, or as it was asked for. */
static bool
parse(const struct control_port *p, struct port *ret)
{
	struct port both[2];
	size_t n;

	if (port_parse(p->listening[0] != '\0' ? p->listening : p->asked, both, &n, NULL) < 0)
		return false;
	*ret = both[0];
	return true;
}

static bool
is_published(const struct view *v, unsigned port)
{
	for (size_t i = 0; i < v->st.nports; i++) {
		struct port p;

		if (parse(&v->st.ports[i], &p) && p.guest == port)
			return true;
	}
	return false;
}

static const char *
state_of(const struct view *v, const struct control_port *p, const struct port *parsed)
{
	if (!v->running)
		return "stopped";
	if (p->listening[0] == '\0')
		return p->error;
	return listens(v, parsed->guest) ? "open" : "nothing listens on it in the sandbox";
}

static void
print_text(const struct view *v)
{
	bool head = false;

	for (size_t i = 0; i < v->st.nports; i++) {
		char shown[PORT_TEXT_MAX];
		struct port p;

		if (!parse(&v->st.ports[i], &p))
			continue;
		port_show(&p, shown);
		printf("%s  %s\n", shown, state_of(v, &v->st.ports[i], &p));
	}
	if (v->st.nports == 0)
		printf("No ports are published.\n");
	for (unsigned port = 1; port <= UINT16_MAX; port++) {
		if (!listens(v, port) || is_published(v, port))
			continue;
		if (!head)
			printf("Listening in the sandbox, not published:\n");
		head = true;
		printf("%u  paddock ports %s --publish %u:%u\n", port, v->s.name,
			port < 1024 ? port + 8000 : port, port);
	}
}

static json_t *
port_json(const struct view *v, const struct control_port *c)
{
	char addr[INET6_ADDRSTRLEN];
	struct port p;

	if (!parse(c, &p))
		return NULL;
	inet_ntop(p.family, &p.addr, addr, sizeof(addr));
	return json_pack("{s:s,s:i,s:i,s:s,s:b,s:b,s:s}", "host_ip", addr, "host_port", p.host,
		"sandbox_port", p.guest, "protocol", p.family == AF_INET ? "tcp4" : "tcp6", "open",
		c->listening[0] != '\0', "listens", listens(v, p.guest), "error", c->error);
}

static void
print_json(const struct view *v)
{
	json_t *ports = json_array(), *others = json_array(), *o;

	for (size_t i = 0; i < v->st.nports; i++)
		json_array_append_new(ports, port_json(v, &v->st.ports[i]));
	for (unsigned port = 1; port <= UINT16_MAX; port++)
		if (listens(v, port) && !is_published(v, port))
			json_array_append_new(others, json_integer(port));
	o = json_pack("{s:o,s:o}", "ports", ports, "listening", others);
	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
}

/* Every word is looked at before the sandbox is started for them. */
static int
read_change(const struct args *a, struct control_ports *ret, struct err *e)
{
	struct port p[2];
	size_t n;
	int r = 0;

	args_all(a, "publish", &ret->publish);
	args_all(a, "unpublish", &ret->unpublish);
	for (size_t i = 0; i < ret->publish.n && r == 0; i++)
		r = port_parse(ret->publish.v[i], p, &n, e);
	for (size_t i = 0; i < ret->unpublish.n && r == 0; i++)
		r = port_parse(ret->unpublish.v[i], p, &n, e);
	return r;
}

static int
change(struct cli *c, const char *name, const struct control_ports *p, struct err *e)
{
	struct ui u;
	int r;

	if (p->publish.n + p->unpublish.n == 0)
		return 0;
	ui_init(&u, c);
	r = make_started(c, name, &u, e);
	return r == 0 ? supervisor_ports(&c->paths, name, p, e) : r;
}

static int
ports_exec(struct cli *c, const struct args *a, struct err *e)
{
	struct control_ports p = {0};
	struct view v = {0};
	int r;

	if (a->nwords != 1)
		return usage_error(
			e, "write: paddock ports SANDBOX [--publish PORT] [--unpublish PORT]");
	r = read_change(a, &p, e);
	if (r == 0)
		r = sandbox_name_check(a->words[0], e);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = sandbox_load(&c->paths, a->words[0], &v.s, e);
	sandbox_release(&v.s);
	if (r == 0)
		r = change(c, a->words[0], &p, e);
	if (r == 0)
		r = view_load(c, a->words[0], &v, e);
	if (r == 0 && args_has(a, "json"))
		print_json(&v);
	else if (r == 0)
		print_text(&v);
	control_ports_release(&p);
	view_release(&v);
	return r;
}

static const struct option_def ports_options[] = {
	{"publish", 'p', "PORT", "[[HOST_IP:]HOST_PORT:]SANDBOX_PORT[/tcp|tcp4|tcp6]"},
	{"unpublish", 0, "PORT", "the same, or SANDBOX_PORT alone for every publication of it"},
	{"json", 0, NULL, "as JSON"},
	{0},
};

const struct verb verb_ports = {.name = "ports",
	.summary = "Show, publish and unpublish a sandbox's ports",
	.usage = "[OPTIONS] SANDBOX",
	.details =
		"A published port of the host leads to the sandbox's own 127.0.0.1 (or ::1). "
		"Without "
		"HOST_IP it listens on the host's loopback only (tcp4; tcp: on both 127.0.0.1 and "
		"::1), without HOST_PORT on a free port. Publications stay with the sandbox; a "
		"free "
		"port may be another one after each start.",
	.options = ports_options,
	.exec = ports_exec};
