/* The plan of a confinement as data: filled, printed, released. */
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <base/str.h>
#include <jail/jail.h>

struct jail_mount *
jail_confine_add(struct jail_confine *c, enum jail_mount_kind kind, const char *source,
	const char *target, bool read_only)
{
	struct jail_mount *m;

	c->mounts = xreallocarray(c->mounts, c->nmounts + 1, sizeof(*c->mounts));
	m = &c->mounts[c->nmounts++];
	*m = (struct jail_mount){.kind = kind,
		.source = source != NULL ? xstrdup(source) : NULL,
		.target = xstrdup(target),
		.read_only = read_only};
	return m;
}

void
jail_confine_release(struct jail_confine *c)
{
	for (size_t i = 0; i < c->nmounts; i++) {
		free(c->mounts[i].source);
		free(c->mounts[i].target);
	}
	free(c->mounts);
	*c = (struct jail_confine){0};
}

static void
print_path(struct buf *out, const char *path)
{
	char safe[1024];

	str_escape(path, strlen(path), safe, sizeof(safe));
	buf_append_str(out, safe);
}

static void
print_mount(const struct jail_mount *m, struct buf *out)
{
	static const char *const kinds[] = {
		[JAIL_BIND] = "bind", [JAIL_TMPFS] = "tmpfs", [JAIL_SYMLINK] = "symlink"};

	buf_printf(out, "%s ", kinds[m->kind]);
	print_path(out, m->target);
	if (m->source != NULL && m->kind != JAIL_TMPFS) {
		buf_append_str(out, m->kind == JAIL_BIND ? " from " : " to ");
		print_path(out, m->source);
	}
	if (m->kind != JAIL_SYMLINK)
		buf_printf(out, " %s,nosuid%s%s%s",
			m->read_only || m->kind == JAIL_TMPFS ? "ro" : "rw", m->dev ? "" : ",nodev",
			m->exec ? "" : ",noexec", m->resolved ? ",resolved" : "");
	buf_append_str(out, "\n");
}

void
jail_confine_print(const struct jail_confine *c, struct buf *out)
{
	static const char *const profiles[] = {[JAIL_SYSCALLS_ALL] = "all",
		[JAIL_SYSCALLS_FS] = "fs",
		[JAIL_SYSCALLS_NET] = "net",
		[JAIL_SYSCALLS_LINK] = "link",
		[JAIL_SYSCALLS_QEMU] = "qemu"};

	for (size_t i = 0; i < c->nmounts; i++)
		print_mount(&c->mounts[i], out);
	buf_printf(out, "network %s\n", c->new_net ? "none" : "as it is");
	buf_printf(out, "capabilities %s\n", c->keep_dac ? "dac_override fowner chown" : "none");
	buf_printf(out, "fork %s\n", c->no_fork ? "no" : "by profile");
	if (c->nofile != 0)
		buf_printf(out, "nofile %llu\n", (unsigned long long)c->nofile);
	buf_printf(out, "syscalls %s\n", profiles[c->syscalls]);
}
