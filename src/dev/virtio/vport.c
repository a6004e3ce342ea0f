/* SPDX-License-Identifier: MIT */
/* A port of virtio-serial: bytes between the guest and a character device. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/virtio/vserial.h"
#include "host/clock.h"
#include "machine/vm.h"

/* So many bytes of the guest go out before other things have their turn. */
#define SEND_MAX ((size_t)64 << 10)
/* A guest that opens and closes all the time is heard of so often. */
#define QUIET_NS UINT64_C(1000000000)

static const struct vs_field vport_fields[] = {
	VS_FIELD(struct vport_state, sent),
	VS_FIELD_RANGE(struct vport_state, pending, 0,
		       VPORT_ADD | VPORT_CONSOLE | VPORT_NAME | VPORT_OPEN),
	VS_FIELD(struct vport_state, ready),
	VS_FIELD(struct vport_state, guest_open),
	VS_FIELD(struct vport_state, host_open),
	VS_FIELD(struct vport_state, told_open),
	VS_BUFFER(struct vport_state, reserved),
	VS_END,
};

static const struct vs_desc vport_desc = {
	.name = "virtio-serial-port",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vport_state),
	.fields = vport_fields,
};

static struct vport *to_vport(const struct device *d)
{
	return CONTAINER_OF(d, struct vport, dev);
}

static unsigned int receive_queue(const struct vport *p)
{
	return p->h.nr ? 2 * p->h.nr + 2 : 0;
}

static unsigned int send_queue(const struct vport *p)
{
	return receive_queue(p) + 1;
}

/* Events. */

static void tell_operators(void *opaque)
{
	struct vport *p = opaque;

	if (!p->h.running || p->h.quiet.armed || p->s.told_open == p->s.guest_open)
		return;
	p->s.told_open = p->s.guest_open;
	if (*p->dev.id)
		vm_notify(p->dev.vm, p->s.guest_open ? VM_EVENT_PORT_OPENED : VM_EVENT_PORT_CLOSED,
			  p->dev.id);
	loop_timer_set(p->dev.vm->loop, &p->h.quiet, clock_boottime_ns() + QUIET_NS);
}

static void set_guest_open(struct vport *p, bool open)
{
	p->s.guest_open = open;
	loop_post(p->dev.vm->loop, &p->h.tell);
}

static bool is_host_open(const struct vport *p)
{
	/* A console has somebody at it, whoever that is; nothing in the guest waits for it. */
	return p->h.console || (p->h.chr && chardev_is_connected(p->h.chr));
}

/*
 * Whether somebody is connected. What happens while the guest stands still it hears when it goes
 * on; and who is to come along from another image or process is not here before release.
 */
static void look_at_host(struct vport *p)
{
	bool open = is_host_open(p);

	if (!p->h.running || (p->h.chr && chardev_is_held(p->h.chr)) || open == p->s.host_open)
		return;
	p->s.host_open = open;
	if (!p->s.ready)
		return;
	/* Somebody who has come and gone before the driver has heard of them was not there. */
	p->s.pending ^= VPORT_OPEN;
	vserial_flush_control(p->h.vs);
}

/* From the driver. */

void vport_set_ready(struct vport *p)
{
	p->s.ready = true;
	if (p->h.console)
		p->s.pending |= VPORT_CONSOLE;
	if (*p->h.name)
		p->s.pending |= VPORT_NAME;
	p->s.pending &= (uint8_t)~VPORT_OPEN;
	if (p->s.host_open)
		p->s.pending |= VPORT_OPEN;
	vserial_flush_control(p->h.vs);
}

void vport_set_open(struct vport *p, bool open)
{
	set_guest_open(p, open);
	if (open)
		vport_receive(p);
}

void vport_forget_driver(struct vport *p)
{
	p->s.sent = 0;
	p->s.pending = 0;
	p->s.ready = false;
	set_guest_open(p, false);
}

/* Bytes. */

static bool takes_input(const struct vport *p)
{
	if (!virtio_is_live(&p->h.vs->h.virtio))
		return false;
	return vserial_is_multiport(p->h.vs) ? p->s.guest_open : p->h.nr == 0;
}

/* The next buffer to be filled; false if there is none. */
static bool next_buffer(struct vport *p, struct virtq_chain *c)
{
	struct virtio *v = &p->h.vs->h.virtio;
	struct err e;
	int r = virtqueue_pop(&v->queues[receive_queue(p)].q, c, &e);

	if (r > 0 && !c->in_bytes)
		r = err_set(&e, EINVAL, "a buffer for the bytes of port %u cannot be written",
			    p->h.nr);
	if (r < 0)
		virtio_broken(v, &e);
	return r > 0;
}

static size_t port_room(void *opaque)
{
	struct vport *p = opaque;
	struct vserial *vs = p->h.vs;
	struct virtq_chain c = { .iov = vs->h.iov };

	if (!takes_input(p) || !next_buffer(p, &c))
		return 0;
	virtqueue_unpop(&vs->h.virtio.queues[receive_queue(p)].q);
	return c.in_bytes;
}

/* There is room for it, unless the driver has just changed its mind: then its bytes are lost. */
static void port_receive(void *opaque, const void *bytes, size_t n)
{
	struct vport *p = opaque;
	struct vserial *vs = p->h.vs;
	unsigned int index = receive_queue(p);
	struct virtq_chain c = { .iov = vs->h.iov };
	size_t done = 0;

	while (done < n && next_buffer(p, &c)) {
		size_t some = virtq_write(&c, 0, (const uint8_t *)bytes + done, n - done);

		virtqueue_push(&vs->h.virtio.queues[index].q, c.head, (uint32_t)some);
		done += some;
	}
	virtio_notify(&vs->h.virtio, index);
}

void vport_receive(struct vport *p)
{
	if (p->h.chr)
		chardev_accept_input(p->h.chr);
}

/*
 * What is left of a chain, no more than *@budget bytes; false if something stays. Where nobody is
 * connected bytes go nowhere, as on a line that is not plugged in.
 */
static bool send_chain(struct vport *p, const struct virtq_chain *c, size_t *budget)
{
	uint64_t skip = p->s.sent;

	for (unsigned int i = 0; i < c->nr_out; i++) {
		size_t len = c->iov[i].iov_len, some, done;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		some = MIN(len - skip, *budget);
		done = p->h.chr ? chardev_write(p->h.chr,
						(const uint8_t *)c->iov[i].iov_base + skip, some)
				: some;
		p->s.sent += done;
		*budget -= done;
		if (done < len - skip)
			return false;
		skip = 0;
	}
	p->s.sent = 0;
	return true;
}

void vport_send(struct vport *p)
{
	struct vserial *vs = p->h.vs;
	struct virtio *v = &vs->h.virtio;
	unsigned int index = send_queue(p);
	struct virtqueue *q = &v->queues[index].q;
	struct virtq_chain c = { .iov = vs->h.iov };
	size_t budget = SEND_MAX;
	bool any = false;
	struct err e;
	int r = 0;

	while (budget && (r = virtqueue_pop(q, &c, &e)) > 0) {
		if (!send_chain(p, &c, &budget)) {
			virtqueue_unpop(q);
			break;
		}
		virtqueue_push(q, c.head, 0);
		any = true;
	}
	if (any)
		virtio_notify(v, index);
	/* Otherwise the host takes no more now: port_writable(). */
	if (!budget)
		virtio_kick(v, index);
	if (r < 0)
		virtio_broken(v, &e);
}

static void port_writable(void *opaque)
{
	struct vport *p = opaque;

	virtio_kick(&p->h.vs->h.virtio, send_queue(p));
}

static void port_connected(void *opaque, bool yes)
{
	(void)yes;
	look_at_host(opaque);
}

static void port_released(void *opaque)
{
	look_at_host(opaque);
}

static const struct chardev_front port_front = {
	.room = port_room,
	.receive = port_receive,
	.writable = port_writable,
	.connected = port_connected,
	.released = port_released,
	.hears_hangup = true,
};

/* The device. */

static void vport_reset(struct device *d)
{
	struct vport *p = to_vport(d);

	vport_forget_driver(p);
	p->s.host_open = is_host_open(p);
}

static void vport_run_changed(struct device *d, bool running)
{
	struct vport *p = to_vport(d);

	p->h.running = running;
	if (!running)
		return;
	look_at_host(p);
	loop_post(d->vm->loop, &p->h.tell);
	vport_receive(p);
}

static void vport_destroy(struct device *d)
{
	struct vport *p = to_vport(d);
	struct vserial *vs = p->h.vs;

	if (p->h.chr)
		chardev_attach(p->h.chr, NULL, NULL);
	if (p->h.backend)
		backend_release(p->h.backend);
	loop_work_cancel(d->vm->loop, &p->h.tell);
	loop_timer_cancel(&p->h.quiet);
	vs->h.ports[p->h.nr] = NULL;
	if (vs->s.ready) {
		vs->s.removed |= 1u << p->h.nr;
		vserial_flush_control(vs);
	}
	free(p);
}

const struct device_class vport_class = {
	.name = "virtio-serial-port",
	.state = &vport_desc,
	.state_offset = offsetof(struct vport, s),
	.run_changed = vport_run_changed,
	.reset = vport_reset,
	.destroy = vport_destroy,
};

static int check_number(const struct vserial *vs, uint64_t nr, bool console, struct err *e)
{
	if (!nr && !console)
		return err_set(e, EINVAL,
			       "Port number 0 on virtio-serial devices reserved for virtconsole "
			       "devices for backward compatibility.");
	if (nr >= vs->h.max_ports)
		return err_set(
			e, EINVAL,
			"virtio-serial-bus: Out-of-range port id specified, max. allowed: %u",
			vs->h.max_ports - 1);
	if (vs->h.ports[nr])
		return err_set(e, EEXIST, "virtio-serial-bus: A port already exists at id %u",
			       (unsigned int)nr);
	return 0;
}

static int choose_number(const struct vserial *vs, uint64_t nr, bool console, unsigned int *out,
			 struct err *e)
{
	int r;

	if (nr != VPORT_NR_AUTO) {
		r = check_number(vs, nr, console, e);
		if (!r)
			*out = (unsigned int)nr;
		return r;
	}
	for (unsigned int i = console ? 0 : 1; i < vs->h.max_ports; i++) {
		if (vs->h.ports[i])
			continue;
		*out = i;
		return 0;
	}
	return err_set(e, ENOSPC, "virtio-serial-bus: Maximum port limit for this device reached");
}

static int check_name(const struct vserial *vs, const char *name, struct err *e)
{
	for (unsigned int i = 0; *name && i < vs->h.max_ports; i++)
		if (vs->h.ports[i] && !strcmp(vs->h.ports[i]->h.name, name))
			return err_set(e, EEXIST,
				       "virtio-serial-bus: A port already exists by name %s", name);
	return 0;
}

static int find_place(struct vm *vm, const struct vport_config *c, bool console,
		      struct vserial **vs, unsigned int *nr, struct err *e)
{
	int r;

	*vs = vserial_find_bus(vm, c->device.bus);
	if (!*vs && *c->device.bus)
		return err_set(e, ENOENT, "Bus '%s' not found", c->device.bus);
	if (!*vs)
		return err_set(e, ENOENT, "No 'virtio-serial-bus' bus found for device '%s'",
			       console ? "virtconsole" : "virtserialport");
	r = choose_number(*vs, c->nr, console, nr, e);
	return r ? r : check_name(*vs, c->name, e);
}

static void put_in_place(struct vm *vm, struct vport *p, const struct vport_config *c)
{
	struct vserial *vs = p->h.vs;

	snprintf(p->dev.id, sizeof(p->dev.id), "%s", c->device.id);
	snprintf(p->dev.path, sizeof(p->dev.path), "%.30s/%u", vs->dev.path, p->h.nr);
	snprintf(p->dev.bus, sizeof(p->dev.bus), "%s", vs->h.bus);
	p->dev.addr = -1;
	memcpy(p->h.name, c->name, sizeof(p->h.name));
	loop_work_init(&p->h.tell, tell_operators, p);
	loop_timer_init(&p->h.quiet, tell_operators, p);
	vs->h.ports[p->h.nr] = p;
	p->h.running = c->device.plugged && vs->h.virtio.running;
	device_add(vm, &p->dev, &vport_class);
	if (p->h.chr)
		chardev_attach(p->h.chr, &port_front, p);
	if (!vs->s.ready)
		return;
	p->s.pending |= VPORT_ADD;
	vserial_flush_control(vs);
}

static int create(struct vm *vm, const struct device_config *config, bool console,
		  struct device **out, struct err *e)
{
	const struct vport_config *c = (const struct vport_config *)config;
	struct vport *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(e, ENOMEM, "no memory for a port");
	p->h.console = console;
	r = find_place(vm, c, console, &p->h.vs, &p->h.nr, e);
	if (!r && *c->chardev)
		r = backend_claim(vm, BACKEND_CHARDEV, c->chardev,
				  console ? "virtconsole" : "virtserialport", &p->h.backend, e);
	if (r) {
		free(p);
		return r;
	}
	p->h.chr = p->h.backend ? p->h.backend->object : NULL;
	put_in_place(vm, p, c);
	*out = &p->dev;
	return 0;
}

static int create_port(struct vm *vm, const struct device_config *config, struct device **out,
		       struct err *e)
{
	return create(vm, config, false, out, e);
}

static int create_console(struct vm *vm, const struct device_config *config, struct device **out,
			  struct err *e)
{
	return create(vm, config, true, out, e);
}

static void get_chosen(const struct device *d, struct device_config *config)
{
	((struct vport_config *)config)->nr = to_vport(d)->h.nr;
}

/* The guest is told, and need not let go of anything: what it still sends goes nowhere. */
static int unplug(struct device *d, struct err *e)
{
	(void)e;
	device_remove(d);
	return 0;
}

static const struct prop vport_props[] = {
	{ .name = "chardev",
	  .kind = PROP_STRING,
	  .offset = offsetof(struct vport_config, chardev),
	  .help = "the id of the character device at the host's end" },
	{ .name = "name",
	  .kind = PROP_STRING,
	  .offset = offsetof(struct vport_config, name),
	  .help = "what the guest finds it by, example: org.qemu.guest_agent.0" },
	{ .name = "nr",
	  .kind = PROP_UINT,
	  .offset = offsetof(struct vport_config, nr),
	  .max = UINT32_MAX,
	  .initial = VPORT_NR_AUTO,
	  .chosen = true,
	  .help = "its number on the bus, from 0, which is for a console (default: a free one)" },
	{ .name = NULL },
};

static const struct device_class *const vport_classes[] = { &vport_class, NULL };

const struct device_type virtserialport_type = {
	.driver = "virtserialport",
	.bus = "virtio-serial-bus",
	.help = "a port of virtio-serial",
	.hotpluggable = true,
	.config_size = sizeof(struct vport_config),
	.props = vport_props,
	.classes = vport_classes,
	.create = create_port,
	.unplug = unplug,
	.get_chosen = get_chosen,
};

const struct device_type virtconsole_type = {
	.driver = "virtconsole",
	.bus = "virtio-serial-bus",
	.help = "a port of virtio-serial that is a console of the guest",
	.hotpluggable = true,
	.config_size = sizeof(struct vport_config),
	.props = vport_props,
	.classes = vport_classes,
	.create = create_console,
	.unplug = unplug,
	.get_chosen = get_chosen,
};
