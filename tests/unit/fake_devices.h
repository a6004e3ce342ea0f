/* SPDX-License-Identifier: MIT */
/* Types of devices for tests that do not want the real ones, which need a real machine. */
#ifndef TESTS_UNIT_FAKE_DEVICES_H
#define TESTS_UNIT_FAKE_DEVICES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "machine/device_type.h"
#include "machine/vm.h"

struct gadget_config {
	struct device_config device;
	uint64_t size;
	int32_t slot;
};

struct gadget {
	struct device dev;
	int32_t slot;
	unsigned int unplugs; /* how often it was asked to go */
};

static const struct prop gadget_props[] = {
	{ .name = "size",
	  .kind = PROP_UINT,
	  .offset = offsetof(struct gadget_config, size),
	  .max = 10,
	  .initial = 1,
	  .help = "of the gadget" },
	{ .name = "slot",
	  .kind = PROP_PCI_ADDR,
	  .offset = offsetof(struct gadget_config, slot),
	  .chosen = true },
	{ .name = NULL },
};

static inline void gadget_destroy(struct device *d)
{
	free(CONTAINER_OF(d, struct gadget, dev));
}

static const struct device_class gadget_class = {
	.name = "gadget",
	.stateless = true,
	.destroy = gadget_destroy,
};
static const struct device_class unsaved_class = { .name = "unsaved", .destroy = gadget_destroy };
static const struct device_class *const gadget_classes[] = { &gadget_class, NULL };
static const struct device_class *const unsaved_classes[] = { &unsaved_class, NULL };

/* Bus "pcie.0" takes what comes before the guest runs; "full" has no room; there is no other. */
static inline int gadget_put(struct vm *vm, const struct device_config *config, struct device **out,
			     const struct device_class *class, struct err *e)
{
	const struct gadget_config *c = CONTAINER_OF(config, struct gadget_config, device);
	struct gadget *g;

	if (!strcmp(config->bus, "full"))
		return err_set(e, ENOSPC, "no room");
	if (*config->bus && strcmp(config->bus, "pcie.0"))
		return err_set(e, ENOENT, "Bus '%s' not found", config->bus);
	g = calloc(1, sizeof(*g));
	assert_non_null(g);
	memcpy(g->dev.id, config->id, sizeof(g->dev.id));
	strcpy(g->dev.bus, "pcie.0");
	g->dev.addr = config->addr < 0 ? 0x18 : config->addr;
	g->slot = c->slot < 0 ? 9 : c->slot;
	device_add(vm, &g->dev, class);
	*out = &g->dev;
	return 0;
}

static inline int gadget_create(struct vm *vm, const struct device_config *config,
				struct device **out, struct err *e)
{
	return gadget_put(vm, config, out, &gadget_class, e);
}

static inline int unsaved_create(struct vm *vm, const struct device_config *config,
				 struct device **out, struct err *e)
{
	return gadget_put(vm, config, out, &unsaved_class, e);
}

static inline int gadget_unplug(struct device *d, struct err *e)
{
	struct gadget *g = CONTAINER_OF(d, struct gadget, dev);

	if (g->unplugs++)
		return err_set(e, EBUSY, "Device %s is already in the process of unplug", d->id);
	return 0;
}

static inline void gadget_get_chosen(const struct device *d, struct device_config *config)
{
	CONTAINER_OF(config, struct gadget_config, device)->slot =
		CONTAINER_OF(d, struct gadget, dev)->slot;
}

static const struct device_type gadget_type = {
	.driver = "gadget-pci",
	.alias = "gadget",
	.bus = "PCI",
	.help = "for tests",
	.hotpluggable = true,
	.config_size = sizeof(struct gadget_config),
	.props = gadget_props,
	.classes = gadget_classes,
	.create = gadget_create,
	.unplug = gadget_unplug,
	.get_chosen = gadget_get_chosen,
};
/* Cannot be saved, nor plugged. */
static const struct device_type unsaved_type = {
	.driver = "unsaved",
	.bus = "System",
	.help = "cannot be saved",
	.config_size = sizeof(struct gadget_config),
	.props = gadget_props,
	.classes = unsaved_classes,
	.create = unsaved_create,
};

const struct device_type *const device_types[] = { &gadget_type, &unsaved_type, NULL };

#endif
