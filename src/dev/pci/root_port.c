/* SPDX-License-Identifier: MIT */
/* A PCI Express root port: a bridge to a bus with one slot, in which devices come and go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/pci/regs.h"
#include "dev/pci/root_port.h"
#include "machine/vm.h"

enum {
	PORT_VENDOR = 0x1b36,
	PORT_DEVICE = 0x000c,
	PORT_CLASS = 0x060400,

	MSIX_BAR = 0,

	FLAG_SLOT = 1 << 8,
	LINK_CAP_REPORTS_ACTIVE = 1 << 20,
	LINK_CAP_PORT_SHIFT = 24,
	LINK_CTL_BITS = 0x00c3,
	LINK_ACTIVE = 1 << 13,
	LINK_2500 = 2, /* in the list of speeds */

	/* Slot capabilities, control and status, sections 7.5.3.9-11. */
	SLOT_CAP_BUTTON = 1 << 0,
	SLOT_CAP_POWER = 1 << 1,
	SLOT_CAP_ATTENTION_LED = 1 << 3,
	SLOT_CAP_POWER_LED = 1 << 4,
	SLOT_CAP_HOTPLUG = 1 << 6,
	SLOT_CAP_NO_COMPLETION = 1 << 18,
	SLOT_CAP_NUMBER_SHIFT = 19,
	SLOT_NUMBER_MAX = 8191,

	SLOT_BUTTON = 1 << 0, /* in status: it happened; in control: tell of it */
	SLOT_PRESENCE = 1 << 3,
	SLOT_LINK_IN_STATUS = 1 << 8,
	SLOT_LINK_IN_CONTROL = 1 << 12,
	SLOT_STA_PRESENT = 1 << 6,
	SLOT_CTL_INTERRUPT = 1 << 5,
	SLOT_CTL_ATTENTION_LED = 3 << 6,
	SLOT_CTL_POWER_LED = 3 << 8,
	SLOT_CTL_POWER_LED_ON = 1 << 8,
	SLOT_CTL_POWER_LED_BLINK = 2 << 8,
	SLOT_CTL_POWER_LED_OFF = 3 << 8,
	SLOT_CTL_POWER_OFF = 1 << 10,

	ROOT_CTL_BITS = 0x000f,
	BRIDGE_CONTROL_BITS = 0x0043, /* parity, SERR, reset */

	LINK_CAP2 = 0x2c, /* offsets in the capability */
	LINK_CTL2 = 0x30,
};

struct root_port_config {
	struct device_config base;
	uint64_t chassis, slot, port;
	bool hotplug, multifunction;
};

static const struct vs_field root_port_fields[] = {
	VS_STRUCT(struct root_port_state, pci, &pci_state_desc),
	VS_FIELD_RANGE(struct root_port_state, release, 0, 1),
	VS_FIELD_RANGE(struct root_port_state, reserved, 0, 0),
	VS_END,
};

static const struct vs_desc root_port_desc = {
	.name = "pcie-root-port",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct root_port_state),
	.fields = root_port_fields,
};

static struct root_port *port_of(struct device *d)
{
	return CONTAINER_OF(d, struct root_port, dev);
}

static uint16_t slot_control(const struct root_port *p)
{
	return pci_get16(&p->h.pci, p->h.express + PCI_EXP_SLOT_CTL);
}

static uint16_t slot_status(const struct root_port *p)
{
	return pci_get16(&p->h.pci, p->h.express + PCI_EXP_SLOT_STA);
}

static bool is_off(uint16_t control)
{
	return control & SLOT_CTL_POWER_OFF &&
	       (control & SLOT_CTL_POWER_LED) == SLOT_CTL_POWER_LED_OFF;
}

/* There is an event that the guest wants to hear of. */
static bool has_event(const struct root_port *p)
{
	uint16_t control = slot_control(p), status = slot_status(p);

	if (!(control & SLOT_CTL_INTERRUPT))
		return false;
	return control & status & (SLOT_BUTTON | SLOT_PRESENCE) ||
	       (control & SLOT_LINK_IN_CONTROL && status & SLOT_LINK_IN_STATUS);
}

/* The pin has the level, a message tells of its rise. */
static void update_interrupt(struct root_port *p, bool may_send)
{
	bool was = p->h.irq, enabled = pci_msix_enabled(&p->h.pci);

	p->h.irq = has_event(p);
	pci_set_intx(&p->h.pci, p->h.irq && !enabled);
	if (may_send && p->h.irq && !was && enabled)
		pci_notify(&p->h.pci, 0);
}

static void set_status(struct root_port *p, uint16_t value, uint16_t bits)
{
	pci_set_dynamic16(&p->h.pci, p->h.express + PCI_EXP_SLOT_STA, value, bits);
}

static bool is_occupied(const struct root_port *p)
{
	for (unsigned int i = 0; i < 8; i++)
		if (p->h.bus.functions[i])
			return true;
	return false;
}

/* What the registers say of the slot, without an event. */
static void set_present(struct root_port *p, bool present)
{
	set_status(p, present ? SLOT_STA_PRESENT : 0, SLOT_STA_PRESENT);
	pci_set_dynamic16(&p->h.pci, p->h.express + PCI_EXP_LINK_STA, present ? LINK_ACTIVE : 0,
			  LINK_ACTIVE);
}

/* What cannot be plugged in stays: the machine is not the same without it. */
static bool can_go(const struct device *d)
{
	return !d->spec || d->spec->type->hotpluggable;
}

static void empty_slot(struct root_port *p)
{
	/* While an update is at work it is only noted here; in the state it has to be noted, too. */
	p->s.release = p->dev.vm->devices_held;
	for (unsigned int i = 8; i--;)
		if (p->h.bus.functions[i] && can_go(p->h.bus.functions[i]->dev))
			device_remove(p->h.bus.functions[i]->dev);
}

/* Makes the registers say what is in the slot. */
static void announce(struct root_port *p)
{
	bool occupied = is_occupied(p);

	if (occupied == !!(slot_status(p) & SLOT_STA_PRESENT))
		return;
	set_present(p, occupied);
	set_status(p, SLOT_PRESENCE | SLOT_LINK_IN_STATUS, SLOT_PRESENCE | SLOT_LINK_IN_STATUS);
	update_interrupt(p, true);
}

static void look_at_slot(void *opaque)
{
	struct root_port *p = opaque;

	if (!p->h.running || p->dev.vm->foreign)
		return;
	if (p->s.release)
		empty_slot(p);
	announce(p);
}

static void slot_changed(struct pci_bus *bus)
{
	struct root_port *p = CONTAINER_OF(bus, struct root_port, h.bus);

	if (p->h.hotplug)
		loop_post(p->h.pci.vm->loop, &p->h.work);
}

static void reset_behind(struct root_port *p)
{
	for (unsigned int i = 0; i < 8; i++) {
		const struct pci_function *f = p->h.bus.functions[i];

		if (f && f->dev->class->reset)
			f->dev->class->reset(f->dev);
	}
}

static void config_written(struct pci_function *f, unsigned int offset, unsigned int size)
{
	struct root_port *p = CONTAINER_OF(f, struct root_port, h.pci);
	unsigned int control = p->h.express + PCI_EXP_SLOT_CTL;

	if (offset <= PCI_BRIDGE_CONTROL && offset + size > PCI_BRIDGE_CONTROL &&
	    pci_get16(f, PCI_BRIDGE_CONTROL) & PCI_BRIDGE_CONTROL_RESET)
		reset_behind(p);
	if (p->h.hotplug && offset < control + 2 && control < offset + size) {
		bool off = is_off(slot_control(p)) && slot_status(p) & SLOT_STA_PRESENT;

		/* Only what changes: a slot that is filled while it is off is not to be emptied. */
		p->s.release = off && (p->s.release || !p->h.was_off);
		p->h.was_off = is_off(slot_control(p));
		slot_changed(&p->h.bus);
	}
	update_interrupt(p, true);
}

static void root_port_reset(struct device *d)
{
	struct root_port *p = port_of(d);
	bool occupied = is_occupied(p);

	pci_reset(&p->h.pci);
	p->s.release = 0;
	set_present(p, occupied);
	if (p->h.hotplug)
		pci_set_dynamic16(&p->h.pci, p->h.express + PCI_EXP_SLOT_CTL,
				  occupied ? SLOT_CTL_POWER_LED_ON
					   : SLOT_CTL_POWER_LED_OFF | SLOT_CTL_POWER_OFF,
				  SLOT_CTL_POWER_LED | SLOT_CTL_POWER_OFF);
	p->h.was_off = is_off(slot_control(p));
	update_interrupt(p, false);
}

static void root_port_loaded(struct device *d)
{
	struct root_port *p = port_of(d);

	pci_loaded(&p->h.pci);
	p->h.was_off = is_off(slot_control(p));
	update_interrupt(p, false);
}

static int root_port_fits(const struct device *d, const void *state, struct err *e)
{
	const struct root_port *p = CONTAINER_OF(d, struct root_port, dev);
	const struct root_port_state *s = state;

	return pci_check_state(&p->h.pci, &s->pci, e);
}

static void root_port_run_changed(struct device *d, bool running)
{
	struct root_port *p = port_of(d);

	p->h.running = running;
	if (running)
		slot_changed(&p->h.bus);
}

static void free_port(struct root_port *p)
{
	if (p->h.pci.vm)
		loop_work_cancel(p->h.pci.vm->loop, &p->h.work);
	pci_bus_fini(&p->h.bus);
	pci_function_fini(&p->h.pci);
	free(p);
}

static void root_port_destroy(struct device *d)
{
	free_port(port_of(d));
}

const struct device_class root_port_class = {
	.name = "pcie-root-port",
	.state = &root_port_desc,
	.state_offset = offsetof(struct root_port, s),
	.fits = root_port_fits,
	.loaded = root_port_loaded,
	.run_changed = root_port_run_changed,
	.reset = root_port_reset,
	.destroy = root_port_destroy,
};

static void set_bridge_header(struct pci_function *f)
{
	pci_set_initial8(f, PCI_PRIMARY_BUS, 0, 0xff);
	pci_set_initial8(f, PCI_SECONDARY_BUS, 0, 0xff);
	pci_set_initial8(f, PCI_SUBORDINATE_BUS, 0, 0xff);
	pci_set_initial8(f, PCI_IO_BASE, 0, 0xf0);
	pci_set_initial8(f, PCI_IO_LIMIT, 0, 0xf0);
	pci_set_initial16(f, PCI_MEM_BASE, 0, 0xfff0);
	pci_set_initial16(f, PCI_MEM_LIMIT, 0, 0xfff0);
	/* 1: the window has 64 bits. */
	pci_set_initial16(f, PCI_PREF_BASE, 1, 0xfff0);
	pci_set_initial16(f, PCI_PREF_LIMIT, 1, 0xfff0);
	pci_set_initial32(f, PCI_PREF_BASE_HIGH, 0, 0xffffffff);
	pci_set_initial32(f, PCI_PREF_LIMIT_HIGH, 0, 0xffffffff);
	pci_set_initial16(f, PCI_BRIDGE_CONTROL, 0, BRIDGE_CONTROL_BITS);
}

static void set_slot(struct pci_function *f, unsigned int at, const struct root_port_config *c)
{
	uint16_t events = SLOT_BUTTON | SLOT_PRESENCE | SLOT_LINK_IN_STATUS;
	uint32_t cap = (uint32_t)c->slot << SLOT_CAP_NUMBER_SHIFT;

	if (c->hotplug) {
		cap |= SLOT_CAP_BUTTON | SLOT_CAP_POWER | SLOT_CAP_ATTENTION_LED |
		       SLOT_CAP_POWER_LED | SLOT_CAP_HOTPLUG | SLOT_CAP_NO_COMPLETION;
		pci_set_initial16(f, at + PCI_EXP_SLOT_CTL, 0,
				  SLOT_BUTTON | SLOT_PRESENCE | SLOT_LINK_IN_CONTROL |
					  SLOT_CTL_INTERRUPT | SLOT_CTL_ATTENTION_LED |
					  SLOT_CTL_POWER_LED | SLOT_CTL_POWER_OFF);
		f->w1c[at + PCI_EXP_SLOT_STA] = (uint8_t)events;
		f->w1c[at + PCI_EXP_SLOT_STA + 1] = (uint8_t)(events >> 8);
	}
	pci_set_initial32(f, at + PCI_EXP_SLOT_CAP, cap, 0);
	f->dynamic[at + PCI_EXP_SLOT_STA] = SLOT_STA_PRESENT;
}

static int add_express(struct root_port *p, const struct root_port_config *c, struct err *e)
{
	struct pci_function *f = &p->h.pci;
	int cap = pci_add_capability(f, PCI_CAP_EXPRESS, PCI_EXP_BYTES, e);
	unsigned int at = p->h.express = (unsigned int)cap;

	if (cap < 0)
		return cap;
	pci_set_initial16(
		f, at + PCI_EXP_FLAGS,
		PCI_EXP_VERSION | PCI_EXP_TYPE_ROOT_PORT << PCI_EXP_TYPE_SHIFT | FLAG_SLOT, 0);
	pci_set_initial32(f, at + PCI_EXP_DEV_CAP, PCI_EXP_DEV_CAP_ROLE, 0);
	pci_set_initial16(f, at + PCI_EXP_DEV_CTL, 0, PCI_EXP_DEV_CTL_BITS);
	pci_set_initial32(f, at + PCI_EXP_LINK_CAP,
			  PCI_EXP_LINK_X1_2500 | LINK_CAP_REPORTS_ACTIVE |
				  (uint32_t)c->port << LINK_CAP_PORT_SHIFT,
			  0);
	pci_set_initial16(f, at + PCI_EXP_LINK_CTL, 0, LINK_CTL_BITS);
	pci_set_initial16(f, at + PCI_EXP_LINK_STA, PCI_EXP_LINK_X1_2500, 0);
	f->dynamic[at + PCI_EXP_LINK_STA + 1] = LINK_ACTIVE >> 8;
	set_slot(f, at, c);
	pci_set_initial16(f, at + PCI_EXP_ROOT_CTL, 0, ROOT_CTL_BITS);
	pci_set_initial32(f, at + LINK_CAP2, LINK_2500, 0);
	pci_set_initial16(f, at + LINK_CTL2, 1, 0);
	return 0;
}

static int init_port(struct root_port *p, struct vm *vm, const struct root_port_config *c,
		     struct err *e)
{
	const struct pci_ident ident = {
		.vendor = PORT_VENDOR,
		.device = PORT_DEVICE,
		.class_code = PORT_CLASS,
		.intx = true,
		.multifunction = c->multifunction,
		.bridge = true,
	};
	struct pci_function *f = &p->h.pci;
	int r = pci_function_init(f, vm, &p->dev, &p->s.pci, &c->base, &ident, e);

	if (r)
		return r;
	loop_work_init(&p->h.work, look_at_slot, p);
	f->config_written = config_written;
	set_bridge_header(f);
	r = add_express(p, c, e);
	if (!r)
		r = pci_add_msix(f, MSIX_BAR, 1, e);
	p->h.hotplug = p->h.bus.hotpluggable = c->hotplug;
	p->h.bus.changed = slot_changed;
	p->h.running = runstate_is_live(vm->runstate);
	if (!r)
		r = pci_bus_init(&p->h.bus, f, *c->base.id ? c->base.id : p->dev.path, e);
	return r;
}

static int root_port_create(struct vm *vm, const struct device_config *config, struct device **out,
			    struct err *e)
{
	const struct root_port_config *c =
		CONTAINER_OF(config, const struct root_port_config, base);
	struct root_port *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(e, ENOMEM, "no memory for a root port");
	r = init_port(p, vm, c, e);
	if (r) {
		free_port(p);
		return r;
	}
	device_add(vm, &p->dev, &root_port_class);
	*out = &p->dev;
	return 0;
}

#define PROP_OF(member) .offset = offsetof(struct root_port_config, member)

static const struct prop root_port_props[] = {
	{ .name = "chassis",
	  .kind = PROP_UINT,
	  PROP_OF(chassis),
	  .max = UINT8_MAX,
	  .help = "number of the chassis; for the operator's own use" },
	{ .name = "hotplug",
	  .kind = PROP_BOOL,
	  PROP_OF(hotplug),
	  .initial = true,
	  .help = "devices may come and go while the guest runs" },
	{ .name = "multifunction",
	  .kind = PROP_BOOL,
	  PROP_OF(multifunction),
	  .help = "function 0 of a slot with several" },
	{ .name = "port",
	  .kind = PROP_UINT,
	  PROP_OF(port),
	  .max = UINT8_MAX,
	  .help = "number of the port in its link capabilities" },
	{ .name = "slot",
	  .kind = PROP_UINT,
	  PROP_OF(slot),
	  .max = SLOT_NUMBER_MAX,
	  .help = "number of the slot, by which the guest's operator knows it" },
	{ .name = NULL },
};

static const struct device_class *const root_port_classes[] = { &root_port_class, NULL };

const struct device_type root_port_type = {
	.driver = "pcie-root-port",
	.bus = "PCI",
	.help = "PCI Express root port, with a slot for one device",
	.hotpluggable = true,
	.config_size = sizeof(struct root_port_config),
	.props = root_port_props,
	.classes = root_port_classes,
	.create = root_port_create,
	.unplug = pci_request_unplug,
};

int pci_request_unplug(struct device *d, struct err *e)
{
	const struct pci_function *f = pci_function_of(d);
	struct root_port *p;
	uint16_t control;

	if (!f || !f->bus->hotpluggable)
		return err_set(e, EBUSY, "Bus '%s' does not support hotplugging", d->bus);
	p = CONTAINER_OF(f->bus, struct root_port, h.bus);
	control = slot_control(p);
	if ((control & SLOT_CTL_POWER_LED) == SLOT_CTL_POWER_LED_BLINK)
		return err_set(e, EBUSY,
			       "Hot-unplug failed: guest is busy (power indicator blinking)");
	/* The guest does not use it, or has never heard of it. */
	if (is_off(control)) {
		empty_slot(p);
		announce(p);
		return 0;
	}
	set_status(p, SLOT_BUTTON, SLOT_BUTTON);
	update_interrupt(p, true);
	return 0;
}
