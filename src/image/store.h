#pragma once
/*
 * The images on disk: DATA/templates/ID/{disk.ext4,template.json,ca-certificates.crt}, for a
 * kit's layer DATA/templates/ID/{disk.qcow2,template.json}, and
 * DATA/kernels/KERNEL/{vmlinux,modules/,initramfs-*}. An image never changes once its folder has
 * its name, for sandboxes' disks are overlays on it; a new build is a new folder.
 */
#include <stdbool.h>
#include <stdint.h>

#include <base/err.h>
#include <base/str.h>

#define TEMPLATE_VERSION 2 /* written for layers, which came later; 1 for images */

/* template.json */
struct template
{
	char *id;
	char *name;
	char *base;           /* a layer: the image that it stands on; else NULL */
	char *recipe;         /* its digest, or a layer's */
	char *kernel;         /* folder below kernels/ */
	char *kernel_release; /* uname -r */
	uint64_t disk_bytes;
	int64_t created; /* seconds since the epoch */
};
void template_release(struct template *t);

/* Names that come from elsewhere and become a folder's: letters, digits, "._+~-", no leading dot.
 */
bool store_name_fits(const char *s);

/* Pure: text as written, and back; -EPROTO for a newer version, -EBADMSG for anything unreadable.
 */
char *template_encode(const struct template *t);
int template_decode(const char *text, struct template *ret, struct err *e);

/* -ENOENT when there is none. */
int store_load(const char *data_dir, const char *id, struct template *ret, struct err *e);
/* All ids there are, sorted. */
int store_ids(const char *data_dir, struct strv *ret, struct err *e);

/* Makes the folders. */
int store_init(const char *data_dir, struct err *e);

#define STORE_LOCK_IMAGES ".lock"
#define STORE_LOCK_LAYERS ".lock-kits"
/*
 * The builder's lock, also inherited by a builder's programs, so that it is free only when the last
 * of them is gone. Returns a descriptor; waits up to limit_ms, calling waiting() once when it has
 * to.
 */
int store_lock(const char *data_dir, const char *file, uint64_t limit_ms,
	void (*waiting)(void *arg), void *arg, struct err *e);

/* With the lock held: kernels that no image uses. */
int store_drop_kernels(const char *data_dir, struct err *e);
