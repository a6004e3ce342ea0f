/* SPDX-License-Identifier: MIT */
/*
 * A guest that does what the bytes say with PCI configuration, the registers behind it, and the rings
 * of the virtio devices there: network card, serial ports, random numbers.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "dev/pci/regs.h"
#include "fuzz.h"
#include "machine.h"

enum {
	CONFIG_ADDRESS = 0xcf8,
	CONFIG_DATA = 0xcfc,
	MMIO_AT = 0xd0000000, /* where BARs are put */
	MMIO_STEP = 0x10000,
	IO_AT = 0xc000,
	REGISTERS = 64,
	/* Of a virtio device's BAR, as virtio_pci.c has it; what a driver would find by capabilities. */
	NOTIFY_AT = 0x3000,
	NOTIFY_MULTIPLIER = 4,
	/* A driver's queues in RAM, and where its buffers mostly are. */
	QUEUES = 8,
	QUEUE_SIZE = 8,
	QUEUE_AT = 0x1000,
	QUEUE_BYTES = 0x800,
	AVAIL = 0x200,
	USED = 0x400,
	BUFFERS_AT = 0x6000,
};

/* What the bytes can have happen. */
enum op {
	OP_CONFIG_READ,
	OP_CONFIG_WRITE,
	OP_ECAM_READ,
	OP_ECAM_WRITE,
	OP_BAR, /* somewhere that can be right */
	OP_COMMAND,
	OP_MMIO_READ,
	OP_MMIO_WRITE,
	OP_PORT,
	OP_TURN,
	OP_RESET,
	OP_SAVE,
	OP_DRIVE, /* a driver finds a virtio device and sets it up */
	OP_POKE,
	OP_DESC,
	OP_OFFER,
	OP_RING,
	OP_COUNT,
};

/* Devices are in the first slots of bus 0; behind the root port there is bus 1, or another. */
static uint32_t function(struct fuzz_bytes *b)
{
	uint8_t v = fuzz_u8(b);

	return (v & 0x80 ? 1u << 8 : 0) | (v & 0x40 ? v : (v & 0xfu) << 3);
}

static uint16_t reg(struct fuzz_bytes *b)
{
	uint8_t v = fuzz_u8(b);

	/* Mostly the header, whole registers. */
	return v & 0x80 ? (uint16_t)((v & 0x7f) * 2u + (fuzz_u8(b) & 1)) : v % REGISTERS;
}

static void ecam(struct machine *m, struct fuzz_bytes *b, bool write)
{
	uint64_t at = LAYOUT_PCI_ECAM + ((uint64_t)function(b) << 12);
	unsigned int size = 1u << fuzz_u8(b) % 3;
	uint64_t v = 0;

	at += reg(b);
	if (write) {
		v = fuzz_u32(b);
		iobus_write(&m->vm.mmio, at, &v, size);
	} else {
		iobus_read(&m->vm.mmio, at, &v, size);
	}
}

static void ports(struct machine *m, struct fuzz_bytes *b, bool write)
{
	uint32_t address = 0x80000000 | function(b) << 8 | (reg(b) & 0xfcu);
	unsigned int how = fuzz_u8(b), size = 1u << how % 3;
	uint64_t v = 0;

	iobus_write(&m->vm.pio, CONFIG_ADDRESS, &address, 4);
	if (write) {
		v = fuzz_u32(b);
		iobus_write(&m->vm.pio, CONFIG_DATA + (how >> 4) % 4, &v, size);
	} else {
		iobus_read(&m->vm.pio, CONFIG_DATA + (how >> 4) % 4, &v, size);
	}
}

static void config_put(struct machine *m, uint32_t bdf, unsigned int at, unsigned int size,
		       uint32_t v)
{
	iobus_write(&m->vm.mmio, LAYOUT_PCI_ECAM + ((uint64_t)bdf << 12) + at, &v, size);
}

static void place_bar(struct machine *m, struct fuzz_bytes *b)
{
	uint32_t bdf = function(b);
	uint8_t how = fuzz_u8(b);
	unsigned int bar = how % 6;
	uint32_t at =
		how & 0x80 ? IO_AT + 64u * fuzz_u8(b) : MMIO_AT + MMIO_STEP * (uint32_t)fuzz_u8(b);

	config_put(m, bdf, PCI_BAR0 + 4 * bar, 4, at);
	if (how & 0x40)
		config_put(m, bdf, PCI_BAR0 + 4 * (bar + 1), 4, how & 0x20 ? 0 : fuzz_u8(b));
}

static void access_mmio(struct machine *m, struct fuzz_bytes *b, bool write)
{
	uint64_t at = MMIO_AT + (uint64_t)MMIO_STEP * fuzz_u8(b) + fuzz_u16(b), v = 0;
	unsigned int size = 1u << fuzz_u8(b) % 4;

	if (write) {
		v = fuzz_u64(b);
		iobus_write(&m->vm.mmio, at, &v, size);
	} else {
		iobus_read(&m->vm.mmio, at, &v, size);
	}
}

static void access_port(struct machine *m, struct fuzz_bytes *b)
{
	uint16_t at = fuzz_u16(b);
	uint8_t how = fuzz_u8(b);
	uint64_t v = how & 0x80 ? fuzz_u32(b) : 0;

	if (how & 0x80)
		iobus_write(&m->vm.pio, at, &v, 1u << how % 3);
	else
		iobus_read(&m->vm.pio, at, &v, 1u << how % 3);
}

static void bar_put(struct machine *m, uint64_t at, unsigned int size, uint64_t v)
{
	iobus_write(&m->vm.mmio, at, &v, size);
}

/* Where the registers of the device in slot @slot are after OP_DRIVE. */
static uint64_t registers_of(unsigned int slot)
{
	return MMIO_AT + (2 * (uint64_t)slot + 1) * MMIO_STEP;
}

static uint64_t queue_at(unsigned int queue)
{
	return QUEUE_AT + (uint64_t)queue * QUEUE_BYTES;
}

static void set_queue(struct machine *m, uint64_t common, unsigned int queue)
{
	uint64_t at = queue_at(queue);

	bar_put(m, common + VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	bar_put(m, common + VIRTIO_PCI_COMMON_Q_SIZE, 2, QUEUE_SIZE);
	bar_put(m, common + VIRTIO_PCI_COMMON_Q_MSIX, 2, queue % 3);
	bar_put(m, common + VIRTIO_PCI_COMMON_Q_DESCLO, 4, at);
	bar_put(m, common + VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0);
	bar_put(m, common + VIRTIO_PCI_COMMON_Q_AVAILLO, 4, at + AVAIL);
	bar_put(m, common + VIRTIO_PCI_COMMON_Q_AVAILHI, 4, 0);
	bar_put(m, common + VIRTIO_PCI_COMMON_Q_USEDLO, 4, at + USED);
	bar_put(m, common + VIRTIO_PCI_COMMON_Q_USEDHI, 4, 0);
	bar_put(m, common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static void drive(struct machine *m, struct fuzz_bytes *b)
{
	unsigned int slot = fuzz_u8(b) % 8;
	uint64_t features = fuzz_u64(b), common = registers_of(slot);

	config_put(m, slot << 3, PCI_BAR0 + 4, 4, (uint32_t)(common - MMIO_STEP));
	config_put(m, slot << 3, PCI_BAR0 + 16, 4, (uint32_t)common);
	config_put(m, slot << 3, PCI_BAR0 + 20, 4, 0);
	config_put(m, slot << 3, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	bar_put(m, common + VIRTIO_PCI_COMMON_STATUS, 1, 0);
	bar_put(m, common + VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_DRIVER);
	for (uint32_t half = 0; half < 2; half++) {
		uint32_t offered = 0;

		bar_put(m, common + VIRTIO_PCI_COMMON_DFSELECT, 4, half);
		iobus_read(&m->vm.mmio, common + VIRTIO_PCI_COMMON_DF, &offered, 4);
		bar_put(m, common + VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		bar_put(m, common + VIRTIO_PCI_COMMON_GF, 4,
			half ? offered : offered & (uint32_t)features);
	}
	bar_put(m, common + VIRTIO_PCI_COMMON_STATUS, 1,
		VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned int i = 0; i < QUEUES; i++)
		set_queue(m, common, i);
	bar_put(m, common + VIRTIO_PCI_COMMON_STATUS, 1,
		VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void poke(struct machine *m, uint64_t gpa, const void *p, size_t n)
{
	if (gpa <= MACHINE_RAM - n)
		memcpy(m->ram.host + gpa, p, n);
}

static void write_desc(struct machine *m, struct fuzz_bytes *b)
{
	uint8_t where = fuzz_u8(b), how = fuzz_u8(b);
	struct vring_desc d = {
		.addr = how & 0x10 ? fuzz_u64(b) : BUFFERS_AT + fuzz_u16(b) % 0x8000,
		.len = how & 0x20   ? fuzz_u32(b)
		       : how & 0x40 ? 16u * fuzz_u8(b)
				    : fuzz_u8(b),
		.flags = how & 7,
		.next = fuzz_u8(b) % (QUEUE_SIZE + 1),
	};

	poke(m, queue_at(where % QUEUES) + 16u * (where / QUEUES % QUEUE_SIZE), &d, sizeof(d));
}

static void offer(struct machine *m, struct fuzz_bytes *b)
{
	uint8_t where = fuzz_u8(b);
	uint64_t avail = queue_at(where % QUEUES) + AVAIL;
	uint16_t idx, head = where / QUEUES % (QUEUE_SIZE + 1);

	memcpy(&idx, m->ram.host + avail + 2, 2);
	poke(m, avail + 4 + 2u * (idx % QUEUE_SIZE), &head, 2);
	idx++;
	poke(m, avail + 2, &idx, 2);
}

/* What the card sends is read, so that it can go on. */
static void turn(struct machine *m)
{
	uint8_t frames[4096];

	loop_run_once(m->vm.loop, 0);
	while (recv(m->peer, frames, sizeof(frames), MSG_DONTWAIT) > 0)
		;
}

static void ring(struct machine *m, struct fuzz_bytes *b)
{
	uint8_t where = fuzz_u8(b);
	uint64_t at = registers_of(where % 8) + NOTIFY_AT;

	bar_put(m, at + NOTIFY_MULTIPLIER * (where / 8 % QUEUES), 2, where / 8 % QUEUES);
	turn(m);
}

static void reset(struct vm *vm)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &vm->devices) {
		struct device *d = CONTAINER_OF(pos, struct device, link);

		if (d->class->reset)
			d->class->reset(d);
	}
}

/* Nothing that a guest does makes a state that cannot be loaded, or another one when it is. */
static void save_and_load(struct machine *m)
{
	AUTO_BUF before = { 0 };
	AUTO_BUF after = { 0 };

	run_changed(&m->vm, false);
	save(&m->vm, &before);
	MUST(!load(&m->vm, &before));
	save(&m->vm, &after);
	MUST(before.len == after.len && !memcmp(before.data, after.data, before.len));
	run_changed(&m->vm, true);
}

static void step(struct machine *m, struct fuzz_bytes *b)
{
	uint8_t op = fuzz_u8(b) % OP_COUNT, data[16];
	uint16_t at;

	switch ((enum op)op) {
	case OP_CONFIG_READ:
	case OP_CONFIG_WRITE:
		ports(m, b, op == OP_CONFIG_WRITE);
		break;
	case OP_ECAM_READ:
	case OP_ECAM_WRITE:
		ecam(m, b, op == OP_ECAM_WRITE);
		break;
	case OP_BAR:
		place_bar(m, b);
		break;
	case OP_COMMAND:
		config_put(m, function(b), PCI_COMMAND, 2, fuzz_u16(b));
		break;
	case OP_MMIO_READ:
	case OP_MMIO_WRITE:
		access_mmio(m, b, op == OP_MMIO_WRITE);
		break;
	case OP_PORT:
		access_port(m, b);
		break;
	case OP_TURN:
		turn(m);
		break;
	case OP_DRIVE:
		drive(m, b);
		break;
	case OP_POKE:
		at = fuzz_u16(b);
		poke(m, at, data, fuzz_take(b, data, 1 + at % sizeof(data)));
		break;
	case OP_DESC:
		write_desc(m, b);
		break;
	case OP_OFFER:
		offer(m, b);
		break;
	case OP_RING:
		ring(m, b);
		break;
	case OP_RESET:
		reset(&m->vm);
		break;
	default:
		save_and_load(m);
		break;
	}
}

/* Made once, which takes longer than an input; each begins with the state of the first. */
static struct machine *machine;
static struct buf initial;

static void begin(void)
{
	if (machine) {
		memset(machine->ram.host, 0, MACHINE_RAM);
		MUST(!load(&machine->vm, &initial));
	} else {
		machine = calloc(1, sizeof(*machine));
		make_machine(machine);
		save(&machine->vm, &initial);
	}
	run_changed(&machine->vm, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes b = { data, size };

	begin();
	while (b.left)
		step(machine, &b);
	save_and_load(machine);
	run_changed(&machine->vm, false);
	turn(machine);
	return 0;
}
