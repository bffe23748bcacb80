#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <base/proc.h>
#include <vmm/vmm.h>

#define QEMU "qemu-system-x86_64"

/* What a program on an ordinary distribution is loaded from; ld.so.cache knows other folders. */
static const char *const usual_folders[] = {
	"/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache"};

/* A QEMU outside /usr (an own build, Nix) brings its folder's parent: PREFIX of PREFIX/bin/qemu. */
static int
add_prefix(struct vmm_host *h, struct err *e)
{
	CLEAN_FREE char *dir = xstrdup(h->qemu);
	char *prefix = dirname(dirname(dir));

	if (strcmp(prefix, "/usr") == 0 || str_has_prefix(prefix, "/usr/"))
		return 0;
	if (strcmp(prefix, "/") == 0 || str_has_prefix(h->qemu, "/bin/"))
		return 0;
	if (str_has_prefix(prefix, "/vm"))
		return err_set(e, EINVAL, "'%s' cannot be used from a folder below /vm", h->qemu);
	strv_add(&h->folders, prefix);
	return 0;
}

/* QEMU looks in PREFIX/share/qemu, and where its build was told to. */
static int
check_firmware(const char *qemu, struct err *e)
{
	CLEAN_FREE char *dir = xstrdup(qemu);
	CLEAN_FREE char *beside = xasprintf("%s/share/qemu/" VMM_FIRMWARE, dirname(dirname(dir)));

	if (access(beside, R_OK) == 0 || access("/usr/share/qemu/" VMM_FIRMWARE, R_OK) == 0)
		return 0;
	return err_set(e, ENOENT,
		"QEMU's firmware " VMM_FIRMWARE " was not found at '%s' (install it: sudo apt-get "
		"install qemu-system-data)",
		beside);
}

int
vmm_host_find(struct vmm_host *ret, struct err *e)
{
	CLEAN_FREE char *found = proc_find(QEMU);
	struct vmm_host h = {0};
	int r;

	if (found == NULL)
		return err_set(e, ENOENT,
			QEMU " was not found in PATH (install it: sudo apt-get install "
			     "qemu-system-x86 qemu-utils)");
	h.qemu = realpath(found, NULL);
	if (h.qemu == NULL)
		return err_sys(e, errno, "'%s'", found);
	for (size_t i = 0; i < ARRAY_LEN(usual_folders); i++)
		if (access(usual_folders[i], F_OK) == 0)
			strv_add(&h.folders, usual_folders[i]);
	r = add_prefix(&h, e);
	if (r == 0)
		r = check_firmware(h.qemu, e);
	if (r < 0) {
		vmm_host_release(&h);
		return r;
	}
	*ret = h;
	return 0;
}

void
vmm_host_release(struct vmm_host *h)
{
	free(h->qemu);
	strv_release(&h->folders);
	*h = (struct vmm_host){0};
}
