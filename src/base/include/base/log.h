#pragma once
/*
 * Diagnostics on stderr, one line each, only below the level that --debug sets. The level is the
 * one piece of global state. Users' messages are not logged: they are returned as struct err.
 */
enum log_level { LOG_QUIET, LOG_WARN, LOG_DEBUG };

void log_init(const char *who, enum log_level level);
enum log_level log_get_level(void);
void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
