#pragma once
/*
 * Who a booted guest is: told by the supervisor once, after boot or after a clone wakes, before
 * anything of the user's runs; and again where a machine that had been told goes on (again).
 * Trusted on the guest's side, for the host outranks the guest; still decoded strictly.
 */
#include <stdbool.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/str.h>

struct identity_workspace {
	char *path; /* absolute, normalised; the same on the host and in the guest */
	bool read_only;
	bool is_file; /* a single file, not a folder */
};

#define IDENTITY_WORKSPACES_MAX 64
#define IDENTITY_SHADOWS_MAX    64
#define IDENTITY_GIT_MAX        16

/* How a machine goes on that has been told before. */
enum identity_again {
	IDENTITY_AGAIN = 1, /* it was stopped for a moment */
	IDENTITY_WOKEN = 2, /* it was saved: whom it was connected to has gone */
};

struct identity {
	char *hostname;     /* the sandbox's name made fit for a host name */
	char *name;         /* the sandbox's name */
	char *machine_id;   /* machine-id(5): 32 digits, the sandbox's own */
	uint32_t uid, gid;  /* of the user agent */
	uint64_t time_ns;   /* the host's CLOCK_REALTIME at sending */
	char *timezone;     /* "Europe/Berlin", or a POSIX TZ string; NULL: UTC */
	struct buf entropy; /* 64 bytes at least, for RNDADDENTROPY */
	struct buf ca_pem;  /* the host's CA certificates that the image lacks; may be empty */
	struct strv git;    /* SECTION.KEY=VALUE, for all of the guest's git (git-config(1)) */
	struct strv env;    /* KEY=VALUE for every session (create -e) */
	struct identity_workspace *workspaces;
	size_t nworkspaces;  /* the first is the primary one, the default cwd */
	struct strv shadows; /* folders in them that are on the guest's own disk; absolute */
	/* The guest's end of the jail's network. */
	char *address;       /* "198.18.0.2/30" */
	char *gateway;       /* "198.18.0.1": also name server and host.docker.internal */
	uint64_t disk_bytes; /* the size the root file system may grow to; 0: leave it */
	unsigned again;      /* enum identity_again; 0: it has not been told yet */
};

void identity_release(struct identity *i);
void identity_add_workspace(struct identity *i, const char *path, bool read_only, bool is_file);
void identity_encode(const struct identity *i, struct buf *out);
int identity_decode(const void *p, size_t n, struct identity *ret); /* 0 or -EBADMSG */
