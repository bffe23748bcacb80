#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <cred/secret.h>
#include <cred/set.h>
#include <policy/name.h>
#include <wire/tlv.h>

void
cred_release(struct cred *c)
{
	free(c->name);
	strv_release(&c->env);
	for (size_t i = 0; i < c->nplaces; i++) {
		strv_release(&c->places[i].hosts);
		free(c->places[i].header);
		free(c->places[i].format);
	}
	free(c->places);
	free(c->placeholder);
	secret_free(c->value);
	*c = (struct cred){0};
}

void
cred_set_release(struct cred_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		cred_release(&s->v[i]);
	free(s->v);
	*s = (struct cred_set){0};
}

void
cred_set_add(struct cred_set *s, struct cred *c)
{
	s->v = xreallocarray(s->v, s->n + 1, sizeof(*s->v));
	s->v[s->n++] = *c;
	*c = (struct cred){0};
}

struct cred *
cred_set_find(const struct cred_set *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->v[i].name, name) == 0)
			return &s->v[i];
	return NULL;
}

static void
remove_at(struct cred_set *s, size_t i)
{
	cred_release(&s->v[i]);
	memmove(&s->v[i], &s->v[i + 1], (s->n - i - 1) * sizeof(*s->v));
	s->n--;
}

void
cred_set_merge(struct cred_set *into, struct cred_set *from)
{
	for (size_t i = 0; i < from->n; i++) {
		struct cred *old = cred_set_find(into, from->v[i].name);

		if (old != NULL)
			remove_at(into, (size_t)(old - into->v));
		if (from->v[i].value != NULL)
			cred_set_add(into, &from->v[i]);
	}
	cred_set_release(from);
}

void
cred_add_place(struct cred *c, const struct strv *hosts, const char *header, const char *format)
{
	struct cred_place p = {.header = xstrdup(header), .format = xstrdup(format)};

	for (size_t i = 0; i < hosts->n; i++)
		strv_add(&p.hosts, hosts->v[i]);
	c->places = xreallocarray(c->places, c->nplaces + 1, sizeof(*c->places));
	c->places[c->nplaces++] = p;
}

/* ---- forms */

bool
cred_name_fits(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n > 0 && n <= CRED_NAME_MAX && name[n] == '\0' && name[0] != '-';
}

bool
cred_host_fits(const char *host)
{
	char name[HOST_NAME_TEXT_MAX];
	const char *h = str_has_prefix(host, "*.") ? host + 2 : host;

	return host_name_canonical(h, name) == 0 && strcmp(h, name) == 0 &&
	       host_name_kind(name) == HOST_NAME_ORDINARY;
}

bool
cred_header_fits(const char *header)
{
	static const char *const framing[] = {"host", "connection", "content-length",
		"transfer-encoding", "te", "trailer", "upgrade", "keep-alive", "expect",
		"accept-encoding"};

	for (size_t i = 0; i < ARRAY_LEN(framing); i++)
		if (strcasecmp(header, framing[i]) == 0)
			return false;
	return header[0] != '\0' && strlen(header) <= 100 &&
	       strspn(header, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			      "!#$%&'*+-.^_`|~") == strlen(header);
}

bool
cred_format_fits(const char *format)
{
	const char *at = strchr(format, '%');

	if (at == NULL || at[1] != 's' || strchr(at + 1, '%') != NULL || strlen(format) > 200)
		return false;
	for (const char *p = format; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			return false;
	return true;
}

int
cred_value_check(const char *name, const void *p, size_t n, struct err *e)
{
	const uint8_t *v = p;

	if (n < CRED_VALUE_MIN)
		return err_set(e, EINVAL, "the value of '%s' is shorter than %d bytes: %s", name,
			CRED_VALUE_MIN, n == 0 ? "it is empty" : "this is no secret");
	if (n > CRED_VALUE_MAX)
		return err_set(e, EINVAL, "the value of '%s' is longer than %d bytes", name,
			CRED_VALUE_MAX);
	for (size_t i = 0; i < n; i++)
		if (v[i] < ' ' || v[i] == 0x7f)
			return err_set(e, EINVAL,
				"the value of '%s' has a control character in it (a line end?), "
				"which no header can carry",
				name);
	return 0;
}

static int
check_place(const struct cred *c, const struct cred_place *p, struct err *e)
{
	if (p->hosts.n == 0 || p->hosts.n > CRED_HOSTS_MAX)
		return err_set(e, EINVAL, "the credential '%s' goes to 1 to %d hosts, not to %zu",
			c->name, CRED_HOSTS_MAX, p->hosts.n);
	for (size_t i = 0; i < p->hosts.n; i++)
		if (!cred_host_fits(p->hosts.v[i]))
			return err_set(e, EINVAL,
				"the credential '%s' cannot go to '%.80s': write a host's name, or "
				"*.domain",
				c->name, p->hosts.v[i]);
	if (!cred_header_fits(p->header))
		return err_set(e, EINVAL, "the credential '%s' cannot go into the header '%.40s'",
			c->name, p->header);
	if (!cred_format_fits(p->format))
		return err_set(e, EINVAL,
			"the format of credential '%s' must hold %%s once, as in 'Bearer %%s'",
			c->name);
	return 0;
}

static int
check_one(const struct cred *c, struct err *e)
{
	size_t n = c->placeholder != NULL ? strlen(c->placeholder) : 0;
	int r = 0;

	if (c->name == NULL || !cred_name_fits(c->name))
		return err_set(e, EINVAL, "a credential's name is of a-z, 0-9 and '-'");
	if (n < CRED_PLACEHOLDER_MIN || n > CRED_PLACEHOLDER_MAX ||
		strspn(c->placeholder, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789-_.") != n)
		return err_set(e, EINVAL,
			"the placeholder of '%s' must be %d to %d letters, digits, '-', '_' and "
			"'.'",
			c->name, CRED_PLACEHOLDER_MIN, CRED_PLACEHOLDER_MAX);
	if (c->nplaces == 0 || c->nplaces > CRED_PLACES_MAX)
		return err_set(e, EINVAL, "the credential '%s' goes nowhere", c->name);
	for (size_t i = 0; i < c->nplaces && r == 0; i++)
		r = check_place(c, &c->places[i], e);
	if (r == 0 && c->value != NULL)
		r = cred_value_check(c->name, c->value, strlen(c->value), e);
	if (r == 0 && c->value != NULL && strstr(c->value, c->placeholder) != NULL)
		r = err_set(e, EINVAL,
			"the value of '%s' is its placeholder: this came out of a sandbox",
			c->name);
	return r;
}

int
cred_set_check(const struct cred_set *s, struct err *e)
{
	if (s->n > CRED_COUNT_MAX)
		return err_set(e, EINVAL, "more than %d credentials", CRED_COUNT_MAX);
	for (size_t i = 0; i < s->n; i++) {
		int r = check_one(&s->v[i], e);

		for (size_t k = 0; k < i && r == 0; k++) {
			const struct cred *a = &s->v[i], *b = &s->v[k];

			if (strcmp(a->name, b->name) == 0)
				r = err_set(
					e, EINVAL, "the credential '%s' is there twice", a->name);
			else if (strstr(a->placeholder, b->placeholder) != NULL ||
				 strstr(b->placeholder, a->placeholder) != NULL)
				r = err_set(e, EINVAL,
					"the placeholders of '%s' and '%s' cannot be told apart: "
					"one "
					"holds the other",
					b->name, a->name);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- encoded */

enum { TAG_NAME = 1, TAG_PLACEHOLDER, TAG_VALUE, TAG_HEADER, TAG_FORMAT, TAG_HOST };

void
cred_buf_wipe(struct buf *b)
{
	if (b->base != NULL)
		explicit_bzero(b->base, b->cap);
	buf_release(b);
}

void
cred_set_encode(const struct cred_set *s, struct buf *out)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct cred *c = &s->v[i];

		tlv_put_str(out, TAG_NAME, c->name);
		tlv_put_str(out, TAG_PLACEHOLDER, c->placeholder);
		if (c->value != NULL)
			tlv_put_str(out, TAG_VALUE, c->value);
		for (size_t k = 0; k < c->nplaces; k++) {
			const struct cred_place *p = &c->places[k];

			tlv_put_str(out, TAG_HEADER, p->header);
			tlv_put_str(out, TAG_FORMAT, p->format);
			for (size_t h = 0; h < p->hosts.n; h++)
				tlv_put_str(out, TAG_HOST, p->hosts.v[h]);
		}
	}
}

static int
begin_cred(struct cred_set *s, const struct tlv *t)
{
	struct cred c = {0};

	if (s->n >= CRED_COUNT_MAX || tlv_str(t, CRED_NAME_MAX, &c.name) < 0)
		return -EBADMSG;
	cred_set_add(s, &c);
	return 0;
}

static int
begin_place(struct cred *c, const struct tlv *t)
{
	const struct strv none = {0};
	char *header = NULL;

	if (c->nplaces >= CRED_PLACES_MAX || tlv_str(t, 100, &header) < 0)
		return -EBADMSG;
	cred_add_place(c, &none, header, "%s");
	free(header);
	return 0;
}

static int
read_value(struct cred *c, const struct tlv *t)
{
	if (c->value != NULL || t->n > CRED_VALUE_MAX || memchr(t->p, '\0', t->n) != NULL)
		return -EBADMSG;
	c->value = secret_dup(t->p, t->n);
	return 0;
}

static int
field(struct cred_set *s, const struct tlv *t)
{
	struct cred *c = s->n > 0 ? &s->v[s->n - 1] : NULL;
	struct cred_place *p = c != NULL && c->nplaces > 0 ? &c->places[c->nplaces - 1] : NULL;

	if (t->tag == TAG_NAME)
		return begin_cred(s, t);
	if (c == NULL)
		return -EBADMSG;
	switch (t->tag) {
	case TAG_PLACEHOLDER:
		return tlv_str(t, CRED_PLACEHOLDER_MAX, &c->placeholder);
	case TAG_VALUE:
		return read_value(c, t);
	case TAG_HEADER:
		return begin_place(c, t);
	case TAG_FORMAT:
		return p != NULL ? tlv_str(t, 200, &p->format) : -EBADMSG;
	case TAG_HOST:
		return p != NULL ? tlv_strv(t, HOST_NAME_TEXT_MAX + 2, CRED_HOSTS_MAX, &p->hosts)
				 : -EBADMSG;
	default:
		return -EBADMSG;
	}
}

int
cred_set_decode(const void *p, size_t n, struct cred_set *ret, struct err *e)
{
	CLEAN_CRED_SET struct cred_set s = {0};
	struct tlv_reader rd;
	struct tlv t;
	int r;

	tlv_reader_init(&rd, p, n);
	while ((r = tlv_next(&rd, &t)) > 0) {
		r = field(&s, &t);
		if (r < 0)
			break;
	}
	if (r < 0)
		return err_set(e, EBADMSG, "damaged credentials");
	r = cred_set_check(&s, e);
	if (r < 0)
		return r;
	*ret = s;
	s = (struct cred_set){0};
	return 0;
}
