#pragma once
/* The lists of system calls by purpose; each ends with NULL. Private to the room. */

extern const char *const syscalls_common[]; /* memory, time, events, descriptors, threads */
extern const char
	*const syscalls_files[]; /* the fs role: everything on files by name or descriptor */
extern const char *const syscalls_sockets[]; /* traffic on sockets that exist, and splice */
extern const char *const syscalls_send[];    /* to an address, or descriptors; half-closing */
extern const char *const syscalls_connect[]; /* new sockets (their family is checked) */
extern const char
	*const syscalls_by_name[]; /* opening files: refused, not deadly, where there are none */
extern const char *const syscalls_absent[];  /* newer calls whose callers have a fallback: ENOSYS */
extern const char *const syscalls_outside[]; /* what reaches beyond the process: EPERM */
