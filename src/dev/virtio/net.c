/* SPDX-License-Identifier: MIT */
/* virtio network card (virtio 1.2, section 5.1): virtio-net-pci. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>

#include "base/util.h"
#include "dev/net/net_stream.h"
#include "dev/virtio/net.h"
#include "dev/virtio/net_impl.h"
#include "machine/backend.h"
#include "machine/vm.h"

#define BIT(n) (UINT64_C(1) << (n))

/* The class code of an Ethernet controller. */
#define PCI_CLASS_ETHERNET 0x020000

/* What received frames may need of the driver. */
#define GUEST_OFFLOADS                                                 \
	(BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) | \
	 BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN))
/* And what sent ones may leave to the host. Both need a back end with headers. */
#define HOST_OFFLOADS                                                                         \
	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | \
	 BIT(VIRTIO_NET_F_HOST_ECN))

enum {
	CONFIG_BYTES = 12,
	MIN_QUEUE_SIZE = 64,
	MIN_MTU = 68,
};

struct virtio_net_config_options {
	struct device_config device;
	char netdev[PROP_STRING_MAX];
	uint8_t mac[VNET_MAC_BYTES];
	bool mq, mrg_rxbuf, csum, guest_csum, status, ctrl_vq, ctrl_rx, ctrl_mac_addr;
	bool ctrl_guest_offloads, guest_tso4, guest_tso6, guest_ecn, host_tso4, host_tso6, host_ecn;
	uint64_t host_mtu, rx_queue_size, tx_queue_size, vectors;
};

static const struct vs_field virtio_net_fields[] = {
	VS_STRUCT(struct virtio_net_state, virtio, &virtio_state_desc),
	VS_STRUCT(struct virtio_net_state, filter, &vnet_filter_desc),
	VS_FIELD_RANGE(struct virtio_net_state, pairs, 1, NET_MAX_QUEUES),
	VS_FIELD(struct virtio_net_state, guest_offloads),
	VS_FIELD(struct virtio_net_state, link_up),
	VS_BUFFER(struct virtio_net_state, reserved),
	VS_ARRAY(struct virtio_net_state, rx_seen),
	VS_END,
};

static const struct vs_field held_fields[] = {
	VS_FIELD_RANGE(struct virtio_net_state, held_pair, 0, NET_MAX_QUEUES - 1),
	VS_FIELD_RANGE(struct virtio_net_state, held_len, 0, VNET_HELD_BYTES),
	VS_BUFFER_VAR(struct virtio_net_state, held, held_len),
	VS_END,
};

static const struct vs_desc held_desc = {
	.name = "virtio-net/held",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct virtio_net_state),
	.fields = held_fields,
};

static bool is_held(const void *state)
{
	return ((const struct virtio_net_state *)state)->held_len;
}

static const struct vs_subsection virtio_net_subsections[] = {
	{ &held_desc, is_held },
	{ NULL, NULL },
};

static const struct vs_desc virtio_net_desc = {
	.name = "virtio-net",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct virtio_net_state),
	.fields = virtio_net_fields,
	.subsections = virtio_net_subsections,
};

static struct virtio_net *from_device(struct device *d)
{
	return CONTAINER_OF(d, struct virtio_net, dev);
}

uint64_t vnet_guest_offloads(const struct virtio_net *n)
{
	return n->s.virtio.features & GUEST_OFFLOADS;
}

void vnet_apply(struct virtio_net *n)
{
	static const struct {
		unsigned int feature;
		uint32_t offload;
	} map[] = {
		{ VIRTIO_NET_F_GUEST_CSUM, NET_OFFLOAD_CSUM },
		{ VIRTIO_NET_F_GUEST_TSO4, NET_OFFLOAD_TSO4 },
		{ VIRTIO_NET_F_GUEST_TSO6, NET_OFFLOAD_TSO6 },
		{ VIRTIO_NET_F_GUEST_ECN, NET_OFFLOAD_ECN },
	};
	struct vnet_host *h = &n->h;
	uint32_t bits = 0;

	if (h->applied_offloads != n->s.guest_offloads) {
		for (size_t i = 0; i < ARRAY_SIZE(map); i++)
			if (n->s.guest_offloads & BIT(map[i].feature))
				bits |= map[i].offload;
		net_set_offloads(h->net, bits);
		h->applied_offloads = n->s.guest_offloads;
	}
	if (h->applied_pairs != n->s.pairs) {
		/* Before the kernel lets go of a queue nobody may wait for it. */
		for (unsigned int i = n->s.pairs; i < h->max_pairs; i++)
			net_set_reading(h->net, i, false);
		net_set_active_queues(h->net, n->s.pairs);
		h->applied_pairs = n->s.pairs;
	}
}

/* Which is behind the queues that the driver knows of. */
static unsigned int ctrl_index(const struct virtio_net *n)
{
	return virtio_has(&n->h.virtio, VIRTIO_NET_F_MQ) ? 2 * n->h.max_pairs : 2;
}

static void handle_queue(struct virtio *v, unsigned int index)
{
	struct virtio_net *n = v->opaque;

	vnet_apply(n);
	if (virtio_has(v, VIRTIO_NET_F_CTRL_VQ) && index == ctrl_index(n))
		vnet_handle_ctrl(n, index);
	else if (index >= 2 * n->s.pairs)
		return;
	else if (index % 2)
		vnet_transmit(n, index / 2);
	else
		vnet_handle_rx(n, index / 2);
}

static void read_config(struct virtio *v, uint32_t offset, void *p, uint32_t size)
{
	const struct virtio_net *n = v->opaque;
	uint8_t config[CONFIG_BYTES];

	memcpy(config, n->s.filter.mac, VNET_MAC_BYTES);
	config[6] = n->s.link_up ? VIRTIO_NET_S_LINK_UP : 0;
	config[7] = 0;
	config[8] = (uint8_t)n->h.max_pairs;
	config[9] = 0;
	config[10] = (uint8_t)n->h.mtu;
	config[11] = (uint8_t)(n->h.mtu >> 8);
	memcpy(p, config + offset, size);
}

static void driver_ok(struct virtio *v)
{
	struct virtio_net *n = v->opaque;

	n->s.guest_offloads = vnet_guest_offloads(n);
}

static void reset_card(struct virtio *v)
{
	struct virtio_net *n = v->opaque;

	vnet_filter_reset(&n->s.filter);
	n->s.guest_offloads = 0;
	n->s.pairs = 1;
	n->s.held_len = 0;
	memset(n->s.rx_seen, 0, sizeof(n->s.rx_seen));
	memset(n->h.tx_blocked, 0, sizeof(n->h.tx_blocked));
}

static const struct virtio_class card_class = {
	.device_id = VIRTIO_ID_NET,
	.pci_class = PCI_CLASS_ETHERNET,
	.features = BIT(VIRTIO_NET_F_MAC),
	.config_bytes = CONFIG_BYTES,
	.read_config = read_config,
	.handle_queue = handle_queue,
	.driver_ok = driver_ok,
	.reset = reset_card,
};

static void on_readable(void *opaque, unsigned int queue)
{
	struct virtio_net *n = opaque;

	if (queue < n->h.max_pairs)
		vnet_receive(n, queue);
}

static void on_writable(void *opaque, unsigned int queue)
{
	struct virtio_net *n = opaque;

	if (queue >= n->h.max_pairs || !n->h.tx_blocked[queue])
		return;
	n->h.tx_blocked[queue] = false;
	virtio_kick(&n->h.virtio, 2 * queue + 1);
}

static void on_link(void *opaque)
{
	struct virtio_net *n = opaque;

	if (n->s.link_up == net_link(n->h.net))
		return;
	n->s.link_up = net_link(n->h.net);
	if (virtio_has(&n->h.virtio, VIRTIO_NET_F_STATUS))
		virtio_notify_config(&n->h.virtio);
}

static const struct net_front front = { on_readable, on_writable, on_link };

static void net_reset(struct device *d)
{
	virtio_reset(&from_device(d)->h.virtio);
}

/* Nearly always there is no frame in it, and 70 KB need not be copied in a pause. */
static void copy_state(struct virtio_net_state *to, const struct virtio_net_state *from)
{
	memcpy(to, from, offsetof(struct virtio_net_state, held));
	memcpy(to->held, from->held, from->held_len);
}

static int net_capture(const struct device *d, void *state, struct err *e)
{
	const struct virtio_net *n = CONTAINER_OF(d, struct virtio_net, dev);
	int r = virtio_check_idle(&n->h.virtio, e);

	if (!r)
		copy_state(state, &n->s);
	return r;
}

static int net_apply(struct device *d, const void *state, struct err *e)
{
	(void)e;
	copy_state(&from_device(d)->s, state);
	return 0;
}

static int net_fits(const struct device *d, const void *state, struct err *e)
{
	const struct virtio_net *n = CONTAINER_OF(d, struct virtio_net, dev);
	const struct virtio_net_state *s = state;
	int r = virtio_fits(&n->h.virtio, &s->virtio, e);

	if (r)
		return r;
	if (s->pairs > n->h.max_pairs)
		return err_set(e, EINVAL, "%s has %u queue pairs in use in the state, %u here",
			       d->path, s->pairs, n->h.max_pairs);
	if (s->filter.nr_uni > s->filter.nr_macs)
		return err_set(e, EINVAL, "%s has more addresses of one kind than of all", d->path);
	if (s->guest_offloads & ~(s->virtio.features & GUEST_OFFLOADS))
		return err_set(e, EINVAL, "%s has offloads that were not negotiated", d->path);
	return 0;
}

static bool has_driver(const struct virtio_net *n)
{
	return n->s.virtio.status & VIRTIO_CONFIG_S_DRIVER_OK;
}

static void net_loaded(struct device *d)
{
	struct virtio_net *n = from_device(d);

	virtio_loaded(&n->h.virtio);
	/*
	 * What the kernel keeps for the descriptors is as the image before has set it for its driver;
	 * without a driver it is anything.
	 */
	if (net_is_given(n->h.net) && has_driver(n)) {
		n->h.applied_offloads = n->s.guest_offloads;
		n->h.applied_pairs = n->s.pairs;
	}
}

static void net_run_changed(struct device *d, bool running)
{
	struct virtio_net *n = from_device(d);

	/* The driver may have come when no queue was looked at any more. */
	if (!running && has_driver(n))
		vnet_apply(n);
	virtio_run_changed(&n->h.virtio, running);
	if (running)
		on_link(n);
	net_set_running(n->h.net, running);
}

static void net_destroy(struct device *d)
{
	struct virtio_net *n = from_device(d);

	net_attach(n->h.net, NULL, NULL);
	backend_release(n->h.backend);
	virtio_fini(&n->h.virtio);
	free(n);
}

static const struct device_class virtio_net_class = {
	.name = "virtio-net",
	.state = &virtio_net_desc,
	.state_offset = offsetof(struct virtio_net, s),
	.capture = net_capture,
	.apply = net_apply,
	.fits = net_fits,
	.loaded = net_loaded,
	.run_changed = net_run_changed,
	.reset = net_reset,
	.destroy = net_destroy,
};

static bool is_taken(const struct vm *vm, const uint8_t *mac)
{
	for (const struct list *pos = vm->devices.next; pos != &vm->devices; pos = pos->next) {
		struct device *d = CONTAINER_OF(pos, struct device, link);

		if (d->class == &virtio_net_class &&
		    !memcmp(from_device(d)->s.filter.perm_mac, mac, VNET_MAC_BYTES))
			return true;
	}
	return false;
}

/* QEMU's: 52:54:00:12:34:56 and those that follow. */
static void choose_mac(const struct vm *vm, const uint8_t *given, uint8_t *out)
{
	static const uint8_t zero[VNET_MAC_BYTES];
	uint8_t mac[VNET_MAC_BYTES] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };

	while (is_taken(vm, mac))
		mac[5]++;
	memcpy(out, memcmp(given, zero, sizeof(zero)) ? given : mac, VNET_MAC_BYTES);
}

/* The features of this card, without those of the class. */
static uint64_t features_of(const struct virtio_net_config_options *c, const struct net *net,
			    unsigned int pairs)
{
	const struct {
		bool on;
		unsigned int feature;
	} list[] = {
		{ c->csum, VIRTIO_NET_F_CSUM },
		{ c->guest_csum, VIRTIO_NET_F_GUEST_CSUM },
		{ c->ctrl_vq && c->ctrl_guest_offloads, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS },
		{ c->host_mtu, VIRTIO_NET_F_MTU },
		{ c->guest_csum && c->guest_tso4, VIRTIO_NET_F_GUEST_TSO4 },
		{ c->guest_csum && c->guest_tso6, VIRTIO_NET_F_GUEST_TSO6 },
		{ c->guest_csum && c->guest_ecn && (c->guest_tso4 || c->guest_tso6),
		  VIRTIO_NET_F_GUEST_ECN },
		{ c->csum && c->host_tso4, VIRTIO_NET_F_HOST_TSO4 },
		{ c->csum && c->host_tso6, VIRTIO_NET_F_HOST_TSO6 },
		{ c->csum && c->host_ecn && (c->host_tso4 || c->host_tso6), VIRTIO_NET_F_HOST_ECN },
		{ c->mrg_rxbuf, VIRTIO_NET_F_MRG_RXBUF },
		{ c->status, VIRTIO_NET_F_STATUS },
		{ c->ctrl_vq, VIRTIO_NET_F_CTRL_VQ },
		{ c->ctrl_vq && c->ctrl_rx, VIRTIO_NET_F_CTRL_RX },
		{ c->ctrl_vq && c->ctrl_rx, VIRTIO_NET_F_CTRL_RX_EXTRA },
		{ c->ctrl_vq && c->ctrl_mac_addr, VIRTIO_NET_F_CTRL_MAC_ADDR },
		{ c->ctrl_vq && pairs > 1, VIRTIO_NET_F_MQ },
	};
	uint64_t all = 0;

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (list[i].on)
			all |= BIT(list[i].feature);
	if (!net_offloads(net))
		all &= ~(GUEST_OFFLOADS | HOST_OFFLOADS | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS));
	return all;
}

static int check_options(const struct virtio_net_config_options *c, struct err *e)
{
	const uint64_t sizes[2] = { c->rx_queue_size, c->tx_queue_size };

	if (!c->netdev[0])
		return err_set(
			e, EINVAL,
			"Parameter 'netdev' is missing: the id of a -netdev that the card is "
			"connected to");
	if (c->host_mtu && c->host_mtu < MIN_MTU)
		return err_set(e, EINVAL, "host_mtu=%llu is less than %d",
			       (unsigned long long)c->host_mtu, MIN_MTU);
	for (unsigned int i = 0; i < 2; i++)
		if (sizes[i] & (sizes[i] - 1))
			return err_set(e, EINVAL, "%s_queue_size=%llu is no power of two",
				       i ? "tx" : "rx", (unsigned long long)sizes[i]);
	return 0;
}

static int init_card(struct virtio_net *n, struct vm *vm, const struct virtio_net_config_options *c,
		     struct err *e)
{
	unsigned int nr_queues;
	int r;

	choose_mac(vm, c->mac, n->s.filter.perm_mac);
	n->h.net = n->h.backend->object;
	n->h.max_pairs = c->mq && c->ctrl_vq ? net_queues(n->h.net) : 1;
	n->h.mtu = (uint16_t)c->host_mtu;
	n->h.applied_offloads = UINT64_MAX;
	n->h.virtio.opaque = n;
	n->h.virtio.nr_vectors = (int)c->vectors;
	nr_queues = 2 * n->h.max_pairs + (c->ctrl_vq ? 1 : 0);
	r = virtio_init(&n->h.virtio, vm, &n->dev, &n->s.virtio, &c->device, &card_class, nr_queues,
			(uint32_t)MAX(c->rx_queue_size, c->tx_queue_size),
			features_of(c, n->h.net, n->h.max_pairs), 0, e);
	for (unsigned int i = 0; !r && i < 2 * n->h.max_pairs; i++)
		n->h.virtio.queues[i].q.max_size =
			(uint32_t)(i % 2 ? c->tx_queue_size : c->rx_queue_size);
	if (!r && c->ctrl_vq)
		n->h.virtio.queues[nr_queues - 1].q.max_size = MIN_QUEUE_SIZE;
	return r;
}

static int create(struct vm *vm, const struct device_config *config, struct device **out,
		  struct err *e)
{
	const struct virtio_net_config_options *c =
		CONTAINER_OF(config, struct virtio_net_config_options, device);
	struct virtio_net *n;
	int r = check_options(c, e);

	if (r)
		return r;
	n = calloc(1, sizeof(*n));
	if (!n)
		return err_set(e, ENOMEM, "no memory for a network card");
	r = backend_claim(vm, BACKEND_NET, c->netdev, n->user, &n->h.backend, e);
	if (r) {
		free(n);
		return r;
	}
	r = init_card(n, vm, c, e);
	if (r) {
		backend_release(n->h.backend);
		free(n);
		return r;
	}
	snprintf(n->user, sizeof(n->user), "%s", n->dev.id[0] ? n->dev.id : n->dev.path);
	n->s.link_up = net_link(n->h.net);
	device_add(vm, &n->dev, &virtio_net_class);
	net_attach(n->h.net, &front, n);
	if (runstate_is_live(vm->runstate))
		net_run_changed(&n->dev, true);
	*out = &n->dev;
	return 0;
}

static void get_chosen(const struct device *d, struct device_config *config)
{
	struct virtio_net_config_options *c =
		CONTAINER_OF(config, struct virtio_net_config_options, device);

	memcpy(c->mac, CONTAINER_OF(d, struct virtio_net, dev)->s.filter.perm_mac, sizeof(c->mac));
}

#define OPTION(name_, kind_, ...)                                                        \
	{                                                                                \
		.name = #name_, .kind = (kind_),                                         \
		.offset = offsetof(struct virtio_net_config_options, name_), __VA_ARGS__ \
	}
#define SWITCH(name_, on_, help_) OPTION(name_, PROP_BOOL, .initial = (on_), .help = (help_))

static const struct prop options[] = {
	OPTION(netdev, PROP_STRING, .help = "id of the network back end"),
	OPTION(mac, PROP_MAC, .chosen = true,
	       .help = "Ethernet address; the next free one from 52:54:00:12:34:56"),
	SWITCH(mq, false, "as many queue pairs as the back end has"),
	OPTION(rx_queue_size, PROP_UINT, .min = MIN_QUEUE_SIZE, .max = VIRTQUEUE_MAX_SIZE,
	       .initial = 256, .help = "entries, a power of two"),
	OPTION(tx_queue_size, PROP_UINT, .min = MIN_QUEUE_SIZE, .max = VIRTQUEUE_MAX_SIZE,
	       .initial = 256, .help = "entries, a power of two"),
	OPTION(vectors, PROP_UINT, .max = PCI_MSIX_MAX,
	       .help = "MSI-X vectors; 0: one for each queue and one"),
	OPTION(host_mtu, PROP_UINT, .max = UINT16_MAX,
	       .help = "MTU the driver is to use; 0: its own"),
	SWITCH(csum, true, "the host completes checksums"),
	SWITCH(guest_csum, true, "the guest takes frames without"),
	SWITCH(host_tso4, true, "the host cuts TCP segments, IPv4"),
	SWITCH(host_tso6, true, "the same, IPv6"),
	SWITCH(host_ecn, true, "the same with ECN"),
	SWITCH(guest_tso4, true, "the guest takes long TCP segments, IPv4"),
	SWITCH(guest_tso6, true, "the same, IPv6"),
	SWITCH(guest_ecn, true, "the same with ECN"),
	SWITCH(mrg_rxbuf, true, "a frame may take several buffers"),
	SWITCH(status, true, "the driver sees whether the cable is plugged in"),
	SWITCH(ctrl_vq, true, "control queue"),
	SWITCH(ctrl_rx, true, "filter of received frames"),
	SWITCH(ctrl_mac_addr, true, "the driver may change the address"),
	SWITCH(ctrl_guest_offloads, true, "the driver may change what it takes"),
	{ .name = NULL },
};

static const struct device_class *const classes[] = { &virtio_net_class, &net_stream_class, NULL };

const struct device_type virtio_net_type = {
	.driver = "virtio-net-pci",
	.alias = "virtio-net",
	.bus = "PCI",
	.help = "virtio network card",
	.hotpluggable = true,
	.config_size = sizeof(struct virtio_net_config_options),
	.props = options,
	.classes = classes,
	.create = create,
	.unplug = pci_request_unplug,
	.get_chosen = get_chosen,
};
