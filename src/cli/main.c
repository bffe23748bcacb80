#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <base/log.h>
#include <base/mem.h>
#include <supervisor/supervisor.h>

#include "cli.h"
#include "verbs.h"

enum { HEAP = 1 << 20 };

static int
fail(const struct err *e, int r)
{
	char shown[ERR_MSG_MAX * 4];

	/* A path in it may be a guest's choice. */
	str_escape(e->msg, strlen(e->msg), shown, sizeof(shown));
	fprintf(stderr, "paddock: %s\n", shown[0] != '\0' ? shown : strerror(-r));
	return r == -EINVAL ? EXIT_USAGE : EXIT_OURS;
}

static int
run_verb(struct cli *c, const struct verb *v, int argc, char **argv)
{
	struct args a = {0};
	struct err e = {0};
	int r = args_parse(v, c, argc, argv, &a, &e);

	if (r == 0 && args_has(&a, "help")) {
		help_verb(v);
		args_release(&a);
		return 0;
	}
	log_init("paddock", c->debug ? LOG_DEBUG : LOG_WARN);
	if (r == 0)
		r = v->exec(c, &a, &e);
	args_release(&a);
	state_paths_release(&c->paths);
	if (fflush(stdout) != 0 && r >= 0)
		r = err_sys(&e, errno, "write the output");
	return r < 0 ? fail(&e, r) : r;
}

int
main(int argc, char **argv)
{
	struct cli c = {0};
	const struct verb *v;
	int i = 1;

	if (argc > 1 && str_has_prefix(argv[1], SUPERVISOR_ROLE_ARG))
		return supervisor_role_main(argv[1] + strlen(SUPERVISOR_ROLE_ARG), argc, argv);
	mem_prefault(HEAP);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "-D") == 0 || strcmp(argv[i], "--debug") == 0) {
			c.debug = true;
		} else if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
			help_all();
			return 0;
		} else if (strcmp(argv[i], "--version") == 0) {
			return run_verb(&c, &verb_version, 0, NULL);
		} else {
			fprintf(stderr, "paddock: unknown option '%s': see paddock --help\n",
				argv[i]);
			return EXIT_USAGE;
		}
	}
	if (i == argc) {
		help_all();
		return EXIT_USAGE;
	}
	v = verb_find(verbs, argv[i]);
	if (v == NULL) {
		fprintf(stderr, "paddock: unknown command '%s': see paddock --help\n", argv[i]);
		return EXIT_USAGE;
	}
	i++;
	if (v->subs != NULL && i < argc && verb_find(v->subs, argv[i]) != NULL)
		v = verb_find(v->subs, argv[i++]);
	return run_verb(&c, v, argc - i, argv + i);
}
