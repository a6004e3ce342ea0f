/* SPDX-License-Identifier: MIT */
/* The two 8259 interrupt controllers, which KVM keeps. */
#include <errno.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/pc/i8259.h"
#include "host/kvm.h"
#include "machine/vm.h"

enum {
	ELCR_MASK_MASTER = 0xf8,
	ELCR_MASK_SLAVE = 0xde,
};

struct i8259 {
	struct device dev;
	uint32_t chip_id; /* [c] KVM_IRQCHIP_PIC_* */
};

static const struct vs_field i8259_fields[] = {
	VS_FIELD(struct i8259_state, last_irr),
	VS_FIELD(struct i8259_state, irr),
	VS_FIELD(struct i8259_state, imr),
	VS_FIELD(struct i8259_state, isr),
	VS_FIELD(struct i8259_state, priority_add),
	VS_FIELD(struct i8259_state, irq_base),
	VS_FIELD(struct i8259_state, read_reg_select),
	VS_FIELD(struct i8259_state, poll),
	VS_FIELD(struct i8259_state, special_mask),
	VS_FIELD(struct i8259_state, init_state),
	VS_FIELD(struct i8259_state, auto_eoi),
	VS_FIELD(struct i8259_state, rotate_on_auto_eoi),
	VS_FIELD(struct i8259_state, special_fully_nested_mode),
	VS_FIELD(struct i8259_state, init4),
	VS_FIELD(struct i8259_state, elcr),
	VS_FIELD(struct i8259_state, elcr_mask),
	VS_END,
};

static const struct vs_desc i8259_desc = {
	.name = "i8259",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct i8259_state),
	.fields = i8259_fields,
};

static int i8259_capture(const struct device *d, void *state, struct err *e)
{
	const struct i8259 *p = CONTAINER_OF(d, const struct i8259, dev);
	struct kvm_irqchip chip = { .chip_id = p->chip_id };
	const struct kvm_pic_state *k = &chip.chip.pic;
	int r = kvm_get_irqchip(d->vm->vm_fd, &chip, e);

	if (r < 0)
		return r;
	*(struct i8259_state *)state = (struct i8259_state){
		.last_irr = k->last_irr,
		.irr = k->irr,
		.imr = k->imr,
		.isr = k->isr,
		.priority_add = k->priority_add,
		.irq_base = k->irq_base,
		.read_reg_select = k->read_reg_select,
		.poll = k->poll,
		.special_mask = k->special_mask,
		.init_state = k->init_state,
		.auto_eoi = k->auto_eoi,
		.rotate_on_auto_eoi = k->rotate_on_auto_eoi,
		.special_fully_nested_mode = k->special_fully_nested_mode,
		.init4 = k->init4,
		.elcr = k->elcr,
		.elcr_mask = k->elcr_mask,
	};
	return 0;
}

static int i8259_apply(struct device *d, const void *state, struct err *e)
{
	const struct i8259 *p = CONTAINER_OF(d, struct i8259, dev);
	const struct i8259_state *s = state;
	struct kvm_irqchip chip = { .chip_id = p->chip_id };
	int r;

	chip.chip.pic = (struct kvm_pic_state){
		.last_irr = s->last_irr,
		.irr = s->irr,
		.imr = s->imr,
		.isr = s->isr,
		.priority_add = s->priority_add,
		.irq_base = s->irq_base,
		.read_reg_select = s->read_reg_select,
		.poll = s->poll,
		.special_mask = s->special_mask,
		.init_state = s->init_state,
		.auto_eoi = s->auto_eoi,
		.rotate_on_auto_eoi = s->rotate_on_auto_eoi,
		.special_fully_nested_mode = s->special_fully_nested_mode,
		.init4 = s->init4,
		.elcr = s->elcr,
		.elcr_mask = s->elcr_mask,
	};
	r = kvm_set_irqchip(d->vm->vm_fd, &chip, e);
	return r < 0 ? r : 0;
}

static void i8259_reset(struct device *d)
{
	const struct i8259 *p = CONTAINER_OF(d, struct i8259, dev);
	struct i8259_state s = {
		.elcr_mask =
			p->chip_id == KVM_IRQCHIP_PIC_MASTER ? ELCR_MASK_MASTER : ELCR_MASK_SLAVE,
	};
	struct err e;

	if (i8259_apply(d, &s, &e))
		log_error("cannot reset interrupt controller %u: %s", d->instance_id, e.msg);
}

static void i8259_destroy(struct device *d)
{
	free(CONTAINER_OF(d, struct i8259, dev));
}

const struct device_class i8259_class = {
	.name = "i8259",
	.state = &i8259_desc,
	.in_kvm = true,
	.capture = i8259_capture,
	.apply = i8259_apply,
	.reset = i8259_reset,
	.destroy = i8259_destroy,
};

int i8259_create(struct vm *vm, unsigned int chip, struct err *e)
{
	struct i8259 *p = calloc(1, sizeof(*p));

	if (!p)
		return err_set(e, ENOMEM, "no memory for interrupt controller %u", chip);
	p->chip_id = chip ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER;
	device_add(vm, &p->dev, &i8259_class);
	return 0;
}
