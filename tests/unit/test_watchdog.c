/* SPDX-License-Identifier: MIT */
/* The watchdog: its registers, its two stages on a made-up clock, and what it survives. */
#include "dev/pci/i6300esb.h"
#include "machine/watchdog.h"
#include "pci_fixture.h"

#define DEVFN   (4 << 3)
#define BASE    UINT64_C(0xe0000000)
#define RELOAD  (BASE + 0xc)
#define CONFIG  0x60
#define LOCK    0x68
#define SLOW_NS (UINT64_C(30) << 15)
#define FAST_NS (UINT64_C(30) << 5)

struct fixture {
	struct pci_fixture pci;
	struct i6300esb *w;
	struct ptimer_clock clock;
	uint64_t now, alarm; /* 0: none */
};

static uint64_t fake_now(void *opaque)
{
	return ((struct fixture *)opaque)->now;
}

static void fake_set(void *opaque, uint64_t at_ns)
{
	((struct fixture *)opaque)->alarm = at_ns;
}

static void fake_cancel(void *opaque)
{
	((struct fixture *)opaque)->alarm = 0;
}

static void ignore_request(void *opaque)
{
	(void)opaque;
}

static void init(struct fixture *f, uint64_t now)
{
	struct device_config config = { .addr = DEVFN };
	struct device *d;
	struct err e;

	pci_fixture_init(&f->pci);
	loop_work_init(&f->pci.vm.request_work, ignore_request, NULL);
	f->now = now;
	f->alarm = 0;
	f->clock = (struct ptimer_clock){
		.now_ns = fake_now, .set_alarm = fake_set, .cancel_alarm = fake_cancel, .opaque = f
	};
	if (i6300esb_type.create(&f->pci.vm, &config, &d, &e))
		fail_msg("%s", e.msg);
	f->w = CONTAINER_OF(d, struct i6300esb, dev);
	f->w->h.timer.clock = f->w->h.clock = &f->clock;
}

static void fini(struct fixture *f)
{
	loop_work_cancel(f->pci.vm.loop, &f->pci.vm.request_work);
	pci_fixture_fini(&f->pci);
}

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	init(f, 1000000);
	i6300esb_class.reset(&f->w->dev);
	cfg_set(&f->pci, DEVFN, PCI_BAR0, 4, BASE);
	cfg_set(&f->pci, DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	i6300esb_class.run_changed(&f->w->dev, true);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fini(*state);
	free(*state);
	return 0;
}

static void set(struct fixture *f, uint64_t reg, unsigned int size, uint64_t v)
{
	bus_set(&f->pci.vm.mmio, RELOAD, 2, 0x80);
	bus_set(&f->pci.vm.mmio, RELOAD, 2, 0x86);
	bus_set(&f->pci.vm.mmio, reg, size, v);
}

static void feed(struct fixture *f)
{
	set(f, RELOAD, 2, 0x100);
}

/* As Linux does: two stages of so many ticks. */
static void start(struct fixture *f, uint32_t first, uint32_t second)
{
	set(f, BASE, 4, first);
	set(f, BASE + 4, 4, second);
	feed(f);
	cfg_set(&f->pci, DEVFN, LOCK, 1, 2);
}

/* Time passes, and the clock rings when it should. */
static void pass(struct fixture *f, uint64_t ns)
{
	uint64_t until = f->now + ns;

	while (f->alarm && f->alarm <= until) {
		f->now = MAX(f->now, f->alarm);
		f->alarm = 0;
		ptimer_alarm(&f->w->h.timer);
	}
	f->now = until;
}

static bool expired(struct fixture *f)
{
	bool v = f->pci.vm.watchdog_expired;

	f->pci.vm.watchdog_expired = false;
	return v;
}

static void every_byte_of_the_state_is_in_the_table(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(i6300esb_class.state, &e), 0);
}

static void guest_finds_intels_timer(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cfg_get(&f->pci, DEVFN, 0, 4), 0x25ab8086);
	assert_int_equal(cfg_get(&f->pci, DEVFN, 0x0a, 2), 0x0880);
	assert_int_equal(find_cap(&f->pci, DEVFN, PCI_CAP_EXPRESS), 0);
	cfg_set(&f->pci, DEVFN, CONFIG, 2, 0xffff);
	assert_int_equal(cfg_get(&f->pci, DEVFN, CONFIG, 2), 0x27);
}

static void runs_out_after_both_stages_and_not_before(void **state)
{
	struct fixture *f = *state;

	start(f, 1000, 500);
	pass(f, 1500 * SLOW_NS - 1);
	assert_false(expired(f));
	pass(f, 1 + PTIMER_MIN_ALARM_NS);
	assert_true(expired(f));
	/* It is off then, and says what it did. */
	assert_int_equal(bus_get(&f->pci.vm.mmio, RELOAD, 2), 0x1200);
	assert_int_equal(cfg_get(&f->pci, DEVFN, LOCK, 1), 0);
	pass(f, UINT64_C(1) << 40);
	assert_false(expired(f));
}

static void feeding_puts_it_off_from_either_stage(void **state)
{
	struct fixture *f = *state;

	start(f, 1000, 1000);
	for (int i = 0; i < 20; i++) {
		pass(f, (i % 2 ? 1999 : 999) * SLOW_NS);
		feed(f);
	}
	assert_false(expired(f));
	pass(f, 2001 * SLOW_NS);
	assert_true(expired(f));
}

static void ticks_are_fast_if_asked_for(void **state)
{
	struct fixture *f = *state;

	cfg_set(&f->pci, DEVFN, CONFIG, 2, 4);
	start(f, 100000, 100000);
	pass(f, 200000 * FAST_NS - 1);
	assert_false(expired(f));
	pass(f, 2 * PTIMER_MIN_ALARM_NS);
	assert_true(expired(f));
}

static void registers_change_only_behind_the_lock(void **state)
{
	struct fixture *f = *state;

	bus_set(&f->pci.vm.mmio, BASE, 4, 5);
	bus_set(&f->pci.vm.mmio, RELOAD, 2, 0x86);
	bus_set(&f->pci.vm.mmio, BASE, 4, 5);
	bus_set(&f->pci.vm.mmio, RELOAD, 2, 0x80);
	bus_set(&f->pci.vm.mmio, BASE, 4, 5);
	assert_int_equal(f->w->s.preload1, 0xfffff);
	set(f, BASE, 4, 0xfff00005);
	assert_int_equal(f->w->s.preload1, 5);
	/* One write for each time it is unlocked. */
	bus_set(&f->pci.vm.mmio, BASE + 4, 4, 5);
	assert_int_equal(f->w->s.preload2, 0xfffff);
}

static void what_is_locked_cannot_be_turned_off(void **state)
{
	struct fixture *f = *state;

	start(f, 10, 10);
	cfg_set(&f->pci, DEVFN, LOCK, 1, 3);
	cfg_set(&f->pci, DEVFN, LOCK, 1, 0);
	assert_int_equal(cfg_get(&f->pci, DEVFN, LOCK, 1), 3);
	pass(f, 21 * SLOW_NS);
	assert_true(expired(f));
}

static void turned_off_it_stands_still(void **state)
{
	struct fixture *f = *state;

	start(f, 10, 10);
	cfg_set(&f->pci, DEVFN, LOCK, 1, 0);
	pass(f, 100 * SLOW_NS);
	assert_false(expired(f));
	feed(f);
	pass(f, 100 * SLOW_NS);
	assert_false(expired(f));
}

static void without_an_action_it_begins_again_if_told_to(void **state)
{
	struct fixture *f = *state;

	cfg_set(&f->pci, DEVFN, CONFIG, 2, 0x20);
	start(f, 10, 10);
	pass(f, 1000 * SLOW_NS);
	assert_false(ptimer_is_running(&f->w->h.timer));
	cfg_set(&f->pci, DEVFN, LOCK, 1, 0);
	cfg_set(&f->pci, DEVFN, LOCK, 1, 6);
	pass(f, 1000 * SLOW_NS);
	assert_false(expired(f));
	assert_true(ptimer_is_running(&f->w->h.timer));
}

static void that_it_ran_out_outlives_a_reset_until_it_is_cleared(void **state)
{
	struct fixture *f = *state;

	start(f, 1, 1);
	pass(f, 10 * SLOW_NS);
	assert_true(expired(f));
	i6300esb_class.reset(&f->w->dev);
	cfg_set(&f->pci, DEVFN, PCI_BAR0, 4, BASE);
	cfg_set(&f->pci, DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(bus_get(&f->pci.vm.mmio, RELOAD, 2), 0x1200);
	set(f, RELOAD, 2, 0x200);
	assert_int_equal(bus_get(&f->pci.vm.mmio, RELOAD, 2), 0);
}

static void time_stands_still_while_the_guest_does(void **state)
{
	struct fixture *f = *state;

	start(f, 1000, 1000);
	for (int i = 0; i < 10; i++) {
		pass(f, 199 * SLOW_NS);
		i6300esb_class.run_changed(&f->w->dev, false);
		assert_int_equal(f->alarm, 0);
		pass(f, UINT64_C(3600000000000));
		i6300esb_class.run_changed(&f->w->dev, true);
	}
	assert_false(expired(f));
	pass(f, 10 * SLOW_NS - 1);
	assert_false(expired(f));
	pass(f, 2 * PTIMER_MIN_ALARM_NS);
	assert_true(expired(f));
}

/* The clock of the other host shows another time. */
static void count_goes_on_to_the_nanosecond_in_another_process(void **state)
{
	static const uint64_t clocks[] = { 2000000, 3000000, UINT64_C(1) << 50 };
	struct fixture *f = *state;

	start(f, 1000, 700);
	pass(f, 1234 * SLOW_NS + 567);
	i6300esb_class.run_changed(&f->w->dev, false);
	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
		struct fixture *to = malloc(sizeof(*to));
		const struct vs_desc *d = i6300esb_class.state;
		AUTO_BUF wire = { 0 };
		struct i6300esb_state s;
		struct cursor c;
		struct err e;

		init(to, clocks[i]);
		vs_encode(d, &f->w->s, &wire, NULL);
		cursor_init(&c, wire.data, wire.len);
		assert_int_equal(vs_decode(d, d->version, &c, &s, &e), 0);
		if (i6300esb_class.fits(&to->w->dev, &s, &e))
			fail_msg("%s", e.msg);
		to->w->s = s;
		i6300esb_class.loaded(&to->w->dev);
		pass(to, 12345);
		i6300esb_class.run_changed(&to->w->dev, true);
		assert_true(to->alarm != 0);
		assert_int_equal(to->alarm - to->now, (1700 - 1234) * SLOW_NS - 567);
		pass(to, (1700 - 1234) * SLOW_NS - 568);
		assert_false(expired(to));
		pass(to, 1);
		assert_true(expired(to));
		fini(to);
		free(to);
	}
}

static void wild_accesses_and_states_do_no_harm(void **state)
{
	struct fixture *f = *state;

	srandom(3);
	for (int i = 0; i < 100000; i++) {
		unsigned int size = 1u << random() % 3;
		uint64_t at = BASE + (uint64_t)random() % 20;

		switch (random() % 8) {
		case 0:
			bus_get(&f->pci.vm.mmio, at, size);
			break;
		case 1:
			cfg_set(&f->pci, DEVFN, LOCK & ~3u, 4, (uint32_t)random());
			break;
		case 2:
			cfg_set(&f->pci, DEVFN, CONFIG, 2, (uint32_t)random());
			break;
		case 3:
			pass(f, (uint64_t)random() << random() % 12);
			break;
		case 4:
			set(f, at & ~UINT64_C(3), 4, (uint64_t)random() % 64);
			break;
		case 5:
			feed(f);
			break;
		case 6:
			i6300esb_class.run_changed(&f->w->dev, random() % 2);
			break;
		default:
			bus_set(&f->pci.vm.mmio, at, size, (uint64_t)random());
			break;
		}
		if (random() % 5000)
			continue;
		for (size_t k = 0; k < sizeof(f->w->s.timer); k++)
			((uint8_t *)&f->w->s.timer)[k] = (uint8_t)random();
		f->w->s.timer.mode %= 3;
		f->w->s.timer.rate_den |= 1;
		f->w->s.timer.rate_num |= 1;
		f->w->s.paused_ns = (uint64_t)random() << 33;
		i6300esb_class.loaded(&f->w->dev);
	}
}

static void actions_have_names(void **state)
{
	enum watchdog_action a;

	(void)state;
	for (int i = 0; i < WATCHDOG_ACTIONS; i++) {
		assert_true(
			watchdog_action_parse(watchdog_action_name((enum watchdog_action)i), &a));
		assert_int_equal(a, i);
	}
	assert_false(watchdog_action_parse("inject-nmi", &a));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_byte_of_the_state_is_in_the_table),
		TEST(guest_finds_intels_timer),
		TEST(runs_out_after_both_stages_and_not_before),
		TEST(feeding_puts_it_off_from_either_stage),
		TEST(ticks_are_fast_if_asked_for),
		TEST(registers_change_only_behind_the_lock),
		TEST(what_is_locked_cannot_be_turned_off),
		TEST(turned_off_it_stands_still),
		TEST(without_an_action_it_begins_again_if_told_to),
		TEST(that_it_ran_out_outlives_a_reset_until_it_is_cleared),
		TEST(time_stands_still_while_the_guest_does),
		TEST(count_goes_on_to_the_nanosecond_in_another_process),
		TEST(wild_accesses_and_states_do_no_harm),
		TEST(actions_have_names),
	};

	return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}
