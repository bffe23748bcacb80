/*
 * For a clone's QEMU before 8.2 (vmm.h, vmm_needs_preload): a shared object of its own.
 *
 * What it is for: it opens one file, the snapshot's memory, for reading where QEMU asks to write to
 * it as well. QEMU maps it privately (share=off) and never writes to the descriptor; the mount and
 * the mode of the file would not let it, and so it could not be opened at all.
 *
 * And since a clone's start is half page faults and relocations, as it is there:
 *   - it stands for two of QEMU's libraries (VMM_PRELOAD_STANDS_FOR) that a sandbox has no use for:
 *     the disassembler of its debugging log and persistent memory, which brings libcrypto and six
 *     others. A third of QEMU's start and 2 MB of private memory are theirs. All that their
 *     interfaces have is here, and ends QEMU, were it ever called;
 *   - QEMU's heap is not given back between the building of its devices, which take it again.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vmm/vmm.h>

#define EXPORTED __attribute__((visibility("default")))

/* What glibc's open(3) is since 2.26. */
static int
open_it(const char *path, int flags, mode_t mode)
{
	if (strcmp(path, VMM_PATH_RAM) == 0)
		flags = (flags & ~O_ACCMODE) | O_RDONLY;
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

/* With 64-bit offsets, as QEMU is built too, its name in the library is open64. */
EXPORTED int
open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE)
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return open_it(path, flags, mode);
}

/* What a fortified build calls where it can see that there is no mode. The name is glibc's. */
EXPORTED int __open64_2(const char *path, int flags); /* NOLINT */

int /* NOLINTNEXTLINE */
__open64_2(const char *path, int flags)
{
	return open_it(path, flags, 0);
}

/* QEMU calls it whenever it has nothing to free just now; what it gave back is split out of huge
 * pages and comes again page by page. */
EXPORTED int malloc_trim(size_t pad);

int
malloc_trim(size_t pad)
{
	(void)pad;
	return 0;
}

#define UNUSED(name)                                                                               \
	EXPORTED void name(void);                                                                  \
	void name(void)                                                                            \
	{                                                                                          \
		__builtin_trap();                                                                  \
	}

/* libcapstone.so.4: capstone/capstone.h */
UNUSED(cs_version)
UNUSED(cs_support)
UNUSED(cs_open)
UNUSED(cs_close)
UNUSED(cs_option)
UNUSED(cs_errno)
UNUSED(cs_strerror)
UNUSED(cs_disasm)
UNUSED(cs_disasm_ex)
UNUSED(cs_disasm_iter)
UNUSED(cs_malloc)
UNUSED(cs_free)
UNUSED(cs_reg_name)
UNUSED(cs_insn_name)
UNUSED(cs_group_name)
UNUSED(cs_insn_group)
UNUSED(cs_reg_read)
UNUSED(cs_reg_write)
UNUSED(cs_op_count)
UNUSED(cs_op_index)
UNUSED(cs_regs_access)

/* libpmem.so.1: libpmem(7) */
UNUSED(pmem_map_file)
UNUSED(pmem_unmap)
UNUSED(pmem_is_pmem)
UNUSED(pmem_persist)
UNUSED(pmem_msync)
UNUSED(pmem_flush)
UNUSED(pmem_drain)
UNUSED(pmem_deep_flush)
UNUSED(pmem_deep_drain)
UNUSED(pmem_deep_persist)
UNUSED(pmem_has_hw_drain)
UNUSED(pmem_has_auto_flush)
UNUSED(pmem_memmove)
UNUSED(pmem_memcpy)
UNUSED(pmem_memset)
UNUSED(pmem_memmove_persist)
UNUSED(pmem_memcpy_persist)
UNUSED(pmem_memset_persist)
UNUSED(pmem_memmove_nodrain)
UNUSED(pmem_memcpy_nodrain)
UNUSED(pmem_memset_nodrain)
UNUSED(pmem_check_version)
UNUSED(pmem_errormsg)
