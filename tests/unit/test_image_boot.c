/* What the machine boots from: kernels out of boot images, initramfs archives, the store. */
#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>
#include <image/image.h>

#include "build.h"
#include "initramfs.h"
#include "kernel.h"
#include "store.h"

static char folder[] = "/tmp/paddock-test-image-XXXXXX";
static char saved[sizeof(folder)];

static int
setup(void **state)
{
	(void)state;
	memcpy(saved, folder, sizeof(folder));
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
	int r = io_remove_tree(AT_FDCWD, folder, NULL);

	(void)state;
	memcpy(folder, saved, sizeof(folder));
	return r;
}

static void
put(const char *name, const void *p, size_t n)
{
	CLEAN_FREE char *path = xasprintf("%s/%s", folder, name);

	assert_int_equal(io_write_file_atomic(AT_FDCWD, path, p, n, 0644, NULL), 0);
}

static void
make_folder(const char *name)
{
	CLEAN_FREE char *path = xasprintf("%s/%s", folder, name);

	assert_int_equal(io_mkdirs(path, 0755, NULL), 0);
}

static bool
exists(const char *name)
{
	CLEAN_FREE char *path = xasprintf("%s/%s", folder, name);

	return access(path, F_OK) == 0;
}

/* ---- kernels ---- */

/* The smallest ELF file that passes for a kernel: a header, one segment of two notes. */
static size_t
make_vmlinux(uint8_t *out, uint32_t note_type)
{
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph[2];
		struct {
			Elf64_Nhdr h;
			char name[4];
			uint32_t desc;
		} notes[2];
	} k = {0};

	memcpy(k.eh.e_ident, ELFMAG, SELFMAG);
	k.eh.e_ident[EI_CLASS] = ELFCLASS64;
	k.eh.e_ident[EI_DATA] = ELFDATA2LSB;
	k.eh.e_machine = EM_X86_64;
	k.eh.e_phoff = offsetof(__typeof__(k), ph);
	k.eh.e_phentsize = sizeof(Elf64_Phdr);
	k.eh.e_phnum = 2;
	k.ph[0].p_type = PT_LOAD;
	k.ph[1] = (Elf64_Phdr){.p_type = PT_NOTE,
		.p_offset = offsetof(__typeof__(k), notes),
		.p_filesz = sizeof(k.notes)};
	for (int i = 0; i < 2; i++) {
		k.notes[i].h = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 4, .n_type = 3};
		memcpy(k.notes[i].name, "Xen", 4);
	}
	k.notes[1].h.n_type = note_type;
	memcpy(out, &k, sizeof(k));
	return sizeof(k);
}

static void
only_pvh_kernels_are_bootable(void **state)
{
	uint8_t k[1024];
	size_t n = make_vmlinux(k, 18);

	(void)state;
	assert_true(vmlinux_bootable(k, n));
	for (size_t i = 0; i < n; i++) {
		CLEAN_FREE uint8_t *cut = xmalloc(i + 1);

		memcpy(cut, k, i);
		assert_false(vmlinux_bootable(cut, i));
	}
	n = make_vmlinux(k, 17);
	assert_false(vmlinux_bootable(k, n));
	n = make_vmlinux(k, 18);
	k[EI_CLASS] = ELFCLASS32;
	assert_false(vmlinux_bootable(k, n));
}

/* A note that claims more than there is. */
static void
notes_that_lie(void **state)
{
	uint8_t k[1024];
	size_t n = make_vmlinux(k, 18), notes = n - 2 * 20;

	(void)state;
	memset(k + notes, 0xff, 4);
	assert_false(vmlinux_bootable(k, n));
	make_vmlinux(k, 18);
	memset(k + notes + 4, 0xff, 4);
	assert_false(vmlinux_bootable(k, n));
}

static void
put_le32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

/* Two sectors of setup code, then the payload, then its unpacked size. */
static size_t
make_bzimage(uint8_t *out, const void *payload, size_t n, uint32_t size)
{
	memset(out, 0, 1024 + 64);
	out[0x1f1] = 1;
	memcpy(out + 0x202, "HdrS", 4);
	out[0x206] = 0x0f;
	out[0x207] = 0x02;
	put_le32(out + 0x248, 64);
	put_le32(out + 0x24c, (uint32_t)n + 4);
	memcpy(out + 1024 + 64, payload, n);
	put_le32(out + 1024 + 64 + n, size);
	return 1024 + 64 + n + 4;
}

static void
payloads_are_found(void **state)
{
	static const uint8_t zstd[32] = {0x28, 0xb5, 0x2f, 0xfd},
			     lz4[32] = {0x02, 0x21, 0x4c, 0x18};
	uint8_t image[2048];
	size_t n = make_bzimage(image, zstd, sizeof(zstd), 4711);
	struct payload k;
	struct err e = {0};

	(void)state;
	assert_int_equal(bzimage_payload(image, n, &k, &e), 0);
	assert_int_equal(k.offset, 1024 + 64);
	assert_int_equal(k.length, sizeof(zstd));
	assert_int_equal(k.size, 4711);
	assert_string_equal(k.unpack[0], "zstd");
	for (size_t i = 0; i < n; i++) {
		CLEAN_FREE uint8_t *cut = xmalloc(i + 1);

		memcpy(cut, image, i);
		assert_int_equal(bzimage_payload(cut, i, &k, &e), -EBADMSG);
	}
	n = make_bzimage(image, lz4, sizeof(lz4), 1);
	assert_int_equal(bzimage_payload(image, n, &k, &e), 0);
	assert_string_equal(k.unpack[0], "lz4");
	put_le32(image + 0x24c, UINT32_MAX);
	assert_int_equal(bzimage_payload(image, n, &k, &e), -EBADMSG);
	put_le32(image + 0x248, UINT32_MAX);
	assert_int_equal(bzimage_payload(image, n, &k, &e), -EBADMSG);
	n = make_bzimage(image, "unknown, but long enough", 24, 1);
	assert_int_equal(bzimage_payload(image, n, &k, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "75 6e 6b 6e"));
}

/* The whole way, with the real zstd: an image that holds a kernel, one that lies, one that does
 * not. */
static void
kernels_are_extracted(void **state)
{
	uint8_t vmlinux[1024], image[4096];
	size_t n = make_vmlinux(vmlinux, 18), len;
	CLEAN_FREE char *plain = xasprintf("%s/plain", folder);
	CLEAN_FREE char *bz = xasprintf("%s/vmlinuz", folder);
	CLEAN_FREE char *out = xasprintf("%s/vmlinux", folder);
	CLEAN_BUF struct buf packed = BUF_INIT, unpacked = BUF_INIT;
	char *argv[] = {(char *)"zstd", (char *)"-cq", plain, NULL};
	struct err e = {0};

	(void)state;
	put("plain", vmlinux, n);
	assert_int_equal(proc_run(argv, 10000, &packed, &e), 0);
	len = make_bzimage(image, packed.data, packed.len, (uint32_t)n);
	put("vmlinuz", image, len);
	assert_int_equal(vmlinux_extract(bz, out, &e), 0);
	assert_int_equal(io_read_file(AT_FDCWD, out, 4096, &unpacked, &e), 0);
	assert_int_equal(unpacked.len, n);
	assert_memory_equal(unpacked.data, vmlinux, n);
	unlink(out);
	make_bzimage(image, packed.data, packed.len, (uint32_t)n + 1);
	put("vmlinuz", image, len);
	assert_int_equal(vmlinux_extract(bz, out, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "instead of"));
	unlink(out);
	put("vmlinuz", "#!/bin/sh\n", 10);
	assert_int_equal(vmlinux_extract(bz, out, &e), -EBADMSG);
}

/* ---- initramfs ---- */

static void
put_kernel_dir(void)
{
	make_folder("k/modules");
	put("k/modules/b.ko", "BBBBB", 5);
	put("k/modules/a.ko", "A", 1);
	put("k/modules/modules.list", "/modules/b.ko\n/modules/a.ko\n", 28);
	put("guest", "guest one", 9);
}

/* As cpio(1) reads it, which knows the format better than a parser of ours would. */
static void
initramfs_is_an_archive(void **state)
{
	CLEAN_FREE char *dir = xasprintf("%s/k", folder), *guest = xasprintf("%s/guest", folder);
	CLEAN_FREE char *path = NULL;
	CLEAN_BUF struct buf list = BUF_INIT, init = BUF_INIT;
	struct err e = {0};
	struct stat st;

	(void)state;
	put_kernel_dir();
	assert_int_equal(initramfs_ensure(dir, guest, &path, &e), 0);
	char *list_argv[] = {
		(char *)"cpio", (char *)"--quiet", (char *)"-t", (char *)"-F", path, NULL};
	char *init_argv[] = {(char *)"cpio", (char *)"--quiet", (char *)"-i", (char *)"--to-stdout",
		(char *)"-F", path, (char *)"init", (char *)"modules/b.ko", NULL};

	assert_int_equal(proc_run(list_argv, 10000, &list, &e), 0);
	assert_string_equal(buf_str(&list),
		"dev\nproc\nsys\nrun\nroot\ndev/console\ndev/null\ninit\n"
		"modules\nmodules/b.ko\nmodules/a.ko\nmodules.list\n");
	assert_int_equal(proc_run(init_argv, 10000, &init, &e), 0);
	assert_string_equal(buf_str(&init), "guest oneBBBBB");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0444);
}

static void
initramfs_follows_the_guest(void **state)
{
	CLEAN_FREE char *dir = xasprintf("%s/k", folder), *guest = xasprintf("%s/guest", folder);
	CLEAN_FREE char *one = NULL, *again = NULL, *two = NULL;
	struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
	struct stat before, after;

	(void)state;
	put_kernel_dir();
	assert_int_equal(initramfs_ensure(dir, guest, &one, NULL), 0);
	assert_int_equal(stat(one, &before), 0);
	assert_int_equal(initramfs_ensure(dir, guest, &again, NULL), 0);
	assert_string_equal(one, again);
	assert_int_equal(stat(one, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	/* A machine may be about to open the old one, unless it is long unused. */
	put("guest", "guest two", 9);
	assert_int_equal(initramfs_ensure(dir, guest, &two, NULL), 0);
	assert_string_not_equal(one, two);
	assert_int_equal(access(one, F_OK), 0);
	assert_int_equal(utimensat(AT_FDCWD, one, long_ago, 0), 0);
	free(TAKE_PTR(again));
	put("guest", "guest three", 11);
	assert_int_equal(initramfs_ensure(dir, guest, &again, NULL), 0);
	assert_int_equal(access(one, F_OK), -1);
	assert_int_equal(access(two, F_OK), 0);
}

static void
initramfs_needs_its_parts(void **state)
{
	CLEAN_FREE char *dir = xasprintf("%s/k", folder), *guest = xasprintf("%s/guest", folder);
	CLEAN_FREE char *path = NULL;
	struct err e = {0};

	(void)state;
	put_kernel_dir();
	put("k/modules/modules.list", "/modules/../../guest\n", 21);
	assert_int_equal(initramfs_ensure(dir, guest, &path, &e), -EBADMSG);
	put("k/modules/modules.list", "/modules/c.ko\n", 14);
	assert_int_equal(initramfs_ensure(dir, guest, &path, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "c.ko"));
	put_kernel_dir();
	unlink(guest);
	assert_int_equal(initramfs_ensure(dir, guest, &path, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "guest"));
	assert_null(path);
}

/* ---- the store ---- */

static struct template some_template(void)
{
	return (struct template){.id = (char *)"shell-0123456789ab",
		.name = (char *)"shell",
		.recipe = (char *)"0123456789abcdef",
		.kernel = (char *)"6.12.1+deb13-cloud-amd64_6.12.1-1",
		.kernel_release = (char *)"6.12.1+deb13-cloud-amd64",
		.disk_bytes = UINT64_C(20) << 30,
		.created = 1700000000};
}

static void
put_template(const char *id, int64_t created)
{
	struct template t = some_template();
	CLEAN_FREE char *dir = xasprintf("templates/%s", id);
	CLEAN_FREE char *json = xasprintf("%s/template.json", dir);
	CLEAN_FREE char *disk = xasprintf("%s/disk.ext4", dir);
	CLEAN_FREE char *text = NULL;

	t.id = (char *)id;
	t.created = created;
	text = template_encode(&t);
	make_folder(dir);
	put(json, text, strlen(text));
	put(disk, "disk", 4);
	make_folder("kernels/6.12.1+deb13-cloud-amd64_6.12.1-1/modules");
	put("kernels/6.12.1+deb13-cloud-amd64_6.12.1-1/vmlinux", "k", 1);
	put("kernels/6.12.1+deb13-cloud-amd64_6.12.1-1/modules/modules.list", "", 0);
}

static void
descriptions_come_back(void **state)
{
	struct template t = some_template(), back = {0};
	CLEAN_FREE char *text = template_encode(&t);
	struct err e = {0};

	(void)state;
	assert_int_equal(template_decode(text, &back, &e), 0);
	assert_string_equal(back.id, t.id);
	assert_string_equal(back.kernel, t.kernel);
	assert_string_equal(back.kernel_release, t.kernel_release);
	assert_string_equal(back.recipe, t.recipe);
	assert_true(back.disk_bytes == t.disk_bytes && back.created == t.created);
	template_release(&back);
	for (size_t i = 0; i < strlen(text); i++) {
		CLEAN_FREE char *cut = xstrndup(text, i);

		assert_int_equal(template_decode(cut, &back, &e), -EBADMSG);
	}
}

static void
descriptions_that_do_not_fit(void **state)
{
	struct template back = {0}, t = some_template();
	CLEAN_FREE char *text = NULL;
	struct err e = {0};

	(void)state;
	assert_int_equal(template_decode("{\"version\": 3}", &back, &e), -EPROTO);
	assert_non_null(strstr(e.msg, "newer paddock"));
	t.kernel = (char *)"../../../etc";
	text = template_encode(&t);
	assert_int_equal(template_decode(text, &back, &e), -EBADMSG);
}

static void
images_are_listed_and_opened(void **state)
{
	CLEANUP(image_list_release) struct image_list l = {0};
	CLEAN_FREE char *guest = xasprintf("%s/guest", folder);
	CLEANUP(image_release) struct image i = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(image_list(folder, &l, &e), 0);
	assert_int_equal(l.n, 0);
	put("guest", "g", 1);
	put_template("shell-b", 2);
	put_template("shell-a", 1);
	make_folder("templates/.build-123456");
	put("templates/build.log", "x", 1);
	make_folder("templates/mine");
	assert_int_equal(image_list(folder, &l, &e), 0);
	assert_int_equal(l.n, 2);
	assert_string_equal(l.v[0].id, "shell-a");
	assert_int_equal(l.v[1].created, 2);
	assert_int_equal(image_open(folder, "shell-b", guest, &i, &e), 0);
	assert_int_equal(access(i.initramfs, R_OK), 0);
	assert_true(i.disk[0] == '/' && strstr(i.disk, "/shell-b/disk.ext4") != NULL);
	assert_string_equal(i.kernel_version, "6.12.1+deb13-cloud-amd64");
	image_release(&i);
	assert_int_equal(image_open(folder, "shell-c", guest, &i, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "template build"));
	assert_int_equal(image_open(folder, "../x", guest, &i, &e), -ENOENT);
}

/* A layer takes over a disk, stands on its image, and keeps it from being removed. */
static void
layers_stand_on_images(void **state)
{
	struct image_layer l = {
		.data_dir = folder, .kit = "k", .digest = "0123", .base = "shell-a"};
	CLEAN_FREE char *guest = xasprintf("%s/guest", folder), *id = NULL, *again = NULL;
	CLEAN_FREE char *disk = xasprintf("%s/made", folder), *found = NULL;
	CLEANUP(image_list_release) struct image_list list = {0};
	CLEANUP(image_release) struct image i = {0};
	struct err e = {0};

	(void)state;
	put("guest", "g", 1);
	put_template("shell-a", 1);
	put("made", "layer", 5);
	make_folder("templates/.layer-abcdef");
	assert_null(image_layer_find(&l));
	if (image_layer_add(&l, disk, &id, &e) != 0)
		fail_msg("%s", e.msg);
	assert_false(exists("made"));
	assert_false(exists("templates/.layer-abcdef"));
	found = image_layer_find(&l);
	assert_string_equal(found, id);
	l.digest = "0124";
	assert_null(image_layer_find(&l));
	l.digest = "0123";
	l.base = "shell-b";
	assert_null(image_layer_find(&l));
	assert_int_equal(image_layer_add(&l, disk, &again, &e), -ENOENT); /* no such base */
	assert_int_equal(image_open(folder, id, guest, &i, &e), 0);
	assert_non_null(strstr(i.disk, "/shell-a/disk.ext4"));
	assert_non_null(strstr(i.layer, "/disk.qcow2"));
	assert_string_equal(i.base, "shell-a");
	assert_string_equal(i.name, "k");
	assert_int_equal(image_list(folder, &list, &e), 0);
	assert_int_equal(list.n, 2);
	assert_int_equal(image_remove(folder, "shell-a", &e), -EBUSY);
	assert_non_null(strstr(e.msg, id));
	assert_int_equal(image_remove(folder, id, &e), 0);
	assert_true(exists("templates/shell-a/disk.ext4"));
	assert_int_equal(image_remove(folder, "shell-a", &e), 0);
}

static void
newer_images_are_refused_and_kept(void **state)
{
	CLEANUP(image_list_release) struct image_list l = {0};
	struct err e = {0};

	(void)state;
	make_folder("templates/shell-n");
	put("templates/shell-n/template.json", "{\"version\": 99}", 15);
	assert_int_equal(image_list(folder, &l, &e), -EPROTO);
	assert_non_null(strstr(e.msg, "shell-n"));
	assert_non_null(strstr(e.msg, "upgrade"));
	assert_int_equal(image_remove(folder, "shell-n", &e), -EPROTO);
	/* Nor does another's removal take a kernel that it may need. */
	put_template("shell-o", 1);
	assert_int_equal(image_remove(folder, "shell-o", &e), 0);
	assert_false(exists("templates/shell-o"));
	assert_true(exists("kernels/6.12.1+deb13-cloud-amd64_6.12.1-1/vmlinux"));
	assert_true(exists("templates/shell-n/template.json"));
}

static void
removal_takes_the_last_kernel(void **state)
{
	struct err e = {0};

	(void)state;
	put_template("shell-a", 1);
	put_template("shell-b", 1);
	put("templates/build.log", "x", 1);
	make_folder("templates/mine");
	assert_int_equal(image_remove(folder, "shell-a", &e), 0);
	assert_false(exists("templates/shell-a"));
	assert_true(exists("kernels/6.12.1+deb13-cloud-amd64_6.12.1-1/vmlinux"));
	assert_int_equal(image_remove(folder, "shell-b", &e), 0);
	assert_false(exists("kernels/6.12.1+deb13-cloud-amd64_6.12.1-1"));
	assert_int_equal(image_remove(folder, "shell-b", &e), -ENOENT);
	assert_int_equal(image_remove(folder, "../guest", &e), -ENOENT);
}

static void
count_wait(void *arg)
{
	++*(int *)arg;
}

static void
one_builder_at_a_time(void **state)
{
	struct err e = {0};
	int lock, second, waits = 0;

	(void)state;
	assert_int_equal(store_init(folder, &e), 0);
	lock = store_lock(folder, STORE_LOCK_IMAGES, 1000, NULL, NULL, &e);
	assert_true(lock >= 0);
	assert_int_equal(
		store_lock(folder, STORE_LOCK_IMAGES, 250, count_wait, &waits, &e), -ETIMEDOUT);
	assert_int_equal(waits, 1);
	close(lock);
	second = store_lock(folder, STORE_LOCK_IMAGES, 0, count_wait, &waits, &e);
	assert_true(second >= 0);
	assert_int_equal(waits, 1);
	close(second);
}

static void
leftovers_are_swept(void **state)
{
	CLEAN_FREE char *scratch = xasprintf("%s/elsewhere", folder);
	CLEAN_FREE char *link = xasprintf("%s/templates/.build-abcdef/scratch", folder);
	struct err e = {0};

	(void)state;
	put_template("shell-a", 1);
	make_folder("elsewhere/tmp");
	make_folder("templates/.build-abcdef/boot");
	make_folder("templates/.gone-shell-z");
	make_folder("kernels/.build-abcdef/modules");
	put("templates/.build-abcdef/disk.ext4", "x", 1);
	assert_int_equal(symlink(scratch, link), 0);
	assert_int_equal(build_sweep(folder, &e), 0);
	assert_false(exists("templates/.build-abcdef"));
	assert_false(exists("templates/.gone-shell-z"));
	assert_false(exists("kernels/.build-abcdef"));
	assert_false(exists("elsewhere"));
	assert_true(exists("templates/shell-a/disk.ext4"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_pvh_kernels_are_bootable),
		cmocka_unit_test(notes_that_lie),
		cmocka_unit_test(payloads_are_found),
		TEST(kernels_are_extracted),
		TEST(initramfs_is_an_archive),
		TEST(initramfs_follows_the_guest),
		TEST(initramfs_needs_its_parts),
		cmocka_unit_test(descriptions_come_back),
		cmocka_unit_test(descriptions_that_do_not_fit),
		TEST(images_are_listed_and_opened),
		TEST(layers_stand_on_images),
		TEST(newer_images_are_refused_and_kept),
		TEST(removal_takes_the_last_kernel),
		TEST(one_builder_at_a_time),
		TEST(leftovers_are_swept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
