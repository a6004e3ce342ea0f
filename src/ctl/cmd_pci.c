/* SPDX-License-Identifier: MIT */
/* query-pci, and `info pci`, which is made of it. */
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/hmp_call.h"
#include "ctl/monitor.h"
#include "dev/pci/host.h"
#include "dev/pci/regs.h"
#include "machine/vm.h"

static const struct schema_member class_members[] = {
	{ "desc", SCHEMA_STR, .optional = true },
	SCHEMA_MEMBER("class", SCHEMA_INT),
	{ .name = NULL },
};
static const struct schema class_info = { .member = class_members };
static const struct schema_member id_members[] = {
	SCHEMA_MEMBER("device", SCHEMA_INT),
	SCHEMA_MEMBER("vendor", SCHEMA_INT),
	{ "subsystem", SCHEMA_INT, .optional = true },
	{ "subsystem-vendor", SCHEMA_INT, .optional = true },
	{ .name = NULL },
};
static const struct schema id_info = { .member = id_members };
static const struct schema_member region_members[] = {
	SCHEMA_MEMBER("bar", SCHEMA_INT),
	SCHEMA_MEMBER("type", SCHEMA_STR),
	SCHEMA_MEMBER("address", SCHEMA_INT),
	SCHEMA_MEMBER("size", SCHEMA_INT),
	{ "prefetch", SCHEMA_BOOL, .optional = true },
	{ "mem_type_64", SCHEMA_BOOL, .optional = true },
	{ .name = NULL },
};
static const struct schema region_info = { .member = region_members };
static const struct schema_member range_members[] = {
	SCHEMA_MEMBER("base", SCHEMA_INT),
	SCHEMA_MEMBER("limit", SCHEMA_INT),
	{ .name = NULL },
};
static const struct schema range_info = { .member = range_members };
static const struct schema_member bus_members[] = {
	SCHEMA_MEMBER("number", SCHEMA_INT),
	SCHEMA_MEMBER("secondary", SCHEMA_INT),
	SCHEMA_MEMBER("subordinate", SCHEMA_INT),
	SCHEMA_MEMBER("io_range", SCHEMA_STRUCT, .members = &range_info),
	SCHEMA_MEMBER("memory_range", SCHEMA_STRUCT, .members = &range_info),
	SCHEMA_MEMBER("prefetchable_range", SCHEMA_STRUCT, .members = &range_info),
	{ .name = NULL },
};
static const struct schema bus_info = { .member = bus_members };

/* What each device has; a port has pci_bridge as well, and behind it is no further one. */
#define DEVICE_MEMBERS                                                                         \
	SCHEMA_MEMBER("bus", SCHEMA_INT), SCHEMA_MEMBER("slot", SCHEMA_INT),                   \
		SCHEMA_MEMBER("function", SCHEMA_INT),                                         \
		SCHEMA_MEMBER("class_info", SCHEMA_STRUCT, .members = &class_info),            \
		SCHEMA_MEMBER("id", SCHEMA_STRUCT, .members = &id_info),                       \
		{ "irq", SCHEMA_INT, .optional = true }, SCHEMA_MEMBER("irq_pin", SCHEMA_INT), \
		SCHEMA_MEMBER("qdev_id", SCHEMA_STR),                                          \
		SCHEMA_MEMBER("regions", SCHEMA_LIST, .members = &region_info)

static const struct schema_member endpoint_members[] = {
	DEVICE_MEMBERS,
	{ .name = NULL },
};
static const struct schema endpoint_info = { .member = endpoint_members };
static const struct schema_member bridge_members[] = {
	SCHEMA_MEMBER("bus", SCHEMA_STRUCT, .members = &bus_info),
	{ "devices", SCHEMA_LIST, .optional = true, .members = &endpoint_info },
	{ .name = NULL },
};
static const struct schema bridge_info = { .member = bridge_members };
static const struct schema_member device_members[] = {
	DEVICE_MEMBERS,
	{ "pci_bridge", SCHEMA_STRUCT, .optional = true, .members = &bridge_info },
	{ .name = NULL },
};
static const struct schema device_info = { .member = device_members };
static const struct schema_member pci_members[] = {
	SCHEMA_MEMBER("bus", SCHEMA_INT),
	SCHEMA_MEMBER("devices", SCHEMA_LIST, .members = &device_info),
	{ .name = NULL },
};
static const struct schema pci_info = { .member = pci_members };
static const struct schema_member pci_ret = SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &pci_info);

static json_t *class_to_json(const struct pci_function *f)
{
	static const struct {
		uint16_t class;
		const char *desc;
	} names[] = {
		{ 0x0100, "SCSI controller" },
		{ 0x0200, "Ethernet controller" },
		{ 0x0300, "VGA controller" },
		{ 0x0380, "Display controller" },
		{ 0x0600, "Host bridge" },
		{ 0x0604, "PCI bridge" },
		{ 0x0780, "Communication controller" },
	};
	uint16_t class = pci_get16(f, PCI_CLASS + 1);
	json_t *j = json_pack("{s:i}", "class", class);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].class == class)
			json_object_set_new(j, "desc", json_string(names[i].desc));
	return j;
}

static json_t *id_to_json(const struct pci_function *f)
{
	json_t *j = json_pack("{s:i, s:i}", "device", pci_get16(f, PCI_DEVICE), "vendor",
			      pci_get16(f, PCI_VENDOR));

	if (f->secondary)
		return j;
	json_object_set_new(j, "subsystem", json_integer(pci_get16(f, PCI_SUBSYSTEM)));
	json_object_set_new(j, "subsystem-vendor",
			    json_integer(pci_get16(f, PCI_SUBSYSTEM_VENDOR)));
	return j;
}

/* A BAR that is nowhere has the address -1. */
static json_t *bar_to_json(const struct pci_function *f, unsigned int index)
{
	const struct pci_bar *b = &f->bars[index];
	json_int_t at = b->mapped ? (json_int_t)b->address : -1;

	if (b->kind == PCI_BAR_IO)
		return json_pack("{s:i, s:s, s:I, s:I}", "bar", (int)index, "type", "io", "address",
				 at, "size", (json_int_t)b->size);
	return json_pack("{s:i, s:s, s:I, s:I, s:b, s:b}", "bar", (int)index, "type", "memory",
			 "address", at, "size", (json_int_t)b->size, "prefetch",
			 b->kind == PCI_BAR_MEM64_PREF, "mem_type_64", b->kind != PCI_BAR_MEM32);
}

static json_t *range_to_json(uint64_t base, uint64_t limit)
{
	return json_pack("{s:I, s:I}", "base", (json_int_t)base, "limit", (json_int_t)limit);
}

static json_t *devices_to_json(const struct pci_bus *bus);

static json_t *bridge_to_json(const struct pci_function *f)
{
	uint64_t pref = (uint64_t)pci_get32(f, PCI_PREF_BASE_HIGH) << 32;
	uint64_t pref_end = (uint64_t)pci_get32(f, PCI_PREF_LIMIT_HIGH) << 32;

	pref |= (uint64_t)(pci_get16(f, PCI_PREF_BASE) & 0xfff0) << 16;
	pref_end |= (uint64_t)(pci_get16(f, PCI_PREF_LIMIT) & 0xfff0) << 16 | 0xfffff;
	return json_pack("{s:{s:i, s:i, s:i, s:o, s:o, s:o}, s:o}", "bus", "number",
			 pci_get8(f, PCI_PRIMARY_BUS), "secondary", pci_get8(f, PCI_SECONDARY_BUS),
			 "subordinate", pci_get8(f, PCI_SUBORDINATE_BUS), "io_range",
			 range_to_json((pci_get8(f, PCI_IO_BASE) & 0xf0u) << 8,
				       (pci_get8(f, PCI_IO_LIMIT) & 0xf0u) << 8 | 0xfff),
			 "memory_range",
			 range_to_json((uint64_t)(pci_get16(f, PCI_MEM_BASE) & 0xfff0u) << 16,
				       (uint64_t)(pci_get16(f, PCI_MEM_LIMIT) & 0xfff0u) << 16 |
					       0xfffff),
			 "prefetchable_range", range_to_json(pref, pref_end), "devices",
			 devices_to_json(f->secondary));
}

static json_t *device_to_info(const struct pci_function *f)
{
	unsigned int pin = pci_get8(f, PCI_INTERRUPT_PIN);
	json_t *regions = json_array();
	json_t *j = json_pack("{s:i, s:i, s:i, s:o, s:o, s:i, s:s, s:o}", "bus",
			      (int)pci_bus_number(f->bus), "slot", f->devfn >> 3, "function",
			      f->devfn & 7, "class_info", class_to_json(f), "id", id_to_json(f),
			      "irq_pin", (int)pin, "qdev_id", f->dev->id, "regions", regions);

	if (pin)
		json_object_set_new(j, "irq", json_integer(pci_get8(f, PCI_INTERRUPT_LINE)));
	for (unsigned int i = 0; i < PCI_NR_BARS; i++)
		if (f->bars[i].kind != PCI_BAR_NONE)
			json_array_append_new(regions, bar_to_json(f, i));
	if (f->secondary)
		json_object_set_new(j, "pci_bridge", bridge_to_json(f));
	return j;
}

static json_t *devices_to_json(const struct pci_bus *bus)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < PCI_DEVFNS; i++)
		if (bus->functions[i])
			json_array_append_new(list, device_to_info(bus->functions[i]));
	return list;
}

static int query_pci(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const struct pci_host *host = ctl->config.vm->pci;

	(void)args;
	(void)e;
	*ret = json_array();
	if (host)
		json_array_append_new(*ret, json_pack("{s:i, s:o}", "bus", 0, "devices",
						      devices_to_json(&host->h.root)));
	return 0;
}

const struct command pci_commands[] = {
	{ .name = "query-pci", .returns = &pci_ret, .run = query_pci },
	{ .name = NULL },
};

static long long num(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static void print_range(struct hmp_call *c, const json_t *bus, const char *member, const char *what,
			int digits)
{
	const json_t *r = json_object_get(bus, member);

	hmp_print(c, "      %s [0x%0*llx, 0x%0*llx]\n", what, digits, num(r, "base"), digits,
		  num(r, "limit"));
}

static void print_region(struct hmp_call *c, const json_t *r)
{
	unsigned long long at = (unsigned long long)num(r, "address");
	unsigned long long end = at + (unsigned long long)num(r, "size") - 1;

	hmp_print(c, "      BAR%lld: ", num(r, "bar"));
	if (!strcmp(json_string_value(json_object_get(r, "type")), "io"))
		hmp_print(c, "I/O at 0x%04llx [0x%04llx]\n", at, end);
	else
		hmp_print(c, "%d bit%s memory at 0x%08llx [0x%08llx]\n",
			  json_is_true(json_object_get(r, "mem_type_64")) ? 64 : 32,
			  json_is_true(json_object_get(r, "prefetch")) ? " prefetchable" : "", at,
			  end);
}

static void print_bridge(struct hmp_call *c, const json_t *bus)
{
	hmp_print(c, "      BUS %lld.\n", num(bus, "number"));
	hmp_print(c, "      secondary bus %lld.\n", num(bus, "secondary"));
	hmp_print(c, "      subordinate bus %lld.\n", num(bus, "subordinate"));
	print_range(c, bus, "io_range", "IO range", 4);
	print_range(c, bus, "memory_range", "memory range", 8);
	print_range(c, bus, "prefetchable_range", "prefetchable memory range", 8);
}

static void print_device(struct hmp_call *c, const json_t *d)
{
	const json_t *class = json_object_get(d, "class_info"), *id = json_object_get(d, "id");
	const json_t *bridge = json_object_get(d, "pci_bridge");
	const char *desc = json_string_value(json_object_get(class, "desc"));
	json_t *o;
	size_t i;

	hmp_print(c, "  Bus %2lld, device %3lld, function %lld:\n    ", num(d, "bus"),
		  num(d, "slot"), num(d, "function"));
	if (desc)
		hmp_print(c, "%s", desc);
	else
		hmp_print(c, "Class %04lld", num(class, "class"));
	hmp_print(c, ": PCI device %04llx:%04llx\n", num(id, "vendor"), num(id, "device"));
	if (json_object_get(id, "subsystem"))
		hmp_print(c, "      PCI subsystem %04llx:%04llx\n", num(id, "subsystem-vendor"),
			  num(id, "subsystem"));
	if (json_object_get(d, "irq"))
		hmp_print(c, "      IRQ %lld, pin %c\n", num(d, "irq"),
			  (char)('A' + num(d, "irq_pin") - 1));
	if (bridge)
		print_bridge(c, json_object_get(bridge, "bus"));
	json_array_foreach(json_object_get(d, "regions"), i, o) print_region(c, o);
	hmp_print(c, "      id \"%s\"\n", json_string_value(json_object_get(d, "qdev_id")));
	json_array_foreach(json_object_get(bridge, "devices"), i, o) print_device(c, o);
}

void hmp_info_pci(struct hmp_call *c, char *rest)
{
	json_t *buses = hmp_qmp(c, "query-pci", NULL), *bus, *d;
	size_t i, k;

	(void)rest;
	json_array_foreach(buses, i, bus) json_array_foreach(json_object_get(bus, "devices"), k, d)
		print_device(c, d);
	json_decref(buses);
}
