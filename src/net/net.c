#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <wire/sign.h>

#include "dial.h"
#include "farewell.h"
#include "gate.h"
#include "intercept.h"
#include "server.h"
#include "sock.h"

static void
on_resolver_lost(void *arg)
{
	struct net *net = arg;

	net->lost = "resolver";
	uv_stop(&net->loop);
}

static void
on_signer_lost(void *arg)
{
	struct net *net = arg;

	net->lost = "signer";
	uv_stop(&net->loop);
}

/* Without a signer nothing is intercepted: what would need it is refused. */
static int
make_tls(struct net *net, struct err *e)
{
	uint8_t key[SIGN_KEY_MAX];
	size_t n;

	if (net->o->signer_fd <= 0)
		return 0;
	net->tls = tls_new(net->o->trust);
	n = net->tls != NULL ? tls_public_key(net->tls, key, sizeof(key)) : 0;
	if (n > 0)
		net->leaves =
			leaves_new(&net->loop, net->o->signer_fd, key, n, on_signer_lost, net);
	return net->leaves != NULL ? 0 : err_set(e, EIO, "net: TLS cannot be set up");
}

/* Packets that are no connections of ours. */
static int
watch_packets(struct net *net, struct err *e)
{
	const struct net_options *o = net->o;

	net->udp_in = watch_new(&net->loop, o->udp_fd, udp_on_readable, net);
	net->refused = watch_new(&net->loop, o->refused_fd, refused_on_readable, net);
	net->flood = watch_new(&net->loop, o->flood_fd, flood_on_readable, net);
	if (net->udp_in == NULL || net->refused == NULL || net->flood == NULL)
		return err_set(e, EINVAL, "net: a netlink socket cannot be watched");
	nflog_init(&net->udp.nflog, o->udp_fd);
	nflog_init(&net->nflog_refused, o->refused_fd);
	nflog_init(&net->nflog_flood, o->flood_fd);
	watch_events(net->udp_in, UV_READABLE);
	watch_events(net->refused, UV_READABLE);
	watch_events(net->flood, UV_READABLE);
	return 0;
}

static int
watch_all(struct net *net, struct err *e)
{
	const struct net_options *o = net->o;

	sock_tune(o->tcp_fd); /* what is accepted has it from here (tcp(7)) */
	net->listener = watch_new(&net->loop, o->tcp_fd, listener_on_readable, net);
	net->dns = watch_new(&net->loop, o->dns_fd, dns_udp_on_readable, net);
	net->control = watch_new(&net->loop, o->control_fd, control_on_readable, net);
	net->resolve = resolve_new(
		&net->loop, o->resolver_fd, net->hooks.resolve_limit_ms, on_resolver_lost, net);
	if (net->listener == NULL || net->dns == NULL || net->control == NULL ||
		net->resolve == NULL)
		return err_set(e, EINVAL, "net: a descriptor cannot be watched");
	watch_events(net->listener, UV_READABLE);
	watch_events(net->dns, UV_READABLE);
	watch_events(net->control, UV_READABLE);
	return o->udp_fd > 0 ? watch_packets(net, e) : 0;
}

static void
close_all(struct net *net)
{
	struct conn *c;
	struct dns_tcp *d;

	while ((c = LIST_FIRST(&net->conns)) != NULL)
		conn_abort(c);
	while ((d = LIST_FIRST(&net->dns_tcps)) != NULL)
		dns_tcp_close(d);
	udp_close_all(net);
	events_free(net->events);
	farewell_close_all(net);
	watch_free(net->listener);
	watch_free(net->dns);
	watch_free(net->control);
	watch_free(net->udp_in);
	watch_free(net->refused);
	watch_free(net->flood);
	resolve_free(net->resolve);
	leaves_free(net->leaves);
	tls_free(net->tls);
	/* Nothing but handles that are closing is left: this ends by itself. */
	uv_run(&net->loop, UV_RUN_DEFAULT);
	pipes_release(&net->pipes);
	cred_gate_free(net->creds);
	names_free(net->names);
	if (net->spare_fd >= 0)
		close(net->spare_fd);
}

static size_t
conns_max(void)
{
	struct rlimit l = {.rlim_cur = 1024};
	size_t n;

	(void)getrlimit(RLIMIT_NOFILE, &l);
	if (l.rlim_cur <= NET_FDS_OTHER + NET_FDS_PER_CONN)
		return 1;
	n = (size_t)((l.rlim_cur - NET_FDS_OTHER) / NET_FDS_PER_CONN);
	return n < NET_CONNS_MAX ? n : NET_CONNS_MAX;
}

/*
 * Of the questions that a resolver asks for one name at once, the one for A stands for all of them;
 * the others are told where they were refused, or are out of the ordinary.
 */
static void
on_asked(void *arg, const struct dns_query *q, enum dns_rcode rcode)
{
	enum { TYPE_SVCB = 64, TYPE_HTTPS = 65 };
	struct net *net = arg;
	struct netevent ev = {.kind = NETEVENT_DNS, .via = NETEVENT_TRANSPARENT};
	char text[64];

	if (q->name[0] == '\0' || q->qtype == DNS_TYPE_AAAA || q->qtype == TYPE_SVCB ||
		q->qtype == TYPE_HTTPS)
		return;
	ev.verdict = rcode == DNS_NOERROR ? NETEVENT_ALLOWED : NETEVENT_BLOCKED;
	netevent_set_text(ev.host, sizeof(ev.host), q->name, strlen(q->name));
	snprintf(text, sizeof(text), rcode == DNS_NOERROR ? "answered here" : "rcode %u", rcode);
	netevent_set_text(ev.reason, sizeof(ev.reason), text, strlen(text));
	events_one(net->events, &ev);
}

static void
net_init(struct net *net, const struct net_options *o, const struct net_hooks *hooks)
{
	*net = (struct net){.o = o, .hooks = *hooks};
	net->overrides = (struct overrides){.v = o->overrides, .n = o->noverrides};
	if (net->hooks.resolve_limit_ms == 0)
		net->hooks.resolve_limit_ms = RESOLVE_LIMIT_MS;
	if (net->hooks.dial_limit_ms == 0)
		net->hooks.dial_limit_ms = DIAL_LIMIT_MS;
	if (net->hooks.dns_idle_ms == 0)
		net->hooks.dns_idle_ms = NET_DNS_IDLE_MS;
	if (net->hooks.head_limit_ms == 0)
		net->hooks.head_limit_ms = NET_HEAD_LIMIT_MS;
	if (net->hooks.request_idle_ms == 0)
		net->hooks.request_idle_ms = NET_REQUEST_IDLE_MS;
	if (net->hooks.conns_max == 0)
		net->hooks.conns_max = conns_max();
	if (net->hooks.intercepts_max == 0)
		net->hooks.intercepts_max = INTERCEPTS_MAX;
	net->names = names_new(NET_FAKE_FIRST, NET_FAKE_LAST, NAMES_CAPACITY, NAMES_HOLD_MS);
	net->responder = (struct responder){.names = net->names,
		.overrides = &net->overrides,
		.policy = o->policy,
		.gateway = NET_GATEWAY,
		.asked = on_asked,
		.arg = net};
	if (net->hooks.look_limit_ms == 0)
		net->hooks.look_limit_ms = LOOK_LIMIT_MS;
	if (net->hooks.gate_limit_ms == 0)
		net->hooks.gate_limit_ms = GATE_LIMIT_MS;
	if (net->hooks.gate_brief_ms == 0)
		net->hooks.gate_brief_ms = GATE_BRIEF_MS;
	if (net->hooks.udp_idle_ms == 0)
		net->hooks.udp_idle_ms = UDP_IDLE_MS;
	if (net->hooks.udp_unanswered_ms == 0)
		net->hooks.udp_unanswered_ms = UDP_UNANSWERED_MS;
	if (net->hooks.udp_flows_max == 0)
		net->hooks.udp_flows_max = UDP_FLOWS_MAX;
	udp_init(&net->udp);
	net->spare_fd = eventfd(0, EFD_CLOEXEC);
	net->sandbox = o->sandbox != NULL ? o->sandbox : "NAME";
	LIST_INIT(&net->conns);
	LIST_INIT(&net->farewells);
	LIST_INIT(&net->dns_tcps);
}

int
net_serve_with(const struct net_options *o, const struct net_hooks *hooks, struct err *e)
{
	struct net net;
	int r;

	/* splice(2) into a closed socket raises it, and knows no MSG_NOSIGNAL. */
	signal(SIGPIPE, SIG_IGN);
	net_init(&net, o, hooks);
	r = uv_loop_init(&net.loop);
	if (r < 0) {
		names_free(net.names);
		if (net.spare_fd >= 0)
			close(net.spare_fd);
		return err_sys(e, -r, "net: event loop");
	}
	net.events = events_new(&net.loop, o->events_fd);
	r = watch_all(&net, e);
	if (r == 0)
		r = make_tls(&net, e);
	if (r == 0) {
		log_debug("serving, at most %zu connections", net.hooks.conns_max);
		uv_run(&net.loop, UV_RUN_DEFAULT);
		if (net.lost != NULL)
			r = err_set(e, EPIPE, "net: the %s has ended", net.lost);
		if (net.failed.code != 0)
			r = err_set(e, net.failed.code, "net: %s", net.failed.msg);
	}
	close_all(&net);
	uv_loop_close(&net.loop);
	return r;
}

int
net_serve(const struct net_options *o, struct err *e)
{
	const struct net_hooks hooks = {0};

	return net_serve_with(o, &hooks, e);
}
