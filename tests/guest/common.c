/* SPDX-License-Identifier: MIT */
/* common.c - start-up at CPL 3 and helpers of the small guests. */
#include "guest.h"

#define HVM_START_MAGIC      0x336ec578u
#define MEMMAP_RAM           1
#define MAPPED_END           ((uint64_t)ABI_MAPPED_GIB << 30)
#define PAGE                 4096ul
#define EXCEPTIONS           32
#define EXCEPTION_STUB_BYTES 16
#define CODE_SELECTOR        0x10
#define INTERRUPT_GATE       0x8e00u
#define SVR_ENABLE           0x1ffu
#define BODY_BYTES           (ABI_SIZE - ABI_BODY_OFFSET)

struct hvm_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist;
	uint64_t cmdline;
	uint64_t rsdp;
	uint64_t memmap;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct hvm_memmap_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

extern uint64_t start_info;
extern uint64_t idt[512];
void exception_stubs(void);
void isr_spurious(void);
void guest_start(void);

_Static_assert(offsetof(struct abi_head, boots) == ABI_BOOTS_OFFSET, "abi");
_Static_assert(offsetof(struct abi_head, boot_tsc) == ABI_BOOT_TSC_OFFSET, "abi");
_Static_assert(offsetof(struct abi_head, exc_vector) == ABI_EXC_OFFSET, "abi");
_Static_assert(sizeof(struct abi_head) <= ABI_BODY_OFFSET, "abi");

void *memset(void *to, int value, size_t bytes)
{
	uint8_t *p = to;

	while (bytes--)
		*p++ = (uint8_t)value;
	return to;
}

void *memcpy(void *to, const void *from, size_t bytes)
{
	const uint8_t *f = from;
	uint8_t *p = to;

	while (bytes--)
		*p++ = *f++;
	return to;
}

static const struct hvm_start_info *info(void)
{
	return (const struct hvm_start_info *)start_info;
}

static const char *option_find(const char *name)
{
	const char *p = (const char *)info()->cmdline;
	const char *n, *q;

	if (!p)
		return NULL;
	while (*p) {
		for (n = name, q = p; *n && *n == *q; n++, q++)
			;
		if (!*n && *q == '=')
			return q + 1;
		while (*p && *p != ' ')
			p++;
		while (*p == ' ')
			p++;
	}
	return NULL;
}

uint64_t option_number(const char *name, uint64_t fallback)
{
	const char *p = option_find(name);
	uint64_t v = 0;

	if (!p)
		return fallback;
	for (; *p >= '0' && *p <= '9'; p++)
		v = v * 10 + (uint64_t)(*p - '0');
	switch (*p) {
	case 'G':
		return v << 30;
	case 'M':
		return v << 20;
	case 'K':
		return v << 10;
	default:
		return v;
	}
}

bool option_is(const char *name, const char *word)
{
	const char *p = option_find(name);

	if (!p)
		return false;
	while (*word && *word == *p) {
		word++;
		p++;
	}
	return !*word && (!*p || *p == ' ');
}

uint64_t start_info_rsdp(void)
{
	return info()->rsdp;
}

bool ram_range_from(uint64_t gpa, uint64_t *start, uint64_t *end)
{
	const struct hvm_memmap_entry *m;
	uint64_t best = ~0ul, s, t;
	uint32_t i;

	m = (const struct hvm_memmap_entry *)info()->memmap;
	for (i = 0; i < info()->memmap_entries; i++) {
		if (m[i].type != MEMMAP_RAM)
			continue;
		s = m[i].addr > gpa ? m[i].addr : gpa;
		t = m[i].addr + m[i].size;
		s = (s + PAGE - 1) & ~(PAGE - 1);
		t = (t > MAPPED_END ? MAPPED_END : t) & ~(PAGE - 1);
		if (s < t && s < best) {
			best = s;
			*start = s;
			*end = t;
		}
	}
	return best != ~0ul;
}

static uint64_t ram_bytes(void)
{
	uint64_t start, end = 0, sum = 0;

	while (ram_range_from(end, &start, &end))
		sum += end - start;
	return sum;
}

void lapic_enable(void)
{
	lapic_write(LAPIC_REG_SVR, SVR_ENABLE);
}

void lapic_send_self(uint8_t vector)
{
	lapic_write(LAPIC_REG_ICR_LOW, LAPIC_ICR_SELF | LAPIC_ICR_ASSERT | vector);
}

void idt_set(uint8_t vector, void (*handler)(void))
{
	uint64_t a = (uint64_t)handler;

	idt[vector * 2ul] = (a & 0xffff) | (uint64_t)CODE_SELECTOR << 16 |
			    (uint64_t)INTERRUPT_GATE << 32 | (a & 0xffff0000) << 32;
	idt[vector * 2ul + 1] = a >> 32;
}

void spin_cycles(uint64_t cycles)
{
	uint64_t start = rdtsc();

	while (rdtsc() - start < cycles)
		;
}

void guest_ready(void)
{
	volatile struct abi_head *h = abi_head();

	h->ready_tsc = rdtsc();
	h->version = ABI_VERSION;
	h->kind = guest_kind;
	__asm__ volatile("" ::: "memory");
	h->magic = ABI_MAGIC;
}

static void touch_all(bool write)
{
	uint64_t start, end = ABI_GPA + ABI_SIZE, a;
	volatile uint64_t *p;

	while (ram_range_from(end, &start, &end)) {
		for (a = start; a < end; a += PAGE) {
			p = (volatile uint64_t *)a;
			if (write)
				*p = *p;
			else
				(void)*p;
		}
	}
}

void request_done(uint64_t cycles)
{
	volatile struct abi_head *h = abi_head();

	h->request_cycles = cycles;
	__asm__ volatile("" ::: "memory");
	h->reply = h->request;
}

unsigned int request_poll(void)
{
	volatile struct abi_head *h = abi_head();
	uint64_t word = h->request, start;

	if (word == h->reply)
		return 0;
	if ((word & 0xff) == ABI_REQUEST_READ_ALL || (word & 0xff) == ABI_REQUEST_WRITE_ALL) {
		start = rdtsc();
		touch_all((word & 0xff) == ABI_REQUEST_WRITE_ALL);
		request_done(rdtsc() - start);
		return 0;
	}
	return word & 0xff;
}

/* Called by entry.S on the first CPU, at CPL 3 with interrupts on. */
void guest_start(void)
{
	volatile struct abi_head *h = abi_head();
	volatile uint64_t *body = abi_body();
	unsigned int i;

	h->magic = 0;
	h->heartbeat = 0;
	h->request = 0;
	h->reply = 0;
	h->request_cycles = 0;
	h->errors = 0;
	h->exc_vector = 0;
	for (i = 0; i < BODY_BYTES / 8; i++)
		body[i] = 0;
	for (i = 0; i < EXCEPTIONS; i++)
		idt_set((uint8_t)i,
			(void (*)(void))((uint64_t)exception_stubs + i * EXCEPTION_STUB_BYTES));
	for (; i < 256; i++)
		idt_set((uint8_t)i, isr_spurious);
	if (info()->magic != HVM_START_MAGIC)
		h->errors++;
	h->ram_bytes = ram_bytes();
	guest_main();
}

/* A guest with several CPUs has its own. */
__attribute__((weak)) void guest_start_ap(unsigned int cpu)
{
	(void)cpu;
}
