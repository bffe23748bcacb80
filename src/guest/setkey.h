#pragma once
/* Stands for dockerd as the hook that gives a container its network (setkey.c). */

#define SETKEY_NAME "libnetwork-setkey" /* as dockerd's own hook calls itself */
/* A hook's variable that names dockerd's own, for what is not understood here. */
#define SETKEY_REAL "PADDOCK_SETKEY"

/* Exit code; does not return where dockerd's own does the work. */
int guest_setkey(char **argv);
