/* SPDX-License-Identifier: MIT */
/* A process that shares the address space may use a VM of it, and run its vCPU. */
#include <sched.h>
#include <sys/wait.h>

#include "fact_kvm.h"

static int child(void *arg)
{
	struct fact_vm *v = arg;
	struct kvm_regs regs;

	return ioctl(v->vcpu, KVM_GET_REGS, &regs) < 0 || !fact_run(v);
}

int main(void)
{
	struct fact_vm v = fact_vm();
	char *stack = NEED(
		mmap(NULL, 256 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	int status;
	pid_t pid;

	CHECK(fact_run(&v));
	pid = NEED(clone(child, stack + (256 << 10), CLONE_VM | CLONE_FILES | SIGCHLD, &v));
	NEED(waitpid(pid, &status, 0));
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(fact_run(&v));
	HOLDS("a child made with CLONE_VM ran the vCPU, and then the parent did again");
}
