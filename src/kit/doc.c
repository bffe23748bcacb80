/*
 * How this works: libyaml's events are read one by one, and a tree is built from them by recursive
 * descent, whose depth is bounded, as is the number of nodes. libyaml itself keeps a stack of the
 * nested collections and nothing else between events.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "doc.h"

struct reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the one that is looked at */
	size_t nodes;
};

static int __attribute__((format(printf, 4, 0)))
complain(struct err *e, unsigned line, unsigned column, const char *fmt, va_list ap)
{
	char text[ERR_MSG_MAX];

	vsnprintf(text, sizeof(text), fmt, ap);
	return err_set(e, EINVAL, "%u:%u: %s", line, column, text);
}

int
node_error(const struct node *n, struct err *e, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = complain(e, n->line, n->column, fmt, ap);
	va_end(ap);
	return r;
}

int
node_key_error(const struct node *n, struct err *e, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = complain(e, n->key_line, n->key_column, fmt, ap);
	va_end(ap);
	return r;
}

static int
event_error(const struct reader *rd, struct err *e, const char *text)
{
	return err_set(e, EINVAL, "%zu:%zu: %s", rd->event.start_mark.line + 1,
		rd->event.start_mark.column + 1, text);
}

/* libyaml's own: a bad byte has an offset, everything else a mark. */
static int
parser_error(const yaml_parser_t *p, struct err *e)
{
	const char *problem = p->problem != NULL ? p->problem : "not YAML";

	if (p->error == YAML_READER_ERROR)
		return err_set(e, EINVAL, "%zu:%zu: %s", p->mark.line + 1, p->mark.column + 1,
			"not UTF-8 text");
	return err_set(e, EINVAL, "%zu:%zu: %s", p->problem_mark.line + 1,
		p->problem_mark.column + 1, problem);
}

static int
next(struct reader *rd, struct err *e)
{
	yaml_event_delete(&rd->event);
	return yaml_parser_parse(&rd->parser, &rd->event) ? 0 : parser_error(&rd->parser, e);
}

void /* NOLINTNEXTLINE(misc-no-recursion): a tree is at most DOC_DEPTH_MAX deep */
node_release(struct node *n)
{
	for (size_t i = 0; i < n->nkids; i++)
		node_release(&n->kids[i]);
	free(n->kids);
	free(n->key);
	free(n->text);
	memset(n, 0, sizeof(*n));
}

static bool
is_plain_scalar(const yaml_event_t *ev)
{
	return ev->data.scalar.anchor == NULL && ev->data.scalar.tag == NULL;
}

/* The text of the scalar at hand. */
static int
take_text(struct reader *rd, char **ret, struct err *e)
{
	const char *v = (const char *)rd->event.data.scalar.value;

	if (!is_plain_scalar(&rd->event))
		return event_error(rd, e, "anchors and tags are not understood in a kit");
	if (strlen(v) != rd->event.data.scalar.length)
		return event_error(rd, e, "a text may not hold a NUL character");
	*ret = xstrdup(v);
	return 0;
}

static int read_node(struct reader *rd, unsigned depth, struct node *ret, struct err *e);

static struct node *
add_kid(struct node *n)
{
	n->kids = xreallocarray(n->kids, n->nkids + 1, sizeof(*n->kids));
	n->kids[n->nkids] = (struct node){0};
	return &n->kids[n->nkids++];
}

static int /* NOLINTNEXTLINE(misc-no-recursion): read_node has a limit */
read_list(struct reader *rd, unsigned depth, struct node *n, struct err *e)
{
	int r = next(rd, e);

	while (r == 0 && rd->event.type != YAML_SEQUENCE_END_EVENT)
		r = read_node(rd, depth + 1, add_kid(n), e);
	return r;
}

static int
read_key(struct reader *rd, const struct node *map, struct node *kid, struct err *e)
{
	int r;

	if (rd->event.type != YAML_SCALAR_EVENT)
		return event_error(rd, e, "a key must be a text");
	kid->key_line = (unsigned)rd->event.start_mark.line + 1;
	kid->key_column = (unsigned)rd->event.start_mark.column + 1;
	r = take_text(rd, &kid->key, e);
	if (r < 0)
		return r;
	for (const struct node *k = map->kids; k < kid; k++)
		if (strcmp(k->key, kid->key) == 0)
			return node_key_error(kid, e, "'%.60s' is there twice, first in line %u",
				kid->key, k->key_line);
	return next(rd, e);
}

static int /* NOLINTNEXTLINE(misc-no-recursion): read_node has a limit */
read_map(struct reader *rd, unsigned depth, struct node *n, struct err *e)
{
	int r = next(rd, e);

	while (r == 0 && rd->event.type != YAML_MAPPING_END_EVENT) {
		struct node *kid = add_kid(n);

		r = read_key(rd, n, kid, e);
		if (r == 0)
			r = read_node(rd, depth + 1, kid, e);
	}
	return r;
}

/* From its first event to the one behind its last. */
static int /* NOLINTNEXTLINE(misc-no-recursion): depth has a limit */
read_node(struct reader *rd, unsigned depth, struct node *ret, struct err *e)
{
	const yaml_event_t *ev = &rd->event;
	int r;

	ret->line = (unsigned)ev->start_mark.line + 1;
	ret->column = (unsigned)ev->start_mark.column + 1;
	if (depth > DOC_DEPTH_MAX || ++rd->nodes > DOC_NODES_MAX)
		return event_error(rd, e, "more, or deeper, than a kit can be");
	if (ev->type == YAML_SCALAR_EVENT) {
		ret->type = NODE_TEXT;
		r = take_text(rd, &ret->text, e);
	} else if (ev->type == YAML_SEQUENCE_START_EVENT &&
		   ev->data.sequence_start.anchor == NULL && ev->data.sequence_start.tag == NULL) {
		ret->type = NODE_LIST;
		r = read_list(rd, depth, ret, e);
	} else if (ev->type == YAML_MAPPING_START_EVENT && ev->data.mapping_start.anchor == NULL &&
		   ev->data.mapping_start.tag == NULL) {
		ret->type = NODE_MAP;
		r = read_map(rd, depth, ret, e);
	} else {
		r = event_error(rd, e, "aliases, anchors and tags are not understood in a kit");
	}
	return r == 0 ? next(rd, e) : r;
}

static int
read_document(struct reader *rd, struct node *ret, struct err *e)
{
	int r = next(rd, e);

	if (r == 0 && rd->event.type == YAML_STREAM_START_EVENT)
		r = next(rd, e);
	if (r == 0 && rd->event.type == YAML_STREAM_END_EVENT)
		return event_error(rd, e, "the kit is empty");
	if (r == 0)
		r = next(rd, e);
	if (r == 0)
		r = read_node(rd, 0, ret, e);
	if (r == 0) /* the end of the document */
		r = next(rd, e);
	if (r == 0 && rd->event.type != YAML_STREAM_END_EVENT)
		return event_error(rd, e, "a second document: a kit is one");
	return r;
}

int
doc_read(const char *text, size_t n, struct node *ret, struct err *e)
{
	struct reader rd = {0};
	struct node root = {0};
	int r;

	if (!yaml_parser_initialize(&rd.parser))
		return err_set(e, ENOMEM, "libyaml cannot be started");
	yaml_parser_set_input_string(&rd.parser, (const unsigned char *)text, n);
	yaml_parser_set_encoding(&rd.parser, YAML_UTF8_ENCODING);
	r = read_document(&rd, &root, e);
	yaml_event_delete(&rd.event);
	yaml_parser_delete(&rd.parser);
	if (r < 0)
		node_release(&root);
	else
		*ret = root;
	return r;
}
