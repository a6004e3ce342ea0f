/* SPDX-License-Identifier: MIT */
/* A library to preload: the N-th call of a program to the host fails, once. */

/*
 * The control page, a file that FAULT_PAGE names, is shared with the test: which call is to
 * fail and how, from when on calls are counted, and what was hit. Numbers go on in the next image
 * of the process, for that inherits environment and file. Calls that cannot fail, or whose
 * failure would be the end of any program (munmap, clock_gettime), are left out, and so is KVM_RUN, which
 * is the guest and not the update.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
	KIND_ERROR,  /* the call fails as it would on a host short of something */
	KIND_SHORT,  /* it moves one byte                                       */
	KIND_EINTR,  /* a signal interrupts it                                  */
	KIND_MEMORY, /* there is no memory on the heap                          */
};

struct page {
	uint32_t armed;
	uint32_t kind;
	uint32_t target; /* the call that fails, from 1 */
	uint32_t count;  /* calls so far, of the kind   */
	uint32_t hit;
	uint32_t pid;
	char call[32];
};

static struct page idle, *page = &idle;

/* Whether this call is to fail; says so in the program's log, too. */
static int hit(enum kind kind, const char *call)
{
	char line[80];
	int n;

	if (!__atomic_load_n(&page->armed, __ATOMIC_ACQUIRE) || page->kind != kind)
		return 0;
	if (__atomic_add_fetch(&page->count, 1, __ATOMIC_RELAXED) != page->target)
		return 0;
	strncpy(page->call, call, sizeof(page->call) - 1);
	page->pid = (uint32_t)getpid();
	__atomic_store_n(&page->hit, 1, __ATOMIC_RELEASE);
	n = snprintf(line, sizeof(line), "inject: call %u, %s\n", page->target, call);
	syscall(SYS_write, 2, line, (size_t)n);
	errno = ENOMEM;
	return 1;
}

#define REAL(name) static __typeof__(name) *real_##name
#define FIND(name) real_##name = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* A call that may fail with @error and returns @fails then. */
#define FAILS(type, name, fails, error, params, args) \
	REAL(name);                                   \
	type name params                              \
	{                                             \
		if (hit(KIND_ERROR, #name)) {         \
			errno = error;                \
			return fails;                 \
		}                                     \
		return real_##name args;              \
	}

FAILS(int, memfd_create, -1, EMFILE, (const char *name, unsigned int flags), (name, flags))
FAILS(int, eventfd, -1, EMFILE, (unsigned int value, int flags), (value, flags))
FAILS(int, epoll_create1, -1, EMFILE, (int flags), (flags))
FAILS(int, epoll_ctl, -1, ENOMEM, (int e, int op, int fd, struct epoll_event *ev), (e, op, fd, ev))
FAILS(int, signalfd, -1, EMFILE, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
FAILS(int, socket, -1, EMFILE, (int domain, int type, int protocol), (domain, type, protocol))
FAILS(int, socketpair, -1, EMFILE, (int d, int t, int p, int *sv), (d, t, p, sv))
FAILS(int, accept4, -1, EMFILE, (int fd, struct sockaddr *a, socklen_t *n, int f), (fd, a, n, f))
FAILS(int, connect, -1, ECONNREFUSED, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
FAILS(int, bind, -1, EADDRINUSE, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
FAILS(int, listen, -1, EADDRINUSE, (int fd, int n), (fd, n))
FAILS(int, pipe2, -1, EMFILE, (int *fds, int flags), (fds, flags))
FAILS(int, ftruncate, -1, ENOSPC, (int fd, off_t size), (fd, size))
FAILS(int, fallocate, -1, ENOSPC, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
FAILS(int, fdatasync, -1, EIO, (int fd), (fd))
FAILS(int, mprotect, -1, ENOMEM, (void *p, size_t n, int prot), (p, n, prot))
FAILS(int, madvise, -1, ENOMEM, (void *p, size_t n, int advice), (p, n, advice))
FAILS(void *, mmap, MAP_FAILED, ENOMEM, (void *p, size_t n, int prot, int flags, int fd, off_t at),
      (p, n, prot, flags, fd, at))
FAILS(int, mincore, -1, ENOMEM, (void *p, size_t n, unsigned char *vec), (p, n, vec))
FAILS(pid_t, fork, -1, EAGAIN, (void), ())
FAILS(int, execve, -1, ENOMEM, (const char *f, char *const *a, char *const *v), (f, a, v))
FAILS(int, fexecve, -1, ENOMEM, (int fd, char *const *a, char *const *v), (fd, a, v))
FAILS(FILE *, fopen, NULL, EMFILE, (const char *path, const char *mode), (path, mode))
FAILS(int, setenv, -1, ENOMEM, (const char *n, const char *v, int o), (n, v, o))
FAILS(int, unlink, -1, EACCES, (const char *path), (path))
FAILS(int, sched_setaffinity, -1, EINVAL, (pid_t pid, size_t n, const cpu_set_t *s), (pid, n, s))

/* A call that moves @n bytes: it may fail, be interrupted, or move one. */
#define MOVES(name, error, params, args, short_args)   \
	REAL(name);                                    \
	ssize_t name params                            \
	{                                              \
		if (hit(KIND_ERROR, #name)) {          \
			errno = error;                 \
			return -1;                     \
		}                                      \
		if (hit(KIND_EINTR, #name)) {          \
			errno = EINTR;                 \
			return -1;                     \
		}                                      \
		if (hit(KIND_SHORT, #name))            \
			return real_##name short_args; \
		return real_##name args;               \
	}
#define ONE(n) ((n) ? 1 : 0)

MOVES(read, EIO, (int fd, void *p, size_t n), (fd, p, n), (fd, p, ONE(n)))
MOVES(write, ENOSPC, (int fd, const void *p, size_t n), (fd, p, n), (fd, p, ONE(n)))
MOVES(pread, EIO, (int fd, void *p, size_t n, off_t at), (fd, p, n, at), (fd, p, ONE(n), at))
MOVES(pwrite, ENOSPC, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at),
      (fd, p, ONE(n), at))
MOVES(recv, ECONNRESET, (int fd, void *p, size_t n, int f), (fd, p, n, f), (fd, p, ONE(n), f))
MOVES(send, EPIPE, (int fd, const void *p, size_t n, int f), (fd, p, n, f), (fd, p, ONE(n), f))
/* What carries descriptors has to carry them whole: no short ones. */
#define MOVES_WHOLE(name, error, params, args) \
	REAL(name);                            \
	ssize_t name params                    \
	{                                      \
		if (hit(KIND_ERROR, #name)) {  \
			errno = error;         \
			return -1;             \
		}                              \
		if (hit(KIND_EINTR, #name)) {  \
			errno = EINTR;         \
			return -1;             \
		}                              \
		return real_##name args;       \
	}
MOVES_WHOLE(sendmsg, EPIPE, (int fd, const struct msghdr *m, int f), (fd, m, f))
MOVES_WHOLE(recvmsg, ECONNRESET, (int fd, struct msghdr *m, int f), (fd, m, f))
MOVES_WHOLE(writev, ENOSPC, (int fd, const struct iovec *v, int n), (fd, v, n))

REAL(epoll_pwait2);
int epoll_pwait2(int e, struct epoll_event *ev, int n, const struct timespec *t, const sigset_t *s)
{
	if (hit(KIND_EINTR, "epoll_pwait2")) {
		errno = EINTR;
		return -1;
	}
	return real_epoll_pwait2(e, ev, n, t, s);
}

REAL(ioctl);
int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request != KVM_RUN && hit(KIND_ERROR, "ioctl")) {
		errno = ENOMEM;
		return -1;
	}
	return real_ioctl(fd, request, arg);
}

REAL(open);
int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	if (hit(KIND_ERROR, "open")) {
		errno = EMFILE;
		return -1;
	}
	return real_open(path, flags, mode);
}

REAL(fcntl);
int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if ((cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC) && hit(KIND_ERROR, "fcntl(F_DUPFD)")) {
		errno = EMFILE;
		return -1;
	}
	if (cmd == F_OFD_SETLK && hit(KIND_ERROR, "fcntl(F_OFD_SETLK)")) {
		errno = ENOLCK;
		return -1;
	}
	return real_fcntl(fd, cmd, arg);
}

REAL(pthread_create);
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
	return hit(KIND_ERROR, "pthread_create") ? EAGAIN : real_pthread_create(t, a, run, arg);
}

REAL(clone);
int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	va_list ap;
	void *ptid, *tls, *ctid;

	va_start(ap, arg);
	ptid = va_arg(ap, void *);
	tls = va_arg(ap, void *);
	ctid = va_arg(ap, void *);
	va_end(ap);
	if (hit(KIND_ERROR, "clone")) {
		errno = EAGAIN;
		return -1;
	}
	return real_clone(fn, stack, flags, arg, ptid, tls, ctid);
}

REAL(malloc);
void *malloc(size_t n)
{
	return real_malloc && hit(KIND_MEMORY, "malloc") ? NULL : real_malloc(n);
}

REAL(realloc);
void *realloc(void *p, size_t n)
{
	return hit(KIND_MEMORY, "realloc") ? NULL : real_realloc(p, n);
}

/* The C library's own look-up of functions needs some before we know where it is. */
REAL(calloc);
void *calloc(size_t n, size_t size)
{
	static char early[8192];
	static size_t used;
	void *p = early + used;

	if (real_calloc)
		return hit(KIND_MEMORY, "calloc") ? NULL : real_calloc(n, size);
	used += (n * size + 15) & ~(size_t)15;
	return used <= sizeof(early) ? p : NULL;
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("FAULT_PAGE");
	void *p;
	int fd;

	FIND(calloc);
	FIND(malloc);
	FIND(realloc);
	FIND(memfd_create);
	FIND(eventfd);
	FIND(epoll_create1);
	FIND(epoll_ctl);
	FIND(signalfd);
	FIND(socket);
	FIND(socketpair);
	FIND(accept4);
	FIND(connect);
	FIND(bind);
	FIND(listen);
	FIND(pipe2);
	FIND(ftruncate);
	FIND(fallocate);
	FIND(fdatasync);
	FIND(mprotect);
	FIND(madvise);
	FIND(mmap);
	FIND(mincore);
	FIND(fork);
	FIND(execve);
	FIND(fexecve);
	FIND(fopen);
	FIND(setenv);
	FIND(unlink);
	FIND(sched_setaffinity);
	FIND(read);
	FIND(write);
	FIND(pread);
	FIND(pwrite);
	FIND(recv);
	FIND(send);
	FIND(sendmsg);
	FIND(recvmsg);
	FIND(writev);
	FIND(epoll_pwait2);
	FIND(ioctl);
	FIND(open);
	FIND(fcntl);
	FIND(pthread_create);
	FIND(clone);
	fd = path ? real_open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	p = real_mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		page = p;
}
