/* SPDX-License-Identifier: MIT */
/* virtio network card: which received frames the driver wants (virtio 1.2, section 5.1.6.5). */
#include <linux/virtio_net.h>
#include <string.h>

#include "base/util.h"
#include "dev/virtio/net_impl.h"

static const struct vs_field filter_fields[] = {
	VS_BUFFER(struct vnet_filter, mac),
	VS_BUFFER(struct vnet_filter, perm_mac),
	VS_FIELD(struct vnet_filter, promisc),
	VS_FIELD(struct vnet_filter, allmulti),
	VS_FIELD(struct vnet_filter, alluni),
	VS_FIELD(struct vnet_filter, nomulti),
	VS_FIELD(struct vnet_filter, nouni),
	VS_FIELD(struct vnet_filter, nobcast),
	VS_FIELD(struct vnet_filter, many_uni),
	VS_FIELD(struct vnet_filter, many_multi),
	VS_FIELD_RANGE(struct vnet_filter, nr_macs, 0, VNET_MAX_MACS),
	VS_FIELD_RANGE(struct vnet_filter, nr_uni, 0, VNET_MAX_MACS),
	VS_BUFFER(struct vnet_filter, macs),
	VS_END,
};

const struct vs_desc vnet_filter_desc = {
	.name = "virtio-net/filter",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vnet_filter),
	.fields = filter_fields,
};

void vnet_filter_reset(struct vnet_filter *f)
{
	struct vnet_filter fresh = { .promisc = true };

	memcpy(fresh.perm_mac, f->perm_mac, sizeof(fresh.perm_mac));
	memcpy(fresh.mac, f->perm_mac, sizeof(fresh.mac));
	*f = fresh;
}

static bool is_listed(const struct vnet_filter *f, uint32_t from, uint32_t to, const uint8_t *mac)
{
	for (uint32_t i = from; i < to; i++)
		if (!memcmp(f->macs + VNET_MAC_BYTES * (size_t)i, mac, VNET_MAC_BYTES))
			return true;
	return false;
}

bool vnet_filter_passes(const struct vnet_filter *f, const uint8_t *to)
{
	static const uint8_t broadcast[VNET_MAC_BYTES] = { 255, 255, 255, 255, 255, 255 };

	if (f->promisc)
		return true;
	if (!memcmp(to, broadcast, sizeof(broadcast)))
		return !f->nobcast;
	if (to[0] & 1)
		return !f->nomulti &&
		       (f->allmulti || f->many_multi || is_listed(f, f->nr_uni, f->nr_macs, to));
	return !f->nouni && (f->alluni || f->many_uni || !memcmp(to, f->mac, VNET_MAC_BYTES) ||
			     is_listed(f, 0, f->nr_uni, to));
}

/* A list of addresses behind its length; false if it does not fit in. */
static bool take_list(const uint8_t **p, size_t *n, const uint8_t **list, uint32_t *nr)
{
	uint32_t count;

	if (*n < 4)
		return false;
	count = (*p)[0] | (uint32_t)(*p)[1] << 8 | (uint32_t)(*p)[2] << 16 |
		(uint32_t)(*p)[3] << 24;
	if (count > (*n - 4) / VNET_MAC_BYTES)
		return false;
	*list = *p + 4;
	*nr = count;
	*p += 4 + (size_t)count * VNET_MAC_BYTES;
	*n -= 4 + (size_t)count * VNET_MAC_BYTES;
	return true;
}

static bool set_table(struct vnet_filter *f, const uint8_t *p, size_t n)
{
	const uint8_t *uni, *multi;
	uint32_t nr_uni, nr_multi;

	if (!take_list(&p, &n, &uni, &nr_uni) || !take_list(&p, &n, &multi, &nr_multi) || n)
		return false;
	f->many_uni = nr_uni > VNET_MAX_MACS;
	if (f->many_uni)
		nr_uni = 0;
	f->many_multi = nr_multi > VNET_MAX_MACS - nr_uni;
	if (f->many_multi)
		nr_multi = 0;
	memset(f->macs, 0, sizeof(f->macs));
	memcpy(f->macs, uni, (size_t)nr_uni * VNET_MAC_BYTES);
	memcpy(f->macs + (size_t)nr_uni * VNET_MAC_BYTES, multi, (size_t)nr_multi * VNET_MAC_BYTES);
	f->nr_uni = nr_uni;
	f->nr_macs = nr_uni + nr_multi;
	return true;
}

static bool set_mode(struct vnet_filter *f, uint8_t command, const uint8_t *p, size_t n)
{
	bool *const modes[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
	};

	if (command >= ARRAY_SIZE(modes) || n != 1)
		return false;
	*modes[command] = p[0];
	return true;
}

bool vnet_filter_command(struct vnet_filter *f, uint8_t class, uint8_t command, const uint8_t *p,
			 size_t n)
{
	if (class == VIRTIO_NET_CTRL_RX)
		return set_mode(f, command, p, n);
	if (class == VIRTIO_NET_CTRL_MAC && command == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return set_table(f, p, n);
	if (class != VIRTIO_NET_CTRL_MAC || command != VIRTIO_NET_CTRL_MAC_ADDR_SET ||
	    n != VNET_MAC_BYTES)
		return false;
	memcpy(f->mac, p, VNET_MAC_BYTES);
	return true;
}
