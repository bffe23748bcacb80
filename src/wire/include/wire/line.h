#pragma once
/*
 * What both ends of paddock.link agree on about its HTTP/2 (RFC 9113): the host is the client, the
 * guest the server, each stream is one POST to LINE_PATH whose bodies carry the session protocol.
 *
 * Flow control is per stream (6.9.1): a receiver takes bytes off the connection's window as they
 * come and off the stream's window as they leave its memory. So a stream holds at most LINE_WINDOW
 * bytes at its receiver, and a reader that stalls holds up no other stream.
 */
#define LINE_PATH        "/session"
#define LINE_STREAMS_MAX 256
#define LINE_WINDOW      (256 * 1024)
/* Of the connection: no more than what all streams together may have under way. */
#define LINE_WINDOW_ALL (LINE_STREAMS_MAX * LINE_WINDOW)
