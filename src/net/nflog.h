#pragma once
/* What the kernel logs through NFLOG (linux/netfilter/nfnetlink_log.h), message by message. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NFLOG_MESSAGE_MAX (66 * 1024)

/*
 * A group's messages are numbered: what is missing between two of them was lost. What was lost last
 * has no message behind it, but the socket has counted it: one a packet where the group's rules
 * have queue-threshold 1.
 */
struct nflog {
	bool began;
	uint32_t next;
	uint32_t dropped;                   /* by the socket, when it was last empty */
	uint32_t shown;                     /* by the numbers, since then */
	uint32_t ahead;                     /* told before the numbers show them */
	uint8_t message[NFLOG_MESSAGE_MAX]; /* of nflog_read */
};

/*
 * Called for each packet: its bytes, perhaps cut short, and how many were lost before it. Without a
 * packet (NULL, 0) when some were lost behind the last one.
 */
typedef void nflog_fn(void *arg, const uint8_t *packet, size_t n, uint32_t lost);

/* What the socket has lost by now was for whoever read it before. */
void nflog_init(struct nflog *l, int fd);

/* What one recv(2) has returned. What is not understood is passed over. */
void nflog_parse(struct nflog *l, const uint8_t *p, size_t n, nflog_fn *fn, void *arg);

/* Reads what is there, within limits of a wake-up; fd: non-blocking. */
void nflog_read(struct nflog *l, int fd, nflog_fn *fn, void *arg);
