/* The machine's plan as golden text, the choice of accelerator, the overlay's making. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>
#include <vmm/vmm.h>

static struct vmm_machine
good_machine(void)
{
	return (struct vmm_machine){
		.accel = VMM_ACCEL_TCG,
		.cpus = 2,
		.memory_bytes = 2ull << 30,
		.tsc_khz = 2500000,
		.mac = "52:54:00:12:34:56",
		.tap_fd = 3,
		.link_fd = 4,
		.fs_fd = 5,
		.console_fd = 6,
		.qmp_fd = 7,
	};
}

#define HEAD                                                                                       \
	"qemu\n-nodefaults\n-no-user-config\n-name\npaddock\n-M\n"                                 \
	"microvm,acpi=on,rtc=on,pit=on,pic=on,pcie=off,usb=off,isa-serial=on,x-option-roms=off,"   \
	"graphics=off,mem-merge=off,dump-guest-core=off,suppress-vmdesc=on,memory-backend=ram\n"   \
	"-global\nmigration.send-configuration=off\n-bios\nqboot.rom\n"

#define MIDDLE                                                                                     \
	"-display\nnone\n-parallel\nnone\n-sandbox\n"                                              \
	"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny\n"                \
	"-no-reboot\n-kernel\n/vm/kernel\n-initrd\n/vm/initramfs\n-append\n"                       \
	"console=ttyS0 panic=-1 reboot=t 8250.nr_uarts=1 lsm=landlock,yama audit=0 "               \
	"cgroup_no_v1=all rcupdate.rcu_expedited=1 random.trust_cpu=on "

#define BASE                                                                                       \
	"-global\nvirtio-mmio.force-legacy=false\n"                                                \
	"-blockdev\n{\"driver\":\"file\",\"node-name\":\"base-file\",\"filename\":\"/vm/base\","   \
	"\"read-only\":true}\n"                                                                    \
	"-blockdev\n{\"driver\":\"raw\",\"node-name\":\"base\",\"file\":\"base-file\","            \
	"\"read-only\":true}\n"

#define LAYER                                                                                      \
	"-blockdev\n{\"driver\":\"file\",\"node-name\":\"layer-file\",\"filename\":\"/vm/layer\"," \
	"\"read-only\":true}\n"                                                                    \
	"-blockdev\n{\"driver\":\"qcow2\",\"node-name\":\"layer\",\"file\":\"layer-file\","        \
	"\"backing\":\"base\",\"read-only\":true}\n"

#define DISK(on)                                                                                   \
	"-blockdev\n{\"driver\":\"file\",\"node-name\":\"disk-file\",\"filename\":\"/vm/disk\","   \
	"\"discard\":\"unmap\"}\n"                                                                 \
	"-blockdev\n{\"driver\":\"qcow2\",\"node-name\":\"disk\",\"file\":\"disk-file\","          \
	"\"backing\":\"" on "\",\"discard\":\"unmap\",\"detect-zeroes\":\"unmap\"}\n"

#define CABLES                                                                                     \
	"-device\nvirtio-blk-device,drive=disk\n"                                                  \
	"-netdev\ntap,id=net,fd=3\n"                                                               \
	"-device\nvirtio-net-device,netdev=net,mac=52:54:00:12:34:56,guest_announce=off\n"         \
	"-device\nvirtio-serial-device,id=serial,max_ports=3\n"                                    \
	"-chardev\nsocket,id=link,fd=4\n"                                                          \
	"-device\nvirtserialport,bus=serial.0,nr=1,chardev=link,name=paddock.link\n"               \
	"-chardev\nsocket,id=fs,fd=5\n"                                                            \
	"-device\nvirtserialport,bus=serial.0,nr=2,chardev=fs,name=paddock.fs\n"                   \
	"-object\nrng-builtin,id=rng\n-device\nvirtio-rng-device,rng=rng\n"                        \
	"-chardev\nsocket,id=console,fd=6\n-serial\nchardev:console\n"                             \
	"-chardev\nsocket,id=qmp,fd=7\n-mon\nchardev=qmp,mode=control\n"

#define TAIL BASE DISK("base") CABLES

static void
assert_plan(const struct vmm_machine *m, const char *golden)
{
	CLEAN_STRV struct strv argv = {0};
	CLEAN_BUF struct buf text = BUF_INIT;
	struct err e = {0};

	assert_int_equal(vmm_plan(m, "qemu", &argv, &e), 0);
	for (size_t i = 0; i < argv.n; i++)
		buf_printf(&text, "%s\n", argv.v[i]);
	assert_string_equal(buf_str(&text), golden);
}

static void
plan_tcg(void **state)
{
	struct vmm_machine m = good_machine();

	(void)state;
	assert_plan(&m, HEAD "-accel\ntcg,thread=multi,tb-size=256\n-cpu\nmax,-erms,-fsrm\n"
			     "-smp\ncpus=2,sockets=2,cores=1,threads=1\n-m\n2048M\n"
			     "-object\nmemory-backend-ram,id=ram,size=2048M,merge=off\n" MIDDLE
			     "quiet loglevel=3 tsc_early_khz=2500000 lpj=10000000 no_timer_check "
			     "tsc=reliable norandmaps mitigations=off init_on_alloc=0 "
			     "hardened_usercopy=off psi=0 "
			     "clearcpuid=cx16 cryptomgr.notests "
			     "initcall_blacklist=jent_mod_init,crypto_kdf108_init,init_encrypted "
			     "maxcpus=1 noreplace-smp\n" TAIL);
}

/* One processor needs no other to be kept back. */
static void
plan_tcg_single(void **state)
{
	struct vmm_machine m = good_machine();
	CLEAN_STRV struct strv argv = {0};
	struct err e = {0};

	(void)state;
	m.cpus = 1;
	assert_int_equal(vmm_plan(&m, "qemu", &argv, &e), 0);
	for (size_t i = 0; i < argv.n; i++)
		assert_null(strstr(argv.v[i], "maxcpus"));
}

/* A kit's layer lies between the two, and nothing but the disk can be written. */
static void
plan_layer(void **state)
{
	struct vmm_machine m = good_machine();
	CLEAN_STRV struct strv argv = {0};
	CLEAN_BUF struct buf text = BUF_INIT;
	struct err e = {0};

	(void)state;
	m.layer = true;
	assert_int_equal(vmm_plan(&m, "qemu", &argv, &e), 0);
	for (size_t i = 0; i < argv.n; i++)
		buf_printf(&text, "%s\n", argv.v[i]);
	assert_non_null(strstr(buf_str(&text), BASE LAYER DISK("layer") CABLES));
}

static void
plan_kvm(void **state)
{
	struct vmm_machine m = good_machine();

	(void)state;
	m.accel = VMM_ACCEL_KVM;
	m.tsc_khz = 0;
	m.cpus = 4;
	m.memory_bytes = 256ull << 20;
	m.debug = true;
	assert_plan(&m, HEAD "-accel\nkvm\n-cpu\nhost\n"
			     "-smp\ncpus=4,sockets=1,cores=4,threads=1\n-m\n256M\n"
			     "-object\nmemory-backend-ram,id=ram,size=256M,merge=off\n" MIDDLE
			     "loglevel=7 ignore_loglevel paddock.debug\n" TAIL);
}

static void
plan_text(const struct vmm_machine *m, struct buf *text)
{
	CLEAN_STRV struct strv argv = {0};
	struct err e = {0};

	if (vmm_plan(m, "qemu", &argv, &e) < 0)
		fail_msg("%s", e.msg);
	for (size_t i = 0; i < argv.n; i++)
		buf_printf(text, "%s\n", argv.v[i]);
}

#define MEMORY_FILE                                                                                \
	"-object\nmemory-backend-file,id=ram,size=2048M,mem-path=/vm/ram,merge=off,share="

/* What is saved is a shared file; a clone reads it, and needs no kernel. */
static void
plan_memory(void **state)
{
	CLEAN_BUF struct buf made = BUF_INIT, clone = BUF_INIT, old = BUF_INIT;
	struct vmm_machine m = good_machine();

	(void)state;
	m.memory = VMM_MEMORY_FILE;
	m.network = "198.18.0.2/30,198.18.0.1";
	plan_text(&m, &made);
	assert_non_null(strstr(buf_str(&made), MEMORY_FILE "on\n"));
	assert_non_null(strstr(buf_str(&made), "-kernel\n"));
	assert_non_null(strstr(buf_str(&made), " paddock.snapshot=198.18.0.2/30,198.18.0.1\n"));
	assert_null(strstr(buf_str(&made), "-incoming"));
	m.memory = VMM_MEMORY_CLONE;
	m.state_fd = 8;
	plan_text(&m, &clone);
	assert_non_null(strstr(buf_str(&clone), MEMORY_FILE "off,readonly=on,rom=off\n"));
	assert_non_null(strstr(buf_str(&clone), "-incoming\nfd:8\n"));
	assert_null(strstr(buf_str(&clone), "-kernel\n"));
	assert_null(strstr(buf_str(&clone), "\n-S\n"));
	m.preload = m.hold = true;
	plan_text(&m, &old);
	assert_non_null(strstr(buf_str(&old), MEMORY_FILE "off\n"));
	assert_non_null(strstr(buf_str(&old), "-incoming\nfd:8\n-S\n"));
}

static void
preload_by_version(void **state)
{
	(void)state;
	assert_true(vmm_needs_preload(7, 2));
	assert_true(vmm_needs_preload(8, 1));
	assert_false(vmm_needs_preload(8, 2));
	assert_false(vmm_needs_preload(10, 0));
}

static void
assert_refused(const struct vmm_machine *m, int code, const char *part)
{
	struct strv argv = {0};
	struct err e = {0};

	assert_int_equal(vmm_plan(m, "qemu", &argv, &e), -code);
	assert_int_equal(e.code, code);
	assert_null(argv.v);
	if (strstr(e.msg, part) == NULL)
		fail_msg("'%s' does not say '%s'", e.msg, part);
}

#define REFUSED(code, part, ...)                                                                   \
	do {                                                                                       \
		struct vmm_machine m = good_machine();                                             \
		__VA_ARGS__;                                                                       \
		assert_refused(&m, code, part);                                                    \
	} while (0)

static void
plan_bad_input(void **state)
{
	(void)state;
	REFUSED(ERANGE, "from 1 to 64", m.cpus = 0);
	REFUSED(ERANGE, "from 1 to 64", m.cpus = 65);
	REFUSED(ERANGE, "at least 256 MiB", m.memory_bytes = (256ull << 20) - 1);
	REFUSED(ERANGE, "at least 256 MiB", m.memory_bytes = 0);
	REFUSED(ERANGE, "at most 1024 GiB", m.memory_bytes = (1024ull << 30) + 1);
	REFUSED(EINVAL, "accelerator", m.accel = VMM_ACCEL_AUTO);
	REFUSED(ERANGE, "TSC", m.tsc_khz = 0);
	REFUSED(ERANGE, "TSC", m.tsc_khz = 30000000);
	REFUSED(EINVAL, "MAC", m.mac = NULL);
	REFUSED(EINVAL, "MAC", m.mac = "");
	REFUSED(EINVAL, "MAC", m.mac = "52:54:00:12:34:5");
	REFUSED(EINVAL, "MAC", m.mac = "52:54:00:12:34:56,x=1");
	REFUSED(EINVAL, "MAC", m.mac = "52:54:00:12:34,56");
	REFUSED(EINVAL, "multicast", m.mac = "53:54:00:12:34:56");
	REFUSED(EINVAL, "no network", m.network = "1.2.3.4 init=/bin/sh");
	REFUSED(EBADF, "descriptor -1", m.tap_fd = -1);
	REFUSED(EBADF, "descriptor 2", m.qmp_fd = 2);
	REFUSED(EBADF, "used twice", m.fs_fd = 4);
}

/* A folder of the test's own with the files that the choice looks at. */
struct probe_dir {
	char dir[64];
	char kvm[96], cpuinfo[96];
};

static void
put_file(const char *path, const char *text)
{
	struct err e = {0};

	if (io_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0644, &e) < 0)
		fail_msg("%s", e.msg);
}

static struct vmm_accel_probe
probe_setup(struct probe_dir *d, bool kvm, const char *flags)
{
	CLEAN_FREE char *text = xasprintf("processor\t: 0\nvendor_id\t: x\nflags\t\t: %s\n", flags);

	snprintf(d->dir, sizeof(d->dir), "/tmp/paddock-test-vmm-XXXXXX");
	assert_non_null(mkdtemp(d->dir));
	snprintf(d->kvm, sizeof(d->kvm), "%s/kvm", d->dir);
	snprintf(d->cpuinfo, sizeof(d->cpuinfo), "%s/cpuinfo", d->dir);
	put_file(d->cpuinfo, text);
	if (kvm)
		put_file(d->kvm, "");
	return (struct vmm_accel_probe){.kvm = d->kvm, .cpuinfo = d->cpuinfo};
}

static void
probe_done(struct probe_dir *d)
{
	struct err e = {0};

	io_remove_tree(AT_FDCWD, d->dir, &e);
}

struct accel_case {
	bool kvm;
	const char *flags;
	enum vmm_accel want;
	int r;
	enum vmm_accel chosen;
	const char *says; /* in the note or the error; NULL: no note */
};

static const struct accel_case accel_cases[] = {
	{true, "fpu vmx sse", VMM_ACCEL_AUTO, 0, VMM_ACCEL_KVM, NULL},
	{true, "fpu svm", VMM_ACCEL_AUTO, 0, VMM_ACCEL_KVM, NULL},
	{true, "svm", VMM_ACCEL_KVM, 0, VMM_ACCEL_KVM, NULL},
	/* The device file alone proves nothing. */
	{true, "fpu sse", VMM_ACCEL_AUTO, 0, VMM_ACCEL_TCG, "neither vmx nor svm"},
	{true, "fpu sse", VMM_ACCEL_KVM, -ENODEV, 0, "neither vmx nor svm"},
	/* A flag is a word, not a part of one. */
	{true, "svm_lock xsvm vmx2", VMM_ACCEL_AUTO, 0, VMM_ACCEL_TCG, "neither vmx nor svm"},
	{false, "fpu sse", VMM_ACCEL_AUTO, 0, VMM_ACCEL_TCG, "neither vmx nor svm"},
	{false, "fpu vmx", VMM_ACCEL_AUTO, 0, VMM_ACCEL_TCG, "does not exist"},
	{false, "fpu vmx", VMM_ACCEL_KVM, -ENOENT, 0, "KVM cannot be used"},
	{true, "fpu vmx", VMM_ACCEL_TCG, 0, VMM_ACCEL_TCG, "as asked for"},
};

static void
accel_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(accel_cases); i++) {
		const struct accel_case *c = &accel_cases[i];
		struct probe_dir d;
		struct vmm_accel_probe p = probe_setup(&d, c->kvm, c->flags);
		CLEAN_FREE char *note = NULL;
		enum vmm_accel got = VMM_ACCEL_AUTO;
		struct err e = {0};
		int r = vmm_accel_choose_from(&p, c->want, &got, &note, &e);

		probe_done(&d);
		assert_int_equal(r, c->r);
		if (r < 0) {
			assert_non_null(strstr(e.msg, c->says));
			continue;
		}
		assert_int_equal(got, c->chosen);
		if (c->says == NULL)
			assert_null(note);
		else
			assert_non_null(strstr(note, c->says));
	}
}

static void
accel_no_permission(void **state)
{
	struct probe_dir d;
	struct vmm_accel_probe p = probe_setup(&d, true, "vmx");
	CLEAN_FREE char *note = NULL;
	enum vmm_accel got = VMM_ACCEL_AUTO;
	struct err e = {0};
	int r;

	(void)state;
	/* Modes do not stop root: for it this is the positive control. */
	chmod(d.kvm, 0);
	r = vmm_accel_choose_from(&p, VMM_ACCEL_KVM, &got, &note, &e);
	probe_done(&d);
	if (geteuid() == 0) {
		assert_int_equal(r, 0);
		return;
	}
	assert_int_equal(r, -EACCES);
	assert_non_null(strstr(e.msg, "usermod -aG kvm"));
}

static void
accel_words(void **state)
{
	enum vmm_accel a = VMM_ACCEL_AUTO;

	(void)state;
	assert_int_equal(vmm_accel_parse("kvm", &a), 0);
	assert_int_equal(a, VMM_ACCEL_KVM);
	assert_int_equal(vmm_accel_parse("tcg", &a), 0);
	assert_int_equal(a, VMM_ACCEL_TCG);
	assert_int_equal(vmm_accel_parse("KVM", &a), -EINVAL);
	assert_int_equal(vmm_accel_parse("", &a), -EINVAL);
	assert_int_equal(a, VMM_ACCEL_TCG);
	assert_string_equal(vmm_accel_name(VMM_ACCEL_KVM), "kvm");
}

/* Two measurements agree to a thousandth, and are of a real machine's size. */
static void
tsc_rate(void **state)
{
	uint64_t a = vmm_tsc_khz(), b = vmm_tsc_khz();
	uint64_t off = a > b ? a - b : b - a;

	(void)state;
	assert_in_range(a, 500000, 10000000);
	assert_true(off * 1000 < a);
}

static void
disk_overlay(void **state)
{
	char dir[] = "/tmp/paddock-test-disk-XXXXXX";
	CLEAN_FREE char *base = NULL, *disk = NULL, *missing = NULL;
	CLEAN_BUF struct buf info = BUF_INIT;
	struct err e = {0};
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(dir));
	base = xasprintf("%s/a base:with,odd", dir);
	disk = xasprintf("%s/the disk:x", dir);
	missing = xasprintf("%s/none", dir);
	put_file(base, "");
	assert_int_equal(truncate(base, 64 << 20), 0);

	if (vmm_disk_create(disk, base, VMM_RAW, 128 << 20, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(stat(disk, &st), 0);
	assert_true(st.st_size < 1 << 20);
	char *argv[] = {(char *)"qemu-img", (char *)"info", (char *)"--output=json", disk, NULL};
	CLEAN_FREE char *full = xasprintf("file:%s", disk);

	argv[3] = full;
	assert_int_equal(proc_run(argv, 20000, &info, &e), 0);
	assert_non_null(strstr(buf_str(&info), "\"virtual-size\": 134217728"));
	assert_non_null(strstr(buf_str(&info), "a base:with,odd\""));
	assert_non_null(strstr(buf_str(&info), "\"extended-l2\": true"));
	assert_non_null(strstr(buf_str(&info), "\"backing-filename-format\": \"raw\""));

	/* A base that a guest has had in its hands is recorded, but not opened: any bytes will do.
	 */
	unlink(disk);
	buf_clear(&info);
	put_file(base, "not a qcow2 header");
	assert_int_equal(vmm_disk_create(disk, base, VMM_QCOW2, 128 << 20, &e), 0);
	CLEAN_BUF struct buf header = BUF_INIT;

	assert_int_equal(io_read_file(AT_FDCWD, disk, 1 << 20, &header, &e), 0);
	assert_non_null(memmem(header.data, header.len, "a base:with,odd", 15));
	assert_int_equal(truncate(base, 64 << 20), 0);
	/* Too small, no base, no folder: one sentence each, and nothing is left. */
	unlink(disk);
	assert_int_equal(vmm_disk_create(disk, base, VMM_RAW, 32 << 20, &e), -ERANGE);
	assert_non_null(strstr(e.msg, "less than the template's"));
	assert_int_equal(vmm_disk_create(disk, missing, VMM_RAW, 128 << 20, &e), -ENOENT);
	assert_int_equal(stat(disk, &st), -1);
	assert_true(vmm_disk_create("/nonexistent/d", base, VMM_RAW, 128 << 20, &e) < 0);
	assert_non_null(strstr(e.msg, "No such file"));
	io_remove_tree(AT_FDCWD, dir, &e);
}

static void
host_found(void **state)
{
	struct vmm_host h = {0};
	struct err e = {0};

	(void)state;
	if (vmm_host_find(&h, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(h.qemu[0], '/');
	assert_int_equal(access(h.qemu, X_OK), 0);
	assert_string_equal(h.folders.v[0], "/usr");
	vmm_host_release(&h);
	assert_null(h.qemu);
}

/* A QEMU of one's own: its prefix is shown to it as well; a symlink to it is followed. */
static void
host_own_build(void **state)
{
	char dir[] = "/tmp/paddock-test-host-XXXXXX";
	CLEAN_FREE char *old = xstrdup(getenv("PATH")), *bin = NULL, *qemu = NULL, *links = NULL;
	struct vmm_host h = {0};
	struct err e = {0};
	int r;

	(void)state;
	assert_non_null(mkdtemp(dir));
	bin = xasprintf("%s/own/bin", dir);
	qemu = xasprintf("%s/qemu-real", bin);
	links = xasprintf("%s/qemu-system-x86_64", dir);
	assert_int_equal(io_mkdirs(bin, 0755, &e), 0);
	put_file(qemu, "");
	chmod(qemu, 0755);
	assert_int_equal(symlink(qemu, links), 0);
	setenv("PATH", dir, 1);
	r = vmm_host_find(&h, &e);
	setenv("PATH", old, 1);
	if (r < 0)
		fail_msg("%s", e.msg);
	assert_string_equal(h.qemu, qemu);
	*strrchr(bin, '/') = '\0';
	assert_string_equal(h.folders.v[h.folders.n - 1], bin);
	vmm_host_release(&h);
	io_remove_tree(AT_FDCWD, dir, &e);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_tcg),
		cmocka_unit_test(plan_tcg_single),
		cmocka_unit_test(plan_layer),
		cmocka_unit_test(plan_kvm),
		cmocka_unit_test(plan_memory),
		cmocka_unit_test(preload_by_version),
		cmocka_unit_test(plan_bad_input),
		cmocka_unit_test(accel_table),
		cmocka_unit_test(accel_no_permission),
		cmocka_unit_test(accel_words),
		cmocka_unit_test(tsc_rate),
		cmocka_unit_test(disk_overlay),
		cmocka_unit_test(host_found),
		cmocka_unit_test(host_own_build),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
