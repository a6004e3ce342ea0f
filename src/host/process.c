/* SPDX-License-Identifier: MIT */
/* Processes: replacing this one's program, watching another one, inheriting descriptors. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/cpus.h"
#include "host/process.h"
#include "host/raw_call.h"

/* Signals we block or ignore are no business of the next program. */
static void clean_signals(bool clean, sigset_t *old)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, clean ? &none : old, clean ? old : NULL);
	signal(SIGPIPE, clean ? SIG_DFL : SIG_IGN);
}

enum {
	/* Bytes. */
	MAX_PROGRAM = 64 << 20,
	SEARCH_CHUNK = 32 << 10,
};

/*
 * As execvp(), but a file the kernel does not know is an error: execvp() would
 * hand it to a shell, and a guest would be lost to that shell.
 */
static void exec_search(char *const *argv)
{
	const char *dirs = getenv("PATH");
	char path[PATH_MAX];
	int denied = ENOENT;

	if (strchr(argv[0], '/') || !dirs) {
		execve(argv[0], argv, environ);
		return;
	}
	for (const char *end; *dirs; dirs = *end ? end + 1 : end) {
		end = strchrnul(dirs, ':');
		snprintf(path, sizeof(path), "%.*s/%s", (int)(end - dirs), dirs, argv[0]);
		execve(path, argv, environ);
		if (errno == EACCES)
			denied = EACCES;
		else if (errno != ENOENT && errno != ENOTDIR)
			return;
	}
	errno = denied;
}

static bool find_in_path(const char *name, char *path, size_t n)
{
	const char *dirs = getenv("PATH");

	for (const char *end; dirs && *dirs; dirs = *end ? end + 1 : end) {
		end = strchrnul(dirs, ':');
		snprintf(path, n, "%.*s/%s", (int)(end - dirs), dirs, name);
		if (!access(path, X_OK))
			return true;
	}
	return false;
}

bool process_in_path(const char *name)
{
	char path[PATH_MAX];

	return find_in_path(name, path, sizeof(path));
}

bool process_program_has(const char *name, const char *text)
{
	AUTO_CLOSE int fd = -1;
	char path[PATH_MAX], bytes[SEARCH_CHUNK];
	size_t kept = 0, overlap = strlen(text) - 1;
	struct stat st;
	ssize_t n;

	if (!strchr(name, '/') && find_in_path(name, path, sizeof(path)))
		name = path;
	/* Not to wait for a FIFO's writer. */
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_PROGRAM)
		return false;
	while ((n = read(fd, bytes + kept, sizeof(bytes) - kept)) > 0) {
		kept += (size_t)n;
		if (memmem(bytes, kept, text, strlen(text)))
			return true;
		/* The text may begin here and end in the next piece. */
		if (kept > overlap) {
			memmove(bytes, bytes + kept - overlap, overlap);
			kept = overlap;
		}
	}
	return false;
}

int process_exec(char *const *argv, struct err *e)
{
	sigset_t old;
	int r;

	clean_signals(true, &old);
	exec_search(argv);
	r = err_set_errno(e, "execvp %s failed", argv[0]);
	clean_signals(false, &old);
	return r;
}

int process_open_program(struct err *e)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	const char *name = (const char *)getauxval(AT_EXECFN);

	/* After chroot: a program whose image this is was found there by that name. */
	if (fd < 0 && errno == ENOENT && name)
		fd = open(name, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_set_errno(e, "cannot open the running program") : fd;
}

int process_exec_fd(int fd, char *const *argv, struct err *e)
{
	sigset_t old;
	int r;

	clean_signals(true, &old);
	fexecve(fd, argv, environ);
	r = err_set_errno(e, "the program behind descriptor %d cannot be started", fd);
	clean_signals(false, &old);
	return r;
}

int process_dup_fd(int fd, struct err *e)
{
	int d = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return d < 0 ? err_set_errno(e, "cannot duplicate descriptor %d", fd) : d;
}

enum {
	HOLDER_STACK_BYTES = 32 << 10,
	HOLDER_POLL_NS = 2000000,
	HOLDER_POLLS = 5000,
	HOLDER_START_NS = 500000000
};

/* Lies at the start of the child's stack; both live as long as the memory does. */
struct holder {
	int fd;
	const uint32_t *word;
	uint32_t end;
	long parent;
	bool ready; /* atomic: the descriptors are closed */
	bool placed;
	cpu_set_t cpus; /* placed: where it is to run */
};

IN_CHILD static int hold(void *arg)
{
	struct holder *h = arg;
	const struct timespec pause = { .tv_nsec = HOLDER_POLL_NS };

	if (h->placed)
		raw_call(SYS_sched_setaffinity, 0, sizeof(h->cpus), (long)&h->cpus, 0);
	/* Whoever waits for one of our sockets to close shall not wait for the child. */
	if (h->fd > 0)
		raw_call(SYS_close_range, 0, h->fd - 1, 0, 0);
	raw_call(SYS_close_range, (long)h->fd + 1, ~0u, 0, 0);
	__atomic_store_n(&h->ready, true, __ATOMIC_RELEASE);
	for (int i = 0; i < HOLDER_POLLS; i++) {
		if (__atomic_load_n(h->word, __ATOMIC_ACQUIRE) == h->end ||
		    raw_call(SYS_getppid, 0, 0, 0, 0) != h->parent)
			break;
		raw_call(SYS_nanosleep, (long)&pause, 0, 0, 0);
	}
	raw_call(SYS_exit_group, 0, 0, 0, 0);
	return 0;
}

pid_t process_hold_memory(int fd, const uint32_t *word, uint32_t end, const cpu_set_t *busy,
			  struct holder **holder, struct err *e)
{
	char *p = malloc(HOLDER_STACK_BYTES);
	struct holder *h = (struct holder *)p;
	uint64_t start = clock_boottime_ns();
	pid_t pid;

	if (!p)
		return err_set(e, ENOMEM, "no memory for a child's stack");
	*h = (struct holder){ .fd = fd, .word = word, .end = end, .parent = getpid() };
	h->placed = cpus_besides(busy, &h->cpus);
#ifdef __SANITIZE_THREAD__
	/* Its clone() wants the child to have memory of its own. */
	free(p);
	return err_set(e, ENOSYS, "no child can hold the memory under ThreadSanitizer");
#endif
	pid = clone(hold, p + HOLDER_STACK_BYTES, CLONE_VM | SIGCHLD, h);
	if (pid < 0) {
		pid = err_set_errno(e, "cannot start a child that holds the memory");
		free(p);
		return pid;
	}
	while (!__atomic_load_n(&h->ready, __ATOMIC_ACQUIRE)) {
		if (clock_boottime_ns() - start > HOLDER_START_NS) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, __WALL);
			free(p);
			return err_set(e, ETIMEDOUT,
				       "the child that holds the memory does not start");
		}
		sched_yield();
	}
	*holder = h;
	return pid;
}

void process_end_hold(pid_t pid, struct holder *holder)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	free(holder);
}

bool process_reap(pid_t pid)
{
	return waitpid(pid, NULL, WNOHANG | __WALL) != 0;
}

/*
 * Whether a task of ours runs in the kernel only, as KVM's and io_uring's helpers do, or for good:
 * a thread that was joined may be on its last way there.
 */
static bool is_kernels(const char *tid)
{
	/* The kernel's PF_EXITING, PF_IO_WORKER, PF_USER_WORKER and PF_KTHREAD. */
	const unsigned long flags_of_kernels = 0x4 | 0x10 | 0x4000 | 0x200000;
	char path[64], text[512] = "";
	unsigned long flags = 0;
	AUTO_CLOSE int fd = -1;
	const char *p;

	snprintf(path, sizeof(path), "/proc/self/task/%.16s/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	/* One that was still listed may have gone before it could be looked at. */
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return errno == ENOENT || errno == ESRCH;
	/* Behind the name: state and six numbers, then the flags. */
	if ((p = strrchr(text, ')')))
		sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %lu", &flags);
	return flags & flags_of_kernels;
}

/* Appends a thread's name. */
static void add_name(const char *tid, char *names, size_t room)
{
	char path[64], name[20] = "";
	AUTO_CLOSE int fd = -1;
	size_t n = strlen(names);

	snprintf(path, sizeof(path), "/proc/self/task/%.16s/comm", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, name, sizeof(name) - 1) <= 0)
		return;
	name[strcspn(name, "\n")] = '\0';
	snprintf(names + n, room - n, "%s%s", n ? ", " : "", name);
}

unsigned int process_nr_threads(char *names, size_t room)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *d;
	unsigned int n = 0;

	if (names)
		names[0] = '\0';
	while (dir && (d = readdir(dir))) {
		if (d->d_name[0] == '.' || is_kernels(d->d_name))
			continue;
		n++;
		if (names)
			add_name(d->d_name, names, room);
	}
	if (dir)
		closedir(dir);
	return n;
}

int process_nr_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(getpid(), sizeof(set), &set))
		return 1;
	return MAX(CPU_COUNT(&set), 1);
}

int process_keep_fd(int fd, bool keep, struct err *e)
{
	if (fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC) < 0)
		return err_set_errno(e, "cannot change descriptor %d", fd);
	return 0;
}

int process_check_fd(int fd, struct err *e)
{
	if (fcntl(fd, F_GETFD) < 0)
		return err_set_errno(e, "descriptor %d", fd);
	return 0;
}

void process_end_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

int process_open_pidfd(pid_t pid, struct err *e)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? err_set_errno(e, "cannot watch process %d", pid) : fd;
}

void process_remove_pidfile(const char *path)
{
	AUTO_CLOSE int f = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[24] = "", ours[24];

	snprintf(ours, sizeof(ours), "%d\n", getpid());
	if (f >= 0 && read(f, text, sizeof(text) - 1) > 0 && !strcmp(text, ours))
		unlink(path);
}

int process_open_pidfile(const char *path, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	return fd < 0 ? err_set_errno(e, "cannot create PID file %s", path) : fd;
}

int process_write_pidfile(int fd, const char *path, struct err *e)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%d\n", getpid());

	if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n)
		return err_set_errno(e, "cannot write PID file %s", path);
	return 0;
}

void process_fill_blocked(sigset_t *out)
{
	static const int crashes[] = PROCESS_CRASH_SIGNALS;

	sigfillset(out);
	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
		sigdelset(out, crashes[i]);
}

int process_start_thread(pthread_t *out, const char *name, void *(*run)(void *arg), void *arg,
			 struct err *e)
{
	sigset_t all, old;
	pthread_t thread;
	int r;

	process_fill_blocked(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return err_set_code(e, r, "cannot start thread '%s'", name);
	pthread_setname_np(thread, name);
	*out = thread;
	return 0;
}

void process_be_nice(int nice)
{
	/* Of a thread, by its own id; to get less is always allowed. */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice);
}

void process_die(void)
{
	kill(getpid(), SIGKILL);
}

void process_crash(void)
{
	raise(SIGSEGV);
}

void process_hang(void)
{
	for (;;)
		pause();
}

void process_freeze(void)
{
	kill(getpid(), SIGSTOP);
}

int process_block_signals(int *fd, struct err *e)
{
	sigset_t set;
	int f;

	signal(SIGPIPE, SIG_IGN);
	/* Ignored, as some who start us leave it, the ends of our children would be lost. */
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	f = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (f < 0)
		return err_set_errno(e, "cannot watch for signals");
	*fd = f;
	return 0;
}

void process_read_signal(int fd)
{
	struct signalfd_siginfo info;

	/* Which one it is does not matter; that it is gone does. */
	while (read(fd, &info, sizeof(info)) == sizeof(info))
		;
}
