/* SPDX-License-Identifier: MIT */
/* virtio-serial (virtio 1.2, section 5.3): the device, and what it and its driver tell each other. */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/virtio/vserial.h"
#include "machine/vm.h"

#define BUS_TYPE "virtio-serial-bus"

static const struct vs_field vserial_fields[] = {
	VS_STRUCT(struct vserial_state, virtio, &virtio_state_desc),
	VS_FIELD_RANGE(struct vserial_state, removed, 0, (1u << VSERIAL_MAX_PORTS) - 1),
	VS_FIELD(struct vserial_state, ready),
	VS_BUFFER(struct vserial_state, reserved),
	VS_END,
};

static const struct vs_desc vserial_desc = {
	.name = "virtio-serial",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vserial_state),
	.fields = vserial_fields,
};

static struct vserial *to_vserial(const struct device *d)
{
	return CONTAINER_OF(d, struct vserial, dev);
}

bool vserial_is_multiport(const struct vserial *vs)
{
	return virtio_has(&vs->h.virtio, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* False if there is no buffer for it now. */
static bool put_control(struct vserial *vs, unsigned int port, uint16_t event, uint16_t value,
			const char *name)
{
	const struct virtio_console_control m = {
		.id = htole32(port),
		.event = htole16(event),
		.value = htole16(value),
	};
	struct virtqueue *q = &vs->h.virtio.queues[VSERIAL_CONTROL_IN].q;
	struct virtq_chain c = { .iov = vs->h.iov };
	struct err e;
	size_t n;
	int r = virtqueue_pop(q, &c, &e);

	if (!r)
		return false;
	if (r > 0 && c.in_bytes < sizeof(m))
		r = err_set(&e, EINVAL, "a buffer for control messages has %llu bytes",
			    (unsigned long long)c.in_bytes);
	if (r < 0) {
		virtio_broken(&vs->h.virtio, &e);
		return false;
	}
	n = virtq_write(&c, 0, &m, sizeof(m));
	if (name)
		n += virtq_write(&c, sizeof(m), name, strlen(name) + 1);
	virtqueue_push(q, c.head, (uint32_t)n);
	return true;
}

/* Likewise, of all that is pending for a port. */
static bool put_pending(struct vserial *vs, struct vport *p)
{
	static const uint16_t events[] = { VIRTIO_CONSOLE_PORT_ADD, VIRTIO_CONSOLE_CONSOLE_PORT,
					   VIRTIO_CONSOLE_PORT_NAME, VIRTIO_CONSOLE_PORT_OPEN };

	for (unsigned int i = 0; i < ARRAY_SIZE(events); i++) {
		uint8_t bit = (uint8_t)(1 << i);

		if (!(p->s.pending & bit))
			continue;
		if (!put_control(vs, p->h.nr, events[i], bit != VPORT_OPEN || p->s.host_open,
				 bit == VPORT_NAME ? p->h.name : NULL))
			return false;
		p->s.pending &= (uint8_t)~bit;
	}
	return true;
}

static bool put_removed(struct vserial *vs, unsigned int nr)
{
	if (!(vs->s.removed & 1u << nr))
		return true;
	if (!put_control(vs, nr, VIRTIO_CONSOLE_PORT_REMOVE, 1, NULL))
		return false;
	vs->s.removed &= ~(1u << nr);
	return true;
}

static void write_control(struct vserial *vs)
{
	uint16_t before = vs->s.virtio.queues[VSERIAL_CONTROL_IN].used;
	bool more = true;

	if (!vserial_is_multiport(vs))
		return;
	/* A number is used again by another port only after its end. */
	for (unsigned int i = 0; more && i < vs->h.max_ports; i++)
		more = put_removed(vs, i) && (!vs->h.ports[i] || put_pending(vs, vs->h.ports[i]));
	if (vs->s.virtio.queues[VSERIAL_CONTROL_IN].used != before)
		virtio_notify(&vs->h.virtio, VSERIAL_CONTROL_IN);
}

void vserial_flush_control(struct vserial *vs)
{
	virtio_kick(&vs->h.virtio, VSERIAL_CONTROL_IN);
}

static void driver_is_ready(struct vserial *vs)
{
	vs->s.ready = true;
	vs->s.removed = 0;
	for (unsigned int i = 0; i < vs->h.max_ports; i++)
		if (vs->h.ports[i])
			vs->h.ports[i]->s.pending |= VPORT_ADD;
	vserial_flush_control(vs);
}

/* What means nothing, or not yet, is ignored, and a driver that fails is left alone. */
static void handle_message(struct vserial *vs, const struct virtio_console_control *m)
{
	uint32_t id = le32toh(m->id);
	uint16_t event = le16toh(m->event), value = le16toh(m->value);
	struct vport *p = id < vs->h.max_ports ? vs->h.ports[id] : NULL;

	if (event == VIRTIO_CONSOLE_DEVICE_READY && value)
		driver_is_ready(vs);
	else if (event == VIRTIO_CONSOLE_PORT_READY && p && value)
		vport_set_ready(p);
	else if (event == VIRTIO_CONSOLE_PORT_OPEN && p)
		vport_set_open(p, value);
	else
		vs->h.ignored++;
}

static void read_control(struct vserial *vs)
{
	struct virtio *v = &vs->h.virtio;
	struct virtqueue *q = &v->queues[VSERIAL_CONTROL_OUT].q;
	struct virtq_chain c = { .iov = vs->h.iov };
	struct virtio_console_control m;
	bool any = false;
	struct err e;
	int r;

	while ((r = virtqueue_pop(q, &c, &e)) > 0) {
		bool whole = virtq_read(&c, 0, &m, sizeof(m)) == sizeof(m);

		virtqueue_push(q, c.head, 0);
		any = true;
		if (whole && vserial_is_multiport(vs))
			handle_message(vs, &m);
		else
			vs->h.ignored++;
	}
	if (any)
		virtio_notify(v, VSERIAL_CONTROL_OUT);
	if (r < 0)
		virtio_broken(v, &e);
}

/* Bytes to a port that is not there go nowhere. */
static void discard(struct vserial *vs, unsigned int index)
{
	struct virtio *v = &vs->h.virtio;
	struct virtqueue *q = &v->queues[index].q;
	struct virtq_chain c = { .iov = vs->h.iov };
	struct err e;
	int r;

	while ((r = virtqueue_pop(q, &c, &e)) > 0)
		virtqueue_push(q, c.head, 0);
	virtio_notify(v, index);
	if (r < 0)
		virtio_broken(v, &e);
}

static void handle_queue(struct virtio *v, unsigned int index)
{
	struct vserial *vs = v->opaque;
	unsigned int nr = index < 2 ? 0 : index / 2 - 1;
	struct vport *p = vs->h.ports[nr];

	if (index == VSERIAL_CONTROL_IN)
		write_control(vs);
	else if (index == VSERIAL_CONTROL_OUT)
		read_control(vs);
	else if (p && index % 2)
		vport_send(p);
	else if (p)
		vport_receive(p);
	else if (index % 2)
		discard(vs, index);
}

static void read_config(struct virtio *v, uint32_t offset, void *p, uint32_t size)
{
	const struct vserial *vs = v->opaque;
	const struct virtio_console_config c = { .max_nr_ports = htole32(vs->h.max_ports) };

	memcpy(p, (const uint8_t *)&c + offset, size);
}

static void reset_driver(struct virtio *v)
{
	struct vserial *vs = v->opaque;

	vs->s.ready = false;
	vs->s.removed = 0;
	for (unsigned int i = 0; i < vs->h.max_ports; i++)
		if (vs->h.ports[i])
			vport_forget_driver(vs->h.ports[i]);
}

static const struct virtio_class vserial_virtio = {
	.device_id = VIRTIO_ID_CONSOLE,
	.pci_class = 0x078000,
	.features = 1u << VIRTIO_CONSOLE_F_MULTIPORT,
	.config_bytes = sizeof(struct virtio_console_config),
	.read_config = read_config,
	.handle_queue = handle_queue,
	.reset = reset_driver,
};

static void vserial_reset(struct device *d)
{
	virtio_reset(&to_vserial(d)->h.virtio);
}

static int vserial_fits(const struct device *d, const void *state, struct err *e)
{
	const struct vserial_state *s = state;

	return virtio_fits(&to_vserial(d)->h.virtio, &s->virtio, e);
}

static void vserial_loaded(struct device *d)
{
	virtio_loaded(&to_vserial(d)->h.virtio);
}

static void vserial_run_changed(struct device *d, bool running)
{
	virtio_run_changed(&to_vserial(d)->h.virtio, running);
}

/* Its ports go with it. */
static void vserial_destroy(struct device *d)
{
	struct vserial *vs = to_vserial(d);

	for (unsigned int i = 0; i < vs->h.max_ports; i++)
		if (vs->h.ports[i])
			device_remove(&vs->h.ports[i]->dev);
	virtio_fini(&vs->h.virtio);
	free(vs);
}

const struct device_class vserial_class = {
	.name = "virtio-serial",
	.state = &vserial_desc,
	.state_offset = offsetof(struct vserial, s),
	.fits = vserial_fits,
	.loaded = vserial_loaded,
	.run_changed = vserial_run_changed,
	.reset = vserial_reset,
	.destroy = vserial_destroy,
};

static struct vserial *next_bus(const struct vm *vm, const struct list **pos)
{
	for (*pos = (*pos)->next; *pos != &vm->devices; *pos = (*pos)->next) {
		struct device *d = CONTAINER_OF(*pos, struct device, link);

		if (d->class == &vserial_class)
			return to_vserial(d);
	}
	return NULL;
}

static bool has_place(const struct vserial *vs)
{
	/* The first number is for a console. */
	for (unsigned int i = 1; i < vs->h.max_ports; i++)
		if (!vs->h.ports[i])
			return true;
	return false;
}

struct vserial *vserial_find_bus(const struct vm *vm, const char *name)
{
	const struct list *pos = &vm->devices;
	struct vserial *vs, *any = NULL;

	while ((vs = next_bus(vm, &pos))) {
		if (*name ? !strcmp(vs->h.bus, name) : has_place(vs))
			return vs;
		if (!any && !*name)
			any = vs;
	}
	return any;
}

/* As the field's users know it: after the device, or by a number. */
static void name_bus(const struct vm *vm, struct vserial *vs)
{
	unsigned int n = 0;

	if (*vs->dev.id) {
		snprintf(vs->h.bus, sizeof(vs->h.bus), "%.60s.0", vs->dev.id);
		return;
	}
	do {
		snprintf(vs->h.bus, sizeof(vs->h.bus), BUS_TYPE ".%u", n++);
	} while (vserial_find_bus(vm, vs->h.bus));
}

static int vserial_create(struct vm *vm, const struct device_config *config, struct device **out,
			  struct err *e)
{
	const struct vserial_config *c = (const struct vserial_config *)config;
	struct vserial *vs = calloc(1, sizeof(*vs));
	int r;

	if (!vs)
		return err_set(e, ENOMEM, "no memory for a virtio-serial device");
	vs->h.max_ports = (unsigned int)c->max_ports;
	vs->h.virtio.opaque = vs;
	virtio_configure(&vs->h.virtio, &c->virtio);
	r = virtio_init(&vs->h.virtio, vm, &vs->dev, &vs->s.virtio, config, &vserial_virtio,
			2 * (vs->h.max_ports + 1), VSERIAL_QUEUE_SIZE, 0, virtio_less(&c->virtio),
			e);
	if (r) {
		free(vs);
		return r;
	}
	name_bus(vm, vs);
	device_add(vm, &vs->dev, &vserial_class);
	*out = &vs->dev;
	return 0;
}

static const struct prop vserial_props[] = {
	VIRTIO_PROPS(struct vserial_config),
	{ .name = "max_ports",
	  .kind = PROP_UINT,
	  .offset = offsetof(struct vserial_config, max_ports),
	  .min = 1,
	  .max = VSERIAL_MAX_PORTS,
	  .initial = VSERIAL_MAX_PORTS,
	  .help = "how many ports there can be, the first for a console" },
	{ .name = NULL },
};

static const struct device_class *const vserial_classes[] = { &vserial_class, NULL };

const struct device_type vserial_type = {
	.driver = "virtio-serial-pci",
	.alias = "virtio-serial",
	.bus = "PCI",
	.help = "a bus of serial ports",
	.hotpluggable = true,
	.config_size = sizeof(struct vserial_config),
	.props = vserial_props,
	.classes = vserial_classes,
	.create = vserial_create,
	.unplug = pci_request_unplug,
};
