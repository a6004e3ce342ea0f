/* SPDX-License-Identifier: MIT */
/* The two 8259 interrupt controllers, which KVM keeps. */
#ifndef DEV_PC_I8259_H
#define DEV_PC_I8259_H

#include <stdint.h>

#include "base/err.h"
#include "machine/device.h"

/* Guest-visible: registers and latches, meaning as in struct kvm_pic_state. */
struct i8259_state {
	uint8_t last_irr; /* line levels, for edge detection           */
	uint8_t irr;
	uint8_t imr;
	uint8_t isr;
	uint8_t priority_add; /* highest priority line                     */
	uint8_t irq_base;     /* vector of line 0                          */
	uint8_t read_reg_select;
	uint8_t poll;
	uint8_t special_mask;
	uint8_t init_state; /* how far the ICW sequence is               */
	uint8_t auto_eoi;
	uint8_t rotate_on_auto_eoi;
	uint8_t special_fully_nested_mode;
	uint8_t init4; /* the ICW sequence has four words           */
	uint8_t elcr;  /* lines that are level-triggered            */
	uint8_t elcr_mask;
};

extern const struct device_class i8259_class;

/*
 * Adds the state of chip @chip (0: master, 1: slave) of the VM's interrupt
 * controllers to the machine; master first, so that the instance ids are the chips'. Before
 * the machine first runs, as with every device. -ENOMEM only.
 */
int i8259_create(struct vm *vm, unsigned int chip, struct err *e);

#endif
