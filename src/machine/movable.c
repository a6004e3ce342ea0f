/* SPDX-License-Identifier: MIT */
/* RAM blocks that appear and move in the guest's memory while it runs: memory of devices. */
#include "machine/movable.h"
#include "base/log.h"
#include "host/kvm.h"
#include "machine/vm.h"

/* Slots before are those of the ranges. */
static uint32_t slot_of(const struct vm *vm, const struct ram_block *b)
{
	uint32_t slot = MEM_MAX_RANGES;

	for (unsigned int i = 0; vm->mem.blocks[i] != b; i++)
		slot += vm->mem.blocks[i]->movable;
	return slot;
}

/* @size 0: the slot is empty. */
static int set_slot(const struct vm *vm, const struct ram_block *b, gpa_t gpa, uint64_t size,
		    struct err *e)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot_of(vm, b),
		.flags = b->readonly ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)b->host,
	};

	/* An adopted machine has them as they are to be. */
	return vm->graft ? 0 : kvm_set_user_memory_region(vm->vm_fd, &region, e);
}

int movable_map(struct vm *vm, struct ram_block *b, gpa_t gpa, struct err *e)
{
	int r;

	movable_unmap(vm, b);
	r = set_slot(vm, b, gpa, b->size, e);
	if (r)
		return err_prefix(e, "RAM block '%s'", b->name);
	b->mapped = true;
	b->mapped_at = gpa;
	return 0;
}

void movable_unmap(struct vm *vm, struct ram_block *b)
{
	struct err e;

	if (b->mapped && set_slot(vm, b, b->mapped_at, 0, &e))
		log_error("RAM block '%s' stays in the guest's memory: %s", b->name, e.msg);
	b->mapped = false;
}
