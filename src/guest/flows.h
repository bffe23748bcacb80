#pragma once
/*
 * A machine that wakes after it was saved is connected to nobody any more. Who only waits for an
 * answer would not notice: the connections are ended here, as by a reset (connect(2), AF_UNSPEC).
 */
#include <stdint.h>

#include <base/err.h>

/* address: the machine's own, network byte order. Those that stay within the machine go on. */
int flows_reset(uint32_t address, struct err *e);
