/*
 * How this works: which credentials there are is said by the kit, by the store and by --secret; a
 * name alone means the service of that name. Values are looked for in the order of credentials_ask.
 * What is handed over goes through memory without a name (memfd_create(2)), never through
 * arguments, the environment or a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <base/io.h>
#include <base/mem.h>
#include <cred/secret.h>
#include <state/credentials.h>
#include <state/policy.h>
#include <supervisor/supervisor.h>

#include "credentials.h"

static void
add_variables(const struct cred_service *s, struct strv *env)
{
	for (size_t i = 0; i < SERVICE_ENV_MAX && s->env[i] != NULL; i++)
		strv_add(env, s->env[i]);
}

bool
credentials_service(const char *name, struct cred *c)
{
	const struct cred_service *s = cred_service_find(name);

	if (s == NULL)
		return false;
	*c = (struct cred){.name = xstrdup(name), .placeholder = xstrdup(s->shape)};
	add_variables(s, &c->env);
	cred_service_places(s, c);
	return true;
}

static void
copy_strv(const struct strv *from, struct strv *to)
{
	for (size_t i = 0; i < from->n; i++)
		strv_add(to, from->v[i]);
}

/* What it does not say is the service's of this name. */
static void
of_kit(const struct kit_credential *k, struct cred *c)
{
	const struct cred_service *s = cred_service_find(k->name);
	const char *shape = k->placeholder != NULL ? k->placeholder : s != NULL ? s->shape : NULL;

	*c = (struct cred){
		.name = xstrdup(k->name), .placeholder = shape != NULL ? xstrdup(shape) : NULL};
	copy_strv(&k->env, &c->env);
	if (k->hosts.n > 0) {
		cred_add_place(c, &k->hosts, k->header, k->format);
	} else if (s != NULL) {
		if (c->env.n == 0)
			add_variables(s, &c->env);
		cred_service_places(s, c);
	}
}

static void
of_entry(const struct secrets_entry *one, struct cred *c)
{
	if (one->cred.nplaces == 0) {
		if (!credentials_service(one->cred.name, c))
			*c = (struct cred){.name = xstrdup(one->cred.name)};
		return;
	}
	*c = (struct cred){.name = xstrdup(one->cred.name)};
	if (one->cred.placeholder != NULL)
		c->placeholder = xstrdup(one->cred.placeholder);
	copy_strv(&one->cred.env, &c->env);
	for (size_t i = 0; i < one->cred.nplaces; i++)
		cred_add_place(c, &one->cred.places[i].hosts, one->cred.places[i].header,
			one->cred.places[i].format);
}

/* Where one is said to go by hand, that goes before what the kit says. */
static void
collect(const struct kit *kit, const struct secrets *store, const char *sandbox,
	struct cred_set *ret)
{
	struct cred c;

	for (int own = 1; own >= 0; own--)
		for (size_t i = 0; i < store->n; i++) {
			const struct secrets_entry *one = &store->v[i];
			bool is_own = one->sandbox != NULL;

			if (is_own != (own == 1) || one->cred.nplaces == 0 ||
				(is_own &&
					(sandbox == NULL || strcmp(one->sandbox, sandbox) != 0)) ||
				cred_set_find(ret, one->cred.name) != NULL)
				continue;
			of_entry(one, &c);
			cred_set_add(ret, &c);
		}
	for (size_t i = 0; kit != NULL && i < kit->ncredentials; i++) {
		if (cred_set_find(ret, kit->credentials[i].name) != NULL)
			continue;
		of_kit(&kit->credentials[i], &c);
		cred_set_add(ret, &c);
	}
	for (size_t i = 0; i < store->n; i++) {
		const struct secrets_entry *one = &store->v[i];

		if ((one->sandbox != NULL &&
			    (sandbox == NULL || strcmp(one->sandbox, sandbox) != 0)) ||
			cred_set_find(ret, one->cred.name) != NULL)
			continue;
		of_entry(one, &c);
		if (c.nplaces > 0)
			cred_set_add(ret, &c);
		else
			cred_release(&c); /* of a kit that is not here */
	}
}

/* ---- kits that are not the user's */

static bool
same_texts(const struct strv *a, const struct strv *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->v[i], b->v[i]) != 0)
			return false;
	return true;
}

/* From the same variables to the same places. */
static bool
same_cred(const struct cred *a, const struct cred *b)
{
	bool same = strcmp(a->name, b->name) == 0 && same_texts(&a->env, &b->env) &&
		    a->nplaces == b->nplaces;

	for (size_t i = 0; same && i < a->nplaces; i++)
		same = same_texts(&a->places[i].hosts, &b->places[i].hosts) &&
		       strcmp(a->places[i].header, b->places[i].header) == 0 &&
		       strcmp(a->places[i].format, b->places[i].format) == 0;
	return same;
}

static bool
kit_has(const struct kit *k, const struct cred *c)
{
	bool found = false;

	for (size_t i = 0; i < k->ncredentials && !found; i++) {
		struct cred one;

		of_kit(&k->credentials[i], &one);
		found = same_cred(&one, c);
		cred_release(&one);
	}
	return found;
}

static bool
named_kit_has(const char *config, const char *name, const struct cred *c)
{
	CLEAN_KIT struct kit k = {0};

	return kit_load(config, name, &k, NULL, NULL) == 0 && kit_has(&k, c);
}

static bool
all_among(const struct strv *some, const struct strv *all)
{
	for (size_t i = 0; i < some->n; i++)
		if (!strv_has(all, some->v[i]))
			return false;
	return true;
}

static bool
place_among(const struct cred_place *p, const struct cred *all)
{
	for (size_t i = 0; i < all->nplaces; i++)
		if (strcasecmp(p->header, all->places[i].header) == 0 &&
			strcmp(p->format, all->places[i].format) == 0 &&
			all_among(&p->hosts, &all->places[i].hosts))
			return true;
	return false;
}

/* It takes nothing but the service's own variables, and goes nowhere but to the service. */
static bool
within_service(const struct cred *c)
{
	struct cred service;
	bool within;

	if (!credentials_service(c->name, &service))
		return false;
	within = all_among(&c->env, &service.env);
	for (size_t i = 0; i < c->nplaces && within; i++)
		within = place_among(&c->places[i], &service);
	cred_release(&service);
	return within;
}

static bool
kit_names(const struct kit *k, const char *credential)
{
	for (size_t i = 0; i < k->ncredentials; i++)
		if (strcmp(k->credentials[i].name, credential) == 0)
			return true;
	return false;
}

/*
 * A kit that lies in a project may say that the key of a service goes to a host of its author's, or
 * ask for one that no agent needs (npm's, to publish with). What it says counts by itself only
 * where a kit that comes with paddock has a credential of this name, too, and it stays within that
 * service; or where such a kit, or one of its name in the user's own folder, says just the same.
 */
static bool
is_trusted(const struct kit *kit, const struct cred *c)
{
	CLEAN_FREE char *config = kit_config_dir();
	bool within = within_service(c), trusted;
	const char *name;

	trusted = kit == NULL || !kit_has(kit, c) || named_kit_has(config, kit->name, c);
	for (size_t i = 0; !trusted && (name = kit_builtin_name(i)) != NULL; i++) {
		CLEAN_KIT struct kit k = {0};

		trusted = kit_load(NULL, name, &k, NULL, NULL) == 0 &&
			  (within ? kit_names(&k, c->name) : kit_has(&k, c));
	}
	return trusted;
}

/* ---- values */

static int
take_value(struct cred *c, const char *p, size_t n, struct err *e)
{
	int r = cred_value_check(c->name, p, n, e);

	if (r < 0)
		return r;
	secret_free(c->value);
	c->value = secret_dup(p, n);
	return 0;
}

/* The guest gets it in the first variable, and in the one where it was found. */
static void
keep_variables(struct cred *c, const char *found)
{
	CLEAN_STRV struct strv keep = {0};

	if (c->env.n > 0)
		strv_add(&keep, c->env.v[0]);
	if (found != NULL && (keep.n == 0 || strcmp(keep.v[0], found) != 0))
		strv_add(&keep, found);
	strv_release(&c->env);
	c->env = keep;
	keep = (struct strv){0};
}

/* 1: found. */
static int
of_environment(struct cred *c, struct err *e)
{
	for (size_t i = 0; i < c->env.n; i++) {
		CLEAN_FREE char *name = xstrdup(c->env.v[i]);
		const char *v = getenv(name);
		int r;

		if (v == NULL || v[0] == '\0')
			continue;
		r = take_value(c, v, strlen(v), e);
		if (r < 0)
			return err_prefix(e, "the variable %s", name);
		keep_variables(c, name);
		return 1;
	}
	return 0;
}

static int
of_file(struct cred *c, const char *path, struct err *e)
{
	CLEAN_CRED_BUF struct buf b = BUF_INIT;
	int r = io_read_file(AT_FDCWD, path, CRED_VALUE_MAX + 2, &b, e);
	size_t n = b.len;

	if (r < 0)
		return err_prefix(e, "--secret %s", c->name);
	if (n > 0 && b.data[n - 1] == '\n')
		n--;
	return take_value(c, (const char *)b.data, n, e);
}

/* 1: found. A command that fails is said, and the sandbox goes on without. */
static int
of_store(struct cred *c, const struct secrets *store, const char *sandbox)
{
	const struct secrets_entry *one = secrets_find(store, c->name, sandbox);
	struct err why = {0};

	if (one == NULL)
		return 0;
	if (secrets_value(one, &c->value, &why) == 0)
		return 1;
	CLEAN_FREE char *note = xasprintf("note: %s: the sandbox goes without it", why.msg);
	ui_note(note);
	return 0;
}

/* By name, or by a variable; a service that nobody else has named is added. NULL: none. */
static struct cred *
find_word(struct cred_set *s, const char *word)
{
	struct cred *c = cred_set_find(s, word), made;
	const struct cred_service *service;

	for (size_t i = 0; c == NULL && i < s->n; i++)
		if (strv_has(&s->v[i].env, word))
			c = &s->v[i];
	for (size_t i = 0; c == NULL && (service = cred_service_at(i)) != NULL; i++) {
		if (!credentials_service(service->name, &made))
			continue;
		if (strcmp(made.name, word) == 0 || strv_has(&made.env, word)) {
			cred_set_add(s, &made);
			return &s->v[s->n - 1];
		}
		cred_release(&made);
	}
	return c;
}

static int
of_word(struct cred_set *s, const struct secrets *store, const char *sandbox, const char *word,
	struct err *e)
{
	const char *eq = strchr(word, '=');
	CLEAN_FREE char *name = xstrndup(word, eq != NULL ? (size_t)(eq - word) : strlen(word));
	struct cred *c = find_word(s, name);
	int r;

	if (c == NULL)
		return usage_error(e,
			"--secret '%.40s': no credential and no service has this name: paddock "
			"secret set %.40s --host HOST tells where it goes",
			name, name);
	if (eq != NULL && eq[1] == '@')
		return of_file(c, eq + 2, e);
	if (eq != NULL)
		return take_value(c, eq + 1, strlen(eq + 1), e);
	r = of_environment(c, e);
	if (r == 0)
		r = of_store(c, store, sandbox) > 0 || of_store(c, store, NULL) > 0;
	if (r == 0)
		return usage_error(e,
			"--secret %s: neither %s nor the store has a value: see paddock secret set",
			name, c->env.n > 0 ? c->env.v[0] : "the environment");
	return r < 0 ? r : 0;
}

static void
note_untrusted(const struct cred *c)
{
	CLEAN_FREE char *text =
		xasprintf("note: the kit's credential '%s' goes to %s, which is this "
			  "kit's own idea: --secret %s gives it all the same",
			c->name, c->places[0].hosts.v[0], c->name);

	ui_note(text);
}

int
credentials_ask(const struct cli *c, const struct args *a, const struct kit *kit, const char *name,
	struct cred_set *ret, struct err *e)
{
	CLEAN_CRED_SET struct cred_set s = {0};
	CLEAN_SECRETS struct secrets store = {0};
	CLEAN_STRV struct strv words = {0};
	int r = secrets_load(&c->paths, &store, e);

	if (r < 0)
		return r;
	collect(kit, &store, name, &s);
	args_all(a, "secret", &words);
	for (size_t i = 0; i < words.n && r == 0; i++)
		r = of_word(&s, &store, name, words.v[i], e);
	for (size_t i = 0; i < s.n && r >= 0; i++) {
		struct cred *one = &s.v[i];

		if (one->value == NULL && !is_trusted(kit, one)) {
			note_untrusted(one);
			continue;
		}
		if (one->value == NULL && name != NULL)
			(void)of_store(one, &store, name);
		if (one->value == NULL)
			r = of_environment(one, e);
		if (one->value == NULL && r == 0)
			(void)of_store(one, &store, NULL);
	}
	if (r < 0)
		return r;
	*ret = s;
	s = (struct cred_set){0};
	return 0;
}

int
credentials_one(const struct cli *c, const struct kit *kit, const char *sandbox, const char *name,
	struct cred *ret, struct err *e)
{
	CLEAN_CRED_SET struct cred_set s = {0};
	CLEAN_SECRETS struct secrets store = {0};
	int r = secrets_load(&c->paths, &store, e);
	struct cred *one;

	if (r < 0)
		return r;
	collect(kit, &store, sandbox, &s);
	one = cred_set_find(&s, name);
	if (one == NULL || !is_trusted(kit, one))
		return -ENOENT;
	if (of_store(one, &store, sandbox) == 0 && sandbox != NULL)
		(void)of_store(one, &store, NULL);
	*ret = *one;
	*one = (struct cred){.name = xstrdup("")};
	return 0;
}

/* ---- handing over */

/* Its placeholder is for ever: what the guest has written down stays right. */
static int
give_placeholder(struct cred *c, const struct cred_set *known, struct err *e)
{
	const struct cred *old = cred_set_find(known, c->name);
	CLEAN_FREE char *shape = TAKE_PTR(c->placeholder);
	uint8_t random[CRED_RANDOM_BYTES];

	keep_variables(c, c->env.n > 1 ? c->env.v[1] : NULL);
	if (old != NULL) {
		c->placeholder = xstrdup(old->placeholder);
		return 0;
	}
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return err_sys(e, errno, "random bytes");
	c->placeholder = cred_placeholder(shape, random);
	return 0;
}

static void
copy_definition(const struct cred *c, struct cred_set *to)
{
	struct cred d = {.name = xstrdup(c->name), .placeholder = xstrdup(c->placeholder)};

	copy_strv(&c->env, &d.env);
	for (size_t i = 0; i < c->nplaces; i++)
		cred_add_place(&d, &c->places[i].hosts, c->places[i].header, c->places[i].format);
	cred_set_add(to, &d);
}

/* Those that are not given now, and then those that are. */
static int
keep_definitions(const struct cli *c, const char *name, struct cred_set *set, struct err *e)
{
	CLEAN_CLOSE int lock = state_policy_lock(&c->paths, name, e);
	CLEAN_CRED_SET struct cred_set known = {0}, all = {0};
	int r = lock < 0 ? lock : state_credentials_load(&c->paths, name, &known, e);

	for (size_t i = 0; i < set->n && r == 0; i++)
		r = give_placeholder(&set->v[i], &known, e);
	for (size_t i = 0; i < known.n && r == 0; i++)
		if (cred_set_find(set, known.v[i].name) == NULL)
			copy_definition(&known.v[i], &all);
	for (size_t i = 0; i < set->n && r == 0; i++)
		copy_definition(&set->v[i], &all);
	if (r == 0)
		r = cred_set_check(&all, e);
	return r == 0 ? state_credentials_save(&c->paths, name, &all, e) : r;
}

static void
drop_without_value(struct cred_set *set)
{
	struct cred_set with = {0};

	for (size_t i = 0; i < set->n; i++)
		if (set->v[i].value != NULL)
			cred_set_add(&with, &set->v[i]);
		else
			cred_release(&set->v[i]);
	free(set->v);
	*set = with;
}

/* A record without a value means that it is taken away. */
static int
add_removed(const struct cli *c, const char *name, const char *removed, struct cred_set *set,
	struct err *e)
{
	CLEAN_CRED_SET struct cred_set known = {0};
	int r = state_credentials_load(&c->paths, name, &known, e);
	const struct cred *one = r == 0 ? cred_set_find(&known, removed) : NULL;

	if (one != NULL && cred_set_find(set, removed) == NULL)
		copy_definition(one, set);
	return r;
}

int
credentials_give(const struct cli *c, const char *name, struct cred_set *set, const char *removed,
	struct err *e)
{
	CLEAN_CRED_BUF struct buf b = BUF_INIT;
	CLEAN_CLOSE int memory = -1;
	int r = 0;

	drop_without_value(set);
	if (set->n > 0)
		r = keep_definitions(c, name, set, e);
	if (r == 0 && removed != NULL)
		r = add_removed(c, name, removed, set, e);
	if (r < 0 || set->n == 0)
		return r;
	cred_set_encode(set, &b);
	memory = io_memfd("paddock-credentials", b.data, b.len, e);
	if (memory < 0)
		return memory;
	r = supervisor_credentials(&c->paths, name, memory, e);
	return r == -ESRCH ? 0 : r;
}

int
credentials_env(const struct cli *c, const struct sandbox *s, struct strv *env, struct err *e)
{
	CLEAN_CRED_SET struct cred_set known = {0};
	struct control_status st = {0};
	int r = supervisor_status(&c->paths, s->name, &st, e);

	if (r == 0)
		r = state_credentials_load(&c->paths, s->name, &known, e);
	for (size_t i = 0; i < st.credentials.n && r == 0; i++) {
		const struct cred *one = cred_set_find(&known, st.credentials.v[i]);

		for (size_t k = 0; one != NULL && k < one->env.n; k++)
			if (strv_getenv(env, one->env.v[k]) == NULL &&
				strv_getenv(&s->env, one->env.v[k]) == NULL)
				strv_setenv(env, one->env.v[k], one->placeholder);
	}
	control_status_release(&st);
	return r;
}
