#pragma once
/* Devices of the machine: modules, waiting for what they bring, the virtio-serial ports. */
#include <stdbool.h>
#include <stdint.h>

#include <base/err.h>

/* Listens for the kernel's uevents (netlink); open it before the modules are loaded. fd or -errno.
 */
int devices_listen(struct err *e);

/*
 * Waits until found() says true, asking again at every uevent. -ETIMEDOUT says which thing never
 * came.
 */
int devices_await(int uevent_fd, bool (*found)(void *arg), void *arg, const char *what,
	uint64_t deadline_ms, struct err *e);

/* Loads the modules that a list file names, one path a line, in order. */
int devices_load_modules(const char *list_path, struct err *e);

/* A virtio-serial port by its name; returned once the host's end is connected. fd or -errno. */
int devices_open_port(int uevent_fd, const char *name, uint64_t deadline_ms, struct err *e);

/* What udev would do in /dev: links, modes, and nodes whose opening loads a module. */
void devices_fill_dev(void);
