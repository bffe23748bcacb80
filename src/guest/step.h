#pragma once
/* How long each step of the boot took, told at debug level. */
#include <inttypes.h>

#include <base/clock.h>
#include <base/log.h>

struct step {
	uint64_t since_ns;
};

static inline struct step
step_begin(void)
{
	return (struct step){clock_mono_ns()};
}

static inline void
step_done(struct step *s, const char *what)
{
	uint64_t now = clock_mono_ns(), us = (now - s->since_ns) / 1000;

	log_debug("%s: %" PRIu64 ".%03" PRIu64 " ms", what, us / 1000, us % 1000);
	s->since_ns = now;
}
