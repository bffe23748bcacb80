/*
 * How this works: a kit's template is made by running its install steps in a sandbox that stands on
 * the machine image and has no workspace; then the machine is stopped in order and its disk becomes
 * the layer. One builder at a time, behind a lock. A builder that is interrupted takes its sandbox
 * with it; what one leaves that was killed is removed by the next.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <base/io.h>
#include <base/mem.h>
#include <image/image.h>
#include <state/policy.h>
#include <supervisor/supervisor.h>
#include <vmm/vmm.h>

#include "cli.h"

#define LOG_MAX       (8L << 20)
#define STEP_LIMIT_MS (45 * 60 * 1000)
/* Not the name of a kit, so never an agent's. */
#define BUILDER "(template)"

struct builder {
	struct cli *c;
	const struct layer_request *q;
	struct ui *u;
	char *name; /* of the sandbox */
	char *log_path;
	FILE *log;
	char last[160]; /* line of output */
	int cancel_fd;
	struct strv env;
};

/* ---- its sandbox ---- */

static int
fill_folder(const char *dir, void *arg, struct err *e)
{
	CLEAN_FREE char *policy = xasprintf("%s/policy.json", dir);

	return policy_file_save(policy, arg, e);
}

static int
make_builder_sandbox(const struct builder *b, struct image *base, struct err *e)
{
	struct sandbox s = {.name = xstrdup(b->name),
		.agent = xstrdup(BUILDER),
		.image = xstrdup(base->id),
		.accel = xstrdup(b->q->accel != NULL ? b->q->accel : "auto"),
		.disk_bytes = base->disk_bytes,
		.created = time(NULL)};
	int r;

	make_shape(&s);
	r = sandbox_create(&b->c->paths, &s, fill_folder, (void *)b->q->policy, e);
	sandbox_release(&s);
	return r;
}

/* What a killed builder left. One of this name that is somebody's is never touched. */
static int
remove_left_over(const struct builder *b, struct err *e)
{
	struct sandbox s = {0};
	int r = sandbox_load(&b->c->paths, b->name, &s, e);

	if (r == -ENOENT)
		return 0;
	if (r == 0 && strcmp(s.agent, BUILDER) != 0)
		r = err_set(e, EEXIST,
			"the sandbox '%s' has the name that the build of a template needs: remove "
			"it",
			b->name);
	sandbox_release(&s);
	return r < 0 ? r : remove_sandbox(b->c, b->name, e);
}

/* ---- the steps ---- */

static void
on_line(void *arg, const char *text)
{
	struct builder *b = arg;

	/* The disk is the host's, and a step may talk for ever. */
	if (ftell(b->log) < LOG_MAX)
		fprintf(b->log, "%s\n", text);
	if (text[strspn(text, " ")] != '\0')
		snprintf(b->last, sizeof(b->last), "%s", text);
	progress_detail(&b->u->progress, text);
}

static int
run_step(struct builder *b, const char *what, bool root, struct strv *argv, struct err *e)
{
	struct guest_job j = {.user = root ? "root" : NULL,
		.cwd = root ? "/root" : "/home/agent",
		.argv = *argv,
		.env = b->env,
		.line = on_line,
		.arg = b,
		.cancel_fd = b->cancel_fd,
		.limit_ms = STEP_LIMIT_MS};
	CLEAN_FREE char *shown = xasprintf("kit %s: %s", b->q->kit->name, what);
	int r;

	progress_step(&b->u->progress, shown);
	fprintf(b->log, "== %s\n", what);
	b->last[0] = '\0';
	r = guest_run(b->c, b->name, &j, e);
	if (r > 0)
		return err_set(e, EIO, "%s: exit status %d: %.100s (all of it is in '%s')", what, r,
			b->last, b->log_path);
	return r < 0 ? err_prefix(e, "%s", what) : 0;
}

static int
run_shell(struct builder *b, const char *what, bool root, const char *script, struct err *e)
{
	CLEAN_STRV struct strv argv = {0};

	strv_add(&argv, "sh");
	strv_add(&argv, "-ec");
	strv_add(&argv, script);
	return run_step(b, what, root, &argv, e);
}

static void
add_words(struct strv *argv, const struct strv *words)
{
	for (size_t i = 0; i < words->n; i++)
		strv_add(argv, words->v[i]);
}

static int
install_packages(struct builder *b, struct err *e)
{
	CLEAN_STRV struct strv argv = {0};

	strv_add(&argv, "sh");
	strv_add(&argv, "-ec");
	strv_add(&argv, "export DEBIAN_FRONTEND=noninteractive\n"
			"apt-get -q update\n"
			"apt-get -q install -y --no-install-recommends -- \"$@\"\n"
			"apt-get clean\n");
	strv_add(&argv, "sh");
	add_words(&argv, &b->q->kit->packages);
	return run_step(b, "installing Debian packages", true, &argv, e);
}

static int
install_npm(struct builder *b, struct err *e)
{
	static const char *const words[] = {
		"npm", "install", "--global", "--no-fund", "--no-audit", "--loglevel=http", "--"};
	CLEAN_STRV struct strv argv = {0};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		strv_add(&argv, words[i]);
	add_words(&argv, &b->q->kit->npm);
	return run_step(b, "installing npm packages", false, &argv, e);
}

/*
 * What only this machine has been, what the installers keep for another time, and the blocks that
 * nothing uses any more; all of it on the disk, should the machine not end in time. Whatever else
 * is in ~/.cache was put there to be used: programs unpack themselves into it (copilot, browsers).
 *
 * Of a native package's builds npm installs those that fit the machine, but Debian's npm 9 does not
 * heed "libc" (package.json), which tells those for musl apart. So dependencies that name only
 * other C libraries than glibc go here, some hundred MB of claude and copilot. They are below a
 * second node_modules: a package right in the first was asked for by its name.
 */
static const char tidy[] =
	"for home in /home/agent /root; do\n"
	"	rm -rf \"$home/.npm\" \"$home/.cache/node-gyp\" \"$home/.cache/pip\"\n"
	"done\n"
	"grep -rls --include=package.json '\"libc\"' \\\n"
	"	/home/agent/.local/lib/node_modules /usr/local/lib/node_modules |\n"
	"grep -E '/node_modules/.*/node_modules/(@[^/]+/)?[^@/][^/]*/package\\.json$' |\n"
	"while IFS= read -r json; do\n"
	"	if jq -e '[.libc] | flatten | length > 0 and\n"
	"		all(. == \"glibc\" or . == \"any\" or startswith(\"!\") | not)' \\\n"
	"		\"$json\" >/dev/null 2>&1; then\n"
	"		rm -rf \"${json%/package.json}\"\n"
	"	fi\n"
	"done\n"
	"rm -f /root/.bash_history /home/agent/.bash_history\n"
	": > /etc/machine-id\n"
	"fstrim / || :\n"
	"sync\n";

static int
run_steps(struct builder *b, struct err *e)
{
	const struct kit *k = b->q->kit;
	int r = 0;

	if (k->packages.n > 0)
		r = install_packages(b, e);
	if (r == 0 && k->npm.n > 0)
		r = install_npm(b, e);
	for (size_t i = 0; i < k->nsteps && r == 0; i++) {
		char what[64];

		snprintf(what, sizeof(what), "install step %zu of %zu", i + 1, k->nsteps);
		r = run_shell(b, what, k->steps[i].root, k->steps[i].run, e);
	}
	return r == 0 ? run_shell(b, "tidying up", true, tidy, e) : r;
}

/* ---- the whole ---- */

static int
build_in_sandbox(struct builder *b, const struct image_layer *l, struct image *base, char **ret_id,
	struct err *e)
{
	CLEAN_FREE char *disk = state_sandbox_file(&b->c->paths, b->name, "disk.qcow2");
	int r = make_builder_sandbox(b, base, e);

	if (r == 0)
		r = make_started(b->c, b->name, b->u, e);
	if (r == 0)
		r = run_steps(b, e);
	if (r == 0) {
		progress_step(&b->u->progress, "keeping the template");
		r = supervisor_stop(&b->c->paths, b->name, e);
	}
	return r == 0 ? image_layer_add(l, disk, ret_id, e) : r;
}

static int
open_log(struct builder *b, struct err *e)
{
	int fd;

	b->log_path = xasprintf("%s/templates/kit-%s.log", b->c->paths.data, b->q->kit->name);
	fd = open(b->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	b->log = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (b->log == NULL)
		return err_sys(e, errno, "create '%s'", b->log_path);
	/* To be read while it grows, and whole when we are killed. */
	setvbuf(b->log, NULL, _IOLBF, 0);
	return 0;
}

static int
build_locked(struct builder *b, const struct image_layer *l, char **ret_id, struct err *e)
{
	CLEAN_FREE char *guest = supervisor_guest_binary(e);
	struct image base = {0};
	struct err why = {0};
	int gone, r = guest == NULL ? -ENOENT
				    : image_open(b->c->paths.data, b->q->base, guest, &base, e);

	if (r == 0)
		r = remove_left_over(b, e);
	if (r == 0)
		r = open_log(b, e);
	if (r == 0) {
		agent_env(b->q->kit, &b->env);
		r = build_in_sandbox(b, l, &base, ret_id, e);
		gone = remove_sandbox(b->c, b->name, &why);
		if (gone < 0 && gone != -ENOENT && r == 0)
			r = err_set(e, why.code, "%s", why.msg);
	}
	image_release(&base);
	return r;
}

static void
builder_release(struct builder *b)
{
	if (b->log != NULL)
		fclose(b->log);
	if (b->cancel_fd >= 0)
		close(b->cancel_fd);
	free(b->log_path);
	free(b->name);
	strv_release(&b->env);
}

/* Ctrl-C and the like become readable, and reach us once the sandbox is gone. */
static int
build(struct cli *c, const struct layer_request *q, struct ui *u, const struct image_layer *l,
	char **ret_id, struct err *e)
{
	struct builder b = {
		.c = c, .q = q, .u = u, .name = xasprintf("kit-%s.build", q->kit->name)};
	sigset_t mask, before;
	int r;

	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, &before);
	b.cancel_fd = signalfd(-1, &mask, SFD_CLOEXEC);
	r = b.cancel_fd < 0 ? err_sys(e, errno, "signalfd") : build_locked(&b, l, ret_id, e);
	builder_release(&b);
	ui_finish(u);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

int
layer_ensure(
	struct cli *c, const struct layer_request *q, struct ui *u, char **ret_id, struct err *e)
{
	char digest[KIT_DIGEST_SIZE];
	struct image_layer l = {
		.data_dir = c->paths.data, .kit = q->kit->name, .digest = digest, .base = q->base};
	CLEAN_CLOSE int lock = -1;
	int r;

	kit_layer_digest(q->kit, q->base, digest);
	*ret_id = q->rebuild ? NULL : image_layer_find(&l);
	if (*ret_id != NULL)
		return 0;
	lock = image_layers_lock(c->paths.data, &u->progress, e);
	if (lock < 0)
		return lock;
	/* Whom we waited for may have built it. */
	if (!q->rebuild)
		*ret_id = image_layer_find(&l);
	if (*ret_id != NULL)
		return 0;
	r = build(c, q, u, &l, ret_id, e);
	return r < 0 ? err_prefix(e, "kit '%s'", q->kit->name) : 0;
}
