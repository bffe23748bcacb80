#pragma once
/*
 * The control protocol between a command and a sandbox's supervisor, on the unix socket
 * $XDG_RUNTIME_DIR/paddock/NAME/sock (mode 0600, peer's uid checked). Frames of wire/frame.h: the
 * client sends one request, the supervisor answers with any number of CONTROL_PROGRESS, then
 * CONTROL_OK or CONTROL_ERROR.
 *   STATUS   OK carries struct control_status
 *   WAIT     OK once the machine is ready; BUSY when it was stopping, at its end: start it anew
 *   SESSION  OK once the machine is ready; from then on the socket speaks the session protocol
 *   PORTS    carries struct control_ports; OK once the running machine has them so; all or none
 *   POLICY   the sandbox's policy.json is another; OK once every connection obeys it
 *   CHANGES  OK once changes.json holds all that the guest has changed up to now
 *   CREDENTIALS  comes with a descriptor (SCM_RIGHTS) of memory that holds an encoded cred_set
 *            (cred/set.h): these are given, those without a value taken away; OK once obeyed
 *   SSH_AGENT  comes with a descriptor that is connected to the host's SSH agent; carries the named
 *            hosts (sshagent_hosts_parse's lines); OK once it is there, or another one was
 *   SAVE     carries the path of an empty folder: OK once the machine is saved there, its disk too,
 *            and goes on; or nothing: it is suspended, OK just before the supervisor ends
 *   STOP     OK just before the supervisor ends; the connection closes with it
 */
#include <stdint.h>

#include <base/buf.h>
#include <base/str.h>

enum control_frame {
	CONTROL_STATUS = 0x01,
	CONTROL_WAIT = 0x02,
	CONTROL_SESSION = 0x03,
	CONTROL_STOP = 0x04,
	CONTROL_PORTS = 0x05,
	CONTROL_POLICY = 0x06,
	CONTROL_CHANGES = 0x08,
	CONTROL_CREDENTIALS = 0x09,
	CONTROL_SSH_AGENT = 0x0a,
	CONTROL_SAVE = 0x0b,
	CONTROL_OK = 0x81,
	CONTROL_ERROR = 0x82,    /* text */
	CONTROL_PROGRESS = 0x83, /* text: a step that began */
	CONTROL_NOTE = 0x84,     /* text: one line to show, e.g. that software emulation is used */
	CONTROL_BUSY =
		0x85, /* start-up pipe: another supervisor has the sandbox; WAIT: see above */
};

#define CONTROL_SSH_HOSTS_MAX 12000 /* one request holds no more */

enum control_state { CONTROL_STARTING = 1, CONTROL_RUNNING = 2, CONTROL_STOPPING = 3 };

struct control_process {
	char *role;
	uint32_t pid;
};

/* A published port: what was asked for, and what came of it. Texts of state/port.h. */
struct control_port {
	char *asked;
	char *listening; /* with the port that the kernel picked; "" where it failed */
	char *error;
};

/* What to take away, then what to add. */
struct control_ports {
	struct strv unpublish, publish;
};
void control_ports_release(struct control_ports *p);
void control_ports_encode(const struct control_ports *p, struct buf *out);
int control_ports_decode(const void *p, size_t n, struct control_ports *ret); /* 0, -EBADMSG */

struct control_status {
	enum control_state state;
	char *accel;         /* "kvm" or "tcg" */
	uint64_t started_ns; /* CLOCK_REALTIME */
	uint64_t boot_ms;    /* from the supervisor's start to ready; 0: not yet */
	struct control_process *processes;
	size_t nprocesses;
	struct control_port *ports;
	size_t nports;
	struct strv credentials; /* names of those that it was given */
};

const char *control_state_name(enum control_state s);
void control_status_release(struct control_status *s);
void control_status_add_process(struct control_status *s, const char *role, uint32_t pid);
void control_status_add_port(
	struct control_status *s, const char *asked, const char *listening, const char *error);
void control_status_encode(const struct control_status *s, struct buf *out);
int control_status_decode(const void *p, size_t n, struct control_status *ret); /* 0, -EBADMSG */
