/* Saving a machine's memory from outside, against a process (this one) that plays QEMU. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <vmm/vmm.h>

#define PAGE   4096ull
#define PAGES  1300u /* more than are read at once, and no multiple of it */
#define ROUNDS 8

/* A file with no name, on a disk: page caches and holes are as a snapshot's. */
static int
file(uint64_t bytes)
{
	char path[] = "/var/tmp/paddock-ram-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static uint8_t *
map(int base, uint64_t bytes)
{
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_NORESERVE | (base < 0 ? MAP_ANONYMOUS : 0), base, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	madvise(p, bytes, MADV_NOHUGEPAGE);
	return p;
}

static void
save(const uint8_t *memory, uint64_t bytes, int base, int to)
{
	CLEANUP(vmm_ram_release) struct vmm_ram m = VMM_RAM_INIT;
	struct err e = {0};

	if (vmm_ram_open(getpid(), &m, &e) < 0)
		fail_msg("%s", e.msg);
	m.address = (uint64_t)(uintptr_t)memory;
	if (vmm_ram_save(&m, bytes, base, to, &e) < 0)
		fail_msg("%s", e.msg);
}

static void
assert_same(const uint8_t *memory, uint64_t bytes, int to)
{
	uint8_t page[PAGE];
	struct stat st;

	assert_int_equal(fstat(to, &st), 0);
	assert_int_equal(st.st_size, bytes);
	for (uint64_t at = 0; at < bytes; at += PAGE) {
		assert_int_equal(pread(to, page, PAGE, (off_t)at), PAGE);
		if (memcmp(page, memory + at, PAGE) != 0)
			fail_msg("page %llu is another", (unsigned long long)(at / PAGE));
	}
}

static uint64_t
disk_bytes(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* Each page of the base: a hole, zeros, data; then left alone, read, written to, made all zeros. */
static void
scramble(int base, uint8_t *memory)
{
	uint8_t page[PAGE];

	for (uint64_t i = 0; i < PAGES; i++) {
		int what = rand() % 8;

		if (what == 0)
			memory[i * PAGE + (uint64_t)rand() % PAGE] = (uint8_t)(rand() | 1);
		else if (what == 1)
			memset(memory + i * PAGE, 0, PAGE);
		else if (what == 2)
			assert_true(memory[i * PAGE] != 0x55);
		if (base < 0 || rand() % 3 != 0)
			continue;
		memset(page, rand() % 2 == 0 ? 0 : 0xaa, PAGE);
		assert_int_equal(pwrite(base, page, PAGE, (off_t)(i * PAGE)), PAGE);
	}
}

static void
random_pages(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= ROUNDS; seed++) {
		CLEAN_CLOSE int base = seed % 2 == 0 ? -1 : file(PAGES * PAGE);
		CLEAN_CLOSE int to = file(0);
		uint8_t *memory = map(base, PAGES * PAGE);

		srand(seed);
		scramble(base, memory);
		save(memory, PAGES * PAGE, base, to);
		assert_same(memory, PAGES * PAGE, to);
		munmap(memory, PAGES * PAGE);
	}
}

static size_t
resident(void *at, uint64_t bytes)
{
	CLEAN_FREE uint8_t *pages = xmalloc(bytes / PAGE);
	size_t n = 0;

	assert_int_equal(mincore(at, bytes, pages), 0);
	for (uint64_t i = 0; i < bytes / PAGE; i++)
		n += pages[i] & 1;
	return n;
}

/* Of 8 GiB three pages are something: no other is made present, here or in the base's cache. */
static void
untouched_is_not_read(void **state)
{
	const uint64_t bytes = 8ull << 30;

	(void)state;
	for (int clone = 0; clone < 2; clone++) {
		CLEAN_CLOSE int base = clone ? file(bytes) : -1;
		CLEAN_CLOSE int to = file(0);
		uint8_t *memory = map(base, bytes);
		size_t before;

		memory[5 * PAGE] = 1;
		memory[bytes / 2] = 2;
		memory[bytes - 1] = 3;
		before = resident(memory, bytes);
		save(memory, bytes, base, to);
		/* Fewer: the kernel may take back what nobody uses. */
		assert_in_range(resident(memory, bytes), 0, before);
		assert_in_range(disk_bytes(to), 3 * PAGE, 64 * PAGE);
		assert_int_equal(lseek(to, 0, SEEK_DATA) / PAGE, 5);
		munmap(memory, bytes);
	}
}

static void
no_room(void **state)
{
	CLEAN_CLOSE int to = open("/dev/full", O_WRONLY | O_CLOEXEC);
	CLEANUP(vmm_ram_release) struct vmm_ram m = VMM_RAM_INIT;
	uint8_t *memory = map(-1, 16 * PAGE);
	struct err e = {0};

	(void)state;
	assert_int_equal(vmm_ram_open(getpid(), &m, &e), 0);
	memory[0] = 1;
	m.address = (uint64_t)(uintptr_t)memory;
	assert_true(vmm_ram_save(&m, 16 * PAGE, -1, to, &e) < 0);
	munmap(memory, 16 * PAGE);
}

/* A QEMU that tells of memory that it does not have. */
static void
not_there(void **state)
{
	CLEAN_CLOSE int to = file(0);
	CLEANUP(vmm_ram_release) struct vmm_ram m = VMM_RAM_INIT;
	uint8_t *memory = map(-1, 16 * PAGE);
	struct err e = {0};

	(void)state;
	memory[0] = 1;
	assert_int_equal(vmm_ram_open(getpid(), &m, &e), 0);
	munmap(memory, 16 * PAGE);
	m.address = UINT64_MAX - PAGE + 1;
	assert_true(vmm_ram_save(&m, 16 * PAGE, -1, to, &e) < 0);
	assert_true(vmm_ram_open(0x7fffffff, &m, &e) < 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_pages),
		cmocka_unit_test(untouched_is_not_read),
		cmocka_unit_test(no_room),
		cmocka_unit_test(not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
