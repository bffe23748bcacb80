/*
 * Names that the installed libseccomp or the architecture does not know are passed over: an
 * allowed call that is missing is only a lost function, and the refused ones that are so new that
 * libseccomp does not know them are caught by the default (allow-lists) or need a capability.
 */
#include <stddef.h>

#include "jail_syscalls.h"

const char *const syscalls_common[] = {
	/* memory; those with a protection argument are in seccomp.c */
	"brk", "munmap", "mremap", "madvise", "mlock", "munlock", "mincore", "msync", "membarrier",
	/* time */
	"clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
	"timerfd_create", "timerfd_settime", "timerfd_gettime",
	/* events */
	"poll", "ppoll", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait",
	"epoll_pwait", "epoll_pwait2", "eventfd2", "signalfd4", "pipe2", "pipe",
	/* descriptors */
	"read", "write", "readv", "writev", "close", "close_range", "dup", "dup2", "dup3", "fstat",
	"lseek", "memfd_create",
	/* signals to itself; sending is in seccomp.c */
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait",
	"sigaltstack", "restart_syscall", "pause",
	/* threads; clone is in seccomp.c */
	"futex", "futex_waitv", "futex_wait", "futex_wake", "set_robust_list", "get_robust_list",
	"rseq", "set_tid_address", "arch_prctl", "sched_yield", "sched_getaffinity",
	"sched_getparam", "sched_getscheduler", "getcpu", "exit", "exit_group",
	/* itself */
	"getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getresuid",
	"getresgid", "getgroups", "getpgrp", "getpgid", "getsid", "getrlimit", "getrusage",
	"capget", "uname", "sysinfo", "times", "getrandom", "umask", "getcwd", NULL};

const char *const syscalls_files[] = {
	/* open and look; everything stays in the mount tree */
	"open", "openat", "openat2", "creat", "stat", "lstat", "newfstatat", "statx", "statfs",
	"fstatfs", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64",
	"getdents", "chdir", "fchdir",
	/* content */
	"pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "ftruncate", "truncate",
	"fallocate", "fsync", "fdatasync", "syncfs", "sync_file_range", "copy_file_range",
	"sendfile", "splice", "tee", "readahead", "fadvise64", "flock", "cachestat",
	/* names */
	"mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2",
	"link", "linkat", "symlink", "symlinkat", "mknod", "mknodat",
	/* attributes */
	"chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat",
	"utimensat", "utimes", "futimesat", "getxattr", "lgetxattr", "fgetxattr", "listxattr",
	"llistxattr", "flistxattr", "setxattr", "lsetxattr", "fsetxattr", "removexattr",
	"lremovexattr", "fremovexattr",
	/* watch */
	"inotify_init1", "inotify_add_watch", "inotify_rm_watch", "name_to_handle_at", NULL};

const char *const syscalls_sockets[] = {"recvfrom", "recvmsg", "recvmmsg", "getsockopt",
	"setsockopt", "getsockname", "getpeername", "socketpair", "splice", "tee", "newfstatat",
	NULL};

const char *const syscalls_send[] = {"sendto", "sendmsg", "sendmmsg", "shutdown", NULL};

const char *const syscalls_connect[] = {"connect", "bind", "listen", "accept", "accept4", NULL};

const char *const syscalls_by_name[] = {"open", "openat", "openat2", "creat", "stat", "lstat",
	"statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "statfs", "chdir",
	NULL};

const char *const syscalls_absent[] = {"clone3", "io_uring_setup", "io_uring_enter",
	"io_uring_register", "rseq_slice_yield", NULL};

const char *const syscalls_outside[] = {
	/* other processes; signals are in seccomp.c */
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
	"kcmp", "pidfd_getfd", "pidfd_send_signal", "tkill", "migrate_pages", "move_pages",
	/* namespaces and mounts */
	"unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount",
	"fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_by_handle_at", "quotactl",
	"quotactl_fd",
	/* the kernel: wide surfaces with a history, and what is the whole machine's */
	"bpf", "perf_event_open", "userfaultfd", "add_key", "request_key", "keyctl", "init_module",
	"finit_module", "delete_module", "kexec_load", "kexec_file_load", "io_uring_setup",
	"io_uring_enter", "io_uring_register", "acct", "swapon", "swapoff", "reboot", "sethostname",
	"setdomainname", "settimeofday", "clock_settime", "syslog", "iopl", "ioperm", "personality",
	"vhangup", "fanotify_init", NULL};
