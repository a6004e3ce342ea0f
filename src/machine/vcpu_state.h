/* SPDX-License-Identifier: MIT */
/* All guest-visible state of a vCPU, as structs of ours with tables. */
#ifndef MACHINE_VCPU_STATE_H
#define MACHINE_VCPU_STATE_H

/*
 * DOC: theory of operation
 *
 * KVM hands vCPU state out in a dozen pieces. vcpu_state_get() and vcpu_apic_get() gather
 * them in two structs, "cpu" and "apic"; vcpu_state_set() puts them back in the order in
 * which one piece needs another:
 *
 *   CPUID			by the vCPU's owner; the rest is checked against it
 *   special registers		mode, and the APIC base the LAPIC page depends on
 *   XSAVE area, XCRs, general registers
 *   LAPIC			before the MSRs: the TSC deadline needs its timer mode
 *   TSC frequency and offset, MSRs
 *   events, debug registers, MP state
 *
 * Time: on the boot of the host it was saved on, the TSC offset is kept, so the guest's
 * TSC goes on as if nothing had happened, the pause included. On another one all offsets
 * are corrected by the same number (time_shift.h). The LAPIC's timer count is advanced by
 * the same time, so that a periodic timer keeps its phase.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/time_shift.h"
#include "machine/vcpu_apic.h"
#include "state/vmstate.h"

enum {
	VCPU_MAX_CPUID = 256,
	VCPU_MAX_MSRS = 512,
	VCPU_MAX_XCRS = 16,
	VCPU_MAX_XSAVE = 16384,
};

struct vcpu_cpuid {
	uint32_t function, index, flags;
	uint32_t eax, ebx, ecx, edx;
};

struct vcpu_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint16_t attr; /* type 0-3, s 4, dpl 5-6, p 7, avl 8, l 9, db 10, g 11, unusable 12 */
};

struct vcpu_msr {
	uint64_t index;
	uint64_t value;
};

struct vcpu_xcr {
	uint64_t index;
	uint64_t value;
};

/* Exceptions, interrupts and NMIs on their way into the guest: KVM_GET_VCPU_EVENTS. */
struct vcpu_events {
	uint8_t exception_injected, exception_nr, exception_has_error_code, exception_pending;
	uint32_t exception_error_code;
	uint64_t exception_payload;
	uint8_t exception_has_payload;
	uint8_t interrupt_injected, interrupt_nr, interrupt_soft, interrupt_shadow;
	uint8_t nmi_injected, nmi_pending, nmi_masked;
	uint32_t sipi_vector;
	uint32_t flags;
	uint8_t smi_smm, smi_pending, smi_inside_nmi, smi_latched_init;
	uint8_t triple_fault_pending;
	uint8_t reserved[3]; /* zero */
};

struct vcpu_state {
	uint64_t regs[18];           /* rax rbx rcx rdx rsi rdi rsp rbp r8-r15 rip rflags */
	struct vcpu_segment segs[8]; /* cs ds es fs gs ss tr ldt */
	uint64_t gdt_base, idt_base;
	uint32_t gdt_limit, idt_limit;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t efer, apic_base;
	uint64_t pdptrs[4];
	uint64_t pdptrs_valid;
	uint64_t db[4], dr6, dr7;
	struct vcpu_events events;
	uint32_t mp_state;   /* KVM_MP_STATE_*                              */
	uint32_t tsc_khz;    /* frequency the guest sees                    */
	uint64_t tsc_offset; /* guest TSC minus (scaled) host TSC           */
	uint64_t tsc_saved;  /* (scaled) host TSC when saved                */
	uint32_t nr_xcrs;
	uint32_t nr_msrs;
	uint32_t nr_cpuid;
	uint32_t xsave_size; /* bytes used of xsave                         */
	struct vcpu_xcr xcrs[VCPU_MAX_XCRS];
	struct vcpu_msr msrs[VCPU_MAX_MSRS];
	struct vcpu_cpuid cpuid[VCPU_MAX_CPUID];
	uint8_t xsave[VCPU_MAX_XSAVE]; /* layout as CPUID leaf 0xd says */
};

extern const struct vs_desc vcpu_state_desc;

/* What of the host KVM a vCPU's state access depends on; found out once per VM. */
struct vcpu_caps {
	uint32_t xsave_size;
	uint32_t apic_bus_ns;
	uint32_t tsc_khz; /* of a vCPU that nobody has set it for: the host's */
	bool has_xsave2, has_xcrs, has_sregs2, has_debugregs, has_nested, has_tsc_offset;
	bool has_triple_fault;
	uint8_t reserved; /* zero */
	uint32_t nr_msrs;
	uint32_t msrs[VCPU_MAX_MSRS]; /* those that are state and can be read here */
};

/* For an image that adopts the VM and cannot ask. */
extern const struct vs_desc vcpu_caps_desc;

/* Asks KVM, with the first vCPU of the VM at hand; a vCPU that was not run yet. */
int vcpu_caps_probe(struct vcpu_caps *caps, int kvm_fd, int vm_fd, int vcpu_fd, struct err *e);

/*
 * Reads everything but the CPUID table, which the vCPU's owner keeps, and the LAPIC.
 * Own thread of the vCPU, not in the guest, no instruction half done. -EBUSY if the guest
 * runs a guest of its own, which cannot be moved.
 */
int vcpu_state_get(int vcpu_fd, const struct vcpu_caps *caps, struct vcpu_state *s, struct err *e);

/*
 * The guest's TSC counts from 0 since the host's was @host_tsc, which is one value for all
 * vCPUs of a machine, so that they agree. Own thread of the vCPU.
 */
int vcpu_tsc_reset(int vcpu_fd, const struct vcpu_caps *caps, uint64_t host_tsc, struct err *e);

/*
 * Reads the clocks of this host for a guest whose TSC runs at @khz, which is set: the TSC as
 * KVM scales it. Own thread of the vCPU.
 */
int vcpu_tsc_read(int vcpu_fd, const struct vcpu_caps *caps, uint32_t khz, struct tsc_reading *out,
		  struct err *e);

/*
 * Sets everything but the CPUID table, the LAPIC included. Own thread of the vCPU.
 * @time: by which time goes on since the state was saved; NULL (reset): TSC and timer count
 * are left alone. An MSR that KVM refuses fails the call by name unless it holds the value
 * already. @fresh: what the vCPU was made with and has still, so that it need not be set;
 * NULL: not known. After a failure the vCPU must not run.
 */
int vcpu_state_set(int vcpu_fd, const struct vcpu_caps *caps, const struct vcpu_state *s,
		   const struct vcpu_apic_state *a, const struct time_shift *time,
		   const struct vcpu_state *fresh, struct err *e);

#endif
