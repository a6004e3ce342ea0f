/* SPDX-License-Identifier: MIT */
/* A machine with one of each device that can be had without KVM, and its state. */
#ifndef TESTS_FUZZ_MACHINE_H
#define TESTS_FUZZ_MACHINE_H

#include "../unit/seal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "dev/pc/acpi_pm.h"
#include "dev/pc/reset.h"
#include "dev/pc/rtc.h"
#include "dev/pci/host.h"
#include "fuzz.h"
#include "host/clock.h"
#include "host/net.h"
#include "machine/backend.h"
#include "machine/device_type.h"
#include "machine/vm.h"
#include "state/stream.h"

#define MACHINE_RAM 0x10000

static inline void check_refusal(int r, const struct err *e)
{
	if (r)
		MUST(r == -e->code && strchr(e->msg, ' '));
}

/* From a copy of exactly that size, so that a sanitizer sees a byte read behind it. */
static inline int decode(const struct buf *b, struct snapshot *s)
{
	struct err e = ERR_INIT;
	uint8_t *exact = malloc(b->len ? b->len : 1);
	int r;

	if (b->len)
		memcpy(exact, b->data, b->len);
	r = stream_decode(exact, b->len, s, &e);
	check_refusal(r, &e);
	free(exact);
	return r;
}

/* In place of host/clock.c: it is always the same time, so that an input does the same each time. */
uint64_t clock_boottime_ns(void)
{
	return UINT64_C(1000000000000);
}

uint64_t clock_realtime_ns(void)
{
	return UINT64_C(1000000000000000000);
}

uint64_t clock_tsc(void)
{
	return UINT64_C(1000000000000);
}

void clock_sleep_ns(uint64_t ns)
{
	(void)ns;
}

/* A machine with one of each device that can be had without KVM. */
struct machine {
	struct vm vm;
	struct ram_block ram;
	struct backend backend;
	struct net *net;
	int peer;
};

static inline void no_line(void *opaque, unsigned int line, bool level)
{
	(void)opaque;
	(void)line;
	(void)level;
}

static inline void no_msi(struct vm *vm, uint64_t addr, uint32_t data)
{
	(void)vm;
	(void)addr;
	(void)data;
}

static inline uint64_t no_size(void *opaque, const char *name)
{
	(void)opaque;
	(void)name;
	return 0;
}

static inline void plug(struct vm *vm, const char *text)
{
	struct device_spec spec;
	struct device *d;
	struct err e;

	MUST(!device_spec_parse(&spec, text, &e));
	MUST(!device_spec_create(vm, &spec, &d, &e));
	device_spec_fini(&spec);
}

static inline void make_net(struct machine *m)
{
	struct net_config config = { .kind = NET_STREAM, .id = "n0", .address = NET_FD };
	struct err e;
	int ends[2];

	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends));
	config.fd = ends[0];
	m->peer = ends[1];
	MUST(!net_open(&m->net, m->vm.loop, &config, NULL, NULL, &e));
	m->backend = (struct backend){ .kind = BACKEND_NET, .id = "n0", .object = m->net };
	MUST(!backend_add(&m->vm, &m->backend, &e));
}

static inline void make_machine(struct machine *m)
{
	/* Private memory: no descriptor to make for each input. */
	static const struct ram_source source = { .size = no_size };
	struct acpi_pm *pm = calloc(1, sizeof(*pm));
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	struct vm *vm = &m->vm;
	struct err e;

	list_init(&vm->devices);
	list_init(&vm->backends);
	list_init(&vm->observers);
	list_init(&vm->boot_order);
	list_init(&vm->displays);
	doorbells_init(vm);
	iobus_init(&vm->pio);
	iobus_init(&vm->mmio);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_lock(&vm->lock);
	vm->kvm_fd = vm->vm_fd = -1;
	m->ram = (struct ram_block){ .size = MACHINE_RAM,
				     .host = calloc(1, MACHINE_RAM),
				     .in_guest = true };
	strcpy(m->ram.name, "pc.ram");
	vm->mem.source = &source;
	vm->mem.ranges[0] = (struct mem_range){ .size = MACHINE_RAM, .block = &m->ram };
	vm->mem.nr_ranges = 1;
	vm->mem.blocks[vm->mem.nr_blocks++] = &m->ram;
	vm->mem.ram = &m->ram;
	MUST(!loop_create(&vm->loop, &vm->lock, &e));
	loop_work_init(&vm->request_work, (void (*)(void *))abort, NULL);
	MUST(!reset_create(vm, &e) && !pci_host_create(vm, &e));
	for (unsigned int i = 0; i < PCI_NR_INTX_LINES; i++)
		vm->pci->h.intx[i] = (struct irq){ .set = no_line, .line = i };
	vm->pci->h.send_msi = no_msi;
	acpi_pm_init(pm, (struct irq){ .set = no_line });
	device_add(vm, &pm->dev, &acpi_pm_class);
	rtc_init(rtc, (struct irq){ .set = no_line }, vm->loop);
	device_add(vm, &rtc->dev, &rtc_class);
	make_net(m);
	plug(vm, "pcie-root-port,id=rp,chassis=1");
	plug(vm, "virtio-net-pci,netdev=n0");
	plug(vm, "virtio-serial-pci,id=vs,max_ports=4");
	plug(vm, "virtconsole,bus=vs.0,id=con");
	plug(vm, "virtio-rng-pci,bus=rp");
	plug(vm, "bochs-display,vgamem=4M");
	plug(vm, "i6300esb");
}

static inline void unmake_machine(struct machine *m)
{
	struct vm *vm = &m->vm;

	vm_destroy_devices(vm);
	backend_del(&m->backend);
	net_close(m->net, false);
	close(m->peer);
	doorbells_fini(vm);
	loop_work_cancel(vm->loop, &vm->request_work);
	loop_destroy(vm->loop);
	pthread_mutex_unlock(&vm->lock);
	pthread_mutex_destroy(&vm->lock);
	for (unsigned int i = 1; i < vm->mem.nr_blocks; i++)
		ram_block_destroy(vm->mem.blocks[i]);
	free(m->ram.host);
	free(m);
}

static inline void run_changed(struct vm *vm, bool running)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &vm->devices) {
		struct device *d = CONTAINER_OF(pos, struct device, link);

		if (d->class->run_changed)
			d->class->run_changed(d, running);
	}
}

static inline void save(struct vm *vm, struct buf *out)
{
	struct snapshot s;
	struct err e;

	snapshot_init(&s, LAYOUT_MACHINE_TYPE);
	MUST(!vm_list_state(vm, VM_STATE_OURS, &s, &e));
	MUST(!vm_save_state(vm, VM_STATE_OURS, &s, &e));
	MUST(!stream_encode_bare(&s, out, &e));
	snapshot_fini(&s);
}

static inline int load(struct vm *vm, const struct buf *b)
{
	struct err e = ERR_INIT;
	struct snapshot s;
	int r;

	snapshot_init(&s, LAYOUT_MACHINE_TYPE);
	MUST(!vm_list_state(vm, VM_STATE_OURS, &s, &e));
	r = decode(b, &s);
	if (!r)
		r = vm_load_state(vm, VM_STATE_OURS, &s, &e);
	check_refusal(e.msg[0] ? r : 0, &e);
	snapshot_fini(&s);
	return r;
}

#endif
