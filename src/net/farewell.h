#pragma once
/*
 * The last words to a guest: sent, then the end, and what it still says is read and dropped for a
 * moment, for a socket that is closed with something unread resets, and the words may be lost.
 */
#include <base/buf.h>

#include "server.h"
#include "endpoint.h"

#define FAREWELL_LIMIT_MS 2000
#define FAREWELLS_MAX     256 /* more at once: said, without waiting for anybody */

/* Takes the socket, and the buffer's content. */
void farewell_start(struct net *net, int fd, struct buf *words);
/* The same with what is in its out; the endpoint is empty afterwards. */
void farewell_endpoint(struct net *net, struct endpoint *s);
void farewell_close_all(struct net *net);
