/* SPDX-License-Identifier: MIT */
/* Where things are in the guest's address spaces and on its interrupt lines. */
#ifndef MACHINE_LAYOUT_H
#define MACHINE_LAYOUT_H

#include <stdint.h>

/* A guest-physical address. */
typedef uint64_t gpa_t;

/* The machine type; it names the layout below and travels with the state. */
#define LAYOUT_MACHINE_TYPE "baton-1"

/* RAM: [0, low end), and what does not fit below the hole goes to 4 GiB and up. */
#define LAYOUT_LOW_RAM_MAX UINT64_C(0xc0000000)
#define LAYOUT_HIGH_RAM    UINT64_C(0x100000000)
#define LAYOUT_RAM_MIN     (UINT64_C(2) << 20)
#define LAYOUT_EBDA        UINT64_C(0x9fc00) /* conventional memory ends here  */
#define LAYOUT_LEGACY_END  UINT64_C(0x100000)
#define LAYOUT_ACPI_TABLES UINT64_C(0xe0000) /* RSDP first, then the tables    */
#define LAYOUT_ACPI_END    UINT64_C(0x100000)
/* The block of RAM that holds them; the guest can only read it. */
#define LAYOUT_ACPI_BLOCK "/rom@etc/acpi/tables"

/* What Intel's KVM needs for real mode; kept out of RAM and devices. */
#define LAYOUT_ROM_END      UINT64_C(0x100000000) /* firmware ends where it starts */
#define LAYOUT_IDENTITY_MAP UINT64_C(0xfeffc000)
#define LAYOUT_TSS          UINT64_C(0xfeffd000)
/* PCI: configuration space of all buses, then where BARs can be below 4 GiB. */
#define LAYOUT_PCI_ECAM       UINT64_C(0xc0000000)
#define LAYOUT_PCI_ECAM_BYTES UINT64_C(0x10000000)
#define LAYOUT_PCI_MMIO       UINT64_C(0xd0000000)
#define LAYOUT_PCI_MMIO_END   UINT64_C(0xfec00000)
/* Above, BARs can be wherever no RAM is; the guest is told of this many bytes from the first GiB on. */
#define LAYOUT_PCI_MMIO64_BYTES UINT64_C(0x800000000)
#define LAYOUT_PCI_PIO          0x1000 /* to the end; platform devices are below */
#define LAYOUT_PCI_PIO_END      0x10000
#define LAYOUT_IOAPIC           UINT64_C(0xfec00000)
#define LAYOUT_LAPIC            UINT64_C(0xfee00000)

/* Ports. */
#define LAYOUT_PORT_PIT       0x40
#define LAYOUT_PORT_KBD       0x60
#define LAYOUT_PORT_KBD_CMD   0x64
#define LAYOUT_PORT_CMOS      0x70
#define LAYOUT_PORT_PORT92    0x92
#define LAYOUT_PORT_ACPI_PM   0x600 /* PM1a event block, 4 ports */
#define LAYOUT_PORT_ACPI_CNT  0x604 /* PM1a control block, 2     */
#define LAYOUT_PORT_FW_CFG    0x510
#define LAYOUT_PORT_PCI_ADDR  0xcf8 /* a doubleword; its second byte is the next */
#define LAYOUT_PORT_RESET     0xcf9
#define LAYOUT_PORT_PCI_DATA  0xcfc
#define LAYOUT_PORT_SERIAL(n) ((const uint16_t[]){ 0x3f8, 0x2f8, 0x3e8, 0x2e8 }[n])
#define LAYOUT_NR_SERIAL      4

/* Interrupt lines (ISA numbers; IOAPIC pins with 0 on pin 2). */
#define LAYOUT_IRQ_TIMER     0
#define LAYOUT_IRQ_RTC       8
#define LAYOUT_IRQ_SCI       9
#define LAYOUT_IRQ_SERIAL(n) ((n)&1 ? 3u : 4u)
/* The line of pin 0..3 (INTA#...) of a slot of the root bus: level-triggered, active-high. */
#define LAYOUT_GSI_PCI             16u
#define LAYOUT_GSI_INTX(slot, pin) (LAYOUT_GSI_PCI + ((slot) + (pin)) % 4u)

/* ACPI PM1a control register: SLP_TYP of the soft-off state, as \_S5 in the DSDT says. */
#define LAYOUT_SLP_TYP_S5 5

/* Where the window above 4 GiB begins that the guest is told of, with @ram_size bytes of RAM. */
static inline gpa_t layout_pci_mmio64(uint64_t ram_size)
{
	const uint64_t gib = UINT64_C(1) << 30;
	uint64_t high = ram_size > LAYOUT_LOW_RAM_MAX ? ram_size - LAYOUT_LOW_RAM_MAX : 0;

	return LAYOUT_HIGH_RAM + (high + gib - 1) / gib * gib;
}

#endif
