#pragma once
/* How long steps speak to whoever watches: the cli draws it, tests collect it. */
#include <stddef.h>

struct progress {
	/* A new step begins ("building the machine image"), or detail of it changes. */
	void (*step)(void *arg, const char *what);
	void (*detail)(void *arg, const char *what);
	void *arg;
};

static inline void
progress_step(const struct progress *p, const char *what)
{
	if (p != NULL && p->step != NULL)
		p->step(p->arg, what);
}

static inline void
progress_detail(const struct progress *p, const char *what)
{
	if (p != NULL && p->detail != NULL)
		p->detail(p->arg, what);
}
