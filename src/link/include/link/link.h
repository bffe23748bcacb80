#pragma once
/*
 * The link role: carries sessions over the one serial line to paddock-guest as HTTP/2 streams
 * (nghttp2; RFC 9113), this end being the client. Each socket that the supervisor hands over
 * becomes one stream (POST /session) whose body in both directions is the socket's bytes, with
 * flow control end to end: a slow reader on one stream holds up no other and costs bounded memory.
 * It does not look into the bytes of a session; a published port's bytes it puts into frames.
 */
#include <stdint.h>

#include <base/err.h>

/*
 * Messages on the control socket (SOCK_SEQPACKET): one byte; behind PORT and CUT the sandbox's port
 * (u16, big-endian).
 */
enum link_control {
	LINK_SESSION = 'S', /* supervisor -> link, with one descriptor: open a stream for it */
	LINK_PORT = 'P',    /* supervisor -> link, with one connected socket, as it came to a
			     * published port: carry it to the guest's own port */
	LINK_CUT = 'X',     /* supervisor -> link: the port is published no more, end its sockets */
	LINK_UP = 'U',      /* link -> supervisor: paddock-guest answered on the line */
	LINK_DOWN = 'D',    /* link -> supervisor: the line is lost (it then ends) */
};

struct link_options {
	int line_fd;    /* stream socket: the host end of paddock.link */
	int control_fd; /* SOCK_SEQPACKET: the supervisor */
	/* LINE_WAKE bytes (wire/line.h) where the machine was saved with another at its line; or
	 * NULL */
	const uint8_t *wake;
};

/* Serves until the control socket closes (0) or the line breaks (-errno). Blocks. */
int link_serve(const struct link_options *o, struct err *e);
