/*
 * tun/tap: Documentation/networking/tuntap.rst; addresses by ioctl, netdevice(7), arp(7).
 *
 * No route leads anywhere but to the guest. None is needed for what the guest sends to the world:
 * nftables redirects it to the TAP's own address before the kernel looks for a route, and sends
 * the rest back with an error. With ip_forward off nothing else is possible. lo stays down: QEMU,
 * should it be taken over, does not reach even the listeners by itself.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ether.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <jail/jail.h>

#include "jail_explain.h"
#include "tap.h"

static void
name_interface(char out[IFNAMSIZ], const char *name)
{
	memset(out, 0, IFNAMSIZ);
	strncpy(out, name, IFNAMSIZ - 1);
}

static int
open_tap(struct err *e)
{
	CLEAN_CLOSE int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	struct jail_facts f;

	if (fd < 0) {
		int code = errno;

		jail_facts_read(&f);
		return jail_explain_tun(code, &f, e);
	}
	name_interface(ifr.ifr_name, JAIL_TAP);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		int code = errno;

		jail_facts_read(&f);
		return jail_explain(code, "make the TAP device", &f, e);
	}
	return TAKE_FD(fd);
}

struct setting {
	const char *path;
	const char *value;
};

/*
 * A new namespace inherits the host's IPv4 settings (core.devconf_inherit_init_net), a router's
 * ip_forward among them. nftables guards what matters for safety by itself, so that a read-only
 * /proc/sys (Docker) or a kernel without IPv6 does no harm here.
 */
static const struct setting settings[] = {
	{"/proc/sys/net/ipv4/ip_forward", "0"},
	{"/proc/sys/net/ipv4/conf/all/log_martians", "0"},
	{"/proc/sys/net/ipv4/conf/" JAIL_TAP "/log_martians", "0"},
	{"/proc/sys/net/ipv4/conf/" JAIL_TAP "/proxy_arp", "0"},
	{"/proc/sys/net/ipv4/conf/" JAIL_TAP "/route_localnet", "0"},
	{"/proc/sys/net/ipv4/conf/" JAIL_TAP "/rp_filter", "1"},
	/* Every error at once: the kernel's limit of one a second would make the sandbox's seventh
	 * QUIC attempt hang, and its global limit is shared with the host and all other sandboxes.
	 */
	{"/proc/sys/net/ipv4/icmp_ratemask", "0"},
	{"/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"},
	{"/proc/sys/net/ipv6/conf/" JAIL_TAP "/disable_ipv6", "1"},
};

static int
apply_settings(struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		const struct setting *s = &settings[i];
		CLEAN_CLOSE int fd = open(s->path, O_WRONLY | O_CLOEXEC);

		if (fd >= 0 && write(fd, s->value, strlen(s->value)) >= 0)
			continue;
		if (errno != ENOENT && errno != EROFS && errno != EACCES && errno != EPERM)
			return err_sys(e, errno, "write '%s'", s->path);
	}
	return 0;
}

static int
request(int sock, unsigned long what, void *arg, const char *name, struct err *e)
{
	return ioctl(sock, what, arg) < 0 ? err_sys(e, errno, "%s of the sandbox's TAP", name) : 0;
}

static void
put_address(struct sockaddr *sa, in_addr_t a)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = a};

	memcpy(sa, &in, sizeof(in));
}

static int
set_mac(int sock, struct err *e)
{
	struct ifreq ifr = {.ifr_hwaddr.sa_family = ARPHRD_ETHER};

	name_interface(ifr.ifr_name, JAIL_TAP);
	ether_aton_r(JAIL_GATEWAY_MAC, (struct ether_addr *)ifr.ifr_hwaddr.sa_data);
	return request(sock, SIOCSIFHWADDR, &ifr, "the MAC address", e);
}

static int
set_addresses(int sock, struct err *e)
{
	struct ifreq ifr = {0};
	int r;

	name_interface(ifr.ifr_name, JAIL_TAP);
	put_address(&ifr.ifr_addr, inet_addr(JAIL_GATEWAY));
	r = request(sock, SIOCSIFADDR, &ifr, "the address", e);
	if (r < 0)
		return r;
	put_address(&ifr.ifr_netmask, htonl(~0U << (32 - JAIL_PREFIX)));
	return request(sock, SIOCSIFNETMASK, &ifr, "the netmask", e);
}

static int
set_up(int sock, struct err *e)
{
	struct ifreq ifr = {0};

	name_interface(ifr.ifr_name, JAIL_TAP);
	if (ioctl(sock, SIOCGIFFLAGS, &ifr) == 0) {
		ifr.ifr_flags |= IFF_UP | IFF_RUNNING;
		if (ioctl(sock, SIOCSIFFLAGS, &ifr) == 0)
			return 0;
	}
	return err_sys(e, errno, "switch on the sandbox's TAP");
}

/* The guest's address never moves: no ARP needed, nothing to poison. */
static int
pin_guest(int sock, struct err *e)
{
	struct arpreq a = {.arp_ha.sa_family = ARPHRD_ETHER, .arp_flags = ATF_PERM | ATF_COM};

	put_address(&a.arp_pa, inet_addr(JAIL_GUEST));
	ether_aton_r(JAIL_GUEST_MAC, (struct ether_addr *)a.arp_ha.sa_data);
	name_interface(a.arp_dev, JAIL_TAP);
	return request(sock, SIOCSARP, &a, "the guest's ARP entry", e);
}

int
tap_setup(struct err *e)
{
	CLEAN_CLOSE int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CLEAN_CLOSE int tap = -1;
	int r;

	if (sock < 0)
		return err_sys(e, errno, "socket");
	tap = open_tap(e);
	if (tap < 0)
		return tap;
	r = apply_settings(e);
	if (r == 0)
		r = set_mac(sock, e);
	if (r == 0)
		r = set_addresses(sock, e);
	if (r == 0)
		r = set_up(sock, e);
	if (r == 0)
		r = pin_guest(sock, e);
	return r < 0 ? r : TAKE_FD(tap);
}
