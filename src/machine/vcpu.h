/* SPDX-License-Identifier: MIT */
/* A virtual CPU: its thread, its run loop, and how the machine stops and talks to it. */
#ifndef MACHINE_VCPU_H
#define MACHINE_VCPU_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "machine/layout.h"

struct vm;
struct vcpu;
struct vcpu_state;
struct vcpu_apic_state;
struct vcpu_caps;
struct time_shift;
struct tsc_reading;

/*
 * Creates vCPU @index with its KVM object and thread; the thread waits. Main
 * thread, before the machine first runs. The caller owns the result.
 */
int vcpu_create(struct vcpu **out, struct vm *vm, unsigned int index, struct err *e);
/*
 * Likewise for a vCPU that exists as @fd, which is taken over, and may run: KVM is asked
 * nothing about it. @caps, @reset and @apic are what vcpu_save_kept() said in the image that
 * made it. Its thread has left its context (host/graft.h), number @index + 1, when this returns.
 */
int vcpu_adopt(struct vcpu **out, struct vm *vm, unsigned int index, int fd,
	       const struct vcpu_caps *caps, const struct vcpu_state *reset,
	       const struct vcpu_apic_state *apic, struct err *e);
/* What that needs; @reset has the CPUID table the vCPU has now. Any time, machine lock held. */
void vcpu_save_kept(const struct vcpu *v, struct vcpu_caps *caps, struct vcpu_state *reset,
		    struct vcpu_apic_state *apic);
/* Ends the thread and closes the KVM object. The vCPU must be paused. */
void vcpu_destroy(struct vcpu *v);

/* KVM's descriptor, still the vCPU's. */
int vcpu_fd(const struct vcpu *v);
/* From 0; also its APIC id. */
unsigned int vcpu_index(const struct vcpu *v);
/* The kernel's id of its thread. Any thread. */
pid_t vcpu_thread_id(const struct vcpu *v);

/* Lets all vCPUs of @vm enter the guest. Machine lock held, all paused. */
void vcpu_resume_all(struct vm *vm);
/*
 * Takes all vCPUs out of the guest, instructions complete, and returns when each
 * waits. Drops and retakes the machine lock, which the caller holds.
 */
void vcpu_pause_all(struct vm *vm);

/*
 * Runs @fn for every vCPU of @vm on the vCPU's own thread, in parallel, and waits for all.
 * All paused; the caller holds the machine lock and @fn must not take it. Returns the first
 * failure, with its error.
 */
int vcpu_run_on_all(struct vm *vm, int (*fn)(struct vcpu *v, void *arg, struct err *e), void *arg,
		    struct err *e);

/*
 * vcpu_run_on_all() in two parts: @fn is called by each vCPU that is paused, and by one that runs
 * once it was paused; vcpu_finish_all() waits for all.
 */
void vcpu_post_on_all(struct vm *vm, int (*fn)(struct vcpu *v, void *arg, struct err *e),
		      void *arg);
int vcpu_finish_all(struct vm *vm, struct err *e);

/*
 * Has the threads of all vCPUs awake for a moment, since they will soon be asked for something. All
 * paused. Without effect if there are not processors enough.
 */
void vcpu_rouse_all(struct vm *vm);

/*
 * The processor @v left the guest on when it was last stopped; -1: none yet. Paused.
 *
 * vcpu_place() keeps its thread on such a processor until vcpu_unplace_all(), where it may run there
 * at all. Paused, main thread. The kernel wakes a thread where the one that wakes it runs, and would leave the
 * vCPU to share that processor while the one where it ran before stands idle.
 */
int vcpu_last_cpu(const struct vcpu *v);
void vcpu_place(struct vcpu *v, int cpu);
/* Without effect on those that were not placed. Main thread. */
void vcpu_unplace_all(struct vm *vm);

/* The processor @v runs on now, -1: it sleeps; all those of @vm. Slow; main thread. */
int vcpu_running_cpu(const struct vcpu *v);
void vcpu_running_on(const struct vm *vm, cpu_set_t *out);

/* There are processors enough that waiting for vCPUs need not give one away. Any thread. */
bool vcpu_may_spin(const struct vm *vm);

/* An exit of the guest waits to be handled when it goes on. Paused. */
bool vcpu_has_exit(const struct vcpu *v);

/* How a boot vCPU starts: flat segments, in the mode the boot protocol asks for. */
struct vcpu_entry {
	bool long_mode; /* 64-bit with paging (cr3), else 32-bit protected, no paging */
	uint64_t rip;
	uint64_t rsp;
	uint64_t rbx;
	uint64_t rsi;
	uint64_t cr3; /* long_mode: page tables, prepared by the caller            */
	gpa_t gdt;    /* where the caller put vcpu_entry_gdt()                     */
};

#define VCPU_ENTRY_GDT_BYTES 32
/* The descriptor table the entry's selectors (code 0x10, data 0x18) refer to. */
void vcpu_entry_gdt(bool long_mode, uint8_t gdt[VCPU_ENTRY_GDT_BYTES]);
/* Puts a vCPU that was just reset at the entry. All paused. */
int vcpu_set_entry(struct vcpu *v, const struct vcpu_entry *entry, struct err *e);
/* Power-on state: vCPU 0 runnable, the others wait for INIT/SIPI. All paused. */
int vcpu_reset_all(struct vm *vm, struct err *e);

/*
 * Reads or sets the whole state, CPUID included; paused, on the vCPU's own thread
 * (vcpu_run_on_all()). @time: the same for all. The guest sees no difference after saving; -EAGAIN if the vCPU has to
 * run for a moment first. After a failed load the vCPU must not run.
 */
int vcpu_save(struct vcpu *v, struct vcpu_state *s, struct vcpu_apic_state *a, struct err *e);
int vcpu_load(struct vcpu *v, const struct vcpu_state *s, const struct vcpu_apic_state *a,
	      const struct time_shift *time, struct err *e);
/* The clocks of this host, for a load on another boot: vcpu_tsc_read(). Likewise. */
int vcpu_read_tsc(struct vcpu *v, uint32_t khz, struct tsc_reading *out, struct err *e);

/* When the vCPU entered the guest after the last resume, CLOCK_BOOTTIME; 0: not yet. */
uint64_t vcpu_entered_ns(const struct vcpu *v);

#endif
