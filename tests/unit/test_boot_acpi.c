/* SPDX-License-Identifier: MIT */
/* The ACPI tables are what the specification says, and describe this machine. */
#include <stdlib.h>

#include "boot/acpi.h"
#include "boot/aml.h"
#include "boot_fixture.h"

#define BASE LAYOUT_ACPI_TABLES
#define RAM  (UINT64_C(4) << 30)

static void build(struct buf *out, unsigned int nr_vcpus, unsigned int serial_mask)
{
	struct err e = ERR_INIT;

	if (acpi_build(out, BASE, nr_vcpus, serial_mask, RAM, &e))
		fail_msg("%s", e.msg);
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

/* A table by its address in the guest; checks that it is inside, and its sum. */
static const uint8_t *table_at(const struct buf *b, gpa_t gpa, const char *signature, size_t *bytes)
{
	const uint8_t *p;
	size_t n;

	assert_true(gpa >= BASE && gpa - BASE + 36 <= b->len);
	p = b->data + (gpa - BASE);
	assert_memory_equal(p, signature, 4);
	n = fixture_get_le(p + 4, 4);
	assert_true(n >= 36 && gpa - BASE + n <= b->len);
	assert_int_equal(sum(p, n), 0);
	assert_memory_equal(p + 10, "BATON ", 6);
	*bytes = n;
	return p;
}

struct tables {
	const uint8_t *fadt, *madt, *mcfg, *dsdt, *facs;
	size_t fadt_bytes, madt_bytes, mcfg_bytes, dsdt_bytes;
};

static struct tables find_tables(const struct buf *b)
{
	struct tables t;
	const uint8_t *xsdt;
	size_t n;

	assert_memory_equal(b->data, "RSD PTR ", 8);
	assert_int_equal(sum(b->data, 20), 0);
	assert_int_equal(sum(b->data, 36), 0);
	assert_int_equal(b->data[15], 2);
	assert_int_equal(fixture_get_le(b->data + 20, 4), 36);
	xsdt = table_at(b, fixture_get_le(b->data + 24, 8), "XSDT", &n);
	assert_int_equal(n, 36 + 3 * 8);
	t.fadt = table_at(b, fixture_get_le(xsdt + 36, 8), "FACP", &t.fadt_bytes);
	t.madt = table_at(b, fixture_get_le(xsdt + 44, 8), "APIC", &t.madt_bytes);
	t.mcfg = table_at(b, fixture_get_le(xsdt + 52, 8), "MCFG", &t.mcfg_bytes);
	t.dsdt = table_at(b, fixture_get_le(t.fadt + 140, 8), "DSDT", &t.dsdt_bytes);
	assert_int_equal(fixture_get_le(t.fadt + 40, 4), fixture_get_le(t.fadt + 140, 8));
	t.facs = b->data + (fixture_get_le(t.fadt + 36, 4) - BASE);
	return t;
}

static void every_table_has_right_length_and_checksum(void **state)
{
	static const unsigned int counts[] = { 1, 2, 15, 16, 64, 254 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		for (unsigned int mask = 0; mask < 16; mask++) {
			AUTO_BUF b = { 0 };
			struct tables t;

			build(&b, counts[i], mask);
			t = find_tables(&b);
			assert_memory_equal(t.facs, "FACS", 4);
			assert_int_equal((t.facs - b.data) % 64, 0);
			assert_int_equal(fixture_get_le(t.facs + 4, 4), 64);
		}
	}
}

static void same_arguments_make_same_bytes(void **state)
{
	AUTO_BUF a = { 0 };
	AUTO_BUF b = { 0 };

	(void)state;
	build(&a, 3, 1);
	build(&b, 3, 1);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
}

static void fadt_names_the_ports_and_the_reset_register(void **state)
{
	AUTO_BUF b = { 0 };
	struct tables t;
	uint32_t flags;

	(void)state;
	build(&b, 1, 1);
	t = find_tables(&b);
	assert_int_equal(t.fadt[8], 5);
	assert_int_equal(t.fadt_bytes, 268);
	assert_int_equal(fixture_get_le(t.fadt + 46, 2), 9);     /* SCI */
	assert_int_equal(fixture_get_le(t.fadt + 48, 4), 0);     /* SMI command */
	assert_int_equal(fixture_get_le(t.fadt + 56, 4), 0x600); /* PM1a events */
	assert_int_equal(fixture_get_le(t.fadt + 64, 4), 0x604); /* PM1a control */
	assert_int_equal(fixture_get_le(t.fadt + 76, 4), 0);     /* PM timer */
	assert_int_equal(fixture_get_le(t.fadt + 152, 8), 0x600);
	assert_int_equal(fixture_get_le(t.fadt + 176, 8), 0x604);
	assert_int_equal(fixture_get_le(t.fadt + 109, 2), 1 | 4); /* legacy, no VGA, no 8042 */
	flags = (uint32_t)fixture_get_le(t.fadt + 112, 4);
	assert_true(flags & 1u << 10);  /* reset register */
	assert_false(flags & 1u << 4);  /* power button is the fixed one */
	assert_false(flags & 1u << 20); /* not hardware-reduced */
	assert_int_equal(t.fadt[116], 1);
	assert_int_equal(fixture_get_le(t.fadt + 120, 8), 0xcf9);
	assert_int_equal(t.fadt[128], 6);
}

static void madt_lists_each_vcpu_and_a_distinct_ioapic(void **state)
{
	AUTO_BUF b = { 0 };
	struct tables t;
	bool id_used[256] = { false };
	unsigned int vcpus = 0, ioapics = 0, overrides = 0, nmis = 0;

	(void)state;
	build(&b, 64, 0);
	t = find_tables(&b);
	assert_int_equal(fixture_get_le(t.madt + 36, 4), 0xfee00000);
	for (size_t at = 44; at < t.madt_bytes; at += t.madt[at + 1]) {
		const uint8_t *p = t.madt + at;

		assert_true(p[1] >= 2 && at + p[1] <= t.madt_bytes);
		if (p[0] == 0) {
			assert_int_equal(p[2], vcpus);
			assert_int_equal(p[3], vcpus++);
			assert_int_equal(p[4], 1);
			id_used[p[3]] = true;
		} else if (p[0] == 1) {
			assert_false(id_used[p[2]]);
			assert_int_equal(fixture_get_le(p + 4, 4), 0xfec00000);
			ioapics++;
		} else if (p[0] == 2) {
			bool timer = p[3] == 0;

			assert_int_equal(fixture_get_le(p + 4, 4), timer ? 2 : 9);
			assert_int_equal(fixture_get_le(p + 8, 2), timer ? 0 : 0xd);
			overrides++;
		} else {
			assert_int_equal(p[0], 4);
			nmis++;
		}
	}
	assert_int_equal(vcpus, 64);
	assert_int_equal(ioapics, 1);
	assert_int_equal(overrides, 2);
	assert_int_equal(nmis, 1);
}

static void mcfg_says_where_configuration_space_is(void **state)
{
	AUTO_BUF b = { 0 };
	struct tables t;

	(void)state;
	build(&b, 1, 0);
	t = find_tables(&b);
	assert_int_equal(t.mcfg_bytes, 36 + 8 + 16);
	assert_int_equal(fixture_get_le(t.mcfg + 44, 8), 0xc0000000);
	assert_int_equal(fixture_get_le(t.mcfg + 52, 2), 0); /* segment */
	assert_int_equal(t.mcfg[54], 0);                     /* buses */
	assert_int_equal(t.mcfg[55], 255);
}

static void the_window_above_4_gib_begins_behind_ram(void **state)
{
	(void)state;
	assert_int_equal(layout_pci_mmio64(64 * MIB), UINT64_C(0x100000000));
	assert_int_equal(layout_pci_mmio64(3 * GIB), UINT64_C(0x100000000));
	assert_int_equal(layout_pci_mmio64(3 * GIB + 1), UINT64_C(0x140000000));
	assert_int_equal(layout_pci_mmio64(8 * GIB), UINT64_C(0x240000000));
}

static void impossible_machines_are_refused(void **state)
{
	static const struct {
		gpa_t base;
		unsigned int nr_vcpus, serial_mask;
	} bad[] = {
		{ BASE, 0, 0 },    { BASE, 255, 0 },    { BASE, UINT32_MAX, 0 },
		{ BASE, 1, 0x10 }, { BASE + 16, 1, 0 }, { UINT64_C(1) << 32, 1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUF b = { 0 };
		struct err e = ERR_INIT;

		assert_true(acpi_build(&b, bad[i].base, bad[i].nr_vcpus, bad[i].serial_mask, RAM,
				       &e) < 0);
		assert_true(strlen(e.msg) > 10);
	}
}

/* Lengths at each boundary of the encoding decode to what was written. */
static void aml_lengths_count_themselves(void **state)
{
	static const size_t bodies[] = {
		1, 62, 63, 4093, 4094, 1 << 19, 1048572, 1048573, 1 << 22
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		AUTO_BUF b = { 0 };
		size_t start, len, extra;

		start = aml_begin_package(&b, 0);
		for (size_t k = 1; k < bodies[i]; k++)
			buf_put_u8(&b, 0x55);
		aml_end(&b, start);
		assert_false(b.failed);
		extra = b.data[1] >> 6;
		len = extra ? b.data[1] & 0xf : b.data[1] & 0x3f;
		for (size_t k = 0; k < extra; k++)
			len |= (size_t)b.data[2 + k] << (4 + 8 * k);
		assert_int_equal(len, b.len - 1);
		assert_int_equal(len, bodies[i] + 1 + extra);
		assert_int_equal(b.data[2 + extra], 0); /* the body moved whole */
		if (bodies[i] > 1)
			assert_int_equal(b.data[b.len - 1], 0x55);
	}
}

static void aml_refuses_malformed_names_and_ids(void **state)
{
	static const char *const ids[] = { "", "PNP050", "pnp0501", "PNP050g", "PNP05011" };
	static const char *const names[] = { "", "\\", "ABCDE" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		AUTO_BUF b = { 0 };

		aml_put_eisa_id(&b, ids[i]);
		assert_true(b.failed);
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO_BUF b = { 0 };

		aml_put_name(&b, names[i]);
		assert_true(b.failed);
	}
}

/* Runs @command in the shell; true if it succeeded. */
static bool run(const char *command)
{
	return system(command) == 0; /* NOLINT: the command is ours */
}

static void read_text(const char *path, char *text, size_t size)
{
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(text, 1, size - 1, f) : 0;

	text[n] = '\0';
	if (f)
		fclose(f);
}

/* Writes the DSDT of a machine of 64 vCPUs to @dir, made from that template; needs iasl's package. */
static void write_dsdt(char *dir)
{
	AUTO_BUF b = { 0 };
	struct tables t;
	char path[256];
	bool ok;
	FILE *f;

	if (!run("command -v iasl >/dev/null 2>&1")) {
		print_message("SKIPPED: NO iasl, OF PACKAGE acpica-tools\n");
		skip();
	}
	build(&b, 64, 0x5);
	t = find_tables(&b);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/dsdt.aml", dir);
	f = fopen(path, "we");
	ok = f && fwrite(t.dsdt, t.dsdt_bytes, 1, f) == 1;
	if (f)
		ok = !fclose(f) && ok;
	assert_true(ok);
}

/* Runs @command in @dir, reads what is in its file @name afterwards, and removes @dir. */
static bool run_in(const char *dir, const char *command, const char *name, char *text, size_t size)
{
	char path[256], line[1024];
	bool ok;

	snprintf(line, sizeof(line), "cd %s && %s", dir, command);
	ok = run(line);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	read_text(path, text, size);
	snprintf(line, sizeof(line), "rm -rf %s", dir);
	run(line);
	return ok;
}

static void dsdt_disassembles_and_compiles_again(void **state)
{
	static char text[256 * 1024];
	char dir[] = "/tmp/baton-acpi-XXXXXX";

	(void)state;
	write_dsdt(dir);
	/* The second compilation treats warnings as errors. */
	assert_true(run_in(dir,
			   "iasl -d dsdt.aml >/dev/null 2>&1 && "
			   "iasl -we -p again dsdt.dsl >log 2>&1",
			   "dsdt.dsl", text, sizeof(text)));
	assert_non_null(strstr(text, "Device (C03F)"));
	assert_null(strstr(text, "Device (C040)"));
	assert_non_null(strstr(text, "Device (COM1)"));
	assert_null(strstr(text, "Device (COM2)"));
	assert_non_null(strstr(text, "Device (COM3)"));
	assert_null(strstr(text, "Device (COM4)"));
	assert_non_null(strstr(text, "EisaId (\"PNP0B00\")"));
	assert_non_null(strstr(text, "EisaId (\"PNP0501\")"));
	assert_non_null(strstr(text, "Name (\\_S5, Package (0x04)"));
	assert_non_null(strstr(text, "0x03F8,             // Range Minimum"));
	assert_non_null(strstr(text, "Device (PCI0)"));
	assert_non_null(strstr(text, "EisaId (\"PNP0A08\")"));
	assert_non_null(strstr(text, "EisaId (\"PNP0C02\")"));
	assert_non_null(strstr(text, "Name (_PRT, Package (0x80)"));
	assert_non_null(strstr(text, "0x0000000140000000, // Range Minimum"));
	assert_non_null(strstr(text, "0xFEBFFFFF,         // Range Maximum"));
	assert_non_null(strstr(text, "ToUUID (\"33db4d5b-1ff7-401c-9657-7441c03dd766\")"));
}

#define OSC_PCI     "5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 66"
#define OSC_UNKNOWN "5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 67"

/* What a system is granted that asks for hot-plug, SHPC, PME, errors and the capability. */
static void a_system_may_control_hot_plug_by_itself(void **state)
{
	static const struct {
		const char *uuid;
		unsigned int revision;
		const char *answer;
	} cases[] = {
		{ OSC_PCI, 1, "10 00 00 00 1F 00 00 00 1D 00 00 00" },
		{ OSC_PCI, 2, "18 00 00 00 1F 00 00 00 1D 00 00 00" },
		{ OSC_UNKNOWN, 1, "04 00 00 00 1F 00 00 00 1F 00 00 00" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char dir[] = "/tmp/baton-acpi-XXXXXX", command[512];
		static char text[64 * 1024];

		write_dsdt(dir);
		snprintf(
			command, sizeof(command),
			"acpiexec -b 'evaluate \\_SB_.PCI0._OSC (%s) %u 3 (00 00 00 00 1F 00 00 00 "
			"1F 00 00 00)' dsdt.aml >log 2>&1",
			cases[i].uuid, cases[i].revision);
		assert_true(run_in(dir, command, "log", text, sizeof(text)));
		if (!strstr(text, cases[i].answer))
			fail_msg("%s", text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_table_has_right_length_and_checksum),
		cmocka_unit_test(same_arguments_make_same_bytes),
		cmocka_unit_test(fadt_names_the_ports_and_the_reset_register),
		cmocka_unit_test(madt_lists_each_vcpu_and_a_distinct_ioapic),
		cmocka_unit_test(mcfg_says_where_configuration_space_is),
		cmocka_unit_test(the_window_above_4_gib_begins_behind_ram),
		cmocka_unit_test(impossible_machines_are_refused),
		cmocka_unit_test(aml_lengths_count_themselves),
		cmocka_unit_test(aml_refuses_malformed_names_and_ids),
		cmocka_unit_test(dsdt_disassembles_and_compiles_again),
		cmocka_unit_test(a_system_may_control_hot_plug_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
