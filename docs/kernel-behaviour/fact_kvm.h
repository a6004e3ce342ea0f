/* SPDX-License-Identifier: MIT */
/* The smallest VM whose vCPU can be entered: it writes to a port for ever, in real mode. */
#ifndef DOCS_KERNEL_BEHAVIOUR_FACT_KVM_H
#define DOCS_KERNEL_BEHAVIOUR_FACT_KVM_H

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "fact.h"

struct fact_vm {
	int kvm, vm, vcpu;
	struct kvm_run *run;
};

static inline int fact_open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIPS("NO KVM: /dev/kvm: %s", strerror(errno));
	return fd;
}

static inline void *fact_memory(size_t bytes)
{
	return NEED(mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

static inline int fact_set_slot(int vm, void *host, size_t bytes)
{
	const struct kvm_userspace_memory_region region = {
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)host,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static inline struct fact_vm fact_vm(void)
{
	/* out %al, $0x10; jmp to it */
	static const uint8_t code[] = { 0xe6, 0x10, 0xeb, 0xfc };
	struct kvm_regs regs = { .rflags = 2 };
	struct fact_vm v;
	struct kvm_sregs s;
	uint8_t *ram = fact_memory(4096);

	memcpy(ram, code, sizeof(code));
	v.kvm = fact_open_kvm();
	v.vm = NEED(ioctl(v.kvm, KVM_CREATE_VM, 0));
	NEED(fact_set_slot(v.vm, ram, 4096));
	v.vcpu = NEED(ioctl(v.vm, KVM_CREATE_VCPU, 0));
	v.run = NEED(mmap(NULL, (size_t)ioctl(v.kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
			  PROT_READ | PROT_WRITE, MAP_SHARED, v.vcpu, 0));
	NEED(ioctl(v.vcpu, KVM_GET_SREGS, &s));
	s.cs.base = 0;
	s.cs.selector = 0;
	NEED(ioctl(v.vcpu, KVM_SET_SREGS, &s));
	NEED(ioctl(v.vcpu, KVM_SET_REGS, &regs));
	return v;
}

/* Enters the guest until it writes to its port. */
static inline int fact_run(struct fact_vm *v)
{
	return ioctl(v->vcpu, KVM_RUN, 0) == 0 && v->run->exit_reason == KVM_EXIT_IO;
}

#endif
