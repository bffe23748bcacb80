#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "certs.h"
#include "textblock.h"

#define PEM_BEGIN  "-----BEGIN CERTIFICATE-----"
#define PEM_END    "-----END CERTIFICATE-----"
#define BUNDLE_MAX (16u << 20)

void
certs_unknown(const char *pem, const char *known, struct buf *out)
{
	const char *p = pem, *end;

	while ((p = strstr(p, PEM_BEGIN)) != NULL && (end = strstr(p, PEM_END)) != NULL) {
		const char *body = p + strlen(PEM_BEGIN);
		CLEAN_FREE char *block = xstrndup(body, (size_t)(end - body));

		end += strlen(PEM_END);
		if (strstr(known, block) == NULL && strstr(buf_str(out), block) == NULL) {
			buf_append(out, p, (size_t)(end - p));
			buf_append_str(out, "\n");
		}
		p = end;
	}
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

static int
extend_bundle(const struct certs_paths *p, const char *pem, struct err *e)
{
	CLEAN_BUF struct buf old = BUF_INIT;
	CLEAN_BUF struct buf bare = BUF_INIT;
	CLEAN_BUF struct buf fresh = BUF_INIT;
	int r = io_read_file(AT_FDCWD, p->bundle, BUNDLE_MAX, &old, e);

	if (r < 0 && r != -ENOENT)
		return r;
	textblock_replace(buf_str(&old), NULL, &bare);
	certs_unknown(pem, buf_str(&bare), &fresh);
	return textblock_apply(p->bundle, buf_str(&fresh), 0644, e);
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
	return text_write(p->stamp, stamp, strlen(stamp), 0644, e);
}
