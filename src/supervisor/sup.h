#pragma once
/* The supervisor's state and the seams between its files. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <uv.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/err.h>
#include <image/image.h>
#include <jail/jail.h>
#include <policy/policy.h>
#include <snapshot/snapshot.h>
#include <state/port.h>
#include <state/change_list.h>
#include <state/state.h>
#include <vmm/vmm.h>
#include <wire/control.h>
#include <wire/identity.h>
#include <wire/session.h>

#include "boundlog.h"
#include "roles.h"

enum phase { PHASE_STARTING, PHASE_RUNNING, PHASE_STOPPING, PHASE_DONE };

struct child {
	const char *role; /* "qemu", "fs", ...; NULL: slot is free */
	pid_t pid;
	int pidfd;
	uv_poll_t *poll;
	unsigned restarts;
	uint64_t restarts_since_ms;
};

enum {
	CHILD_QEMU,
	CHILD_FS,
	CHILD_LINK,
	CHILD_NET,
	CHILD_RESOLVER,
	CHILD_SIGNER,
	CHILD_SSH,
	CHILD_LOG,
	CHILD_SNAPSHOT,
	CHILD_SAVE,
	CHILD_COUNT
};

struct sup {
	uv_loop_t loop;
	enum phase phase;
	struct state_paths paths;
	struct sandbox sandbox;
	struct image image;
	enum vmm_accel accel;
	uint64_t tsc_khz;         /* TCG: of the host */
	struct snapshot snapshot; /* what this machine is a clone of; id NULL: it boots */
	bool snapshot_tried;      /* to make one */
	bool cloning; /* QEMU runs and the guest has not answered: what goes wrong is the snapshot's
		       */
	bool restart; /* the clone did not come up: to be started once more */
	struct buf wake;     /* it goes on from where it was saved: see wire/line.h; else empty */
	bool resuming;       /* that is tried: where it fails, what was saved stays */
	bool copied;         /* and the workspaces are copies of those that it was saved with */
	unsigned again;      /* enum identity_again, for its identity */
	unsigned told_again; /* how often, since it was saved last */
	struct saving *saving;
	bool suspended, stop_asked; /* it ends so; to be stopped once it is not being saved */
	struct jail jail;
	struct jail_net jail_net;
	struct qmp *qmp;
	int lock_fd, listen_fd, report_fd;
	int roles_fd;              /* paddock-role as it was when this one started */
	int link_control;          /* SOCK_SEQPACKET to the link role */
	int net_control;           /* SOCK_SEQPACKET to net; closing it ends net */
	int fs_stream, fs_journal; /* kept for the next fs role, when one dies */
	int fs_peer;               /* QEMU's end of fs_stream, to see what it has not read */
	int ram_fd;                /* the memory of what it is a clone of; -1: of nothing */
	uv_poll_t *net_poll;
	struct policy policy;
	struct buf authority, authority_cert; /* PEM: with the key, without */
	struct identity identity;             /* what the guest is told */
	uint16_t udp_ports[POLICY_RULES_MAX]; /* what the jail has open */
	size_t nudp_ports;
	uint64_t policy_asked, policy_obeyed;
	int credentials_fd;           /* memory that holds those it was given; -1: none */
	struct strv credential_names; /* of them */
	char *ssh_hosts;              /* of the ssh role: what it was given last */
	uv_timer_t policy_timer;
	int events[2]; /* from net to log, kept for both; [1] is net's end */
	struct child child[CHILD_COUNT];
	struct boundlog console, log;
	uv_poll_t listen_poll, console_poll, log_poll, link_poll, qmp_poll;
	uv_timer_t boot_timer, stop_timer, paused_timer, lost_timer, log_timer;
	uv_signal_t sigterm, sigint;
	int console_fd, log_fd; /* read ends */
	int log_writer;         /* what children get as stderr */
	uint64_t start_ms, boot_ms, started_ns;
	bool guest_up;   /* the link role has said so */
	bool asked_quit; /* QEMU, after the guest did not power off */
	bool paused;     /* QEMU stopped the machine: the host's disk is full */
	struct client *clients;
	struct guest_call *calls;
	struct published *published;
	int changes_fd; /* SOCK_SEQPACKET to the fs role; -1: nobody is there */
	uv_poll_t *changes_poll;
	uv_timer_t changes_timer;
	struct change_list changes;
	bool changes_dirty, changes_unread; /* to be saved; the file could not be read */
	uint64_t changes_asked, changes_done;
	char *note;
	char lost[1024]; /* a cable or its role ended: why it stops unless QEMU ends as well */
	char why[1024];  /* why it stops: a sentence; empty for a plain stop */
};

/* sup.c */
void sup_fail(struct sup *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As sup_fail, but the machine's end, which mostly is behind it, may still be told in its place. */
void sup_lost(struct sup *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sup_stop(struct sup *s); /* orderly: asks the guest, then by force */
void sup_progress(struct sup *s, const char *what);
/* A line for whoever starts the sandbox. */
void sup_note(struct sup *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sup_watch_machine(struct sup *s); /* it has started */
void sup_ready(struct sup *s);
void sup_powered_off(struct sup *s); /* fails with what the console says of it */
char *sup_last_words(struct sup *s); /* of our processes, in their log; caller frees */
void sup_child_ended(struct sup *s); /* while stopping: was it the last? */
void sup_tell_again(struct sup *s);  /* its identity, after it stood still */
void sup_suspended(struct sup *s);   /* it has been saved, and ends */

/* policy.c: what net is told */
void sup_policy_start(struct sup *s, void (*note)(struct sup *s, const char *text));
/* Has the jail hand net the UDP that the policy of now opens, and refuse all other. */
int sup_policy_open_udp(struct sup *s, struct err *e);
void sup_policy_net_started(struct sup *s, int control_fd); /* takes it */
void sup_policy_net_ended(struct sup *s);
/* Reads it anew. The number is obeyed later (sup_control_obeyed), whatever the result. */
int sup_policy_change(struct sup *s, uint64_t *ret_number, struct err *e);
/* Has net take the present policy and credentials. */
uint64_t sup_policy_hand_over(struct sup *s);

/* credentials.c: handed on, never looked at but to put them together */
/* Memory with an encoded cred_set, which stays the caller's. The number as of sup_policy_change. */
int sup_credentials_take(struct sup *s, int memory, uint64_t *ret_number, struct err *e);

/* ssh.c */
/* A connection to the host's SSH agent, which stays the caller's, for these hosts. */
int sup_ssh_take(struct sup *s, int agent, const void *hosts, size_t n, struct err *e);

/* trust.c */
/* The sandbox's authority: read, or made where there is none yet. */
int sup_authority_load(struct sup *s, struct err *e);
/* The host's trust store, as PEM; nothing where it has none. */
void sup_trust_bundle(struct buf *out);

/* paused.c: a host whose disk is full */
#define PAUSED_TEXT                                                                                \
	"the machine is paused: the host's disk is full; free space, and it goes on by itself"
void sup_paused_watch(struct sup *s);
void sup_paused_forget(struct sup *s); /* what was said of stops that were ours */

/* clone.c: a sandbox that has never run is a clone of a snapshot */
struct vmm_machine sup_machine_plan(const struct sup *s);
/* What measures the rate that a snapshot's must be; NULL where it is of no account. */
typedef uint64_t sup_tsc_measure(void);
sup_tsc_measure *sup_tsc_rate(const struct sup *s);
int sup_snapshot_key(const struct sup *s, struct buf *out, struct err *e);
int sup_saved_key(const struct sup *s, struct buf *out, struct err *e); /* snapshot/saved.h */
/* Starts the machine, from what there is to start it from; perhaps only later. */
int sup_start_machine(struct sup *s, struct err *e);
void sup_snapshot_made(struct sup *s, int code); /* the maker's end */
void sup_clone_failed(struct sup *s);            /* s->why says it */

/* machine.c: the jail, QEMU and the roles, started and watched */
int sup_roles_open(struct sup *s, struct err *e); /* their program, for all later starts */
int sup_machine_start(struct sup *s, struct err *e);
int sup_spawn_snapshot(struct sup *s, struct err *e);
/* Both descriptors stay the caller's. */
int sup_spawn_ssh(struct sup *s, int session, int agent, struct err *e);
/* role_save.c: writes the memory, and of a machine that goes on, the disk. */
int sup_spawn_save(
	struct sup *s, const char *folder, bool suspend, const struct vmm_ram *m, struct err *e);
void sup_machine_kill(struct sup *s);
bool sup_machine_gone(const struct sup *s); /* every child has been awaited */

/* control.c */
int sup_control_listen(struct sup *s, struct err *e);
void sup_control_ready(struct sup *s);   /* answers those that wait */
void sup_control_changes(struct sup *s); /* answers those whose question was answered */
void sup_control_saved(struct sup *s, const char *why); /* NULL: it is */
void sup_control_finish(struct sup *s, bool failed);
void sup_control_progress(struct sup *s, const char *what);
void sup_control_obeyed(struct sup *s); /* answers those who changed the policy */

/* guest_call.c: one session of the supervisor's own with the guest */
typedef void (*guest_call_cb)(struct sup *s, int status, const char *text);
#define GUEST_CALL_SILENT (-2)
/* cb gets the exit status, or -1 (no answer in time: GUEST_CALL_SILENT) and a text. The payload is
 * an encoded struct session_open. */
int sup_guest_call(struct sup *s, const struct session_open *o, uint64_t timeout_ms,
	guest_call_cb cb, struct err *e);
void sup_guest_calls_drop(struct sup *s);
/* Hands a socket to the link role, which makes a stream of it; the descriptor is closed here. */
int sup_link_session(struct sup *s, int fd, struct err *e);

/* ports.c */
void sup_ports_start(struct sup *s, void (*note)(struct sup *s, const char *text));
int sup_ports_change(struct sup *s, const struct control_ports *c, struct err *e);
void sup_ports_status(const struct sup *s, struct control_status *ret);

/* changes.c */
void sup_changes_init(struct sup *s);
/* A new channel to a new fs role; its end is the caller's. */
int sup_changes_open(struct sup *s, int *ret_role_fd, struct err *e);
/* Asks the fs role for all: the question's number, answered when s->changes_done reaches it. */
uint64_t sup_changes_ask(struct sup *s);
/* The last question, answered or not within a moment; the channel is closed. Blocks. */
void sup_changes_last(struct sup *s);

/* identity.c */
int sup_identity_gather(struct sup *s, struct err *e); /* all but the random numbers and the time */
int sup_identity_now(struct sup *s, struct buf *out, struct err *e); /* encoded */
