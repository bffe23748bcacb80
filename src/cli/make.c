/* What create and run share: options -> a sandbox's record -> its folder on disk -> started. */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/mem.h>
#include <image/image.h>
#include <supervisor/resolve.h>
#include <state/policy.h>
#include <state/port.h>
#include <supervisor/supervisor.h>
#include <vmm/vmm.h>
#include <wire/ssh.h>

#include "network.h"

#define MIB            (1ULL << 20)
#define GIB            (1ULL << 30)
#define MEMORY_MIN     (512 * MIB)
#define MEMORY_DEFAULT (4 * GIB) /* taken from the host only as the guest touches it */

const struct option_def make_options[] = {
	{"name", 0, "NAME", "name of the sandbox (default: AGENT-FOLDER)"},
	{"env", 'e', "KEY[=VALUE]",
		"set a variable in every session; KEY alone copies the shell's"},
	{"env-file", 0, "FILE", "read variables from a file"},
	{"secret", 0, "NAME[=VALUE|=@FILE]",
		"give it a credential: the shell's value, this one (which the shell's history then "
		"has), "
		"or a file's"},
	{"cpus", 0, "N", "virtual CPUs (default: the host's, at most 8)"},
	{"memory", 'm', "SIZE", "memory, e.g. 2g (default: 4g, at most half of the host's)"},
	{"disk", 0, "SIZE", "size of the machine's disk, e.g. 40g (default: 20g; grows on demand)"},
	{"accel", 0, "kvm|tcg", "force hardware virtualisation or software emulation"},
	{"resolve", 0, "HOST:PORT:ADDR", "send a name's connections to this address"},
	{"publish", 'p', "PORT",
		"publish a port: [[HOST_IP:]HOST_PORT:]SANDBOX_PORT[/tcp|tcp4|tcp6]"},
	{"allow-hooks", 0, NULL, "let the guest write git hooks, which git on this computer runs"},
	{"with-settings", 0, NULL,
		"copy your own settings of the agent in (instructions, skills, commands; no keys)"},
	{"ssh-agent", 0, "HOST[:PORT]",
		"let ssh in the sandbox log in at this host with the keys of your SSH agent"},
	{"shadow", 0, "DIR",
		"keep this folder of the workspace (node_modules, target, .venv) on the sandbox's "
		"own "
		"disk"},
	{"network", 0, "PRESET",
		"what it may reach: open, balanced or locked (default: network default's)"},
	{"allow-network", 0, "HOST", "allow a host, *.domain, address or range"},
	{"deny-network", 0, "HOST", "deny one"},
	{"allow-udp", 0, "HOST:PORT",
		"allow UDP (QUIC, for example) to a host, *.domain or address"},
	{"pull", 0, "always|missing",
		"build the kit's template anew, with the newest packages (default: missing)"},
	{"quiet", 'q', NULL, "no progress"},
	{0},
};

static uint64_t
host_memory(void)
{
	struct sysinfo si;

	return sysinfo(&si) == 0 ? (uint64_t)si.totalram * si.mem_unit : 8 * GIB;
}

static int
pick_cpus(const struct args *a, unsigned *ret, struct err *e)
{
	long host = sysconf(_SC_NPROCESSORS_ONLN);
	const char *word = args_get(a, "cpus");
	uint64_t v = host > 8 ? 8 : (uint64_t)host;

	if (word != NULL && str_to_u64(word, 1, (uint64_t)host, &v) < 0)
		return usage_error(e, "--cpus '%s': write a number from 1 to %ld, the host's CPUs",
			word, host);
	*ret = (unsigned)v;
	return 0;
}

static int
pick_memory(const struct args *a, uint64_t *ret, struct err *e)
{
	const char *word = args_get(a, "memory");
	uint64_t host = host_memory(), v = MEMORY_DEFAULT, max = host * 3 / 4;
	char shown[16];

	if (v > host / 2)
		v = host / 2 > MEMORY_MIN ? host / 2 : MEMORY_MIN;
	if (max < MEMORY_MIN)
		max = MEMORY_MIN;
	str_from_size(max, shown);
	if (word != NULL && (str_to_size(word, &v) < 0 || v < MEMORY_MIN || v > max))
		return usage_error(e,
			"--memory '%s': write a size such as 2g, at least 512m, at most %s (3/4 of "
			"the "
			"host's)",
			word, shown);
	*ret = v / MIB * MIB;
	return 0;
}

static int
pick_disk(const struct args *a, uint64_t image_bytes, uint64_t *ret, struct err *e)
{
	const char *word = args_get(a, "disk");
	uint64_t v = image_bytes;
	char shown[16];

	str_from_size(image_bytes, shown);
	if (word != NULL && (str_to_size(word, &v) < 0 || v < image_bytes || v > 16384 * GIB))
		return usage_error(e,
			"--disk '%s': write a size such as 40g, at least %s (the image's own), at "
			"most "
			"16t; it takes space only as it fills",
			word, shown);
	*ret = v;
	return 0;
}

void
make_shape(struct sandbox *s)
{
	const struct args none = {0};

	pick_cpus(&none, &s->cpus, NULL);
	pick_memory(&none, &s->memory_bytes, NULL);
}

static int
pick_accel(const struct args *a, char **ret, struct err *e)
{
	const char *word = args_get(a, "accel");
	enum vmm_accel accel;

	if (word != NULL && vmm_accel_parse(word, &accel) < 0)
		return usage_error(e, "--accel '%s': write kvm, tcg or auto", word);
	*ret = xstrdup(word != NULL ? word : "auto");
	return 0;
}

static int
pick_resolve(const struct args *a, struct strv *ret, struct err *e)
{
	struct resolve_entry r;
	int rc = 0;

	args_all(a, "resolve", ret);
	for (size_t i = 0; i < ret->n && rc == 0; i++)
		rc = resolve_parse(ret->v[i], &r, e);
	return rc;
}

static int
pick_ports(const struct args *a, struct strv *ret, struct err *e)
{
	CLEAN_STRV struct strv words = {0};
	int r = 0;

	args_all(a, "publish", &words);
	for (size_t i = 0; i < words.n && r == 0; i++)
		r = port_add_word(ret, words.v[i], e);
	return r;
}

static int
pick_shadows(const struct args *a, struct sandbox *s, struct err *e)
{
	CLEAN_STRV struct strv words = {0};
	int r = 0;

	args_all(a, "shadow", &words);
	for (size_t i = 0; i < words.n && r == 0; i++)
		r = shadow_add(s, words.v[i], e);
	return r;
}

int
make_policy(const struct cli *c, const struct args *a, const struct kit *kit, struct policy *ret,
	struct err *e)
{
	int r = state_default_policy_load(&c->paths, ret, e);

	if (r < 0)
		return err_prefix(e, "the policy of new sandboxes");
	r = agent_rules(kit, ret, e);
	return r == 0 ? network_make_apply(a, ret, e) : r;
}

int
make_image(struct cli *c, bool rebuild, struct ui *u, struct image *ret, struct err *e)
{
	CLEAN_FREE char *guest = supervisor_guest_binary(e);
	struct image_request q = {.data_dir = c->paths.data,
		.name = "shell",
		.rebuild = rebuild,
		.guest_bin = guest,
		.uid = c->paths.uid == 0 ? 1000 : c->paths.uid,
		.gid = c->paths.uid == 0 ? 1000 : c->paths.gid};

	if (guest == NULL)
		return -ENOENT;
	return image_ensure(&q, &u->progress, ret, e);
}

struct fill_job {
	const struct kit *kit;
	const struct policy *policy;
};

/* The disk is made when the sandbox starts for the first time, but a full one is told of here. */
static int
check_space(const char *dir, struct err *e)
{
	struct statvfs fs;

	if (statvfs(dir, &fs) < 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= MIB)
		return 0;
	return err_set(e, ENOSPC,
		"the file system of '%.*s' is full: free space, or set XDG_DATA_HOME to a folder "
		"on another one",
		(int)(strrchr(dir, '/') - dir), dir);
}

static int
fill_folder(const char *dir, void *arg, struct err *e)
{
	const struct fill_job *j = arg;
	CLEAN_FREE char *policy = xasprintf("%s/policy.json", dir);
	int r = check_space(dir, e);

	if (r == 0)
		r = policy_file_save(policy, j->policy, e);
	return r == 0 ? agent_keep(j->kit, dir, e) : r;
}

/* What can be said at once is said before an image is looked for, or built. */
static int
check_new(const struct cli *c, const struct sandbox *s, struct err *e)
{
	CLEAN_FREE char *dir = state_sandbox_dir(&c->paths, s->name);
	int r = sandbox_name_check(s->name, e);

	if (r == 0 && access(dir, F_OK) == 0)
		return sandbox_exists_error(s->name, e);
	return r == 0 ? sandbox_check_workspaces(&c->paths, s, e) : r;
}

static int
fill_record(struct cli *c, const struct args *a, const struct make_request *q, struct sandbox *s,
	struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < q->npaths && r == 0; i++)
		r = workspace_add(s, q->paths[i], e);
	if (r < 0)
		return r;
	assert(s->workspaces != NULL); /* each caller has at least one path */
	s->agent = xstrdup(q->kit->name);
	s->name = q->name != NULL ? xstrdup(q->name)
				  : sandbox_name_default(q->kit->name, s->workspaces[0].path);
	s->created = time(NULL);
	s->allow_hooks = args_has(a, "allow-hooks");
	s->with_settings = args_has(a, "with-settings");
	r = check_new(c, s, e);
	if (r == 0)
		r = pick_cpus(a, &s->cpus, e);
	if (r == 0)
		r = pick_memory(a, &s->memory_bytes, e);
	if (r == 0)
		r = pick_accel(a, &s->accel, e);
	if (r == 0)
		r = pick_ports(a, &s->ports, e);
	if (r == 0)
		r = pick_resolve(a, &s->resolve, e);
	if (r == 0)
		r = ssh_pick(a, &s->ssh, e);
	return r == 0 ? pick_shadows(a, s, e) : r;
}

/* The kit's variables, which those of -e go before. */
static void
fill_env(const struct make_request *q, struct sandbox *s)
{
	agent_env(q->kit, &s->env);
	if (s->ssh.n > 0)
		strv_setenv(&s->env, "SSH_AUTH_SOCK", SSH_LINE_SOCKET);
	for (size_t i = 0; i < q->env->n; i++) {
		CLEAN_FREE char *key = xstrndup(q->env->v[i], strcspn(q->env->v[i], "="));

		strv_setenv(&s->env, key, q->env->v[i] + strlen(key) + 1);
	}
}

static bool
pull_always(const struct args *a)
{
	const char *pull = args_get(a, "pull");

	return pull != NULL && strcmp(pull, "always") == 0;
}

/* The machine image, or where the kit installs something, its layer on that. */
int
make_template(struct cli *c, const struct args *a, const struct kit *kit, bool rebuild,
	const struct policy *policy, struct ui *u, struct image *ret, struct err *e)
{
	CLEAN_FREE char *guest = supervisor_guest_binary(e);
	CLEAN_FREE char *id = NULL;
	struct layer_request q = {
		.kit = kit, .accel = args_get(a, "accel"), .policy = policy, .rebuild = rebuild};
	struct image base = {0};
	int r = guest == NULL ? -ENOENT : make_image(c, false, u, &base, e);

	if (r < 0)
		return r;
	if (!kit_has_layer(kit)) {
		*ret = base;
		return 0;
	}
	q.base = base.id;
	r = layer_ensure(c, &q, u, &id, e);
	if (r == 0)
		r = image_open(c->paths.data, id, guest, ret, e);
	image_release(&base);
	return r;
}

/* The image stays for as long as the lock is held: template rm waits for nobody's half-made disk.
 */
static int
create_on_image(struct cli *c, const struct args *a, const struct kit *kit, struct sandbox *s,
	const struct policy *policy, struct ui *u, struct err *e)
{
	CLEAN_CLOSE int lock = state_images_lock(&c->paths, false, e);
	struct image img = {0};
	int r = lock < 0 ? lock : make_template(c, a, kit, pull_always(a), policy, u, &img, e);

	if (r == 0)
		r = pick_disk(a, img.disk_bytes, &s->disk_bytes, e);
	if (r == 0) {
		struct fill_job job = {kit, policy};

		s->image = xstrdup(img.id);
		r = sandbox_create(&c->paths, s, fill_folder, &job, e);
	}
	image_release(&img);
	return r;
}

int
make_sandbox(struct cli *c, const struct args *a, const struct make_request *q, struct ui *u,
	char **ret_name, struct err *e)
{
	CLEAN_POLICY struct policy policy = {0};
	const char *pull = args_get(a, "pull");
	struct sandbox s = {0};
	int r;

	if (pull != NULL && strcmp(pull, "always") != 0 && strcmp(pull, "missing") != 0)
		return usage_error(e, "--pull '%s': write always or missing", pull);
	if (args_has(a, "with-settings") && q->kit->nsettings == 0)
		return usage_error(e,
			"--with-settings: the kit '%s' names no settings of yours to take; see "
			"paddock kit inspect %s",
			q->kit->name, q->kit->name);
	r = fill_record(c, a, q, &s, e);
	if (r == 0)
		r = make_policy(c, a, q->kit, &policy, e);
	if (r == 0) {
		fill_env(q, &s);
		r = create_on_image(c, a, q->kit, &s, &policy, u, e);
	}
	if (r == 0)
		*ret_name = TAKE_PTR(s.name);
	sandbox_release(&s);
	return r;
}

const char *
make_option_differs(const struct args *a, const struct sandbox *s)
{
	const char *cpus = args_get(a, "cpus"), *memory = args_get(a, "memory");
	const char *disk = args_get(a, "disk"), *accel = args_get(a, "accel");
	const char *pull = args_get(a, "pull");
	CLEAN_STRV struct strv resolve = {0}, shadows = {0}, hosts = {0};
	uint64_t v;

	if (cpus != NULL && (str_to_u64(cpus, 1, UINT_MAX, &v) < 0 || v != s->cpus))
		return "cpus";
	if (memory != NULL && (str_to_size(memory, &v) < 0 || v / MIB * MIB != s->memory_bytes))
		return "memory";
	if (disk != NULL && (str_to_size(disk, &v) < 0 || v != s->disk_bytes))
		return "disk";
	if (accel != NULL && strcmp(accel, s->accel) != 0)
		return "accel";
	if (pull != NULL && strcmp(pull, "missing") != 0)
		return "pull";
	if (args_has(a, "allow-hooks") && !s->allow_hooks)
		return "allow-hooks";
	if (args_has(a, "with-settings") && !s->with_settings)
		return "with-settings";
	args_all(a, "resolve", &resolve);
	for (size_t i = 0; i < resolve.n; i++)
		if (!strv_has(&s->resolve, resolve.v[i]))
			return "resolve";
	args_all(a, "shadow", &shadows);
	for (size_t i = 0; i < shadows.n; i++)
		if (!shadow_is_known(s, shadows.v[i]))
			return "shadow";
	args_all(a, "ssh-agent", &hosts);
	for (size_t i = 0; i < hosts.n; i++)
		if (!strv_has(&s->ssh, hosts.v[i]))
			return "ssh-agent";
	return NULL;
}

static bool notes_quiet;

static void
start_note(const char *text)
{
	/* A console's last lines are indented already. */
	CLEAN_FREE char *line = xasprintf("%s%s", text[0] == ' ' ? "" : "note: ", text);

	if (!notes_quiet)
		ui_note(line);
}

int
make_started(struct cli *c, const char *name, struct ui *u, struct err *e)
{
	int r;

	notes_quiet = c->quiet;
	r = supervisor_start(&c->paths, name, &u->progress, start_note, e);
	ui_finish(u);
	return r < 0 ? err_prefix(e, "sandbox '%s'", name) : 0;
}

int
make_begun(struct cli *c, const char *name, int begun, struct ui *u, struct err *e)
{
	int r;

	notes_quiet = c->quiet;
	r = supervisor_begun(&c->paths, name, begun, &u->progress, start_note, e);
	return r < 0 ? err_prefix(e, "sandbox '%s'", name) : 0;
}
