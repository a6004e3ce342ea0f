/* SPDX-License-Identifier: MIT */
/* All guest-visible state of a vCPU, as structs of ours with tables. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/kvm.h"
#include "machine/vcpu_fresh.h"
#include "machine/vcpu_state.h"

enum {
	MSR_TSC = 0x10,
	MSR_APICBASE = 0x1b,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_KVM_WALL_CLOCK = 0x11,
	MSR_KVM_WALL_CLOCK_NEW = 0x4b564d00,
	MSR_MTRR_PHYS0 = 0x200,
	MSR_MTRR_DEF = 0x2ff,
	MSR_MC0_CTL = 0x400,
	MC_BANKS = 32,
};

static const struct vs_field cpuid_fields[] = {
	VS_FIELD(struct vcpu_cpuid, function), VS_FIELD(struct vcpu_cpuid, index),
	VS_FIELD(struct vcpu_cpuid, flags),    VS_FIELD(struct vcpu_cpuid, eax),
	VS_FIELD(struct vcpu_cpuid, ebx),      VS_FIELD(struct vcpu_cpuid, ecx),
	VS_FIELD(struct vcpu_cpuid, edx),      VS_END,
};

static const struct vs_desc cpuid_desc = {
	.name = "cpu/cpuid-entry",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vcpu_cpuid),
	.fields = cpuid_fields,
};

static const struct vs_field segment_fields[] = {
	VS_FIELD(struct vcpu_segment, base),
	VS_FIELD(struct vcpu_segment, limit),
	VS_FIELD(struct vcpu_segment, selector),
	VS_FIELD_RANGE(struct vcpu_segment, attr, 0, 0x1fff),
	VS_END,
};

static const struct vs_desc segment_desc = {
	.name = "cpu/segment",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vcpu_segment),
	.fields = segment_fields,
};

static const struct vs_field msr_fields[] = {
	VS_FIELD_RANGE(struct vcpu_msr, index, 0, UINT32_MAX),
	VS_FIELD(struct vcpu_msr, value),
	VS_END,
};

static const struct vs_desc msr_desc = {
	.name = "cpu/msr",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vcpu_msr),
	.fields = msr_fields,
};

static const struct vs_field xcr_fields[] = {
	VS_FIELD_RANGE(struct vcpu_xcr, index, 0, UINT32_MAX),
	VS_FIELD(struct vcpu_xcr, value),
	VS_END,
};

static const struct vs_desc xcr_desc = {
	.name = "cpu/xcr",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vcpu_xcr),
	.fields = xcr_fields,
};

static const struct vs_field events_fields[] = {
	VS_FIELD(struct vcpu_events, exception_injected),
	VS_FIELD(struct vcpu_events, exception_nr),
	VS_FIELD(struct vcpu_events, exception_has_error_code),
	VS_FIELD(struct vcpu_events, exception_pending),
	VS_FIELD(struct vcpu_events, exception_error_code),
	VS_FIELD(struct vcpu_events, exception_payload),
	VS_FIELD(struct vcpu_events, exception_has_payload),
	VS_FIELD(struct vcpu_events, interrupt_injected),
	VS_FIELD(struct vcpu_events, interrupt_nr),
	VS_FIELD(struct vcpu_events, interrupt_soft),
	VS_FIELD(struct vcpu_events, interrupt_shadow),
	VS_FIELD(struct vcpu_events, nmi_injected),
	VS_FIELD(struct vcpu_events, nmi_pending),
	VS_FIELD(struct vcpu_events, nmi_masked),
	VS_FIELD(struct vcpu_events, sipi_vector),
	VS_FIELD(struct vcpu_events, flags),
	VS_FIELD(struct vcpu_events, smi_smm),
	VS_FIELD(struct vcpu_events, smi_pending),
	VS_FIELD(struct vcpu_events, smi_inside_nmi),
	VS_FIELD(struct vcpu_events, smi_latched_init),
	VS_FIELD(struct vcpu_events, triple_fault_pending),
	VS_BUFFER(struct vcpu_events, reserved),
	VS_END,
};

static const struct vs_desc events_desc = {
	.name = "cpu/events",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vcpu_events),
	.fields = events_fields,
};

static const struct vs_field state_fields[] = {
	VS_ARRAY(struct vcpu_state, regs),
	VS_STRUCT_ARRAY(struct vcpu_state, segs, &segment_desc),
	VS_FIELD(struct vcpu_state, gdt_base),
	VS_FIELD(struct vcpu_state, idt_base),
	VS_FIELD(struct vcpu_state, gdt_limit),
	VS_FIELD(struct vcpu_state, idt_limit),
	VS_FIELD(struct vcpu_state, cr0),
	VS_FIELD(struct vcpu_state, cr2),
	VS_FIELD(struct vcpu_state, cr3),
	VS_FIELD(struct vcpu_state, cr4),
	VS_FIELD(struct vcpu_state, cr8),
	VS_FIELD(struct vcpu_state, efer),
	VS_FIELD(struct vcpu_state, apic_base),
	VS_ARRAY(struct vcpu_state, pdptrs),
	VS_FIELD_RANGE(struct vcpu_state, pdptrs_valid, 0, 1),
	VS_ARRAY(struct vcpu_state, db),
	VS_FIELD(struct vcpu_state, dr6),
	VS_FIELD(struct vcpu_state, dr7),
	VS_STRUCT(struct vcpu_state, events, &events_desc),
	VS_FIELD(struct vcpu_state, mp_state),
	VS_FIELD(struct vcpu_state, tsc_khz),
	VS_FIELD(struct vcpu_state, tsc_offset),
	VS_FIELD(struct vcpu_state, tsc_saved),
	VS_FIELD_RANGE(struct vcpu_state, nr_xcrs, 0, VCPU_MAX_XCRS),
	VS_FIELD_RANGE(struct vcpu_state, nr_msrs, 0, VCPU_MAX_MSRS),
	VS_FIELD_RANGE(struct vcpu_state, nr_cpuid, 0, VCPU_MAX_CPUID),
	VS_FIELD_RANGE(struct vcpu_state, xsave_size, 0, VCPU_MAX_XSAVE),
	VS_STRUCT_ARRAY_VAR(struct vcpu_state, xcrs, nr_xcrs, &xcr_desc),
	VS_STRUCT_ARRAY_VAR(struct vcpu_state, msrs, nr_msrs, &msr_desc),
	VS_STRUCT_ARRAY_VAR(struct vcpu_state, cpuid, nr_cpuid, &cpuid_desc),
	VS_BUFFER_VAR(struct vcpu_state, xsave, xsave_size),
	VS_END,
};

const struct vs_desc vcpu_state_desc = {
	.name = "cpu",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vcpu_state),
	.fields = state_fields,
};

static const struct vs_field caps_fields[] = {
	VS_FIELD_RANGE(struct vcpu_caps, xsave_size, 0, VCPU_MAX_XSAVE),
	VS_FIELD_RANGE(struct vcpu_caps, apic_bus_ns, 1, 1000000),
	VS_FIELD(struct vcpu_caps, tsc_khz),
	VS_FIELD(struct vcpu_caps, has_xsave2),
	VS_FIELD(struct vcpu_caps, has_xcrs),
	VS_FIELD(struct vcpu_caps, has_sregs2),
	VS_FIELD(struct vcpu_caps, has_debugregs),
	VS_FIELD(struct vcpu_caps, has_nested),
	VS_FIELD(struct vcpu_caps, has_tsc_offset),
	VS_FIELD(struct vcpu_caps, has_triple_fault),
	VS_FIELD(struct vcpu_caps, reserved),
	VS_FIELD_RANGE(struct vcpu_caps, nr_msrs, 0, VCPU_MAX_MSRS),
	VS_ARRAY(struct vcpu_caps, msrs),
	VS_END,
};

const struct vs_desc vcpu_caps_desc = {
	.name = "vcpu-caps",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vcpu_caps),
	.fields = caps_fields,
};

/* MSRs that are state but missing from KVM's list: MTRRs and machine-check banks. */
static size_t extra_msrs(uint32_t *out)
{
	static const uint16_t fixed_mtrrs[] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
						0x26b, 0x26c, 0x26d, 0x26e, 0x26f };
	size_t n = 0;

	for (uint32_t i = 0; i < 16; i++)
		out[n++] = MSR_MTRR_PHYS0 + i;
	for (size_t i = 0; i < ARRAY_SIZE(fixed_mtrrs); i++)
		out[n++] = fixed_mtrrs[i];
	out[n++] = MSR_MTRR_DEF;
	for (uint32_t i = 0; i < MC_BANKS * 4; i++)
		out[n++] = MSR_MC0_CTL + i;
	return n;
}

enum {
	NR_EXTRA_MSRS = 16 + 11 + 1 + MC_BANKS * 4
};

enum {
	MSRS_PER_CALL = 255 /* KVM refuses more in one call */
};

struct msr_block {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[MSRS_PER_CALL];
};

/* Reads MSRs from the first on: how many, up to one that cannot be read, or -errno. */
static int msrs_read(int vcpu_fd, const uint32_t *indices, size_t n, struct msr_block *out)
{
	out->head = (struct kvm_msrs){ .nmsrs = (uint32_t)MIN(n, (size_t)MSRS_PER_CALL) };
	for (uint32_t i = 0; i < out->head.nmsrs; i++)
		out->entries[i] = (struct kvm_msr_entry){ .index = indices[i] };
	return kvm_get_msrs(vcpu_fd, &out->head);
}

static bool msr_readable(int vcpu_fd, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = { .head.nmsrs = 1, .entry.index = index };

	if (kvm_get_msrs(vcpu_fd, &one.head) != 1)
		return false;
	*value = one.entry.data;
	return true;
}

/*
 * The TSC is carried by its offset, the APIC base with the special registers. The
 * wall clock MSRs are requests to write the time to an address in guest RAM, done
 * when they are set; to repeat that later would write into memory that the guest
 * may use for something else by now.
 */
static bool is_no_state(uint32_t index)
{
	return index == MSR_TSC || index == MSR_APICBASE || index == MSR_KVM_WALL_CLOCK ||
	       index == MSR_KVM_WALL_CLOCK_NEW;
}

/* Those of KVM's list and of ours that are state, each once; @out has room for both lists. */
static size_t list_msrs(const struct kvm_msr_list *list, uint32_t *out)
{
	uint32_t extra[NR_EXTRA_MSRS];
	size_t nr_extra = extra_msrs(extra), n = 0;

	for (size_t i = 0; i < list->nmsrs + nr_extra; i++) {
		uint32_t index = i < list->nmsrs ? list->indices[i] : extra[i - list->nmsrs];
		bool known = is_no_state(index);

		for (size_t j = 0; j < n && !known; j++)
			known = out[j] == index;
		if (!known)
			out[n++] = index;
	}
	return n;
}

static int add_msr(struct vcpu_caps *caps, uint32_t index, struct err *e)
{
	if (caps->nr_msrs == VCPU_MAX_MSRS - 1)
		return err_set(e, E2BIG, "KVM has more than %d MSRs of vCPU state", VCPU_MAX_MSRS);
	caps->msrs[caps->nr_msrs++] = index;
	return 0;
}

/*
 * Reads as many as it can with each call: one by one, some hundred calls were a good part of
 * a start, and of the pause of an exec. The TSC deadline goes last: it is armed by being set.
 */
static int probe_msrs(struct vcpu_caps *caps, int kvm_fd, int vcpu_fd, struct err *e)
{
	AUTO_FREE struct kvm_msr_list *list = NULL;
	AUTO_FREE uint32_t *msrs = NULL;
	bool deadline = false;
	struct msr_block block;
	size_t n;
	int r;

	r = kvm_get_msr_index_list(kvm_fd, &list, e);
	if (r)
		return r;
	msrs = calloc(list->nmsrs + NR_EXTRA_MSRS, sizeof(*msrs));
	if (!msrs)
		return err_set(e, ENOMEM, "no memory for the list of MSRs");
	n = list_msrs(list, msrs);
	caps->nr_msrs = 0;
	for (size_t done = 0; done < n;) {
		int got = msrs_read(vcpu_fd, msrs + done, n - done, &block);

		if (got < 0)
			return err_set_code(e, -got, "KVM_GET_MSRS");
		for (int i = 0; i < got && !r; i++) {
			if (msrs[done + (size_t)i] == MSR_TSC_DEADLINE)
				deadline = true;
			else
				r = add_msr(caps, msrs[done + (size_t)i], e);
		}
		if (r)
			return r;
		/* The one after them cannot be read, if the call did not end with them. */
		done += (size_t)got + ((uint32_t)got < block.head.nmsrs);
	}
	if (deadline)
		caps->msrs[caps->nr_msrs++] = MSR_TSC_DEADLINE;
	return 0;
}

int vcpu_caps_probe(struct vcpu_caps *caps, int kvm_fd, int vm_fd, int vcpu_fd, struct err *e)
{
	uint64_t offset;
	struct err ignored;
	int xsave2 = kvm_check_extension(vm_fd, KVM_CAP_XSAVE2);
	int bus_ns = kvm_check_extension(vm_fd, KVM_CAP_X86_APIC_BUS_CYCLES_NS);
	int khz = kvm_get_tsc_khz(vcpu_fd, &ignored);

	*caps = (struct vcpu_caps){ 0 };
	caps->has_xsave2 = xsave2 > 0;
	caps->xsave_size = xsave2 > 0 ? (uint32_t)xsave2 : sizeof(struct kvm_xsave);
	/* 1 ns a cycle unless the kernel lets it be set, and then it says what it is. */
	caps->apic_bus_ns = bus_ns > 0 ? (uint32_t)bus_ns : 1;
	caps->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
	caps->has_xcrs = kvm_check_extension(kvm_fd, KVM_CAP_XCRS) > 0;
	caps->has_sregs2 = kvm_check_extension(kvm_fd, KVM_CAP_SREGS2) > 0;
	caps->has_debugregs = kvm_check_extension(kvm_fd, KVM_CAP_DEBUGREGS) > 0;
	caps->has_nested = kvm_check_extension(kvm_fd, KVM_CAP_NESTED_STATE) > 0;
	caps->has_triple_fault = kvm_check_extension(vm_fd, KVM_CAP_X86_TRIPLE_FAULT_EVENT) > 0;
	caps->has_tsc_offset = !kvm_get_tsc_offset(vcpu_fd, &offset, &ignored);
	if (kvm_check_extension(kvm_fd, KVM_CAP_XSAVE) <= 0)
		return err_set(e, ENOTSUP, "this KVM cannot save FPU state (no KVM_CAP_XSAVE)");
	if (kvm_check_extension(kvm_fd, KVM_CAP_IMMEDIATE_EXIT) <= 0)
		return err_set(e, ENOTSUP,
			       "this KVM cannot stop a vCPU reliably (no KVM_CAP_IMMEDIATE_EXIT)");
	if (caps->xsave_size > VCPU_MAX_XSAVE)
		return err_set(e, ENOTSUP,
			       "an XSAVE area of %u bytes is larger than Baton knows (%d)",
			       caps->xsave_size, VCPU_MAX_XSAVE);
	return probe_msrs(caps, kvm_fd, vcpu_fd, e);
}

static void segment_get(struct vcpu_segment *s, const struct kvm_segment *k)
{
	s->base = k->base;
	s->limit = k->limit;
	s->selector = k->selector;
	s->attr = (uint16_t)((k->type & 15) | (k->s & 1) << 4 | (k->dpl & 3) << 5 |
			     (k->present & 1) << 7 | (k->avl & 1) << 8 | (k->l & 1) << 9 |
			     (k->db & 1) << 10 | (k->g & 1) << 11 | (k->unusable & 1) << 12);
}

static struct kvm_segment segment_put(const struct vcpu_segment *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.type = s->attr & 15,
		.s = s->attr >> 4 & 1,
		.dpl = s->attr >> 5 & 3,
		.present = s->attr >> 7 & 1,
		.avl = s->attr >> 8 & 1,
		.l = s->attr >> 9 & 1,
		.db = s->attr >> 10 & 1,
		.g = s->attr >> 11 & 1,
		.unusable = s->attr >> 12 & 1,
	};
}

/* The two kernel structs for special registers share these members by name. */
#define SREGS_COMMON_GET(s, k)                                                                  \
	do {                                                                                    \
		const struct kvm_segment *all[8] = { &(k)->cs, &(k)->ds, &(k)->es, &(k)->fs,    \
						     &(k)->gs, &(k)->ss, &(k)->tr, &(k)->ldt }; \
		for (int i = 0; i < 8; i++)                                                     \
			segment_get(&(s)->segs[i], all[i]);                                     \
		(s)->gdt_base = (k)->gdt.base;                                                  \
		(s)->gdt_limit = (k)->gdt.limit;                                                \
		(s)->idt_base = (k)->idt.base;                                                  \
		(s)->idt_limit = (k)->idt.limit;                                                \
		(s)->cr0 = (k)->cr0;                                                            \
		(s)->cr2 = (k)->cr2;                                                            \
		(s)->cr3 = (k)->cr3;                                                            \
		(s)->cr4 = (k)->cr4;                                                            \
		(s)->cr8 = (k)->cr8;                                                            \
		(s)->efer = (k)->efer;                                                          \
		(s)->apic_base = (k)->apic_base;                                                \
	} while (0)

#define SREGS_COMMON_PUT(s, k)                                                            \
	do {                                                                              \
		struct kvm_segment *all[8] = { &(k)->cs, &(k)->ds, &(k)->es, &(k)->fs,    \
					       &(k)->gs, &(k)->ss, &(k)->tr, &(k)->ldt }; \
		for (int i = 0; i < 8; i++)                                               \
			*all[i] = segment_put(&(s)->segs[i]);                             \
		(k)->gdt.base = (s)->gdt_base;                                            \
		(k)->gdt.limit = (uint16_t)(s)->gdt_limit;                                \
		(k)->idt.base = (s)->idt_base;                                            \
		(k)->idt.limit = (uint16_t)(s)->idt_limit;                                \
		(k)->cr0 = (s)->cr0;                                                      \
		(k)->cr2 = (s)->cr2;                                                      \
		(k)->cr3 = (s)->cr3;                                                      \
		(k)->cr4 = (s)->cr4;                                                      \
		(k)->cr8 = (s)->cr8;                                                      \
		(k)->efer = (s)->efer;                                                    \
		(k)->apic_base = (s)->apic_base;                                          \
	} while (0)

static int sregs_get(int fd, const struct vcpu_caps *caps, struct vcpu_state *s, struct err *e)
{
	struct kvm_sregs2 new;
	struct kvm_sregs old;
	int r;

	if (!caps->has_sregs2) {
		r = kvm_get_sregs(fd, &old, e);
		if (!r)
			SREGS_COMMON_GET(s, &old);
		return r;
	}
	r = kvm_get_sregs2(fd, &new, e);
	if (r)
		return r;
	SREGS_COMMON_GET(s, &new);
	s->pdptrs_valid = !!(new.flags &KVM_SREGS2_FLAGS_PDPTRS_VALID);
	for (int i = 0; i < 4; i++)
		s->pdptrs[i] = s->pdptrs_valid ? new.pdptrs[i] : 0;
	return 0;
}

static int sregs_set(int fd, const struct vcpu_caps *caps, const struct vcpu_state *s,
		     struct err *e)
{
	struct kvm_sregs2 new = { 0 };
	struct kvm_sregs old = { 0 };

	if (!caps->has_sregs2) {
		SREGS_COMMON_PUT(s, &old);
		/*
		 * An injected interrupt also shows in this bitmap; the kernel
		 * takes it from here or from the events, so say the same twice.
		 */
		if (s->events.interrupt_injected)
			old.interrupt_bitmap[s->events.interrupt_nr / 64] |=
				UINT64_C(1) << (s->events.interrupt_nr % 64);
		return kvm_set_sregs(fd, &old, e);
	}
	SREGS_COMMON_PUT(s, &new);
	new.flags = s->pdptrs_valid ? KVM_SREGS2_FLAGS_PDPTRS_VALID : 0;
	memcpy(new.pdptrs, s->pdptrs, sizeof(new.pdptrs));
	return kvm_set_sregs2(fd, &new, e);
}

static int regs_get(int fd, struct vcpu_state *s, struct err *e)
{
	struct kvm_regs k;
	int r = kvm_get_regs(fd, &k, e);

	_Static_assert(sizeof(k) == sizeof(s->regs),
		       "struct kvm_regs is 18 registers in our order");
	if (!r)
		memcpy(s->regs, &k, sizeof(k));
	return r;
}

static int regs_set(int fd, const struct vcpu_state *s, struct err *e)
{
	struct kvm_regs k;

	memcpy(&k, s->regs, sizeof(k));
	return kvm_set_regs(fd, &k, e);
}

static int events_get(int fd, struct vcpu_state *s, struct err *e)
{
	struct vcpu_events *ev = &s->events;
	struct kvm_vcpu_events k = { 0 };
	int r = kvm_get_vcpu_events(fd, &k, e);

	if (r)
		return r;
	*ev = (struct vcpu_events){
		.exception_injected = k.exception.injected,
		.exception_nr = k.exception.nr,
		.exception_has_error_code = k.exception.has_error_code,
		.exception_pending = k.exception.pending,
		.exception_error_code = k.exception.error_code,
		.exception_has_payload = k.exception_has_payload,
		.exception_payload = k.exception_payload,
		.interrupt_injected = k.interrupt.injected,
		.interrupt_nr = k.interrupt.nr,
		.interrupt_soft = k.interrupt.soft,
		.interrupt_shadow = k.interrupt.shadow,
		.nmi_injected = k.nmi.injected,
		.nmi_pending = k.nmi.pending,
		.nmi_masked = k.nmi.masked,
		.sipi_vector = k.sipi_vector,
		.flags = k.flags,
		.smi_smm = k.smi.smm,
		.smi_pending = k.smi.pending,
		.smi_inside_nmi = k.smi.smm_inside_nmi,
		.smi_latched_init = k.smi.latched_init,
		.triple_fault_pending = k.triple_fault.pending,
	};
	return 0;
}

static int events_set(int fd, const struct vcpu_caps *caps, const struct vcpu_state *s,
		      struct err *e)
{
	const struct vcpu_events *ev = &s->events;
	struct kvm_vcpu_events k = {
		.exception.injected = ev->exception_injected,
		.exception.nr = ev->exception_nr,
		.exception.has_error_code = ev->exception_has_error_code,
		.exception.pending = ev->exception_pending,
		.exception.error_code = ev->exception_error_code,
		.exception_has_payload = ev->exception_has_payload,
		.exception_payload = ev->exception_payload,
		.interrupt.injected = ev->interrupt_injected,
		.interrupt.nr = ev->interrupt_nr,
		.interrupt.soft = ev->interrupt_soft,
		.interrupt.shadow = ev->interrupt_shadow,
		.nmi.injected = ev->nmi_injected,
		.nmi.pending = ev->nmi_pending,
		.nmi.masked = ev->nmi_masked,
		.sipi_vector = ev->sipi_vector,
		.flags = ev->flags,
		.smi.smm = ev->smi_smm,
		.smi.pending = ev->smi_pending,
		.smi.smm_inside_nmi = ev->smi_inside_nmi,
		.smi.latched_init = ev->smi_latched_init,
		.triple_fault.pending = ev->triple_fault_pending,
	};

	/* Pending NMIs and the SIPI vector count only if marked as valid. */
	k.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	if (!caps->has_triple_fault)
		k.flags &= ~(uint32_t)KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	return kvm_set_vcpu_events(fd, &k, e);
}

static int debugregs_get(int fd, struct vcpu_state *s, struct err *e)
{
	struct kvm_debugregs k = { 0 };
	int r = kvm_get_debugregs(fd, &k, e);

	if (r)
		return r;
	memcpy(s->db, k.db, sizeof(s->db));
	s->dr6 = k.dr6;
	s->dr7 = k.dr7;
	return 0;
}

static int debugregs_set(int fd, const struct vcpu_state *s, struct err *e)
{
	struct kvm_debugregs k = { .dr6 = s->dr6, .dr7 = s->dr7 };

	memcpy(k.db, s->db, sizeof(k.db));
	return kvm_set_debugregs(fd, &k, e);
}

static int xcrs_get(int fd, struct vcpu_state *s, struct err *e)
{
	struct kvm_xcrs k = { 0 };
	int r = kvm_get_xcrs(fd, &k, e);

	if (r)
		return r;
	s->nr_xcrs = MIN(k.nr_xcrs, (uint32_t)VCPU_MAX_XCRS);
	for (uint32_t i = 0; i < s->nr_xcrs; i++) {
		s->xcrs[i].index = k.xcrs[i].xcr;
		s->xcrs[i].value = k.xcrs[i].value;
	}
	return 0;
}

static int xcrs_set(int fd, const struct vcpu_state *s, struct err *e)
{
	struct kvm_xcrs k = { .nr_xcrs = s->nr_xcrs };

	for (uint32_t i = 0; i < s->nr_xcrs; i++) {
		k.xcrs[i].xcr = (uint32_t)s->xcrs[i].index;
		k.xcrs[i].value = s->xcrs[i].value;
	}
	return s->nr_xcrs ? kvm_set_xcrs(fd, &k, e) : 0;
}

static int msrs_get(int fd, const struct vcpu_caps *caps, struct vcpu_state *s, struct err *e)
{
	struct msr_block block;

	for (uint32_t done = 0; done < caps->nr_msrs; done += block.head.nmsrs) {
		int got = msrs_read(fd, caps->msrs + done, caps->nr_msrs - done, &block);

		if (got < 0)
			return err_set_code(e, -got, "KVM_GET_MSRS");
		if ((uint32_t)got != block.head.nmsrs)
			return err_set(e, EIO, "MSR %#x cannot be read any more",
				       caps->msrs[done + (uint32_t)got]);
		for (uint32_t i = 0; i < block.head.nmsrs; i++)
			s->msrs[done + i] =
				(struct vcpu_msr){ block.entries[i].index, block.entries[i].data };
	}
	s->nr_msrs = caps->nr_msrs;
	return 0;
}

/* Those that the vCPU has not got already, in their order. */
static int msrs_set(int fd, const struct vcpu_state *s, const struct vcpu_state *fresh,
		    struct err *e)
{
	uint32_t todo[VCPU_MAX_MSRS], nr = 0;
	struct msr_block block;
	uint64_t now;
	int r;

	for (uint32_t i = 0; i < s->nr_msrs; i++)
		if (!vcpu_fresh_has_msr(fresh, s, i))
			todo[nr++] = i;
	for (uint32_t done = 0; done < nr;) {
		uint32_t n = MIN(nr - done, (uint32_t)MSRS_PER_CALL);
		const struct vcpu_msr *refused;

		block.head = (struct kvm_msrs){ .nmsrs = n };
		for (uint32_t i = 0; i < n; i++)
			block.entries[i] = (struct kvm_msr_entry){
				.index = (uint32_t)s->msrs[todo[done + i]].index,
				.data = s->msrs[todo[done + i]].value,
			};
		r = kvm_set_msrs(fd, &block.head);
		if (r < 0)
			return err_set_code(e, -r, "KVM_SET_MSRS");
		done += (uint32_t)r;
		if ((uint32_t)r == n)
			continue;
		/* It does not matter if it has the value anyway. */
		refused = &s->msrs[todo[done++]];
		if (!msr_readable(fd, (uint32_t)refused->index, &now) || now != refused->value)
			return err_set(e, EIO, "KVM refuses the value %#llx for MSR %#llx",
				       (unsigned long long)refused->value,
				       (unsigned long long)refused->index);
	}
	return 0;
}

/* A guest that runs a guest would need the state of that too; it is refused by name. */
static int check_not_nested(int fd, const struct vcpu_caps *caps, struct err *e)
{
	struct {
		struct kvm_nested_state head;
		uint8_t room[16384];
	} n;
	struct err ignored;

	if (!caps->has_nested)
		return 0;
	n.head = (struct kvm_nested_state){ .size = sizeof(n) };
	if (kvm_get_nested_state(fd, &n.head, &ignored))
		return 0;
	if (n.head.flags & KVM_STATE_NESTED_GUEST_MODE)
		return err_set(e, EBUSY,
			       "the guest runs a guest of its own, which cannot be moved");
	return 0;
}

/*
 * The offset and, in guest ticks, the host's TSC. Only KVM knows how it scales: it leaves a
 * frequency as it is that differs by little.
 */
static int tsc_get_scaled(int fd, const struct vcpu_caps *caps, struct vcpu_state *s, struct err *e)
{
	uint64_t value, offset = 0;
	int r = caps->has_tsc_offset ? kvm_get_tsc_offset(fd, &offset, e) : 0;

	if (r)
		return r;
	if (!msr_readable(fd, MSR_TSC, &value))
		return err_set(e, EIO, "the guest's TSC cannot be read");
	/* Without TSC scaling the offset is the difference of the two counters. */
	s->tsc_offset = caps->has_tsc_offset ? offset : value - clock_tsc();
	s->tsc_saved = value - s->tsc_offset;
	return 0;
}

static int tsc_get(int fd, const struct vcpu_caps *caps, struct vcpu_state *s, struct err *e)
{
	int khz = kvm_get_tsc_khz(fd, e);

	if (khz < 0)
		return khz;
	s->tsc_khz = (uint32_t)khz;
	if (s->tsc_khz != caps->tsc_khz || !caps->has_tsc_offset)
		return tsc_get_scaled(fd, caps, s, e);
	s->tsc_saved = clock_tsc();
	return kvm_get_tsc_offset(fd, &s->tsc_offset, e);
}

static int tsc_set_khz(int fd, uint32_t wanted, struct err *e)
{
	int khz = kvm_get_tsc_khz(fd, e), r;

	if (khz < 0 || (uint32_t)khz == wanted)
		return MIN(khz, 0);
	r = kvm_set_tsc_khz(fd, wanted, e);
	return r ? err_prefix(e, "the guest's TSC runs at %u kHz, here at %d kHz", wanted, khz) : 0;
}

int vcpu_tsc_read(int vcpu_fd, const struct vcpu_caps *caps, uint32_t khz, struct tsc_reading *out,
		  struct err *e)
{
	struct vcpu_state s = { 0 };
	int r = tsc_set_khz(vcpu_fd, khz, e);
	uint64_t now = clock_boottime_ns();

	if (!r)
		r = tsc_get_scaled(vcpu_fd, caps, &s, e);
	if (!r)
		*out = (struct tsc_reading){ .boottime_ns = now, .tsc = s.tsc_saved };
	return r;
}

static int tsc_set(int fd, const struct vcpu_caps *caps, const struct vcpu_state *s,
		   const struct time_shift *time, const struct vcpu_state *fresh, struct err *e)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = { .head.nmsrs = 1, .entry.index = MSR_TSC };
	uint64_t offset = s->tsc_offset + time->tsc;
	int r = vcpu_fresh_has_tsc_khz(fresh, s) ? 0 : tsc_set_khz(fd, s->tsc_khz, e);

	if (r)
		return r;
	if (caps->has_tsc_offset)
		return kvm_set_tsc_offset(fd, offset, e);
	one.entry.data = clock_tsc() + offset;
	r = kvm_set_msrs(fd, &one.head);
	return r == 1 ? 0 : err_set(e, EIO, "KVM refuses to set the guest's TSC");
}

int vcpu_tsc_reset(int vcpu_fd, const struct vcpu_caps *caps, uint64_t host_tsc, struct err *e)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = { .head.nmsrs = 1, .entry.index = MSR_TSC };

	if (caps->has_tsc_offset)
		return kvm_set_tsc_offset(vcpu_fd, 0 - host_tsc, e);
	one.entry.data = clock_tsc() - host_tsc;
	return kvm_set_msrs(vcpu_fd, &one.head) == 1
		       ? 0
		       : err_set(e, EIO, "KVM refuses to reset the guest's TSC");
}

int vcpu_state_get(int vcpu_fd, const struct vcpu_caps *caps, struct vcpu_state *s, struct err *e)
{
	struct kvm_mp_state mp;
	int r;

	r = check_not_nested(vcpu_fd, caps, e);
	/*
	 * First these, for reading them changes registers: KVM takes INIT and SIPI
	 * that have arrived, and puts a pending page fault's address into CR2.
	 */
	if (!r)
		r = kvm_get_mp_state(vcpu_fd, &mp, e);
	if (!r)
		r = events_get(vcpu_fd, s, e);
	if (!r)
		r = tsc_get(vcpu_fd, caps, s, e);
	if (!r)
		r = regs_get(vcpu_fd, s, e);
	if (!r)
		r = sregs_get(vcpu_fd, caps, s, e);
	s->xsave_size = caps->xsave_size;
	if (!r && caps->has_xsave2)
		r = kvm_get_xsave2(vcpu_fd, s->xsave, e);
	else if (!r)
		r = kvm_get_xsave(vcpu_fd, (struct kvm_xsave *)s->xsave, e);
	if (!r && caps->has_xcrs)
		r = xcrs_get(vcpu_fd, s, e);
	if (!r)
		r = msrs_get(vcpu_fd, caps, s, e);
	if (!r && caps->has_debugregs)
		r = debugregs_get(vcpu_fd, s, e);
	if (!r)
		s->mp_state = mp.mp_state;
	return r;
}

int vcpu_state_set(int vcpu_fd, const struct vcpu_caps *caps, const struct vcpu_state *s,
		   const struct vcpu_apic_state *a, const struct time_shift *time,
		   const struct vcpu_state *fresh, struct err *e)
{
	struct kvm_mp_state mp = { .mp_state = s->mp_state };
	int r;

	if (s->xsave_size != caps->xsave_size)
		return err_set(e, EINVAL, "the XSAVE area has %u bytes in the state and %u here",
			       s->xsave_size, caps->xsave_size);
	r = sregs_set(vcpu_fd, caps, s, e);
	if (!r)
		r = kvm_set_xsave(vcpu_fd, s->xsave, e);
	if (!r && caps->has_xcrs && !vcpu_fresh_has_xcrs(fresh, s))
		r = xcrs_set(vcpu_fd, s, e);
	if (!r)
		r = regs_set(vcpu_fd, s, e);
	if (!r)
		r = vcpu_apic_set(vcpu_fd, a, time, e);
	if (!r && time)
		r = tsc_set(vcpu_fd, caps, s, time, fresh, e);
	if (!r)
		r = msrs_set(vcpu_fd, s, fresh, e);
	if (!r)
		r = events_set(vcpu_fd, caps, s, e);
	if (!r && caps->has_debugregs && !vcpu_fresh_has_debugregs(fresh, s))
		r = debugregs_set(vcpu_fd, s, e);
	if (!r)
		r = kvm_set_mp_state(vcpu_fd, &mp, e);
	if (!r && time && vcpu_state_has_kvmclock(s))
		kvm_kvmclock_ctrl(vcpu_fd);
	return r;
}
