#pragma once
/* The guest's end of the host's SSH agent, a process of its own with its socket at path (which it
 * takes over from an older one, and leaves behind): its exit status. */
int ssh_agent_main(const char *path);
