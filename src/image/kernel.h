#pragma once
/*
 * From a distribution's boot image to the ELF kernel in it, which QEMU starts directly through its
 * PVH note: that saves the guest half a second of unpacking under software emulation.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/err.h>

struct payload {
	size_t offset, length;     /* of the compressed kernel within the boot image */
	size_t size;               /* unpacked; 0 where the format does not say */
	const char *const *unpack; /* command line, stdin to stdout */
};

/* Finds the payload of a bzImage (Linux' Documentation/arch/x86/boot.rst). Pure. */
int bzimage_payload(const void *p, size_t n, struct payload *ret, struct err *e);

/* An x86-64 ELF executable with a PVH entry (XEN_ELFNOTE_PHYS32_ENTRY)? Pure. */
bool vmlinux_bootable(const void *p, size_t n);

/* Writes the ELF kernel of the boot image to a new file, mode 0444, fsynced. */
int vmlinux_extract(const char *boot_image, const char *vmlinux, struct err *e);
