/* SPDX-License-Identifier: MIT */
/* A watchdog: the timer of Intel's 6300ESB, as a PCI function. */
#include <errno.h>

#include "base/util.h"
#include "dev/pci/i6300esb.h"
#include "machine/vm.h"
#include "machine/watchdog.h"

enum {
	VENDOR_INTEL = 0x8086,
	DEVICE_6300ESB = 0x25ab,
	CLASS_SYSTEM_OTHER = 0x088000,

	CONFIG = 0x60,
	CONFIG_MASK = 0x27,
	CONFIG_FAST = 1 << 2,
	CONFIG_NO_ACTION = 1 << 5,
	LOCK = 0x68,
	LOCK_LOCKED = 1 << 0,
	LOCK_ENABLED = 1 << 1,
	LOCK_FREE_RUN = 1 << 2,
	LOCK_MASK = LOCK_LOCKED | LOCK_ENABLED | LOCK_FREE_RUN,

	BAR_BYTES = 16,
	REG_PRELOAD1 = 0x0,
	REG_PRELOAD2 = 0x4,
	REG_RELOAD = 0xc,
	RELOAD_FEED = 1 << 8,
	RELOAD_RAN_OUT = 1 << 9,
	RELOAD_RAN_OUT_READ = 1 << 9 | 1 << 12, /* Linux looks at the upper one */
	UNLOCK_FIRST = 0x80,
	UNLOCK_SECOND = 0x86,

	PRELOAD_MAX = 0xfffff,
	TICK_NS = 30,
	SLOW_SHIFT = 15,
	FAST_SHIFT = 5,
};

static const struct i6300esb_state i6300esb_reset_state = {
	.timer = { .rate_num = 1, .rate_den = 1 },
	.preload1 = PRELOAD_MAX,
	.preload2 = PRELOAD_MAX,
	.stage = 1,
};

static const struct vs_field i6300esb_fields[] = {
	VS_STRUCT(struct i6300esb_state, pci, &pci_state_desc),
	VS_STRUCT(struct i6300esb_state, timer, &ptimer_state_desc),
	VS_FIELD(struct i6300esb_state, paused_ns),
	VS_FIELD_RANGE(struct i6300esb_state, preload1, 0, PRELOAD_MAX),
	VS_FIELD_RANGE(struct i6300esb_state, preload2, 0, PRELOAD_MAX),
	VS_FIELD_RANGE(struct i6300esb_state, stage, 1, 2),
	VS_FIELD_RANGE(struct i6300esb_state, unlock, 0, 2),
	VS_FIELD_RANGE(struct i6300esb_state, lock, 0, LOCK_MASK),
	VS_FIELD_RANGE(struct i6300esb_state, ran_out, 0, 1),
	VS_END,
};

static const struct vs_desc i6300esb_desc = {
	.name = "i6300esb",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct i6300esb_state),
	.reset = &i6300esb_reset_state,
	.fields = i6300esb_fields,
};

static struct i6300esb *to_i6300esb(struct device *d)
{
	return CONTAINER_OF(d, struct i6300esb, dev);
}

static void start_stage(struct i6300esb *w, uint32_t stage)
{
	uint8_t config = pci_get8(&w->h.pci, CONFIG);
	uint32_t preload = stage == 1 ? w->s.preload1 : w->s.preload2;

	ptimer_set_period_ns(&w->h.timer,
			     (uint64_t)TICK_NS << (config & CONFIG_FAST ? FAST_SHIFT : SLOW_SHIFT));
	ptimer_set_limit(&w->h.timer, MAX(preload, 1u), true);
	ptimer_start(&w->h.timer, true);
	w->s.stage = stage;
}

/* A stopped timer has nothing to deliver while it is set up. */
static void feed(struct i6300esb *w)
{
	ptimer_stop(&w->h.timer);
	if (w->s.lock & LOCK_ENABLED)
		start_stage(w, 1);
}

static void turn_off(struct i6300esb *w)
{
	struct i6300esb_state *s = &w->s;

	ptimer_stop(&w->h.timer);
	s->preload1 = s->preload2 = PRELOAD_MAX;
	s->stage = 1;
	s->unlock = 0;
	s->lock = 0;
	s->pci.config[CONFIG] = 0;
	s->pci.config[LOCK] = 0;
}

static void stage_ends(void *opaque, uint64_t n)
{
	struct i6300esb *w = opaque;

	(void)n;
	if (w->s.stage == 1) {
		start_stage(w, 2);
		return;
	}
	if (!(pci_get8(&w->h.pci, CONFIG) & CONFIG_NO_ACTION)) {
		turn_off(w);
		w->s.ran_out = 1;
		watchdog_expired(w->dev.vm);
	} else if (w->s.lock & LOCK_FREE_RUN) {
		start_stage(w, 1);
	}
}

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct i6300esb *w = opaque;
	uint64_t v = 0;

	(void)size;
	ptimer_sync(&w->h.timer);
	if (offset >= REG_RELOAD && w->s.ran_out)
		v = RELOAD_RAN_OUT_READ;
	return v >> 8 * (offset % 4);
}

static void write_unlocked(struct i6300esb *w, uint64_t offset, unsigned int size, uint64_t value)
{
	if (offset == REG_PRELOAD1 && size == 4)
		w->s.preload1 = value & PRELOAD_MAX;
	else if (offset == REG_PRELOAD2 && size == 4)
		w->s.preload2 = value & PRELOAD_MAX;
	else if (offset == REG_RELOAD && size >= 2) {
		if (value & RELOAD_RAN_OUT)
			w->s.ran_out = 0;
		if (value & RELOAD_FEED)
			feed(w);
	}
}

static void bar_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct i6300esb *w = opaque;
	struct i6300esb_state *s = &w->s;

	ptimer_sync(&w->h.timer);
	if (offset == REG_RELOAD && value == UNLOCK_FIRST) {
		s->unlock = 1;
	} else if (offset == REG_RELOAD && value == UNLOCK_SECOND && s->unlock == 1) {
		s->unlock = 2;
	} else {
		if (s->unlock == 2)
			write_unlocked(w, offset, size, value);
		s->unlock = 0;
	}
}

static void config_written(struct pci_function *f, unsigned int offset, unsigned int size)
{
	struct i6300esb *w = CONTAINER_OF(f, struct i6300esb, h.pci);
	struct i6300esb_state *s = &w->s;
	uint32_t old = s->lock;

	if (offset > LOCK || offset + size <= LOCK)
		return;
	if (old & LOCK_LOCKED) {
		s->pci.config[LOCK] = (uint8_t)old;
		return;
	}
	s->lock = s->pci.config[LOCK] & LOCK_MASK;
	if (!(old & LOCK_ENABLED) || !(s->lock & LOCK_ENABLED))
		feed(w);
}

static int i6300esb_fits(const struct device *d, const void *state, struct err *e)
{
	const struct i6300esb *w = CONTAINER_OF(d, struct i6300esb, dev);
	const struct i6300esb_state *s = state;

	return pci_check_state(&w->h.pci, &s->pci, e);
}

static void i6300esb_loaded(struct device *d)
{
	struct i6300esb *w = to_i6300esb(d);

	pci_loaded(&w->h.pci);
	ptimer_loaded(&w->h.timer);
}

static void i6300esb_run_changed(struct device *d, bool running)
{
	struct i6300esb *w = to_i6300esb(d);
	uint64_t now = w->h.clock->now_ns(w->h.clock->opaque);

	/* From the tick under way on, so that the times in the state are short before the stop. */
	if (!running)
		ptimer_set_limit(&w->h.timer, w->s.timer.limit, false);
	else if (w->s.paused_ns)
		ptimer_rebase(&w->s.timer, (int64_t)(now - w->s.paused_ns));
	w->s.paused_ns = running ? 0 : now;
	ptimer_run_changed(&w->h.timer, running);
}

/* That it ran out is for the system that comes then. */
static void i6300esb_reset(struct device *d)
{
	struct i6300esb *w = to_i6300esb(d);

	turn_off(w);
	pci_reset(&w->h.pci);
}

static void i6300esb_destroy(struct device *d)
{
	struct i6300esb *w = to_i6300esb(d);

	ptimer_loop_fini(&w->h.loop);
	pci_function_fini(&w->h.pci);
	free(w);
}

const struct device_class i6300esb_class = {
	.name = "i6300esb",
	.state = &i6300esb_desc,
	.state_offset = offsetof(struct i6300esb, s),
	.fits = i6300esb_fits,
	.loaded = i6300esb_loaded,
	.run_changed = i6300esb_run_changed,
	.reset = i6300esb_reset,
	.destroy = i6300esb_destroy,
};

static int i6300esb_create(struct vm *vm, const struct device_config *config, struct device **out,
			   struct err *e)
{
	static const struct pci_ident ident = {
		.vendor = VENDOR_INTEL,
		.device = DEVICE_6300ESB,
		.class_code = CLASS_SYSTEM_OTHER,
		.conventional = true,
	};
	const struct io_region region = {
		.name = "i6300esb",
		.size = BAR_BYTES,
		.min_size = 1,
		.max_size = 4,
		.read = bar_read,
		.write = bar_write,
	};
	struct i6300esb *w = calloc(1, sizeof(*w));
	struct io_region own = region;
	int r;

	if (!w)
		return err_set(e, ENOMEM, "no memory for a watchdog");
	r = pci_function_init(&w->h.pci, vm, &w->dev, &w->s.pci, config, &ident, e);
	if (r) {
		free(w);
		return r;
	}
	own.opaque = w;
	pci_add_bar(&w->h.pci, 0, PCI_BAR_MEM32, BAR_BYTES, &own);
	pci_set_initial16(&w->h.pci, CONFIG, 0, CONFIG_MASK);
	pci_set_initial8(&w->h.pci, LOCK, 0, LOCK_MASK);
	w->h.pci.config_written = config_written;
	ptimer_loop_init(&w->h.loop, vm->loop, &w->h.timer);
	w->h.clock = &w->h.loop.clock;
	ptimer_init(&w->h.timer, &w->s.timer, w->h.clock, stage_ends, w);
	w->s.preload1 = w->s.preload2 = PRELOAD_MAX;
	w->s.stage = 1;
	device_add(vm, &w->dev, &i6300esb_class);
	*out = &w->dev;
	return 0;
}

static const struct device_class *const i6300esb_classes[] = { &i6300esb_class, NULL };

const struct device_type i6300esb_type = {
	.driver = "i6300esb",
	.bus = "PCI",
	.help = "watchdog, see -action watchdog=",
	.config_size = sizeof(struct device_config),
	.classes = i6300esb_classes,
	.create = i6300esb_create,
	.unplug = pci_request_unplug,
};
