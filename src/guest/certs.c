#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/proc.h>

#include "certs.h"
#include "textblock.h"

#define PEM_BEGIN   "-----BEGIN CERTIFICATE-----"
#define PEM_END     "-----END CERTIFICATE-----"
#define BUNDLE_MAX  (16u << 20)
#define SINGLE      "paddock-ca-"
#define SINGLES_MAX 500
#define JAVA_LIST   CERTS_LINKS "/java/cacerts"
#define JAVA_JAR    "/usr/share/ca-certificates-java/ca-certificates-java.jar"

/* Those of pem that known does not contain, or that ours does, each once. */
static void
select_certs(const char *pem, const char *known, const char *ours, struct buf *out)
{
	const char *p = pem, *end;

	while ((p = strstr(p, PEM_BEGIN)) != NULL && (end = strstr(p, PEM_END)) != NULL) {
		const char *body = p + strlen(PEM_BEGIN);
		CLEAN_FREE char *block = xstrndup(body, (size_t)(end - body));
		bool wanted = strstr(known, block) == NULL || strstr(ours, block) != NULL;

		end += strlen(PEM_END);
		if (wanted && strstr(buf_str(out), block) == NULL) {
			buf_append(out, p, (size_t)(end - p));
			buf_append_str(out, "\n");
		}
		p = end;
	}
}

void
certs_unknown(const char *pem, const char *known, struct buf *out)
{
	select_certs(pem, known, "", out);
}

/* FNV-1a: to notice a change, not to withstand anybody. */
static uint64_t
digest(const char *s)
{
	uint64_t h = 14695981039346656037ull;

	for (; *s != '\0'; s++)
		h = (h ^ (uint8_t)*s) * 1099511628211ull;
	return h;
}

/* What was put in, and the bundle as it was afterwards: update-ca-certificates makes a new one. */
static void
stamp_text(const char *bundle, const char *pem, char out[128])
{
	struct stat st = {0};

	if (stat(bundle, &st) < 0)
		st.st_size = -1;
	snprintf(out, 128, "%016" PRIx64 " %lld %lld.%09ld %llu\n", digest(pem),
		(long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
		(unsigned long long)st.st_ino);
}

static bool
is_done(const struct certs_paths *p, const char *pem)
{
	CLEAN_BUF struct buf old = BUF_INIT;
	char now[128];

	if (io_read_file(AT_FDCWD, p->stamp, 256, &old, NULL) < 0)
		return pem[0] == '\0';
	stamp_text(p->bundle, pem, now);
	return strcmp(buf_str(&old), now) == 0;
}

static char *
single_path(const struct certs_paths *p, unsigned k)
{
	return xasprintf("%s/" SINGLE "%u.crt", p->local, k);
}

static char *
link_path(const struct certs_paths *p, unsigned k)
{
	return xasprintf("%s/" SINGLE "%u.pem", p->links, k);
}

static void
read_singles(const struct certs_paths *p, struct buf *out)
{
	for (unsigned k = 1; k <= SINGLES_MAX; k++) {
		CLEAN_FREE char *path = single_path(p, k);

		if (io_read_file(AT_FDCWD, path, BUNDLE_MAX, out, NULL) < 0)
			break;
	}
}

static int
write_single(const struct certs_paths *p, unsigned k, const char *text, size_t n, struct err *e)
{
	CLEAN_FREE char *path = single_path(p, k), *link = link_path(p, k);
	int r = text_write(path, text, n, 0644, e);

	if (r == 0 && symlink(path, link) < 0 && errno != EEXIST)
		r = err_sys(e, errno, "create '%s'", link);
	return r;
}

static int
write_singles(const struct certs_paths *p, const char *certs, struct err *e)
{
	const char *end;
	unsigned k = 1;
	int r = 0;

	for (; r == 0 && k <= SINGLES_MAX && (end = strstr(certs, PEM_END "\n")) != NULL; k++) {
		end += strlen(PEM_END "\n");
		r = write_single(p, k, certs, (size_t)(end - certs), e);
		certs = end;
	}
	for (bool there = r == 0; there && k <= SINGLES_MAX; k++) { /* of before */
		CLEAN_FREE char *path = single_path(p, k), *link = link_path(p, k);

		there = unlink(path) == 0;
		unlink(link);
	}
	return r;
}

static int
extend_bundle(const struct certs_paths *p, const char *pem, struct err *e)
{
	CLEAN_BUF struct buf old = BUF_INIT;
	CLEAN_BUF struct buf bare = BUF_INIT;
	CLEAN_BUF struct buf fresh = BUF_INIT;
	CLEAN_BUF struct buf ours = BUF_INIT;
	CLEAN_BUF struct buf singles = BUF_INIT;
	const char *known;
	int r = io_read_file(AT_FDCWD, p->bundle, BUNDLE_MAX, &old, e);

	if (r < 0 && r != -ENOENT)
		return r;
	known = buf_str(&old);
	if (textblock_is_in(known)) {
		textblock_replace(known, NULL, &bare);
		known = buf_str(&bare);
	}
	certs_unknown(pem, known, &fresh);
	r = textblock_update(p->bundle, &old, buf_str(&fresh), 0644, e);
	if (r < 0)
		return r;
	/* Where somebody has run update-ca-certificates the bundle has ours among the image's. */
	read_singles(p, &ours);
	if (ours.len == 0) /* mostly so; looking through the bundle takes its time */
		return write_singles(p, buf_str(&fresh), e);
	select_certs(pem, known, buf_str(&ours), &singles);
	return write_singles(p, buf_str(&singles), e);
}

int
certs_apply(const struct certs_paths *p, const char *pem, struct err *e)
{
	char stamp[128];
	int r;

	if (is_done(p, pem))
		return 0;
	r = extend_bundle(p, pem, e);
	if (r < 0)
		return r;
	if (pem[0] != '\0')
		r = text_write(p->host, pem, strlen(pem), 0644, e);
	else if (unlink(p->host) < 0 && errno != ENOENT)
		r = err_sys(e, errno, "remove '%s'", p->host);
	if (r < 0)
		return r;
	stamp_text(p->bundle, pem, stamp);
	r = text_write(p->stamp, stamp, strlen(stamp), 0644, e);
	return r < 0 ? r : 1;
}

/* As the package's own postinst does it. */
void
certs_tell_java(void)
{
	static const char script[] =
		"storepass=changeit; . /etc/default/cacerts\n"
		"for pem in " CERTS_LINKS "/" SINGLE "*.pem; do echo \"+$pem\"; done |\n"
		"exec java -Xmx64m -jar " JAVA_JAR " -storepass \"$storepass\"\n";
	char *argv[] = {(char *)"nice", (char *)"sh", (char *)"-c", (char *)script, NULL};
	char *const env[] = {
		(char *)"PATH=/usr/local/bin:/usr/bin:/bin", (char *)"LC_ALL=C.UTF-8", NULL};
	struct proc_spec spec = {.file = "nice",
		.argv = argv,
		.envp = env,
		.fds = {-1, -1, -1},
		.nfds = 3,
		.cwd = "/",
		.new_session = true};
	struct err e = {0};
	pid_t pid;

	if (access(JAVA_LIST, W_OK) < 0 || access(JAVA_JAR, R_OK) < 0)
		return;
	if (proc_spawn(&spec, &pid, NULL, &e) < 0)
		log_warn("certificates for Java: %s", e.msg);
}
