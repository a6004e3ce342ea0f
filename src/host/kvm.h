/* SPDX-License-Identifier: MIT */
/* KVM, one function per ioctl. Kernel documentation: Documentation/virt/kvm/api.rst. */
#ifndef HOST_KVM_H
#define HOST_KVM_H

#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Newer than the headers of Debian 12. */
#ifndef KVM_CAP_X86_APIC_BUS_CYCLES_NS
#define KVM_CAP_X86_APIC_BUS_CYCLES_NS 237
#endif

#ifndef KVM_PRE_FAULT_MEMORY
#define KVM_CAP_PRE_FAULT_MEMORY 236
#define KVM_PRE_FAULT_MEMORY     _IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory)
struct kvm_pre_fault_memory {
	__u64 gpa, size;
	__u64 flags;
	__u64 padding[5];
};
#endif

/*
 * Functions with a struct err return 0 or more on success and -errno on failure,
 * with the record filled. An ioctl interrupted by a signal is repeated, except
 * KVM_RUN. Output parameters are untouched on failure. A VM or vCPU descriptor
 * works only in the process (the mm) that created it; elsewhere the kernel
 * answers EIO.
 */

/* Opens /dev/kvm and checks that its API version is the stable one, 12. Returns the descriptor. */
int kvm_open(struct err *e);
/* The value of a capability, 0 if it is not there. @fd: /dev/kvm or a VM. */
int kvm_check_extension(int fd, int cap);
/* Returns the descriptor of a new VM. */
int kvm_create_vm(int kvm_fd, struct err *e);
/* Returns the descriptor of a new vCPU. */
int kvm_create_vcpu(int vm_fd, unsigned int id, struct err *e);
/* Bytes to map of a vCPU descriptor for its struct kvm_run. */
int kvm_vcpu_mmap_size(int kvm_fd, struct err *e);
/* Maps the vCPU's struct kvm_run; kvm_unmap_run() undoes it. */
int kvm_map_run(int vcpu_fd, size_t size, struct kvm_run **out, struct err *e);
void kvm_unmap_run(struct kvm_run *run, size_t size);
/*
 * Enters the guest, on the vCPU's own thread. Returns 0 on an exit to handle, else -errno;
 * -EINTR on a signal or immediate_exit.
 */
int kvm_run(int vcpu_fd);

/* Signals blocked while the vCPU is in KVM_RUN, in place of its thread's own mask. */
int kvm_set_signal_mask(int vcpu_fd, const sigset_t *set, struct err *e);

/* The in-kernel interrupt controllers: both 8259, I/O APIC, local APICs. Before any vCPU. */
int kvm_create_irqchip(int vm_fd, struct err *e);
/* Three pages at @gpa that Intel's KVM uses for real mode; no RAM may be there. */
int kvm_set_tss_addr(int vm_fd, uint64_t gpa, struct err *e);
/* Drives a global system interrupt line. Fails only if the VM is gone, so it reports nothing. */
void kvm_irq_line(int vm_fd, unsigned int gsi, int level);
/*
 * Has KVM write to eventfd @fd when the guest writes to memory address @gpa, whatever and however
 * wide, instead of leaving the guest; or (@on false) undoes that. Waits until no vCPU sees the old
 * ways. -EEXIST: there is one at that address; -ENOENT: there is none with that eventfd.
 */
int kvm_ioeventfd(int vm_fd, uint64_t gpa, int fd, bool on, struct err *e);
/* Delivers a message-signalled interrupt to the local APICs: what @data at @addr says. */
void kvm_signal_msi(int vm_fd, uint64_t addr, uint32_t data);
/* The frequency of the guest's TSC in kHz; the first one returns it. */
int kvm_get_tsc_khz(int vcpu_fd, struct err *e);
int kvm_set_tsc_khz(int vcpu_fd, uint32_t khz, struct err *e);
/*
 * Offset of the guest's TSC from the host's (scaled) one: KVM_VCPU_TSC_OFFSET. -ENXIO if
 * unsupported.
 */
int kvm_get_tsc_offset(int vcpu_fd, uint64_t *offset, struct err *e);
int kvm_set_tsc_offset(int vcpu_fd, uint64_t offset, struct err *e);
/* Tells the guest's clock that the vCPU was stopped on purpose; no matter if it has none. */
void kvm_kvmclock_ctrl(int vcpu_fd);
/* KVM_GET_MSRS/KVM_SET_MSRS: how many entries from the first on succeeded, or -errno. */
int kvm_get_msrs(int vcpu_fd, struct kvm_msrs *msrs);
int kvm_set_msrs(int vcpu_fd, const struct kvm_msrs *msrs);
/*
 * The CPUID that KVM can virtualize here / the MSRs that KVM lists as state. The
 * caller frees *out.
 */
int kvm_get_supported_cpuid(int kvm_fd, struct kvm_cpuid2 **out, struct err *e);
int kvm_get_msr_index_list(int kvm_fd, struct kvm_msr_list **out, struct err *e);
/* @buf has room for what KVM_CAP_XSAVE2 says (at least 4096 bytes). */
int kvm_get_xsave2(int vcpu_fd, void *buf, struct err *e);
int kvm_get_xsave(int vcpu_fd, struct kvm_xsave *buf, struct err *e);
int kvm_set_xsave(int vcpu_fd, const void *buf, struct err *e);

/* Whether kvm_pre_fault_memory() works with vCPUs of @vm_fd: Linux 6.11 and nested paging. */
bool kvm_can_pre_fault(int vm_fd);
/*
 * Maps guest memory [@gpa, @gpa + @size) in the tables that the processor uses while the guest
 * runs, as if the vCPU, which waits meanwhile if it is to run, had touched it all.
 */
int kvm_pre_fault_memory(int vcpu_fd, uint64_t gpa, uint64_t size, struct err *e);

/* What the ioctl of that name takes or gives, as it is. */
int kvm_set_user_memory_region(int vm_fd, const struct kvm_userspace_memory_region *arg,
			       struct err *e);
int kvm_create_pit2(int vm_fd, const struct kvm_pit_config *arg, struct err *e);
int kvm_set_identity_map_addr(int vm_fd, const uint64_t *arg, struct err *e);
int kvm_get_irqchip(int vm_fd, struct kvm_irqchip *arg, struct err *e);
int kvm_set_irqchip(int vm_fd, const struct kvm_irqchip *arg, struct err *e);
int kvm_get_pit2(int vm_fd, struct kvm_pit_state2 *arg, struct err *e);
int kvm_set_pit2(int vm_fd, const struct kvm_pit_state2 *arg, struct err *e);
int kvm_get_clock(int vm_fd, struct kvm_clock_data *arg, struct err *e);
int kvm_set_clock(int vm_fd, const struct kvm_clock_data *arg, struct err *e);
int kvm_set_cpuid2(int vcpu_fd, const struct kvm_cpuid2 *arg, struct err *e);
int kvm_get_regs(int vcpu_fd, struct kvm_regs *arg, struct err *e);
int kvm_set_regs(int vcpu_fd, const struct kvm_regs *arg, struct err *e);
int kvm_get_sregs(int vcpu_fd, struct kvm_sregs *arg, struct err *e);
int kvm_set_sregs(int vcpu_fd, const struct kvm_sregs *arg, struct err *e);
int kvm_get_sregs2(int vcpu_fd, struct kvm_sregs2 *arg, struct err *e);
int kvm_set_sregs2(int vcpu_fd, const struct kvm_sregs2 *arg, struct err *e);
int kvm_get_xcrs(int vcpu_fd, struct kvm_xcrs *arg, struct err *e);
int kvm_set_xcrs(int vcpu_fd, const struct kvm_xcrs *arg, struct err *e);
int kvm_get_lapic(int vcpu_fd, struct kvm_lapic_state *arg, struct err *e);
int kvm_set_lapic(int vcpu_fd, const struct kvm_lapic_state *arg, struct err *e);
int kvm_get_mp_state(int vcpu_fd, struct kvm_mp_state *arg, struct err *e);
int kvm_set_mp_state(int vcpu_fd, const struct kvm_mp_state *arg, struct err *e);
int kvm_get_vcpu_events(int vcpu_fd, struct kvm_vcpu_events *arg, struct err *e);
int kvm_set_vcpu_events(int vcpu_fd, const struct kvm_vcpu_events *arg, struct err *e);
int kvm_get_debugregs(int vcpu_fd, struct kvm_debugregs *arg, struct err *e);
int kvm_set_debugregs(int vcpu_fd, const struct kvm_debugregs *arg, struct err *e);
int kvm_get_nested_state(int vcpu_fd, struct kvm_nested_state *arg, struct err *e);
int kvm_enable_cap(int fd, const struct kvm_enable_cap *arg, struct err *e);

#endif
