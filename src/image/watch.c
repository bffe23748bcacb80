#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <base/str.h>

#include "watch.h"

static bool
say(struct watch *w, const char *verb, unsigned n, const char *name)
{
	size_t len = strcspn(name, " :");
	char clean[64], what[sizeof(w->detail)];

	str_escape(name, len, clean, sizeof(clean));
	if (w->total >= n)
		snprintf(what, sizeof(what), "%s %u of %u: %s", verb, n, w->total, clean);
	else
		snprintf(what, sizeof(what), "%s %s", verb, clean);
	if (strcmp(what, w->detail) == 0)
		return false;
	memcpy(w->detail, what, sizeof(what));
	return true;
}

/* Get:7 http://mirror trixie/main amd64 libfoo amd64 1.2 [34 kB] */
static bool
downloaded(struct watch *w, const char *line)
{
	const char *p = line;

	for (int words = 0; words < 4; words++) {
		p += strcspn(p, " ");
		p += strspn(p, " ");
	}
	if (*p == '\0' || strstr(line, " InRelease") != NULL || strstr(line, " Packages ") != NULL)
		return false;
	return say(w, "downloading", ++w->downloaded, p);
}

static void
note_cause(struct watch *w, const char *line)
{
	static const char *const unreachable[] = {"Could not resolve",
		"Temporary failure resolving", "Could not connect", "Connection timed out",
		"Connection failed", "Unable to connect"};

	if (strstr(line, "No space left on device") != NULL)
		w->disk_full = true;
	for (size_t i = 0; i < sizeof(unreachable) / sizeof(unreachable[0]); i++)
		if (strstr(line, unreachable[i]) != NULL)
			w->unreachable = true;
	if (strstr(line, "NO_PUBKEY") != NULL)
		w->unsigned_ = true;
	/* The first is the cause; mmdebstrap's own last words only say which command it was. */
	if (w->cause[0] == '\0' &&
		(str_has_prefix(line, "E: ") || str_has_prefix(line, "Err:") ||
			str_has_prefix(line, "dpkg: error") || str_has_prefix(line, "mke2fs: ")))
		str_escape(line, strlen(line), w->cause, sizeof(w->cause));
}

bool
watch_line(struct watch *w, const char *line)
{
	unsigned n, more;
	int full = 0;

	note_cause(w, line);
	if (sscanf(line, "%u upgraded, %u newly installed%n", &more, &n, &full) == 2 && full > 0) {
		/* apt runs more than once; each run counts from the start. */
		w->total = n;
		w->downloaded = w->unpacked = w->configured = 0;
		return false;
	}
	if (str_has_prefix(line, "Get:"))
		return downloaded(w, line);
	if (str_has_prefix(line, "Unpacking "))
		return say(w, "unpacking", ++w->unpacked, line + 10);
	if (str_has_prefix(line, "Setting up "))
		return say(w, "setting up", ++w->configured, line + 11);
	if (str_has_prefix(line, "I: running --customize-hook")) {
		snprintf(w->detail, sizeof(w->detail), "configuring the image");
		return true;
	}
	if (str_has_prefix(line, "I: ") && strchr(line, '/') == NULL) {
		str_escape(line + 3, strlen(line + 3), w->detail, sizeof(w->detail));
		return true;
	}
	return false;
}

int
watch_failure(
	const struct watch *w, const char *step, int exit_code, const char *log, struct err *e)
{
	if (w->disk_full)
		return err_set(e, ENOSPC,
			"%s: no space left on the disk: make room (about 6 GiB), or point TMPDIR "
			"at a "
			"bigger one; log: %s",
			step, log);
	if (w->unsigned_)
		return err_set(e, EIO,
			"%s: the mirror's signature has no known key: install or update the "
			"package "
			"debian-archive-keyring; log: %s",
			step, log);
	if (w->unreachable)
		return err_set(e, ENETUNREACH,
			"%s: the Debian mirror cannot be reached: check the network, apt's sources "
			"and "
			"its proxy; log: %s",
			step, log);
	return err_set(e, EIO, "%s failed (exit code %d): %.120s%slog: %s", step, exit_code,
		w->cause, w->cause[0] != '\0' ? "; " : "", log);
}
