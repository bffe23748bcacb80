/*
 * bare-boot KERNEL INITRAMFS CPUS MEMORY [WORDS]: becomes QEMU with the very machine, CPU and
 * kernel command line of a sandbox (from vmm_plan) but without disk, network, ports and jail;
 * console on stdout. With WORDS for the kernel's command line it has QEMU's own user networking.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/str.h>
#include <vmm/vmm.h>

/* Its memory is an object, too. */
static bool
is_device(const char *option, const char *value)
{
	static const char *const dropped[] = {"-blockdev", "-device", "-netdev", "-chardev",
		"-object", "-mon", "-serial", "-sandbox"};

	for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
		if (strcmp(option, dropped[i]) == 0)
			return !str_has_prefix(value, "memory-backend");
	return false;
}

static void
strip(const struct strv *all, char **paths, const char *words, struct strv *ret)
{
	for (size_t i = 0; i < all->n; i++) {
		const char *word = all->v[i];

		if (i + 1 < all->n && is_device(word, all->v[i + 1])) {
			i++;
			continue;
		}
		strv_add(ret, word);
		if (strcmp(word, "-kernel") == 0)
			strv_add(ret, paths[0]), i++;
		else if (strcmp(word, "-initrd") == 0)
			strv_add(ret, paths[1]), i++;
		else if (strcmp(word, "-append") == 0 && words != NULL)
			strv_addf(ret, "%s %s", all->v[++i], words);
	}
	if (words != NULL) {
		strv_add(ret, "-netdev");
		strv_add(ret, "user,id=net");
		strv_add(ret, "-device");
		strv_add(ret, "virtio-net-device,netdev=net");
	}
	strv_add(ret, "-serial");
	strv_add(ret, "stdio");
}

int
main(int argc, char **argv)
{
	CLEAN_STRV struct strv all = {0}, bare = {0};
	struct vmm_machine m = {.tsc_khz = vmm_tsc_khz(),
		.mac = "02:00:00:00:00:01",
		.tap_fd = 3,
		.link_fd = 4,
		.fs_fd = 5,
		.console_fd = 6,
		.qmp_fd = 7};
	struct vmm_host host = {0};
	struct err e = {0};
	char *note = NULL;
	uint64_t cpus;

	if ((argc != 5 && argc != 6) || str_to_u64(argv[3], 1, 64, &cpus) < 0 ||
		str_to_size(argv[4], &m.memory_bytes) < 0) {
		fprintf(stderr, "usage: bare-boot KERNEL INITRAMFS CPUS MEMORY [WORDS]\n");
		return 2;
	}
	m.cpus = (unsigned)cpus;
	if (vmm_accel_choose(VMM_ACCEL_AUTO, &m.accel, &note, &e) < 0 ||
		vmm_host_find(&host, &e) < 0 || vmm_plan(&m, host.qemu, &all, &e) < 0) {
		fprintf(stderr, "bare-boot: %s\n", e.msg);
		return 1;
	}
	strip(&all, &argv[1], argv[5], &bare);
	execv(host.qemu, bare.v);
	fprintf(stderr, "bare-boot: %s: %s\n", host.qemu, strerror(errno));
	return 1;
}
