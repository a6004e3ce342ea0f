/* SPDX-License-Identifier: MIT */
/* The I/O APIC, which KVM keeps. */
#include <errno.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/pc/ioapic.h"
#include "host/kvm.h"
#include "machine/layout.h"
#include "machine/vm.h"

#define REDIRECTION_MASKED (UINT64_C(1) << 16)
#define IRR_MAX            ((UINT64_C(1) << IOAPIC_NR_PINS) - 1)

_Static_assert(KVM_IOAPIC_NUM_PINS == IOAPIC_NR_PINS, "the table has as many pins as KVM");

static const struct vs_field ioapic_fields[] = {
	VS_FIELD(struct ioapic_state, base),
	VS_ARRAY(struct ioapic_state, redirection),
	VS_FIELD_RANGE(struct ioapic_state, irr, 0, IRR_MAX),
	VS_FIELD(struct ioapic_state, ioregsel),
	VS_FIELD(struct ioapic_state, id),
	VS_END,
};

static const struct vs_desc ioapic_desc = {
	.name = "ioapic",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct ioapic_state),
	.fields = ioapic_fields,
};

static int ioapic_capture(const struct device *d, void *state, struct err *e)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	const struct kvm_ioapic_state *k = &chip.chip.ioapic;
	struct ioapic_state *s = state;
	int r = kvm_get_irqchip(d->vm->vm_fd, &chip, e);

	if (r < 0)
		return r;
	s->base = k->base_address;
	s->irr = k->irr & IRR_MAX;
	s->ioregsel = k->ioregsel;
	s->id = k->id;
	for (unsigned int i = 0; i < IOAPIC_NR_PINS; i++)
		s->redirection[i] = k->redirtbl[i].bits;
	return 0;
}

static int ioapic_apply(struct device *d, const void *state, struct err *e)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct kvm_ioapic_state *k = &chip.chip.ioapic;
	const struct ioapic_state *s = state;
	int r;

	k->base_address = s->base;
	k->irr = (uint32_t)s->irr;
	k->ioregsel = s->ioregsel;
	k->id = s->id;
	for (unsigned int i = 0; i < IOAPIC_NR_PINS; i++)
		k->redirtbl[i].bits = s->redirection[i];
	r = kvm_set_irqchip(d->vm->vm_fd, &chip, e);
	return r < 0 ? r : 0;
}

static void ioapic_reset(struct device *d)
{
	struct ioapic_state s = { .base = LAYOUT_IOAPIC };
	struct err e;

	for (unsigned int i = 0; i < IOAPIC_NR_PINS; i++)
		s.redirection[i] = REDIRECTION_MASKED;
	if (ioapic_apply(d, &s, &e))
		log_error("cannot reset the I/O APIC: %s", e.msg);
}

static void ioapic_destroy(struct device *d)
{
	free(d);
}

const struct device_class ioapic_class = {
	.name = "ioapic",
	.state = &ioapic_desc,
	.in_kvm = true,
	.capture = ioapic_capture,
	.apply = ioapic_apply,
	.reset = ioapic_reset,
	.destroy = ioapic_destroy,
};

int ioapic_create(struct vm *vm, struct err *e)
{
	struct device *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(e, ENOMEM, "no memory for the I/O APIC");
	device_add(vm, d, &ioapic_class);
	return 0;
}
