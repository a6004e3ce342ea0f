/* SPDX-License-Identifier: MIT */
/* A driver and a peer that do what the bytes say with a virtio network card on a stream. */
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "dev/pc/reset.h"
#include "dev/pci/host.h"
#include "dev/pci/regs.h"
#include "dev/virtio/net.h"
#include "dev/virtio/net_impl.h"
#include "fuzz.h"
#include "machine/backend.h"
#include "machine/vm.h"

enum {
	RAM = 0x10000,
	QUEUES = 3,
	SIZE = 16,
	AT = 0x400, /* bytes between the queues' rings */
	AVAIL = 0x100,
	USED = 0x180,
	NOTHING = 0x100000, /* where there is no memory */
};

enum op {
	OP_POKE,
	OP_DESC,
	OP_OFFER,
	OP_KICK,
	OP_FRAME, /* the peer sends a frame           */
	OP_BYTES, /* or what is none                  */
	OP_DRAIN, /* the peer reads                   */
	OP_COMMAND,
	OP_LINK,
	OP_SAVE, /* the guest stands still, its state is saved and loaded */
	OP_DRIVE,
	OP_COUNT,
};

struct world {
	struct vm vm;
	struct ram_block ram;
	struct backend backend;
	struct net *net;
	struct device *card;
	struct virtio_net *n;
	struct virtio_net_state *saved;
	int peer;
};

static void no_line(void *opaque, unsigned int line, bool level)
{
	(void)opaque;
	(void)line;
	(void)level;
}

static void no_msi(struct vm *vm, uint64_t addr, uint32_t data)
{
	(void)vm;
	(void)addr;
	(void)data;
}

static void make_machine(struct world *w)
{
	struct vm *vm = &w->vm;
	struct err e;

	list_init(&vm->devices);
	list_init(&vm->backends);
	list_init(&vm->observers);
	doorbells_init(vm);
	iobus_init(&vm->pio);
	iobus_init(&vm->mmio);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_lock(&vm->lock);
	vm->kvm_fd = vm->vm_fd = -1;
	w->ram = (struct ram_block){ .size = RAM, .host = calloc(1, RAM), .in_guest = true };
	vm->mem.ranges[0] = (struct mem_range){ .size = RAM, .block = &w->ram };
	vm->mem.nr_ranges = 1;
	MUST(!loop_create(&vm->loop, &vm->lock, &e));
	MUST(!reset_create(vm, &e) && !pci_host_create(vm, &e));
	for (unsigned int i = 0; i < PCI_NR_INTX_LINES; i++)
		vm->pci->h.intx[i] = (struct irq){ .set = no_line, .line = i };
	vm->pci->h.send_msi = no_msi;
}

static void make_card(struct world *w, const char *options)
{
	struct net_config config = { .kind = NET_STREAM, .id = "n0", .address = NET_FD };
	struct device_spec spec;
	struct err e;
	int ends[2];

	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends));
	config.fd = ends[0];
	w->peer = ends[1];
	MUST(!net_open(&w->net, w->vm.loop, &config, NULL, NULL, &e));
	w->backend = (struct backend){ .kind = BACKEND_NET, .id = "n0", .object = w->net };
	MUST(!backend_add(&w->vm, &w->backend, &e));
	MUST(!device_spec_parse(&spec, options, &e));
	MUST(!device_spec_create(&w->vm, &spec, &w->card, &e));
	device_spec_fini(&spec);
	w->n = CONTAINER_OF(w->card, struct virtio_net, dev);
}

/* A driver that has negotiated some of what is offered. */
static void drive(struct world *w, struct fuzz_bytes *b)
{
	struct virtio_state *s = &w->n->s.virtio;

	w->card->class->reset(w->card);
	memset(w->ram.host, 0, QUEUES * AT);
	s->features = (fuzz_u64(b) & w->n->h.virtio.features) | UINT64_C(1) << VIRTIO_F_VERSION_1;
	s->status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		    VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
	s->pci.config[PCI_COMMAND] = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	for (unsigned int i = 0; i < QUEUES; i++) {
		s->queues[i].size = SIZE;
		s->queues[i].desc = AT * i;
		s->queues[i].driver = AT * i + AVAIL;
		s->queues[i].device = AT * i + USED;
		s->queues[i].enabled = true;
	}
	w->card->class->loaded(w->card);
}

static void turn(struct world *w)
{
	loop_run_once(w->vm.loop, 0);
	loop_run_once(w->vm.loop, 0);
}

static void poke(struct world *w, uint32_t at, const void *p, size_t n)
{
	at %= RAM - 16;
	memcpy(w->ram.host + at, p, n);
}

static void write_desc(struct world *w, struct fuzz_bytes *b)
{
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} d;
	uint8_t at = fuzz_u8(b), how = fuzz_u8(b);

	d.addr = how & 0x80 ? NOTHING : fuzz_u16(b);
	d.len = how & 0x40 ? fuzz_u32(b) : how & 0x20 ? fuzz_u16(b) : fuzz_u8(b);
	d.flags = how & 7;
	d.next = fuzz_u8(b) % SIZE;
	poke(w, AT * (at >> 4) % (AT * QUEUES) + 16u * (at & 15), &d, sizeof(d));
}

static void offer(struct world *w, struct fuzz_bytes *b)
{
	unsigned int queue = fuzz_u8(b) % QUEUES;
	uint8_t *avail = w->ram.host + AT * queue + AVAIL;
	uint16_t idx, head = fuzz_u8(b) % (SIZE + 1);

	memcpy(&idx, avail + 2, 2);
	memcpy(avail + 4 + 2 * (idx % SIZE), &head, 2);
	idx++;
	memcpy(avail + 2, &idx, 2);
}

/* Whatever the sockets hold: more than that is not sent. */
static void talk(struct world *w, struct fuzz_bytes *b, bool frame)
{
	static uint8_t data[4 + UINT16_MAX];
	uint16_t n = fuzz_u16(b);
	ssize_t r;

	memset(data, n & 0xff, sizeof(data));
	if (frame) {
		data[0] = data[1] = 0;
		data[2] = (uint8_t)(n >> 8);
		data[3] = (uint8_t)n;
		fuzz_take(b, data + 4, 6);
		n = (uint16_t)MIN(n + 4, UINT16_MAX);
	} else {
		n = (uint16_t)fuzz_take(b, data, n % 64);
	}
	r = send(w->peer, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)r;
	turn(w);
}

static void drain(struct world *w)
{
	static uint8_t data[1 << 16];

	while (recv(w->peer, data, sizeof(data), MSG_DONTWAIT) > 0)
		turn(w);
}

static void save_and_load(struct world *w)
{
	const struct device_class *class = w->card->class;
	struct err e;

	class->run_changed(w->card, false);
	/* Nothing is in flight, whatever the driver has done; and such a state is taken. */
	MUST(!class->capture(w->card, w->saved, &e));
	MUST(!class->fits(w->card, w->saved, &e));
	MUST(!class->apply(w->card, w->saved, &e));
	class->loaded(w->card);
	class->run_changed(w->card, true);
	turn(w);
}

static void step(struct world *w, struct fuzz_bytes *b)
{
	uint8_t data[64];
	uint16_t at;

	switch ((enum op)(fuzz_u8(b) % OP_COUNT)) {
	case OP_POKE:
		at = fuzz_u16(b);
		poke(w, at, data, fuzz_take(b, data, 1 + at % 16));
		break;
	case OP_DESC:
		write_desc(w, b);
		break;
	case OP_OFFER:
		offer(w, b);
		break;
	case OP_KICK:
		virtio_kick(&w->n->h.virtio, fuzz_u8(b) % QUEUES);
		turn(w);
		break;
	case OP_FRAME:
		talk(w, b, true);
		break;
	case OP_BYTES:
		talk(w, b, false);
		break;
	case OP_DRAIN:
		drain(w);
		break;
	case OP_COMMAND:
		at = fuzz_u8(b) % sizeof(data);
		vnet_ctrl_command(w->n, data, fuzz_take(b, data, at));
		break;
	case OP_LINK:
		net_set_link(w->net, fuzz_u8(b) & 1);
		break;
	case OP_SAVE:
		save_and_load(w);
		break;
	case OP_DRIVE:
	case OP_COUNT:
		drive(w, b);
		break;
	}
	MUST(w->n->s.pairs == 1 && w->n->s.filter.nr_macs <= VNET_MAX_MACS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes b = { data, size };
	struct world *w = calloc(1, sizeof(*w));

	/* What the driver is told of its rules is of no interest here. */
	make_machine(w);
	make_card(w, fuzz_u8(&b) & 1 ? "virtio-net-pci,netdev=n0,mrg_rxbuf=off"
				     : "virtio-net-pci,netdev=n0");
	w->saved = calloc(1, sizeof(*w->saved));
	w->card->class->run_changed(w->card, true);
	drive(w, &b);
	while (b.left)
		step(w, &b);
	free(w->saved);
	vm_destroy_devices(&w->vm);
	backend_del(&w->backend);
	net_close(w->net, false);
	close(w->peer);
	doorbells_fini(&w->vm);
	loop_destroy(w->vm.loop);
	pthread_mutex_unlock(&w->vm.lock);
	pthread_mutex_destroy(&w->vm.lock);
	free(w->ram.host);
	free(w);
	return 0;
}
