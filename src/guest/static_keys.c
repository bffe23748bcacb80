/*
 * How this works: the kernel switches code that is seldom needed on by patching itself while it
 * runs (its static keys), for the first user of a thing, and off for the last. An old QEMU that
 * emulates bears that with one processor only: another one may run the half that was just replaced
 * (int3), and the guest panics. vmm/plan.c therefore has the guest start with one, and here, before
 * the others start, what Docker would switch gets a user who stays for ever:
 *   control groups   the first one below the root (the page allocator's accounting among it);
 *   CPU quotas       docker run --cpus;
 *   device programs  runc attaches one to each container's group; with none left it is off again;
 *   netfilter hooks  one key for each hook of IPv4 and IPv6, which iptables would switch.
 * Nothing comes to pass by these: the group is for programs that stand still (freeze.c), its device
 * program allows all, and the hooks are in a network namespace that nobody is in.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/mem.h>

#include "guest.h"
#include "static_keys.h"
#include "step.h"

#define GROUPS "/sys/fs/cgroup"
#define GROUP  GROUPS "/" GUEST_FROZEN

/* linux/bpf.h of Linux 6.4, where these appeared. */
#define PROG_TYPE_NETFILTER 32
#define ATTACH_NETFILTER    45

struct netfilter_link {
	uint32_t prog_fd, target_fd, attach_type, flags;
	uint32_t pf, hooknum;
	int32_t priority;
	uint32_t hook_flags;
};

/* linux/netfilter.h: NFPROTO_IPV4, NFPROTO_IPV6; NF_INET_PRE_ROUTING to NF_INET_POST_ROUTING */
static const uint32_t families[] = {2, 10};
#define HOOKS 5

static int
bpf(enum bpf_cmd cmd, void *attr, size_t size)
{
	return (int)syscall(SYS_bpf, cmd, attr, size);
}

/* A program that returns 1: of a device "allowed", of a packet NF_ACCEPT. */
static int
load_program(uint32_t type, uint32_t attach_type)
{
	static const struct bpf_insn one[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr a;

	memset(&a, 0, sizeof(a));
	a.prog_type = type;
	a.expected_attach_type = attach_type;
	a.insns = (uintptr_t)one;
	a.insn_cnt = ARRAY_LEN(one);
	a.license = (uintptr_t) "Apache-2.0";
	return bpf(BPF_PROG_LOAD, &a, sizeof(a));
}

static int
put(const char *path, const char *value)
{
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, value, strlen(value)) < 0 ? -1 : 0;
}

static int
attach_device_program(void)
{
	CLEAN_CLOSE int group = open(GROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEAN_CLOSE int program = load_program(BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE);
	union bpf_attr a;

	memset(&a, 0, sizeof(a));
	a.target_fd = (uint32_t)group;
	a.attach_bpf_fd = (uint32_t)program;
	a.attach_type = BPF_CGROUP_DEVICE;
	return group < 0 || program < 0 ? -1 : bpf(BPF_PROG_ATTACH, &a, sizeof(a));
}

static int
control_groups_on(void)
{
	if (mount("cgroup2", GROUPS, "cgroup2", 0, NULL) < 0)
		return -1;
	/* For dockerd, which otherwise could only count, not limit. */
	if (put(GROUPS "/cgroup.subtree_control", "+cpuset +cpu +io +memory +pids") < 0)
		return -1;
	return mkdir(GROUP, 0755) < 0 || put(GROUP "/cpu.max", "100000 100000") < 0 ? -1 : 0;
}

static int
hook_all(void)
{
	CLEAN_CLOSE int program = load_program(PROG_TYPE_NETFILTER, ATTACH_NETFILTER);
	struct netfilter_link l = {
		.prog_fd = (uint32_t)program, .attach_type = ATTACH_NETFILTER, .priority = 1};

	if (program < 0)
		return -1;
	/* The descriptors stay open: with them the hooks would go. */
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		for (l.hooknum = 0; l.hooknum < HOOKS; l.hooknum++) {
			l.pf = families[i];
			if (bpf(BPF_LINK_CREATE, &l, sizeof(l)) < 0)
				return -1;
		}
	return 0;
}

static int
netfilter_on(void)
{
	CLEAN_CLOSE int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int there, r;

	if (here < 0 || unshare(CLONE_NEWNET) < 0)
		return -1;
	there = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC); /* stays open, as the hooks do */
	r = there < 0 ? -1 : hook_all();
	return setns(here, CLONE_NEWNET) < 0 ? -1 : r;
}

void
static_keys_switch_on(void)
{
	struct step s = step_begin();

	if (control_groups_on() < 0)
		log_warn("control groups: %s", strerror(errno));
	if (attach_device_program() < 0)
		log_warn("programs for devices: %s", strerror(errno));
	if (netfilter_on() < 0)
		log_warn("netfilter: %s", strerror(errno));
	if (umount(GROUPS) < 0)
		log_warn("control groups: %s", strerror(errno));
	step_done(&s, "static keys");
}
