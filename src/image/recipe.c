#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <base/digest.h>
#include "hooks.h"
#include "recipe.h"

/* An agent's workbench. Recommended packages do not come along, so what is wanted is named. */
static const char *const shell_packages[] = {
	/* the system */
	"ca-certificates", "e2fsprogs", "iproute2", "iptables", "iputils-ping", "kmod", "mount",
	"ncurses-term", "netbase", "procps", "psmisc", "sudo", "tzdata", "util-linux",
	/* at the prompt */
	"bash", "bash-completion", "curl", "file", "git", "jq", "less", "nano", "netcat-openbsd",
	"openssh-client", "ripgrep", "rsync", "tmux", "vim-tiny", "wget",
	/* archives and keys */
	"bzip2", "gpg", "unzip", "xz-utils", "zip", "zstd",
	/* languages; g++ because npm packages build native modules */
	"g++", "gcc", "libc6-dev", "make", "nodejs", "npm", "patch", "pkg-config", "python3",
	"python3-pip", "python3-venv",
	/* the sandbox's own Docker */
	"docker-buildx", "docker-cli", "docker-compose", "docker.io", NULL};

static const struct recipe recipes[] = {
	{.name = "shell",
		.suite = "trixie",
		/* Those that are built into the kernel cost nothing to name. */
		.boot_modules =
			"virtio_mmio virtio_blk virtio_net virtio_console virtio_rng ext4 fuse",
		.packages = shell_packages,
		.disk_bytes = UINT64_C(20) << 30},
};

/*
 * The seam for other machines: each needs its kernel package, a boot image that vmlinux_extract
 * understands, and a QEMU machine in src/vmm.
 */
static const struct {
	const char *machine, *architecture, *kernel;
} architectures[] = {
	{"x86_64", "amd64", "linux-image-cloud-amd64"},
};

const char *
recipe_architecture(const char *machine)
{
	for (size_t i = 0; i < sizeof(architectures) / sizeof(architectures[0]); i++)
		if (strcmp(architectures[i].machine, machine) == 0)
			return architectures[i].architecture;
	return NULL;
}

static const char *
kernel_package(const char *architecture)
{
	for (size_t i = 0; i < sizeof(architectures) / sizeof(architectures[0]); i++)
		if (strcmp(architectures[i].architecture, architecture) == 0)
			return architectures[i].kernel;
	return NULL;
}

int
recipe_find(const char *name, const char *machine, uid_t uid, gid_t gid, struct recipe *ret,
	struct err *e)
{
	const char *architecture = recipe_architecture(machine);

	if (architecture == NULL)
		return err_set(e, ENOTSUP,
			"there is no machine image for this host's architecture (%s): paddock runs "
			"on x86_64",
			machine);
	for (size_t i = 0; i < sizeof(recipes) / sizeof(recipes[0]); i++) {
		if (strcmp(recipes[i].name, name) != 0)
			continue;
		*ret = recipes[i];
		ret->architecture = architecture;
		ret->kernel = kernel_package(architecture);
		ret->uid = uid;
		ret->gid = gid;
		return 0;
	}
	return err_set(e, ENOENT, "no image is called '%s': there is 'shell'", name);
}

void
recipe_print(const struct recipe *r, struct buf *out)
{
	buf_printf(out, "recipe: %d\nname: %s\nsuite: %s\narchitecture: %s\nkernel: %s\n",
		RECIPE_VERSION, r->name, r->suite, r->architecture, r->kernel);
	buf_printf(out, "boot-modules: %s\npackages:", r->boot_modules);
	for (const char *const *p = r->packages; *p != NULL; p++)
		buf_printf(out, " %s", *p);
	buf_printf(out, "\ndisk: %" PRIu64 "\nuser: %u:%u\n", r->disk_bytes, (unsigned)r->uid,
		(unsigned)r->gid);
	buf_append_str(out, hook_customize());
	buf_append_str(out, hook_pack());
}

void
recipe_digest(const struct recipe *r, char out[RECIPE_DIGEST_SIZE])
{
	CLEAN_BUF struct buf text = BUF_INIT;

	recipe_print(r, &text);
	snprintf(out, RECIPE_DIGEST_SIZE, "%016" PRIx64,
		digest_add(DIGEST_INIT, text.data, text.len));
}
