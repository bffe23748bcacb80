#pragma once
/*
 * A snapshot: a machine that has booted and waits to be told who it is, saved whole, for new
 * sandboxes to be clones of. It knows nothing of any of them. Below DATA/snapshots, 0700:
 *   ID/ram            the guest's memory, sparse, 0400
 *   ID/state          its devices, as QEMU writes them, 0400
 *   ID/disk.qcow2     its disk, an overlay on the template's, 0400
 *   ID/snapshot.json  what it belongs to; its time of change is the last use
 *   .new-XXXXXX       being made, locked by the maker;  .lock: held by the maker
 *   .failed-ID        why one could not be made or used, for a while not tried again
 */
#include <stdbool.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/err.h>
#include <base/str.h>
#include <image/image.h>
#include <vmm/vmm.h>

/* Kept at most; the least recently used go first, whose clones live on. */
#define SNAPSHOTS_MAX       8
#define SNAPSHOTS_BYTES_MAX (4ull << 30)

#define SNAPSHOT_RAM   "ram"
#define SNAPSHOT_STATE "state"
#define SNAPSHOT_DISK  "disk.qcow2"

/* What a machine is made of, and on what. */
struct snapshot_shape {
	const struct image *image;
	const char *qemu;           /* the program */
	struct vmm_machine machine; /* its descriptors, TSC rate and memory are of no account */
	uint64_t disk_bytes;
};

/*
 * The shape as text: a snapshot serves the very same text only. QEMU's whole argument list is in
 * it, and of each file its size and time of change.
 */
int snapshot_key(const struct snapshot_shape *shape, struct buf *out, struct err *e);

#define SNAPSHOT_ID_SIZE 17
void snapshot_id(const char *key, char out[SNAPSHOT_ID_SIZE]);

struct snapshot {
	char *id, *image; /* image: the template's id */
	char *key;
	unsigned qemu_major, qemu_minor;
	uint64_t tsc_khz;         /* TCG: what its kernel was told */
	char *boot_id;            /* of the host when it was made */
	int64_t created;          /* seconds since the epoch */
	int64_t used;             /* the same, in a list */
	char *ram, *state, *disk; /* absolute paths */
	uint64_t used_bytes;
	int lock; /* as long as it is open nobody removes it; -1: not held */
};

#define SNAPSHOT_INIT                                                                              \
	{                                                                                          \
		.lock = -1                                                                         \
	}
void snapshot_release(struct snapshot *s);
void snapshot_unlock(struct snapshot *s);

/*
 * The one for this key, locked until it is released, and marked as used. -ENOENT: there is none.
 * One that cannot be read, or whose TSC rate is another than tsc_khz (0: of no account), is
 * dropped.
 */
int snapshot_open(const char *data_dir, const char *key, uint64_t (*tsc_khz)(void),
	struct snapshot *ret, struct err *e);
/* The host's, of this boot. Caller frees; NULL and e. */
char *snapshot_boot_id(struct err *e);

/*
 * Making one. The lock is waited for; whom it was waited for may have made it. The folder is empty
 * and locked; what it holds becomes the snapshot in one step, which takes the three files by their
 * names.
 */
int snapshot_lock(const char *data_dir, uint64_t limit_ms, struct err *e);
int snapshot_begin(const char *data_dir, char **ret_folder, struct err *e); /* a descriptor */
int snapshot_publish(
	const char *data_dir, const char *folder, const struct snapshot *s, struct err *e);

/* Throws one away and says why in .failed-ID. Nothing of it needs to be there. */
void snapshot_failed(const char *data_dir, const char *id, const char *why);
/* Whether it is too soon to try again; *ret_why (caller frees) is what was said. */
bool snapshot_is_failed(const char *data_dir, const char *id, char **ret_why);

struct snapshot_list {
	struct snapshot *v;
	size_t n;
};
void snapshot_list_release(struct snapshot_list *l);
/* By last use, the latest first; none is locked. */
int snapshot_list(const char *data_dir, struct snapshot_list *ret, struct err *e);
/* Those of this template, or all (NULL) with every trace of failure; ones in use stay. */
int snapshot_drop(const char *data_dir, const char *image, uint64_t *ret_bytes, struct err *e);

/* Pure: snapshot.json. */
char *snapshot_encode(const struct snapshot *s);
int snapshot_decode(const char *text, struct snapshot *ret, struct err *e);
