/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware: power button, soft-off and their interrupt (ACPI 6.5, section 4.8). */
#include <errno.h>

#include "base/util.h"
#include "dev/pc/acpi_pm.h"
#include "machine/layout.h"
#include "machine/vm.h"

enum {
	EVENT_BYTES = 4,
	CONTROL_BYTES = 2,

	PM1_TIMER = 1 << 0,
	PM1_GLOBAL = 1 << 5,
	PM1_POWER_BUTTON = 1 << 8,
	PM1_SLEEP_BUTTON = 1 << 9,
	PM1_RTC = 1 << 10,
	PM1_EVENTS = PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_SLEEP_BUTTON | PM1_RTC,

	CONTROL_SCI_ENABLE = 1 << 0,
	CONTROL_SLEEP_TYPE_SHIFT = 10,
	CONTROL_SLEEP_TYPE_MASK = 7,
	CONTROL_SLEEP_ENABLE = 1 << 13,
};

static const struct vs_field acpi_pm_fields[] = {
	VS_FIELD(struct acpi_pm_state, status),
	VS_FIELD(struct acpi_pm_state, enable),
	VS_FIELD(struct acpi_pm_state, control),
	VS_END,
};

static const struct vs_desc acpi_pm_desc = {
	.name = "acpi_pm",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct acpi_pm_state),
	.fields = acpi_pm_fields,
};

static struct acpi_pm *to_acpi_pm(struct device *d)
{
	return CONTAINER_OF(d, struct acpi_pm, dev);
}

static bool irq_level(const struct acpi_pm_state *s)
{
	return s->status & s->enable & PM1_EVENTS;
}

static void update_irq(struct acpi_pm *pm)
{
	bool level = irq_level(&pm->s);

	if (level == pm->h.irq_level)
		return;
	pm->h.irq_level = level;
	irq_set(&pm->h.irq, level);
}

/* The bus hands over single bytes: @offset says which of a 16-bit register. */
static uint8_t get_byte(uint16_t reg, uint64_t offset)
{
	return (uint8_t)(reg >> (offset & 1) * 8);
}

static uint16_t with_byte(uint16_t reg, uint64_t offset, uint8_t v)
{
	unsigned int shift = (offset & 1) * 8;

	return (uint16_t)((reg & ~(0xff << shift)) | v << shift);
}

static uint64_t event_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct acpi_pm *pm = opaque;

	(void)size;
	return get_byte(offset < 2 ? pm->s.status : pm->s.enable, offset);
}

static void event_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct acpi_pm *pm = opaque;

	(void)size;
	if (offset < 2)
		pm->s.status &= ~with_byte(0, offset, (uint8_t)value);
	else
		pm->s.enable = with_byte(pm->s.enable, offset, (uint8_t)value);
	update_irq(pm);
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct acpi_pm *pm = opaque;

	(void)size;
	return get_byte(pm->s.control | CONTROL_SCI_ENABLE, offset);
}

static void control_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct acpi_pm *pm = opaque;
	uint16_t v = with_byte(pm->s.control, offset, (uint8_t)value);

	(void)size;
	pm->s.control = v & ~(CONTROL_SCI_ENABLE | CONTROL_SLEEP_ENABLE);
	if ((v & CONTROL_SLEEP_ENABLE) &&
	    (v >> CONTROL_SLEEP_TYPE_SHIFT & CONTROL_SLEEP_TYPE_MASK) == LAYOUT_SLP_TYP_S5)
		vm_request_shutdown(pm->dev.vm, "guest-shutdown");
}

void acpi_pm_power_button(struct device *d)
{
	struct acpi_pm *pm = to_acpi_pm(d);

	pm->s.status |= PM1_POWER_BUTTON;
	update_irq(pm);
}

static void acpi_pm_loaded(struct device *d)
{
	struct acpi_pm *pm = to_acpi_pm(d);
	bool level = irq_level(&pm->s);

	if (level || pm->h.irq_level)
		irq_set(&pm->h.irq, level);
	pm->h.irq_level = level;
}

static void acpi_pm_reset(struct device *d)
{
	struct acpi_pm *pm = to_acpi_pm(d);

	pm->s = (struct acpi_pm_state){ 0 };
	update_irq(pm);
}

static void acpi_pm_destroy(struct device *d)
{
	free(to_acpi_pm(d));
}

const struct device_class acpi_pm_class = {
	.name = "acpi_pm",
	.state = &acpi_pm_desc,
	.state_offset = offsetof(struct acpi_pm, s),
	.loaded = acpi_pm_loaded,
	.reset = acpi_pm_reset,
	.destroy = acpi_pm_destroy,
};

void acpi_pm_init(struct acpi_pm *pm, struct irq irq)
{
	pm->h.irq = irq;
	pm->h.event = (struct io_region){
		.name = "acpi_pm event",
		.base = LAYOUT_PORT_ACPI_PM,
		.size = EVENT_BYTES,
		.min_size = 1,
		.max_size = 1,
		.read = event_read,
		.write = event_write,
		.opaque = pm,
	};
	pm->h.control = (struct io_region){
		.name = "acpi_pm control",
		.base = LAYOUT_PORT_ACPI_CNT,
		.size = CONTROL_BYTES,
		.min_size = 1,
		.max_size = 1,
		.read = control_read,
		.write = control_write,
		.opaque = pm,
	};
}

int acpi_pm_create(struct vm *vm, struct err *e)
{
	struct acpi_pm *pm = calloc(1, sizeof(*pm));
	int r;

	if (!pm)
		return err_set(e, ENOMEM, "no memory for the ACPI registers");
	acpi_pm_init(pm, vm_irq(vm, LAYOUT_IRQ_SCI));
	r = iobus_add(&vm->pio, &pm->h.event, e);
	if (!r) {
		r = iobus_add(&vm->pio, &pm->h.control, e);
		if (r)
			iobus_del(&vm->pio, &pm->h.event);
	}
	if (r) {
		free(pm);
		return r;
	}
	device_add(vm, &pm->dev, &acpi_pm_class);
	return 0;
}
