/* snapshot.json */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <snapshot/snapshot.h>

#define SNAPSHOT_VERSION 1

char *
snapshot_encode(const struct snapshot *s)
{
	json_auto_t *j = json_pack("{s:i, s:s, s:s, s:s, s:i, s:i, s:I, s:I}", "version",
		SNAPSHOT_VERSION, "image", s->image, "key", s->key, "boot_id", s->boot_id,
		"qemu_major", (int)s->qemu_major, "qemu_minor", (int)s->qemu_minor, "tsc_khz",
		(json_int_t)s->tsc_khz, "created", (json_int_t)s->created);
	char *text = json_dumps(j, JSON_INDENT(2));

	if (text == NULL)
		abort();
	return text;
}

int
snapshot_decode(const char *text, struct snapshot *ret, struct err *e)
{
	const char *image, *key, *boot;
	int version = 0, major = 0, minor = 0;
	json_int_t tsc = 0, created = 0;
	json_error_t why;
	json_auto_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &why);

	if (j == NULL || json_unpack(j, "{s:i}", "version", &version) < 0)
		return err_set(e, EBADMSG, "not a snapshot's description");
	/* An older one goes as well: a snapshot is made anew in seconds. */
	if (version != SNAPSHOT_VERSION)
		return err_set(e, EPROTO, "written by another paddock (version %d, this is %d)",
			version, SNAPSHOT_VERSION);
	if (json_unpack_ex(j, &why, 0, "{s:s, s:s, s:s, s:i, s:i, s:I, s:I}", "image", &image,
		    "boot_id", &boot, "key", &key, "qemu_major", &major, "qemu_minor", &minor,
		    "tsc_khz", &tsc, "created", &created) < 0)
		return err_set(e, EBADMSG, "%s", why.text);
	if (major < 0 || minor < 0 || tsc < 0)
		return err_set(e, EBADMSG, "not a snapshot's description");
	*ret = (struct snapshot){.image = xstrdup(image),
		.key = xstrdup(key),
		.boot_id = xstrdup(boot),
		.qemu_major = (unsigned)major,
		.qemu_minor = (unsigned)minor,
		.tsc_khz = (uint64_t)tsc,
		.created = (int64_t)created,
		.lock = -1};
	return 0;
}
