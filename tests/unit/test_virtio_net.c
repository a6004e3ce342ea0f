/* SPDX-License-Identifier: MIT */
/* The virtio network card, driven by its rings; its back end is a stream. */
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <pthread.h>
#include <sys/socket.h>

#include "dev/virtio/net.h"
#include "dev/virtio/net_impl.h"
#include "host/clock.h"
#include "machine/backend.h"
#include "virtio_fixture.h"

enum {
	SIZE = 64,
	RX = 0,
	TX = 1,
	CTRL = 2,
	BUF = 2048, /* bytes of each buffer of the driver */
};

#define V1     (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define BIT(n) (UINT64_C(1) << (n))
#define ALL_OWN                                                                                    \
	(BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_MRG_RXBUF) |          \
	 BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | \
	 BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))

struct bench {
	struct virtio_fixture f;
	struct backend backend;
	struct net *net;
	struct device *card;
	int peer;
	struct drv q[3];
};

/* The @queue's rings are moved up by that much, its buffers are at the end of low memory. */
static uint32_t at_of(unsigned int queue)
{
	return 0x1000 * queue;
}

static gpa_t buffer(unsigned int i)
{
	return 0x40000 + BUF * (gpa_t)i;
}

static void drv_at(struct drv *d, struct drv_memory *m, unsigned int queue)
{
	drv_init(d, m, SIZE, false);
	d->desc = drv_ptr(m, DRV_DESC + at_of(queue));
	d->avail = drv_ptr(m, DRV_AVAIL + at_of(queue));
	d->used = drv_ptr(m, DRV_USED + at_of(queue));
	memset(d->desc, 0, 16 * SIZE);
	memset(d->avail, 0, 6 + 2 * SIZE);
	memset(d->used, 0, 6 + 8 * SIZE);
}

static void add_card(struct bench *b, const char *options)
{
	struct device_spec spec;
	struct err e = ERR_INIT;
	char text[256];

	snprintf(text, sizeof(text), "virtio-net-pci,id=card,addr=3,netdev=n0%s", options);
	if (device_spec_parse(&spec, text, &e) ||
	    device_spec_create(&b->f.pci.vm, &spec, &b->card, &e))
		fail_msg("%s", e.msg);
	device_spec_fini(&spec);
}

/* A machine whose guest runs, with a card that it has found. */
static void begin(struct bench *b, const char *options)
{
	struct net_config config = { .kind = NET_STREAM, .id = "n0", .address = NET_FD };
	struct err e = ERR_INIT;
	int ends[2];

	memset(b, 0, sizeof(*b));
	virtio_fixture_init(&b->f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	config.fd = ends[0];
	b->peer = ends[1];
	fcntl(b->peer, F_SETFL, O_NONBLOCK);
	assert_int_equal(net_open(&b->net, b->f.pci.vm.loop, &config, NULL, NULL, &e), 0);
	b->backend.kind = BACKEND_NET;
	b->backend.object = b->net;
	strcpy(b->backend.id, "n0");
	assert_int_equal(backend_add(&b->f.pci.vm, &b->backend, &e), 0);
	add_card(b, options);
	b->card->class->run_changed(b->card, true);
	virtio_find(&b->f, 3 << 3);
}

static void drive(struct bench *b, uint64_t features)
{
	virtio_use_msix(&b->f, 4);
	assert_true(virtio_negotiate(&b->f, V1 | features));
	for (unsigned int i = 0; i < 3; i++) {
		drv_at(&b->q[i], &b->f.mem, i);
		if (i == CTRL && !(features & BIT(VIRTIO_NET_F_CTRL_VQ)))
			continue;
		virtio_set_queue(&b->f, (uint16_t)i, SIZE, (uint16_t)(i + 1), at_of(i));
	}
	virtio_drive(&b->f);
	virtio_turn(&b->f);
}

static void end(struct bench *b)
{
	virtio_fixture_fini(&b->f);
	close_fd(&b->peer);
}

/* The back end goes when the loop is still there, the card before it. */
static void finish(struct bench *b)
{
	device_remove(b->card);
	backend_del(&b->backend);
	net_close(b->net, false);
	end(b);
}

static void turns(struct bench *b)
{
	for (int i = 0; i < 4; i++)
		virtio_turn(&b->f);
}

static void ring(struct bench *b, unsigned int queue)
{
	virtio_ring(&b->f, queue);
	turns(b);
}

static bool is_broken(struct bench *b)
{
	return virtio_status(&b->f) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* A frame to @to of @len bytes from the network. */
static void send_frame(struct bench *b, const uint8_t *to, uint8_t fill, size_t len)
{
	static uint8_t wire[4 + 65536];

	wire[0] = wire[1] = 0;
	wire[2] = (uint8_t)(len >> 8);
	wire[3] = (uint8_t)len;
	memset(wire + 4, fill, len);
	memcpy(wire + 4, to, VNET_MAC_BYTES);
	assert_int_equal(write(b->peer, wire, len + 4), len + 4);
	turns(b);
}

/* What came to the network; 0: nothing did. */
static size_t take_frame(struct bench *b, uint8_t *p, size_t size)
{
	uint8_t prefix[4];
	size_t len;

	if (read(b->peer, prefix, 4) != 4)
		return 0;
	len = (size_t)prefix[2] << 8 | prefix[3];
	assert_true(len <= size);
	assert_int_equal(read(b->peer, p, len), len);
	return len;
}

/* Descriptor @i is a buffer for received frames, of @len bytes. */
static void offer_rx(struct bench *b, unsigned int i, uint32_t len)
{
	memset(drv_ptr(&b->f.mem, buffer(i)), 0xee, BUF);
	drv_set(&b->q[RX], i, buffer(i), len, VRING_DESC_F_WRITE, 0);
	drv_offer(&b->q[RX], (uint16_t)i);
}

static const uint8_t own[VNET_MAC_BYTES] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
static const uint8_t other[VNET_MAC_BYTES] = { 0x52, 0x54, 0x00, 0x99, 0x99, 0x99 };
static const uint8_t all[VNET_MAC_BYTES] = { 255, 255, 255, 255, 255, 255 };
static const uint8_t group[VNET_MAC_BYTES] = { 0x33, 0x33, 0, 0, 0, 1 };

/* A whole frame of @len bytes with its header, in pieces of @piece, from descriptor 0 on. */
static void offer_tx(struct bench *b, uint8_t fill, size_t len, size_t piece)
{
	uint8_t *p = drv_ptr(&b->f.mem, buffer(0));
	unsigned int i = 0;
	size_t done = 0;

	memset(p, 0, VNET_HEADER);
	memset(p + VNET_HEADER, fill, len);
	for (; done < len + VNET_HEADER; done += piece, i++) {
		size_t part = MIN(piece, len + VNET_HEADER - done);
		bool last = done + part == len + VNET_HEADER;

		drv_set(&b->q[TX], i, buffer(0) + done, (uint32_t)part,
			last ? 0 : VRING_DESC_F_NEXT, (uint16_t)(i + 1));
	}
	drv_offer(&b->q[TX], 0);
	ring(b, TX);
}

static void a_card_on_a_stream_offers_no_offloads(void **state)
{
	struct bench b;
	uint64_t features;

	(void)state;
	begin(&b, "");
	assert_int_equal(cfg_get(&b.f.pci, 3 << 3, PCI_DEVICE, 2), 0x1041);
	features = virtio_offered(&b.f);
	assert_int_equal(features & ALL_OWN, ALL_OWN);
	assert_int_equal(features & 0xffffff & ~ALL_OWN, 0);
	for (unsigned int i = 0; i < VNET_MAC_BYTES; i++)
		assert_int_equal(bus_get(&b.f.pci.vm.mmio, b.f.device + i, 1), own[i]);
	assert_int_equal(bus_get(&b.f.pci.vm.mmio, b.f.device + 6, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(bus_get(&b.f.pci.vm.mmio, b.f.device + 8, 2), 1);
	finish(&b);
}

static void frames_go_out_however_they_are_cut(void **state)
{
	uint8_t got[BUF];
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	for (size_t piece = 1; piece <= 72; piece++) {
		struct vring_used_elem u;

		if (60 + VNET_HEADER > piece * (SIZE - 1))
			continue;
		offer_tx(&b, (uint8_t)piece, 60, piece);
		assert_true(drv_collect(&b.q[TX], &u));
		assert_int_equal(u.id, 0);
		assert_int_equal(u.len, 0);
		assert_int_equal(take_frame(&b, got, sizeof(got)), 60);
		for (unsigned int i = 0; i < 60; i++)
			assert_int_equal(got[i], piece);
	}
	finish(&b);
}

enum {
	RACE_FRAMES = 50000,
	RACE_IDLE_NS = 2000000000, /* nothing moves in that time: nothing ever will */
};

/* A driver on a processor of its own, that offers a frame as soon as the one before was taken. */
struct race {
	struct bench *b;
	int frames; /* atomic: that came back  */
	bool kick;  /* atomic: the bell rang    */
	bool stop;  /* atomic                   */
};

static void *offer_frames(void *arg)
{
	struct race *r = arg;
	struct drv *d = &r->b->q[TX];
	struct vring_used_elem u;

	for (int n = 0; n < RACE_FRAMES; n++) {
		/* The device looks at the ring for the last time just now, or a little later. */
		for (int pause = n % 16; pause; pause--)
			__asm__ volatile("pause");
		drv_offer(d, 0);
		if (drv_must_kick(d))
			__atomic_store_n(&r->kick, true, __ATOMIC_RELEASE);
		while (!drv_collect(d, &u))
			if (__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE))
				return NULL;
		__atomic_store_n(&r->frames, n + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void a_frame_offered_while_the_device_finds_no_more_is_not_forgotten(void **state)
{
	struct bench b;
	struct race r = { .b = &b };
	uint8_t got[BUF];
	pthread_t thread;
	uint64_t moved;
	int seen = 0;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	memset(drv_ptr(&b.f.mem, buffer(0)), 0, VNET_HEADER + 60);
	drv_set(&b.q[TX], 0, buffer(0), VNET_HEADER + 60, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, offer_frames, &r), 0);
	moved = clock_boottime_ns();
	while (seen < RACE_FRAMES && clock_boottime_ns() - moved < RACE_IDLE_NS) {
		int frames = __atomic_load_n(&r.frames, __ATOMIC_ACQUIRE);

		if (frames != seen)
			moved = clock_boottime_ns();
		seen = frames;
		if (__atomic_exchange_n(&r.kick, false, __ATOMIC_ACQ_REL))
			virtio_ring(&b.f, TX);
		virtio_turn(&b.f);
		while (take_frame(&b, got, sizeof(got)))
			;
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	assert_int_equal(seen, RACE_FRAMES);
	finish(&b);
}

static void what_is_no_frame_is_dropped(void **state)
{
	struct vring_used_elem u;
	uint8_t got[BUF];
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	offer_tx(&b, 1, 0, BUF);
	offer_tx(&b, 1, NET_MIN_FRAME - 1, BUF);
	/* Longer than any frame: the same bytes again and again. */
	for (unsigned int i = 0; i < 60; i++)
		drv_set(&b.q[TX], i, buffer(0), BUF, i < 59 ? VRING_DESC_F_NEXT : 0,
			(uint16_t)(i + 1));
	drv_offer(&b.q[TX], 0);
	ring(&b, TX);
	for (unsigned int i = 0; i < 3; i++)
		assert_true(drv_collect(&b.q[TX], &u));
	assert_int_equal(take_frame(&b, got, sizeof(got)), 0);
	assert_false(is_broken(&b));
	offer_tx(&b, 1, NET_MIN_FRAME, BUF);
	assert_int_equal(take_frame(&b, got, sizeof(got)), NET_MIN_FRAME);
	finish(&b);
}

static void a_frame_without_a_header_breaks_the_card_until_it_is_reset(void **state)
{
	uint8_t got[BUF];
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	drv_set(&b.q[TX], 0, buffer(0), VNET_HEADER - 1, 0, 0);
	drv_offer(&b.q[TX], 0);
	ring(&b, TX);
	assert_true(is_broken(&b));
	offer_tx(&b, 1, 60, BUF);
	assert_int_equal(take_frame(&b, got, sizeof(got)), 0);
	drive(&b, ALL_OWN);
	assert_false(is_broken(&b));
	offer_tx(&b, 1, 60, BUF);
	assert_int_equal(take_frame(&b, got, sizeof(got)), 60);
	finish(&b);
}

static void frames_wait_while_nobody_reads_them(void **state)
{
	static uint8_t got[BUF];
	struct vring_used_elem u;
	unsigned int sent = 0, came = 0;
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	for (;;) {
		memset(drv_ptr(&b.f.mem, buffer(0)), 0, VNET_HEADER);
		drv_set(&b.q[TX], 0, buffer(0), 1500 + VNET_HEADER, 0, 0);
		drv_offer(&b.q[TX], 0);
		ring(&b, TX);
		if (!drv_collect(&b.q[TX], &u))
			break;
		sent++;
		assert_true(sent < 10000);
	}
	while (take_frame(&b, got, sizeof(got)) || came <= sent) {
		came++;
		turns(&b);
		assert_true(came < 10000);
	}
	assert_int_equal(came, sent + 1);
	assert_true(drv_collect(&b.q[TX], &u));
	assert_false(is_broken(&b));
	finish(&b);
}

static void a_frame_is_received_behind_a_header(void **state)
{
	struct vring_used_elem u;
	const uint8_t *p;
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	offer_rx(&b, 0, BUF);
	ring(&b, RX);
	send_frame(&b, own, 0x77, 60);
	assert_true(drv_collect(&b.q[RX], &u));
	assert_int_equal(u.len, 60 + VNET_HEADER);
	p = drv_ptr(&b.f.mem, buffer(0));
	for (unsigned int i = 0; i < 10; i++)
		assert_int_equal(p[i], 0);
	assert_int_equal(p[10], 1);
	assert_int_equal(p[11], 0);
	assert_memory_equal(p + VNET_HEADER, own, sizeof(own));
	assert_int_equal(p[VNET_HEADER + 59], 0x77);
	assert_int_equal(p[VNET_HEADER + 60], 0xee);
	assert_int_equal(b.f.pci.msi_data, 0x41);
	finish(&b);
}

static void a_long_frame_takes_several_buffers_at_once(void **state)
{
	struct vring_used_elem u;
	struct bench b;
	size_t left = 1000 + VNET_HEADER;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	for (unsigned int i = 0; i < 8; i++)
		offer_rx(&b, i, 200);
	ring(&b, RX);
	send_frame(&b, own, 0x33, 1000);
	for (unsigned int i = 0; i < 6; i++) {
		assert_true(drv_collect(&b.q[RX], &u));
		assert_int_equal(u.id, i);
		assert_int_equal(u.len, MIN(left, (size_t)200));
		left -= u.len;
	}
	assert_int_equal(left, 0);
	assert_false(drv_collect(&b.q[RX], &u));
	assert_int_equal(((uint8_t *)drv_ptr(&b.f.mem, buffer(0)))[10], 6);
	assert_int_equal(((uint8_t *)drv_ptr(&b.f.mem, buffer(5)))[11], 0x33);
	assert_int_equal(((uint8_t *)drv_ptr(&b.f.mem, buffer(5)))[12], 0xee);
	finish(&b);
}

static void a_frame_waits_for_buffers_and_none_is_lost(void **state)
{
	struct vring_used_elem u;
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	/* Six were there once, so that many may be there again. */
	for (unsigned int i = 0; i < 6; i++)
		offer_rx(&b, i, 200);
	ring(&b, RX);
	for (unsigned int i = 0; i < 4; i++)
		send_frame(&b, own, (uint8_t)i, 60);
	for (unsigned int i = 0; i < 4; i++)
		assert_true(drv_collect(&b.q[RX], &u));
	/* Two are left, five are needed. */
	send_frame(&b, own, 0x55, 900);
	send_frame(&b, own, 0x56, 60);
	assert_false(drv_collect(&b.q[RX], &u));
	for (unsigned int i = 0; i < 3; i++) {
		assert_false(drv_collect(&b.q[RX], &u));
		offer_rx(&b, i, 200);
		assert_true(drv_must_kick(&b.q[RX]));
		ring(&b, RX);
	}
	for (unsigned int i = 0; i < 5; i++)
		assert_true(drv_collect(&b.q[RX], &u));
	assert_false(drv_collect(&b.q[RX], &u));
	offer_rx(&b, 3, 200);
	ring(&b, RX);
	assert_true(drv_collect(&b.q[RX], &u));
	assert_int_equal(u.len, 60 + VNET_HEADER);
	assert_false(is_broken(&b));
	finish(&b);
}

/* As a frame of a tap is, which cannot be put back. */
static void a_held_frame_asks_for_each_buffer_that_it_lacks(void **state)
{
	const uint32_t len = 900 + VNET_HEADER;
	struct vring_used_elem u;
	struct virtio_net *n;
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	n = CONTAINER_OF(b.card, struct virtio_net, dev);
	n->s.rx_seen[0] = 8;
	n->s.held_len = len;
	memset(n->s.held, 0x55, len);
	for (unsigned int i = 0; i < 5; i++) {
		assert_false(drv_collect(&b.q[RX], &u));
		offer_rx(&b, i, 200);
		assert_true(drv_must_kick(&b.q[RX]));
		ring(&b, RX);
	}
	for (unsigned int i = 0; i < 5; i++)
		assert_true(drv_collect(&b.q[RX], &u));
	assert_int_equal(n->s.held_len, 0);
	finish(&b);
}

static void a_frame_for_which_no_buffers_will_do_is_dropped(void **state)
{
	struct vring_used_elem u;
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	offer_rx(&b, 0, 200);
	offer_rx(&b, 1, 200);
	ring(&b, RX);
	send_frame(&b, own, 0x55, 900);
	send_frame(&b, own, 0x56, 60);
	assert_true(drv_collect(&b.q[RX], &u));
	assert_int_equal(u.len, 60 + VNET_HEADER);
	finish(&b);
	begin(&b, ",mrg_rxbuf=off");
	drive(&b, ALL_OWN & ~BIT(VIRTIO_NET_F_MRG_RXBUF));
	offer_rx(&b, 0, 200);
	offer_rx(&b, 1, 200);
	ring(&b, RX);
	send_frame(&b, own, 0x55, 200);
	send_frame(&b, own, 0x56, 60);
	assert_true(drv_collect(&b.q[RX], &u));
	assert_int_equal(u.id, 0);
	assert_int_equal(u.len, 60 + VNET_HEADER);
	finish(&b);
}

static void a_buffer_without_room_for_the_header_breaks_the_card(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	offer_rx(&b, 0, VNET_HEADER - 1);
	ring(&b, RX);
	send_frame(&b, own, 0x55, 60);
	assert_true(is_broken(&b));
	drive(&b, ALL_OWN);
	/* One that the device may only read. */
	drv_set(&b.q[RX], 0, buffer(0), 200, 0, 0);
	drv_offer(&b.q[RX], 0);
	ring(&b, RX);
	assert_true(is_broken(&b));
	finish(&b);
}

/* The @nth buffer of a long frame is bad; nothing stays in flight. */
static void a_bad_buffer_in_the_midst_of_a_frame_breaks_the_card(void **state)
{
	struct err e = ERR_INIT;
	struct virtio_net *n;
	struct bench b;
	void *saved;

	(void)state;
	for (unsigned int bad = 0; bad < 3; bad++) {
		begin(&b, "");
		n = CONTAINER_OF(b.card, struct virtio_net, dev);
		drive(&b, ALL_OWN);
		for (unsigned int i = 0; i < 4; i++) {
			offer_rx(&b, i, 200);
			if (i == 1 + bad)
				b.q[RX].desc[i].addr = UINT64_C(1) << 60;
		}
		ring(&b, RX);
		send_frame(&b, own, 0x55, 700);
		assert_true(is_broken(&b));
		b.card->class->run_changed(b.card, false);
		saved = malloc(sizeof(n->s));
		assert_int_equal(b.card->class->capture(b.card, saved, &e), 0);
		free(saved);
		finish(&b);
	}
}

/* Runs a command; its answer. */
static int command(struct bench *b, const void *p, size_t n)
{
	struct vring_used_elem u;
	uint8_t *ack = drv_ptr(&b->f.mem, buffer(20));

	*ack = 0xaa;
	memcpy(drv_ptr(&b->f.mem, buffer(8)), p, n);
	drv_set(&b->q[CTRL], 0, buffer(8), (uint32_t)n, VRING_DESC_F_NEXT, 1);
	drv_set(&b->q[CTRL], 1, buffer(20), 1, VRING_DESC_F_WRITE, 0);
	drv_offer(&b->q[CTRL], 0);
	ring(b, CTRL);
	if (!drv_collect(&b->q[CTRL], &u))
		return -1;
	assert_int_equal(u.len, 1);
	return *ack;
}

static unsigned int frames_that_pass(struct bench *b, const uint8_t *to)
{
	struct vring_used_elem u;
	unsigned int n = 0;

	send_frame(b, to, 0x55, 60);
	while (drv_collect(&b->q[RX], &u)) {
		offer_rx(b, u.id, BUF);
		n++;
	}
	return n;
}

static void the_driver_says_which_frames_it_wants(void **state)
{
	static const uint8_t promisc_off[] = { 0, 0, 0 }, promisc_on[] = { 0, 0, 1 };
	static const uint8_t allmulti_on[] = { 0, 1, 1 }, alluni_on[] = { 0, 2, 1 };
	static const uint8_t nomulti[] = { 0, 3, 1 }, nouni[] = { 0, 4, 1 },
			     nobcast[] = { 0, 5, 1 };
	static const uint8_t table[] = { 1,    0, 1, 0, 0, 0,    0x52, 0x54, 0, 0x99, 0x99,
					 0x99, 1, 0, 0, 0, 0x33, 0x33, 0,    0, 0,    1 };
	static const uint8_t no_table[] = { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t new_mac[] = { 1, 1, 0x52, 0x54, 0x00, 0x99, 0x99, 0x99 };
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	for (unsigned int i = 0; i < 6; i++)
		offer_rx(&b, i, BUF);
	ring(&b, RX);
	assert_int_equal(frames_that_pass(&b, other), 1);
	assert_int_equal(command(&b, promisc_off, 3), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, own), 1);
	assert_int_equal(frames_that_pass(&b, all), 1);
	assert_int_equal(frames_that_pass(&b, other), 0);
	assert_int_equal(frames_that_pass(&b, group), 0);
	assert_int_equal(command(&b, table, sizeof(table)), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, other), 1);
	assert_int_equal(frames_that_pass(&b, group), 1);
	assert_int_equal(command(&b, no_table, sizeof(no_table)), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, other), 0);
	assert_int_equal(command(&b, allmulti_on, 3), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, group), 1);
	assert_int_equal(command(&b, alluni_on, 3), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, other), 1);
	assert_int_equal(command(&b, nouni, 3), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, own), 0);
	assert_int_equal(command(&b, nomulti, 3), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, group), 0);
	assert_int_equal(command(&b, nobcast, 3), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, all), 0);
	assert_int_equal(command(&b, promisc_on, 3), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, own), 1);
	assert_int_equal(command(&b, new_mac, sizeof(new_mac)), VIRTIO_NET_OK);
	assert_int_equal(bus_get(&b.f.pci.vm.mmio, b.f.device + 5, 1), 0x99);
	drive(&b, ALL_OWN);
	assert_int_equal(bus_get(&b.f.pci.vm.mmio, b.f.device + 5, 1), 0x56);
	finish(&b);
}

static void a_long_list_of_addresses_lets_all_of_them_pass(void **state)
{
	uint8_t table[10 + 65 * VNET_MAC_BYTES] = { 1, 0 };
	static const uint8_t promisc_off[] = { 0, 0, 0 };
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	for (unsigned int i = 0; i < 6; i++)
		offer_rx(&b, i, BUF);
	ring(&b, RX);
	assert_int_equal(command(&b, promisc_off, 3), VIRTIO_NET_OK);
	/* No unicast ones, 65 groups. */
	table[6] = 65;
	assert_int_equal(command(&b, table, sizeof(table)), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, group), 1);
	assert_int_equal(frames_that_pass(&b, other), 0);
	/* The other way round. */
	memset(table + 2, 0, sizeof(table) - 2);
	table[2] = 65;
	assert_int_equal(command(&b, table, sizeof(table)), VIRTIO_NET_OK);
	assert_int_equal(frames_that_pass(&b, other), 1);
	assert_int_equal(frames_that_pass(&b, group), 0);
	finish(&b);
}

static void commands_that_are_malformed_are_refused_and_change_nothing(void **state)
{
	static const struct {
		uint8_t n, p[24];
	} bad[] = {
		{ 2, { 0, 0 } },                          /* no value                       */
		{ 4, { 0, 0, 0, 0 } },                    /* too much                       */
		{ 3, { 0, 6, 0 } },                       /* no such mode                   */
		{ 3, { 0, 255, 0 } },                     /* nor this                       */
		{ 2, { 1, 0 } },                          /* no lists                       */
		{ 6, { 1, 0, 0, 0, 0, 0 } },              /* one list                       */
		{ 10, { 1, 0, 1, 0, 0, 0, 0, 0, 0, 0 } }, /* shorter than it says     */
		{ 10, { 1, 0, 255, 255, 255, 255, 0, 0, 0, 0 } },
		{ 11, { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } }, /* a byte more           */
		{ 7, { 1, 1, 1, 2, 3, 4, 5 } },              /* five bytes of address          */
		{ 3, { 1, 2, 0 } },                          /* no such command                */
		{ 4, { 2, 0, 1, 0 } },                       /* VLANs were not offered         */
		{ 3, { 3, 0, 0 } },                          /* nothing was announced          */
		{ 4, { 4, 0, 1, 0 } },                       /* one queue pair                 */
		{ 10, { 5, 0, 1, 0, 0, 0, 0, 0, 0, 0 } },    /* offloads were not offered */
		{ 2, { 255, 255 } },
	};
	struct vnet_filter before;
	struct virtio_net *n;
	struct bench b;

	(void)state;
	begin(&b, "");
	n = CONTAINER_OF(b.card, struct virtio_net, dev);
	drive(&b, ALL_OWN);
	before = n->s.filter;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		if (command(&b, bad[i].p, bad[i].n) != VIRTIO_NET_ERR)
			fail_msg("command %u was taken", i);
		assert_memory_equal(&n->s.filter, &before, sizeof(before));
	}
	assert_false(is_broken(&b));
	/* Without a place for the answer, or a command, there is nothing that can be said. */
	drv_set(&b.q[CTRL], 0, buffer(8), 3, 0, 0);
	drv_offer(&b.q[CTRL], 0);
	ring(&b, CTRL);
	assert_true(is_broken(&b));
	drive(&b, ALL_OWN);
	assert_int_equal(command(&b, bad[0].p, 1), -1);
	assert_true(is_broken(&b));
	finish(&b);
}

static void a_command_longer_than_any_is_refused(void **state)
{
	struct vring_used_elem u;
	struct bench b;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	for (unsigned int i = 0; i < 60; i++)
		drv_set(&b.q[CTRL], i, buffer(8), BUF, VRING_DESC_F_NEXT, (uint16_t)(i + 1));
	drv_set(&b.q[CTRL], 60, buffer(20), 1, VRING_DESC_F_WRITE, 0);
	drv_offer(&b.q[CTRL], 0);
	ring(&b, CTRL);
	assert_true(drv_collect(&b.q[CTRL], &u));
	assert_int_equal(*(uint8_t *)drv_ptr(&b.f.mem, buffer(20)), VIRTIO_NET_ERR);
	finish(&b);
}

static void the_driver_sees_the_cable_go(void **state)
{
	struct bench b;
	unsigned int msis;

	(void)state;
	begin(&b, "");
	drive(&b, ALL_OWN);
	common_set(&b.f, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	msis = b.f.pci.msis;
	net_set_link(b.net, false);
	assert_int_equal(b.f.pci.msis, msis + 1);
	assert_int_equal(bus_get(&b.f.pci.vm.mmio, b.f.device + 6, 2), 0);
	offer_rx(&b, 0, BUF);
	ring(&b, RX);
	assert_int_equal(frames_that_pass(&b, own), 0);
	net_set_link(b.net, true);
	assert_int_equal(b.f.pci.msis, msis + 2);
	assert_int_equal(frames_that_pass(&b, own), 1);
	finish(&b);
}

static void a_card_that_stands_still_goes_on_where_it_was(void **state)
{
	static const uint8_t promisc_off[] = { 0, 0, 0 };
	uint8_t got[BUF];
	struct virtio_net_state *saved;
	struct vring_used_elem u;
	struct virtio_net *n;
	struct err e = ERR_INIT;
	struct bench b;

	(void)state;
	begin(&b, "");
	n = CONTAINER_OF(b.card, struct virtio_net, dev);
	drive(&b, ALL_OWN);
	assert_int_equal(command(&b, promisc_off, 3), VIRTIO_NET_OK);
	offer_rx(&b, 0, BUF);
	offer_rx(&b, 1, BUF);
	ring(&b, RX);
	b.card->class->run_changed(b.card, false);
	offer_tx(&b, 0x44, 60, BUF);
	send_frame(&b, own, 0x55, 60);
	assert_false(drv_collect(&b.q[RX], &u));
	assert_false(drv_collect(&b.q[TX], &u));
	saved = malloc(sizeof(*saved));
	assert_int_equal(b.card->class->capture(b.card, saved, &e), 0);
	device_remove(b.card);
	add_card(&b, "");
	n = CONTAINER_OF(b.card, struct virtio_net, dev);
	saved->pairs = 2;
	assert_int_equal(b.card->class->fits(b.card, saved, &e), -EINVAL);
	saved->pairs = 1;
	saved->guest_offloads = 2;
	assert_int_equal(b.card->class->fits(b.card, saved, &e), -EINVAL);
	saved->guest_offloads = 0;
	saved->filter.nr_uni = 1;
	assert_int_equal(b.card->class->fits(b.card, saved, &e), -EINVAL);
	saved->filter.nr_uni = 0;
	assert_int_equal(b.card->class->fits(b.card, saved, &e), 0);
	n->s = *saved;
	free(saved);
	b.card->class->loaded(b.card);
	b.card->class->run_changed(b.card, true);
	turns(&b);
	assert_true(drv_collect(&b.q[RX], &u));
	assert_true(drv_collect(&b.q[TX], &u));
	assert_int_equal(take_frame(&b, got, sizeof(got)), 60);
	assert_int_equal(frames_that_pass(&b, other), 0);
	assert_int_equal(frames_that_pass(&b, own), 1);
	finish(&b);
}

static void options_out_of_range_are_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "virtio-net-pci", "netdev" },
		{ "virtio-net-pci,netdev=n1", "n1" },
		{ "virtio-net-pci,netdev=n0,id=two", "card" },
		{ "virtio-net-pci,netdev=n0,mac=33:33:00:00:00:01", "mac" },
		{ "virtio-net-pci,netdev=n0,mac=1", "mac" },
		{ "virtio-net-pci,netdev=n0,rx_queue_size=100", "rx_queue_size" },
		{ "virtio-net-pci,netdev=n0,rx_queue_size=32", "rx_queue_size" },
		{ "virtio-net-pci,netdev=n0,tx_queue_size=2048", "tx_queue_size" },
		{ "virtio-net-pci,netdev=n0,host_mtu=67", "host_mtu" },
		{ "virtio-net-pci,netdev=n0,host_mtu=65536", "host_mtu" },
		{ "virtio-net-pci,netdev=n0,vectors=65", "vectors" },
	};
	struct bench b;

	(void)state;
	begin(&b, "");
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct device_spec spec;
		struct err e = ERR_INIT;
		struct device *d;
		int r = device_spec_parse(&spec, bad[i].text, &e);

		if (!r) {
			r = device_spec_create(&b.f.pci.vm, &spec, &d, &e);
			device_spec_fini(&spec);
		}
		if (!r || !strstr(e.msg, bad[i].says))
			fail_msg("%s: %s", bad[i].text, r ? e.msg : "was taken");
	}
	finish(&b);
}

static void addresses_are_chosen_one_after_the_other(void **state)
{
	struct virtio_net *n;
	json_t *j;
	struct bench b;

	(void)state;
	begin(&b, "");
	j = device_to_json(b.card);
	assert_string_equal(json_string_value(json_object_get(j, "mac")), "52:54:00:12:34:56");
	json_decref(j);
	device_remove(b.card);
	add_card(&b, ",mac=02:00:00:00:00:07,host_mtu=9000");
	n = CONTAINER_OF(b.card, struct virtio_net, dev);
	assert_int_equal(n->s.filter.mac[5], 7);
	virtio_find(&b.f, 3 << 3);
	assert_true(virtio_offered(&b.f) & BIT(VIRTIO_NET_F_MTU));
	assert_int_equal(bus_get(&b.f.pci.vm.mmio, b.f.device + 10, 2), 9000);
	finish(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_card_on_a_stream_offers_no_offloads),
		cmocka_unit_test(frames_go_out_however_they_are_cut),
		cmocka_unit_test(a_frame_offered_while_the_device_finds_no_more_is_not_forgotten),
		cmocka_unit_test(what_is_no_frame_is_dropped),
		cmocka_unit_test(a_frame_without_a_header_breaks_the_card_until_it_is_reset),
		cmocka_unit_test(frames_wait_while_nobody_reads_them),
		cmocka_unit_test(a_frame_is_received_behind_a_header),
		cmocka_unit_test(a_long_frame_takes_several_buffers_at_once),
		cmocka_unit_test(a_frame_waits_for_buffers_and_none_is_lost),
		cmocka_unit_test(a_held_frame_asks_for_each_buffer_that_it_lacks),
		cmocka_unit_test(a_frame_for_which_no_buffers_will_do_is_dropped),
		cmocka_unit_test(a_buffer_without_room_for_the_header_breaks_the_card),
		cmocka_unit_test(a_bad_buffer_in_the_midst_of_a_frame_breaks_the_card),
		cmocka_unit_test(the_driver_says_which_frames_it_wants),
		cmocka_unit_test(a_long_list_of_addresses_lets_all_of_them_pass),
		cmocka_unit_test(commands_that_are_malformed_are_refused_and_change_nothing),
		cmocka_unit_test(a_command_longer_than_any_is_refused),
		cmocka_unit_test(the_driver_sees_the_cable_go),
		cmocka_unit_test(a_card_that_stands_still_goes_on_where_it_was),
		cmocka_unit_test(options_out_of_range_are_refused),
		cmocka_unit_test(addresses_are_chosen_one_after_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
