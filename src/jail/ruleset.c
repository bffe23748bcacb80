/*
 * The guest's way out, as nft(8) text. In the order in which a packet meets it:
 *
 * guard (before connection tracking): only frames with the guest's MAC and IPv4 address go on. TCP
 *   and DNS pass, both limited in rate so that a flood can fill neither the host's memory nor its
 * connection tracking table. The rest is answered at once with the ICMP error that makes programs
 * give up (RFC 792, RFC 1812 5.2.7.1): nothing in the guest waits for a time-out; but UDP to a port
 * that is open goes to the net role as it is. refused: of what is refused the beginning is told,
 * the first of each kind in a channel that no flood of another kind can fill. redirect: every TCP
 * connection and every DNS query becomes one to the net role's sockets. strays: what connection
 * tracking refused to redirect (a TCP segment of no connection) is reset. input: the net role's
 * ports and ping, nothing else. forward: nothing, whatever ip_forward says.
 *
 * Other EtherTypes (VLAN tags, IPv6, LLDP, ...) have nobody who listens. `fwd` is an nft keyword
 * and may name no chain. reject in prerouting needs Linux 5.9, nat in inet 5.2.
 */
#include <jail/jail.h>

#include "nflog.h"
#include "tap.h"

#define TCP_NEW_PER_SECOND 2000
#define TCP_NEW_BURST      4000
#define TCP_OPEN_MAX       8192
#define DNS_PER_SECOND     2000
#define DNS_BURST          2000
/* Of one kind of refused packet: so many in the channel of the first ones. */
#define REFUSED_PER_SECOND 5
#define REFUSED_BURST      10
#define REFUSED_KINDS      4096
#define REFUSED_BYTES      64 /* two headers, with some options */

static void
put_guard(struct buf *out)
{
	buf_append_str(out, "	chain guard {\n"
			    "		type filter hook prerouting priority raw; policy drop;\n"
			    "		iifname != \"" JAIL_TAP "\" drop\n"
			    "		meta nfproto != ipv4 drop\n"
			    "		ether saddr != " JAIL_GUEST_MAC " drop\n"
			    "		ip saddr != " JAIL_GUEST " drop\n");
	buf_printf(out,
		"		tcp flags & (syn | ack) == syn "
		"limit rate over %d/second burst %d packets drop\n"
		"		meta l4proto tcp accept\n"
		"		udp dport %d limit rate over %d/second burst %d packets drop\n"
		"		udp dport %d accept\n",
		TCP_NEW_PER_SECOND, TCP_NEW_BURST, JAIL_DNS_PORT, DNS_PER_SECOND, DNS_BURST,
		JAIL_DNS_PORT);
	buf_printf(out,
		"		ip daddr " JAIL_GATEWAY " icmp type echo-request accept\n"
		"		udp dport @udp_open log group %d queue-threshold 1 drop\n"
		"		jump refused\n"
		"		meta l4proto udp reject with icmp type port-unreachable\n"
		"		icmp type echo-request reject with icmp type admin-prohibited\n"
		"		meta l4proto icmp drop\n"
		"		reject with icmp type prot-unreachable\n"
		"	}\n",
		JAIL_NFLOG_UDP);
}

static void
put_refused(struct buf *out)
{
	buf_printf(out,
		"	set refused_udp {\n"
		"		type ipv4_addr . inet_service; size %d; flags dynamic,timeout; "
		"timeout 10s\n"
		"	}\n"
		"	set refused_other {\n"
		"		type ipv4_addr . inet_proto; size %d; flags dynamic,timeout; "
		"timeout 10s\n"
		"	}\n"
		"	chain refused {\n"
		"		meta l4proto udp update @refused_udp { ip daddr . udp dport limit "
		"rate "
		"%d/second burst %d packets } "
		"log group %d snaplen %d queue-threshold 1 return\n"
		"		meta l4proto != udp update @refused_other { ip daddr . meta "
		"l4proto "
		"limit rate %d/second burst %d packets } "
		"log group %d snaplen %d queue-threshold 1 return\n"
		"		log group %d snaplen %d queue-threshold 1\n"
		"	}\n",
		REFUSED_KINDS, REFUSED_KINDS, REFUSED_PER_SECOND, REFUSED_BURST, JAIL_NFLOG_REFUSED,
		REFUSED_BYTES, REFUSED_PER_SECOND, REFUSED_BURST, JAIL_NFLOG_REFUSED, REFUSED_BYTES,
		JAIL_NFLOG_FLOOD, REFUSED_BYTES);
}

static void
put_redirect(struct buf *out)
{
	buf_printf(out,
		"	chain redirect_all {\n"
		"		type nat hook prerouting priority dstnat; policy accept;\n"
		"		iifname \"" JAIL_TAP "\" meta l4proto tcp redirect to :%d\n"
		"		iifname \"" JAIL_TAP "\" udp dport %d redirect to :%d\n"
		"	}\n"
		"	chain strays {\n"
		"		type filter hook prerouting priority filter; policy accept;\n"
		"		iifname \"" JAIL_TAP
		"\" ct state new meta l4proto tcp ct count over %d "
		"reject with tcp reset\n"
		"		iifname \"" JAIL_TAP "\" ip daddr != " JAIL_GATEWAY
		" meta l4proto tcp reject with tcp reset\n"
		"		iifname \"" JAIL_TAP "\" ip daddr != " JAIL_GATEWAY " drop\n"
		"	}\n",
		JAIL_TCP_PORT, JAIL_DNS_PORT, JAIL_DNS_PORT, TCP_OPEN_MAX);
}

static void
put_local(struct buf *out)
{
	buf_printf(out,
		"	chain input {\n"
		"		type filter hook input priority filter; policy drop;\n"
		"		tcp dport %d accept\n"
		"		udp dport %d accept\n"
		"		icmp type echo-request accept\n"
		"	}\n"
		"	chain forward_none {\n"
		"		type filter hook forward priority filter; policy drop;\n"
		"	}\n",
		JAIL_TCP_PORT, JAIL_DNS_PORT);
}

void
jail_net_ruleset(struct buf *out)
{
	buf_append_str(out, "table inet paddock {\n"
			    "	set udp_open {\n"
			    "		type inet_service\n"
			    "	}\n");
	put_refused(out);
	put_guard(out);
	put_redirect(out);
	put_local(out);
	buf_append_str(out, "}\n"
			    "table arp paddock {\n"
			    "	chain input {\n"
			    "		type filter hook input priority filter; policy drop;\n"
			    "		iifname \"" JAIL_TAP "\" arp saddr ether " JAIL_GUEST_MAC
			    " arp saddr ip " JAIL_GUEST " accept\n"
			    "	}\n"
			    "}\n");
}
