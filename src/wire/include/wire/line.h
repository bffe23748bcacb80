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

/*
 * A machine that is booted to be saved has the kernel argument
 * paddock.snapshot=ADDRESS/PREFIX,GATEWAY (which all its clones will have) and says this on its
 * console once it waits for its identity.
 */
#define LINE_WAITING "paddock-guest: waiting to be told who I am"

/*
 * The client's connection preface (3.4). A machine may have been saved while another client was at
 * its line: what comes before the preface was for somebody else.
 */
#define LINE_PREFACE     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define LINE_PREFACE_LEN 24

/*
 * A machine that runs may be saved as well, in the midst of anything. Before that it is told a wake
 * word, random and new each time (SESSION_OP_SAVE). Who finds the machine again, at the end of
 * another line, says the first half of it before the preface; the guest then drops all that was
 * there before and answers with the second half, before which nothing that it says counts.
 */
#define LINE_WAKE      32
#define LINE_WAKE_HALF 16
