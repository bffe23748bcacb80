#pragma once
/*
 * The session protocol: what runs end to end between a client on the host (cli, or the supervisor
 * for its own needs) and paddock-guest, inside one stream of the link. Frames of wire/frame.h.
 *
 * States, seen from the guest:  OPEN -> (STARTED -> data both ways -> EXIT) | ERROR, then the
 * guest ends the stream. The first frame of the client is always SESSION_OPEN, and there is one.
 *   exec with a terminal   lives in the guest until its process ends; a client that goes away only
 *                          detaches it, ATTACH takes it up again (one client at a time: a newer one
 *                          wins, the older gets ERROR). What it says while nobody is attached is
 *                          kept (the last 64 KiB) and comes first
 *   exec without           its process group gets SIGHUP when the client goes away, then SIGKILL
 *   exec, detached         STARTED then EXIT 0 at once; output goes to /dev/null, a terminal's
 *                          waits for ATTACH
 * A client goes away by closing its socket. A half-close (shutdown(SHUT_WR)) is no more than
 * STDIN_EOF. A stream that ends without EXIT or ERROR means that the machine, or the link, went.
 * All output comes before EXIT.
 * Data frames carry at most FRAME_CHUNK bytes. A frame that breaks these rules ends the stream.
 */
#include <stdbool.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/str.h>
#include <wire/frame.h>

enum session_frame {
	/* client -> guest */
	SESSION_OPEN = 0x01,      /* TLV: struct session_open */
	SESSION_STDIN = 0x02,     /* bytes */
	SESSION_STDIN_EOF = 0x03, /* empty */
	SESSION_WINSIZE = 0x04,   /* u16 rows, u16 columns, big-endian */
	SESSION_SIGNAL = 0x05,    /* u8 signal number, to the foreground process group */
	/* guest -> client */
	SESSION_STARTED = 0x81,    /* u32 session id, big-endian */
	SESSION_STDOUT = 0x82,     /* bytes; a terminal's output too */
	SESSION_STDERR = 0x83,     /* bytes */
	SESSION_STDOUT_EOF = 0x86, /* empty; of FORWARD: no more output, input still goes on */
	SESSION_EXIT = 0x84,       /* u8 exit status: code, or 128+n after signal n */
	SESSION_ERROR = 0x85,      /* u8 exit status to use (125, 126, 127), then text, untrusted */
};

enum session_op {
	SESSION_OP_EXEC = 1,
	SESSION_OP_ATTACH = 2,   /* session: id, or 0 for the latest terminal session */
	SESSION_OP_IDENTITY = 3, /* who the guest is: struct identity; EXIT 0 when applied */
	SESSION_OP_SHUTDOWN = 4, /* sync, unmount, power off; EXIT 0 just before */
	SESSION_OP_FORWARD = 5,  /* port: bytes to and from the guest's 127.0.0.1:port */
	SESSION_OP_LIST = 6,     /* STDOUT: one TLV list of running sessions; EXIT 0 */
	SESSION_OP_PING = 7,     /* EXIT 0 */
	/* STDOUT: the TCP ports on which something listens that FORWARD reaches; EXIT 0 */
	SESSION_OP_LISTENERS = 8,
	/* The machine is about to be saved: its files are written; wake: see wire/line.h; EXIT 0 */
	SESSION_OP_SAVE = 9,
};

/* Limits that both ends enforce. */
#define SESSION_ARGS_MAX 4096
#define SESSION_STR_MAX  131072 /* the kernel's MAX_ARG_STRLEN */

struct session_open {
	enum session_op op;
	struct strv argv; /* exec: never empty */
	struct strv env;  /* exec: KEY=VALUE, put on top of the guest's base environment */
	char *cwd;        /* exec: absolute; NULL: the first workspace */
	char *user;       /* exec: "name|uid[:group|gid]"; NULL: agent */
	bool tty;
	bool stdin_open; /* without it the program reads from /dev/null */
	bool detach;
	bool privileged;  /* accepted for compatibility: the guest's root has everything anyway */
	bool login_shell; /* argv[0] gets a leading '-' */
	uint16_t rows, cols;
	uint32_t session;    /* attach */
	uint16_t port;       /* forward */
	struct buf identity; /* identity: encoded struct identity */
	struct buf wake;     /* save: LINE_WAKE bytes */
};

void session_open_release(struct session_open *o);
void session_open_encode(const struct session_open *o, struct buf *out);
/* 0 or -EBADMSG; *ret is untouched on failure. Checks limits and that op has what it needs. */
int session_open_decode(const void *p, size_t n, struct session_open *ret);

void session_put_winsize(struct buf *b, uint16_t rows, uint16_t cols);
int session_get_winsize(const struct frame *f, uint16_t *ret_rows, uint16_t *ret_cols);

/* One running session, as SESSION_OP_LIST tells it. */
struct session_info {
	uint32_t id;
	uint32_t pid;
	bool tty;
	bool attached;
	char *command; /* argv joined by blanks, shortened; untrusted */
};
void session_info_release(struct session_info *i);
void session_info_encode(const struct session_info *i, struct buf *out); /* one TLV record */
/* Decodes the next record of a list: 1, 0 at the end, -EBADMSG. */
struct tlv_reader;
int session_info_next(struct tlv_reader *r, struct session_info *ret);

/* One entry of the answer to SESSION_OP_LISTENERS; the next one: 1, 0 at the end, -EBADMSG. */
void session_listener_encode(uint16_t port, struct buf *out);
int session_listener_next(struct tlv_reader *r, uint16_t *ret);
