/* SPDX-License-Identifier: MIT */
/* What this process may still ask of the kernel once its machine is built. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "host/sandbox.h"

/*
 * Environment of the next image in this process: the process in which this list is in force, for
 * whoever started the first one may have had a list of their own.
 */
#define MARK "BATON_SANDBOX"

/* Newer than the headers of Debian 12. */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

/* The guest and its devices, updates, and what the C library needs for both. */
static const int calls[] = {
	/* Every moment. */
	SYS_ioctl,
	SYS_futex,
	SYS_epoll_pwait2,
	SYS_epoll_pwait,
	SYS_epoll_ctl,
	SYS_read,
	SYS_write,
	SYS_readv,
	SYS_writev,
	SYS_pread64,
	SYS_pwrite64,
	SYS_preadv,
	SYS_pwritev,
	SYS_preadv2,
	SYS_pwritev2,
	SYS_io_uring_enter,
	SYS_recvmsg,
	SYS_sendmsg,
	SYS_recvfrom,
	SYS_sendto,
	SYS_poll,
	SYS_ppoll,
	SYS_select,
	SYS_pselect6,
	SYS_clock_gettime,
	SYS_clock_getres,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_gettimeofday,
	SYS_time,
	SYS_rt_sigreturn,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigtimedwait,
	SYS_sigaltstack,
	SYS_restart_syscall,
	SYS_sched_yield,
	SYS_getrandom,
	SYS_close,
	SYS_lseek,
	SYS_fcntl,
	SYS_fsync,
	SYS_fdatasync,
	SYS_sync_file_range,
	SYS_fallocate,
	SYS_ftruncate,
	SYS_flock,
	/* Memory. */
	SYS_mmap,
	SYS_munmap,
	SYS_mremap,
	SYS_mprotect,
	SYS_madvise,
	SYS_mincore,
	SYS_brk,
	SYS_memfd_create,
	SYS_membarrier,
	/* Descriptors, files, sockets. */
	SYS_open,
	SYS_openat,
	SYS_newfstatat,
	SYS_fstat,
	SYS_stat,
	SYS_lstat,
	SYS_statx,
	SYS_statfs,
	SYS_fstatfs,
	SYS_access,
	SYS_faccessat,
	SYS_faccessat2,
	SYS_readlink,
	SYS_readlinkat,
	SYS_getdents64,
	SYS_getcwd,
	SYS_unlink,
	SYS_unlinkat,
	SYS_rename,
	SYS_renameat,
	SYS_renameat2,
	SYS_fchmod,
	SYS_umask,
	SYS_utimensat,
	SYS_dup,
	SYS_dup2,
	SYS_dup3,
	SYS_pipe2,
	SYS_eventfd2,
	SYS_signalfd4,
	SYS_timerfd_create,
	SYS_timerfd_settime,
	SYS_epoll_create1,
	SYS_io_uring_setup,
	SYS_io_uring_register,
	SYS_close_range,
	SYS_socket,
	SYS_socketpair,
	SYS_bind,
	SYS_listen,
	SYS_accept,
	SYS_accept4,
	SYS_connect,
	SYS_shutdown,
	SYS_getsockname,
	SYS_getpeername,
	SYS_getsockopt,
	SYS_setsockopt,
	SYS_sendmmsg,
	/* Processes and threads. */
	SYS_exit,
	SYS_exit_group,
	SYS_wait4,
	SYS_waitid,
	SYS_getpid,
	SYS_getppid,
	SYS_gettid,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
	SYS_tgkill,
	SYS_kill,
	SYS_pidfd_open,
	SYS_pidfd_send_signal,
	SYS_prctl,
	SYS_arch_prctl,
	SYS_set_tid_address,
	SYS_set_robust_list,
	SYS_get_robust_list,
	SYS_rseq,
	SYS_prlimit64,
	SYS_getrlimit,
	SYS_sched_getaffinity,
	SYS_sched_setaffinity,
	SYS_setpriority,
	SYS_getpriority,
	SYS_sysinfo,
	SYS_uname,
	SYS_getrusage,
	/* A sandbox within: a program that was started for a channel or a network. */
	SYS_seccomp,
};

/* Beside these, where programs may be started. */
static const int spawn_calls[] = {
	SYS_execve, SYS_execveat, SYS_fork, SYS_vfork, SYS_setpgid, SYS_setsid,
};

/* A namespace of one's own brings privileges along. */
#define NEW_NAMESPACES                                                                             \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | \
	 CLONE_NEWCGROUP)

enum {
	MAX_RULES = ARRAY_SIZE(calls) + ARRAY_SIZE(spawn_calls),
	ALLOW = SECCOMP_RET_ALLOW,
	DENY = SECCOMP_RET_ERRNO | EPERM,
	UNKNOWN = SECCOMP_RET_ERRNO | ENOSYS,
};

bool sandbox_allows(int call)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		if (calls[i] == call)
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(spawn_calls); i++)
		if (spawn_calls[i] == call)
			return true;
	return call == SYS_clone;
}

struct program {
	struct sock_filter code[2 * MAX_RULES + 16];
	unsigned short n;
};

static void put(struct program *p, uint16_t code, uint8_t yes, uint8_t no, uint32_t k)
{
	p->code[p->n++] = (struct sock_filter){ .code = code, .jt = yes, .jf = no, .k = k };
}

static void load_word(struct program *p, uint32_t offset)
{
	put(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
}

/* What the filter says of system call @call, if it is that one. */
static void put_rule(struct program *p, int call, uint32_t verdict)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)call);
	put(p, BPF_RET | BPF_K, 0, 0, verdict);
}

/*
 * Threads may be started in any case, namespaces in none. The C library does without clone3,
 * which hides its flags.
 */
static void put_clone(struct program *p, bool no_spawn)
{
	put_rule(p, SYS_clone3, UNKNOWN);
	put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 6, SYS_clone);
	load_word(p, offsetof(struct seccomp_data, args[0]));
	put(p, BPF_JMP | BPF_JSET | BPF_K, 0, 1, NEW_NAMESPACES);
	put(p, BPF_RET | BPF_K, 0, 0, DENY);
	put(p, BPF_JMP | BPF_JSET | BPF_K, 1, 0, CLONE_THREAD);
	put(p, BPF_RET | BPF_K, 0, 0, no_spawn ? DENY : ALLOW);
	put(p, BPF_RET | BPF_K, 0, 0, ALLOW);
}

/*
 * A verdict that depends on nothing but the number of the call is remembered by the kernel (since
 * Linux 5.11): so the length of the list is no matter.
 */
static int load_filter(bool no_spawn, struct err *e)
{
	struct program p = { .n = 0 };
	struct sock_fprog prog = { .filter = p.code };

	load_word(&p, offsetof(struct seccomp_data, arch));
	put(&p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
	put(&p, BPF_RET | BPF_K, 0, 0, DENY);
	load_word(&p, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		put_rule(&p, calls[i], ALLOW);
	for (size_t i = 0; !no_spawn && i < ARRAY_SIZE(spawn_calls); i++)
		put_rule(&p, spawn_calls[i], ALLOW);
	put_clone(&p, no_spawn);
	put(&p, BPF_RET | BPF_K, 0, 0, DENY);
	prog.len = p.n;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog))
		return err_set_errno(e, "the kernel does not take the list of system calls");
	return 0;
}

/* What a kernel of that version of Landlock knows of a file and of a directory. */
#define FILE_RIGHTS \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE)
#define READ_RIGHTS \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)

static uint64_t all_rights(int abi)
{
	/* The first version has thirteen. */
	uint64_t rights = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1;

	if (abi >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
	return rights;
}

static int allow(int ruleset, const char *path, uint64_t rights)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = rights };
	AUTO_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	rule.parent_fd = fd;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= FILE_RIGHTS | LANDLOCK_ACCESS_FS_TRUNCATE;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		return -errno;
	return 0;
}

/* Needed to start a program and build a machine; not every host has each. */
static void allow_system(int ruleset, uint64_t all)
{
	static const char *const readable[] = {
		"/usr",
		"/lib",
		"/lib64",
		"/bin",
		"/sbin",
		"/etc/ld.so.cache",
		"/etc/ld.so.preload",
		"/etc/resolv.conf",
		"/etc/hosts",
		"/etc/nsswitch.conf",
		"/etc/gai.conf",
		"/etc/host.conf",
		"/etc/services",
		"/etc/localtime",
		"/etc/terminfo",
		"/proc/self",
		"/proc/stat",
		"/proc/cpuinfo",
		"/proc/meminfo",
		"/proc/sys",
		"/sys/devices/system",
		"/sys/kernel/mm",
		"/sys/block",
		"/sys/dev/block",
		"/sys/class/block",
	};
	static const char *const usable[] = {
		"/dev/kvm",  "/dev/net/tun", "/dev/null",    "/dev/zero",
		"/dev/full", "/dev/random",  "/dev/urandom", "/dev/tty",
		"/dev/pts",  "/dev/ptmx",    "/dev/shm",
	};

	for (size_t i = 0; i < ARRAY_SIZE(readable); i++)
		allow(ruleset, readable[i], all & READ_RIGHTS);
	for (size_t i = 0; i < ARRAY_SIZE(usable); i++)
		allow(ruleset, usable[i], all);
}

static int limit_paths(const struct sandbox_config *c, struct err *e)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr = { .handled_access_fs = all_rights((int)abi) };
	AUTO_CLOSE int ruleset = -1;
	int r;

	if (abi < 1)
		return err_set(e, ENOSYS,
			       "paths cannot be limited: the kernel has no Landlock, or it is "
			       "switched off");
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return err_set_errno(e, "paths cannot be limited");
	allow_system(ruleset, attr.handled_access_fs);
	for (unsigned int i = 0; i < c->nr_paths; i++) {
		r = allow(ruleset, c->paths[i], attr.handled_access_fs);
		if (r)
			return err_set_code(e, -r, "'%s' cannot be allowed", c->paths[i]);
	}
	if (syscall(SYS_landlock_restrict_self, ruleset, 0))
		return err_set_errno(e, "paths cannot be limited");
	return 0;
}

bool sandbox_is_entered(void)
{
	const char *pid = getenv(MARK);

	return pid && strtol(pid, NULL, 10) == getpid() &&
	       prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER;
}

int sandbox_enter(const struct sandbox_config *c, struct err *e)
{
	char pid[16];
	int r = 0;

	/* First what may fail without a trace. */
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (setenv(MARK, pid, 1))
		return err_set_errno(e, "cannot set %s", MARK);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set_errno(e, "cannot give up gaining privileges");
	if (c->nr_paths)
		r = limit_paths(c, e);
	return r ? r : load_filter(c->no_spawn, e);
}
