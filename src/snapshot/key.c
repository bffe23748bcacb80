/* What a snapshot belongs to. Where in doubt, a line more: another text boots cold, that is all. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <snapshot/snapshot.h>

#define SNAPSHOT_FORMAT 1
#define CPUINFO_MAX     (16u << 20)

/* A file by its folder's and its own name: the folders above may be reached in several ways. */
static int
put_file(struct buf *out, const char *what, const char *path, struct err *e)
{
	const char *name = strrchr(path, '/'), *folder = name;
	struct stat st;

	while (folder != NULL && folder > path && folder[-1] != '/')
		folder--;
	if (folder == NULL)
		return err_set(e, EINVAL, "'%s' is not an absolute path", path);
	if (stat(path, &st) < 0)
		return err_sys(e, errno, "'%s'", path);
	buf_printf(out, "%s %s %" PRIu64 " %" PRIu64 ".%09lu\n", what, folder, (uint64_t)st.st_size,
		(uint64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return 0;
}

/* The first line that begins with the word, as it stands. */
static void
put_line(struct buf *out, const char *text, const char *word)
{
	const char *at = strstr(text, word);

	if (at != NULL)
		buf_printf(out, "%.*s\n", (int)strcspn(at, "\n"), at);
}

/* Emulated or not, what the processor can do shows in the guest, and in what QEMU saves. */
static int
put_host(struct buf *out, struct err *e)
{
	CLEAN_BUF struct buf cpuinfo = BUF_INIT;
	struct utsname u;
	int r = io_read_file(AT_FDCWD, "/proc/cpuinfo", CPUINFO_MAX, &cpuinfo, e);

	if (r < 0)
		return r;
	if (uname(&u) < 0)
		return err_sys(e, errno, "uname");
	buf_printf(out, "host %s %s %s\n", u.machine, u.release, u.version);
	put_line(out, buf_str(&cpuinfo), "model name");
	put_line(out, buf_str(&cpuinfo), "microcode");
	put_line(out, buf_str(&cpuinfo), "flags");
	return 0;
}

/* The machine that the snapshot is made of: a clone's differs in its memory alone. */
static int
put_plan(struct buf *out, const struct snapshot_shape *shape, struct err *e)
{
	CLEAN_STRV struct strv argv = {0};
	struct vmm_machine m = shape->machine;
	int r;

	m.memory = VMM_MEMORY_FILE;
	m.tsc_khz = 1000000;
	m.tap_fd = 3;
	m.link_fd = 4;
	m.fs_fd = 5;
	m.console_fd = 6;
	m.qmp_fd = 7;
	m.layer = shape->image->layer != NULL;
	m.preload = false;
	r = vmm_plan(&m, shape->qemu, &argv, e);
	for (size_t i = 0; r == 0 && i < argv.n; i++)
		buf_printf(out, "%s\n", argv.v[i]);
	return r;
}

int
snapshot_key(const struct snapshot_shape *shape, struct buf *out, struct err *e)
{
	const struct image *i = shape->image;
	int r;

	buf_printf(out, "snapshot %d\nuid %u\nimage %s\ndisk %" PRIu64 "\n", SNAPSHOT_FORMAT,
		(unsigned)geteuid(), i->id, shape->disk_bytes);
	r = put_file(out, "base", i->disk, e);
	if (r == 0 && i->layer != NULL)
		r = put_file(out, "layer", i->layer, e);
	if (r == 0)
		r = put_file(out, "kernel", i->kernel, e);
	if (r == 0)
		r = put_file(out, "initramfs", i->initramfs, e);
	if (r == 0)
		r = put_file(out, "qemu", shape->qemu, e);
	if (r == 0)
		r = put_host(out, e);
	return r == 0 ? put_plan(out, shape, e) : r;
}

/* FNV-1a, 64 bits: only a name; the whole key is compared where it counts. */
void
snapshot_id(const char *key, char out[SNAPSHOT_ID_SIZE])
{
	uint64_t d = UINT64_C(0xcbf29ce484222325);

	for (; *key != '\0'; key++)
		d = (d ^ (uint8_t)*key) * UINT64_C(0x100000001b3);
	snprintf(out, SNAPSHOT_ID_SIZE, "%016" PRIx64, d);
}
