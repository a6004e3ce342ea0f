/* SPDX-License-Identifier: MIT */
/* Root ports: what they forward, and how devices come and go behind them. */
#include "dev/pci/root_port.h"
#include "machine/device_type.h"
#include "pci_fixture.h"

enum {
	PORT = 2 << 3, /* devfn */
	BUS = 5,       /* number the guest gives the bus behind */

	CTL_EVENTS = 0x1009, /* button, presence, link */
	CTL_INTERRUPT = 0x20,
	CTL_LED_ON = 0x100,
	CTL_LED_BLINK = 0x200,
	CTL_LED_OFF = 0x300,
	CTL_POWER_OFF = 0x400,
	STA_BUTTON = 0x1,
	STA_PRESENCE = 0x8,
	STA_PRESENT = 0x40,
	STA_LINK = 0x100,
	MSIX_AT = 0xd0000000,
};

struct root_port_fixture {
	struct pci_fixture f;
	struct root_port *port;
	struct vm_observer observer;
	char deleted[64];
	unsigned int cap;
};

static void on_event(void *opaque, enum vm_event event, const char *detail)
{
	struct root_port_fixture *r = opaque;

	if (event == VM_EVENT_DEVICE_DELETED)
		snprintf(r->deleted, sizeof(r->deleted), "%s", detail);
}

static struct root_port *add_port(struct pci_fixture *f, const char *options)
{
	struct device_spec spec;
	struct device *d = NULL;
	struct err e = ERR_INIT;

	if (device_spec_parse(&spec, options, &e) || device_spec_create(&f->vm, &spec, &d, &e))
		fail_msg("%s", e.msg);
	device_spec_fini(&spec);
	return CONTAINER_OF(d, struct root_port, dev);
}

static void init(struct root_port_fixture *r)
{
	pci_fixture_init(&r->f);
	r->deleted[0] = '\0';
	r->observer = (struct vm_observer){ .event = on_event, .opaque = r };
	vm_observe(&r->f.vm, &r->observer);
	r->port = add_port(&r->f, "pcie-root-port,id=rp0,addr=2,slot=7,chassis=1");
	r->cap = find_cap(&r->f, PORT, PCI_CAP_EXPRESS);
}

static int setup(void **state)
{
	struct root_port_fixture *r = calloc(1, sizeof(*r));

	init(r);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct root_port_fixture *r = *state;

	pci_fixture_fini(&r->f);
	free(r);
	return 0;
}

static uint32_t get(struct root_port_fixture *r, unsigned int reg)
{
	return cfg_get(&r->f, PORT, r->cap + reg, 2);
}

static void set(struct root_port_fixture *r, unsigned int reg, uint32_t v)
{
	cfg_set(&r->f, PORT, r->cap + reg, 2, v);
}

static void set_running(struct root_port_fixture *r, bool running)
{
	r->f.vm.runstate = running ? RUNSTATE_RUNNING : RUNSTATE_PAUSED;
	root_port_class.run_changed(&r->port->dev, running);
	loop_run_once(r->f.vm.loop, 0);
}

static uint32_t behind_get(struct root_port_fixture *r, unsigned int reg, unsigned int size)
{
	return (uint32_t)bus_get(&r->f.vm.mmio, ecam_address(BUS, 0, reg), size);
}

static void behind_set(struct root_port_fixture *r, unsigned int reg, unsigned int size, uint32_t v)
{
	bus_set(&r->f.vm.mmio, ecam_address(BUS, 0, reg), size, v);
}

/* As firmware does: bus number, a window of 2 MiB. */
static void program_bridge(struct root_port_fixture *r)
{
	cfg_set(&r->f, PORT, PCI_PRIMARY_BUS, 4, BUS << 16 | BUS << 8);
	cfg_set(&r->f, PORT, PCI_MEM_BASE, 4, 0xe010e000);
	cfg_set(&r->f, PORT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* As a driver of the slot does: MSI-X, then it wants to hear of everything. */
static void listen(struct root_port_fixture *r)
{
	struct io_bus *mmio = &r->f.vm.mmio;

	cfg_set(&r->f, PORT, PCI_BAR0, 4, MSIX_AT);
	bus_set(mmio, MSIX_AT, 8, 0xfee00000);
	bus_set(mmio, MSIX_AT + 8, 8, 0x77);
	cfg_set(&r->f, PORT, find_cap(&r->f, PORT, PCI_CAP_MSIX) + 2, 2, PCI_MSIX_ENABLE);
	set(r, PCI_EXP_SLOT_CTL, get(r, PCI_EXP_SLOT_CTL) | CTL_EVENTS | CTL_INTERRUPT);
}

static void a_port_is_a_bridge_with_a_slot(void **state)
{
	struct root_port_fixture *r = *state;

	assert_int_equal(cfg_get(&r->f, PORT, 0, 4), 0x000c1b36);
	assert_int_equal(cfg_get(&r->f, PORT, 8, 4) >> 8, 0x060400);
	assert_int_equal(cfg_get(&r->f, PORT, PCI_HEADER_TYPE, 1), 1);
	assert_int_equal(get(r, PCI_EXP_FLAGS), 0x142);
	/* Button, power control, both indicators, hot-plug; number 7. */
	assert_int_equal(cfg_get(&r->f, PORT, r->cap + PCI_EXP_SLOT_CAP, 4), 7 << 19 | 0x4005b);
	assert_int_equal(get(r, PCI_EXP_SLOT_STA), 0);
	assert_int_equal(get(r, PCI_EXP_SLOT_CTL), CTL_POWER_OFF | CTL_LED_OFF);
	assert_string_equal(r->port->dev.path, "0000:00:02.0");
	cfg_set(&r->f, PORT, PCI_PREF_BASE, 4, 0xffffffff);
	assert_int_equal(cfg_get(&r->f, PORT, PCI_PREF_BASE, 4), 0xfff1fff1);
}

static void the_guest_says_what_is_forwarded(void **state)
{
	struct root_port_fixture *r = *state;
	struct pci_function *b = &r->port->h.pci;
	struct toy *t = toy_add(&r->f, "t", "rp0", -1);

	assert_string_equal(t->dev.path, "0000:00:02.0:00.0");
	assert_string_equal(t->dev.bus, "rp0");
	assert_int_equal(behind_get(r, 0, 4), 0xffffffff);
	program_bridge(r);
	assert_int_equal(behind_get(r, 0, 4), 0x00ff1b36);
	assert_int_equal(behind_get(r, find_cap(&r->f, PORT, PCI_CAP_EXPRESS) + PCI_EXP_FLAGS, 2),
			 0x02);
	behind_set(r, PCI_BAR0, 4, 0xe0004000);
	behind_set(r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(t->h.pci.bars[0].mapped);
	behind_set(r, PCI_BAR0, 4, 0xe0200000);
	assert_false(t->h.pci.bars[0].mapped);
	behind_set(r, PCI_BAR0, 4, 0xe01fc000);
	assert_true(t->h.pci.bars[0].mapped);
	cfg_set(&r->f, PORT, PCI_COMMAND, 2, 0);
	assert_false(t->h.pci.bars[0].mapped);
	/* The window with 64 bits. */
	cfg_set(&r->f, PORT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	cfg_set(&r->f, PORT, PCI_PREF_BASE, 4, 0x00100000);
	cfg_set(&r->f, PORT, PCI_PREF_BASE_HIGH, 4, 0x23);
	cfg_set(&r->f, PORT, PCI_PREF_LIMIT_HIGH, 4, 0x23);
	behind_set(r, PCI_BAR0, 4, 0);
	behind_set(r, PCI_BAR0 + 4, 4, 0x23);
	assert_true(t->h.pci.bars[0].mapped);
	/* A window that ends before it begins is none. */
	assert_true(pci_bridge_forwards(b, false, UINT64_C(0x2300000000), 0x1000));
	cfg_set(&r->f, PORT, PCI_PREF_LIMIT_HIGH, 4, 0);
	assert_false(pci_bridge_forwards(b, false, UINT64_C(0x2300000000), 0x1000));
	assert_false(pci_bridge_forwards(b, true, 0x0, 0x1001));
	/* Its pin is the port's. */
	assert_int_equal(pci_function_gsi(&t->h.pci), 18);
	pci_set_intx(&t->h.pci, true);
	assert_true(r->f.level[2]);
	/* Reset of the bus behind. */
	cfg_set(&r->f, PORT, PCI_BRIDGE_CONTROL, 2, PCI_BRIDGE_CONTROL_RESET);
	assert_int_equal(t->resets, 2);
	assert_int_equal(behind_get(r, PCI_COMMAND, 2), 0);
	assert_false(r->f.level[2]);
}

static void there_is_one_place_behind_a_port(void **state)
{
	struct root_port_fixture *r = *state;
	struct toy *t, *none = NULL;
	struct device_spec spec;
	struct device *d;
	struct err e;

	t = toy_add(&r->f, "t", "rp0", 0);
	assert_int_equal(toy_create(&r->f.vm, "u", "rp0", -1, false, &none, &e), -ENOSPC);
	assert_int_equal(toy_create(&r->f.vm, "u", "rp0", 8, false, &none, &e), -EINVAL);
	assert_int_equal(toy_create(&r->f.vm, "u", "rp0", 0, false, &none, &e), -EBUSY);
	device_remove(&t->dev);
	assert_int_equal(device_spec_parse(&spec, "pcie-root-port,id=rp1,bus=rp0", &e), 0);
	assert_int_equal(device_spec_create(&r->f.vm, &spec, &d, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "behind a port"));
	device_spec_fini(&spec);
	assert_int_equal(device_spec_parse(&spec, "pcie-root-port,id=pcie.0", &e), 0);
	assert_int_equal(device_spec_create(&r->f.vm, &spec, &d, &e), -EEXIST);
	device_spec_fini(&spec);
	/* Without an id the bus is called after its place. */
	assert_int_equal(toy_add(&r->f, "v", add_port(&r->f, "pcie-root-port,addr=9")->h.bus.name,
				 0)
				 ->h.pci.bus->bridge->dev->addr,
			 9 << 3);
}

static void a_device_that_comes_is_announced(void **state)
{
	struct root_port_fixture *r = *state;
	struct toy *t = NULL;
	struct err e;

	set_running(r, true);
	program_bridge(r);
	listen(r);
	assert_int_equal(toy_create(&r->f.vm, "t", "", -1, true, &t, &e), 0);
	assert_string_equal(t->dev.bus, "rp0");
	/* Not before it is whole. */
	assert_int_equal(r->f.msis, 0);
	assert_int_equal(get(r, PCI_EXP_SLOT_STA), 0);
	loop_run_once(r->f.vm.loop, 0);
	assert_int_equal(r->f.msis, 1);
	assert_int_equal(r->f.msi_data, 0x77);
	assert_int_equal(get(r, PCI_EXP_SLOT_STA), STA_PRESENT | STA_PRESENCE | STA_LINK);
	assert_int_equal(get(r, PCI_EXP_LINK_STA), 0x2011);
	set(r, PCI_EXP_SLOT_STA, STA_PRESENCE | STA_LINK);
	assert_int_equal(get(r, PCI_EXP_SLOT_STA), STA_PRESENT);
	set(r, PCI_EXP_SLOT_CTL, CTL_EVENTS | CTL_INTERRUPT | CTL_LED_ON);
	loop_run_once(r->f.vm.loop, 0);
	assert_int_equal(behind_get(r, 0, 4), 0x00ff1b36);
	assert_int_equal(r->f.msis, 1);
}

static struct toy *plugged(struct root_port_fixture *r)
{
	struct toy *t = toy_add(&r->f, "t", "rp0", -1);

	root_port_class.reset(&r->port->dev);
	assert_int_equal(get(r, PCI_EXP_SLOT_STA), STA_PRESENT);
	assert_int_equal(get(r, PCI_EXP_SLOT_CTL), CTL_LED_ON);
	set_running(r, true);
	program_bridge(r);
	listen(r);
	return t;
}

static void a_device_goes_when_the_guest_lets_go_of_it(void **state)
{
	struct root_port_fixture *r = *state;
	struct toy *t = plugged(r);
	uint32_t on = CTL_EVENTS | CTL_INTERRUPT;
	struct err e = ERR_INIT;

	assert_int_equal(pci_request_unplug(&t->dev, &e), 0);
	assert_int_equal(get(r, PCI_EXP_SLOT_STA), STA_PRESENT | STA_BUTTON);
	assert_int_equal(r->f.msis, 1);
	set(r, PCI_EXP_SLOT_STA, STA_BUTTON);
	set(r, PCI_EXP_SLOT_CTL, on | CTL_LED_BLINK);
	assert_int_equal(pci_request_unplug(&t->dev, &e), -EBUSY);
	assert_string_equal(e.msg, "Hot-unplug failed: guest is busy (power indicator blinking)");
	set(r, PCI_EXP_SLOT_CTL, on | CTL_LED_BLINK | CTL_POWER_OFF);
	loop_run_once(r->f.vm.loop, 0);
	assert_string_equal(r->deleted, "");
	set(r, PCI_EXP_SLOT_CTL, on | CTL_LED_OFF | CTL_POWER_OFF);
	/* The vCPU that wrote it does not free it. */
	assert_string_equal(r->deleted, "");
	loop_run_once(r->f.vm.loop, 0);
	assert_string_equal(r->deleted, "/machine/peripheral/t");
	assert_int_equal(get(r, PCI_EXP_SLOT_STA), STA_PRESENCE | STA_LINK);
	assert_int_equal(behind_get(r, 0, 4), 0xffffffff);
	assert_int_equal(r->f.msis, 2);
	/* What comes next is there to stay, though the power is still off. */
	toy_add(&r->f, "u", "rp0", -1);
	loop_run_once(r->f.vm.loop, 0);
	set(r, PCI_EXP_SLOT_CTL, on | CTL_LED_OFF | CTL_POWER_OFF);
	loop_run_once(r->f.vm.loop, 0);
	assert_non_null(device_find(&r->f.vm, "u"));
	/* And goes at once, since the guest does not use it. */
	assert_int_equal(pci_request_unplug(device_find(&r->f.vm, "u"), &e), 0);
	assert_string_equal(r->deleted, "/machine/peripheral/u");
	assert_false(get(r, PCI_EXP_SLOT_STA) & STA_PRESENT);
}

static void what_is_on_the_root_bus_stays(void **state)
{
	struct root_port_fixture *r = *state;
	struct toy *t = toy_add(&r->f, "t", "", -1);
	struct err e = ERR_INIT;

	assert_int_equal(pci_request_unplug(&t->dev, &e), -EBUSY);
	assert_string_equal(e.msg, "Bus 'pcie.0' does not support hotplugging");
	assert_int_equal(pci_request_unplug(&r->port->dev, &e), -EBUSY);
}

static void a_port_without_hot_plug_keeps_what_it_has(void **state)
{
	struct root_port_fixture *r = *state;
	struct root_port *p = add_port(&r->f, "pcie-root-port,id=cold,addr=4,hotplug=off");
	unsigned int cap = find_cap(&r->f, 4 << 3, PCI_CAP_EXPRESS);
	struct toy *t = toy_add(&r->f, "t", "cold", -1), *none = NULL;
	struct err e = ERR_INIT;

	root_port_class.reset(&p->dev);
	assert_int_equal(cfg_get(&r->f, 4 << 3, cap + PCI_EXP_SLOT_CAP, 4), 0);
	assert_int_equal(cfg_get(&r->f, 4 << 3, cap + PCI_EXP_SLOT_STA, 2), STA_PRESENT);
	assert_int_equal(pci_request_unplug(&t->dev, &e), -EBUSY);
	cfg_set(&r->f, 4 << 3, cap + PCI_EXP_SLOT_CTL, 2, CTL_LED_OFF | CTL_POWER_OFF);
	assert_int_equal(cfg_get(&r->f, 4 << 3, cap + PCI_EXP_SLOT_CTL, 2), 0);
	device_remove(&t->dev);
	r->f.vm.runstate = RUNSTATE_RUNNING;
	assert_int_equal(toy_create(&r->f.vm, "u", "cold", -1, true, &none, &e), -EOPNOTSUPP);
}

/* As an update does at any moment between two steps. */
static void move(const struct root_port_fixture *from, struct root_port_fixture *to)
{
	struct err e = ERR_INIT;

	if (root_port_class.fits(&to->port->dev, &from->port->s, &e))
		fail_msg("%s", e.msg);
	to->port->s = from->port->s;
	root_port_class.loaded(&to->port->dev);
}

static void coming_and_going_survive_an_update(void **state)
{
	struct root_port_fixture *r = *state, other = { .deleted = "" };
	struct toy *t = plugged(r);
	struct err e;

	/* The guest has let go, and the device has not gone yet. */
	init(&other);
	toy_add(&other.f, "t", "rp0", -1);
	assert_int_equal(pci_request_unplug(&t->dev, &e), 0);
	set(r, PCI_EXP_SLOT_CTL, CTL_EVENTS | CTL_INTERRUPT | CTL_LED_OFF | CTL_POWER_OFF);
	move(r, &other);
	assert_int_equal(other.f.msis, 0);
	set_running(&other, true);
	assert_string_equal(other.deleted, "/machine/peripheral/t");
	/* A device came to a port that has not told of it. */
	toy_add(&other.f, "u", "rp0", -1);
	other.port->h.running = false;
	loop_run_once(other.f.vm.loop, 0);
	assert_false(get(&other, PCI_EXP_SLOT_STA) & STA_PRESENT);
	set_running(&other, true);
	assert_true(get(&other, PCI_EXP_SLOT_STA) & STA_PRESENT);
	assert_non_null(device_find(&other.f.vm, "u"));
	pci_fixture_fini(&other.f);
}

static void wild_writes_break_nothing(void **state)
{
	struct root_port_fixture *r = *state;
	uint64_t seed = 1;

	program_bridge(r);
	set_running(r, true);
	add_port(&r->f, "pcie-root-port,id=rp1,addr=3");
	for (unsigned int i = 0; i < 200000; i++) {
		uint32_t a, v;
		struct toy *t;
		struct err e;

		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		a = (uint32_t)(seed >> 32);
		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		v = (uint32_t)(seed >> 32);
		bus_set(&r->f.vm.mmio,
			ecam_address(a & 64 ? BUS : 0, a & 64 ? 0 : 2 * 8 + (a & 128) / 16,
				     a >> 8 & 0xff),
			1 << (a & 1) << (a >> 1 & 1), v);
		if (i % 16)
			continue;
		if (!toy_create(&r->f.vm, "", "", -1, true, &t, &e) && v & 1)
			pci_request_unplug(&t->dev, &e);
		loop_run_once(r->f.vm.loop, 0);
		if (root_port_class.fits(&r->port->dev, &r->port->s, &e))
			fail_msg("%s", e.msg);
		assert_int_equal(cfg_get(&r->f, PORT, 0, 4), 0x000c1b36);
		if (i % 512 == 0)
			program_bridge(r);
	}
}

static void each_byte_of_its_state_crosses(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	if (vs_audit(root_port_class.state, &e))
		fail_msg("%s", e.msg);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_port_is_a_bridge_with_a_slot),
		TEST(the_guest_says_what_is_forwarded),
		TEST(there_is_one_place_behind_a_port),
		TEST(a_device_that_comes_is_announced),
		TEST(a_device_goes_when_the_guest_lets_go_of_it),
		TEST(what_is_on_the_root_bus_stays),
		TEST(a_port_without_hot_plug_keeps_what_it_has),
		TEST(coming_and_going_survive_an_update),
		TEST(wild_writes_break_nothing),
		cmocka_unit_test(each_byte_of_its_state_crosses),
	};

	return cmocka_run_group_tests_name("root_port", tests, NULL, NULL);
}
