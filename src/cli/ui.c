#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>

#include "cli.h"

/* Steps shorter than this leave no trace on a terminal. */
#define WORTH_TELLING_MS 1500

static void
clear_line(struct ui *u)
{
	if (u->line_open)
		fprintf(stderr, "\r\033[K");
	u->line_open = false;
}

static void
end_step(struct ui *u)
{
	unsigned long long ms = clock_mono_ms() - u->step_started_ms;

	if (u->step[0] == '\0')
		return;
	clear_line(u);
	if (u->tty && ms >= WORTH_TELLING_MS)
		fprintf(stderr, "%s: %llu.%llu s\n", u->step, ms / 1000, ms % 1000 / 100);
	u->step[0] = '\0';
}

static void
on_step(void *arg, const char *what)
{
	struct ui *u = arg;

	if (u->quiet)
		return;
	end_step(u);
	str_escape(what, strlen(what), u->step, sizeof(u->step));
	u->step_started_ms = clock_mono_ms();
	if (u->tty) {
		fprintf(stderr, "%s ...", u->step);
		u->line_open = true;
	} else {
		fprintf(stderr, "%s\n", u->step);
	}
	fflush(stderr);
}

static void
on_detail(void *arg, const char *what)
{
	struct ui *u = arg;
	char shown[100];

	if (u->quiet || !u->tty)
		return;
	str_escape(what, strlen(what), shown, sizeof(shown));
	fprintf(stderr, "\r\033[K%s ... %s", u->step, shown);
	fflush(stderr);
	u->line_open = true;
}

void
ui_init(struct ui *u, const struct cli *c)
{
	*u = (struct ui){.quiet = c->quiet, .tty = isatty(STDERR_FILENO)};
	u->progress = (struct progress){on_step, on_detail, u};
}

void
ui_finish(struct ui *u)
{
	end_step(u);
	fflush(stderr);
}

void
ui_note(const char *text)
{
	const char *p = text;

	while (*p != '\0') {
		size_t n = strcspn(p, "\n");
		char shown[512];

		str_escape(p, n, shown, sizeof(shown));
		fprintf(stderr, "%s%s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", shown);
		p += n + (p[n] == '\n');
	}
}

bool
ui_confirm(const char *question)
{
	char answer[16] = "";

	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return false;
	fprintf(stderr, "%s [y/N]: ", question);
	fflush(stderr);
	if (fgets(answer, sizeof(answer), stdin) == NULL)
		return false;
	return answer[0] == 'y' || answer[0] == 'Y';
}
