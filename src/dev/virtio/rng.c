/* SPDX-License-Identifier: MIT */
/* virtio-rng (virtio 1.2, section 5.4): random bytes for the guest. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/virtio/rng.h"
#include "host/clock.h"
#include "host/random.h"
#include "machine/vm.h"

static const struct vs_field rng_fields[] = {
	VS_STRUCT(struct rng_state, virtio, &virtio_state_desc),
	VS_FIELD(struct rng_state, left),
	VS_END,
};

static const struct vs_desc rng_desc = {
	.name = "virtio-rng",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct rng_state),
	.fields = rng_fields,
};

static struct rng *to_rng(const struct device *d)
{
	return CONTAINER_OF(d, struct rng, dev);
}

static bool is_limited(const struct rng *g)
{
	return g->h.max_bytes < INT64_MAX;
}

/* The timer is the main loop's, as handle_queue() is. */
static void begin_period(struct rng *g)
{
	if (is_limited(g) && !g->h.timer.armed)
		loop_timer_set(g->dev.vm->loop, &g->h.timer, clock_boottime_ns() + g->h.period_ns);
}

static void end_period(void *opaque)
{
	struct rng *g = opaque;

	if (!g->h.virtio.running)
		return;
	g->s.left = g->h.max_bytes;
	virtio_kick(&g->h.virtio, 0);
}

/* At most @n bytes to what the driver wants written; how many there are. */
static uint32_t fill(const struct virtq_chain *c, uint64_t n)
{
	const struct iovec *iov = c->iov + c->nr_out;
	uint32_t done = 0;
	struct err e;

	for (unsigned int i = 0; i < c->nr_in && done < n; i++) {
		size_t len = MIN(iov[i].iov_len, n - done);

		if (random_fill(iov[i].iov_base, len, &e)) {
			log_error("virtio-rng: %s", e.msg);
			break;
		}
		done += (uint32_t)len;
	}
	return done;
}

static void handle_queue(struct virtio *v, unsigned int index)
{
	struct rng *g = v->opaque;
	struct virtqueue *q = &v->queues[index].q;
	struct virtq_chain c = { .iov = g->h.iov };
	bool any = false;
	struct err e;
	int r = 0;

	while (g->s.left && (r = virtqueue_pop(q, &c, &e)) > 0) {
		uint32_t n = fill(&c, MIN(g->s.left, (uint64_t)RNG_CHUNK));

		if (is_limited(g))
			g->s.left -= n;
		virtqueue_push(q, c.head, n);
		any = true;
	}
	if (any)
		virtio_notify(v, index);
	if (g->s.left < g->h.max_bytes)
		begin_period(g);
	if (r < 0)
		virtio_broken(v, &e);
}

static const struct virtio_class rng_virtio = {
	.device_id = VIRTIO_ID_RNG,
	.pci_class = 0x00ff00,
	.handle_queue = handle_queue,
};

static void rng_reset(struct device *d)
{
	struct rng *g = to_rng(d);

	g->s.left = g->h.max_bytes;
	virtio_reset(&g->h.virtio);
}

static int rng_fits(const struct device *d, const void *state, struct err *e)
{
	const struct rng_state *s = state;

	return virtio_fits(&to_rng(d)->h.virtio, &s->virtio, e);
}

static void rng_loaded(struct device *d)
{
	struct rng *g = to_rng(d);

	/* Another max-bytes than where the state comes from is no matter. */
	g->s.left = is_limited(g) ? MIN(g->s.left, g->h.max_bytes) : g->h.max_bytes;
	virtio_loaded(&g->h.virtio);
}

static void rng_run_changed(struct device *d, bool running)
{
	struct rng *g = to_rng(d);

	if (running && g->s.left < g->h.max_bytes)
		begin_period(g);
	else
		loop_timer_cancel(&g->h.timer);
	virtio_run_changed(&g->h.virtio, running);
}

static void rng_destroy(struct device *d)
{
	struct rng *g = to_rng(d);

	loop_timer_cancel(&g->h.timer);
	virtio_fini(&g->h.virtio);
	free(g);
}

const struct device_class rng_class = {
	.name = "virtio-rng",
	.state = &rng_desc,
	.state_offset = offsetof(struct rng, s),
	.fits = rng_fits,
	.loaded = rng_loaded,
	.run_changed = rng_run_changed,
	.reset = rng_reset,
	.destroy = rng_destroy,
};

static int rng_create(struct vm *vm, const struct device_config *config, struct device **out,
		      struct err *e)
{
	const struct rng_config *c = (const struct rng_config *)config;
	struct rng *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return err_set(e, ENOMEM, "no memory for a virtio-rng device");
	g->h.max_bytes = c->max_bytes;
	g->h.period_ns = c->period_ms * 1000000;
	loop_timer_init(&g->h.timer, end_period, g);
	g->h.virtio.opaque = g;
	virtio_configure(&g->h.virtio, &c->virtio);
	r = virtio_init(&g->h.virtio, vm, &g->dev, &g->s.virtio, config, &rng_virtio, 1,
			RNG_QUEUE_SIZE, 0, virtio_less(&c->virtio), e);
	if (r) {
		free(g);
		return r;
	}
	device_add(vm, &g->dev, &rng_class);
	*out = &g->dev;
	return 0;
}

static const struct prop rng_props[] = {
	VIRTIO_PROPS(struct rng_config),
	{ .name = "max-bytes",
	  .kind = PROP_UINT,
	  .offset = offsetof(struct rng_config, max_bytes),
	  .min = 1,
	  .max = INT64_MAX,
	  .initial = INT64_MAX,
	  .help = "random bytes in a period, at most" },
	{ .name = "period",
	  .kind = PROP_UINT,
	  .offset = offsetof(struct rng_config, period_ms),
	  .min = 1,
	  .max = UINT32_MAX,
	  .initial = 65536,
	  .help = "the period of max-bytes, in milliseconds" },
	{ .name = NULL },
};

static const struct device_class *const rng_classes[] = { &rng_class, NULL };

const struct device_type rng_type = {
	.driver = "virtio-rng-pci",
	.alias = "virtio-rng",
	.bus = "PCI",
	.help = "random numbers",
	.hotpluggable = true,
	.config_size = sizeof(struct rng_config),
	.props = rng_props,
	.classes = rng_classes,
	.create = rng_create,
	.unplug = pci_request_unplug,
};
