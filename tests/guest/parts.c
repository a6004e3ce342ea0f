/* SPDX-License-Identifier: MIT */
/*
 * parts.c - feeds a watchdog (i6300esb) for as long as the host wants, and draws on a display (bochs-display).
 *
 * The host writes "feed" (1: feed) and "draw" (a mode: bits 0-15 pixels in a row, 16-31 rows, 32-39 bits
 * per pixel, 40-55 pixels of a row in memory; 0: none). Options: first=N, second=N: preloads of the
 * watchdog's stages, about 1 ms a tick; 0: it is left alone.
 */
#include "guest.h"
#include "virtio_drv.h"

#define WATCHDOG_ID  0x25ab8086u
#define DISPLAY_ID   0x11111234u
#define REG_ID       0
#define REG_COMMAND  4
#define REG_BAR0     0x10
#define REG_BAR2     0x18
#define REG_LOCK     0x68
#define MEMORY       2
#define SLOTS        32
#define WATCHDOG_GPA 0xd0000000ul
#define MMIO_GPA     0xd0010000ul
#define VRAM_GPA     0xe0000000ul
#define VRAM_BYTES   0x400000ul
#define RELOAD       0xc
#define ENABLE       2
#define FED          0x100

const uint64_t guest_kind = ABI_KIND_PARTS;

static volatile struct abi_parts *body(void)
{
	return abi_body();
}

/* The slot, or SLOTS if there is no such device on bus 0. */
static uint8_t find(uint32_t id)
{
	uint8_t slot = 0;

	while (slot < SLOTS && pci_read(slot, REG_ID) != id)
		slot++;
	return slot;
}

static void watchdog_set(uint64_t reg, uint32_t value)
{
	*(volatile uint16_t *)(WATCHDOG_GPA + RELOAD) = 0x80;
	*(volatile uint16_t *)(WATCHDOG_GPA + RELOAD) = 0x86;
	if (reg == RELOAD)
		*(volatile uint16_t *)(WATCHDOG_GPA + reg) = (uint16_t)value;
	else
		*(volatile uint32_t *)(WATCHDOG_GPA + reg) = value;
}

static void feed(void)
{
	watchdog_set(RELOAD, FED);
	body()->fed_tsc = rdtsc();
	body()->fed++;
}

static void start_watchdog(uint8_t slot)
{
	uint64_t first = option_number("first", 0);

	pci_write(slot, REG_BAR0, WATCHDOG_GPA);
	pci_write(slot, REG_COMMAND, MEMORY);
	body()->ran_out = *(volatile uint16_t *)(WATCHDOG_GPA + RELOAD);
	if (!first)
		return;
	watchdog_set(0, (uint32_t)first);
	watchdog_set(4, (uint32_t)option_number("second", first));
	feed();
	pci_write(slot, REG_LOCK, ENABLE);
	body()->watchdog = 1;
}

static volatile uint16_t *vbe(unsigned int index)
{
	return (volatile uint16_t *)(MMIO_GPA + 0x500 + 2 * index);
}

static void start_display(uint8_t slot)
{
	pci_write(slot, REG_BAR0, VRAM_GPA);
	pci_write(slot, REG_BAR2, MMIO_GPA);
	pci_write(slot, REG_COMMAND, MEMORY);
	body()->display = *vbe(0);
	body()->vram_64k = *vbe(10);
	body()->edid = *(volatile uint32_t *)MMIO_GPA;
}

/* Each byte of the memory follows from its place and the number of the drawing. */
static void draw(uint64_t mode)
{
	volatile uint32_t *p = (volatile uint32_t *)VRAM_GPA;
	uint64_t i;

	for (i = 0; i < VRAM_BYTES / 4; i++)
		p[i] = (uint32_t)(i * 2654435761u + mode);
	*vbe(1) = (uint16_t)mode;
	*vbe(2) = (uint16_t)(mode >> 16);
	*vbe(3) = (uint16_t)(mode >> 32 & 0xff);
	*vbe(6) = (uint16_t)(mode >> 40);
	*vbe(4) = 0x41;
	body()->drawn = mode;
}

/* What was drawn is still there, and so is the mode. */
static void check(void)
{
	volatile uint32_t *p = (volatile uint32_t *)VRAM_GPA;
	uint64_t mode = body()->drawn, i;

	for (i = body()->checks % 1024; i < VRAM_BYTES / 4; i += 1024)
		if (p[i] != (uint32_t)(i * 2654435761u + mode))
			abi_head()->errors++;
	if (*vbe(1) != (uint16_t)mode || *vbe(2) != (uint16_t)(mode >> 16) || *vbe(4) != 0x41)
		abi_head()->errors++;
	body()->checks++;
}

void guest_main(void)
{
	uint8_t watchdog = find(WATCHDOG_ID), display = find(DISPLAY_ID);

	body()->feed = 1;
	body()->draw = body()->drawn = 0;
	if (watchdog < SLOTS)
		start_watchdog(watchdog);
	if (display < SLOTS)
		start_display(display);
	guest_ready();
	for (;;) {
		if (body()->watchdog && body()->feed)
			feed();
		if (body()->draw != body()->drawn)
			draw(body()->draw);
		else if (body()->drawn)
			check();
		body()->last_tsc = rdtsc();
		abi_head()->heartbeat++;
		if (request_poll())
			request_done(0);
	}
}
