#pragma once
/*
 * The machine: a QEMU microvm. Plan (struct vmm_machine -> argument list, a pure function), the
 * choice of accelerator, the guest clock's facts, QMP. QEMU sees only what its mount tree holds,
 * always under the same fixed names, so nothing of the user's ever stands in an argument.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <base/err.h>
#include <base/str.h>

enum vmm_accel { VMM_ACCEL_AUTO, VMM_ACCEL_KVM, VMM_ACCEL_TCG };

/* Fixed places in QEMU's tree. */
#define VMM_PATH_KERNEL    "/vm/kernel"
#define VMM_PATH_INITRAMFS "/vm/initramfs"
#define VMM_PATH_BASE      "/vm/base"  /* the template's disk: raw, read-only */
#define VMM_PATH_LAYER     "/vm/layer" /* a kit's: qcow2 on the base, read-only */
#define VMM_PATH_DISK      "/vm/disk"  /* the overlay: qcow2 on the layer or the base */
#define VMM_PATH_RAM       "/vm/ram"   /* a snapshot's memory: see enum vmm_memory */
#define VMM_PATH_PRELOAD   "/vm/preload.so"
/* The folder (LD_LIBRARY_PATH) and the libraries in it that are the same file; see preload.c. */
#define VMM_PATH_LIBRARIES "/vm/lib"
#define VMM_PRELOAD_STANDS_FOR                                                                     \
	{                                                                                          \
		"libcapstone.so.4", "libpmem.so.1"                                                 \
	}

/* Found by QEMU in its own data folder. */
#define VMM_FIRMWARE "qboot.rom"

/* What a machine may have. */
#define VMM_CPUS_MAX   64
#define VMM_MEMORY_MIN (256ull << 20)
#define VMM_MEMORY_MAX (1024ull << 30)

/*
 * Whose the guest's memory is. A snapshot is made of a machine whose memory is a file: the file is
 * the saved memory. Clones map it privately, so that all of them share the pages that none has
 * written to.
 */
enum vmm_memory {
	VMM_MEMORY_OWN,
	VMM_MEMORY_FILE,  /* of VMM_PATH_RAM, to be saved; boots as with VMM_MEMORY_OWN */
	VMM_MEMORY_CLONE, /* goes on with what is saved there, and in the file of devices */
};

struct vmm_machine {
	enum vmm_accel accel; /* KVM or TCG */
	enum vmm_memory memory;
	unsigned cpus;
	uint64_t memory_bytes;
	uint64_t tsc_khz; /* TCG: see vmm_tsc_khz */
	const char *mac;
	const char
		*network; /* VMM_MEMORY_FILE: "ADDRESS/PREFIX,GATEWAY", the same for all clones */
	/* Descriptors as QEMU will have them. */
	int tap_fd, link_fd, fs_fd, console_fd, qmp_fd;
	int state_fd; /* a clone's: what qmp_save wrote; its failure to read it is QEMU's end */
	bool preload; /* a clone: see vmm_needs_preload */
	bool hold;    /* a clone: it runs only once it is told to ("cont") */
	bool layer;   /* there is one between base and disk */
	bool debug;   /* a talkative kernel */
};

/* The whole argument list, argv[0] included. */
int vmm_plan(const struct vmm_machine *m, const char *qemu, struct strv *ret_argv, struct err *e);

/*
 * Decides the accelerator. want AUTO: KVM when /dev/kvm opens read-write and the CPU has vmx or svm
 * (the device file alone proves nothing), else TCG; *ret_note (caller frees, may become NULL) is
 * the one line to show when it is TCG, with the reason. want KVM: an error that names the cause.
 */
int vmm_accel_choose(enum vmm_accel want, enum vmm_accel *ret, char **ret_note, struct err *e);
/* The same with its places named, for tests. */
struct vmm_accel_probe {
	const char *kvm;     /* "/dev/kvm" */
	const char *cpuinfo; /* "/proc/cpuinfo" */
};
int vmm_accel_choose_from(const struct vmm_accel_probe *p, enum vmm_accel want, enum vmm_accel *ret,
	char **ret_note, struct err *e);
int vmm_accel_parse(const char *word, enum vmm_accel *ret); /* "auto|kvm|tcg"; -EINVAL */
const char *vmm_accel_name(enum vmm_accel a);

/* The rate of this host's TSC, measured against CLOCK_MONOTONIC_RAW for about 20 ms. */
uint64_t vmm_tsc_khz(void);

/* What QEMU needs to be found and run: programs, libraries, firmware. Absolute paths. */
struct vmm_host {
	char *qemu;          /* qemu-system-x86_64 */
	struct strv folders; /* to be bound read-only into its tree, e.g. /usr, /lib, /lib64 */
};
int vmm_host_find(struct vmm_host *ret, struct err *e);
void vmm_host_release(struct vmm_host *h);

enum vmm_format { VMM_RAW, VMM_QCOW2 };
/*
 * Makes a qcow2 overlay on a disk (whose path and format are recorded); size in bytes. A qcow2 base
 * is not opened: a guest may have had it in its hands, and this runs outside of any jail. The
 * caller knows that the size is not below the base's.
 */
int vmm_disk_create(
	const char *path, const char *base, enum vmm_format format, uint64_t size, struct err *e);

/*
 * Before QEMU 8.2 there is no way to tell it that a memory file is to be opened for reading and its
 * pages to be written to privately (readonly=on,rom=off). An older one is given this shared object
 * as LD_PRELOAD, which opens VMM_PATH_RAM, and nothing else, for reading.
 */
bool vmm_needs_preload(unsigned major, unsigned minor);

/*
 * QMP (QEMU's docs/interop/qmp-spec): a client on a connected socket. Synchronous, each call with a
 * deadline; events that arrive meanwhile are kept for qmp_event. QEMU is not trusted: lines are
 * capped and parsed by jansson.
 */
struct qmp;
struct qmp *qmp_new(int fd); /* takes the descriptor */
void qmp_free(struct qmp *q);
int qmp_fd(const struct qmp *q);
int qmp_hello(struct qmp *q, uint64_t deadline_ms, struct err *e);
/* arguments: a JSON object as text, or NULL. */
int qmp_command(struct qmp *q, const char *name, const char *arguments, uint64_t deadline_ms,
	struct err *e);
/* As qmp_command; *ret is what "return" holds, as text (caller frees). */
int qmp_query(struct qmp *q, const char *name, const char *arguments, uint64_t deadline_ms,
	char **ret, struct err *e);
/* What the greeting says: known after qmp_hello. */
void qmp_version(const struct qmp *q, unsigned *ret_major, unsigned *ret_minor);
/*
 * Stops the machine and writes the state of its devices, without the memory, to a file, whose
 * descriptor is open for writing alone. The machine stays stopped, and has its disk all along.
 */
int qmp_save(struct qmp *q, int fd, uint64_t deadline_ms, struct err *e);
/* Until a clone has read that state. */
int qmp_loaded(struct qmp *q, uint64_t deadline_ms, struct err *e);
/* Where in QEMU's process the guest's memory begins. */
int qmp_memory_address(struct qmp *q, uint64_t *ret, uint64_t deadline_ms, struct err *e);
/* Reads what is there without blocking: 1 and the event's name, 0 none, -errno (-EPIPE: gone). */
int qmp_event(struct qmp *q, char name[64]);

/*
 * The memory of a machine that stands still, seen from outside of its QEMU (proc(5): mem, pagemap).
 * Who opens it must be allowed to trace QEMU: its parent. Who has it open may hand it on.
 */
struct vmm_ram {
	int mem, pagemap;
	uint64_t address; /* qmp_memory_address */
};
#define VMM_RAM_INIT                                                                               \
	{                                                                                          \
		.mem = -1, .pagemap = -1                                                           \
	}
int vmm_ram_open(pid_t qemu, struct vmm_ram *ret, struct err *e);
void vmm_ram_release(struct vmm_ram *m);
/*
 * Writes the first bytes of it to an empty file, with holes for zeros. base: what the machine is a
 * clone of, from which pages that it has not written to are taken; -1: none. What it never touched
 * is not read.
 */
int vmm_ram_save(const struct vmm_ram *m, uint64_t bytes, int base, int to, struct err *e);
