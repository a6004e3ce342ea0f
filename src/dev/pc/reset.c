/* SPDX-License-Identifier: MIT */
/* The ways a PC resets itself: port 0xcf9, the keyboard controller, port 0x92. */
#include <errno.h>

#include "base/util.h"
#include "dev/pc/reset.h"
#include "machine/layout.h"
#include "machine/vm.h"

enum {
	CONTROL_KIND = 0x0a,
	CONTROL_DO_RESET = 0x04,

	PORT92_RESET = 0x01,
	PORT92_A20 = 0x02,

	KBD_CMD_RESET = 0xfe,
};

static const struct reset_state reset_reset_state = { .port92 = PORT92_A20 };

static const struct vs_field reset_fields[] = {
	VS_FIELD_RANGE(struct reset_state, control, 0, CONTROL_KIND),
	VS_FIELD(struct reset_state, port92),
	VS_END,
};

static const struct vs_desc reset_desc = {
	.name = "reset",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct reset_state),
	.reset = &reset_reset_state,
	.fields = reset_fields,
};

static void request_reset(struct reset *rs)
{
	vm_request_reset(rs->dev.vm, "guest-reset");
}

static uint64_t kbd_read(void *opaque, uint64_t offset, unsigned int size)
{
	(void)opaque;
	(void)offset;
	(void)size;
	return 0;
}

static void kbd_data_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	(void)opaque;
	(void)offset;
	(void)size;
	(void)value;
}

static void kbd_cmd_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	(void)offset;
	(void)size;
	if (value == KBD_CMD_RESET)
		request_reset(opaque);
}

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct reset *rs = opaque;

	(void)offset;
	(void)size;
	return rs->s.port92;
}

static void port92_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct reset *rs = opaque;

	(void)offset;
	(void)size;
	if (value & ~rs->s.port92 & PORT92_RESET)
		request_reset(rs);
	rs->s.port92 = (uint8_t)value;
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct reset *rs = opaque;

	(void)offset;
	(void)size;
	return rs->s.control;
}

static void control_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct reset *rs = opaque;

	(void)offset;
	(void)size;
	rs->s.control = value & CONTROL_KIND;
	if (value & CONTROL_DO_RESET)
		request_reset(rs);
}

static void reset_reset(struct device *d)
{
	CONTAINER_OF(d, struct reset, dev)->s = reset_reset_state;
}

static void reset_destroy(struct device *d)
{
	free(CONTAINER_OF(d, struct reset, dev));
}

const struct device_class reset_class = {
	.name = "reset",
	.state = &reset_desc,
	.state_offset = offsetof(struct reset, s),
	.reset = reset_reset,
	.destroy = reset_destroy,
};

static struct io_region one_port(struct reset *rs, const char *name, uint16_t port,
				 uint64_t (*read)(void *, uint64_t, unsigned int),
				 void (*write)(void *, uint64_t, unsigned int, uint64_t))
{
	return (struct io_region){
		.name = name,
		.base = port,
		.size = 1,
		.min_size = 1,
		.max_size = 1,
		.read = read,
		.write = write,
		.opaque = rs,
	};
}

int reset_create(struct vm *vm, struct err *e)
{
	struct reset *rs = calloc(1, sizeof(*rs));
	struct io_region *regions[4];
	int r = 0;

	if (!rs)
		return err_set(e, ENOMEM, "no memory for the reset ports");
	rs->h.kbd_data = one_port(rs, "keyboard data", LAYOUT_PORT_KBD, kbd_read, kbd_data_write);
	rs->h.kbd_cmd =
		one_port(rs, "keyboard command", LAYOUT_PORT_KBD_CMD, kbd_read, kbd_cmd_write);
	rs->h.port92 = one_port(rs, "port 92", LAYOUT_PORT_PORT92, port92_read, port92_write);
	rs->h.control =
		one_port(rs, "reset control", LAYOUT_PORT_RESET, control_read, control_write);
	regions[0] = &rs->h.kbd_data;
	regions[1] = &rs->h.kbd_cmd;
	regions[2] = &rs->h.port92;
	regions[3] = &rs->h.control;
	for (unsigned int i = 0; i < ARRAY_SIZE(regions); i++) {
		r = iobus_add(&vm->pio, regions[i], e);
		if (!r)
			continue;
		while (i--)
			iobus_del(&vm->pio, regions[i]);
		free(rs);
		return r;
	}
	device_add(vm, &rs->dev, &reset_class);
	return 0;
}
