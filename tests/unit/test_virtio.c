/* SPDX-License-Identifier: MIT */
/* virtio over PCI, by its registers: negotiation, queues, interrupts, resets, loading. */
#include "virtio_fixture.h"

enum {
	QUEUES = 2,
	SIZE = 16,
	CONFIG = 12,
};

#define V1        (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define EVENT_IDX (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)
#define OWN       UINT64_C(0x20)

/* Gives each chain back with what it has read, or keeps it. */
struct echo_state {
	struct virtio_state virtio;
};

struct echo {
	struct device dev;
	struct echo_state s;
	struct {
		struct virtio virtio;
	} h;
	uint8_t config[CONFIG];
	unsigned int handled[QUEUES], resets, started, kept;
	uint16_t heads[SIZE];
	bool keep, endless;
	pthread_t thread;
};

static void echo_read_config(struct virtio *v, uint32_t offset, void *p, uint32_t size)
{
	const struct echo *t = v->opaque;

	assert_true(offset + size <= CONFIG);
	memcpy(p, t->config + offset, size);
}

static void echo_write_config(struct virtio *v, uint32_t offset, const void *p, uint32_t size)
{
	struct echo *t = v->opaque;

	assert_true(offset + size <= CONFIG);
	memcpy(t->config + offset, p, size);
}

static void echo_handle(struct virtio *v, unsigned int index)
{
	struct iovec iov[VIRTQUEUE_MAX_SEGMENTS];
	struct virtqueue *q = &v->queues[index].q;
	struct virtq_chain c = { .iov = iov };
	struct echo *t = v->opaque;
	uint8_t data[256];
	struct err e;
	int r;

	assert_true(virtio_is_live(v));
	t->handled[index]++;
	while ((r = virtqueue_pop(q, &c, &e)) > 0) {
		size_t n = virtq_read(&c, 0, data, sizeof(data));

		n = virtq_write(&c, 0, data, n);
		if (t->keep) {
			t->heads[t->kept++] = c.head;
			continue;
		}
		virtqueue_push(q, c.head, (uint32_t)n);
		virtio_notify(v, index);
	}
	if (r)
		virtio_broken(v, &e);
}

static void echo_driver_ok(struct virtio *v)
{
	((struct echo *)v->opaque)->started++;
}

static void echo_reset_own(struct virtio *v)
{
	struct echo *t = v->opaque;

	t->resets++;
	t->kept = 0;
}

static const struct virtio_class echo_virtio = {
	.device_id = 30,
	.pci_class = 0x00ff00,
	.features = OWN,
	.config_bytes = CONFIG,
	.read_config = echo_read_config,
	.write_config = echo_write_config,
	.handle_queue = echo_handle,
	.driver_ok = echo_driver_ok,
	.reset = echo_reset_own,
};

static struct virtio *virtio_of(const struct device *d)
{
	return &CONTAINER_OF(d, struct echo, dev)->h.virtio;
}

static void echo_reset(struct device *d)
{
	virtio_reset(virtio_of(d));
}

static void echo_loaded(struct device *d)
{
	virtio_loaded(virtio_of(d));
}

static void echo_run_changed(struct device *d, bool running)
{
	virtio_run_changed(virtio_of(d), running);
}

static int echo_fits(const struct device *d, const void *state, struct err *e)
{
	return virtio_fits(virtio_of(d), &((const struct echo_state *)state)->virtio, e);
}

static void echo_destroy(struct device *d)
{
	virtio_fini(virtio_of(d));
	free(CONTAINER_OF(d, struct echo, dev));
}

static const struct vs_field echo_fields[] = {
	VS_STRUCT(struct echo_state, virtio, &virtio_state_desc),
	VS_END,
};

static const struct vs_desc echo_desc = {
	.name = "echo",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct echo_state),
	.fields = echo_fields,
};

static const struct device_class echo_class = {
	.name = "echo",
	.state = &echo_desc,
	.state_offset = offsetof(struct echo, s),
	.fits = echo_fits,
	.loaded = echo_loaded,
	.run_changed = echo_run_changed,
	.reset = echo_reset,
	.destroy = echo_destroy,
};

static struct echo *echo_add(struct virtio_fixture *f, uint64_t less, int vectors)
{
	const struct device_config config = { .addr = 3 << 3 };
	struct echo *t = calloc(1, sizeof(*t));
	struct err e = ERR_INIT;

	t->h.virtio.opaque = t;
	t->h.virtio.nr_vectors = vectors;
	for (unsigned int i = 0; i < CONFIG; i++)
		t->config[i] = (uint8_t)(0xa0 + i);
	if (virtio_init(&t->h.virtio, &f->pci.vm, &t->dev, &t->s.virtio, &config, &echo_virtio,
			QUEUES, SIZE, 0, less, &e))
		fail_msg("%s", e.msg);
	device_add(&f->pci.vm, &t->dev, &echo_class);
	return t;
}

/* A machine whose guest runs, with one device that it has found. */
static struct echo *begin(struct virtio_fixture *f, int vectors)
{
	struct echo *t;

	virtio_fixture_init(f);
	t = echo_add(f, 0, vectors);
	echo_run_changed(&t->dev, true);
	virtio_find(f, 3 << 3);
	return t;
}

/* And with a driver on queue 0. */
static struct echo *begin_driven(struct virtio_fixture *f, struct drv *d, uint64_t features)
{
	struct echo *t = begin(f, 0);

	drv_init(d, &f->mem, SIZE, features & EVENT_IDX);
	virtio_use_msix(f, QUEUES + 1);
	assert_true(virtio_negotiate(f, features));
	virtio_set_queue(f, 0, SIZE, 1, 0);
	virtio_drive(f);
	virtio_turn(f);
	t->handled[0] = 0;
	return t;
}

static void offer(struct drv *d, uint16_t head, const char *text)
{
	gpa_t at = DRV_DATA + 256 * (gpa_t)head;

	memcpy(drv_ptr(d->mem, at), text, strlen(text));
	drv_set(d, head, at, (uint32_t)strlen(text), VRING_DESC_F_NEXT, (uint16_t)(head + 1));
	drv_set(d, head + 1u, at + 128, 128, VRING_DESC_F_WRITE, 0);
	drv_offer(d, head);
}

static void expect_echo(struct drv *d, uint16_t head, const char *text)
{
	struct vring_used_elem u;

	assert_true(drv_collect(d, &u));
	assert_int_equal(u.id, head);
	assert_int_equal(u.len, strlen(text));
	assert_memory_equal(drv_ptr(d->mem, DRV_DATA + 256 * (gpa_t)head + 128), text,
			    strlen(text));
}

static void a_driver_finds_and_uses_the_device(void **state)
{
	struct virtio_fixture f;
	struct echo *t;
	struct drv d;

	(void)state;
	t = begin_driven(&f, &d, V1 | OWN);
	assert_int_equal(cfg_get(&f.pci, f.devfn, PCI_VENDOR, 2), 0x1af4);
	assert_int_equal(cfg_get(&f.pci, f.devfn, PCI_DEVICE, 2), 0x1040 + 30);
	assert_int_equal(cfg_get(&f.pci, f.devfn, PCI_REVISION, 1), 1);
	assert_int_equal(cfg_get(&f.pci, f.devfn, PCI_SUBSYSTEM, 2), 0x1100);
	assert_int_equal(f.multiplier, 4);
	assert_int_equal(f.device_bytes, CONFIG);
	assert_int_equal(t->started, 1);
	offer(&d, 0, "hello");
	virtio_ring(&f, 0);
	/* Not on the vCPU's thread: the main loop has to come. */
	assert_int_equal(t->handled[0], 0);
	virtio_turn(&f);
	assert_int_equal(t->handled[0], 1);
	expect_echo(&d, 0, "hello");
	assert_int_equal(f.pci.msis, 1);
	assert_int_equal(f.pci.msi_data, 0x41);
	virtio_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_driver_finds_and_uses_the_device),
	};

	return cmocka_run_group_tests_name("virtio", tests, NULL, NULL);
}
