/* SPDX-License-Identifier: MIT */
/* virtio 1.2 devices: status, features, queues, and what an update needs of them. */
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/virtio/virtio.h"
#include "dev/virtio/virtio_impl.h"
#include "host/clock.h"
#include "machine/vm.h"

/* A driver that breaks rules all the time is heard of once in that time. */
#define SAY_NS UINT64_C(5000000000)

#define BIT(n) (UINT64_C(1) << (n))

#define TRANSPORT_FEATURES \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))

static const struct vs_field virtio_fields[] = {
	VS_STRUCT(struct virtio_state, pci, &pci_state_desc),
	VS_FIELD(struct virtio_state, features),
	VS_FIELD(struct virtio_state, device_feature_select),
	VS_FIELD(struct virtio_state, driver_feature_select),
	VS_FIELD(struct virtio_state, queue_select),
	VS_FIELD(struct virtio_state, config_vector),
	VS_FIELD(struct virtio_state, status),
	VS_FIELD_RANGE(struct virtio_state, isr, 0, VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG),
	VS_FIELD(struct virtio_state, generation),
	VS_FIELD(struct virtio_state, bad_features),
	VS_FIELD_RANGE(struct virtio_state, nr_queues, 0, VIRTIO_MAX_QUEUES),
	VS_FIELD(struct virtio_state, reserved),
	VS_STRUCT_ARRAY_VAR(struct virtio_state, queues, nr_queues, &virtqueue_state_desc),
	VS_END,
};

const struct vs_desc virtio_state_desc = {
	.name = "virtio/device",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct virtio_state),
	.fields = virtio_fields,
};

bool virtio_has(const struct virtio *v, unsigned int feature_bit)
{
	return v->s->status & VIRTIO_CONFIG_S_FEATURES_OK && v->s->features & BIT(feature_bit);
}

bool virtio_is_live(const struct virtio *v)
{
	return v->running && v->s->status & VIRTIO_CONFIG_S_DRIVER_OK &&
	       !(v->s->status & VIRTIO_CONFIG_S_NEEDS_RESET) && pci_is_master(&v->pci);
}

static void look_at_queue(struct virtio *v, unsigned int index)
{
	struct virtqueue *q = &v->queues[index].q;

	if (!virtio_is_live(v) || !q->avail)
		return;
	virtqueue_begin(q);
	v->class->handle_queue(v, index);
	if (virtqueue_end(q))
		virtio_kick(v, index);
}

static void on_bell(void *opaque)
{
	struct virtio_queue *vq = opaque;

	look_at_queue(vq->virtio, vq->index);
}

static void on_kick(void *opaque)
{
	struct virtio *v = opaque;
	uint64_t kicked = v->kicked;

	v->kicked = 0;
	for (unsigned int i = 0; i < v->nr_queues; i++)
		if (kicked & BIT(i))
			look_at_queue(v, i);
}

void virtio_kick(struct virtio *v, unsigned int index)
{
	v->kicked |= BIT(index);
	loop_post(v->vm->loop, &v->kick_work);
}

void virtio_kick_all(struct virtio *v)
{
	uint64_t live = 0;

	for (unsigned int i = 0; virtio_is_live(v) && i < v->nr_queues; i++)
		if (v->queues[i].q.avail)
			live |= BIT(i);
	if (!live)
		return;
	v->kicked |= live;
	loop_post(v->vm->loop, &v->kick_work);
}

void virtio_notify(struct virtio *v, unsigned int index)
{
	struct virtqueue *q = &v->queues[index].q;

	if (virtqueue_wants_interrupt(q))
		virtio_pci_interrupt(v, q->s->vector, VIRTIO_ISR_QUEUE);
}

void virtio_notify_config(struct virtio *v)
{
	v->s->generation++;
	if (v->s->status & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_pci_interrupt(v, v->s->config_vector, VIRTIO_ISR_CONFIG);
}

void virtio_broken(struct virtio *v, const struct err *e)
{
	uint64_t now = clock_boottime_ns();

	v->broken++;
	if (!v->said_ns || now - v->said_ns > SAY_NS) {
		log_warn("virtio device %s stops until its driver resets it (%" PRIu64
			 " so far): %s",
			 v->pci.dev->path, v->broken, e->msg);
		v->said_ns = now;
	}
	v->s->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_notify_config(v);
}

static void apply_features(struct virtio *v)
{
	for (unsigned int i = 0; i < v->nr_queues; i++) {
		v->queues[i].q.event_idx = virtio_has(v, VIRTIO_RING_F_EVENT_IDX);
		v->queues[i].q.indirect = virtio_has(v, VIRTIO_RING_F_INDIRECT_DESC);
	}
}

/* Section 3.1.1: what was not offered cannot be accepted, and this is no legacy device. */
static bool features_are_right(const struct virtio *v)
{
	return v->s->features & BIT(VIRTIO_F_VERSION_1) && !(v->s->features & ~v->features) &&
	       !v->s->bad_features;
}

void virtio_set_driver_features(struct virtio *v, uint32_t value)
{
	struct virtio_state *s = v->s;

	if (s->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	if (s->driver_feature_select == 0)
		s->features = (s->features & ~(uint64_t)UINT32_MAX) | value;
	else if (s->driver_feature_select == 1)
		s->features = (s->features & UINT32_MAX) | (uint64_t)value << 32;
	else
		s->bad_features = s->bad_features || value;
}

/* Also what is in flight ends, or comes to nothing. */
static void reset_device(struct virtio *v)
{
	struct virtio_state *s = v->s;

	if (v->class->reset)
		v->class->reset(v);
	for (unsigned int i = 0; i < v->nr_queues; i++)
		virtqueue_reset(&v->queues[i].q);
	s->features = 0;
	s->bad_features = false;
	s->device_feature_select = 0;
	s->driver_feature_select = 0;
	s->queue_select = 0;
	s->config_vector = PCI_NO_VECTOR;
	s->status = 0;
	s->isr = 0;
	s->nr_queues = v->nr_queues;
	apply_features(v);
	pci_set_intx(&v->pci, false);
}

void virtio_set_status(struct virtio *v, uint8_t status)
{
	struct virtio_state *s = v->s;
	uint8_t old = s->status, to_ok = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;

	if (!status) {
		reset_device(v);
		return;
	}
	/* A driver clears no bit but by a reset, and does not decide whether one is needed. */
	status &= (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET;
	s->status |= status & (uint8_t)~to_ok;
	if (status & VIRTIO_CONFIG_S_FEATURES_OK && features_are_right(v))
		s->status |= VIRTIO_CONFIG_S_FEATURES_OK;
	if (status & VIRTIO_CONFIG_S_DRIVER_OK && s->status & VIRTIO_CONFIG_S_FEATURES_OK)
		s->status |= VIRTIO_CONFIG_S_DRIVER_OK;
	apply_features(v);
	if (old & VIRTIO_CONFIG_S_DRIVER_OK || !(s->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	if (v->class->driver_ok)
		v->class->driver_ok(v);
	virtio_pci_place_doorbells(v);
	virtio_kick_all(v);
}

void virtio_enable_queue(struct virtio *v, struct virtio_queue *vq)
{
	struct err e;

	if (vq->q.s->enabled)
		return;
	vq->q.s->enabled = true;
	if (!virtqueue_map(&vq->q)) {
		err_set(&e, EINVAL, "the parts of queue %u are misaligned or not in RAM",
			vq->index);
		virtio_broken(v, &e);
	}
	virtio_pci_place_doorbells(v);
}

void virtio_reset(struct virtio *v)
{
	reset_device(v);
	v->s->generation = 0;
	pci_reset(&v->pci);
	virtio_pci_place_doorbells(v);
}

static int check_queue(const struct virtio *v, const struct virtqueue_state *s, unsigned int i,
		       struct err *e)
{
	uint32_t max = v->queues[i].q.max_size;

	if (s->size & (s->size - 1) || !s->size || s->size > max)
		return err_set(e, EINVAL, "queue %u has %" PRIu32 " entries, here it has up to %u",
			       i, s->size, max);
	if (s->vector != PCI_NO_VECTOR && s->vector >= v->pci.nr_vectors)
		return err_set(e, EINVAL, "queue %u has vector %u, here there are %u", i, s->vector,
			       v->pci.nr_vectors);
	return 0;
}

int virtio_fits(const struct virtio *v, const struct virtio_state *s, struct err *e)
{
	bool done = s->status & VIRTIO_CONFIG_S_FEATURES_OK;
	int r = pci_check_state(&v->pci, &s->pci, e);

	if (r)
		return r;
	if (s->nr_queues != v->nr_queues)
		return err_set(e, EINVAL, "%s has %" PRIu32 " queues in the state, %u here",
			       v->pci.dev->path, s->nr_queues, v->nr_queues);
	if (done && (s->bad_features || s->features & ~v->features))
		return err_set(e, EINVAL,
			       "the guest uses features %#" PRIx64
			       " of %s, which are not offered here",
			       s->features & ~v->features, v->pci.dev->path);
	if (done ? !(s->features & BIT(VIRTIO_F_VERSION_1)) : s->status & VIRTIO_CONFIG_S_DRIVER_OK)
		return err_set(e, EINVAL, "%s has a driver that has not agreed on version 1",
			       v->pci.dev->path);
	if (s->config_vector != PCI_NO_VECTOR && s->config_vector >= v->pci.nr_vectors)
		return err_set(e, EINVAL, "%s has vector %u, here there are %u", v->pci.dev->path,
			       s->config_vector, v->pci.nr_vectors);
	for (unsigned int i = 0; !r && i < v->nr_queues; i++)
		r = check_queue(v, &s->queues[i], i, e);
	return r ? err_prefix(e, "%s", v->pci.dev->path) : 0;
}

void virtio_loaded(struct virtio *v)
{
	pci_loaded(&v->pci);
	apply_features(v);
	for (unsigned int i = 0; i < v->nr_queues; i++) {
		struct virtqueue *q = &v->queues[i].q;

		q->in_flight = 0;
		/* Rings that cannot be there: the driver hears of it when it looks. */
		if (!virtqueue_map(q) && q->s->enabled)
			v->s->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	}
	virtio_pci_place_doorbells(v);
}

void virtio_run_changed(struct virtio *v, bool running)
{
	v->running = running;
	for (unsigned int i = 0; i < v->nr_queues; i++) {
		struct virtio_queue *vq = &v->queues[i];

		doorbell_run_changed(&vq->bell, running);
		/* The image before may have had its own wishes. */
		if (virtio_is_live(v))
			virtqueue_set_notification(&vq->q, !vq->q.silent);
	}
	virtio_kick_all(v);
}

int virtio_check_idle(const struct virtio *v, struct err *e)
{
	for (unsigned int i = 0; !v->running && i < v->nr_queues; i++)
		if (v->queues[i].q.in_flight)
			return err_set(e, EBUSY, "queue %u of %s has %u requests in flight", i,
				       v->pci.dev->path, v->queues[i].q.in_flight);
	return 0;
}

void virtio_configure(struct virtio *v, const struct virtio_config *c)
{
	if (c->vectors == VIRTIO_VECTORS_AUTO)
		v->nr_vectors = 0;
	else
		v->nr_vectors = c->vectors ? (int)MIN(c->vectors, (uint64_t)PCI_MSIX_MAX + 1) : -1;
}

uint64_t virtio_less(const struct virtio_config *c)
{
	return (c->event_idx ? 0 : BIT(VIRTIO_RING_F_EVENT_IDX)) |
	       (c->indirect_desc ? 0 : BIT(VIRTIO_RING_F_INDIRECT_DESC));
}

static int init_queue(struct virtio *v, struct vm *vm, unsigned int i, uint32_t size, struct err *e)
{
	struct virtio_queue *vq = &v->queues[i];
	char name[DOORBELL_NAME_MAX];

	*vq = (struct virtio_queue){
		.q = { .mem = &vm->mem, .s = &v->s->queues[i], .max_size = size },
		.virtio = v,
		.index = i,
	};
	snprintf(name, sizeof(name), "%s/%u", v->pci.dev->path, i % VIRTIO_MAX_QUEUES);
	return doorbell_init(&vq->bell, vm, name, on_bell, vq, e);
}

int virtio_init(struct virtio *v, struct vm *vm, struct device *dev, struct virtio_state *s,
		const struct device_config *config, const struct virtio_class *class,
		unsigned int nr_queues, uint32_t queue_size, uint64_t extra, uint64_t less,
		struct err *e)
{
	int r;

	if (!nr_queues || nr_queues > VIRTIO_MAX_QUEUES)
		return err_set(e, EINVAL, "a device has 1 to %d queues, not %u", VIRTIO_MAX_QUEUES,
			       nr_queues);
	if (!queue_size || queue_size & (queue_size - 1) || queue_size > VIRTQUEUE_MAX_SIZE)
		return err_set(e, EINVAL,
			       "the size of a queue is a power of two up to %d, which %" PRIu32
			       " is not",
			       VIRTQUEUE_MAX_SIZE, queue_size);
	v->vm = vm;
	v->class = class;
	v->s = s;
	v->nr_queues = nr_queues;
	v->features = (class->features | extra | TRANSPORT_FEATURES) & ~less;
	loop_work_init(&v->kick_work, on_kick, v);
	r = virtio_pci_init(v, vm, dev, config, e);
	for (unsigned int i = 0; !r && i < nr_queues; i++)
		r = init_queue(v, vm, i, queue_size, e);
	if (r)
		virtio_fini(v);
	return r;
}

void virtio_fini(struct virtio *v)
{
	if (!v->class)
		return;
	for (unsigned int i = 0; i < v->nr_queues; i++)
		doorbell_fini(&v->queues[i].bell);
	loop_work_cancel(v->vm->loop, &v->kick_work);
	pci_function_fini(&v->pci);
	v->class = NULL;
}
