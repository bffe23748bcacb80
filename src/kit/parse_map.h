#pragma once
/* A map's keys as a table, and the kinds of values. Every complaint names its line and column. */
#include <stdbool.h>
#include <stddef.h>

#include <base/err.h>
#include <base/str.h>

#include "doc.h"

#define PARSE_TEXT_MAX 4096 /* of anything but a step and a file's content */
#define PARSE_LINE_MAX 200

/* One key of a map: its reader gets the value's node and the thing that is being filled. */
struct key {
	const char *name;
	int (*read)(const struct node *n, void *into, struct err *e);
	bool required;
};

/* what: "a file", for messages. */
int parse_map(const struct node *n, const struct key *keys, size_t nkeys, void *into,
	const char *what, struct err *e);
int parse_text(const struct node *n, const char *what, size_t max, char **ret, struct err *e);
/* Printable, not empty, a single line. */
int parse_line(const struct node *n, const char *what, size_t max, char **ret, struct err *e);
/* A list of lines, each of which fits (NULL: any): "'x' is no HOW". */
int parse_list(const struct node *n, const char *what, bool (*fits)(const char *), const char *how,
	struct strv *ret, struct err *e);
bool parse_is_line(const char *s, size_t max);
bool parse_is_env_key(const char *s);
