/* SPDX-License-Identifier: MIT */
/* guest.h - what every small guest shares: start, options, LAPIC, ports. */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"

#define LAPIC_GPA               0xfee00000ul
#define LAPIC_REG_SVR           0xf0
#define LAPIC_REG_ICR_LOW       0x300
#define LAPIC_REG_ICR_HIGH      0x310
#define LAPIC_REG_LVT_TIMER     0x320
#define LAPIC_REG_TIMER_INITIAL 0x380
#define LAPIC_REG_TIMER_CURRENT 0x390
#define LAPIC_REG_TIMER_DIVIDE  0x3e0
#define LAPIC_ICR_SELF          0x40000
#define LAPIC_ICR_ASSERT        0x4000
#define LAPIC_ICR_INIT          0x500
#define LAPIC_ICR_STARTUP       0x600

/* Each guest defines these two. guest_main must not return. */
extern const uint64_t guest_kind;
void guest_main(void);

/* In entry.S. */
extern uint64_t isr_counter;
extern uint64_t isr_argument;
extern uint64_t isr_values[16];
extern uint64_t isr_ring_head;
extern uint8_t isr_ring[256];
void isr_count(void);
void isr_sleep(void);
void isr_oneshot(void);
void isr_deadline(void);
void isr_read_regs(void);
void isr_uart(void);
void isr_ipi_stubs(void);

static inline volatile struct abi_head *abi_head(void)
{
	return (volatile struct abi_head *)ABI_GPA;
}

static inline volatile void *abi_body(void)
{
	return (volatile void *)(ABI_GPA + ABI_BODY_OFFSET);
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static inline void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(sub));
}

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t lapic_read(uint32_t reg)
{
	return *(volatile uint32_t *)(LAPIC_GPA + reg);
}

static inline void lapic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(LAPIC_GPA + reg) = value;
}

/* Switches the local APIC of this CPU on. */
void lapic_enable(void);

/* Sends an interrupt to this CPU: the way from CPL 3 to a CPL-0 handler. */
void lapic_send_self(uint8_t vector);

/* As the C library's. */
void *memset(void *to, int value, size_t bytes);
void *memcpy(void *to, const void *from, size_t bytes);

/* Routes vector to handler. */
void idt_set(uint8_t vector, void (*handler)(void));

/* Busy-waits. */
void spin_cycles(uint64_t cycles);

/*
 * Value of "name=" on the command line: a decimal number with an optional
 * suffix K, M or G. Returns fallback if the option is absent.
 */
uint64_t option_number(const char *name, uint64_t fallback);

/* True if "name=word" stands on the command line. */
bool option_is(const char *name, const char *word);

/* Where the start info says that the ACPI tables begin; 0: it does not. */
uint64_t start_info_rsdp(void);

/* First RAM page not below gpa, and the end of its range; false if none. */
bool ram_range_from(uint64_t gpa, uint64_t *start, uint64_t *end);

/* Says to the tests that set-up is over; call when the body is valid. */
void guest_ready(void);

/*
 * Does a pending request for touching all RAM; returns the operation of any
 * other pending request (the caller then calls request_done), else 0.
 */
unsigned int request_poll(void);
void request_done(uint64_t cycles);

#endif
