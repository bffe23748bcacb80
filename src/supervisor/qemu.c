#include <stdlib.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <base/proc.h>
#include <supervisor/supervisor.h>

#include "qemu.h"

void
own_environment(struct strv *ret)
{
	static const char *const keys[] = {
		"LOCALDOMAIN", "RES_OPTIONS", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"};

	strv_add(ret, "PATH=/usr/local/bin:/usr/bin:/bin");
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (getenv(keys[i]) != NULL)
			strv_setenv(ret, keys[i], getenv(keys[i]));
}

struct enter {
	const struct jail *jail;
	const struct jail_confine *tree;
};

static int
enter_jail(void *arg, struct err *e)
{
	struct enter *en = arg;
	int r = jail_enter(en->jail, JAIL_ALL, e);

	return r == 0 ? jail_confine(en->tree, e) : r;
}

/* The memory of a snapshot that is being made is written to; clones only read it. */
static int
plan_memory(const struct qemu_start *q, struct jail_confine *c, struct err *e)
{
	bool clone = q->machine.memory == VMM_MEMORY_CLONE;
	static const char *const same[] = VMM_PRELOAD_STANDS_FOR;
	CLEAN_FREE char *preload = NULL;

	if (q->ram != NULL)
		jail_confine_add(c, JAIL_BIND, q->ram, VMM_PATH_RAM, clone);
	if (!q->machine.preload)
		return 0;
	preload = supervisor_beside(QEMU_PRELOAD, e);
	if (preload == NULL)
		return -e->code;
	jail_confine_add(c, JAIL_BIND, preload, VMM_PATH_PRELOAD, true)->exec = true;
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		CLEAN_FREE char *path = xasprintf(VMM_PATH_LIBRARIES "/%s", same[i]);

		jail_confine_add(c, JAIL_BIND, preload, path, true)->exec = true;
	}
	return 0;
}

/*
 * A third of the page faults of QEMU's start are its heap's, which it fills with some 6 MB: one
 * heap for all its threads, which begins so large that there are huge pages in it, takes a few.
 * glibc asks these two files whether the kernel gives them to those who ask (its manual, "Memory
 * Allocation Tunables"); where they are not, or where it does not, all is as ever.
 */
#define HEAP "glibc.malloc.hugetlb=1:glibc.malloc.top_pad=4194304:glibc.malloc.arena_max=1"

static void
plan_heap(struct jail_confine *c)
{
	static const char *const files[] = {"/sys/kernel/mm/transparent_hugepage/enabled",
		"/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"};

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (access(files[i], R_OK) == 0)
			jail_confine_add(c, JAIL_BIND, files[i], files[i], true);
}

/* The tree that QEMU sees: its own program, libraries and firmware, and this machine's files. */
static int
plan_tree(const struct qemu_start *q, const struct vmm_host *host, struct jail_confine *c,
	struct err *e)
{
	const char *const devices[] = {"/dev/null", "/dev/urandom", "/dev/kvm"};
	size_t ndevices = q->machine.accel == VMM_ACCEL_KVM ? 3 : 2;
	const struct image *i = q->image;

	for (size_t k = 0; k < host->folders.n; k++) {
		jail_confine_add(c, JAIL_BIND, host->folders.v[k], host->folders.v[k], true)->exec =
			true;
	}
	for (size_t k = 0; k < ndevices; k++) {
		jail_confine_add(c, JAIL_BIND, devices[k], devices[k], false)->dev = true;
	}
	jail_confine_add(c, JAIL_BIND, i->kernel, VMM_PATH_KERNEL, true);
	jail_confine_add(c, JAIL_BIND, i->initramfs, VMM_PATH_INITRAMFS, true);
	jail_confine_add(c, JAIL_BIND, i->disk, VMM_PATH_BASE, true);
	if (i->layer != NULL)
		jail_confine_add(c, JAIL_BIND, i->layer, VMM_PATH_LAYER, true);
	jail_confine_add(c, JAIL_BIND, q->disk, VMM_PATH_DISK, false);
	plan_heap(c);
	c->syscalls = JAIL_SYSCALLS_QEMU;
	return plan_memory(q, c, e);
}

/* What a saved state is read from, in QEMU: the one after those that it always has. */
#define QEMU_FD_STATE 8

static int
start(const struct qemu_start *q, const struct vmm_host *host, struct jail_confine *tree,
	pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
	CLEAN_STRV struct strv argv = {0}, env = {0};
	struct vmm_machine m = q->machine;
	struct enter en = {.jail = q->jail, .tree = tree};
	struct proc_spec spec = {.file = host->qemu,
		.fds = {-1, q->log, q->log, q->tap, q->link, q->fs, q->console, q->qmp},
		.nfds = QEMU_FD_STATE,
		.die_with_parent = true,
		.prepare = enter_jail,
		.arg = &en};
	int r;

	m.tap_fd = 3;
	m.link_fd = 4;
	m.fs_fd = 5;
	m.console_fd = 6;
	m.qmp_fd = 7;
	m.state_fd = QEMU_FD_STATE;
	m.layer = q->image->layer != NULL;
	r = vmm_plan(&m, host->qemu, &argv, e);
	if (r == 0)
		r = plan_tree(q, host, tree, e);
	if (r < 0)
		return r;
	if (q->state >= 0)
		spec.fds[spec.nfds++] = q->state;
	if (q->lock >= 0)
		spec.fds[spec.nfds++] = q->lock;
	own_environment(&env);
	strv_setenv(&env, "GLIBC_TUNABLES", HEAP);
	if (m.preload) {
		strv_setenv(&env, "LD_PRELOAD", VMM_PATH_PRELOAD);
		strv_setenv(&env, "LD_LIBRARY_PATH", VMM_PATH_LIBRARIES);
	}
	spec.argv = argv.v;
	spec.envp = env.v;
	return proc_spawn(&spec, ret_pid, ret_pidfd, e);
}

int
qemu_start(const struct qemu_start *q, pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
	struct vmm_host host = {0};
	struct jail_confine tree = {0};
	int r = vmm_host_find(&host, e);

	if (r == 0)
		r = start(q, &host, &tree, ret_pid, ret_pidfd, e);
	jail_confine_release(&tree);
	vmm_host_release(&host);
	return r;
}
