/* SPDX-License-Identifier: MIT */
/* What -cpu host shows a vCPU through CPUID. */
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "host/kvm.h"
#include "machine/vcpu_cpuid.h"

enum {
	FEATURES_ECX_VMX = 1u << 5,
	FEATURES_ECX_TSC_DEADLINE = 1u << 24,
	FEATURES_EDX_HTT = 1u << 28,
	EXT_FEATURES_ECX_CMP_LEGACY = 1u << 1,
	EXT_FEATURES_ECX_SVM = 1u << 2,
	TOPOLOGY_SMT = 1,
	TOPOLOGY_CORE = 2,
};

#define FEATURES_ECX_HYPERVISOR (1u << 31)

/* Bits an APIC id needs for @n processors. */
static uint32_t id_bits(unsigned int n)
{
	uint32_t bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

/* One package of single-threaded cores. */
static void set_topology_leaf(struct vcpu_cpuid *c, unsigned int index, unsigned int nr_vcpus)
{
	c->eax = 0;
	c->ebx = 0;
	c->ecx = c->index;
	c->edx = index;
	if (c->index == 0) {
		c->ebx = 1;
		c->ecx |= TOPOLOGY_SMT << 8;
	} else if (c->index == 1) {
		c->eax = id_bits(nr_vcpus);
		c->ebx = nr_vcpus;
		c->ecx |= TOPOLOGY_CORE << 8;
	}
}

static void adapt(struct vcpu_cpuid *c, unsigned int index, unsigned int nr_vcpus, int tsc_deadline)
{
	switch (c->function) {
	case 0x1:
		c->ebx = (c->ebx & 0xff00) | index << 24 | nr_vcpus << 16;
		c->ecx = (c->ecx & ~(uint32_t)FEATURES_ECX_VMX) | FEATURES_ECX_HYPERVISOR;
		if (tsc_deadline)
			c->ecx |= FEATURES_ECX_TSC_DEADLINE;
		c->edx = nr_vcpus > 1 ? c->edx | FEATURES_EDX_HTT
				      : c->edx & ~(uint32_t)FEATURES_EDX_HTT;
		break;
	case 0x4:
		/* Cache leaves: cores per package; L1 and L2 belong to one core. */
		if (c->eax & 0x1f) {
			uint32_t level = c->eax >> 5 & 7;
			uint32_t sharing = level >= 3 ? (1u << id_bits(nr_vcpus)) - 1 : 0;

			c->eax = (c->eax & 0x3fff) | ((1u << id_bits(nr_vcpus)) - 1) << 26 |
				 sharing << 14;
		}
		break;
	case 0xb:
	case 0x1f:
		set_topology_leaf(c, index, nr_vcpus);
		break;
	case 0x80000001:
		c->ecx &= ~(uint32_t)EXT_FEATURES_ECX_SVM;
		c->ecx = nr_vcpus > 1 ? c->ecx | EXT_FEATURES_ECX_CMP_LEGACY
				      : c->ecx & ~(uint32_t)EXT_FEATURES_ECX_CMP_LEGACY;
		break;
	case 0x80000008:
		c->ecx = nr_vcpus > 1 ? id_bits(nr_vcpus) << 12 | (nr_vcpus - 1) : 0;
		break;
	case 0x8000000a:
		c->eax = c->ebx = c->ecx = c->edx = 0;
		break;
	case 0x8000001d:
		if (c->eax & 0x1f) {
			uint32_t level = c->eax >> 5 & 7;

			c->eax = (c->eax & 0x3fff) | (level >= 3 ? nr_vcpus - 1 : 0) << 14;
		}
		break;
	case 0x8000001e:
		c->eax = index;
		c->ebx = index;
		c->ecx = 0;
		break;
	default:
		break;
	}
}

int vcpu_cpuid_build(const struct kvm_cpuid2 *host, unsigned int index, unsigned int nr_vcpus,
		     int tsc_deadline, struct vcpu_cpuid *out, uint32_t *nr, struct err *e)
{
	bool topology[2] = { false, false };
	uint32_t n = 0;

	if (host->nent > VCPU_MAX_CPUID - 4)
		return err_set(e, E2BIG, "KVM supports %u CPUID entries, Baton knows at most %d",
			       host->nent, VCPU_MAX_CPUID - 4);
	for (uint32_t i = 0; i < host->nent; i++) {
		const struct kvm_cpuid_entry2 *k = &host->entries[i];
		struct vcpu_cpuid c = {
			.function = k->function,
			.index = k->index,
			.flags = k->flags,
			.eax = k->eax,
			.ebx = k->ebx,
			.ecx = k->ecx,
			.edx = k->edx,
		};

		if (c.function == 0xb && c.index < 2)
			topology[c.index] = true;
		adapt(&c, index, nr_vcpus, tsc_deadline);
		out[n++] = c;
	}
	/* KVM may list only the first level of the topology. */
	for (uint32_t level = 0; level < 2 && host->nent && host->entries[0].eax >= 0xb; level++) {
		struct vcpu_cpuid c = {
			.function = 0xb,
			.index = level,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		};

		if (topology[level])
			continue;
		adapt(&c, index, nr_vcpus, tsc_deadline);
		out[n++] = c;
	}
	*nr = n;
	return 0;
}

int vcpu_cpuid_set(int vcpu_fd, const struct vcpu_cpuid *table, uint32_t nr, struct err *e)
{
	AUTO_FREE struct kvm_cpuid2 *k = calloc(1, sizeof(*k) + nr * sizeof(k->entries[0]));

	if (!k)
		return err_set(e, ENOMEM, "no memory for the CPUID table");
	k->nent = nr;
	for (uint32_t i = 0; i < nr; i++)
		k->entries[i] = (struct kvm_cpuid_entry2){
			.function = table[i].function,
			.index = table[i].index,
			.flags = table[i].flags,
			.eax = table[i].eax,
			.ebx = table[i].ebx,
			.ecx = table[i].ecx,
			.edx = table[i].edx,
		};
	return kvm_set_cpuid2(vcpu_fd, k, e);
}
