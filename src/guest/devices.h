#pragma once
/* Devices of the machine: modules, waiting for what they bring, the virtio-serial ports. */
#include <stdbool.h>
#include <stdint.h>

#include <base/err.h>

/*
 * Modules are loaded by a thread, one after the other, while what depends on the first of them
 * already goes on: it is woken by the kernel's uevents (netlink).
 */
struct devices;

/* Begins to load the modules that a list file names, one path a line, in order. NULL on failure. */
struct devices *devices_new(const char *list_path, struct err *e);
/* Awaits the last module and all processors; the error of the module that failed. */
int devices_loaded(struct devices *d, struct err *e);

/*
 * Waits until found() says true, asking again at every uevent. -ETIMEDOUT says which thing never
 * came; a module that failed is an error at once.
 */
int devices_await(struct devices *d, bool (*found)(void *arg), void *arg, const char *what,
	uint64_t deadline_ms, struct err *e);

/* A virtio-serial port by its name; returned once the host's end is connected. fd or -errno. */
int devices_open_port(struct devices *d, const char *name, uint64_t deadline_ms, struct err *e);

/* What udev would do in /dev: links, modes, and nodes whose opening loads a module. */
void devices_fill_dev(void);
