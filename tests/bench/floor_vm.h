/* SPDX-License-Identifier: MIT */
/* A bare VM with one vCPU and a guest that watches the TSC: KVM alone, nothing of Baton. */
#ifndef TESTS_BENCH_FLOOR_VM_H
#define TESTS_BENCH_FLOOR_VM_H

/*
 * The guest begins in ring 3, where every kind of KVM runs it natively: page tables, TSS with
 * an I/O bitmap and code are put into RAM, the registers set to them. It samples the TSC
 * without pause and keeps the longest gap; told to, it writes to a port.
 *
 * All functions end the process with a sentence if KVM refuses something.
 */

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FLOOR_RAM_BYTES = 2 << 20,
	FLOOR_MAX_MSRS = 300,
	FLOOR_XSAVE_BYTES = 16384,
	FLOOR_PORT = 0xe9,
};

/* What the guest writes; in its RAM. */
struct floor_page {
	uint64_t count;   /* samples                              */
	uint64_t last;    /* TSC of the newest                    */
	uint64_t gap;     /* longest between two, in TSC ticks    */
	uint64_t command; /* not 0: write to the port once, clear */
};

/* All state of a vCPU, one message. */
struct floor_state {
	struct kvm_mp_state mp;
	struct kvm_vcpu_events events;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debugregs;
	struct kvm_xcrs xcrs;
	struct kvm_lapic_state lapic;
	uint64_t tsc_offset;
	struct kvm_msrs msrs_head;
	struct kvm_msr_entry msrs[FLOOR_MAX_MSRS];
	uint8_t xsave[FLOOR_XSAVE_BYTES]; /* last: its used part is what is sent */
};

struct floor_vm {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	size_t run_bytes;
	uint8_t *ram; /* shared, FLOOR_RAM_BYTES; not owned */
	volatile struct floor_page *page;
	size_t xsave_bytes;
	int has_tsc_offset;
	uint32_t nr_msrs;
	uint32_t msrs[FLOOR_MAX_MSRS]; /* those that can be read and set */
};

/* Ends the process unless @ok: what failed, and errno. */
void floor_need(int ok, const char *what);
/* The steps of floor_vm_create(), to be measured. Return descriptors. */
int floor_open(void);
int floor_new_vm(int kvm);
void floor_new_irqchip(int vm);
int floor_new_vcpu(int vm);
/* Slot @slot at @gpa; unpopulated @host. */
void floor_set_slot(int vm, unsigned int slot, uint64_t gpa, void *host, uint64_t bytes);

/* A VM on RAM that is mapped shared by all VMs that are to run the guest. */
void floor_vm_create(struct floor_vm *v, uint8_t *ram);
void floor_vm_destroy(struct floor_vm *v);
/* Writes guest, page tables and TSS into RAM; once per RAM. */
void floor_write_guest(uint8_t *ram);
/* Sets the registers to the guest's start. */
void floor_start(struct floor_vm *v);

void floor_get(struct floor_vm *v, struct floor_state *s);
void floor_set(struct floor_vm *v, struct floor_state *s);
/* Bytes of the state that are used. */
size_t floor_state_bytes(const struct floor_vm *v);

/* KVM_RUN: 0 after a port exit, 1 after a signal. */
int floor_run(struct floor_vm *v);

#endif
