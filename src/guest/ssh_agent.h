#pragma once
/* The guest's end of the host's SSH agent, a process of its own: its exit status. */
int ssh_agent_main(void);
