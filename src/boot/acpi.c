/* SPDX-License-Identifier: MIT */
/* The ACPI tables that describe the machine to its guest. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "boot/acpi.h"
#include "boot/aml.h"

/* Identification in every table: six and eight characters, blank padded. */
#define ACPI_OEM_ID       "BATON "
#define ACPI_OEM_TABLE_ID "BATON   "
#define ACPI_CREATOR_ID   "BATN"

#define ACPI_HEADER_BYTES 36
#define ACPI_RSDP_BYTES   36
#define ACPI_FACS_BYTES   64
#define ACPI_FADT_BYTES   268 /* revision 5 */
#define ACPI_FACS_ALIGN   64
#define ACPI_TABLE_ALIGN  16
/* Local APIC ids and the I/O APIC's share eight bits, of which 0xff means all. */
#define ACPI_MAX_VCPUS 254

/* FADT offsets; ACPI 6.4, section 5.2.9. */
enum acpi_fadt {
	FADT_FACS = 36,
	FADT_DSDT = 40,
	FADT_PROFILE = 45,
	FADT_SCI = 46,
	FADT_PM1A_EVT = 56,
	FADT_PM1A_CNT = 64,
	FADT_PM1_EVT_LEN = 88,
	FADT_PM1_CNT_LEN = 89,
	FADT_C2_LATENCY = 96,
	FADT_C3_LATENCY = 98,
	FADT_CENTURY = 108,
	FADT_BOOT_ARCH = 109,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_MINOR = 131,
	FADT_X_DSDT = 140,
	FADT_X_PM1A_EVT = 148,
	FADT_X_PM1A_CNT = 172,
};

#define FADT_PROFILE_SERVER       4
#define FADT_CMOS_CENTURY         0x32
#define FADT_NO_C2                101  /* a latency beyond 100 us: state absent  */
#define FADT_NO_C3                1001 /* a latency beyond 1000 us: state absent */
#define FADT_BOOT_LEGACY_DEVICES  (1u << 0)
#define FADT_BOOT_VGA_NOT_PRESENT (1u << 2)
#define FADT_FLAG_WBINVD          (1u << 0)
#define FADT_FLAG_PROC_C1         (1u << 2)
#define FADT_FLAG_NO_SLEEP_BUTTON (1u << 5)
#define FADT_FLAG_RTC_NOT_FIXED   (1u << 6)
#define FADT_FLAG_RESET_REG       (1u << 10)
#define FADT_RESET_HARD           6

#define MADT_FLAG_PCAT           1u
#define MADT_LAPIC               0
#define MADT_IOAPIC              1
#define MADT_OVERRIDE            2
#define MADT_LAPIC_NMI           4
#define MADT_LAPIC_ENABLED       1u
#define MADT_CONFORMS            0
#define MADT_ACTIVE_HIGH_LEVEL   0xd
#define MADT_ALL_PROCESSORS      0xff
#define MADT_NMI_LINT            1
#define MADT_IOAPIC_PIN_OF_TIMER 2

#define PCI_SLOTS 32
#define PCI_PINS  4

/* _OSC, PCI Firmware Specification 3.3, section 4.5.1; its identifier's bytes as they are compared. */
static const uint8_t acpi_osc_uuid[16] = { 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
					   0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66 };
/* Of the third doubleword: native hot-plug, PME, error reporting, the capability structure. */
#define OSC_GRANTED          0x1d
#define OSC_UNKNOWN_UUID     0x04 /* in the first one */
#define OSC_UNKNOWN_REVISION 0x08
#define OSC_MASKED           0x10

static void acpi_put_le(struct buf *out, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		buf_put_u8(out, (uint8_t)(v >> (8 * i)));
}

static void acpi_set_le(uint8_t *p, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void acpi_align(struct buf *out, size_t to)
{
	while (!out->failed && out->len % to)
		buf_put_u8(out, 0);
}

/* What to add so that the bytes sum up to 0. */
static uint8_t acpi_checksum(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

/* Starts a table; its length and checksum are filled in by acpi_end(). Returns its offset. */
static size_t acpi_begin(struct buf *out, const char *signature, uint8_t revision)
{
	size_t start;

	acpi_align(out, ACPI_TABLE_ALIGN);
	start = out->len;
	buf_put_str(out, signature);
	acpi_put_le(out, 0, 4); /* length */
	buf_put_u8(out, revision);
	buf_put_u8(out, 0); /* checksum */
	buf_put_str(out, ACPI_OEM_ID);
	buf_put_str(out, ACPI_OEM_TABLE_ID);
	acpi_put_le(out, 1, 4); /* OEM revision */
	buf_put_str(out, ACPI_CREATOR_ID);
	acpi_put_le(out, 1, 4); /* creator revision */
	return start;
}

static void acpi_end(struct buf *out, size_t start)
{
	size_t n = out->len - start;

	if (out->failed)
		return;
	acpi_set_le(out->data + start + 4, n, 4);
	out->data[start + 9] = acpi_checksum(out->data + start, n);
}

static void acpi_put_vcpus(struct buf *out, unsigned int nr_vcpus)
{
	for (unsigned int i = 0; i < nr_vcpus; i++) {
		char name[8];
		size_t dev;

		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		dev = aml_begin_device(out, name);
		aml_put_name(out, "_HID");
		aml_put_str(out, "ACPI0007");
		aml_put_name(out, "_UID");
		aml_put_int(out, i);
		aml_end(out, dev);
	}
}

/* A device on the ISA side: @nr_ports ports at @port and one interrupt. */
static void acpi_put_isa(struct buf *out, const char *name, const char *id, unsigned int uid,
			 uint16_t port, uint8_t nr_ports, unsigned int irq)
{
	AUTO_BUF res = { 0 };
	size_t dev;

	dev = aml_begin_device(out, name);
	aml_put_name(out, "_HID");
	aml_put_eisa_id(out, id);
	aml_put_name(out, "_UID");
	aml_put_int(out, uid);
	aml_res_io(&res, port, nr_ports);
	aml_res_irq(&res, irq);
	aml_res_end(&res);
	aml_put_name(out, "_CRS");
	aml_put_buffer(out, &res);
	aml_end(out, dev);
}

static void acpi_put_field(struct buf *out, unsigned int offset, const char *name)
{
	aml_put_code(out, AML_CREATE_DWORD_FIELD);
	aml_put_code(out, AML_ARG3);
	aml_put_int(out, offset);
	aml_put_ref(out, name);
}

/* CDW1 |= @bit */
static void acpi_put_osc_status(struct buf *out, unsigned int bit)
{
	aml_put_code(out, AML_OR);
	aml_put_ref(out, "CDW1");
	aml_put_int(out, bit);
	aml_put_ref(out, "CDW1");
}

/* If (a != b) CDW1 |= @bit, after the two operands were written by the caller. */
static size_t acpi_begin_if_not_equal(struct buf *out)
{
	size_t start = aml_begin_if(out);

	aml_put_code(out, AML_NOT);
	aml_put_code(out, AML_EQUAL);
	return start;
}

/* What the system may control by itself of the PCI Express features it asks for. */
static void acpi_put_osc(struct buf *out)
{
	AUTO_BUF uuid = { 0 };
	size_t method, block, inner;

	buf_put(&uuid, acpi_osc_uuid, sizeof(acpi_osc_uuid));
	method = aml_begin_method(out, "_OSC", 4);
	acpi_put_field(out, 0, "CDW1");
	block = aml_begin_if(out);
	aml_put_code(out, AML_EQUAL);
	aml_put_code(out, AML_ARG0);
	aml_put_buffer(out, &uuid);
	acpi_put_field(out, 8, "CDW3");
	aml_put_code(out, AML_AND);
	aml_put_ref(out, "CDW3");
	aml_put_int(out, OSC_GRANTED);
	aml_put_code(out, AML_LOCAL0);
	inner = acpi_begin_if_not_equal(out);
	aml_put_code(out, AML_ARG1);
	aml_put_int(out, 1);
	acpi_put_osc_status(out, OSC_UNKNOWN_REVISION);
	aml_end(out, inner);
	inner = acpi_begin_if_not_equal(out);
	aml_put_ref(out, "CDW3");
	aml_put_code(out, AML_LOCAL0);
	acpi_put_osc_status(out, OSC_MASKED);
	aml_end(out, inner);
	aml_put_code(out, AML_STORE);
	aml_put_code(out, AML_LOCAL0);
	aml_put_ref(out, "CDW3");
	aml_end(out, block);
	block = aml_begin_else(out);
	acpi_put_osc_status(out, OSC_UNKNOWN_UUID);
	aml_end(out, block);
	aml_put_code(out, AML_RETURN);
	aml_put_code(out, AML_ARG3);
	aml_end(out, method);
}

/* All functions of each slot, pin by pin: the line it is wired to. */
static void acpi_put_prt(struct buf *out)
{
	size_t list, entry;

	aml_put_name(out, "_PRT");
	list = aml_begin_package(out, PCI_SLOTS * PCI_PINS);
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		for (unsigned int pin = 0; pin < PCI_PINS; pin++) {
			entry = aml_begin_package(out, 4);
			aml_put_int(out, slot << 16 | 0xffff);
			aml_put_int(out, pin);
			aml_put_int(out, 0); /* not by a link device */
			aml_put_int(out, LAYOUT_GSI_INTX(slot, pin));
			aml_end(out, entry);
		}
	}
	aml_end(out, list);
}

static void acpi_put_pci_windows(struct buf *out, uint64_t mmio64)
{
	AUTO_BUF res = { 0 };

	aml_res_buses(&res, 0, (LAYOUT_PCI_ECAM_BYTES >> 20) - 1);
	aml_res_io(&res, LAYOUT_PORT_PCI_ADDR, 8);
	aml_res_ports(&res, LAYOUT_PCI_PIO, LAYOUT_PCI_PIO_END - 1);
	aml_res_memory(&res, LAYOUT_PCI_MMIO, LAYOUT_PCI_MMIO_END - 1);
	aml_res_memory64(&res, mmio64, mmio64 + LAYOUT_PCI_MMIO64_BYTES - 1);
	aml_res_end(&res);
	aml_put_name(out, "_CRS");
	aml_put_buffer(out, &res);
}

static void acpi_put_pci(struct buf *out, uint64_t mmio64)
{
	AUTO_BUF ecam = { 0 };
	size_t dev;

	dev = aml_begin_device(out, "PCI0");
	aml_put_name(out, "_HID");
	aml_put_eisa_id(out, "PNP0A08"); /* PCI Express */
	aml_put_name(out, "_CID");
	aml_put_eisa_id(out, "PNP0A03");
	aml_put_name(out, "_UID");
	aml_put_int(out, 0);
	aml_put_name(out, "_SEG");
	aml_put_int(out, 0);
	aml_put_name(out, "_BBN");
	aml_put_int(out, 0);
	acpi_put_pci_windows(out, mmio64);
	acpi_put_prt(out);
	acpi_put_osc(out);
	aml_end(out, dev);

	/* Configuration space is nobody else's. */
	dev = aml_begin_device(out, "ECAM");
	aml_put_name(out, "_HID");
	aml_put_eisa_id(out, "PNP0C02");
	aml_put_name(out, "_UID");
	aml_put_int(out, 1);
	aml_res_fixed_memory(&ecam, LAYOUT_PCI_ECAM, LAYOUT_PCI_ECAM_BYTES);
	aml_res_end(&ecam);
	aml_put_name(out, "_CRS");
	aml_put_buffer(out, &ecam);
	aml_end(out, dev);
}

static size_t acpi_put_dsdt(struct buf *out, unsigned int nr_vcpus, unsigned int serial_mask,
			    uint64_t mmio64)
{
	size_t start = acpi_begin(out, "DSDT", 2);
	size_t scope, package;

	aml_put_name(out, "\\_S5");
	package = aml_begin_package(out, 4);
	aml_put_int(out, LAYOUT_SLP_TYP_S5); /* PM1a */
	aml_put_int(out, 0);                 /* PM1b, absent */
	aml_put_int(out, 0);
	aml_put_int(out, 0);
	aml_end(out, package);

	scope = aml_begin_scope(out, "\\_SB");
	acpi_put_vcpus(out, nr_vcpus);
	acpi_put_isa(out, "RTC", "PNP0B00", 0, LAYOUT_PORT_CMOS, 2, LAYOUT_IRQ_RTC);
	for (unsigned int i = 0; i < LAYOUT_NR_SERIAL; i++) {
		char name[8];

		if (!(serial_mask & 1u << i))
			continue;
		snprintf(name, sizeof(name), "COM%u", (i + 1) % 10);
		acpi_put_isa(out, name, "PNP0501", i + 1, LAYOUT_PORT_SERIAL(i), 8,
			     LAYOUT_IRQ_SERIAL(i));
	}
	acpi_put_pci(out, mmio64);
	aml_end(out, scope);
	acpi_end(out, start);
	return start;
}

/* A generic address: @bytes wide register in port space, one byte at a time if @bytes is 1. */
static void acpi_set_port(uint8_t *p, uint16_t port, unsigned int bytes)
{
	p[0] = 1; /* system I/O */
	p[1] = (uint8_t)(bytes * 8);
	p[2] = 0;                       /* bit offset */
	p[3] = (uint8_t)MIN(bytes, 2u); /* access: byte or word */
	acpi_set_le(p + 4, port, 8);
}

static size_t acpi_put_fadt(struct buf *out, gpa_t facs, gpa_t dsdt)
{
	uint8_t zero[ACPI_FADT_BYTES - ACPI_HEADER_BYTES] = { 0 };
	size_t start = acpi_begin(out, "FACP", 5);
	uint8_t *p;

	buf_put(out, zero, sizeof(zero));
	if (out->failed)
		return start;
	p = out->data + start;
	acpi_set_le(p + FADT_FACS, facs, 4);
	acpi_set_le(p + FADT_DSDT, dsdt, 4);
	acpi_set_le(p + FADT_X_DSDT, dsdt, 8);
	p[FADT_PROFILE] = FADT_PROFILE_SERVER;
	acpi_set_le(p + FADT_SCI, LAYOUT_IRQ_SCI, 2);
	acpi_set_le(p + FADT_PM1A_EVT, LAYOUT_PORT_ACPI_PM, 4);
	acpi_set_le(p + FADT_PM1A_CNT, LAYOUT_PORT_ACPI_CNT, 4);
	p[FADT_PM1_EVT_LEN] = 4;
	p[FADT_PM1_CNT_LEN] = 2;
	acpi_set_port(p + FADT_X_PM1A_EVT, LAYOUT_PORT_ACPI_PM, 4);
	acpi_set_port(p + FADT_X_PM1A_CNT, LAYOUT_PORT_ACPI_CNT, 2);
	acpi_set_le(p + FADT_C2_LATENCY, FADT_NO_C2, 2);
	acpi_set_le(p + FADT_C3_LATENCY, FADT_NO_C3, 2);
	p[FADT_CENTURY] = FADT_CMOS_CENTURY;
	acpi_set_le(p + FADT_BOOT_ARCH, FADT_BOOT_LEGACY_DEVICES | FADT_BOOT_VGA_NOT_PRESENT, 2);
	acpi_set_le(p + FADT_FLAGS,
		    FADT_FLAG_WBINVD | FADT_FLAG_PROC_C1 | FADT_FLAG_NO_SLEEP_BUTTON |
			    FADT_FLAG_RTC_NOT_FIXED | FADT_FLAG_RESET_REG,
		    4);
	acpi_set_port(p + FADT_RESET_REG, LAYOUT_PORT_RESET, 1);
	p[FADT_RESET_VALUE] = FADT_RESET_HARD;
	p[FADT_MINOR] = 1;
	acpi_end(out, start);
	return start;
}

static void acpi_put_override(struct buf *out, unsigned int irq, unsigned int pin, unsigned int how)
{
	buf_put_u8(out, MADT_OVERRIDE);
	buf_put_u8(out, 10);
	buf_put_u8(out, 0); /* bus: ISA */
	buf_put_u8(out, (uint8_t)irq);
	acpi_put_le(out, pin, 4);
	acpi_put_le(out, how, 2);
}

static size_t acpi_put_madt(struct buf *out, unsigned int nr_vcpus)
{
	size_t start = acpi_begin(out, "APIC", 4);

	acpi_put_le(out, LAYOUT_LAPIC, 4);
	acpi_put_le(out, MADT_FLAG_PCAT, 4);
	for (unsigned int i = 0; i < nr_vcpus; i++) {
		buf_put_u8(out, MADT_LAPIC);
		buf_put_u8(out, 8);
		buf_put_u8(out, (uint8_t)i); /* _UID of the processor device */
		buf_put_u8(out, (uint8_t)i); /* APIC id */
		acpi_put_le(out, MADT_LAPIC_ENABLED, 4);
	}
	buf_put_u8(out, MADT_IOAPIC);
	buf_put_u8(out, 12);
	buf_put_u8(out, (uint8_t)nr_vcpus); /* the first id that is no local APIC's */
	buf_put_u8(out, 0);
	acpi_put_le(out, LAYOUT_IOAPIC, 4);
	acpi_put_le(out, 0, 4); /* first global interrupt */
	acpi_put_override(out, LAYOUT_IRQ_TIMER, MADT_IOAPIC_PIN_OF_TIMER, MADT_CONFORMS);
	acpi_put_override(out, LAYOUT_IRQ_SCI, LAYOUT_IRQ_SCI, MADT_ACTIVE_HIGH_LEVEL);
	buf_put_u8(out, MADT_LAPIC_NMI);
	buf_put_u8(out, 6);
	buf_put_u8(out, MADT_ALL_PROCESSORS);
	acpi_put_le(out, MADT_CONFORMS, 2);
	buf_put_u8(out, MADT_NMI_LINT);
	acpi_end(out, start);
	return start;
}

static size_t acpi_put_mcfg(struct buf *out)
{
	size_t start = acpi_begin(out, "MCFG", 1);

	acpi_put_le(out, 0, 8);
	acpi_put_le(out, LAYOUT_PCI_ECAM, 8);
	acpi_put_le(out, 0, 2); /* segment group */
	buf_put_u8(out, 0);     /* first bus     */
	buf_put_u8(out, (LAYOUT_PCI_ECAM_BYTES >> 20) - 1);
	acpi_put_le(out, 0, 4);
	acpi_end(out, start);
	return start;
}

static size_t acpi_put_facs(struct buf *out)
{
	uint8_t facs[ACPI_FACS_BYTES] = "FACS";
	size_t start;

	acpi_align(out, ACPI_FACS_ALIGN);
	start = out->len;
	acpi_set_le(facs + 4, sizeof(facs), 4);
	facs[32] = 2; /* version */
	buf_put(out, facs, sizeof(facs));
	return start;
}

static size_t acpi_put_xsdt(struct buf *out, gpa_t fadt, gpa_t madt, gpa_t mcfg)
{
	size_t start = acpi_begin(out, "XSDT", 1);

	acpi_put_le(out, fadt, 8);
	acpi_put_le(out, madt, 8);
	acpi_put_le(out, mcfg, 8);
	acpi_end(out, start);
	return start;
}

/* Two checksums: the first 20 bytes as in ACPI 1.0, then all. */
static void acpi_set_rsdp(uint8_t p[ACPI_RSDP_BYTES], gpa_t xsdt)
{
	memset(p, 0, ACPI_RSDP_BYTES);
	memcpy(p, "RSD PTR ", 8);
	memcpy(p + 9, ACPI_OEM_ID, 6);
	p[15] = 2; /* revision */
	acpi_set_le(p + 20, ACPI_RSDP_BYTES, 4);
	acpi_set_le(p + 24, xsdt, 8);
	p[8] = acpi_checksum(p, 20);
	p[32] = acpi_checksum(p, ACPI_RSDP_BYTES);
}

int acpi_build(struct buf *out, gpa_t base, unsigned int nr_vcpus, unsigned int serial_mask,
	       uint64_t ram_size, struct err *e)
{
	uint8_t rsdp[ACPI_RSDP_BYTES] = { 0 };
	const size_t room = LAYOUT_ACPI_END - LAYOUT_ACPI_TABLES;
	gpa_t facs, dsdt, fadt, madt, mcfg, xsdt;

	if (!nr_vcpus || nr_vcpus > ACPI_MAX_VCPUS)
		return err_set(e, EINVAL,
			       "cannot describe %u vCPUs in ACPI tables: 1 to %d are possible",
			       nr_vcpus, ACPI_MAX_VCPUS);
	if (serial_mask >> LAYOUT_NR_SERIAL)
		return err_set(e, EINVAL,
			       "cannot describe serial ports 0x%x in ACPI tables: "
			       "there are %d",
			       serial_mask, LAYOUT_NR_SERIAL);
	if (base % ACPI_FACS_ALIGN || base > UINT32_MAX - room)
		return err_set(e, EINVAL, "cannot put ACPI tables at 0x%llx",
			       (unsigned long long)base);
	buf_put(out, rsdp, sizeof(rsdp));
	facs = base + acpi_put_facs(out);
	dsdt = base + acpi_put_dsdt(out, nr_vcpus, serial_mask, layout_pci_mmio64(ram_size));
	fadt = base + acpi_put_fadt(out, facs, dsdt);
	madt = base + acpi_put_madt(out, nr_vcpus);
	mcfg = base + acpi_put_mcfg(out);
	xsdt = base + acpi_put_xsdt(out, fadt, madt, mcfg);
	if (out->failed)
		return err_set(e, ENOMEM, "cannot build ACPI tables: out of memory");
	if (out->len > room)
		return err_set(e, E2BIG, "cannot fit ACPI tables of %zu bytes in %zu", out->len,
			       room);
	acpi_set_rsdp(out->data, xsdt);
	return 0;
}
