#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <vmm/vmm.h>

static const char *const accel_names[] = {
	[VMM_ACCEL_AUTO] = "auto",
	[VMM_ACCEL_KVM] = "kvm",
	[VMM_ACCEL_TCG] = "tcg",
};

int
vmm_accel_parse(const char *word, enum vmm_accel *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(accel_names); i++) {
		if (strcmp(word, accel_names[i]) == 0) {
			*ret = (enum vmm_accel)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *
vmm_accel_name(enum vmm_accel a)
{
	return (size_t)a < ARRAY_LEN(accel_names) ? accel_names[a] : "unknown";
}

/* Whether the word is one of the blank-separated ones of the line. */
static bool
line_has_word(const char *line, size_t n, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i + len <= n; i++) {
		bool starts = i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t';
		bool ends = i + len == n || line[i + len] == ' ';

		if (starts && ends && memcmp(line + i, word, len) == 0)
			return true;
	}
	return false;
}

/* The first "flags" line decides: the CPUs of one host do not differ in this. */
static bool
cpu_has_virtualisation(const char *cpuinfo)
{
	CLEAN_FCLOSE FILE *f = fopen(cpuinfo, "re");
	CLEAN_FREE char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (f == NULL)
		return false;
	while ((n = getline(&line, &cap, f)) > 0) {
		if (!str_has_prefix(line, "flags"))
			continue;
		if (line[n - 1] == '\n')
			n--;
		return line_has_word(line, (size_t)n, "vmx") ||
		       line_has_word(line, (size_t)n, "svm");
	}
	return false;
}

/* 0, or -errno with the cause and the next step. */
static int
kvm_usable(const struct vmm_accel_probe *p, struct err *e)
{
	CLEAN_CLOSE int fd = open(p->kvm, O_RDWR | O_CLOEXEC);
	int code = errno;

	/* First what no permission and no module can change. */
	if (!cpu_has_virtualisation(p->cpuinfo))
		return err_set(e, ENODEV,
			"the CPU shows neither vmx nor svm (switch on virtualisation in the "
			"firmware, "
			"or nested virtualisation where this is a virtual machine)");
	if (fd < 0 && code == ENOENT)
		return err_set(e, ENOENT,
			"%s does not exist (load the module: sudo modprobe kvm_intel, or kvm_amd)",
			p->kvm);
	if (fd < 0 && (code == EACCES || code == EPERM))
		return err_set(e, EACCES,
			"no permission for %s (join its group: sudo usermod -aG kvm $USER, then "
			"log in again)",
			p->kvm);
	return fd < 0 ? err_sys(e, code, "open '%s'", p->kvm) : 0;
}

int
vmm_accel_choose_from(const struct vmm_accel_probe *p, enum vmm_accel want, enum vmm_accel *ret,
	char **ret_note, struct err *e)
{
	struct err why = {0};
	int r;

	if (want == VMM_ACCEL_TCG) {
		*ret = VMM_ACCEL_TCG;
		*ret_note = xstrdup("software emulation, as asked for: slow, and no security "
				    "boundary by QEMU's own word");
		return 0;
	}
	r = kvm_usable(p, &why);
	if (r == 0) {
		*ret = VMM_ACCEL_KVM;
		*ret_note = NULL;
		return 0;
	}
	if (want == VMM_ACCEL_KVM) {
		if (e != NULL)
			*e = why;
		return err_prefix(e, "KVM cannot be used (--accel tcg does without /dev/kvm)");
	}
	*ret = VMM_ACCEL_TCG;
	*ret_note = xasprintf("software emulation, slow and no security boundary by QEMU's own "
			      "word: %s",
		why.msg);
	return 0;
}

int
vmm_accel_choose(enum vmm_accel want, enum vmm_accel *ret, char **ret_note, struct err *e)
{
	const struct vmm_accel_probe host = {.kvm = "/dev/kvm", .cpuinfo = "/proc/cpuinfo"};

	return vmm_accel_choose_from(&host, want, ret, ret_note, e);
}
