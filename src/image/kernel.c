#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/proc.h>

#include "kernel.h"

#define BOOT_IMAGE_MAX (256u << 20)
#define UNPACK_MS      120000

/* boot.rst, "Details of Header Fields" */
#define BZ_SETUP_SECTS    0x1f1
#define BZ_MAGIC          0x202 /* "HdrS" */
#define BZ_VERSION        0x206
#define BZ_PAYLOAD_OFFSET 0x248 /* from protocol 2.08 on */
#define BZ_PAYLOAD_LENGTH 0x24c
#define BZ_HEADER_END     0x250

#define XEN_ELFNOTE_PHYS32_ENTRY 18

static const struct packer {
	const char *name;
	uint8_t magic[6];
	size_t magic_len;
	/* The kernel's build puts the unpacked size behind every format but gzip, which has its
	 * own. */
	bool size_appended;
	const char *const unpack[6];
} packers[] = {
	{"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, true, {"zstd", "-dcq", "--no-check", NULL}},
	{"lz4", {0x02, 0x21, 0x4c, 0x18}, 4, true, {"lz4", "-dcq", NULL}},
	{"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, true, {"xz", "-dcq", NULL}},
	{"gzip", {0x1f, 0x8b}, 2, false, {"gzip", "-dcq", NULL}},
};

static uint32_t
le32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

int
bzimage_payload(const void *image, size_t n, struct payload *ret, struct err *e)
{
	const uint8_t *p = image;
	size_t sects, start, offset, length;

	if (n < BZ_HEADER_END || memcmp(p + BZ_MAGIC, "HdrS", 4) != 0)
		return err_set(e, EBADMSG, "not a bzImage");
	if (p[BZ_VERSION] + 256 * p[BZ_VERSION + 1] < 0x208)
		return err_set(e, EBADMSG, "a bzImage of a protocol before 2.08");
	sects = p[BZ_SETUP_SECTS] == 0 ? 4 : p[BZ_SETUP_SECTS];
	offset = le32(p + BZ_PAYLOAD_OFFSET);
	length = le32(p + BZ_PAYLOAD_LENGTH);
	start = (sects + 1) * 512 + offset;
	if (start > n || length > n - start || length < 16)
		return err_set(e, EBADMSG, "a bzImage whose payload lies outside of it");
	for (size_t i = 0; i < ARRAY_LEN(packers); i++) {
		const struct packer *k = &packers[i];

		if (memcmp(p + start, k->magic, k->magic_len) != 0)
			continue;
		ret->offset = start;
		ret->length = length - (k->size_appended ? 4 : 0);
		ret->size = k->size_appended ? le32(p + start + length - 4) : 0;
		ret->unpack = k->unpack;
		return 0;
	}
	return err_set(e, EBADMSG, "a bzImage packed in an unknown way (%02x %02x %02x %02x)",
		p[start], p[start + 1], p[start + 2], p[start + 3]);
}

/* One PT_NOTE segment: a chain of (namesz, descsz, type, name, desc), each padded to 4 bytes. */
static bool
notes_have_pvh(const uint8_t *p, size_t n)
{
	while (n >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr h;
		size_t name, desc;

		memcpy(&h, p, sizeof(h));
		p += sizeof(h);
		n -= sizeof(h);
		name = ((size_t)h.n_namesz + 3) & ~(size_t)3;
		desc = ((size_t)h.n_descsz + 3) & ~(size_t)3;
		if (name > n || desc > n - name)
			return false;
		if (h.n_type == XEN_ELFNOTE_PHYS32_ENTRY && h.n_namesz == 4 &&
			memcmp(p, "Xen", 4) == 0)
			return true;
		p += name + desc;
		n -= name + desc;
	}
	return false;
}

bool
vmlinux_bootable(const void *image, size_t n)
{
	const uint8_t *p = image;
	Elf64_Ehdr h;

	if (n < sizeof(h))
		return false;
	memcpy(&h, p, sizeof(h));
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
		h.e_ident[EI_DATA] != ELFDATA2LSB || le16toh(h.e_machine) != EM_X86_64 ||
		h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phoff > n ||
		(size_t)h.e_phnum * sizeof(Elf64_Phdr) > n - h.e_phoff)
		return false;
	for (size_t i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr ph;

		memcpy(&ph, p + h.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_NOTE && ph.p_offset <= n && ph.p_filesz <= n - ph.p_offset &&
			notes_have_pvh(p + ph.p_offset, ph.p_filesz))
			return true;
	}
	return false;
}

/* The payload on its own, as a file that a program can read from its start. */
static int
unpack(const struct payload *k, const uint8_t *image, int out_fd, struct err *e)
{
	CLEAN_CLOSE int in = io_memfd("payload", image + k->offset, k->length, e);
	CLEAN_CLOSE int pidfd = -1;
	struct proc_spec s = {.file = k->unpack[0],
		.argv = (char *const *)k->unpack,
		.fds = {in, out_fd, -1},
		.nfds = 3,
		.die_with_parent = true};
	pid_t pid;
	int r;

	if (in < 0)
		return in;
	r = proc_spawn(&s, &pid, &pidfd, e);
	if (r < 0)
		return r;
	r = proc_wait(pid, pidfd, deadline_in_ms(UNPACK_MS));
	if (r == 0)
		return 0;
	if (r == -ETIMEDOUT)
		proc_stop(pid, pidfd, 0);
	return err_set(e, EIO, "'%s' could not unpack the kernel (%d)", k->unpack[0], r);
}

/* What was written is a kernel of the announced size that QEMU can start. */
static int
check(int fd, size_t want, struct err *e)
{
	struct stat st;
	void *map;
	bool bootable;

	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "stat");
	if (st.st_size == 0 || (want != 0 && (size_t)st.st_size != want))
		return err_set(e, EBADMSG, "the kernel unpacks to %lld bytes instead of %zu",
			(long long)st.st_size, want);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return err_sys(e, errno, "map");
	bootable = vmlinux_bootable(map, (size_t)st.st_size);
	munmap(map, (size_t)st.st_size);
	return bootable ? 0 : err_set(e, EBADMSG, "the kernel is no x86-64 ELF with a PVH entry");
}

int
vmlinux_extract(const char *boot_image, const char *vmlinux, struct err *e)
{
	CLEAN_BUF struct buf image = BUF_INIT;
	CLEAN_CLOSE int fd = -1;
	struct payload k = {0};
	int r;

	r = io_read_file(AT_FDCWD, boot_image, BOOT_IMAGE_MAX, &image, e);
	if (r < 0)
		return r;
	r = bzimage_payload(image.data, image.len, &k, e);
	if (r < 0 || k.unpack == NULL) /* the second for clang-tidy, which cannot see the first */
		return err_prefix(e, "'%s'", boot_image);
	fd = open(vmlinux, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0)
		return err_sys(e, errno, "create '%s'", vmlinux);
	r = unpack(&k, image.data, fd, e);
	if (r == 0)
		r = check(fd, k.size, e);
	if (r == 0 && (fchmod(fd, 0444) < 0 || fsync(fd) < 0))
		r = err_sys(e, errno, "write '%s'", vmlinux);
	return r;
}
