#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <wire/session.h>

#include "listeners.h"

#define STATE_LISTEN 0x0a
#define TABLE_MAX    (4u << 20)

/* An address as the kernel prints it: words of the host's byte order, in hexadecimal. */
static bool
reaches_loopback(const char *hex, size_t n)
{
	if (strspn(hex, "0") >= n)
		return true; /* any address */
	if (n == 8)
		return strncmp(hex + 6, "7F", 2) == 0; /* 127/8 */
	return n == 32 && (strncmp(hex, "00000000000000000000000001000000", n) == 0 ||
				  (strncmp(hex, "0000000000000000FFFF0000", 24) == 0 &&
					  (strncmp(hex + 30, "7F", 2) == 0 ||
						  strncmp(hex + 24, "00000000", 8) == 0)));
}

void
listeners_parse(const char *text, unsigned char seen[8192])
{
	for (const char *line = strchr(text, '\n'); line != NULL; line = strchr(line, '\n')) {
		char addr[33];
		unsigned port, state;

		line++;
		if (sscanf(line, " %*u: %32[0-9A-F]:%4X %*[0-9A-F]:%*4X %2X", addr, &port,
			    &state) != 3 ||
			state != STATE_LISTEN || port > UINT16_MAX)
			continue;
		if (reaches_loopback(addr, strlen(addr)))
			seen[port / 8] |= (unsigned char)(1u << port % 8);
	}
}

void
listeners_list(struct buf *out)
{
	static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
	unsigned char seen[8192] = {0};

	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		CLEAN_BUF struct buf b = BUF_INIT;

		if (io_read_file(AT_FDCWD, tables[i], TABLE_MAX, &b, NULL) == 0)
			listeners_parse(buf_str(&b), seen);
	}
	for (unsigned port = 1; port <= UINT16_MAX; port++)
		if (seen[port / 8] & 1u << port % 8)
			session_listener_encode((uint16_t)port, out);
}
