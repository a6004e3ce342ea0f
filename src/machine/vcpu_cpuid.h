/* SPDX-License-Identifier: MIT */
/* What -cpu host shows a vCPU through CPUID. */
#ifndef MACHINE_VCPU_CPUID_H
#define MACHINE_VCPU_CPUID_H

#include <stdint.h>

#include "base/err.h"
#include "machine/vcpu_state.h"

struct kvm_cpuid2;

/*
 * Derives the table of vCPU @index of @nr_vcpus from what KVM supports: own APIC
 * id and topology, TSC deadline timer where KVM has it, hypervisor bit; without
 * VMX and SVM, since a guest that runs guests cannot be updated. @out has room
 * for VCPU_MAX_CPUID entries. -E2BIG if KVM reports more.
 */
int vcpu_cpuid_build(const struct kvm_cpuid2 *host, unsigned int index, unsigned int nr_vcpus,
		     int tsc_deadline, struct vcpu_cpuid *out, uint32_t *nr, struct err *e);

/* Gives the table to KVM. The vCPU has not run yet. */
int vcpu_cpuid_set(int vcpu_fd, const struct vcpu_cpuid *table, uint32_t nr, struct err *e);

#endif
