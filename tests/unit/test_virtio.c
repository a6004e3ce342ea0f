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
	bool keep;
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

static void only_what_was_offered_can_be_accepted(void **state)
{
	static const uint64_t bad[] = {
		0, OWN, V1 | 0x40, V1 | UINT64_C(1) << 34, V1 | UINT64_C(1) << 63,
	};
	struct virtio_fixture f;
	struct echo *t;

	(void)state;
	t = begin(&f, 0);
	assert_true(virtio_offered(&f) == (V1 | EVENT_IDX | INDIRECT | OWN));
	common_set(&f, VIRTIO_PCI_COMMON_DFSELECT, 4, 2);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_DF, 4), 0);
	common_set(&f, VIRTIO_PCI_COMMON_DFSELECT, 4, UINT32_MAX);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_DF, 4), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(virtio_negotiate(&f, bad[i]));
		/* And without that nothing starts. */
		virtio_drive(&f);
		assert_int_equal(virtio_status(&f),
				 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	}
	assert_int_equal(t->started, 0);
	/* Accepting what is beyond all bits, however it looks later. */
	virtio_set(&f, 0);
	virtio_accept(&f, V1);
	common_set(&f, VIRTIO_PCI_COMMON_GFSELECT, 4, 7);
	common_set(&f, VIRTIO_PCI_COMMON_GF, 4, 1);
	common_set(&f, VIRTIO_PCI_COMMON_GF, 4, 0);
	virtio_set(&f, VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(virtio_status(&f), 0);
	assert_true(virtio_negotiate(&f, V1 | OWN));
	/* What has been agreed on stays. */
	virtio_accept(&f, V1 | EVENT_IDX);
	assert_false(virtio_has(&t->h.virtio, VIRTIO_RING_F_EVENT_IDX));
	assert_true(virtio_has(&t->h.virtio, 5));
	virtio_fixture_fini(&f);
}

static void features_can_be_switched_off(void **state)
{
	struct virtio_fixture f;

	(void)state;
	virtio_fixture_init(&f);
	echo_add(&f, EVENT_IDX | OWN, 0);
	virtio_find(&f, 3 << 3);
	assert_true(virtio_offered(&f) == (V1 | INDIRECT));
	virtio_fixture_fini(&f);
}

static void status_bits_are_set_and_not_cleared(void **state)
{
	struct virtio_fixture f;
	struct echo *t;
	struct drv d;

	(void)state;
	t = begin_driven(&f, &d, V1);
	virtio_set(&f, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(virtio_status(&f), 15);
	/* It is the device that asks for a reset. */
	virtio_set(&f, VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(virtio_status(&f), 15);
	virtio_set(&f, VIRTIO_CONFIG_S_FAILED);
	assert_int_equal(virtio_status(&f), 15 | VIRTIO_CONFIG_S_FAILED);
	virtio_drive(&f);
	assert_int_equal(t->started, 1);
	virtio_set(&f, 0);
	assert_int_equal(virtio_status(&f), 0);
	virtio_fixture_fini(&f);
}

static void a_queue_is_set_up_by_its_registers(void **state)
{
	static const uint16_t bad_sizes[] = { 0, 3, 24, 32, 0x8000, 0xffff };
	struct virtio_fixture f;

	(void)state;
	begin(&f, 0);
	assert_true(virtio_negotiate(&f, V1));
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	common_set(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2), 1);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_NOFF, 2), 1);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2), PCI_NO_VECTOR);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad_sizes); i++) {
		common_set(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2, bad_sizes[i]);
		assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
	}
	common_set(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2, 4);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2), 4);
	common_set(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2, QUEUES);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2), QUEUES);
	common_set(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2, QUEUES + 1);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2), PCI_NO_VECTOR);
	common_set(&f, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_MSIX, 2), 0);
	common_set(&f, VIRTIO_PCI_COMMON_MSIX, 2, 77);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_MSIX, 2), PCI_NO_VECTOR);
	common_set(&f, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0x12345678);
	common_set(&f, VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x9abcdef0);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_DESCHI, 4), 0x12345678);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0x9abcdef0);
	/* As 64 bits at once, which the bus takes apart. */
	bus_set(&f.pci.vm.mmio, f.common + VIRTIO_PCI_COMMON_Q_DESCLO, 8, DRV_DESC);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_DESCHI, 4), 0);
	/* One in use keeps what it has, but its vector. */
	virtio_set_queue(&f, 1, 4, 0, 0);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	common_set(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	common_set(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2, 8);
	common_set(&f, VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0);
	common_set(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2), 4);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_DESCLO, 4), DRV_DESC);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2), 1);
	virtio_set(&f, 0);
	common_set(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
	virtio_fixture_fini(&f);
}

static void queues_that_are_not_there_have_no_registers(void **state)
{
	static const uint16_t others[] = { QUEUES, VIRTIO_MAX_QUEUES, 0xffff };
	struct virtio_fixture f;
	struct virtio_state before;
	struct echo *t;

	(void)state;
	t = begin(&f, 0);
	assert_true(virtio_negotiate(&f, V1));
	for (unsigned int i = 0; i < ARRAY_SIZE(others); i++) {
		common_set(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, others[i]);
		before = t->s.virtio;
		virtio_set_queue(&f, others[i], 4, 0, 0);
		assert_memory_equal(&before, &t->s.virtio, sizeof(before));
		assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
		assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2), PCI_NO_VECTOR);
		virtio_ring(&f, others[i]);
	}
	virtio_turn(&f);
	virtio_fixture_fini(&f);
}

static void a_queue_outside_of_memory_breaks_the_device(void **state)
{
	struct virtio_fixture f;
	struct echo *t;

	(void)state;
	t = begin(&f, 0);
	assert_true(virtio_negotiate(&f, V1));
	common_set(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	common_set(&f, VIRTIO_PCI_COMMON_Q_DESCLO, 4, DRV_DESC);
	common_set(&f, VIRTIO_PCI_COMMON_Q_AVAILHI, 4, 0x80000000);
	common_set(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_true(virtio_status(&f) & VIRTIO_CONFIG_S_NEEDS_RESET);
	virtio_drive(&f);
	virtio_ring(&f, 0);
	virtio_turn(&f);
	assert_int_equal(t->handled[0], 0);
	/* A reset mends it. */
	assert_true(virtio_negotiate(&f, V1));
	assert_false(virtio_status(&f) & VIRTIO_CONFIG_S_NEEDS_RESET);
	virtio_fixture_fini(&f);
}

static void the_configuration_is_read_and_written_within_its_bounds(void **state)
{
	struct virtio_fixture f;
	struct echo *t;

	(void)state;
	t = begin(&f, 0);
	assert_int_equal(bus_get(&f.pci.vm.mmio, f.device, 1), 0xa0);
	assert_int_equal(bus_get(&f.pci.vm.mmio, f.device + 2, 2), 0xa3a2);
	assert_true(bus_get(&f.pci.vm.mmio, f.device + 4, 8) == UINT64_C(0xabaaa9a8a7a6a5a4));
	assert_int_equal(bus_get(&f.pci.vm.mmio, f.device + CONFIG - 1, 2), 0xab);
	assert_int_equal(bus_get(&f.pci.vm.mmio, f.device + CONFIG, 4), 0);
	assert_int_equal(bus_get(&f.pci.vm.mmio, f.device + 0xffc, 4), 0);
	bus_set(&f.pci.vm.mmio, f.device + 4, 2, 0x1234);
	assert_int_equal(t->config[4], 0x34);
	assert_int_equal(t->config[5], 0x12);
	bus_set(&f.pci.vm.mmio, f.device + CONFIG - 1, 2, 0);
	assert_int_equal(t->config[CONFIG - 1], 0xab);
	bus_set(&f.pci.vm.mmio, f.device + CONFIG, 4, 0);
	virtio_fixture_fini(&f);
}

/* As a driver that cannot reach the BAR, SeaBIOS for example, at places that exist and do not. */
static void the_window_in_configuration_space_reaches_the_registers(void **state)
{
	struct virtio_fixture f;
	struct drv d;
	struct echo *t;

	(void)state;
	t = begin_driven(&f, &d, V1);
	cfg_set(&f.pci, f.devfn, f.window + 4, 1, 4);
	cfg_set(&f.pci, f.devfn, f.window + 8, 4,
		(uint32_t)(f.common - VIRTIO_BAR_AT) + VIRTIO_PCI_COMMON_STATUS);
	cfg_set(&f.pci, f.devfn, f.window + 12, 4, 1);
	assert_int_equal(cfg_get(&f.pci, f.devfn, f.window + 16, 1), 15);
	cfg_set(&f.pci, f.devfn, f.window + 16, 1, VIRTIO_CONFIG_S_FAILED);
	assert_int_equal(virtio_status(&f), 15 | VIRTIO_CONFIG_S_FAILED);
	/* The BAR need not be mapped. */
	cfg_set(&f.pci, f.devfn, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(cfg_get(&f.pci, f.devfn, f.window + 16, 1), 15 | VIRTIO_CONFIG_S_FAILED);
	offer(&d, 0, "through the window");
	cfg_set(&f.pci, f.devfn, f.window + 8, 4, (uint32_t)(f.notify - VIRTIO_BAR_AT));
	cfg_set(&f.pci, f.devfn, f.window + 12, 4, 2);
	cfg_set(&f.pci, f.devfn, f.window + 16, 2, 0);
	virtio_turn(&f);
	assert_int_equal(t->handled[0], 1);
	expect_echo(&d, 0, "through the window");
	for (unsigned int i = 0; i < 2000; i++) {
		uint32_t at = i * 2654435761u;

		cfg_set(&f.pci, f.devfn, f.window + 4, 1, i % 3 ? 4 : at >> 8);
		cfg_set(&f.pci, f.devfn, f.window + 8, 4, i % 5 ? at % 0x5000 : at);
		cfg_set(&f.pci, f.devfn, f.window + 12, 4, i % 7 ? 1u << i % 4 : at);
		cfg_get(&f.pci, f.devfn, f.window + 16, 4);
		/* Not the status, for a reset. */
		if (at % 0x5000 >= 0x1000)
			cfg_set(&f.pci, f.devfn, f.window + 16, 4, at);
	}
	virtio_turn(&f);
	virtio_fixture_fini(&f);
}

static void without_msix_the_pin_and_the_status_register_tell(void **state)
{
	struct virtio_fixture f;
	struct echo *t;
	struct drv d;

	(void)state;
	t = begin(&f, -1);
	assert_int_equal(find_cap(&f.pci, f.devfn, 0x11), 0);
	drv_init(&d, &f.mem, SIZE, false);
	assert_true(virtio_negotiate(&f, V1));
	virtio_set_queue(&f, 0, SIZE, 0, 0);
	common_set(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2), PCI_NO_VECTOR);
	virtio_drive(&f);
	offer(&d, 0, "pin");
	virtio_ring(&f, 0);
	virtio_turn(&f);
	assert_true(f.pci.level[3]);
	virtio_notify_config(&t->h.virtio);
	assert_int_equal(bus_get(&f.pci.vm.mmio, f.isr, 1), 3);
	assert_false(f.pci.level[3]);
	assert_int_equal(bus_get(&f.pci.vm.mmio, f.isr, 1), 0);
	/* A reset takes it back as well. */
	virtio_notify_config(&t->h.virtio);
	assert_true(f.pci.level[3]);
	virtio_set(&f, 0);
	assert_false(f.pci.level[3]);
	assert_int_equal(f.pci.msis, 0);
	virtio_fixture_fini(&f);
}

static void configuration_changes_are_told_with_a_new_generation(void **state)
{
	struct virtio_fixture f;
	struct echo *t;
	struct drv d;
	uint32_t generation;

	(void)state;
	t = begin_driven(&f, &d, V1);
	generation = common_get(&f, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	/* No vector for it yet. */
	virtio_notify_config(&t->h.virtio);
	assert_int_equal(f.pci.msis, 0);
	common_set(&f, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	virtio_notify_config(&t->h.virtio);
	assert_int_equal(f.pci.msis, 1);
	assert_int_equal(f.pci.msi_data, 0x40);
	assert_int_equal(common_get(&f, VIRTIO_PCI_COMMON_CFGGENERATION, 1), generation + 2);
	/* Nobody is there who could be told. */
	virtio_set(&f, 0);
	virtio_notify_config(&t->h.virtio);
	assert_int_equal(f.pci.msis, 1);
	virtio_fixture_fini(&f);
}

static void a_broken_ring_asks_for_a_reset_and_is_left_alone(void **state)
{
	struct virtio_fixture f;
	struct echo *t;
	struct drv d;

	(void)state;
	t = begin_driven(&f, &d, V1);
	common_set(&f, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	d.avail[1] = 1000;
	virtio_ring(&f, 0);
	virtio_turn(&f);
	assert_true(virtio_status(&f) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(f.pci.msis, 1);
	assert_int_equal(f.pci.msi_data, 0x40);
	virtio_ring(&f, 0);
	virtio_turn(&f);
	assert_int_equal(t->handled[0], 1);
	assert_int_equal(t->h.virtio.broken, 1);
	/* The driver starts anew. */
	drv_init(&d, &f.mem, SIZE, false);
	assert_true(virtio_negotiate(&f, V1));
	virtio_set_queue(&f, 0, SIZE, 1, 0);
	virtio_drive(&f);
	offer(&d, 0, "again");
	virtio_ring(&f, 0);
	virtio_turn(&f);
	expect_echo(&d, 0, "again");
	virtio_fixture_fini(&f);
}

static void a_reset_takes_what_is_in_flight_with_it(void **state)
{
	struct vring_used_elem u;
	struct virtio_fixture f;
	struct echo *t;
	struct drv d;

	(void)state;
	t = begin_driven(&f, &d, V1);
	t->keep = true;
	offer(&d, 0, "kept");
	virtio_ring(&f, 0);
	virtio_turn(&f);
	assert_int_equal(t->kept, 1);
	assert_int_equal(t->h.virtio.queues[0].q.in_flight, 1);
	assert_int_equal(t->resets, 2); /* when it was made, and by the driver */
	virtio_set(&f, 0);
	assert_int_equal(t->resets, 3);
	assert_int_equal(t->h.virtio.queues[0].q.in_flight, 0);
	virtqueue_push(&t->h.virtio.queues[0].q, 0, 4);
	virtio_notify(&t->h.virtio, 0);
	assert_false(drv_collect(&d, &u));
	assert_int_equal(f.pci.msis, 0);
	virtio_fixture_fini(&f);
}

static void nothing_is_served_before_the_driver_is_ready(void **state)
{
	struct virtio_fixture f;
	struct echo *t;
	struct drv d;

	(void)state;
	t = begin(&f, 0);
	drv_init(&d, &f.mem, SIZE, false);
	assert_true(virtio_negotiate(&f, V1));
	virtio_set_queue(&f, 0, SIZE, 1, 0);
	offer(&d, 0, "early");
	virtio_ring(&f, 0);
	virtio_turn(&f);
	assert_int_equal(t->handled[0], 0);
	/* What was there before is not forgotten. */
	virtio_drive(&f);
	virtio_turn(&f);
	expect_echo(&d, 0, "early");
	/* Nor is what comes while the device may not reach memory. */
	cfg_set(&f.pci, f.devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	offer(&d, 2, "patience");
	virtio_ring(&f, 0);
	virtio_turn(&f);
	assert_int_equal(t->handled[0], 1);
	cfg_set(&f.pci, f.devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	virtio_turn(&f);
	expect_echo(&d, 2, "patience");
	virtio_fixture_fini(&f);
}

static void a_stopped_guest_is_served_when_it_goes_on(void **state)
{
	struct virtio_fixture f;
	struct echo *t;
	struct drv d;

	(void)state;
	t = begin_driven(&f, &d, V1 | EVENT_IDX);
	offer(&d, 0, "just before");
	echo_run_changed(&t->dev, false);
	virtio_ring(&f, 0);
	virtio_turn(&f);
	assert_int_equal(t->handled[0], 0);
	echo_run_changed(&t->dev, true);
	virtio_turn(&f);
	assert_int_equal(t->handled[0], 1);
	expect_echo(&d, 0, "just before");
	virtio_fixture_fini(&f);
}

/* What one machine saves, the table writes and another machine loads. */
static int carry(struct virtio_fixture *from, struct echo *t, struct virtio_fixture *to,
		 struct echo *u, struct err *e)
{
	struct echo_state s;
	AUTO_BUF b = { 0 };
	struct cursor c;
	int r;

	vs_encode(&echo_desc, &t->s, &b, NULL);
	cursor_init(&c, b.data, b.len);
	r = vs_decode(&echo_desc, 1, &c, &s, e);
	if (!r)
		r = echo_fits(&u->dev, &s, e);
	if (r)
		return r;
	memcpy(to->mem.host, from->mem.host, DRV_RAM);
	u->s = s;
	echo_loaded(&u->dev);
	return 0;
}

static void a_driver_goes_on_with_another_device(void **state)
{
	struct virtio_fixture f, g;
	struct echo *t, *u;
	struct err e;
	struct drv d;

	(void)state;
	t = begin_driven(&f, &d, V1 | EVENT_IDX | INDIRECT);
	for (uint16_t i = 0; i < 40; i++) {
		offer(&d, (uint16_t)(i % 8 * 2), "one");
		virtio_ring(&f, 0);
		virtio_turn(&f);
		expect_echo(&d, (uint16_t)(i % 8 * 2), "one");
	}
	assert_false(drv_want_interrupt(&d));
	echo_run_changed(&t->dev, false);
	offer(&d, 4, "between");
	virtio_fixture_init(&g);
	u = echo_add(&g, 0, 0);
	if (carry(&f, t, &g, u, &e))
		fail_msg("%s", e.msg);
	virtio_fixture_fini(&f);
	g.devfn = f.devfn;
	g.common = f.common;
	g.notify = f.notify;
	g.multiplier = f.multiplier;
	d.mem = &g.mem;
	d.desc = drv_ptr(&g.mem, DRV_DESC);
	d.avail = drv_ptr(&g.mem, DRV_AVAIL);
	d.used = drv_ptr(&g.mem, DRV_USED);
	virtio_turn(&g);
	assert_int_equal(u->handled[0], 0);
	echo_run_changed(&u->dev, true);
	virtio_turn(&g);
	expect_echo(&d, 4, "between");
	assert_int_equal(g.pci.msi_data, 0x41);
	offer(&d, 6, "after");
	virtio_ring(&g, 0);
	virtio_turn(&g);
	expect_echo(&d, 6, "after");
	virtio_fixture_fini(&g);
}

/* A state in which one thing is wrong. */
static void damage(struct echo_state *s, unsigned int what)
{
	struct virtio_state *v = &s->virtio;

	switch (what) {
	case 0:
		v->nr_queues = QUEUES + 1;
		break;
	case 1:
		v->features |= 0x40;
		break;
	case 2:
		v->bad_features = true;
		break;
	case 3:
		v->status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
		break;
	case 4:
		v->config_vector = QUEUES + 1;
		break;
	case 5:
		v->queues[1].vector = QUEUES + 1;
		break;
	case 6:
		v->queues[1].size = 12;
		break;
	case 7:
		v->queues[0].size = 2 * SIZE;
		break;
	case 8:
		v->queues[0].size = 0;
		break;
	case 9:
		v->pci.config[0]++;
		break;
	case 10:
		v->isr = 4;
		break;
	case 11:
		v->features &= ~V1;
		break;
	}
}

static void states_that_do_not_fit_are_refused(void **state)
{
	struct virtio_fixture f, g;
	struct echo_state good, before;
	struct echo *t, *u;
	struct err e;
	struct drv d;

	(void)state;
	t = begin_driven(&f, &d, V1);
	virtio_fixture_init(&g);
	u = echo_add(&g, 0, 0);
	good = t->s;
	before = u->s;
	for (unsigned int i = 0; i < 12; i++) {
		t->s = good;
		damage(&t->s, i);
		e.msg[0] = '\0';
		if (!carry(&f, t, &g, u, &e))
			fail_msg("damage %u was taken", i);
		assert_true(e.msg[0]);
		assert_memory_equal(&before, &u->s, sizeof(before));
	}
	t->s = good;
	/* Where the rings are cannot be judged before there is memory: such a device is broken. */
	t->s.virtio.queues[0].device = UINT64_MAX;
	assert_int_equal(carry(&f, t, &g, u, &e), 0);
	echo_run_changed(&u->dev, true);
	virtio_turn(&g);
	assert_int_equal(u->handled[0], 0);
	assert_true(u->s.virtio.status & VIRTIO_CONFIG_S_NEEDS_RESET);
	t->s = good;
	virtio_fixture_fini(&g);
	virtio_fixture_fini(&f);
}

static void what_is_in_flight_is_not_saved(void **state)
{
	struct virtio_fixture f;
	struct echo *t;
	struct drv d;
	struct err e;

	(void)state;
	t = begin_driven(&f, &d, V1);
	t->keep = true;
	offer(&d, 0, "kept");
	virtio_ring(&f, 0);
	virtio_turn(&f);
	/* While the guest runs it is only looked at, for a trial. */
	assert_int_equal(virtio_check_idle(&t->h.virtio, &e), 0);
	echo_run_changed(&t->dev, false);
	assert_int_equal(virtio_check_idle(&t->h.virtio, &e), -EBUSY);
	assert_string_equal(e.msg, "queue 0 of 0000:00:03.0 has 1 requests in flight");
	virtqueue_push(&t->h.virtio.queues[0].q, 0, 0);
	assert_int_equal(virtio_check_idle(&t->h.virtio, &e), 0);
	virtio_fixture_fini(&f);
}

/* Nobody on the main loop waits for a driver that never stops. */
static void a_driver_that_never_stops_leaves_time_for_others(void **state)
{
	struct virtio_fixture f;
	struct echo *t;
	struct drv d;

	(void)state;
	t = begin_driven(&f, &d, V1);
	for (uint16_t i = 0; i < SIZE; i++)
		drv_set(&d, i, DRV_DATA, 4, VRING_DESC_F_WRITE, 0);
	for (uint16_t i = 0; i < SIZE; i++)
		drv_offer(&d, i);
	/* More than there are entries; for the device these are requests like others. */
	virtio_ring(&f, 0);
	for (unsigned int turn = 1; turn < 10; turn++) {
		virtio_turn(&f);
		assert_int_equal(t->handled[0], turn);
		for (uint16_t i = 0; i < SIZE; i++)
			drv_offer(&d, i);
		virtio_ring(&f, 0);
	}
	virtio_fixture_fini(&f);
}

/* Whatever a guest writes and reads: nothing but what it asked for happens to it. */
static void wild_accesses_do_no_harm(void **state)
{
	uint64_t seed = 7;
	struct virtio_fixture f;
	struct echo *t;

	(void)state;
	t = begin(&f, 0);
	for (unsigned int i = 0; i < 400000; i++) {
		unsigned int size;
		uint64_t at, v;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		size = 1u << (seed >> 60) % 4;
		at = (seed >> 33) % (i % 2 ? 64 : 0x4000);
		v = i % 5 ? i % 3 ? seed >> 40 & 0xff : seed : 0;
		if (seed >> 20 & 1)
			bus_set(&f.pci.vm.mmio, VIRTIO_BAR_AT + at, size, v);
		else
			bus_get(&f.pci.vm.mmio, VIRTIO_BAR_AT + at, size);
		if (i % 64 == 0)
			virtio_turn(&f);
	}
	assert_true(t->resets > 2);
	/* And after all that a driver that behaves. */
	a_driver_finds_and_uses_the_device(state);
	virtio_fixture_fini(&f);
}

static void every_byte_of_the_state_is_described(void **state)
{
	struct err e;

	(void)state;
	if (vs_audit(&echo_desc, &e))
		fail_msg("%s", e.msg);
}

static void impossible_devices_are_refused(void **state)
{
	const struct device_config config = { .addr = -1 };
	struct virtio_fixture f;
	struct err e;

	(void)state;
	virtio_fixture_init(&f);
	for (unsigned int i = 0; i < 6; i++) {
		static const struct {
			unsigned int queues;
			uint32_t size;
			int vectors;
		} bad[] = {
			{ 0, 8, 0 },  { VIRTIO_MAX_QUEUES + 1, 8, 0 }, { 1, 0, 0 }, { 1, 2048, 0 },
			{ 1, 12, 0 }, { 1, 8, PCI_MSIX_MAX + 1 },
		};
		struct echo *t = calloc(1, sizeof(*t));

		t->h.virtio.nr_vectors = bad[i].vectors;
		if (!virtio_init(&t->h.virtio, &f.pci.vm, &t->dev, &t->s.virtio, &config,
				 &echo_virtio, bad[i].queues, bad[i].size, 0, 0, &e))
			fail_msg("%u was made", i);
		assert_true(e.msg[0]);
		virtio_fini(&t->h.virtio);
		free(t);
	}
	assert_true(list_empty(&f.pci.vm.doorbells.list));
	virtio_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_driver_finds_and_uses_the_device),
		cmocka_unit_test(only_what_was_offered_can_be_accepted),
		cmocka_unit_test(features_can_be_switched_off),
		cmocka_unit_test(status_bits_are_set_and_not_cleared),
		cmocka_unit_test(a_queue_is_set_up_by_its_registers),
		cmocka_unit_test(queues_that_are_not_there_have_no_registers),
		cmocka_unit_test(a_queue_outside_of_memory_breaks_the_device),
		cmocka_unit_test(the_configuration_is_read_and_written_within_its_bounds),
		cmocka_unit_test(the_window_in_configuration_space_reaches_the_registers),
		cmocka_unit_test(without_msix_the_pin_and_the_status_register_tell),
		cmocka_unit_test(configuration_changes_are_told_with_a_new_generation),
		cmocka_unit_test(a_broken_ring_asks_for_a_reset_and_is_left_alone),
		cmocka_unit_test(a_reset_takes_what_is_in_flight_with_it),
		cmocka_unit_test(nothing_is_served_before_the_driver_is_ready),
		cmocka_unit_test(a_stopped_guest_is_served_when_it_goes_on),
		cmocka_unit_test(a_driver_goes_on_with_another_device),
		cmocka_unit_test(states_that_do_not_fit_are_refused),
		cmocka_unit_test(what_is_in_flight_is_not_saved),
		cmocka_unit_test(a_driver_that_never_stops_leaves_time_for_others),
		cmocka_unit_test(wild_accesses_do_no_harm),
		cmocka_unit_test(every_byte_of_the_state_is_described),
		cmocka_unit_test(impossible_devices_are_refused),
	};

	return cmocka_run_group_tests_name("virtio", tests, NULL, NULL);
}
