#pragma once
/*
 * The initramfs: paddock-guest as /init, the modules that a boot needs, and /modules.list, which
 * names them in the order of loading. A newc cpio archive (Linux'
 * Documentation/driver-api/early-userspace/buffer-format.rst), written here rather than by a
 * program, because an ordinary user's program could not put device nodes into it; not compressed,
 * because unpacking costs an emulated guest more than reading.
 */
#include <sys/types.h>

#include <base/buf.h>
#include <base/err.h>

void cpio_begin(struct buf *out);
/* mode holds the file type; rdev is for device nodes. Owner root, time 0. */
void cpio_entry(
	struct buf *out, const char *path, mode_t mode, dev_t rdev, const void *p, size_t n);
void cpio_end(struct buf *out);

/*
 * Makes kernel_dir/initramfs-DIGEST, unless it is there, from kernel_dir/modules and the guest
 * binary, whose contents DIGEST stands for. Caller frees *ret_path.
 */
int initramfs_ensure(const char *kernel_dir, const char *guest_bin, char **ret_path, struct err *e);
