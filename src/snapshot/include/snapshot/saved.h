#pragma once
/*
 * A machine of a sandbox's own, saved in the midst of its life: to go on where it was (suspended),
 * to go back to (a checkpoint), to be copied (forked). A folder, private to the user:
 *   ram, state   as of a snapshot (snapshot.h)
 *   fs           the fs role's journal, sparse
 *   fs-unread    what the fs role had said and the machine had not read
 *   disk.qcow2   where it is a copy
 *   copies       asked for by whoever has it saved: workspaces to be copied while nothing moves
 *   saved.json   what it belongs to: written last
 *   used         a machine was started from it, in the host's boot of this id
 */
#include <stdbool.h>
#include <stdint.h>

#include <base/err.h>
#include <base/str.h>
#include <wire/line.h>

#define SAVED_RAM       "ram"
#define SAVED_STATE     "state"
#define SAVED_FS        "fs"
#define SAVED_FS_UNREAD "fs-unread"
#define SAVED_DISK      "disk.qcow2"
#define SAVED_COPIES    "copies"

/* Memory and disk belong together: a disk that was written to since is another one. */
struct saved_disk {
	uint64_t size;
	int64_t mtime_s;
	uint32_t mtime_ns;
};

struct saved {
	char *key;     /* snapshot_key's text */
	char *boot_id; /* of the host when it was saved */
	unsigned qemu_major, qemu_minor;
	uint64_t tsc_khz;        /* TCG: what its kernel was told */
	unsigned journal;        /* version of the fs role's */
	uint8_t wake[LINE_WAKE]; /* wire/line.h */
	int64_t created;         /* seconds since the epoch */
	struct saved_disk disk;  /* the one that it goes on with */
	bool copied;             /* it goes on with copies of its workspaces */
	bool durable;            /* all of it is on the disk; else it ends with the host's boot */
	bool used;               /* the file is there, of this boot of the host */
	bool used_before;        /* of an earlier one: how far the disk got, nobody knows */
};

void saved_release(struct saved *s);
/* 0, -ENOENT where nothing whole is there, -errno. */
int saved_read(const char *folder, struct saved *ret, struct err *e);
/* Writes saved.json, by which the folder becomes whole. */
int saved_write(const char *folder, const struct saved *s, struct err *e);
/* All of a folder, which is whole, on the disk. */
int saved_settle(const char *folder, struct err *e);
/* Makes "used", on the disk. */
int saved_mark_used(const char *folder, struct err *e);

/*
 * Another machine is to go on from what is saved, with a disk: its files in the folder to, which is
 * there and empty, are links to those in from, whose disk is copied. copied: its workspaces are.
 */
int saved_place(const char *from, const char *to, const char *disk, bool copied, struct err *e);

/* Pairs of paths, from and to: what SAVED_COPIES asks for. Empty where there is no such file. */
int saved_copies_write(const char *folder, const struct strv *pairs, struct err *e);
int saved_copies_read(const char *folder, struct strv *ret, struct err *e);

int saved_disk_of(const char *path, struct saved_disk *ret, struct err *e);
/*
 * Why a machine cannot go on from it: 0; -EUCLEAN: its disk has gone on without it, it is of no use
 * any more; -ESTALE: the host is another (key, clock), and as it was it would do.
 */
int saved_check(const struct saved *s, const char *key, const char *disk, uint64_t (*tsc_khz)(void),
	unsigned journal, struct err *e);
