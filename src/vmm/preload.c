/*
 * For QEMU before 8.2 (vmm.h, vmm_needs_preload): a shared object of its own that opens one file,
 * the snapshot's memory, for reading where QEMU asks to write to it as well. QEMU maps it privately
 * (share=off) and never writes to the descriptor; the mount and the mode of the file would not let
 * it, and so it could not be opened at all.
 */
#include <fcntl.h>
#include <stdarg.h>
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
