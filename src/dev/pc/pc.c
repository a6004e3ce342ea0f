/* SPDX-License-Identifier: MIT */
/* The devices of a PC: the one place that names them all. */
#include "dev/pc/pc.h"
#include "base/util.h"
#include "dev/pc/acpi_pm.h"
#include "dev/pc/i8254.h"
#include "dev/pc/i8259.h"
#include "dev/pc/ioapic.h"
#include "dev/pc/kvmclock.h"
#include "dev/pc/reset.h"
#include "dev/pc/rtc.h"
#include "dev/pc/serial.h"
#include "dev/pci/host.h"
#include "machine/vm.h"

/* What creating a device may need to know. */
struct pc_parts {
	const struct pc_config *cfg;
};

static int create_serial(struct vm *vm, const struct pc_parts *p, struct err *e)
{
	for (unsigned int i = 0; i < LAYOUT_NR_SERIAL; i++) {
		int r = p->cfg->serial[i] ? serial_create(vm, i, p->cfg->serial[i], e) : 0;

		if (r)
			return r;
	}
	return 0;
}

static int create_rtc(struct vm *vm, const struct pc_parts *p, struct err *e)
{
	(void)p;
	return rtc_create(vm, e);
}

static int create_acpi_pm(struct vm *vm, const struct pc_parts *p, struct err *e)
{
	(void)p;
	return acpi_pm_create(vm, e);
}

static int create_reset(struct vm *vm, const struct pc_parts *p, struct err *e)
{
	(void)p;
	return reset_create(vm, e);
}

static int create_pci_host(struct vm *vm, const struct pc_parts *p, struct err *e)
{
	(void)p;
	return pci_host_create(vm, e);
}

static int create_i8259(struct vm *vm, const struct pc_parts *p, struct err *e)
{
	int r = i8259_create(vm, 0, e);

	(void)p;
	return r ? r : i8259_create(vm, 1, e);
}

static int create_ioapic(struct vm *vm, const struct pc_parts *p, struct err *e)
{
	(void)p;
	return ioapic_create(vm, e);
}

static int create_i8254(struct vm *vm, const struct pc_parts *p, struct err *e)
{
	(void)p;
	return i8254_create(vm, e);
}

static int create_kvmclock(struct vm *vm, const struct pc_parts *p, struct err *e)
{
	(void)p;
	return kvmclock_create(vm, e);
}

/* The list: one name per class, in order of creation and so of loading. */
#define PC_DEVICES(X) \
	X(serial) X(rtc) X(acpi_pm) X(reset) X(pci_host) X(i8259) X(ioapic) X(i8254) X(kvmclock)

#define CREATOR(name) create_##name,
static int (*const pc_creators[])(struct vm *, const struct pc_parts *,
				  struct err *) = { PC_DEVICES(CREATOR) };

#define CLASS(name) &name##_class,
const struct device_class *const pc_classes[] = { PC_DEVICES(CLASS) NULL };

int pc_create_devices(struct vm *vm, const struct pc_config *cfg, struct err *e)
{
	const struct pc_parts parts = { .cfg = cfg };
	int r = 0;

	for (unsigned int i = 0; !r && i < ARRAY_SIZE(pc_creators); i++)
		r = pc_creators[i](vm, &parts, e);
	return r;
}

void pc_power_button(struct vm *vm)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &vm->devices) {
		struct device *d = CONTAINER_OF(pos, struct device, link);

		if (d->class == &acpi_pm_class)
			acpi_pm_power_button(d);
	}
}
