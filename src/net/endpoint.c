#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#include <base/cleanup.h>

#include "sock.h"
#include "endpoint.h"

bool
endpoint_open(struct endpoint *s, uv_loop_t *loop, int fd, SSL *ssl, watch_fn *fn, void *arg)
{
	/* What came behind the handshake may be in TLS' buffer already. */
	*s = (struct endpoint){.fd = fd, .ssl = ssl, .more = ssl != NULL};
	s->watch = watch_new(loop, fd, fn, arg);
	if (s->watch == NULL)
		endpoint_close(s, true);
	return s->watch != NULL;
}

void
endpoint_close(struct endpoint *s, bool reset)
{
	watch_free(s->watch);
	if (!reset)
		endpoint_finish(s);
	SSL_free(s->ssl);
	if (s->fd >= 0 && reset)
		sock_reset(s->fd);
	else if (s->fd >= 0)
		close(s->fd);
	buf_release(&s->in);
	buf_release(&s->out);
	*s = (struct endpoint){.fd = -1};
}

int
endpoint_take_fd(struct endpoint *s)
{
	int fd = TAKE_FD(s->fd);

	endpoint_close(s, false);
	return fd;
}

/* ---- TLS
 * ----------------------------------------------------------------------------------------- */

/* RFC 8446 6.1: an end that was not announced may be somebody's on the way. */
static bool
on_tls_read_end(struct endpoint *s, int error)
{
	unsigned long code = ERR_peek_last_error();

	switch (error) {
	case SSL_ERROR_WANT_READ:
		return true;
	case SSL_ERROR_WANT_WRITE:
		s->read_blocked = true;
		return true;
	case SSL_ERROR_ZERO_RETURN:
		s->ended = true;
		return true;
	case SSL_ERROR_SSL:
		s->cut = true;
		s->ended = ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
		return s->ended;
	default:
		s->cut = true;
		return false;
	}
}

/* Record by record, so long as there is room and more is there. */
static bool
tls_fill(struct endpoint *s)
{
	size_t left = ENDPOINT_READ_MAX, n;

	s->read_blocked = s->more = false;
	while (left > 0) {
		uint8_t *p = buf_reserve(&s->in, left);

		ERR_clear_error();
		if (SSL_read_ex(s->ssl, p, left, &n) != 1)
			return on_tls_read_end(s, SSL_get_error(s->ssl, 0));
		buf_commit(&s->in, n);
		left -= n;
	}
	s->more = true;
	return true;
}

static bool
tls_flush(struct endpoint *s)
{
	size_t n;

	while (s->out.len > 0) {
		ERR_clear_error();
		if (SSL_write_ex(s->ssl, s->out.data, s->out.len, &n) == 1) {
			buf_consume(&s->out, n);
			continue;
		}
		/* Without renegotiation, writing never waits for something to read. */
		return SSL_get_error(s->ssl, 0) == SSL_ERROR_WANT_WRITE;
	}
	return true;
}

/* ---- both
 * ---------------------------------------------------------------------------------------- */

bool
endpoint_fill(struct endpoint *s)
{
	ssize_t n;

	if (s->ssl != NULL)
		return tls_fill(s);
	n = recv(s->fd, buf_reserve(&s->in, ENDPOINT_READ_MAX), ENDPOINT_READ_MAX, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	buf_commit(&s->in, (size_t)n);
	s->ended |= n == 0;
	return true;
}

bool
endpoint_flush(struct endpoint *s)
{
	if (s->fd >= 0 && s->ssl != NULL)
		return tls_flush(s);
	while (s->fd >= 0 && s->out.len > 0) {
		ssize_t n = send(s->fd, s->out.data, s->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		buf_consume(&s->out, (size_t)n);
	}
	return true;
}

void
endpoint_finish(struct endpoint *s)
{
	/* Of no use, and an error, where the handshake is not through or something is broken. */
	if (s->ssl != NULL && SSL_is_init_finished(s->ssl) &&
		(SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN) == 0) {
		ERR_clear_error();
		(void)SSL_shutdown(s->ssl);
		ERR_clear_error();
	}
	if (s->fd >= 0)
		(void)shutdown(s->fd, SHUT_WR);
}

/*
 * With nothing to wait for only the socket's death wakes up (epoll reports errors whatever was
 * asked for); there is no urgent data (SO_OOBINLINE), so UV_PRIORITIZED stands for "nothing but
 * errors".
 */
void
endpoint_wait(struct endpoint *s, bool reading)
{
	int events = 0;

	if (s->watch == NULL)
		return;
	if (reading)
		events |= s->read_blocked ? UV_WRITABLE
			  : s->more       ? UV_READABLE | UV_WRITABLE
					  : UV_READABLE;
	if (s->out.len > 0)
		events |= UV_WRITABLE;
	watch_events(s->watch, events != 0 ? events : UV_PRIORITIZED);
}
