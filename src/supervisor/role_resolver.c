#include <jail/jail.h>
#include <net/net.h>
#include <sys/stat.h>

#include "roles.h"

/*
 * The host's own resolver, whatever it is configured to be (NSS): it needs the configuration, the
 * libraries that it loads and the sockets of the local services that answer names, and sees nothing
 * else of the host: no bus, no container engine, no home.
 */
static const char *const folders[] = {"/etc", "/usr", "/lib", "/lib64", "/lib32", "/nix/store",
	"/gnu/store", "/run/systemd/resolve", "/run/nscd", "/run/avahi-daemon", "/run/resolvconf",
	"/run/NetworkManager"};

int
role_resolver_main(const struct role_config *c, struct err *e)
{
	struct jail_confine plan = {.no_fork = true, .nofile = 4096, .syscalls = JAIL_SYSCALLS_ALL};
	struct stat st;
	int r;

	(void)c;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		if (stat(folders[i], &st) < 0)
			continue;
		jail_confine_add(&plan, JAIL_BIND, folders[i], folders[i], true)->exec = true;
	}
	jail_confine_add(&plan, JAIL_SYMLINK, "../run", "/var/run", false);
	r = jail_confine(&plan, e);
	jail_confine_release(&plan);
	return r < 0 ? r : net_resolver_serve(ROLE_FD_RESOLVER_SOCKET, e);
}
