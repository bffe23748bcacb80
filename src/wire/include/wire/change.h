#pragma once
/*
 * What a guest changed in a workspace that the host may run later: told by the fs role to the
 * supervisor over a SOCK_SEQPACKET, one packet each. A later packet about the same path and key
 * takes the place of the earlier one.
 *   fs -> supervisor   FS_CHANGE and an encoded struct change; FS_SYNCED
 *   supervisor -> fs   FS_SYNC: look at everything, tell what is new, then FS_SYNCED
 *   supervisor -> fs   FS_FREEZE: end what was begun, then FS_FROZEN, and do nothing at all, nor
 *                      write to the journal, until FS_THAW
 */
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

enum fs_packet {
	FS_CHANGE = 'C',
	FS_SYNCED = 'S',
	FS_SYNC = 'Q',
	FS_FREEZE = 'F',
	FS_FROZEN = 'Z',
	FS_THAW = 'T',
};

enum change_kind {
	CHANGE_HOOK = 1, /* git's hooks, and what hook managers read */
	CHANGE_GIT,      /* settings of git that run programs */
	CHANGE_EDITOR,
	CHANGE_SHELL, /* what shells, debuggers and package managers read by themselves */
	CHANGE_AGENT, /* coding agents' instructions, tools and hooks */
	CHANGE_KINDS
};

enum change_what {
	CHANGE_NONE, /* as it was */
	CHANGE_ADDED,
	CHANGE_MODIFIED,
	CHANGE_REMOVED,
	CHANGE_REFUSED, /* the guest tried, and could not */
	CHANGE_LOST,    /* more than can be kept: the list is not complete */
	CHANGE_WHATS
};

#define CHANGE_PATH_MAX  4095
#define CHANGE_KEY_MAX   512
#define CHANGE_VALUE_MAX 300

struct change {
	enum change_kind kind;
	enum change_what what;
	char *path;     /* absolute; any bytes but NUL */
	char *key;      /* of a setting; "" for a whole file */
	char *value;    /* the setting's value now, cut; "" */
	uint64_t at_ms; /* CLOCK_REALTIME */
	uint64_t times; /* CHANGE_REFUSED: how often since it was last told */
};

void change_release(struct change *c);
void change_encode(const struct change *c, struct buf *out);
int change_decode(const void *p, size_t n, struct change *ret); /* 0 or -EBADMSG */
