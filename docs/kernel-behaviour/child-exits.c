/* SPDX-License-Identifier: MIT */
/* A child that shares memory and descriptors may end by exit_group or a crash: we go on. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fact.h"

enum {
	STACK = 64 << 10
};

static volatile int reached, opened;
static volatile int *volatile nowhere;

static int exits(void *arg)
{
	(void)arg;
	reached = 1;
	opened = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
	syscall(SYS_exit_group, 3);
	return 0;
}

static int crashes(void *arg)
{
	(void)arg;
	reached = 2;
	*nowhere = 1;
	return 0;
}

static int status_of(int (*fn)(void *))
{
	char *stack =
		NEED(mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	int status;
	pid_t pid =
		NEED(clone(fn, stack + STACK, CLONE_VM | CLONE_FILES | CLONE_FS | SIGCHLD, NULL));

	NEED(waitpid(pid, &status, 0));
	munmap(stack, STACK);
	return status;
}

int main(void)
{
	const struct rlimit no_core = { 0, 0 };
	int status = status_of(exits);

	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3 && reached == 1);
	/* One table of descriptors: what the child opened is open here. */
	CHECK(opened >= 0 && fcntl(opened, F_GETFD) == FD_CLOEXEC);
	/* A core file would be one of our memory. */
	setrlimit(RLIMIT_CORE, &no_core);
	status = status_of(crashes);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && reached == 2);
	HOLDS("exit_group and SIGSEGV in a child made with CLONE_VM|CLONE_FILES|CLONE_FS ended it "
	      "alone");
}
