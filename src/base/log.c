#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/log.h>

static struct {
	const char *who;
	enum log_level level;
} log_state = {"paddock", LOG_WARN};

void
log_init(const char *who, enum log_level level)
{
	log_state.who = who;
	log_state.level = level;
}

enum log_level
log_get_level(void)
{
	return log_state.level;
}

void
log_at(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	uint64_t ms = clock_mono_ms();
	va_list ap;
	int n, m;

	if (level > log_state.level)
		return;
	n = snprintf(line, sizeof(line), "[%llu.%03llu] %s[%d]: ", (unsigned long long)(ms / 1000),
		(unsigned long long)(ms % 1000), log_state.who, (int)getpid());
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	n = m < 0 ? n : n + m;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	/* One write, so that lines of several processes do not mix; nothing to do where it fails.
	 */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}
