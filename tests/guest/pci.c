/* SPDX-License-Identifier: MIT */
/*
 * pci.c - programs what is on the PCI buses as firmware does, and looks for ever whether it stays so.
 *
 * DOC: theory of operation
 *
 * Configuration space is read both ways, by ports and by its window, which have to agree. BARs and bridges
 * get places; then round by round everything is read again and compared. Between the write of the
 * address port and the read of the data port time passes, so that updates come in between.
 *
 * Each root port's slot has a driver: it answers an interrupt of the port by switching on what has come,
 * and by letting go of what the operator wants to have back.
 * A display's memory is written and read as well; with moves=on it is somewhere else each round.
 * Option: hold=N, cycles between address and data (default 100000).
 */
#include "guest.h"

#define VECTOR       0x61
#define PORT_ADDRESS 0xcf8
#define PORT_DATA    0xcfc
#define ENABLE       0x80000000u
#define ECAM         0xc0000000ul
#define BARS         0xd0000000u /* of bus 0                         */
#define MEMORY       0xd2000000u /* of a display, or the next place  */
#define MEMORY_STEP  0x2000000u
#define PAGE         4096u
#define WINDOWS      0xd8000000u /* behind ports, WINDOW bytes each  */
#define WINDOW       0x1000000u
#define CONFIG_WORDS 64
#define MAX          16

#define REG_ID      0x00
#define REG_COMMAND 0x04
#define REG_CLASS   0x08
#define REG_BAR0    0x10
#define REG_BUSES   0x18
#define REG_MEMORY  0x20
#define REG_PREF    0x24
#define REG_CAPS    0x34
#define COMMAND     6u
#define BRIDGE      0x0604u
#define DISPLAY     0x0380u
#define CAP_EXPRESS 0x10
#define CAP_MSIX    0x11

#define EXP_LINK     0x10 /* control and status */
#define EXP_SLOT     0x18
#define SLOT_EVENTS  0x1029u /* button, presence, link, interrupt */
#define SLOT_ON      0x0100u
#define SLOT_BLINK   0x0200u
#define SLOT_OFF     0x0700u
#define STA_BUTTON   0x0001u
#define STA_PRESENCE 0x0008u
#define STA_PRESENT  0x0040u
#define STA_LINK     0x0100u

const uint64_t guest_kind = ABI_KIND_PCI;

/* A function with its place, and what was seen of it. */
struct function {
	uint8_t bus, slot;
	uint8_t bars; /* how many its header has */
	unsigned int express;
	uint64_t msix;   /* where its table is; 0: none or not placed */
	uint64_t memory; /* where a display has its own               */
	uint32_t pages;
	uint32_t words[CONFIG_WORDS];
};

static struct function functions[MAX];
static unsigned int nr_functions;

static volatile struct abi_pci *body(void)
{
	return abi_body();
}

static void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static uint32_t inl(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static uint32_t by_ports(uint8_t bus, uint8_t slot, uint8_t reg, uint64_t hold)
{
	outl(PORT_ADDRESS, ENABLE | (uint32_t)bus << 16 | (uint32_t)slot << 11 | reg);
	if (hold)
		spin_cycles(hold);
	return inl(PORT_DATA);
}

static volatile uint32_t *window(uint8_t bus, uint8_t slot, unsigned int reg)
{
	return (volatile uint32_t *)(ECAM + ((uint64_t)bus << 20 | (uint64_t)slot << 15 | reg));
}

static uint32_t get(const struct function *f, unsigned int reg)
{
	return *window(f->bus, f->slot, reg);
}

static void set(const struct function *f, unsigned int reg, uint32_t value)
{
	*window(f->bus, f->slot, reg) = value;
}

static uint8_t find_cap(const struct function *f, uint8_t id)
{
	uint8_t at = (uint8_t)get(f, REG_CAPS);

	while (at && (uint8_t)get(f, at) != id)
		at = (uint8_t)(get(f, at) >> 8);
	return at;
}

/* Each BAR at the next multiple of its size from *@at on. */
static void place_bars(struct function *f, uint32_t *at)
{
	uint8_t cap = find_cap(f, CAP_MSIX);
	unsigned int i, wanted = cap ? get(f, cap + 4) & 7 : 8;
	uint32_t low, size;

	for (i = 0; i < f->bars; i++) {
		set(f, REG_BAR0 + 4 * i, ~0u);
		low = get(f, REG_BAR0 + 4 * i);
		if (!low || low & 1)
			continue;
		size = ~(low & ~0xfu) + 1;
		*at = (*at + size - 1) & ~(size - 1);
		set(f, REG_BAR0 + 4 * i, *at);
		if (i == wanted)
			f->msix = *at + (get(f, cap + 4) & ~7u);
		*at += size;
		if (low & 4)
			set(f, REG_BAR0 + 4 * ++i, 0);
	}
	set(f, REG_COMMAND, COMMAND);
}

static struct function *add(uint8_t bus, uint8_t slot)
{
	struct function *f = &functions[nr_functions];

	if (nr_functions == MAX || (uint16_t)*window(bus, slot, REG_ID) == 0xffff)
		return NULL;
	nr_functions++;
	*f = (struct function){ .bus = bus, .slot = slot };
	f->bars = get(f, REG_CLASS) >> 16 == BRIDGE ? 2 : 6;
	return f;
}

static void enable_msix(struct function *f, uint8_t vector)
{
	volatile uint32_t *entry = (volatile uint32_t *)f->msix;
	uint8_t cap = find_cap(f, CAP_MSIX);

	entry[0] = 0xfee00000;
	entry[1] = 0;
	entry[2] = vector;
	entry[3] = 0;
	set(f, cap, get(f, cap) | 1u << 31);
}

/* Whoever is behind gets places in the port's window. */
static void add_behind(uint8_t bus)
{
	uint32_t at = WINDOWS + bus * WINDOW;
	struct function *f = add(bus, 0);

	if (f)
		place_bars(f, &at);
}

static void set_port_up(struct function *f)
{
	uint8_t bus = (uint8_t)++body()->ports;
	uint32_t at = (WINDOWS + bus * WINDOW) >> 16;

	set(f, REG_BUSES, (uint32_t)bus << 16 | (uint32_t)bus << 8);
	set(f, REG_MEMORY, (at + (WINDOW >> 16) - 0x10) << 16 | at);
	set(f, REG_PREF, 0x0000fff0);
	f->express = find_cap(f, CAP_EXPRESS);
	enable_msix(f, VECTOR);
	set(f, f->express + EXP_SLOT, (get(f, f->express + EXP_SLOT) & 0xffff) | SLOT_EVENTS);
	add_behind(bus);
}

static uint64_t *page(const struct function *f, uint32_t i)
{
	return (uint64_t *)(f->memory + (uint64_t)i * PAGE);
}

static void set_display_up(struct function *f)
{
	uint32_t low;

	set(f, REG_BAR0, ~0u);
	low = get(f, REG_BAR0);
	f->pages = (~(low & ~0xfu) + 1) / PAGE;
	f->memory = MEMORY;
	set(f, REG_BAR0, MEMORY);
	for (uint32_t i = 0; i < f->pages; i++)
		*page(f, i) = i;
	body()->display_pages = f->pages;
}

/* Each page has what was written in the last round, wherever it was then. */
static void look_at_display(struct function *f, bool moves)
{
	uint64_t round = body()->rounds;

	if (moves) {
		f->memory = MEMORY + (round & 1) * MEMORY_STEP;
		set(f, REG_BAR0, (uint32_t)f->memory);
		f->words[REG_BAR0 / 4] = get(f, REG_BAR0);
	}
	for (uint32_t i = 0; i < f->pages; i++) {
		volatile uint64_t *p = page(f, i);

		if (*p != i + (round ? round - 1 : 0) * f->pages)
			body()->changes++;
		*p = i + round * f->pages;
	}
}

/* What changes by itself: status of link and slot. */
static bool is_live(const struct function *f, unsigned int reg)
{
	return f->express && (reg == f->express + EXP_LINK || reg == f->express + EXP_SLOT);
}

static void remember(void)
{
	for (unsigned int i = 0; i < nr_functions; i++)
		for (unsigned int w = 0; w < CONFIG_WORDS; w++)
			functions[i].words[w] = get(&functions[i], 4 * w);
	body()->functions = nr_functions;
}

static void look(uint64_t hold, bool moves)
{
	for (unsigned int i = 0; i < nr_functions; i++) {
		struct function *f = &functions[i];
		unsigned int chosen = (unsigned int)(body()->rounds * 7 % CONFIG_WORDS);

		for (unsigned int w = 0; w < CONFIG_WORDS; w++) {
			uint32_t a, b = get(f, 4 * w);

			a = by_ports(f->bus, f->slot, (uint8_t)(4 * w), w == chosen ? hold : 0);
			if (is_live(f, 4 * w))
				continue;
			if (a != b)
				body()->mismatches++;
			if (b != f->words[w])
				body()->changes++;
		}
		if (f->pages)
			look_at_display(f, moves);
		/* The table is memory: what was written is there. */
		if (f->express && *(volatile uint32_t *)(f->msix + 8) != VECTOR)
			body()->changes++;
	}
	body()->rounds++;
	abi_head()->heartbeat++;
}

static void wait_until_empty(const struct function *port)
{
	while (get(port, port->express + EXP_SLOT) >> 16 & STA_PRESENT)
		abi_head()->heartbeat++;
}

/* One that was unplugged is not looked at any more. */
static void forget(uint8_t bus)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < nr_functions; i++)
		if (functions[i].bus != bus)
			functions[kept++] = functions[i];
	nr_functions = kept;
}

static uint8_t bus_behind(const struct function *port)
{
	return (uint8_t)(get(port, REG_BUSES) >> 8);
}

static bool serve_slot(unsigned int port)
{
	struct function *f = &functions[port];
	unsigned int reg = f->express + EXP_SLOT;
	uint32_t status = get(f, reg) >> 16,
		 events = status & (STA_BUTTON | STA_PRESENCE | STA_LINK);
	uint8_t bus = bus_behind(f);

	if (!events)
		return false;
	/* The interrupt comes again only after all were cleared. */
	set(f, reg, events << 16 | (get(f, reg) & 0xffff));
	if (events & STA_BUTTON && status & STA_PRESENT) {
		set(f, reg, SLOT_EVENTS | SLOT_BLINK);
		/* The driver of the device would let go of it now. */
		forget(bus);
		set(f, reg, SLOT_EVENTS | SLOT_OFF);
		body()->released++;
		wait_until_empty(f);
	} else if (events & STA_PRESENCE && status & STA_PRESENT) {
		set(f, reg, SLOT_EVENTS | SLOT_ON);
		forget(bus);
		add_behind(bus);
		body()->came++;
	} else if (events & STA_PRESENCE) {
		body()->gone++;
	}
	remember();
	return true;
}

static void serve_slots(void)
{
	bool more = true;

	while (more) {
		more = false;
		for (unsigned int i = 0; i < nr_functions; i++)
			if (functions[i].express)
				more |= serve_slot(i);
	}
}

void guest_main(void)
{
	uint64_t hold = option_number("hold", 100000), seen = 0;
	bool moves = option_is("moves", "on");
	uint32_t at = BARS;
	unsigned int i, nr;

	nr_functions = 0;
	lapic_enable();
	idt_set(VECTOR, isr_count);
	for (i = 0; i < 32; i++) {
		struct function *f = add(0, (uint8_t)i);

		if (f && i)
			place_bars(f, &at);
	}
	nr = nr_functions;
	for (i = 0; i < nr; i++)
		if (get(&functions[i], REG_CLASS) >> 16 == BRIDGE)
			set_port_up(&functions[i]);
	for (i = 0; i < nr; i++)
		if (get(&functions[i], REG_CLASS) >> 16 == DISPLAY)
			set_display_up(&functions[i]);
	remember();
	guest_ready();
	for (;;) {
		uint64_t irqs = *(volatile uint64_t *)&isr_counter;

		body()->irqs = irqs;
		/* Told by an interrupt only: one that is lost shows. */
		if (irqs != seen)
			serve_slots();
		seen = irqs;
		look(hold, moves);
		if (request_poll())
			request_done(0);
	}
}
