#include <limits.h>
#include <time.h>

#include <base/clock.h>

static uint64_t
now_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

uint64_t
clock_mono_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

uint64_t
clock_mono_ms(void)
{
	return now_ns(CLOCK_MONOTONIC) / 1000000;
}

uint64_t
clock_real_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}

uint64_t
deadline_in_ms(uint64_t ms)
{
	return clock_mono_ms() + ms;
}

int
deadline_left_ms(uint64_t deadline_ms)
{
	uint64_t now = clock_mono_ms();

	if (now >= deadline_ms)
		return 0;
	return deadline_ms - now > INT_MAX ? INT_MAX : (int)(deadline_ms - now);
}
