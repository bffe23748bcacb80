#pragma once
/* Time that only moves forward, and deadlines made of it. */
#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_mono_ns(void);
uint64_t clock_real_ns(void);

/* A deadline `ms` from now; remaining milliseconds for poll(2), 0 where it has passed. */
uint64_t deadline_in_ms(uint64_t ms);
int deadline_left_ms(uint64_t deadline_ms);
