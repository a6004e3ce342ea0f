/* SPDX-License-Identifier: MIT */
/* Keeps a virtual machine that never runs, so that KVM does not patch its own code. */
/*
 * DOC: why
 *
 * While some vCPU has its APIC switched off, as each has after its creation, or when
 * the first machine is created and the last one goes, the kernel patches jumps in KVM's
 * code. QEMU's TCG with several threads may keep a translation of the int3 that such a
 * patch passes through; the processor that hits it then traps for ever. A machine that
 * is there all the time, with a vCPU in that state, keeps the jumps as they are.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(vm, KVM_CREATE_VCPU, 0) < 0) {
		perror("hold-vm");
		return 1;
	}
	/* The caller goes on once the machine exists. */
	if (fork() != 0)
		return 0;
	for (;;)
		pause();
}
