/* SPDX-License-Identifier: MIT */
/* A bare VM with one vCPU and a guest that watches the TSC: KVM alone, nothing of Baton. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "floor_vm.h"

enum {
	/* In guest RAM. */
	AT_PML4 = 0x1000,
	AT_PDPT = 0x2000,
	AT_PD = 0x3000,
	AT_TSS = 0x4000,
	AT_CODE = 0x7000,
	AT_STACK = 0x9000,
	AT_PAGE = 0xa000,

	TSS_IO_BITMAP = 0x68,
	TSS_LIMIT = TSS_IO_BITMAP + 8192,
	PAGE_TABLE_BITS = 7, /* present, writable, user */
	LARGE_PAGE = 1 << 7,
	CR0_PE = 1 << 0,
	CR4_PAE = 1 << 5,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	MSR_TSC = 0x10,
	TSS_ADDR = 0x7fffd000 >> 1,
};

#define CR0_PG (1u << 31)

extern const uint8_t floor_guest[], floor_guest_end[];

/* rdi: struct floor_page. */
__asm__(".pushsection .rodata\n"
	"floor_guest:\n"
	"1:	rdtsc\n"
	"	shl $32, %rdx\n"
	"	or %rdx, %rax\n"
	"	mov %rax, %rcx\n"
	"	sub 8(%rdi), %rcx\n"
	"	mov %rax, 8(%rdi)\n"
	"	cmp 16(%rdi), %rcx\n"
	"	jbe 2f\n"
	"	mov %rcx, 16(%rdi)\n"
	"2:	incq (%rdi)\n"
	"	cmpq $0, 24(%rdi)\n"
	"	je 1b\n"
	"	movq $0, 24(%rdi)\n"
	"	mov $0xe9, %edx\n"
	"	out %al, (%dx)\n"
	"	jmp 1b\n"
	"floor_guest_end:\n"
	".popsection\n");

void floor_need(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

#define NEED_IOCTL(fd, request, arg) floor_need(ioctl(fd, request, arg) >= 0, #request)

int floor_open(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	floor_need(fd >= 0, "/dev/kvm");
	return fd;
}

int floor_new_vm(int kvm)
{
	int fd = ioctl(kvm, KVM_CREATE_VM, 0);

	floor_need(fd >= 0, "KVM_CREATE_VM");
	return fd;
}

void floor_new_irqchip(int vm)
{
	NEED_IOCTL(vm, KVM_CREATE_IRQCHIP, 0);
}

int floor_new_vcpu(int vm)
{
	int fd = ioctl(vm, KVM_CREATE_VCPU, 0);

	floor_need(fd >= 0, "KVM_CREATE_VCPU");
	return fd;
}

void floor_set_slot(int vm, unsigned int slot, uint64_t gpa, void *host, uint64_t bytes)
{
	const struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)host,
	};

	NEED_IOCTL(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static void set_cpuid(struct floor_vm *v)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	floor_need(c != NULL, "CPUID");
	c->nent = 256;
	NEED_IOCTL(v->kvm, KVM_GET_SUPPORTED_CPUID, c);
	NEED_IOCTL(v->vcpu, KVM_SET_CPUID2, c);
	free(c);
}

static int tsc_offset(const struct floor_vm *v, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)offset,
	};

	return ioctl(v->vcpu, request, &attr);
}

/* One MSR: read, and set to the same. */
static int msr_works(const struct floor_vm *v, uint32_t index)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = { .head.nmsrs = 1, .entry.index = index };

	return ioctl(v->vcpu, KVM_GET_MSRS, &one) == 1 && ioctl(v->vcpu, KVM_SET_MSRS, &one) == 1;
}

static void find_msrs(struct floor_vm *v)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 1024 * sizeof(list->indices[0]));

	floor_need(list != NULL, "the list of MSRs");
	list->nmsrs = 1024;
	NEED_IOCTL(v->kvm, KVM_GET_MSR_INDEX_LIST, list);
	v->nr_msrs = 0;
	for (uint32_t i = 0; i < list->nmsrs && v->nr_msrs < FLOOR_MAX_MSRS; i++)
		if (list->indices[i] != MSR_TSC && msr_works(v, list->indices[i]))
			v->msrs[v->nr_msrs++] = list->indices[i];
	free(list);
}

void floor_vm_create(struct floor_vm *v, uint8_t *ram)
{
	uint64_t ignored;
	int n;

	*v = (struct floor_vm){ .ram = ram };
	v->page = (volatile struct floor_page *)(ram + AT_PAGE);
	v->kvm = floor_open();
	v->vm = floor_new_vm(v->kvm);
	floor_set_slot(v->vm, 0, 0, ram, FLOOR_RAM_BYTES);
	NEED_IOCTL(v->vm, KVM_SET_TSS_ADDR, (unsigned long)TSS_ADDR & ~0xffful);
	floor_new_irqchip(v->vm);
	v->vcpu = floor_new_vcpu(v->vm);
	n = ioctl(v->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	floor_need(n > 0, "KVM_GET_VCPU_MMAP_SIZE");
	v->run_bytes = (size_t)n;
	v->run = mmap(NULL, v->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->vcpu, 0);
	floor_need(v->run != MAP_FAILED, "the vCPU's page");
	set_cpuid(v);
	n = ioctl(v->vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	v->xsave_bytes = n > 0 ? (size_t)n : sizeof(struct kvm_xsave);
	floor_need(v->xsave_bytes <= FLOOR_XSAVE_BYTES, "the size of the XSAVE area");
	v->has_tsc_offset = !tsc_offset(v, KVM_GET_DEVICE_ATTR, &ignored);
	find_msrs(v);
}

void floor_vm_destroy(struct floor_vm *v)
{
	munmap(v->run, v->run_bytes);
	close(v->vcpu);
	close(v->vm);
	close(v->kvm);
}

void floor_write_guest(uint8_t *ram)
{
	uint64_t *pml4 = (uint64_t *)(ram + AT_PML4);
	uint64_t *pdpt = (uint64_t *)(ram + AT_PDPT);
	uint64_t *pd = (uint64_t *)(ram + AT_PD);
	uint16_t io_bitmap = TSS_IO_BITMAP;

	memset(ram, 0, FLOOR_RAM_BYTES);
	pml4[0] = AT_PDPT | PAGE_TABLE_BITS;
	pdpt[0] = AT_PD | PAGE_TABLE_BITS;
	pd[0] = LARGE_PAGE | PAGE_TABLE_BITS;
	/* All ports are allowed: the bitmap is zero, but for the byte behind it. */
	memcpy(ram + AT_TSS + 0x66, &io_bitmap, sizeof(io_bitmap));
	ram[AT_TSS + TSS_LIMIT] = 0xff;
	memcpy(ram + AT_CODE, floor_guest, (size_t)(floor_guest_end - floor_guest));
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, int is_code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.dpl = 3,
		.db = !is_code,
		.s = 1,
		.l = is_code,
		.g = 1,
	};
}

void floor_start(struct floor_vm *v)
{
	struct kvm_regs regs = {
		.rip = AT_CODE,
		.rsp = AT_STACK,
		.rdi = AT_PAGE,
		.rflags = 2,
	};
	struct kvm_sregs s;

	NEED_IOCTL(v->vcpu, KVM_GET_SREGS, &s);
	s.cs = segment(0x33, 0xb, 1);
	s.ds = s.es = s.fs = s.gs = s.ss = segment(0x2b, 0x3, 0);
	s.tr = (struct kvm_segment){
		.base = AT_TSS,
		.limit = TSS_LIMIT,
		.selector = 0x40,
		.type = 0xb,
		.present = 1,
	};
	s.cr0 = CR0_PE | CR0_PG;
	s.cr3 = AT_PML4;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA;
	NEED_IOCTL(v->vcpu, KVM_SET_SREGS, &s);
	NEED_IOCTL(v->vcpu, KVM_SET_REGS, &regs);
}

size_t floor_state_bytes(const struct floor_vm *v)
{
	return offsetof(struct floor_state, xsave) + v->xsave_bytes;
}

void floor_get(struct floor_vm *v, struct floor_state *s)
{
	s->msrs_head.nmsrs = v->nr_msrs;
	for (uint32_t i = 0; i < v->nr_msrs; i++)
		s->msrs[i].index = v->msrs[i];
	NEED_IOCTL(v->vcpu, KVM_GET_MP_STATE, &s->mp);
	NEED_IOCTL(v->vcpu, KVM_GET_VCPU_EVENTS, &s->events);
	NEED_IOCTL(v->vcpu, KVM_GET_REGS, &s->regs);
	NEED_IOCTL(v->vcpu, KVM_GET_SREGS, &s->sregs);
	NEED_IOCTL(v->vcpu, KVM_GET_DEBUGREGS, &s->debugregs);
	NEED_IOCTL(v->vcpu,
		   v->xsave_bytes > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE,
		   s->xsave);
	NEED_IOCTL(v->vcpu, KVM_GET_XCRS, &s->xcrs);
	NEED_IOCTL(v->vcpu, KVM_GET_LAPIC, &s->lapic);
	if (v->has_tsc_offset)
		floor_need(!tsc_offset(v, KVM_GET_DEVICE_ATTR, &s->tsc_offset), "the TSC offset");
	floor_need(ioctl(v->vcpu, KVM_GET_MSRS, &s->msrs_head) == (int)v->nr_msrs, "KVM_GET_MSRS");
}

void floor_set(struct floor_vm *v, struct floor_state *s)
{
	NEED_IOCTL(v->vcpu, KVM_SET_SREGS, &s->sregs);
	NEED_IOCTL(v->vcpu, KVM_SET_XSAVE, s->xsave);
	NEED_IOCTL(v->vcpu, KVM_SET_XCRS, &s->xcrs);
	NEED_IOCTL(v->vcpu, KVM_SET_REGS, &s->regs);
	NEED_IOCTL(v->vcpu, KVM_SET_LAPIC, &s->lapic);
	if (v->has_tsc_offset)
		floor_need(!tsc_offset(v, KVM_SET_DEVICE_ATTR, &s->tsc_offset), "the TSC offset");
	floor_need(ioctl(v->vcpu, KVM_SET_MSRS, &s->msrs_head) == (int)s->msrs_head.nmsrs,
		   "KVM_SET_MSRS");
	NEED_IOCTL(v->vcpu, KVM_SET_VCPU_EVENTS, &s->events);
	NEED_IOCTL(v->vcpu, KVM_SET_DEBUGREGS, &s->debugregs);
	NEED_IOCTL(v->vcpu, KVM_SET_MP_STATE, &s->mp);
}

int floor_run(struct floor_vm *v)
{
	if (ioctl(v->vcpu, KVM_RUN, 0) < 0) {
		floor_need(errno == EINTR, "KVM_RUN");
		return 1;
	}
	if (v->run->exit_reason == KVM_EXIT_IO && v->run->io.port == FLOOR_PORT)
		return 0;
	fprintf(stderr, "floor: KVM_RUN ended with exit reason %u\n", v->run->exit_reason);
	exit(1);
}
