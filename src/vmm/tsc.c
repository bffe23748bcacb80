/*
 * The rate of the host's time stamp counter. TCG's guest counter ticks at just this rate, and a
 * guest kernel that is told it (tsc_early_khz) need not calibrate, which under emulation hangs
 * every third boot.
 */
#include <time.h>
#include <x86intrin.h>

#include <base/cleanup.h>
#include <vmm/vmm.h>

#define MEASURE_NS 20000000

static uint64_t
raw_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct sample {
	uint64_t ns, ticks;
};

/* A pair of readings that nothing came between: the one whose bracket is tightest. */
static struct sample
take_sample(void)
{
	struct sample best = {0};
	uint64_t tightest = UINT64_MAX;

	for (int i = 0; i < 16; i++) {
		uint64_t before = __rdtsc(), ns = raw_ns(), after = __rdtsc();

		if (after - before < tightest) {
			tightest = after - before;
			best = (struct sample){ns, before + (after - before) / 2};
		}
	}
	return best;
}

uint64_t
vmm_tsc_khz(void)
{
	struct sample a = take_sample(), b;
	struct timespec pause = {.tv_nsec = MEASURE_NS};

	/* The pause is the measurement's length, not a wait for anything. */
	clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	b = take_sample();
	if (b.ns <= a.ns)
		return 0;
	return (uint64_t)((__uint128_t)(b.ticks - a.ticks) * 1000000 / (b.ns - a.ns));
}
