#pragma once
/*
 * The first message of a TLS connection, ClientHello (RFC 8446 4.1.2, RFC 6066 3), out of the first
 * bytes of a stream: over any number of records (RFC 8446 5.1). Pure and strict: what a server
 * might understand differently (two names, repeated extensions, something between the records of
 * the message, something behind it in its last record) is malformed.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All bytes up to the message's end, record heads included. Today's are below 2 KB. */
#define TLS_HELLO_MAX 32768
#define TLS_NAME_MAX  255

enum tls_parse {
	TLS_PARSE_OK,
	TLS_PARSE_MORE, /* or, where TLS_HELLO_MAX bytes are there already, TLS_PARSE_BAD */
	TLS_PARSE_BAD,
};

struct tls_hello {
	char name[TLS_NAME_MAX + 1]; /* server_name as it was written; "": none */
	bool alpn_h2, alpn_http1, alpn_other;
	bool ech; /* encrypted_client_hello, real or as grease: there may be another name inside */
};

/* Could the stream be TLS at all? From the first byte on; false for none. */
bool tls_is_likely(const uint8_t *p, size_t n);
enum tls_parse tls_hello_parse(const uint8_t *p, size_t n, struct tls_hello *ret);
