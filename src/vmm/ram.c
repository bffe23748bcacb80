/*
 * How this works: the kernel tells of each page of QEMU's memory whether it is QEMU's own or one of
 * a file that is mapped (Documentation/admin-guide/mm/pagemap.rst of Linux). A page of its own is
 * read from there; any other is as it is in the file that the machine is a clone of, or was never
 * touched. Both are passed over without being read where there is nothing: in a machine of many
 * gigabytes mostly all.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <vmm/vmm.h>

#define PAGE 4096ull
/* At once. */
#define CHUNK_PAGES 512u

/* Of an entry in /proc/PID/pagemap. */
#define IS_PRESENT (1ull << 63)
#define IS_SWAPPED (1ull << 62)
#define IS_FILE    (1ull << 61) /* or shared: not written to by its QEMU */

enum source { NOTHING, MACHINE, BASE };

struct pass {
	const struct vmm_ram *m;
	int base, to;
	uint64_t data, hole; /* of base: its next bytes that are no hole, and their end */
	uint64_t entries[CHUNK_PAGES];
	uint8_t bytes[CHUNK_PAGES * PAGE];
};

static int
open_one(pid_t qemu, const char *what, int *ret, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("/proc/%d/%s", (int)qemu, what);

	*ret = open(path, O_RDONLY | O_CLOEXEC);
	if (*ret < 0)
		return err_sys(e, errno,
			"open '%s' (is tracing one's own processes forbidden here? see "
			"kernel.yama.ptrace_scope)",
			path);
	return 0;
}

int
vmm_ram_open(pid_t qemu, struct vmm_ram *ret, struct err *e)
{
	int r = open_one(qemu, "mem", &ret->mem, e);

	return r == 0 ? open_one(qemu, "pagemap", &ret->pagemap, e) : r;
}

void
vmm_ram_release(struct vmm_ram *m)
{
	cleanup_close_p(&m->mem);
	cleanup_close_p(&m->pagemap);
}

static int
read_all(int fd, void *to, size_t n, uint64_t at, struct err *e)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = pread(fd, (uint8_t *)to + done, n - done, (off_t)(at + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_sys(e, got < 0 ? errno : EIO, "read the machine's memory");
		done += (size_t)got;
	}
	return 0;
}

static int
write_all(int fd, const void *from, size_t n, uint64_t at, struct err *e)
{
	for (size_t done = 0; done < n;) {
		ssize_t put =
			pwrite(fd, (const uint8_t *)from + done, n - done, (off_t)(at + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return err_sys(e, put < 0 ? errno : EIO, "write the machine's memory");
		done += (size_t)put;
	}
	return 0;
}

/* lseek(2), SEEK_DATA. Asked with rising offsets. */
static bool
base_has(struct pass *p, uint64_t at)
{
	if (p->base < 0)
		return false;
	if (p->hole <= at) {
		off_t data = lseek(p->base, (off_t)at, SEEK_DATA);
		off_t hole = data < 0 ? -1 : lseek(p->base, data, SEEK_HOLE);

		p->data = hole < 0 ? UINT64_MAX : (uint64_t)data;
		p->hole = hole < 0 ? UINT64_MAX : (uint64_t)hole;
	}
	return p->data < at + PAGE;
}

static enum source
source_of(struct pass *p, uint64_t entry, uint64_t at)
{
	if ((entry & IS_SWAPPED) != 0 || (entry & (IS_PRESENT | IS_FILE)) == IS_PRESENT)
		return MACHINE;
	return base_has(p, at) ? BASE : NOTHING;
}

static bool
is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* n pages that belong together, without those that hold nothing. */
static int
put_pages(struct pass *p, size_t n, uint64_t at, struct err *e)
{
	size_t i = 0, end;
	int r = 0;

	while (r == 0 && i < n) {
		while (i < n && is_zero(p->bytes + i * PAGE))
			i++;
		for (end = i; end < n && !is_zero(p->bytes + end * PAGE);)
			end++;
		r = write_all(p->to, p->bytes + i * PAGE, (end - i) * PAGE, at + i * PAGE, e);
		i = end;
	}
	return r;
}

static int
save_chunk(struct pass *p, size_t n, uint64_t at, struct err *e)
{
	int r = read_all(p->m->pagemap, p->entries, n * sizeof(p->entries[0]),
		(p->m->address + at) / PAGE * sizeof(p->entries[0]), e);

	for (size_t i = 0, end; r == 0 && i < n; i = end) {
		uint64_t from = at + i * PAGE;
		enum source s = source_of(p, p->entries[i], from);

		for (end = i + 1; end < n; end++)
			if (source_of(p, p->entries[end], at + end * PAGE) != s)
				break;
		if (s == NOTHING)
			continue;
		r = s == MACHINE ? read_all(p->m->mem, p->bytes, (end - i) * PAGE,
					   p->m->address + from, e)
				 : read_all(p->base, p->bytes, (end - i) * PAGE, from, e);
		if (r == 0)
			r = put_pages(p, end - i, from, e);
	}
	return r;
}

int
vmm_ram_save(const struct vmm_ram *m, uint64_t bytes, int base, int to, struct err *e)
{
	CLEAN_FREE struct pass *p = xcalloc(1, sizeof(*p));
	uint64_t npages = bytes / PAGE;
	int r = 0;

	p->m = m;
	p->base = base;
	p->to = to;
	if (ftruncate(to, (off_t)bytes) < 0)
		return err_sys(e, errno, "ftruncate");
	for (uint64_t i = 0; r == 0 && i < npages; i += CHUNK_PAGES) {
		uint64_t n = npages - i < CHUNK_PAGES ? npages - i : CHUNK_PAGES;

		r = save_chunk(p, (size_t)n, i * PAGE, e);
	}
	return r;
}
