/*
 * How this works: struct vmm_machine -> QEMU's argument list, by tables of fixed texts with numbers
 * put in. Every path is one of VMM_PATH_*, every other value a number that was checked or a MAC
 * address that was parsed, so no text of a user's or a guest's can become part of an option.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <vmm/vmm.h>

/* Debian's kernels tick at 250 Hz; one TSC tick per loop of the TSC-based delay. */
#define KERNEL_HZ 250

static int
check_fds(const struct vmm_machine *m, struct err *e)
{
	const int fds[] = {m->tap_fd, m->link_fd, m->fs_fd, m->console_fd, m->qmp_fd};

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (fds[i] < 3)
			return err_set(
				e, EBADF, "machine: descriptor %d is not QEMU's own", fds[i]);
		for (size_t k = 0; k < i; k++)
			if (fds[k] == fds[i])
				return err_set(
					e, EBADF, "machine: descriptor %d is used twice", fds[i]);
	}
	return 0;
}

static int
check_mac(const char *mac, struct err *e)
{
	bool good = mac != NULL && strlen(mac) == 17;

	for (int i = 0; good && i < 17; i++)
		good = i % 3 == 2 ? mac[i] == ':' : strchr("0123456789abcdef", mac[i]) != NULL;
	if (!good)
		return err_set(e, EINVAL, "machine: the MAC address is not of the form 52:54:...");
	/* The lowest bit of the first octet makes it a group's address. */
	if (strchr("13579bdf", mac[1]) != NULL)
		return err_set(e, EINVAL, "machine: %s is a multicast address", mac);
	return 0;
}

static int
check(const struct vmm_machine *m, struct err *e)
{
	int r;

	if (m->accel != VMM_ACCEL_KVM && m->accel != VMM_ACCEL_TCG)
		return err_set(e, EINVAL, "machine: the accelerator is not decided");
	if (m->cpus < 1 || m->cpus > VMM_CPUS_MAX)
		return err_set(
			e, ERANGE, "%u CPUs: from 1 to %d are possible", m->cpus, VMM_CPUS_MAX);
	if (m->memory_bytes < VMM_MEMORY_MIN)
		return err_set(e, ERANGE, "%llu MiB of memory: at least %llu MiB are needed",
			(unsigned long long)(m->memory_bytes >> 20), VMM_MEMORY_MIN >> 20);
	if (m->memory_bytes > VMM_MEMORY_MAX)
		return err_set(e, ERANGE, "%llu GiB of memory: at most %llu GiB are possible",
			(unsigned long long)(m->memory_bytes >> 30), VMM_MEMORY_MAX >> 30);
	/* Outside of this the guest would hang in calibration or tell a wrong time. */
	if (m->accel == VMM_ACCEL_TCG && (m->tsc_khz < 100000 || m->tsc_khz > 20000000))
		return err_set(e, ERANGE, "machine: a TSC rate of %llu kHz is not plausible",
			(unsigned long long)m->tsc_khz);
	r = check_mac(m->mac, e);
	if (r == 0 && m->network != NULL && m->network[strspn(m->network, "0123456789./,")] != '\0')
		r = err_set(e, EINVAL, "machine: '%s' is no network", m->network);
	return r < 0 ? r : check_fds(m, e);
}

static void
add(struct strv *a, const char *option, const char *value)
{
	strv_add(a, option);
	strv_add(a, value);
}

#define addf(a, option, ...)                                                                       \
	do {                                                                                       \
		strv_add(a, option);                                                               \
		strv_addf(a, __VA_ARGS__);                                                         \
	} while (0)

/*
 * A panic reboots at once, and -no-reboot turns that into QEMU's end: the supervisor sees it.
 * rcupdate.rcu_expedited: every grace period that a boot waits for costs some 10 ms otherwise.
 * lsm=: what programs use of it, Landlock for their own sandboxes and Yama for ptrace. For the
 * others (SELinux, Tomoyo, AppArmor, IMA, ...) there is no policy in the guest, each is asked at
 * every operation on a file all the same, and dockerd would load one for AppArmor at each start.
 */
static void
add_kernel_command_line(struct strv *a, const struct vmm_machine *m)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	buf_append_str(&b, "console=ttyS0 panic=-1 reboot=t 8250.nr_uarts=1 lsm=landlock,yama "
			   "audit=0 cgroup_no_v1=all rcupdate.rcu_expedited=1 random.trust_cpu=on");
	buf_append_str(
		&b, m->debug ? " loglevel=7 ignore_loglevel paddock.debug" : " quiet loglevel=3");
	/*
	 * Emulated, the TSC ticks at the host's rate; told so, the kernel neither calibrates (where
	 * it may hang) nor distrusts it (where it would fall back to refined-jiffies).
	 * Self-tests of its ciphers, of a jitter RNG that nobody uses and of encrypted keys cost it
	 * half a second there, and nothing on a real processor, where they stay.
	 * What QEMU 7.2 translates it finds again at the same virtual address only: were each
	 * program's start laid out anew, it would be translated anew, in three times the time. And
	 * what is executed is the translation, which the kernel's detours around the faults of a
	 * real processor do not protect; they only cost. So do memory that is wiped before it is
	 * used, bounds that are checked once more at each copy, and keeping account of who waits
	 * (psi): a stat(2) takes a quarter longer with them.
	 * clearcpuid=cx16: QEMU before 8.0 leaves other bits than ZF in the flags what they happen
	 * to be after a cmpxchg16b (its helper reads a cc_op that was not stored). An interrupt
	 * before the next arithmetic saves those, and the kernel, whose allocator uses it,
	 * goes on with VM, NT or DF set: it panics or copies backwards.
	 */
	if (m->accel == VMM_ACCEL_TCG)
		buf_printf(&b,
			" tsc_early_khz=%llu lpj=%llu no_timer_check tsc=reliable "
			"norandmaps mitigations=off init_on_alloc=0 hardened_usercopy=off psi=0 "
			"clearcpuid=cx16 cryptomgr.notests "
			"initcall_blacklist=jent_mod_init,crypto_kdf108_init,init_encrypted",
			(unsigned long long)m->tsc_khz,
			(unsigned long long)(m->tsc_khz * 1000 / KERNEL_HZ));
	/*
	 * One processor boots with a third less work, and QEMU before 8.1 may run a stale
	 * translation when one processor patches code that another one runs, which at boot is done
	 * most (one panic in 200 boots). paddock-guest starts the others.
	 */
	if (m->accel == VMM_ACCEL_TCG && m->cpus > 1)
		buf_append_str(&b, " maxcpus=1 noreplace-smp");
	if (m->memory == VMM_MEMORY_FILE)
		buf_printf(&b, " paddock.snapshot=%s", m->network != NULL ? m->network : "");
	add(a, "-append", buf_str(&b));
}

bool
vmm_needs_preload(unsigned major, unsigned minor)
{
	return major < 8 || (major == 8 && minor < 2);
}

/*
 * Pages of one sandbox and of another's are never merged by the kernel (mem-merge=off above): what
 * is shared by that can be told by the time that a write takes.
 */
static void
add_memory(struct strv *a, const struct vmm_machine *m)
{
	unsigned long long mib = m->memory_bytes >> 20;

	addf(a, "-m", "%lluM", mib);
	if (m->memory == VMM_MEMORY_OWN)
		addf(a, "-object", "memory-backend-ram,id=ram,size=%lluM,merge=off", mib);
	else
		addf(a, "-object",
			"memory-backend-file,id=ram,size=%lluM,mem-path=" VMM_PATH_RAM
			",merge=off,share=%s%s",
			mib, m->memory == VMM_MEMORY_CLONE ? "off" : "on",
			m->memory == VMM_MEMORY_CLONE && !m->preload ? ",readonly=on,rom=off" : "");
}

static void
add_machine(struct strv *a, const struct vmm_machine *m)
{
	/* No option of ours may come from a file, no device from a default. */
	strv_add(a, "-nodefaults");
	strv_add(a, "-no-user-config");
	add(a, "-name", "paddock");
	/* pit and pic stay: without them the kernel does not boot under TCG. */
	add(a, "-M",
		"microvm,acpi=on,rtc=on,pit=on,pic=on,pcie=off,usb=off,isa-serial=on,"
		"x-option-roms=off,graphics=off,mem-merge=off,dump-guest-core=off,"
		"suppress-vmdesc=on,memory-backend=ram");
	/* As what is saved has it: see snapshot.c. */
	add(a, "-global", "migration.send-configuration=off");
	/*
	 * Named, because the default differs: Debian 13's is SeaBIOS, which speaks on the console
	 * and cannot start a kernel without option ROMs. qboot (a part of QEMU) does just that.
	 */
	add(a, "-bios", VMM_FIRMWARE);
	if (m->accel == VMM_ACCEL_KVM) {
		add(a, "-accel", "kvm");
		add(a, "-cpu", "host");
	} else {
		/*
		 * QEMU would take up to 1 GiB for translated code. A copy by "rep movsb", which a
		 * processor with erms or fsrm is told to like, is one of each byte by itself here:
		 * a file in the guest's page cache was read six times slower.
		 */
		add(a, "-accel", "tcg,thread=multi,tb-size=256");
		add(a, "-cpu", "max,-erms,-fsrm");
	}
	/*
	 * To wake somebody on another emulated processor is slow. Processors that share no cache
	 * leave two programs that talk to each other where they are.
	 */
	if (m->accel == VMM_ACCEL_TCG)
		addf(a, "-smp", "cpus=%u,sockets=%u,cores=1,threads=1", m->cpus, m->cpus);
	else
		addf(a, "-smp", "cpus=%u,sockets=1,cores=%u,threads=1", m->cpus, m->cpus);
	add_memory(a, m);
	add(a, "-display", "none");
	add(a, "-parallel", "none");
	add(a, "-sandbox",
		"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	strv_add(a, "-no-reboot");
	if (m->memory == VMM_MEMORY_CLONE) {
		/* The kernel is in its memory already. */
		addf(a, "-incoming", "fd:%d", m->state_fd);
		if (m->hold)
			strv_add(a, "-S");
	} else {
		add(a, "-kernel", VMM_PATH_KERNEL);
		add(a, "-initrd", VMM_PATH_INITRAMFS);
		add_kernel_command_line(a, m);
	}
	add(a, "-global", "virtio-mmio.force-legacy=false");
}

/* Formats and the chain are spelt out, so that nothing inside a disk can name another file. */
static void
add_disk(struct strv *a, bool layer)
{
	add(a, "-blockdev",
		"{\"driver\":\"file\",\"node-name\":\"base-file\",\"filename\":\"" VMM_PATH_BASE
		"\",\"read-only\":true}");
	add(a, "-blockdev",
		"{\"driver\":\"raw\",\"node-name\":\"base\",\"file\":\"base-file\","
		"\"read-only\":true}");
	if (layer) {
		add(a, "-blockdev",
			"{\"driver\":\"file\",\"node-name\":\"layer-file\",\"filename\":"
			"\"" VMM_PATH_LAYER "\",\"read-only\":true}");
		add(a, "-blockdev",
			"{\"driver\":\"qcow2\",\"node-name\":\"layer\",\"file\":\"layer-file\","
			"\"backing\":\"base\",\"read-only\":true}");
	}
	add(a, "-blockdev",
		"{\"driver\":\"file\",\"node-name\":\"disk-file\",\"filename\":\"" VMM_PATH_DISK
		"\",\"discard\":\"unmap\"}");
	addf(a, "-blockdev",
		"{\"driver\":\"qcow2\",\"node-name\":\"disk\",\"file\":\"disk-file\","
		"\"backing\":\"%s\",\"discard\":\"unmap\",\"detect-zeroes\":\"unmap\"}",
		layer ? "layer" : "base");
	add(a, "-device", "virtio-blk-device,drive=disk");
}

static void
add_cables(struct strv *a, const struct vmm_machine *m)
{
	addf(a, "-netdev", "tap,id=net,fd=%d", m->tap_fd);
	/* A clone has no neighbours to tell that it moved. */
	addf(a, "-device", "virtio-net-device,netdev=net,mac=%s,guest_announce=off", m->mac);
	add(a, "-device", "virtio-serial-device,id=serial,max_ports=3");
	addf(a, "-chardev", "socket,id=link,fd=%d", m->link_fd);
	add(a, "-device", "virtserialport,bus=serial.0,nr=1,chardev=link,name=paddock.link");
	addf(a, "-chardev", "socket,id=fs,fd=%d", m->fs_fd);
	add(a, "-device", "virtserialport,bus=serial.0,nr=2,chardev=fs,name=paddock.fs");
	add(a, "-object", "rng-builtin,id=rng");
	add(a, "-device", "virtio-rng-device,rng=rng");
	addf(a, "-chardev", "socket,id=console,fd=%d", m->console_fd);
	add(a, "-serial", "chardev:console");
	addf(a, "-chardev", "socket,id=qmp,fd=%d", m->qmp_fd);
	add(a, "-mon", "chardev=qmp,mode=control");
}

int
vmm_plan(const struct vmm_machine *m, const char *qemu, struct strv *ret_argv, struct err *e)
{
	struct strv a = {0};
	int r = check(m, e);

	if (r < 0)
		return r;
	strv_add(&a, qemu);
	add_machine(&a, m);
	add_disk(&a, m->layer);
	add_cables(&a, m);
	*ret_argv = a;
	return 0;
}
