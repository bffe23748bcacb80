/* What can be decided without a kernel: the plan's text, the ruleset's text, the words of errors.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <jail/jail.h>
#include <jail_explain.h>

static void
test_print(void **state)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct jail_confine c = {.new_net = true,
		.no_fork = true,
		.keep_dac = true,
		.nofile = 4096,
		.syscalls = JAIL_SYSCALLS_FS};

	(void)state;
	jail_confine_add(&c, JAIL_BIND, "/home/u/p", "/home/u/p", false)->resolved = true;
	jail_confine_add(&c, JAIL_BIND, "/home/u/\x1b[2Jro", "/home/u/\x1b[2Jro", true);
	jail_confine_add(&c, JAIL_BIND, "/usr", "/usr", true)->exec = true;
	jail_confine_add(&c, JAIL_BIND, "/dev/null", "/dev/null", false)->dev = true;
	jail_confine_add(&c, JAIL_TMPFS, NULL, "/tmp", false);
	jail_confine_add(&c, JAIL_SYMLINK, "usr/lib", "/lib", false);
	jail_confine_print(&c, &b);
	assert_string_equal(buf_str(&b),
		"bind /home/u/p from /home/u/p rw,nosuid,nodev,noexec,resolved\n"
		"bind /home/u/\\x1b[2Jro from /home/u/\\x1b[2Jro ro,nosuid,nodev,noexec\n"
		"bind /usr from /usr ro,nosuid,nodev\n"
		"bind /dev/null from /dev/null rw,nosuid,noexec\n"
		"tmpfs /tmp ro,nosuid,nodev,noexec\n"
		"symlink /lib to usr/lib\n"
		"network none\n"
		"capabilities dac_override fowner chown\n"
		"fork no\n"
		"nofile 4096\n"
		"syscalls fs\n");
	jail_confine_release(&c);
	assert_null(c.mounts);
	buf_clear(&b);
	jail_confine_print(&c, &b);
	assert_string_equal(buf_str(&b),
		"network as it is\ncapabilities none\nfork by profile\nsyscalls all\n");
}

static void
test_ruleset(void **state)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	(void)state;
	jail_net_ruleset(&b);
	assert_string_equal(buf_str(&b),
		"table inet paddock {\n"
		"	set udp_open {\n"
		"		type inet_service\n"
		"	}\n"
		"	set refused_udp {\n"
		"		type ipv4_addr . inet_service; size 4096; flags dynamic,timeout; "
		"timeout 10s\n"
		"	}\n"
		"	set refused_other {\n"
		"		type ipv4_addr . inet_proto; size 4096; flags dynamic,timeout; "
		"timeout 10s\n"
		"	}\n"
		"	chain refused {\n"
		"		meta l4proto udp update @refused_udp { ip daddr . udp dport limit "
		"rate 5/second burst 10 packets } log group 2 snaplen 64 queue-threshold 1 "
		"return\n"
		"		meta l4proto != udp update @refused_other { ip daddr . meta "
		"l4proto "
		"limit rate 5/second burst 10 packets } log group 2 snaplen 64 "
		"queue-threshold 1 return\n"
		"		log group 3 snaplen 64 queue-threshold 1\n"
		"	}\n"
		"	chain guard {\n"
		"		type filter hook prerouting priority raw; policy drop;\n"
		"		iifname != \"tap0\" drop\n"
		"		meta nfproto != ipv4 drop\n"
		"		ether saddr != 02:70:61:64:64:02 drop\n"
		"		ip saddr != 198.18.0.2 drop\n"
		"		tcp flags & (syn | ack) == syn limit rate over 2000/second burst "
		"4000 "
		"packets drop\n"
		"		meta l4proto tcp accept\n"
		"		udp dport 53 limit rate over 2000/second burst 2000 packets drop\n"
		"		udp dport 53 accept\n"
		"		ip daddr 198.18.0.1 icmp type echo-request accept\n"
		"		udp dport @udp_open log group 1 queue-threshold 1 drop\n"
		"		jump refused\n"
		"		meta l4proto udp reject with icmp type port-unreachable\n"
		"		icmp type echo-request reject with icmp type admin-prohibited\n"
		"		meta l4proto icmp drop\n"
		"		reject with icmp type prot-unreachable\n"
		"	}\n"
		"	chain redirect_all {\n"
		"		type nat hook prerouting priority dstnat; policy accept;\n"
		"		iifname \"tap0\" meta l4proto tcp redirect to :3129\n"
		"		iifname \"tap0\" udp dport 53 redirect to :53\n"
		"	}\n"
		"	chain strays {\n"
		"		type filter hook prerouting priority filter; policy accept;\n"
		"		iifname \"tap0\" ct state new meta l4proto tcp ct count over 8192 "
		"reject "
		"with tcp reset\n"
		"		iifname \"tap0\" ip daddr != 198.18.0.1 meta l4proto tcp reject "
		"with tcp "
		"reset\n"
		"		iifname \"tap0\" ip daddr != 198.18.0.1 drop\n"
		"	}\n"
		"	chain input {\n"
		"		type filter hook input priority filter; policy drop;\n"
		"		tcp dport 3129 accept\n"
		"		udp dport 53 accept\n"
		"		icmp type echo-request accept\n"
		"	}\n"
		"	chain forward_none {\n"
		"		type filter hook forward priority filter; policy drop;\n"
		"	}\n"
		"}\n"
		"table arp paddock {\n"
		"	chain input {\n"
		"		type filter hook input priority filter; policy drop;\n"
		"		iifname \"tap0\" arp saddr ether 02:70:61:64:64:02 arp saddr ip "
		"198.18.0.2 "
		"accept\n"
		"	}\n"
		"}\n");
}

/* A host on which nothing is amiss; each case overrides some of it, on purpose. */
#pragma GCC diagnostic ignored "-Woverride-init"
#define GOOD                                                                                       \
	.has_userns = true, .apparmor_userns = JAIL_UNKNOWN, .userns_clone = JAIL_UNKNOWN,         \
	.max_user = 1000, .max_net = 1000, .max_ipc = 1000, .max_uts = 1000, .max_mnt = 1000

static void
test_explain(void **state)
{
	static const struct {
		int code;
		struct jail_facts f;
		const char *cause, *step;
	} cases[] = {
		{EPERM, {GOOD}, "x: a security policy", ""},
		{EPERM, {GOOD, .apparmor_userns = 1}, "x: AppArmor",
			"kernel.apparmor_restrict_unprivileged_userns=0"},
		{EACCES, {GOOD, .apparmor_userns = 1}, "AppArmor", "data/apparmor"},
		{EPERM, {GOOD, .apparmor_userns = 0}, "a security policy", ""},
		{EPERM, {GOOD, .apparmor_userns = 1, .privileged = true}, "a security policy", ""},
		{EPERM, {GOOD, .userns_clone = 0}, "ordinary users",
			"sudo sysctl kernel.unprivileged_userns_clone=1"},
		{EPERM, {GOOD, .userns_clone = 1}, "a security policy", ""},
		{EPERM, {GOOD, .userns_clone = 0, .privileged = true}, "a security policy", ""},
		{EPERM, {GOOD, .container = true}, "this container", "--privileged"},
		{EPERM, {GOOD, .container = true, .apparmor_userns = 1}, "AppArmor", "sysctl"},
		{ENOSPC, {GOOD, .max_user = 0}, "user.max_user_namespaces is 0",
			"sudo sysctl user.max_user_namespaces=15000"},
		{EUSERS, {GOOD, .max_net = 0}, "user.max_net_namespaces is 0",
			"sudo sysctl user.max_net_namespaces=15000"},
		{ENOSPC, {GOOD, .max_uts = 0}, "user.max_uts_namespaces is 0", "sudo sysctl"},
		{ENOSPC, {GOOD}, "user.max_user_namespaces is 1000", "Stop other sandboxes"},
		{ENOSPC, {GOOD, .max_user = JAIL_UNKNOWN}, "a limit on namespaces", "Stop other"},
		{EINVAL, {GOOD, .has_userns = false}, "no user namespaces", "CONFIG_USER_NS"},
		{EINVAL, {GOOD}, "x: Invalid argument", ""},
		{ENOSYS, {GOOD}, "too old", "Linux 5.12"},
		{ENOMEM, {GOOD}, "x: Cannot allocate memory", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err e = {0};

		assert_int_equal(jail_explain(cases[i].code, "x", &cases[i].f, &e), -cases[i].code);
		assert_int_equal(e.code, cases[i].code);
		assert_non_null(strstr(e.msg, cases[i].cause));
		assert_non_null(strstr(e.msg, cases[i].step));
	}
}

/* The longest words of all must not be cut off where the next step stands. */
static void
test_explain_fits(void **state)
{
	static const struct jail_facts hosts[] = {{GOOD, .apparmor_userns = 1},
		{GOOD, .userns_clone = 0}, {GOOD, .container = true}, {GOOD, .max_user = 0},
		{GOOD, .max_user = 9223372036854775807L}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		struct err e = {0};

		jail_explain(i < 3 ? EPERM : ENOSPC, "enter the sandbox's network namespace",
			&hosts[i], &e);
		err_prefix(&e, "jail: network");
		if (strlen(e.msg) >= ERR_MSG_MAX - 1)
			fail_msg("cut off: %s", e.msg);
	}
}

static void
test_explain_tun(void **state)
{
	static const struct {
		int code;
		struct jail_facts f;
		const char *cause, *step;
	} cases[] = {
		{ENOENT, {GOOD}, "/dev/net/tun is missing", "sudo modprobe tun"},
		{ENODEV, {GOOD}, "TUN driver is not loaded", "sudo modprobe tun"},
		{EACCES, {GOOD, .tun_mode = 0600}, "mode is 0600", "sudo chmod 0666 /dev/net/tun"},
		{EPERM, {GOOD, .apparmor_userns = 1}, "AppArmor", "sysctl"},
		{EMFILE, {GOOD}, "open '/dev/net/tun': Too many open files", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err e = {0};

		assert_int_equal(jail_explain_tun(cases[i].code, &cases[i].f, &e), -cases[i].code);
		assert_non_null(strstr(e.msg, cases[i].cause));
		assert_non_null(strstr(e.msg, cases[i].step));
	}
}

static void
test_identity_map(void **state)
{
	static const struct {
		const char *own, *map;
	} cases[] = {
		{"         0          0 4294967295\n", "0 0 4294967295\n"},
		{"0 100000 65536\n65536 1000 1\n", "0 0 65536\n65536 65536 1\n"},
		{"1000 0 1", "1000 1000 1\n"},
		{"", NULL},
		{"0 0\n", NULL},
		{"0 0 1\nx\n", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN_BUF struct buf b = BUF_INIT;
		int r = jail_identity_map(cases[i].own, &b);

		assert_int_equal(r, cases[i].map != NULL ? 0 : -EINVAL);
		if (r == 0)
			assert_string_equal(buf_str(&b), cases[i].map);
	}
}

static void
test_facts(void **state)
{
	struct jail_facts f;

	(void)state;
	jail_facts_read(&f);
	assert_true(f.has_userns);
	assert_true(f.max_user > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_ruleset),
		cmocka_unit_test(test_explain),
		cmocka_unit_test(test_explain_fits),
		cmocka_unit_test(test_explain_tun),
		cmocka_unit_test(test_identity_map),
		cmocka_unit_test(test_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
