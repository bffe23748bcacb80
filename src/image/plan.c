/*
 * mmdebstrap's unshare mode makes the image in user, mount, pid, IPC and UTS namespaces; started by
 * root it leaves out the user namespace, and is otherwise the same. Its --unshare-helper runs a
 * command in the same surroundings, which is how files that belong to the image's root (a
 * subordinate id on the host) are packed and deleted.
 */
#include <inttypes.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "hooks.h"
#include "plan.h"

/*
 * What a sandbox does not read. pack.sh leaves the same rules behind for later packages. The manual
 * pages' folders stay: update-alternatives, in the postinst of a JRE for one, fails without them.
 */
static const char *const dpkg_options[] = {
	/* Nothing of a half-made image is kept, so nothing needs fsync while it is made. */
	"force-unsafe-io", "path-exclude=/usr/share/man/*.gz", "path-exclude=/usr/share/doc/*",
	"path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/info/*",
	"path-exclude=/usr/share/locale/*", "path-include=/usr/share/locale/locale.alias"};

/* 'a'\''b': one word to a shell, whatever it holds. */
static void
quote(struct buf *out, const char *s)
{
	buf_append_str(out, "'");
	for (; *s != '\0'; s++) {
		if (*s == '\'')
			buf_append_str(out, "'\\''");
		else
			buf_append(out, s, 1);
	}
	buf_append_str(out, "'");
}

static void
assign(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "%s=", name);
	quote(out, value);
	buf_append_str(out, "\n");
}

static void
customize_script(const struct plan_input *in, struct buf *out)
{
	const struct recipe *r = in->recipe;
	CLEAN_BUF struct buf keep = BUF_INIT;

	buf_printf(out, "uid=%u\ngid=%u\n", (unsigned)r->uid, (unsigned)r->gid);
	assign(out, "kernel", r->kernel);
	assign(out, "boot_modules", r->boot_modules);
	/* Descriptions in other languages are not worth their download in a guest either. */
	buf_append_str(&keep, "Acquire::Languages \"none\";");
	for (size_t i = 0; i < in->apt_keep->n; i++)
		buf_printf(&keep, "\n%s", in->apt_keep->v[i]);
	assign(out, "apt_conf", buf_str(&keep));
	buf_append_str(out, hook_customize());
}

static void
pack_script(const struct plan_input *in, struct buf *out)
{
	const struct recipe *r = in->recipe;

	buf_printf(out, "uid=%u\ngid=%u\ndisk_bytes=%" PRIu64 "\n", (unsigned)r->uid,
		(unsigned)r->gid, r->disk_bytes);
	buf_append_str(out, hook_pack());
}

static void
plan_bootstrap(const struct plan_input *in, struct strv *ret)
{
	const struct recipe *r = in->recipe;
	CLEAN_BUF struct buf packages = BUF_INIT, script = BUF_INIT;

	for (const char *const *p = r->packages; *p != NULL; p++)
		buf_printf(&packages, "%s%s", p == r->packages ? "" : ",", *p);
	customize_script(in, &script);
	strv_add(ret, "mmdebstrap");
	strv_add(ret, "--mode=unshare");
	strv_add(ret, "--format=directory");
	strv_add(ret, "--variant=apt");
	/* apt's own lines, which progress is read from */
	strv_add(ret, "--verbose");
	strv_addf(ret, "--architectures=%s", r->architecture);
	strv_addf(ret, "--include=%s", buf_str(&packages));
	for (size_t i = 0; i < ARRAY_LEN(dpkg_options); i++)
		strv_addf(ret, "--dpkgopt=%s", dpkg_options[i]);
	for (size_t i = 0; i < in->apt_build->n; i++)
		strv_addf(ret, "--aptopt=%s", in->apt_build->v[i]);
	strv_addf(ret, "--customize-hook=%s", buf_str(&script));
	strv_add(ret, r->suite);
	strv_add(ret, in->root);
	for (size_t i = 0; i < in->sources->n; i++)
		strv_add(ret, in->sources->v[i]);
}

static void
plan_pack(const struct plan_input *in, struct strv *ret)
{
	CLEAN_BUF struct buf script = BUF_INIT;

	pack_script(in, &script);
	strv_add(ret, "mmdebstrap");
	strv_add(ret, "--unshare-helper");
	strv_add(ret, "sh");
	strv_add(ret, "-c");
	strv_add(ret, buf_str(&script));
	strv_add(ret, "pack.sh");
	strv_add(ret, in->root);
}

void
plan_empty(const char *root, struct strv *ret)
{
	static const char *const words[] = {"-xdev", "-mindepth", "1", "-delete"};

	strv_add(ret, "mmdebstrap");
	strv_add(ret, "--unshare-helper");
	/* find wants to return to where it started, which may be closed to the image's root. */
	strv_add(ret, "env");
	strv_add(ret, "--chdir=/");
	strv_add(ret, "find");
	strv_add(ret, root);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		strv_add(ret, words[i]);
}

void
plan_make(const struct plan_input *in, struct plan *ret)
{
	memset(ret, 0, sizeof(*ret));
	plan_bootstrap(in, &ret->bootstrap);
	plan_pack(in, &ret->pack);
	plan_empty(in->root, &ret->empty);
}

void
plan_release(struct plan *p)
{
	strv_release(&p->bootstrap);
	strv_release(&p->pack);
	strv_release(&p->empty);
}

/* A script up to its first comment, which names it. */
static size_t
head_of(const char *arg)
{
	const char *comment = strstr(arg, "\n#");

	return comment == NULL ? strlen(arg)
			       : (size_t)(comment + 1 - arg) + strcspn(comment + 1, ":");
}

static void
print_step(const char *name, const struct strv *argv, struct buf *out)
{
	buf_printf(out, "%s:\n", name);
	for (size_t i = 0; i < argv->n; i++) {
		const char *at = argv->v[i];
		size_t left = head_of(at);

		for (int line = 0; left > 0; line++) {
			size_t n = strcspn(at, "\n");

			n = n < left ? n : left;
			buf_printf(out, "%s%.*s\n", line == 0 ? "\t" : "\t| ", (int)n, at);
			at += n;
			left -= n;
			if (left > 0) {
				at++;
				left--;
			}
		}
	}
}

void
plan_print(const struct plan *p, struct buf *out)
{
	print_step("bootstrap", &p->bootstrap, out);
	print_step("pack", &p->pack, out);
	print_step("empty", &p->empty, out);
}
