/*
 * How this works: a short-lived child enters the jail's user and network namespaces, makes the TAP,
 * loads the ruleset (before the TAP's descriptor exists for anybody who could send through it),
 * opens the net role's sockets and passes the descriptors up. The namespace lives by jail.net_ns.
 */
#include <errno.h>
#include <netinet/in.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/str.h>
#include <jail/jail.h>

#include "helper.h"
#include "nflog.h"
#include "tap.h"

#define SETUP_LIMIT_MS 20000
#define OPEN_LIMIT_MS  5000
#define TCP_BACKLOG    1024

static void
free_nft(struct nft_ctx **n)
{
	if (*n != NULL)
		nft_ctx_free(*n);
}

static int
run_nft(struct buf *text, struct err *e)
{
	CLEANUP(free_nft) struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	const char *said;
	char line[80];

	if (nft == NULL || nft_ctx_buffer_error(nft) != 0 || nft_ctx_buffer_output(nft) != 0)
		return err_set(e, ENOMEM, "libnftables");
	if (nft_run_cmd_from_buffer(nft, buf_str(text)) == 0)
		return 0;
	/* "internal:0:0-0: Error: Could not process rule: No such file or directory", then the
	 * rule. */
	said = nft_ctx_get_error_buffer(nft);
	if (said == NULL || said[0] == '\0')
		said = "no reason given";
	str_escape(said, strcspn(said, "\n"), line, sizeof(line));
	return err_set(e, EIO,
		"nftables refused the sandbox's ruleset (%s). Its modules may be missing: sudo "
		"modprobe -a "
		"nft_redir nft_ct nft_limit nft_connlimit nft_reject_inet nft_log nfnetlink_log",
		line);
}

static int
load_ruleset(struct err *e)
{
	CLEAN_BUF struct buf text = BUF_INIT;

	jail_net_ruleset(&text);
	return run_nft(&text, e);
}

static int
listen_on(int type, uint16_t port, struct err *e)
{
	CLEAN_CLOSE int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
		bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
		(type == SOCK_STREAM && listen(fd, TCP_BACKLOG) < 0))
		return err_sys(e, errno, "listen on the sandbox's port %d", port);
	return TAKE_FD(fd);
}

/* CAP_NET_RAW is asked for now, never later. Nothing is received on it (raw(7)). */
static int
open_raw(struct err *e)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);

	return fd < 0 ? err_sys(e, errno, "a raw socket in the sandbox") : fd;
}

enum { TAP, TCP, DNS, UDP, REFUSED, FLOOD, RAW, NFDS };

static int
setup(void *arg, int fds[HELPER_FDS_MAX], struct err *e)
{
	int r = jail_enter(arg, JAIL_NET, e);

	if (r == 0)
		r = load_ruleset(e);
	if (r == 0)
		r = fds[TAP] = tap_setup(e);
	if (r >= 0)
		r = fds[TCP] = listen_on(SOCK_STREAM, JAIL_TCP_PORT, e);
	if (r >= 0)
		r = fds[DNS] = listen_on(SOCK_DGRAM, JAIL_DNS_PORT, e);
	if (r >= 0)
		r = fds[UDP] = nflog_open(JAIL_NFLOG_UDP, e);
	if (r >= 0)
		r = fds[REFUSED] = nflog_open(JAIL_NFLOG_REFUSED, e);
	if (r >= 0)
		r = fds[FLOOD] = nflog_open(JAIL_NFLOG_FLOOD, e);
	if (r >= 0)
		r = fds[RAW] = open_raw(e);
	return r < 0 ? r : 0;
}

int
jail_net_setup(const struct jail *j, struct jail_net *ret, struct err *e)
{
	CLEAN_HELPER struct helper h = HELPER_INIT;
	int fds[NFDS];
	int r = helper_start(&h, setup, (void *)j, e);

	if (r == 0)
		r = helper_result(&h, fds, NFDS, deadline_in_ms(SETUP_LIMIT_MS), e);
	if (r < 0)
		return err_prefix(e, "jail: network");
	*ret = (struct jail_net){.tap_fd = fds[TAP],
		.tcp_fd = fds[TCP],
		.dns_fd = fds[DNS],
		.udp_fd = fds[UDP],
		.refused_fd = fds[REFUSED],
		.flood_fd = fds[FLOOD],
		.raw_fd = fds[RAW]};
	return 0;
}

struct opening {
	const struct jail *jail;
	const uint16_t *ports;
	size_t n;
};

static int
open_ports(void *arg, int fds[HELPER_FDS_MAX], struct err *e)
{
	const struct opening *o = arg;
	CLEAN_BUF struct buf text = BUF_INIT;
	int r = jail_enter(o->jail, JAIL_NET, e);

	(void)fds;
	buf_append_str(&text, "flush set inet paddock udp_open\n");
	for (size_t i = 0; i < o->n; i++)
		buf_printf(&text, "add element inet paddock udp_open { %u }\n", o->ports[i]);
	return r == 0 ? run_nft(&text, e) : r;
}

int
jail_net_open_udp(const struct jail *j, const uint16_t *ports, size_t n, struct err *e)
{
	CLEAN_HELPER struct helper h = HELPER_INIT;
	struct opening o = {j, ports, n};
	int r = helper_start(&h, open_ports, &o, e);

	if (r == 0)
		r = helper_result(&h, NULL, 0, deadline_in_ms(OPEN_LIMIT_MS), e);
	return r < 0 ? err_prefix(e, "jail: open UDP ports") : 0;
}
