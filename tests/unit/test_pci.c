/* SPDX-License-Identifier: MIT */
/* PCI functions as their guest sees them: configuration space, BARs, interrupts, state. */
#include "pci_fixture.h"

enum {
	TOY = 3 << 3, /* devfn */
};

static int setup(void **state)
{
	struct pci_fixture *f = malloc(sizeof(*f));

	pci_fixture_init(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	pci_fixture_fini(*state);
	free(*state);
	return 0;
}

static void the_header_says_what_it_is(void **state)
{
	struct pci_fixture *f = *state;
	struct toy *t = toy_add(f, "t0", "", TOY);
	unsigned int cap;

	assert_string_equal(t->dev.path, "0000:00:03.0");
	assert_string_equal(t->dev.id, "t0");
	assert_int_equal(cfg_get(f, 0, 0, 4), 0x00081b36);
	assert_int_equal(cfg_get(f, 0, 0x0a, 2), 0x0600);
	assert_int_equal(cfg_get(f, TOY, 0, 4), 0x00ff1b36);
	assert_int_equal(cfg_get(f, TOY, 8, 4), 0xff010202);
	assert_int_equal(cfg_get(f, TOY, 0x2c, 4), 0x11001af4);
	assert_int_equal(cfg_get(f, TOY, 0x3d, 1), 1);
	assert_true(cfg_get(f, TOY, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES);
	cap = find_cap(f, TOY, PCI_CAP_EXPRESS);
	assert_int_equal(cfg_get(f, TOY, cap + PCI_EXP_FLAGS, 2), 0x92);
	assert_int_not_equal(find_cap(f, TOY, PCI_CAP_MSIX), 0);
	/* What is constant stays. */
	for (unsigned int reg = 0; reg < 4096; reg += 4)
		cfg_set(f, TOY, reg, 4, 0xffffffff);
	assert_int_equal(cfg_get(f, TOY, 0, 4), 0x00ff1b36);
	assert_int_equal(find_cap(f, TOY, PCI_CAP_EXPRESS), cap);
	assert_int_equal(cfg_get(f, TOY, 0x100, 4), 0);
	for (unsigned int reg = 0; reg < 4096; reg += 4)
		cfg_set(f, 0, reg, 4, 0xffffffff);
	assert_int_equal(cfg_get(f, 0, 4, 2), 6);
	assert_memory_equal(f->vm.pci->h.config.config, f->vm.pci->h.function.initial, 256);
}

static void ports_and_window_reach_the_same_registers(void **state)
{
	struct pci_fixture *f = *state;
	struct toy *t = toy_add(f, "t0", "", TOY);
	struct io_bus *pio = &f->vm.pio;

	bus_set(pio, 0xcf8, 4, 0x80000000 | TOY << 8 | 0x2c);
	assert_int_equal(bus_get(pio, 0xcf8, 4), 0x80000000 | TOY << 8 | 0x2c);
	assert_int_equal(bus_get(pio, 0xcfc, 4), 0x11001af4);
	assert_int_equal(bus_get(pio, 0xcfe, 2), 0x1100);
	assert_int_equal(bus_get(pio, 0xcff, 1), 0x11);
	/* Bytes at the address port are others': the reset control has the second. */
	bus_set(pio, 0xcf9, 1, 2);
	assert_int_equal(bus_get(pio, 0xcf9, 1), 2);
	bus_set(pio, 0xcf8, 1, 0x55);
	bus_set(pio, 0xcf8, 2, 0x5555);
	assert_int_equal(bus_get(pio, 0xcf8, 4), 0x80000000 | TOY << 8 | 0x2c);
	bus_set(pio, 0xcf8, 4, 0xffffffff);
	assert_int_equal(bus_get(pio, 0xcf8, 4), 0x80fffffc);
	assert_int_equal(bus_get(pio, 0xcfc, 4), 0xffffffff);
	/* Nobody is there. */
	bus_set(pio, 0xcf8, 4, 0x80000000 | (TOY + 8) << 8);
	assert_int_equal(bus_get(pio, 0xcfc, 4), 0xffffffff);
	bus_set(pio, 0xcf8, 4, TOY << 8);
	assert_int_equal(bus_get(pio, 0xcfc, 4), 0xffffffff);
	assert_int_equal(bus_get(&f->vm.mmio, ecam_address(255, 255, 0), 4), 0xffffffff);
	/* Written by one, read by the other. */
	bus_set(pio, 0xcf8, 4, 0x80000000 | TOY << 8 | PCI_INTERRUPT_LINE);
	bus_set(pio, 0xcfc, 1, 0x2a);
	assert_int_equal(cfg_get(f, TOY, PCI_INTERRUPT_LINE, 1), 0x2a);
	/* A reset forgets both. */
	toy_class.reset(&t->dev);
	assert_int_equal(cfg_get(f, TOY, PCI_INTERRUPT_LINE, 1), 0);
	pci_host_class.reset(&f->vm.pci->dev);
	assert_int_equal(bus_get(pio, 0xcf8, 4), 0);
}

static void put_bar(struct pci_fixture *f, unsigned int devfn, uint64_t addr)
{
	cfg_set(f, devfn, PCI_BAR0, 4, (uint32_t)addr);
	cfg_set(f, devfn, PCI_BAR0 + 4, 4, (uint32_t)(addr >> 32));
}

static bool answers(struct pci_fixture *f, const struct toy *t, uint64_t addr)
{
	unsigned int before = t->accesses;

	bus_get(&f->vm.mmio, addr, 4);
	return t->accesses != before;
}

static void bars_are_sized_and_appear_where_the_guest_puts_them(void **state)
{
	struct pci_fixture *f = *state;
	struct toy *t = toy_add(f, "t0", "", TOY);
	const uint64_t low = 0xd0004000, high = UINT64_C(0x2340000000);

	assert_int_equal(cfg_get(f, TOY, PCI_BAR0, 4), 4);
	put_bar(f, TOY, UINT64_MAX);
	assert_int_equal(cfg_get(f, TOY, PCI_BAR0, 4), 0xffffc004);
	assert_int_equal(cfg_get(f, TOY, PCI_BAR0 + 4, 4), 0xffffffff);
	cfg_set(f, TOY, PCI_BAR0 + 8, 4, 0xffffffff);
	assert_int_equal(cfg_get(f, TOY, PCI_BAR0 + 8, 4), 0xffffffc1);
	put_bar(f, TOY, low);
	assert_false(answers(f, t, low));
	cfg_set(f, TOY, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(answers(f, t, low));
	assert_int_equal(bus_get(&f->vm.mmio, low + 0x3ffc, 4), 0x70793ffc);
	assert_false(answers(f, t, low + 0x4000));
	put_bar(f, TOY, high);
	assert_false(answers(f, t, low));
	assert_true(answers(f, t, high + 8));
	cfg_set(f, TOY, PCI_BAR0 + 8, 4, 0xc000);
	assert_int_equal(bus_get(&f->vm.pio, 0xc004, 1), 0xff);
	cfg_set(f, TOY, PCI_COMMAND, 2, PCI_COMMAND_IO);
	assert_false(answers(f, t, high));
	assert_int_equal(bus_get(&f->vm.pio, 0xc004, 1), 0x04);
	device_remove(&t->dev);
	assert_int_equal(bus_get(&f->vm.pio, 0xc004, 1), 0xff);
	assert_int_equal(cfg_get(f, TOY, 0, 4), 0xffffffff);
}

static void no_bar_is_over_ram_or_the_platform(void **state)
{
	static const uint64_t bad[] = {
		0,
		0x1000000,
		0x7ffc000,
		0x40000000,
		0xbfffc000,
		0xc0000000,
		0xc8000000,
		0xcfffc000,
		0xfec00000,
		0xfee00000,
		0xfeffc000,
		0xffffc000,
		UINT64_C(0x100000000),
		UINT64_C(0x13fffc000),
		UINT64_C(0x7fffffffffffc000),
		UINT64_C(0xffffffffffffc000),
	};
	struct pci_fixture *f = *state;
	struct toy *t = toy_add(f, "t0", "", TOY);

	cfg_set(f, TOY, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put_bar(f, TOY, bad[i]);
		assert_false(t->h.pci.bars[0].mapped);
		assert_int_equal(cfg_get(f, TOY, 0, 4), 0x00ff1b36);
	}
	for (uint32_t port = 0; port < 0x1000; port += TOY_IO_BYTES) {
		cfg_set(f, TOY, PCI_BAR0 + 8, 4, port);
		assert_false(t->h.pci.bars[2].mapped);
	}
	cfg_set(f, TOY, PCI_BAR0 + 8, 4, 0x10000);
	assert_false(t->h.pci.bars[2].mapped);
	put_bar(f, TOY, UINT64_C(0x140000000));
	assert_true(t->h.pci.bars[0].mapped);
}

static void of_two_bars_at_one_place_the_first_answers(void **state)
{
	struct pci_fixture *f = *state;
	struct toy *second = toy_add(f, "t1", "", TOY + 8);
	struct toy *first = toy_add(f, "t0", "", TOY);
	const uint64_t at = 0xe0000000;

	for (unsigned int devfn = TOY; devfn <= TOY + 8; devfn += 8)
		cfg_set(f, devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	put_bar(f, TOY + 8, at);
	assert_true(answers(f, second, at));
	put_bar(f, TOY, at);
	assert_true(answers(f, first, at));
	assert_false(answers(f, second, at));
	put_bar(f, TOY, at + TOY_MEM_BYTES);
	assert_true(answers(f, second, at));
	assert_true(answers(f, first, at + TOY_MEM_BYTES));
	put_bar(f, TOY, at);
	device_remove(&first->dev);
	assert_true(answers(f, second, at));
}

enum {
	MSIX_AT = 0xe0010000,
};

static unsigned int enable_msix(struct pci_fixture *f, unsigned int nr)
{
	unsigned int cap = find_cap(f, TOY, PCI_CAP_MSIX);

	assert_int_equal(cfg_get(f, TOY, cap + 2, 2), TOY_VECTORS - 1);
	assert_int_equal(cfg_get(f, TOY, cap + 4, 4) & 7, 3);
	cfg_set(f, TOY, PCI_BAR0 + 12, 4, MSIX_AT);
	cfg_set(f, TOY, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (unsigned int i = 0; i < nr; i++) {
		bus_set(&f->vm.mmio, MSIX_AT + 16 * i, 8, 0xfee01000);
		bus_set(&f->vm.mmio, MSIX_AT + 16 * i + 8, 4, 0x40 + i);
		bus_set(&f->vm.mmio, MSIX_AT + 16 * i + 12, 4, 0);
	}
	cfg_set(f, TOY, cap + 2, 2, PCI_MSIX_ENABLE);
	return cap;
}

static void messages_are_sent_as_the_table_says(void **state)
{
	struct pci_fixture *f = *state;
	struct toy *t = toy_add(f, "t0", "", TOY);

	pci_notify(&t->h.pci, 0);
	assert_int_equal(f->msis, 0);
	assert_int_equal(t->s.pci.msix_pending, 0);
	enable_msix(f, TOY_VECTORS);
	assert_true(pci_msix_enabled(&t->h.pci));
	pci_notify(&t->h.pci, 2);
	assert_int_equal(f->msis, 1);
	assert_int_equal(f->msi_addr, 0xfee01000);
	assert_int_equal(f->msi_data, 0x42);
	pci_notify(&t->h.pci, TOY_VECTORS);
	pci_notify(&t->h.pci, PCI_NO_VECTOR);
	assert_int_equal(f->msis, 1);
	/* A message is neither a write to RAM nor sent by who may not reach memory. */
	bus_set(&f->vm.mmio, MSIX_AT, 4, 0x1000);
	pci_notify(&t->h.pci, 0);
	cfg_set(f, TOY, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	pci_notify(&t->h.pci, 1);
	assert_int_equal(f->msis, 1);
	/* Entries read back; beyond the table there is nothing. */
	assert_int_equal(bus_get(&f->vm.mmio, MSIX_AT + 24, 4), 0x41);
	assert_int_equal(bus_get(&f->vm.mmio, MSIX_AT + 16, 8), 0xfee01000);
	/* Nor does what lies behind an entry's end come out. */
	assert_int_equal(bus_get(&f->vm.mmio, MSIX_AT + 16 + 12, 8), 0);
	bus_set(&f->vm.mmio, MSIX_AT + 16 * TOY_VECTORS, 8, UINT64_MAX);
	assert_int_equal(bus_get(&f->vm.mmio, MSIX_AT + 16 * TOY_VECTORS, 8), 0);
}

static void masked_messages_wait(void **state)
{
	struct pci_fixture *f = *state;
	struct toy *t = toy_add(f, "t0", "", TOY);
	unsigned int cap = enable_msix(f, TOY_VECTORS);

	bus_set(&f->vm.mmio, MSIX_AT + 16 + 12, 4, 1);
	pci_notify(&t->h.pci, 1);
	pci_notify(&t->h.pci, 1);
	assert_int_equal(f->msis, 0);
	assert_int_equal(bus_get(&f->vm.mmio, MSIX_AT + 2048, 4), 2);
	assert_int_equal(bus_get(&f->vm.mmio, MSIX_AT + 2048, 8), 2);
	assert_int_equal(bus_get(&f->vm.mmio, MSIX_AT + 2052, 4), 0);
	bus_set(&f->vm.mmio, MSIX_AT + 16 + 12, 4, 0);
	assert_int_equal(f->msis, 1);
	assert_int_equal(f->msi_data, 0x41);
	assert_int_equal(bus_get(&f->vm.mmio, MSIX_AT + 2048, 4), 0);
	/* All at once. */
	cfg_set(f, TOY, cap + 2, 2, PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
	pci_notify(&t->h.pci, 0);
	pci_notify(&t->h.pci, 2);
	bus_set(&f->vm.mmio, MSIX_AT + 32 + 12, 4, 1);
	assert_int_equal(f->msis, 1);
	cfg_set(f, TOY, cap + 2, 2, PCI_MSIX_ENABLE);
	assert_int_equal(f->msis, 2);
	assert_int_equal(f->msi_data, 0x40);
	assert_int_equal(t->s.pci.msix_pending, 4);
	toy_class.reset(&t->dev);
	assert_int_equal(t->s.pci.msix_pending, 0);
	assert_int_equal(t->s.pci.msix[2].ctrl, 1);
}

/* Without KVM, as here, the region serves what the guest does. */
static void memory_of_a_device_is_where_its_bar_is(void **state)
{
	static const struct pci_ident ident = { .vendor = 1, .device = 2, .class_code = 0x038000 };
	const struct ram_config cfg = {
		.name = "toy.vram", .size = 24 * KIB, .backend = RAM_BACKEND_RAM, .share = true
	};
	const struct device_config config = { .addr = TOY };
	struct pci_fixture *f = *state;
	struct pci_function fn = { .vm = NULL };
	struct pci_state s;
	struct device dev = { .vm = NULL };
	struct ram_block *b;
	struct err e;

	assert_int_equal(ram_block_create(&b, &cfg, -1, &e), 0);
	assert_int_equal(memmap_add_movable_block(&f->vm.mem, b, &e), 0);
	assert_ptr_equal(memmap_next_block(&f->vm.mem, NULL), b);
	assert_int_equal(pci_function_init(&fn, &f->vm, &dev, &s, &config, &ident, &e), 0);
	pci_add_ram_bar(&fn, 0, PCI_BAR_MEM64_PREF, b);
	pci_reset(&fn);
	put_bar(f, TOY, UINT64_MAX);
	assert_int_equal(cfg_get(f, TOY, PCI_BAR0, 4), 0xffff800c);
	put_bar(f, TOY, 0xd0008000);
	cfg_set(f, TOY, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	bus_set(&f->vm.mmio, 0xd0008010, 8, UINT64_C(0x1122334455667788));
	assert_int_equal(b->host[0x17], 0x11);
	assert_int_equal(bus_get(&f->vm.mmio, 0xd0008010, 2), 0x7788);
	/* The block ends before its BAR. */
	bus_set(&f->vm.mmio, 0xd000e000, 1, 5);
	assert_int_equal(bus_get(&f->vm.mmio, 0xd000e000, 1), 0xff);
	put_bar(f, TOY, 0xd0010000);
	assert_int_equal(bus_get(&f->vm.mmio, 0xd0010010, 1), 0x88);
	assert_int_equal(bus_get(&f->vm.mmio, 0xd0008010, 1), 0xff);
	/* No look-up of guest memory finds it. */
	assert_null(memmap_host_ptr(&f->vm.mem, 0xd0010000, 1));
	/* KVM has it, moves it, and has it no longer: here a machine whose KVM is another's. */
	f->vm.graft = (struct graft *)f;
	put_bar(f, TOY, 0xd0008000);
	assert_true(b->mapped);
	assert_int_equal(b->mapped_at, 0xd0008000);
	cfg_set(f, TOY, PCI_COMMAND, 2, 0);
	assert_false(b->mapped);
	f->vm.graft = NULL;
	pci_function_fini(&fn);
	assert_int_equal(bus_get(&f->vm.mmio, 0xd0010010, 1), 0xff);
	ram_block_destroy(b);
	f->vm.mem.nr_blocks = 0;
}

static void pins_that_share_a_line_are_ored(void **state)
{
	struct pci_fixture *f = *state;
	struct toy *a = toy_add(f, "a", "", 1 << 3), *b = toy_add(f, "b", "", 5 << 3);
	struct toy *c = toy_add(f, "c", "", 2 << 3);

	assert_int_equal(pci_function_gsi(&a->h.pci), 17);
	assert_int_equal(pci_function_gsi(&b->h.pci), 17);
	assert_int_equal(pci_function_gsi(&c->h.pci), 18);
	pci_set_intx(&a->h.pci, true);
	pci_set_intx(&b->h.pci, true);
	assert_true(f->level[1] && !f->level[2]);
	assert_true(cfg_get(f, 1 << 3, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	pci_set_intx(&a->h.pci, false);
	assert_true(f->level[1]);
	assert_false(cfg_get(f, 1 << 3, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	cfg_set(f, 5 << 3, PCI_COMMAND, 2, PCI_COMMAND_NO_INTX);
	assert_false(f->level[1]);
	assert_true(cfg_get(f, 5 << 3, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	cfg_set(f, 5 << 3, PCI_COMMAND, 2, 0);
	assert_true(f->level[1]);
	device_remove(&b->dev);
	assert_false(f->level[1]);
}

static void places_are_given_and_refused_by_name(void **state)
{
	struct pci_fixture *f = *state;
	struct toy *t, *none = NULL;
	struct err e;

	t = toy_add(f, "first", "", -1);
	assert_string_equal(t->dev.path, "0000:00:01.0");
	t = toy_add(f, "", PCI_ROOT_BUS, -1);
	assert_string_equal(t->dev.path, "0000:00:02.0");
	assert_int_equal(toy_create(&f->vm, "x", "", 1 << 3, false, &none, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "in use by toy,id=first"));
	assert_int_equal(toy_create(&f->vm, "x", "", 0, false, &none, &e), -EBUSY);
	assert_int_equal(toy_create(&f->vm, "x", "", 1 << 3 | 1, false, &none, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "multifunction"));
	assert_int_equal(toy_create(&f->vm, "x", "", 256, false, &none, &e), -EINVAL);
	assert_int_equal(toy_create(&f->vm, "x", "nowhere", -1, false, &none, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "nowhere"));
	f->vm.runstate = RUNSTATE_RUNNING;
	assert_int_equal(toy_create(&f->vm, "x", "", -1, true, &none, &e), -EOPNOTSUPP);
	assert_string_equal(e.msg, "Bus 'pcie.0' does not support hotplugging");
	f->vm.runstate = RUNSTATE_INMIGRATE;
	for (unsigned int i = 3; i < 32; i++)
		assert_int_equal(toy_create(&f->vm, "", "", -1, true, &none, &e), 0);
	assert_int_equal(toy_create(&f->vm, "x", "", -1, false, &none, &e), -ENOSPC);
	f->vm.runstate = RUNSTATE_PRELAUNCH;
}

static void each_byte_of_its_state_crosses(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	if (vs_audit(&pci_state_desc, &e) || vs_audit(&toy_desc, &e) ||
	    vs_audit(pci_host_class.state, &e))
		fail_msg("%s", e.msg);
}

/* What one machine's functions show after their state went to another. */
static void what_was_programmed_is_there_after_a_load(void **state)
{
	struct pci_fixture *f = *state, other;
	struct toy *t = toy_add(f, "t0", "", TOY), *u;
	const uint64_t at = UINT64_C(0x2340000000);
	struct err e;

	pci_fixture_init(&other);
	u = toy_add(&other, "t0", "", TOY);
	put_bar(f, TOY, at);
	enable_msix(f, TOY_VECTORS);
	bus_set(&f->vm.mmio, MSIX_AT + 16 + 12, 4, 1);
	pci_notify(&t->h.pci, 1);
	pci_set_intx(&t->h.pci, true);
	assert_int_equal(toy_class.fits(&u->dev, &t->s, &e), 0);
	u->s = t->s;
	toy_class.loaded(&u->dev);
	assert_true(answers(&other, u, at));
	assert_true(other.level[3]);
	bus_set(&other.vm.mmio, MSIX_AT + 16 + 12, 4, 0);
	assert_int_equal(other.msis, 1);
	assert_int_equal(other.msi_data, 0x41);
	pci_fixture_fini(&other);
}

static void a_state_of_another_device_is_refused_by_name(void **state)
{
	struct pci_fixture *f = *state;
	struct toy *t = toy_add(f, "t0", "", TOY);
	struct toy_state s = t->s;
	struct err e = ERR_INIT;

	assert_int_equal(toy_class.fits(&t->dev, &s, &e), 0);
	s.pci.config[PCI_DEVICE] ^= 1;
	assert_int_equal(toy_class.fits(&t->dev, &s, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "0000:00:03.0 differs at 0x2: 0xfe in the state, 0xff here"));
	s = t->s;
	s.pci.config[PCI_BAR0] |= 0x10;
	assert_int_equal(toy_class.fits(&t->dev, &s, &e), -EINVAL);
	s = t->s;
	s.pci.msix_pending = 8;
	assert_int_equal(toy_class.fits(&t->dev, &s, &e), -EINVAL);
	s = t->s;
	s.pci.msix[0].ctrl = 2;
	assert_int_equal(toy_class.fits(&t->dev, &s, &e), -EINVAL);
	s = t->s;
	s.pci.msix[2].addr = 2;
	assert_int_equal(toy_class.fits(&t->dev, &s, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "MSI-X vector 2"));
	s = t->s;
	s.pci.nr_vectors = TOY_VECTORS + 1;
	assert_int_equal(toy_class.fits(&t->dev, &s, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "has 3 MSI-X vectors here, 4 in the state"));
	s = t->s;
	memset(s.pci.config + PCI_BAR0 + 4, 0xff, 4);
	assert_int_equal(toy_class.fits(&t->dev, &s, &e), 0);
}

/* Chance that is the same on every host. */
static uint32_t chance(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 32);
}

static void check_map(struct pci_fixture *f)
{
	const struct list *pos;

	for (pos = f->vm.mmio.regions.next; pos != &f->vm.mmio.regions; pos = pos->next) {
		const struct io_region *r = CONTAINER_OF(pos, struct io_region, link);
		uint64_t end = r->base + r->size;

		if (r == &f->vm.pci->h.ecam)
			continue;
		assert_true(end > r->base);
		assert_true((r->base >= LAYOUT_PCI_MMIO && end <= LAYOUT_PCI_MMIO_END) ||
			    r->base >= LAYOUT_HIGH_RAM + GIB);
	}
	assert_int_equal(cfg_get(f, 0, 0, 4), 0x00081b36);
	assert_int_equal(bus_get(&f->vm.pio, 0xcf9, 1) & ~0x0a, 0);
}

/* Registers near each other and values near what matters, so that BARs meet often. */
static uint32_t likely_value(uint64_t *seed)
{
	static const uint32_t some[] = {
		0,          0xffffffff, 0xd0000000, 0xfec00000, 0xfebfc000, 0xc0000000,
		0xfee00000, 0x40000000, 0xd0000007, 0x00008000, 0xc000c000, 0x1,
	};
	uint32_t v = chance(seed);

	return v & 3 ? some[v / 4 % ARRAY_SIZE(some)] + (v >> 20 & 3) * 0x4000 : chance(seed);
}

static void wild_writes_change_nothing_else(void **state)
{
	struct pci_fixture *f = *state;
	struct toy *toys[4];
	unsigned int mapped = 0;
	uint64_t seed = 5;

	for (unsigned int i = 0; i < ARRAY_SIZE(toys); i++)
		toys[i] = toy_add(f, "", "", TOY + 8 * (int)i);
	for (unsigned int i = 0; i < 300000; i++) {
		uint32_t what = chance(&seed), v = likely_value(&seed);
		unsigned int size = 1u << what % 3, devfn = TOY - 8 + (what >> 4) % 48;
		unsigned int reg = (what >> 12) % (what & 8 ? 4096 : 160) & ~(size - 1);
		struct err e;

		if (what >> 30)
			cfg_set(f, devfn, reg, size, v);
		else
			bus_set(what & 16 ? &f->vm.pio : &f->vm.mmio, what & 16 ? v & 0xffff : v,
				size, v * 3);
		cfg_get(f, devfn, reg, size);
		f->vm.reset_requested = false;
		for (unsigned int k = 0; k < ARRAY_SIZE(toys); k++)
			mapped += toys[k]->h.pci.bars[0].mapped + toys[k]->h.pci.bars[3].mapped;
		check_map(f);
		for (unsigned int k = 0; i % 64 == 0 && k < ARRAY_SIZE(toys); k++) {
			pci_notify(&toys[k]->h.pci, what % 5);
			if (toy_class.fits(&toys[k]->dev, &toys[k]->s, &e))
				fail_msg("%s", e.msg);
		}
	}
	assert_true(mapped > 10000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_header_says_what_it_is),
		TEST(ports_and_window_reach_the_same_registers),
		TEST(bars_are_sized_and_appear_where_the_guest_puts_them),
		TEST(no_bar_is_over_ram_or_the_platform),
		TEST(of_two_bars_at_one_place_the_first_answers),
		TEST(messages_are_sent_as_the_table_says),
		TEST(masked_messages_wait),
		TEST(memory_of_a_device_is_where_its_bar_is),
		TEST(pins_that_share_a_line_are_ored),
		TEST(places_are_given_and_refused_by_name),
		TEST(each_byte_of_its_state_crosses),
		TEST(what_was_programmed_is_there_after_a_load),
		TEST(a_state_of_another_device_is_refused_by_name),
		TEST(wild_writes_change_nothing_else),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
