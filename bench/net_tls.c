/*
 * TLS that is looked into, on the host side: paddock beside squid (ssl-bump) and mitmproxy as
 * forward proxies, and beside client and server alone. Who looks into TLS does what both ends do:
 * its price is compared with theirs together. A client downloads, asks small requests, and comes
 * anew.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <signer/signer.h>

#include "ca.h"
#include "net_common.h"
#include "net_ways.h"
#include "server.h"

#define NAME "bench.test"

enum { ROUNDS = 3, ASKS = 500 };
enum { WAY_DIRECT, WAY_PADDOCK };
enum figure { GBITS, CPU_PER_GIB, PER_SECOND, P50_US, P99_US, FIGURES };

/* A round's work; --quick is for whoever works on the bench itself. */
static struct {
	int rounds, bulk_mib, asks, connections;
} load = {ROUNDS, 128, ASKS, 50}, quick = {1, 8, 50, 10};

static pid_t origin_pid;

static const struct other others[] = {
	{"squid, ssl-bump", "/usr/sbin/squid",
		"http_port 127.0.0.1:%2$u ssl-bump cert=%1$s/proxy.pem "
		"generate-host-certificates=on "
		"dynamic_cert_mem_cache_size=4MB\n"
		"sslcrtd_program /usr/lib/squid/security_file_certgen -s %1$s/ssl_db -M 4MB\n"
		"acl hello at_step SslBump1\nssl_bump peek hello\nssl_bump bump all\n"
		"tls_outgoing_options cafile=%1$s/trust.pem\nhttp_access allow all\n"
		"cache deny all\naccess_log none\ncache_log %1$s/squid.log\npid_filename none\n"
		"coredump_dir %1$s\npinger_enable off\nvisible_hostname bench\n"
		"shutdown_lifetime 0 seconds\nhosts_file %1$s/hosts\n# origin %3$u\n",
		"/usr/lib/squid/security_file_certgen -c -s %1$s/ssl_db -M 4MB >/dev/null && "
		"chmod -R a+rwX %1$s/ssl_db %1$s/proxy.pem && echo 127.0.0.1 " NAME " > %1$s/hosts",
		true, {"squid", "-N", "-f", "CONFIG"}},
	{"mitmproxy", "/usr/bin/mitmdump", "# %1$s %2$u %3$u\n",
		"mkdir %1$s/mitm && printf 'ssl_verify_upstream_trusted_ca: %1$s/trust.pem\\n"
		"stream_large_bodies: 64k\\nflow_detail: 0\\n' > %1$s/mitm/config.yaml",
		true,
		{"mitmdump", "-q", "--set", "confdir=mitm", "--listen-host", "127.0.0.1", "-p",
			"PORT"}},
};

/* ---- the origin ---------------------------------------------------------------------------- */

static SSL_CTX *origin_ctx;

static void
write_all(SSL *ssl, const char *p, size_t n)
{
	size_t done;

	while (n > 0 && SSL_write_ex(ssl, p, n < 1 << 16 ? n : 1 << 16, &done) == 1) {
		p += done;
		n -= done;
	}
}

/* "GET /N": N bytes, until the client has had enough. */
static void *
serve_one(void *arg)
{
	static char block[1 << 20];
	int fd = (int)(intptr_t)arg;
	SSL *ssl = SSL_new(origin_ctx);
	char head[4096];
	size_t n = 0, got;

	setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &(int){1}, sizeof(int));
	SSL_set_fd(ssl, fd);
	SSL_set_accept_state(ssl);
	while (SSL_read_ex(ssl, head + n, sizeof(head) - 1 - n, &got) == 1) {
		unsigned long size, left;
		int len;

		n += got;
		head[n] = '\0';
		if (strstr(head, "\r\n\r\n") == NULL)
			continue;
		size = left = strtoul(head + strlen("GET /"), NULL, 10);
		len = snprintf(head, sizeof(head),
			"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
			"Content-Length: %lu\r\n\r\n",
			size);
		write_all(ssl, head, (size_t)len);
		for (; left > 0; left -= left < sizeof(block) ? left : sizeof(block))
			write_all(ssl, block, left < sizeof(block) ? left : sizeof(block));
		n = 0;
	}
	SSL_free(ssl);
	close(fd);
	return NULL;
}

static void __attribute__((noreturn)) run_origin(int listener)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0 && pthread_create(&t, &attr, serve_one, (void *)(intptr_t)fd) != 0)
			close(fd);
	}
}

/* ---- the ways ------------------------------------------------------------------------------ */

static void
write_pem(const char *name, const struct buf *pem)
{
	CLEAN_FREE char *path = NULL;
	struct err e = {0};

	if (asprintf(&path, "%s/%s", ways_folder(), name) < 0 ||
		io_write_file_atomic(AT_FDCWD, path, pem->data, pem->len, 0644, &e) < 0)
		die(e.msg);
}

/* A certificate of the world's for the origin, which the proxies trust. */
static void
make_origin(const struct buf *authority)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	CLEAN_BUF struct buf der = BUF_INIT;
	unsigned char *public = NULL;
	struct ca ca = {0};
	int n = i2d_PUBKEY(key, &public);
	struct err e = {0};

	origin_ctx = SSL_CTX_new(TLS_server_method());
	if (ca_parse(buf_str((struct buf *)authority), &ca, &e) < 0 ||
		leaf_sign(&ca, NAME, public, (size_t)n, (int64_t)(clock_real_ns() / 1000000000),
			&der, &e) < 0 ||
		SSL_CTX_use_certificate_ASN1(origin_ctx, (int)der.len, der.data) != 1 ||
		SSL_CTX_use_PrivateKey(origin_ctx, key) != 1)
		die(e.msg);
	ca_release(&ca);
	EVP_PKEY_free(key);
	OPENSSL_free(public);
}

static int
to_proxy(int fd, struct sockaddr_in *ret)
{
	(void)fd;
	*ret = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons(NET_PROXY_PORT),
		.sin_addr.s_addr = htonl(NET_GATEWAY)};
	return 0;
}

static void __attribute__((noreturn)) run_signer(int fd, struct buf *authority)
{
	struct err e = {0};

	signer_prepare();
	if (signer_serve(fd, buf_str(authority), &e) < 0)
		fprintf(stderr, "%s\n", e.msg);
	exit(0);
}

static void __attribute__((noreturn))
run_net(int listener, uint16_t origin_port, int signer, struct buf *trust)
{
	/* What is asked for is known only inside of TLS. */
	static const char text[] = "locked\nallow " NAME " --method GET\n";
	struct net_override ov = {.host = NAME, .port = 443};
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons(origin_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct net_hooks hooks = {.original_dst = to_proxy};
	struct policy policy = {0};
	struct net_options o = {.tcp_fd = listener,
		.overrides = &ov,
		.noverrides = 1,
		.policy = &policy,
		.signer_fd = signer,
		.trust = buf_str(trust)};
	int resolver[2], alive[2];
	struct err e = {0};

	memcpy(&ov.to, &to, sizeof(to));
	o.dns_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (policy_decode(text, strlen(text), &policy, &e) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, resolver) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, alive) < 0)
		die("net");
	o.resolver_fd = resolver[0];
	o.control_fd = alive[0];
	io_set_nonblock(listener, true);
	if (net_serve_with(&o, &hooks, &e) < 0)
		fprintf(stderr, "%s\n", e.msg);
	exit(1);
}

static pid_t
start_net(uint16_t origin_port, struct buf *trust, struct buf *sandbox, uint16_t *ret_port)
{
	int listener = bench_listen(ret_port), signer[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, signer) < 0)
		die("socketpair");
	if (ways_fork() == 0) {
		close(signer[0]);
		run_signer(signer[1], sandbox);
	}
	pid = ways_fork();
	if (pid == 0) {
		close(signer[1]);
		run_net(listener, origin_port, signer[0], trust);
	}
	close(signer[0]);
	close(signer[1]);
	close(listener);
	return pid;
}

/* ---- the client ---------------------------------------------------------------------------- */

/* Who the other end is, is not looked at: each proxy has an authority of its own. */
static SSL *
enter(const struct way *w)
{
	static SSL_CTX *ctx;
	int fd = bench_call(w->port);
	SSL *ssl;

	if (ctx == NULL)
		ctx = SSL_CTX_new(TLS_client_method());
	if (w->target[0] != '\0')
		bench_connect(fd, w->target);
	ssl = SSL_new(ctx);
	SSL_set_tlsext_host_name(ssl, NAME);
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) != 1) {
		ERR_print_errors_fp(stderr);
		die(w->name);
	}
	return ssl;
}

static void
leave(SSL *ssl)
{
	int fd = SSL_get_fd(ssl);

	(void)SSL_shutdown(ssl);
	SSL_free(ssl);
	close(fd);
}

/* A request and its whole answer. Proxies that were asked for a port want to read it again. */
static void
ask(const struct way *w, SSL *ssl, size_t size)
{
	static char block[1 << 18];
	char head[256], *body;
	size_t n = 0, got = 0;
	const char *port = strchr(w->target, ':');
	int len = snprintf(head, sizeof(head), "GET /%zu HTTP/1.1\r\nHost: " NAME "%s\r\n\r\n",
		size, port != NULL ? port : "");

	if (SSL_write(ssl, head, len) != len)
		die("request");
	do {
		if (SSL_read_ex(ssl, block + n, sizeof(block) - 1 - n, &got) != 1)
			die("answer's head");
		n += got;
		block[n] = '\0';
	} while ((body = strstr(block, "\r\n\r\n")) == NULL);
	if (strncmp(block + strlen("HTTP/1.1"), " 200", 4) != 0) {
		fprintf(stderr, "%s\n", block);
		exit(1);
	}
	n -= (size_t)(body + 4 - block);
	for (; n < size; n += got)
		if (SSL_read_ex(ssl, block, sizeof(block), &got) != 1)
			die("answer");
}

/* ---- the figures --------------------------------------------------------------------------- */

/* Of the proxy; without one, of both ends together. */
static double
price(const struct way *w)
{
	return w->pid != 0 ? bench_cpu(w->pid) : bench_cpu(getpid()) + bench_cpu(origin_pid);
}

static void
bulk(const struct way *w, double out[FIGURES])
{
	SSL *ssl = enter(w);
	double cpu = price(w), begin = bench_now();

	ask(w, ssl, (size_t)load.bulk_mib << 20);
	out[GBITS] = load.bulk_mib * 8.0 * 1.048576 / 1000 / (bench_now() - begin);
	out[CPU_PER_GIB] = (price(w) - cpu) / (load.bulk_mib / 1024.0);
	leave(ssl);
}

static void
latency(const struct way *w, double out[FIGURES])
{
	static double took[ASKS];
	SSL *ssl = enter(w);

	for (int i = 0; i < load.asks; i++) {
		uint64_t begin = clock_mono_ns();

		ask(w, ssl, 10);
		took[i] = (double)(clock_mono_ns() - begin) / 1e3;
	}
	leave(ssl);
	out[P50_US] = bench_median(took, (size_t)load.asks);
	out[P99_US] = took[load.asks * 99 / 100];
}

static void
connections(const struct way *w, double out[FIGURES])
{
	double begin = bench_now();

	for (int i = 0; i < load.connections; i++) {
		SSL *ssl = enter(w);

		ask(w, ssl, 10);
		leave(ssl);
	}
	out[PER_SECOND] = load.connections / (bench_now() - begin);
}

static void
measure(const struct way *ways, size_t n)
{
	static double all[WAYS_MAX][FIGURES][ROUNDS];
	double m[WAYS_MAX][FIGURES];

	for (int round = 0; round < load.rounds; round++)
		for (size_t i = 0; i < n; i++) {
			double out[FIGURES];

			bulk(&ways[i], out);
			latency(&ways[i], out);
			connections(&ways[i], out);
			for (int k = 0; k < FIGURES; k++)
				all[i][k][round] = out[k];
		}
	printf("%-18s %8s %9s %8s %8s %8s %12s\n", "", "Gbit/s", "CPU s/GiB", "conn/s", "p50 us",
		"p99 us", "CPU to ends'");
	for (size_t i = 0; i < n; i++) {
		for (int k = 0; k < FIGURES; k++)
			m[i][k] = bench_median(all[i][k], (size_t)load.rounds);
		printf("%-18s %8.2f %9.3f %8.0f %8.0f %8.0f %12.2f\n", ways[i].name, m[i][GBITS],
			m[i][CPU_PER_GIB], m[i][PER_SECOND], m[i][P50_US], m[i][P99_US],
			m[i][CPU_PER_GIB] / m[WAY_DIRECT][CPU_PER_GIB]);
	}
	/* Above 1: paddock is ahead. */
	printf("\nahead of           Gbit/s   CPU/GiB   conn/s      p50      p99\n");
	for (size_t i = WAY_PADDOCK + 1; i < n; i++)
		printf("%-18s %6.2f %9.2f %8.2f %8.2f %8.2f\n", ways[i].name,
			m[WAY_PADDOCK][GBITS] / m[i][GBITS],
			m[i][CPU_PER_GIB] / m[WAY_PADDOCK][CPU_PER_GIB],
			m[WAY_PADDOCK][PER_SECOND] / m[i][PER_SECOND],
			m[i][P50_US] / m[WAY_PADDOCK][P50_US],
			m[i][P99_US] / m[WAY_PADDOCK][P99_US]);
}

int
main(int argc, char **argv)
{
	CLEAN_BUF struct buf world = BUF_INIT;
	CLEAN_BUF struct buf trust = BUF_INIT;
	CLEAN_BUF struct buf sandbox = BUF_INIT;
	struct way ways[WAYS_MAX] = {[WAY_DIRECT] = {.name = "both ends alone"},
		[WAY_PADDOCK] = {.name = "paddock", .target = NAME ":443"}};
	size_t n = WAY_PADDOCK + 1;
	uint16_t direct;
	int origin = bench_listen(&direct);
	struct err e = {0};

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1 && strcmp(argv[1], "--quick") == 0)
		load = quick;
	if (ca_new("world", &world, &e) < 0 || ca_certificate(buf_str(&world), &trust, &e) < 0 ||
		ca_new("bench", &sandbox, &e) < 0)
		die(e.msg);
	write_pem("trust.pem", &trust);
	write_pem("proxy.pem", &world);
	make_origin(&world);
	origin_pid = ways_fork();
	if (origin_pid == 0)
		run_origin(origin);
	close(origin);
	ways[WAY_DIRECT].port = direct;
	ways[WAY_PADDOCK].pid = start_net(direct, &trust, &sandbox, &ways[WAY_PADDOCK].port);
	n += ways_start(others, ARRAY_LEN(others), direct, ways + n);
	measure(ways, n);
	return 0;
}
