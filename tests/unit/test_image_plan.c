/* The image as data: recipe, plan, the host's mirrors and apt options, what a build says. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "hooks.h"
#include "needs.h"
#include "plan.h"
#include "recipe.h"
#include "sources.h"
#include "watch.h"

static const char *const few_packages[] = {"bash", "git", NULL};
static const struct recipe small = {.name = "small",
	.suite = "trixie",
	.architecture = "amd64",
	.kernel = "linux-image-cloud-amd64",
	.boot_modules = "virtio_blk ext4",
	.packages = few_packages,
	.disk_bytes = UINT64_C(20) << 30,
	.uid = 1234,
	.gid = 20};

static void
add_all(struct strv *s, const char *const *words)
{
	for (; *words != NULL; words++)
		strv_add(s, *words);
}

static void
plan_is_as_expected(void **state)
{
	static const char expected[] = "bootstrap:\n"
				       "\tmmdebstrap\n"
				       "\t--mode=unshare\n"
				       "\t--format=directory\n"
				       "\t--variant=apt\n"
				       "\t--verbose\n"
				       "\t--architectures=amd64\n"
				       "\t--include=bash,git\n"
				       "\t--dpkgopt=force-unsafe-io\n"
				       "\t--dpkgopt=path-exclude=/usr/share/man/*.gz\n"
				       "\t--dpkgopt=path-exclude=/usr/share/doc/*\n"
				       "\t--dpkgopt=path-include=/usr/share/doc/*/copyright\n"
				       "\t--dpkgopt=path-exclude=/usr/share/info/*\n"
				       "\t--dpkgopt=path-exclude=/usr/share/locale/*\n"
				       "\t--dpkgopt=path-include=/usr/share/locale/locale.alias\n"
				       "\t--aptopt=Acquire::http::Proxy \"http://proxy:3142\";\n"
				       "\t--aptopt=Acquire::Check-Date \"it's false\";\n"
				       "\t--customize-hook=uid=1234\n"
				       "\t| gid=20\n"
				       "\t| kernel='linux-image-cloud-amd64'\n"
				       "\t| boot_modules='virtio_blk ext4'\n"
				       "\t| apt_conf='Acquire::Languages \"none\";\n"
				       "\t| Acquire::Check-Date \"it'\\''s false\";'\n"
				       "\t| # customize.sh\n"
				       "\ttrixie\n"
				       "\t/scratch/root\n"
				       "\tdeb http://mirror.test/debian trixie main\n"
				       "pack:\n"
				       "\tmmdebstrap\n"
				       "\t--unshare-helper\n"
				       "\tsh\n"
				       "\t-c\n"
				       "\tuid=1234\n"
				       "\t| gid=20\n"
				       "\t| disk_bytes=21474836480\n"
				       "\t| # pack.sh\n"
				       "\tpack.sh\n"
				       "\t/scratch/root\n"
				       "empty:\n"
				       "\tmmdebstrap\n"
				       "\t--unshare-helper\n"
				       "\tenv\n"
				       "\t--chdir=/\n"
				       "\tfind\n"
				       "\t/scratch/root\n"
				       "\t-xdev\n"
				       "\t-mindepth\n"
				       "\t1\n"
				       "\t-delete\n";
	CLEAN_STRV struct strv sources = {0}, build = {0}, keep = {0};
	CLEAN_BUF struct buf text = BUF_INIT;
	struct plan p;

	(void)state;
	add_all(&sources, (const char *[]){"deb http://mirror.test/debian trixie main", NULL});
	add_all(&build, (const char *[]){"Acquire::http::Proxy \"http://proxy:3142\";",
				"Acquire::Check-Date \"it's false\";", NULL});
	add_all(&keep, (const char *[]){"Acquire::Check-Date \"it's false\";", NULL});
	plan_make(&(struct plan_input){.recipe = &small,
			  .root = "/scratch/root",
			  .sources = &sources,
			  .apt_build = &build,
			  .apt_keep = &keep},
		&p);
	plan_print(&p, &text);
	assert_string_equal(buf_str(&text), expected);
	/* The scripts go along whole. */
	assert_non_null(strstr(p.pack.v[4], hook_pack()));
	plan_release(&p);
}

/* What a script of ours is made of survives its way through awk, meson and the C compiler. */
static void
hooks_are_whole(void **state)
{
	(void)state;
	assert_non_null(strstr(hook_pack(), "printf '#!/bin/sh\\n# Nothing starts"));
	assert_non_null(
		strstr(hook_pack(), "exit 101\\n' \\\n\t> \"$root/usr/sbin/policy-rc.d\"\n"));
	assert_non_null(strstr(hook_customize(), "sed -n 's/^insmod \\([^ ]*\\).*/\\1/p'"));
}

static void
shell_recipe_holds_what_is_promised(void **state)
{
	static const char *const promised[] = {"sudo", "bash", "git", "curl", "jq", "ripgrep",
		"nodejs", "npm", "python3", "python3-pip", "make", "gcc", "docker.io", "docker-cli",
		"mount", "util-linux", "iptables", "ca-certificates", "tmux", "less"};
	CLEAN_BUF struct buf text = BUF_INIT;
	struct recipe r;

	(void)state;
	assert_int_equal(recipe_find("shell", "x86_64", 1000, 1000, &r, NULL), 0);
	recipe_print(&r, &text);
	for (size_t i = 0; i < ARRAY_LEN(promised); i++) {
		bool found = false;

		for (const char *const *p = r.packages; *p != NULL && !found; p++)
			found = strcmp(*p, promised[i]) == 0;
		if (!found)
			fail_msg("no package %s", promised[i]);
	}
	assert_non_null(strstr(buf_str(&text), "user: 1000:1000\n"));
	assert_non_null(strstr(buf_str(&text), hook_pack()));
}

static void
recipes_that_there_are_not(void **state)
{
	struct err e = {0};
	struct recipe r;

	(void)state;
	assert_int_equal(recipe_find("shel", "x86_64", 1000, 1000, &r, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "'shell'"));
	assert_int_equal(recipe_find("shell", "riscv64", 1000, 1000, &r, &e), -ENOTSUP);
	assert_non_null(strstr(e.msg, "riscv64"));
}

static void
digest_follows_the_recipe(void **state)
{
	char a[RECIPE_DIGEST_SIZE], b[RECIPE_DIGEST_SIZE];
	struct recipe r = small;

	(void)state;
	recipe_digest(&small, a);
	recipe_digest(&r, b);
	assert_string_equal(a, b);
	assert_int_equal(strlen(a), 16);
	r.gid = 21;
	recipe_digest(&r, b);
	assert_string_not_equal(a, b);
	r = small;
	r.packages = few_packages + 1;
	recipe_digest(&r, b);
	assert_string_not_equal(a, b);
}

static void
mirrors_in_lines(void **state)
{
	static const char text[] =
		"# a comment\n"
		"deb-src http://src.test/debian bookworm main\n"
		"deb http://chrome.test/linux stable contrib\n"
		"deb cdrom:[Debian]/ bookworm main\n"
		"deb http://localhost:3142/debian bookworm main\n"
		"deb https://me:secret@private.test/debian bookworm main\n"
		"deb http://third.test/apt nodistro main\n"
		"deb http://backports.test/debian bookworm-backports main\n"
		"deb [arch=amd64 signed-by=/a.gpg] http://one.test/debian/ bookworm main non-free "
		"# x\n"
		"deb http://two.test/debian bookworm main contrib\n"
		"deb [ arch=amd64 ] https://sec.test/debian-security bookworm-security main\n";
	CLEAN_STRV struct strv lines = {0};
	struct mirror m = {0};

	(void)state;
	sources_read(text, false, "bookworm", &m);
	assert_string_equal(m.main, "http://one.test/debian/");
	assert_string_equal(m.security, "https://sec.test/debian-security");
	assert_string_equal(m.components, "main non-free");
	sources_for_suite(&m, "trixie", "/k.gpg", &lines);
	assert_int_equal(lines.n, 3);
	assert_string_equal(
		lines.v[0], "deb [signed-by=/k.gpg] http://one.test/debian/ trixie main non-free");
	assert_string_equal(lines.v[1],
		"deb [signed-by=/k.gpg] http://one.test/debian/ trixie-updates main non-free");
	assert_string_equal(lines.v[2], "deb [signed-by=/k.gpg] https://sec.test/debian-security "
					"trixie-security main non-free");
	mirror_release(&m);
}

static void
mirrors_in_stanzas(void **state)
{
	static const char text[] = "Types: deb\n"
				   "Enabled: no\n"
				   "URIs: http://off.test/debian\n"
				   "Suites: trixie\n"
				   "Components: main\n"
				   " \n"
				   "# comment\n"
				   "Types: deb deb-src\n"
				   "# in between\n"
				   "URIs:\n"
				   " http://one.test/debian http://other.test/debian\n"
				   "Suites: trixie-updates\n"
				   "\ttrixie\n"
				   "components: main contrib\n"
				   "Signed-By:\n"
				   " -----BEGIN PGP PUBLIC KEY BLOCK-----\n"
				   " .\n"
				   " mDMEZ\n"
				   "\n"
				   "Types: deb\n"
				   "URIs: http://sec.test/debian-security\n"
				   "Suites: trixie-security\n"
				   "Components: main";
	struct mirror m = {0};

	(void)state;
	sources_read(text, true, "trixie", &m);
	assert_string_equal(m.main, "http://one.test/debian");
	assert_string_equal(m.security, "http://sec.test/debian-security");
	assert_string_equal(m.components, "main contrib");
	mirror_release(&m);
}

/* Whatever an administrator left behind, cut anywhere: never more than no mirror. */
static void
mirrors_in_pieces(void **state)
{
	static const char line[] = "deb [arch=amd64] http://one.test/debian bookworm main\n";
	static const char stanza[] =
		"Types: deb\nURIs: http://one.test/debian\nSuites: bookworm\nComponents: main\n";

	(void)state;
	for (size_t i = 0; i <= sizeof(line) - 1; i++) {
		CLEAN_FREE char *cut = xstrndup(line, i);
		struct mirror m = {0};

		sources_read(cut, false, "bookworm", &m);
		assert_true((m.main != NULL) == (i >= sizeof(line) - 2));
		mirror_release(&m);
	}
	for (size_t i = 0; i <= sizeof(stanza) - 1; i++) {
		CLEAN_FREE char *cut = xstrndup(stanza, i);
		struct mirror m = {0};

		sources_read(cut, true, "bookworm", &m);
		assert_true((m.main != NULL) == (i >= sizeof(stanza) - 2));
		mirror_release(&m);
	}
	struct mirror m = {0};

	sources_read("deb http://a.test/$(reboot) bookworm main\n", false, "bookworm", &m);
	assert_null(m.main);
}

static void
apt_options(void **state)
{
	static const char dump[] = "APT \"\";\n"
				   "Acquire \"\";\n"
				   "Acquire::http \"\";\n"
				   "Acquire::http::Proxy \"http://proxy:3142\";\n"
				   "Acquire::http::Proxy::internal.test \"DIRECT\";\n"
				   "Acquire::https::CAInfo \"/etc/corp.pem\";\n"
				   "Acquire::ftp::Passive \"true\";\n"
				   "Acquire::Check-Valid-Until \"false\";\n"
				   "Acquire::Languages:: \"none\";\n"
				   "DPkg::Post-Invoke:: \"rm -rf /\";\n"
				   "Acquire::Retries \"3\";";
	CLEAN_STRV struct strv build = {0}, keep = {0};

	(void)state;
	apt_options_pick(dump, &build, &keep);
	assert_int_equal(build.n, 5);
	assert_string_equal(build.v[0], "Acquire::http::Proxy \"http://proxy:3142\";");
	assert_string_equal(build.v[2], "Acquire::https::CAInfo \"/etc/corp.pem\";");
	assert_string_equal(build.v[4], "Acquire::Retries \"3\";");
	assert_int_equal(keep.n, 1);
	assert_string_equal(keep.v[0], "Acquire::Check-Valid-Until \"false\";");
}

static void
progress_is_read_from_lines(void **state)
{
	struct watch w = {0};

	(void)state;
	assert_true(watch_line(&w, "I: running apt-get update..."));
	assert_string_equal(w.detail, "running apt-get update...");
	assert_false(watch_line(&w, "Get:1 http://m.test/debian trixie InRelease [140 kB]"));
	assert_false(
		watch_line(&w, "Get:2 http://m.test/debian trixie/main amd64 Packages [9 MB]"));
	assert_false(
		watch_line(&w, "0 upgraded, 12 newly installed, 0 to remove and 0 not upgraded."));
	assert_true(watch_line(
		&w, "Get:3 http://m.test/debian trixie/main amd64 libc6 amd64 2.41-12 [2,847 kB]"));
	assert_string_equal(w.detail, "downloading 1 of 12: libc6");
	assert_true(watch_line(&w, "Unpacking libc6:amd64 (2.41-12) ..."));
	assert_string_equal(w.detail, "unpacking 1 of 12: libc6");
	assert_true(watch_line(&w, "Setting up git (1:2.47) ..."));
	assert_string_equal(w.detail, "setting up 1 of 12: git");
	assert_false(watch_line(&w, "Selecting previously unselected package git."));
	assert_true(watch_line(&w, "I: running --customize-hook in shell: sh -c 'uid=1000"));
	assert_string_equal(w.detail, "configuring the image");
	assert_false(watch_line(&w, "I: using /var/tmp/x as tempdir"));
	assert_true(watch_line(&w, "Setting up \033[2J (1) ..."));
	assert_string_equal(w.detail, "setting up 2 of 12: \\x1b[2J");
	/* apt runs more than once, and counts anew. */
	watch_line(&w, "0 upgraded, 7 newly installed, 0 to remove and 0 not upgraded.");
	assert_true(watch_line(&w, "Setting up jq (1.7) ..."));
	assert_string_equal(w.detail, "setting up 1 of 7: jq");
}

static void
failures_name_their_cause(void **state)
{
	static const struct {
		const char *line;
		int code;
		const char *says;
	} cases[] = {
		{"dpkg: error: cannot write: No space left on device", ENOSPC, "TMPDIR"},
		{"Err:1 http://m.test trixie InRelease Could not resolve 'm.test'", ENETUNREACH,
			"network"},
		{"W: GPG error: NO_PUBKEY 6ED0E7B82643E131", EIO, "debian-archive-keyring"},
		{"E: Unable to locate package nosuch", EIO, "Unable to locate package nosuch"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct watch w = {0};
		struct err e = {0};

		watch_line(&w, cases[i].line);
		watch_line(&w, "E: apt-get failed");
		assert_int_equal(watch_failure(&w, "mmdebstrap", 25, "/l.log", &e), -cases[i].code);
		assert_non_null(strstr(e.msg, cases[i].says));
		assert_non_null(strstr(e.msg, "/l.log"));
	}
}

static void
subordinate_ids(void **state)
{
	(void)state;
	assert_true(needs_subids("root:1:1\nme:100000:65536\n", "me"));
	assert_true(needs_subids("me:100000:65536", "me"));
	assert_false(needs_subids("", "me"));
	assert_false(needs_subids("mex:100000:65536\nxme:100000:65536\n", "me"));
	assert_false(needs_subids("me:100000:1000\nme:200000:65536\n", "me"));
	assert_false(needs_subids("me:100000", "me"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_is_as_expected),
		cmocka_unit_test(hooks_are_whole),
		cmocka_unit_test(shell_recipe_holds_what_is_promised),
		cmocka_unit_test(recipes_that_there_are_not),
		cmocka_unit_test(digest_follows_the_recipe),
		cmocka_unit_test(mirrors_in_lines),
		cmocka_unit_test(mirrors_in_stanzas),
		cmocka_unit_test(mirrors_in_pieces),
		cmocka_unit_test(apt_options),
		cmocka_unit_test(progress_is_read_from_lines),
		cmocka_unit_test(failures_name_their_cause),
		cmocka_unit_test(subordinate_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
