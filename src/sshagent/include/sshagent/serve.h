#pragma once
/* The ssh role. */
#include <base/err.h>

/* Once, before the process is confined: afterwards no file of OpenSSL's can be opened. */
void sshagent_prepare(void);

struct sshagent_options {
	int session_fd;    /* speaks the session protocol with the guest, through the link role */
	int agent_fd;      /* connected to the host's agent */
	int events_fd;     /* to the log role (wire/netevent.h) */
	const char *hosts; /* sshagent_hosts_parse's lines */
};

/*
 * Returns at the end of the machine or of the agent, which takes the sandbox's agent away; -errno
 * for trouble of its own. One request is under way at a time, as in ssh-agent(1) itself.
 */
int sshagent_serve(const struct sshagent_options *o, struct err *e);
