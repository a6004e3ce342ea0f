/* SPDX-License-Identifier: MIT */
/* KVM, one function per ioctl. Kernel documentation: Documentation/virt/kvm/api.rst. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/util.h"
#include "host/kvm.h"

static int do_ioctl(int fd, unsigned long request, const char *name, const void *arg, struct err *e)
{
	int r;

	do {
		r = ioctl(fd, request, arg);
	} while (r < 0 && (errno == EINTR || errno == EAGAIN));
	return r < 0 ? err_set_errno(e, "%s", name) : r;
}

#define DO_IOCTL(fd, request, arg, e) do_ioctl(fd, request, #request, (const void *)(arg), e)
#define VALUE(v)                      ((const void *)(uintptr_t)(v))

int kvm_open(struct err *e)
{
	AUTO_CLOSE int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return err_set_errno(e, "cannot open /dev/kvm");
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return err_set(e, ENODEV, "/dev/kvm has API version %d, Baton needs %d", version,
			       KVM_API_VERSION);
	return take_fd(&fd);
}

int kvm_check_extension(int fd, int cap)
{
	int r = ioctl(fd, KVM_CHECK_EXTENSION, cap);

	return r < 0 ? 0 : r;
}

int kvm_create_vm(int kvm_fd, struct err *e)
{
	return DO_IOCTL(kvm_fd, KVM_CREATE_VM, VALUE(0), e);
}

int kvm_create_vcpu(int vm_fd, unsigned int id, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_CREATE_VCPU, VALUE(id), e);
}

int kvm_vcpu_mmap_size(int kvm_fd, struct err *e)
{
	return DO_IOCTL(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, VALUE(0), e);
}

int kvm_map_run(int vcpu_fd, size_t size, struct kvm_run **out, struct err *e)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, 0);

	if (p == MAP_FAILED)
		return err_set_errno(e, "cannot map the run area of a vCPU");
	*out = p;
	return 0;
}

void kvm_unmap_run(struct kvm_run *run, size_t size)
{
	munmap(run, size);
}

int kvm_run(int vcpu_fd)
{
	return ioctl(vcpu_fd, KVM_RUN, 0) < 0 ? -errno : 0;
}

int kvm_set_signal_mask(int vcpu_fd, const sigset_t *set, struct err *e)
{
	/* The kernel's set has 64 bits, the first of the C library's. */
	struct {
		struct kvm_signal_mask head;
		uint8_t bits[8];
	} mask = { .head.len = sizeof(mask.bits) };

	memcpy(mask.bits, set, sizeof(mask.bits));
	return DO_IOCTL(vcpu_fd, KVM_SET_SIGNAL_MASK, &mask, e);
}

int kvm_create_irqchip(int vm_fd, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_CREATE_IRQCHIP, VALUE(0), e);
}

int kvm_set_tss_addr(int vm_fd, uint64_t gpa, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_SET_TSS_ADDR, VALUE(gpa), e);
}

void kvm_irq_line(int vm_fd, unsigned int gsi, int level)
{
	struct kvm_irq_level line = { .irq = gsi, .level = (uint32_t)level };
	struct err ignored;

	DO_IOCTL(vm_fd, KVM_IRQ_LINE, &line, &ignored);
}

int kvm_ioeventfd(int vm_fd, uint64_t gpa, int fd, bool on, struct err *e)
{
	/* No length: any, and KVM need not look at the instruction. */
	struct kvm_ioeventfd arg = {
		.addr = gpa,
		.fd = fd,
		.flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN,
	};

	return DO_IOCTL(vm_fd, KVM_IOEVENTFD, &arg, e);
}

void kvm_signal_msi(int vm_fd, uint64_t addr, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)addr,
		.address_hi = (uint32_t)(addr >> 32),
		.data = data,
	};
	struct err ignored;

	DO_IOCTL(vm_fd, KVM_SIGNAL_MSI, &msi, &ignored);
}

int kvm_get_tsc_khz(int vcpu_fd, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_TSC_KHZ, VALUE(0), e);
}

int kvm_set_tsc_khz(int vcpu_fd, uint32_t khz, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_TSC_KHZ, VALUE(khz), e);
}

int kvm_get_tsc_offset(int vcpu_fd, uint64_t *offset, struct err *e)
{
	uint64_t v = 0;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&v,
	};
	int r = DO_IOCTL(vcpu_fd, KVM_GET_DEVICE_ATTR, &attr, e);

	if (!r)
		*offset = v;
	return r;
}

int kvm_set_tsc_offset(int vcpu_fd, uint64_t offset, struct err *e)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&offset,
	};

	return DO_IOCTL(vcpu_fd, KVM_SET_DEVICE_ATTR, &attr, e);
}

void kvm_kvmclock_ctrl(int vcpu_fd)
{
	struct err ignored;

	DO_IOCTL(vcpu_fd, KVM_KVMCLOCK_CTRL, VALUE(0), &ignored);
}

int kvm_get_msrs(int vcpu_fd, struct kvm_msrs *msrs)
{
	int r = ioctl(vcpu_fd, KVM_GET_MSRS, msrs);

	return r < 0 ? -errno : r;
}

int kvm_set_msrs(int vcpu_fd, const struct kvm_msrs *msrs)
{
	int r = ioctl(vcpu_fd, KVM_SET_MSRS, msrs);

	return r < 0 ? -errno : r;
}

int kvm_get_supported_cpuid(int kvm_fd, struct kvm_cpuid2 **out, struct err *e)
{
	for (uint32_t n = 128; n <= 4096; n *= 2) {
		AUTO_FREE struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + n * sizeof(c->entries[0]));

		if (!c)
			return err_set(e, ENOMEM, "no memory for the CPUID table");
		c->nent = n;
		if (!ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, c)) {
			*out = TAKE_PTR(c);
			return 0;
		}
		if (errno != E2BIG)
			return err_set_errno(e, "KVM_GET_SUPPORTED_CPUID");
	}
	return err_set(e, E2BIG, "KVM_GET_SUPPORTED_CPUID reports more than 4096 entries");
}

int kvm_get_msr_index_list(int kvm_fd, struct kvm_msr_list **out, struct err *e)
{
	struct kvm_msr_list probe = { .nmsrs = 0 };
	AUTO_FREE struct kvm_msr_list *l = NULL;

	/* The first call fails with E2BIG and says how many there are. */
	if (ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, &probe) < 0 && errno != E2BIG)
		return err_set_errno(e, "KVM_GET_MSR_INDEX_LIST");
	l = calloc(1, sizeof(*l) + probe.nmsrs * sizeof(l->indices[0]));
	if (!l)
		return err_set(e, ENOMEM, "no memory for the list of MSRs");
	l->nmsrs = probe.nmsrs;
	if (ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, l) < 0)
		return err_set_errno(e, "KVM_GET_MSR_INDEX_LIST");
	*out = TAKE_PTR(l);
	return 0;
}

int kvm_get_xsave2(int vcpu_fd, void *buf, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_XSAVE2, buf, e);
}

bool kvm_can_pre_fault(int vm_fd)
{
	return kvm_check_extension(vm_fd, KVM_CAP_PRE_FAULT_MEMORY) > 0;
}

int kvm_pre_fault_memory(int vcpu_fd, uint64_t gpa, uint64_t size, struct err *e)
{
	struct kvm_pre_fault_memory range = { .gpa = gpa, .size = size };

	/* It says by @range how far it came. */
	while (range.size) {
		uint64_t left = range.size;
		int r = ioctl(vcpu_fd, KVM_PRE_FAULT_MEMORY, &range);

		if (r < 0 && errno != EINTR && errno != EAGAIN)
			return err_set_errno(e, "KVM_PRE_FAULT_MEMORY at %#llx",
					     (unsigned long long)range.gpa);
		if (r == 0 && range.size == left)
			return err_set(e, EIO, "KVM_PRE_FAULT_MEMORY gets nowhere");
	}
	return 0;
}

int kvm_get_xsave(int vcpu_fd, struct kvm_xsave *buf, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_XSAVE, buf, e);
}

int kvm_set_xsave(int vcpu_fd, const void *buf, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_XSAVE, buf, e);
}

int kvm_set_user_memory_region(int vm_fd, const struct kvm_userspace_memory_region *arg,
			       struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_SET_USER_MEMORY_REGION, arg, e);
}

int kvm_create_pit2(int vm_fd, const struct kvm_pit_config *arg, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_CREATE_PIT2, arg, e);
}

int kvm_set_identity_map_addr(int vm_fd, const uint64_t *arg, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, arg, e);
}

int kvm_get_irqchip(int vm_fd, struct kvm_irqchip *arg, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_GET_IRQCHIP, arg, e);
}

int kvm_set_irqchip(int vm_fd, const struct kvm_irqchip *arg, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_SET_IRQCHIP, arg, e);
}

int kvm_get_pit2(int vm_fd, struct kvm_pit_state2 *arg, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_GET_PIT2, arg, e);
}

int kvm_set_pit2(int vm_fd, const struct kvm_pit_state2 *arg, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_SET_PIT2, arg, e);
}

int kvm_get_clock(int vm_fd, struct kvm_clock_data *arg, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_GET_CLOCK, arg, e);
}

int kvm_set_clock(int vm_fd, const struct kvm_clock_data *arg, struct err *e)
{
	return DO_IOCTL(vm_fd, KVM_SET_CLOCK, arg, e);
}

int kvm_set_cpuid2(int vcpu_fd, const struct kvm_cpuid2 *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_CPUID2, arg, e);
}

int kvm_get_regs(int vcpu_fd, struct kvm_regs *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_REGS, arg, e);
}

int kvm_set_regs(int vcpu_fd, const struct kvm_regs *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_REGS, arg, e);
}

int kvm_get_sregs(int vcpu_fd, struct kvm_sregs *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_SREGS, arg, e);
}

int kvm_set_sregs(int vcpu_fd, const struct kvm_sregs *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_SREGS, arg, e);
}

int kvm_get_sregs2(int vcpu_fd, struct kvm_sregs2 *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_SREGS2, arg, e);
}

int kvm_set_sregs2(int vcpu_fd, const struct kvm_sregs2 *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_SREGS2, arg, e);
}

int kvm_get_xcrs(int vcpu_fd, struct kvm_xcrs *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_XCRS, arg, e);
}

int kvm_set_xcrs(int vcpu_fd, const struct kvm_xcrs *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_XCRS, arg, e);
}

int kvm_get_lapic(int vcpu_fd, struct kvm_lapic_state *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_LAPIC, arg, e);
}

int kvm_set_lapic(int vcpu_fd, const struct kvm_lapic_state *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_LAPIC, arg, e);
}

int kvm_get_mp_state(int vcpu_fd, struct kvm_mp_state *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_MP_STATE, arg, e);
}

int kvm_set_mp_state(int vcpu_fd, const struct kvm_mp_state *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_MP_STATE, arg, e);
}

int kvm_get_vcpu_events(int vcpu_fd, struct kvm_vcpu_events *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_VCPU_EVENTS, arg, e);
}

int kvm_set_vcpu_events(int vcpu_fd, const struct kvm_vcpu_events *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_VCPU_EVENTS, arg, e);
}

int kvm_get_debugregs(int vcpu_fd, struct kvm_debugregs *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_DEBUGREGS, arg, e);
}

int kvm_set_debugregs(int vcpu_fd, const struct kvm_debugregs *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_SET_DEBUGREGS, arg, e);
}

int kvm_get_nested_state(int vcpu_fd, struct kvm_nested_state *arg, struct err *e)
{
	return DO_IOCTL(vcpu_fd, KVM_GET_NESTED_STATE, arg, e);
}

int kvm_enable_cap(int fd, const struct kvm_enable_cap *arg, struct err *e)
{
	return DO_IOCTL(fd, KVM_ENABLE_CAP, arg, e);
}
