#pragma once
/* Strings, string vectors and the parsing of the words that people type. Pure. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/err.h>

/* A NULL-terminated vector of owned strings (argv, environments). Zero-initialise. */
struct strv {
	char **v; /* NULL where empty, else v[n] == NULL */
	size_t n;
};

#define CLEAN_STRV __attribute__((cleanup(strv_release)))

void strv_release(struct strv *s);
void strv_add(struct strv *s, const char *str);
void strv_addf(struct strv *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strv_add_take(struct strv *s, char *str);
/* Sets KEY=VALUE in an environment: replaces an entry with the same key, else adds one. */
void strv_setenv(struct strv *s, const char *key, const char *value);
/* The value of KEY in an environment, or NULL; owned by s. */
const char *strv_getenv(const struct strv *s, const char *key);
bool strv_has(const struct strv *s, const char *str);

bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);

/* Decimal, whole string, no sign, no blanks, within [min, max]. 0 or -EINVAL/-ERANGE. */
int str_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);

/* "1024m", "8g", "8GiB", "512" (bytes): binary units b k m g t. 0 or -EINVAL/-ERANGE. */
int str_to_size(const char *s, uint64_t *ret_bytes);
/* "1.5 GiB", for people. */
void str_from_size(uint64_t bytes, char out[16]);

/*
 * Untrusted text made fit for a terminal or a log line: control bytes, DEL and invalid UTF-8 become
 * \xNN, C1 controls (U+0080..U+009F) too; a backslash stays. Newlines are escaped as \n. Writes at
 * most size bytes, NUL included.
 */
void str_escape(const char *s, size_t n, char *out, size_t size);
