#pragma once
/*
 * A YAML document as a tree of texts, lists and maps, each with its place. A small language on
 * purpose: one document; no aliases, anchors and tags; no key twice; a text is a text, whatever
 * YAML 1.1 would make of a "no".
 */
#include <stddef.h>

#include <base/err.h>

enum node_type { NODE_TEXT, NODE_LIST, NODE_MAP };

struct node {
	enum node_type type;
	unsigned line, column; /* from 1 */
	char *key;             /* of an entry of a map */
	unsigned key_line, key_column;
	char *text;
	struct node *kids;
	size_t nkids;
};

#define DOC_DEPTH_MAX 8
#define DOC_NODES_MAX 2048

void node_release(struct node *n);
/* -EINVAL with "LINE:COLUMN: sentence". */
int doc_read(const char *text, size_t n, struct node *ret, struct err *e);
/* The same for a caller's own complaint. */
int node_error(const struct node *n, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int node_key_error(const struct node *n, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
