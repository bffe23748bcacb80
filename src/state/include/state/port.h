#pragma once
/*
 * Published ports: `[[HOST_IP:]HOST_PORT:]SANDBOX_PORT[/PROTOCOL]`, as `sbx ports` and
 * `docker run -p` write them. Pure.
 *
 *   written                    listens on
 *   3000                       127.0.0.1, a free port that the kernel picks
 *   8080:3000                  127.0.0.1:8080
 *   8080:3000/tcp              127.0.0.1:8080 and [::1]:8080
 *   8080:3000/tcp6             [::1]:8080
 *   0.0.0.0:8080:3000          every IPv4 address of the host
 *   [::1]:8080:3000            that address; the brackets may be left out
 *
 * Either way the bytes go to the sandbox's own 127.0.0.1 (or ::1) and SANDBOX_PORT.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <base/err.h>
#include <base/str.h>

/* One listener. */
struct port {
	int family; /* AF_INET or AF_INET6 */
	union {
		struct in_addr v4;
		struct in6_addr v6;
	} addr;
	uint16_t host;  /* 0: the kernel picks one */
	uint16_t guest; /* never 0 */
};

#define PORT_TEXT_MAX 80

/* What one word of the user's means: one listener, or two (/tcp). -EINVAL with a sentence. */
int port_parse(const char *word, struct port ret[2], size_t *ret_n, struct err *e);
/* "127.0.0.1:8080:3000/tcp4": what port_parse reads back as the same one listener. */
void port_format(const struct port *p, char out[PORT_TEXT_MAX]);
/* "127.0.0.1:8080->3000/tcp4", for people. */
void port_show(const struct port *p, char out[PORT_TEXT_MAX]);
bool port_equal(const struct port *a, const struct port *b);
socklen_t port_sockaddr(const struct port *p, struct sockaddr_storage *ret);

/* Adds what a word means to a sandbox's list (texts of port_format), each once. */
int port_add_word(struct strv *list, const char *word, struct err *e);
/*
 * Takes out what a word means, and every listener of a sandbox's port where the word is a port
 * alone: how many went. -EINVAL with a sentence.
 */
int port_remove_word(struct strv *list, const char *word, struct err *e);
