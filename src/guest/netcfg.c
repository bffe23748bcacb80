/* netdevice(7) */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/mem.h>
#include <base/str.h>

#include "devices.h"
#include "netcfg.h"
#include "textblock.h"

#define DEVICE_LIMIT_MS 20000

int
netcfg_parse(const char *address, const char *gateway, struct netcfg *ret)
{
	CLEAN_FREE char *host = xstrdup(address);
	char *slash = strchr(host, '/');
	struct in_addr a, g;
	uint64_t prefix;

	if (slash == NULL || str_to_u64(slash + 1, 1, 32, &prefix) < 0)
		return -EINVAL;
	*slash = '\0';
	if (inet_pton(AF_INET, host, &a) != 1 || inet_pton(AF_INET, gateway, &g) != 1)
		return -EINVAL;
	*ret = (struct netcfg){
		.address = a.s_addr, .netmask = htonl(~0u << (32 - prefix)), .gateway = g.s_addr};
	return 0;
}

static struct sockaddr
ipv4(uint32_t address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = address};
	struct sockaddr sa;

	memcpy(&sa, &in, sizeof(sa));
	return sa;
}

struct wanted_device {
	int sock;
	char name[IFNAMSIZ];
};

static bool
find_device(void *arg)
{
	struct wanted_device *w = arg;
	CLEAN_CLOSEDIR DIR *d = opendir("/sys/class/net");
	struct dirent *de;

	while (d != NULL && (de = readdir(d)) != NULL) {
		struct ifreq q = {0};
		size_t n = strlen(de->d_name);

		if (de->d_name[0] == '.' || n >= sizeof(q.ifr_name))
			continue;
		memcpy(q.ifr_name, de->d_name, n);
		/* Only hardware: Docker's bridges are Ethernet as well, but not there yet. */
		if (ioctl(w->sock, SIOCGIFHWADDR, &q) < 0 || q.ifr_hwaddr.sa_family != ARPHRD_ETHER)
			continue;
		memcpy(w->name, q.ifr_name, sizeof(w->name));
		return true;
	}
	return false;
}

/* IPv6 leads nowhere here; switched off, nobody waits for a router's answer. */
static void
switch_off_ipv6(const char *name)
{
	CLEAN_FREE char *path = xasprintf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1", 1) < 0)
		return;
}

static int
configure(int sock, const char *name, const struct netcfg *c, struct err *e)
{
	struct ifreq q = {0};
	struct rtentry route = {.rt_dst = ipv4(0),
		.rt_genmask = ipv4(0),
		.rt_gateway = ipv4(c->gateway),
		.rt_flags = RTF_UP | RTF_GATEWAY};

	snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", name);
	q.ifr_addr = ipv4(c->address);
	if (ioctl(sock, SIOCSIFADDR, &q) < 0)
		return err_sys(e, errno, "network: address of %s", name);
	q.ifr_netmask = ipv4(c->netmask);
	if (ioctl(sock, SIOCSIFNETMASK, &q) < 0)
		return err_sys(e, errno, "network: netmask of %s", name);
	q.ifr_flags = IFF_UP | IFF_RUNNING | IFF_BROADCAST | IFF_MULTICAST;
	if (ioctl(sock, SIOCSIFFLAGS, &q) < 0)
		return err_sys(e, errno, "network: bring %s up", name);
	if (ioctl(sock, SIOCADDRT, &route) < 0 && errno != EEXIST)
		return err_sys(e, errno, "network: default route");
	return 0;
}

int
netcfg_apply(struct devices *d, const struct netcfg *c, struct err *e)
{
	CLEAN_CLOSE int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct wanted_device w = {.sock = sock};
	int r;

	if (sock < 0)
		return err_sys(e, errno, "network: socket");
	r = devices_await(
		d, find_device, &w, "the network device", deadline_in_ms(DEVICE_LIMIT_MS), e);
	if (r < 0)
		return r;
	switch_off_ipv6(w.name);
	return configure(sock, w.name, c, e);
}

int
netcfg_write_resolv(const struct netcfg *c, struct err *e)
{
	char text[64], gateway[INET_ADDRSTRLEN];
	int n;

	inet_ntop(AF_INET, &c->gateway, gateway, sizeof(gateway));
	n = snprintf(text, sizeof(text), "nameserver %s\n", gateway);
	return text_write("/etc/resolv.conf", text, (size_t)n, 0644, e);
}
