/* SPDX-License-Identifier: MIT */
/* A VM belongs to the address space that made it: another process gets EIO for VM and vCPU. */
#include <sys/wait.h>

#include "fact_kvm.h"

int main(void)
{
	struct fact_vm v = fact_vm();
	struct kvm_regs regs;
	int status;
	pid_t pid;

	CHECK(fact_run(&v));
	fflush(stdout);
	pid = NEED(fork());
	if (!pid) {
		int vm = ioctl(v.vm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) < 0 ? errno : 0;
		int vcpu = ioctl(v.vcpu, KVM_GET_REGS, &regs) < 0 ? errno : 0;
		int run = ioctl(v.vcpu, KVM_RUN, 0) < 0 ? errno : 0;

		_exit(vm == EIO && vcpu == EIO && run == EIO ? 0 : 1);
	}
	NEED(waitpid(pid, &status, 0));
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK(fact_run(&v));
	HOLDS("VM and vCPU descriptors give EIO in another process, and go on working here");
}
