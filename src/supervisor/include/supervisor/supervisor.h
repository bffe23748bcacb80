#pragma once
/*
 * One supervisor per running sandbox: owns its state folder and lock, makes its namespaces, starts
 * and watches its children, speaks QMP. It touches neither network nor file payload.
 */
#include <base/err.h>
#include <base/progress.h>
#include <state/state.h>
#include <wire/control.h>

/* argv[1] of a re-executed paddock, and of paddock-role: "--role=NAME". */
#define SUPERVISOR_ROLE_ARG "--role="

/* The main function of a role of paddock's own ("supervisor", "net", "signer", ...). Exit code. */
int supervisor_role_main(const char *role, int argc, char **argv);

/*
 * For commands. supervisor_start starts one where none runs and waits until the machine is ready
 * (or another's supervisor is); progress is told. 0, or -errno with the supervisor's own sentence.
 */
int supervisor_start(const struct state_paths *p, const char *name, const struct progress *pr,
	void (*note)(const char *text), struct err *e);

/*
 * The same in two: where several are started at once. *ret_begun, which the caller closes, is to be
 * given to supervisor_begun, which waits; where it is only closed, the start goes on by itself.
 */
int supervisor_begin(const char *name, int *ret_begun, struct err *e);
int supervisor_begun(const struct state_paths *p, const char *name, int begun,
	const struct progress *pr, void (*note)(const char *text), struct err *e);

/* Asks for the status: 0, -ESRCH when none runs. */
int supervisor_status(
	const struct state_paths *p, const char *name, struct control_status *ret, struct err *e);

/* A connection that speaks the session protocol from here on; waits until the machine is ready. */
int supervisor_session(const struct state_paths *p, const char *name, struct err *e);

/* Changes what a running sandbox publishes, now and for its later starts: all of it, or nothing. */
int supervisor_ports(const struct state_paths *p, const char *name,
	const struct control_ports *change, struct err *e);

/* Its policy.json is another: 0 when it is obeyed, also where none runs. */
int supervisor_policy_changed(const struct state_paths *p, const char *name, struct err *e);
/*
 * Hands memory (a memfd that holds an encoded cred_set; it stays the caller's) to a running
 * sandbox: 0 when its net obeys, -ESRCH when none runs.
 */
int supervisor_credentials(
	const struct state_paths *p, const char *name, int memory, struct err *e);
/*
 * Hands a running sandbox a connection to the host's SSH agent (it stays the caller's) for these
 * hosts (sshagent_hosts_parse's lines): 0, also where it has one; -ESRCH when none runs.
 */
int supervisor_ssh_agent(
	const struct state_paths *p, const char *name, int agent, const char *hosts, struct err *e);
/* Has a running sandbox write changes.json (state/change_list.h): 0, -ESRCH when none runs. */
int supervisor_changes(const struct state_paths *p, const char *name, struct err *e);

/* Stops a running sandbox and waits for its supervisor's end; 0 also when none runs. */
int supervisor_stop(const struct state_paths *p, const char *name, struct err *e);

/*
 * Saves a running machine and ends it; supervisor_start goes on from there. -ESRCH: none runs, or
 * it ended meanwhile.
 */
int supervisor_suspend(const struct state_paths *p, const char *name, struct err *e);
/* Saves it into this folder (snapshot/saved.h), which is empty; it goes on. As above. */
int supervisor_save(
	const struct state_paths *p, const char *name, const char *folder, struct err *e);

/* Ends it by force: SIGKILL to the supervisor (its children go with it). */
int supervisor_kill(const struct state_paths *p, const char *name, struct err *e);

/* A file of Paddock's own, beside this program or in libexec; caller frees. NULL and e when
 * missing. */
char *supervisor_beside(const char *name, struct err *e);
/* The static paddock-guest that belongs to this paddock; caller frees. NULL and e when missing. */
char *supervisor_guest_binary(struct err *e);
