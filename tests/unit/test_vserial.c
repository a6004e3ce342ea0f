/* SPDX-License-Identifier: MIT */
/* virtio-serial: what device and driver tell each other, bytes both ways, drivers that break rules. */
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dev/virtio/vserial.h"
#include "fd_count.h"
#include "virtio_fixture.h"

enum {
	QUEUES = 6, /* those of ports 0 and 1, and of the messages */
	SIZE = 8,
	SLOT = 0x800,
};

#define V1        (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define MULTIPORT (UINT64_C(1) << VIRTIO_CONSOLE_F_MULTIPORT)

struct fixture {
	struct virtio_fixture v;
	struct drv q[QUEUES];
	uint16_t next[QUEUES]; /* slot to be used next */
	struct vserial *vs;
	struct chardev *chr[2];
	struct backend backend[2];
	struct vm_observer observer;
	char events[32];
	unsigned int fds;
};

static void on_event(void *opaque, enum vm_event event, const char *detail)
{
	struct fixture *f = opaque;

	if (event == VM_EVENT_PORT_OPENED || event == VM_EVENT_PORT_CLOSED) {
		strcat(f->events, event == VM_EVENT_PORT_OPENED ? "+" : "-");
		strcat(f->events, detail);
	}
}

static struct device *add(struct fixture *f, const char *text)
{
	struct device_spec spec;
	struct device *d = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(device_spec_parse(&spec, text, &e), 0);
	if (device_spec_create(&f->v.pci.vm, &spec, &d, &e))
		fail_msg("%s: %s", text, e.msg);
	device_spec_fini(&spec);
	return d;
}

static void refuse(struct fixture *f, const char *text, const char *why)
{
	struct device_spec spec;
	struct device *d = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(device_spec_parse(&spec, text, &e), 0);
	assert_true(device_spec_create(&f->v.pci.vm, &spec, &d, &e) < 0);
	assert_string_equal(e.msg, why);
	assert_null(d);
	device_spec_fini(&spec);
}

static void open_chardev(struct fixture *f, unsigned int n)
{
	struct chardev_config config = {
		.kind = CHARDEV_UNIX,
		.server = true,
		.abstract = true,
	};
	struct err e;

	snprintf(config.path, sizeof(config.path), "test-vserial-%d-%u", getpid(), n);
	assert_int_equal(chardev_open(&f->chr[n], f->v.pci.vm.loop, &config, NULL, NULL, &e), 0);
	f->backend[n] = (struct backend){ .kind = BACKEND_CHARDEV, .object = f->chr[n] };
	snprintf(f->backend[n].id, sizeof(f->backend[n].id), "c%u", n);
	assert_int_equal(backend_add(&f->v.pci.vm, &f->backend[n], &e), 0);
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 6; i++)
		virtio_turn(&f->v);
}

/* Somebody at the host's end of port @n. */
static int dial(struct fixture *f, unsigned int n)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int len = snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "test-vserial-%d-%u", getpid(),
			   n);

	assert_int_equal(connect(fd, (struct sockaddr *)&sa,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)),
			 0);
	turn(f);
	return fd;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	alarm(60);
	f->fds = fd_count();
	virtio_fixture_init(&f->v);
	f->observer = (struct vm_observer){ .event = on_event, .opaque = f };
	vm_observe(&f->v.pci.vm, &f->observer);
	open_chardev(f, 0);
	open_chardev(f, 1);
	f->vs = CONTAINER_OF(add(f, "virtio-serial-pci,id=vs0,addr=5,max_ports=3"), struct vserial,
			     dev);
	virtio_find(&f->v, 5 << 3);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned int now;

	vm_destroy_devices(&f->v.pci.vm);
	chardev_close(f->chr[0]);
	chardev_close(f->chr[1]);
	virtio_fixture_fini(&f->v);
	now = fd_count() - f->fds;
	free(f);
	return now ? -1 : 0;
}

static void set_running(struct fixture *f, bool running)
{
	for (struct list *pos = f->v.pci.vm.devices.next; pos != &f->v.pci.vm.devices;
	     pos = pos->next) {
		struct device *d = CONTAINER_OF(pos, struct device, link);

		if (d->class->run_changed)
			d->class->run_changed(d, running);
	}
	turn(f);
}

/* A driver takes the device over. */
static void drive(struct fixture *f, uint64_t features)
{
	assert_true(virtio_negotiate(&f->v, V1 | features));
	for (uint16_t i = 0; i < QUEUES; i++) {
		uint32_t at = i * 0x800;

		drv_init(&f->q[i], &f->v.mem, SIZE, false);
		f->q[i].desc = drv_ptr(&f->v.mem, DRV_DESC + at);
		f->q[i].avail = drv_ptr(&f->v.mem, DRV_AVAIL + at);
		f->q[i].used = drv_ptr(&f->v.mem, DRV_USED + at);
		memset(f->q[i].avail, 0, 64);
		memset(f->q[i].used, 0, 128);
		f->next[i] = 0;
		virtio_set_queue(&f->v, i, SIZE, PCI_NO_VECTOR, at);
	}
	virtio_drive(&f->v);
	set_running(f, true);
}

static gpa_t slot_at(unsigned int queue, unsigned int slot)
{
	return DRV_DATA + queue * 0x4000 + slot * SLOT;
}

/* A buffer for the device to write, or with bytes for it. */
static void offer(struct fixture *f, unsigned int queue, const void *p, uint32_t n)
{
	uint16_t slot = f->next[queue]++ % SIZE;

	if (p)
		memcpy(drv_ptr(&f->v.mem, slot_at(queue, slot)), p, n);
	drv_set(&f->q[queue], slot, slot_at(queue, slot), n, p ? 0 : VRING_DESC_F_WRITE, 0);
	drv_offer(&f->q[queue], slot);
	virtio_ring(&f->v, queue);
	turn(f);
}

static void say(struct fixture *f, uint32_t id, uint16_t event, uint16_t value)
{
	const struct virtio_console_control m = { id, event, value };
	struct vring_used_elem u;

	offer(f, VSERIAL_CONTROL_OUT, &m, sizeof(m));
	assert_true(drv_collect(&f->q[VSERIAL_CONTROL_OUT], &u));
	assert_int_equal(u.len, 0);
}

/* The next message of the device, in words; "" if there is none. */
static const char *hear(struct fixture *f)
{
	static const char *const names[] = { "ready",   "add",    "remove", "port-ready",
					     "console", "resize", "open",   "name" };
	static char text[64];
	const struct virtio_console_control *m;
	struct vring_used_elem u;

	text[0] = '\0';
	if (!drv_collect(&f->q[VSERIAL_CONTROL_IN], &u))
		return text;
	m = drv_ptr(&f->v.mem, slot_at(VSERIAL_CONTROL_IN, u.id));
	assert_true(u.len >= sizeof(*m) && m->event < ARRAY_SIZE(names));
	snprintf(text, sizeof(text), "%u %s %u%.*s", m->id, names[m->event], m->value,
		 (int)(u.len - sizeof(*m)), (const char *)(m + 1));
	return text;
}

static void offer_control(struct fixture *f, unsigned int n)
{
	while (n--)
		offer(f, VSERIAL_CONTROL_IN, NULL, 64);
}

/* Up to the point where the guest has port 1 open. */
static void open_port(struct fixture *f)
{
	drive(f, MULTIPORT);
	say(f, ~0u, VIRTIO_CONSOLE_DEVICE_READY, 1);
	say(f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	say(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

static struct vport *first_port(struct fixture *f)
{
	return CONTAINER_OF(add(f, "virtserialport,bus=vs0.0,id=p1,chardev=c1,name=org.test"),
			    struct vport, dev);
}

static void what_ports_there_are_is_told_in_order(void **state)
{
	struct fixture *f = *state;
	int fd;

	add(f, "virtconsole,id=p0,chardev=c0");
	first_port(f);
	drive(f, MULTIPORT);
	assert_int_equal(bus_get(&f->v.pci.vm.mmio, f->v.device + 4, 4), 3);
	fd = dial(f, 1);
	offer_control(f, 6);
	assert_string_equal(hear(f), "");
	say(f, ~0u, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_string_equal(hear(f), "0 add 1");
	assert_string_equal(hear(f), "1 add 1");
	assert_string_equal(hear(f), "");
	say(f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	assert_string_equal(hear(f), "1 name 1org.test");
	assert_string_equal(hear(f), "1 open 1");
	/* A console is always at the other end of its line. */
	say(f, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	assert_string_equal(hear(f), "0 console 1");
	assert_string_equal(hear(f), "0 open 1");
	offer_control(f, 1);
	close(fd);
	turn(f);
	assert_string_equal(hear(f), "1 open 0");
	assert_string_equal(hear(f), "");
	/* Not before all is read that was said. */
	offer_control(f, 2);
	fd = dial(f, 1);
	assert_string_equal(hear(f), "1 open 1");
	assert_int_equal(send(fd, "bye", 3, 0), 3);
	close(fd);
	turn(f);
	assert_string_equal(hear(f), "");
	say(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	offer(f, 4, NULL, 100);
	assert_memory_equal(drv_ptr(&f->v.mem, slot_at(4, 0)), "bye", 3);
	offer(f, 4, NULL, 100);
	assert_string_equal(hear(f), "1 open 0");
}

static void messages_wait_for_buffers(void **state)
{
	static const char *const all[] = { "1 add 1", "1 name 1org.test", "1 open 1", "" };
	struct fixture *f = *state;
	struct vport *p = first_port(f);
	int fd;

	drive(f, MULTIPORT);
	say(f, ~0u, VIRTIO_CONSOLE_DEVICE_READY, 1);
	say(f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	fd = dial(f, 1);
	assert_int_equal(p->s.pending, VPORT_ADD | VPORT_NAME | VPORT_OPEN);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		offer_control(f, 1);
		assert_string_equal(hear(f), all[i]);
	}
	assert_int_equal(p->s.pending, 0);
	/* Who has come and gone before the driver hears of it was not there. */
	offer(f, VSERIAL_CONTROL_IN, NULL, 64);
	for (int i = 0; i < 2; i++) {
		set_running(f, false);
		close(fd);
		turn(f);
		/* Nothing changes in a guest that stands still. */
		assert_true(p->s.host_open);
		fd = dial(f, 1);
		set_running(f, true);
	}
	assert_string_equal(hear(f), "");
	close(fd);
}

static void bytes_go_to_whoever_has_the_port_open(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem u;
	int fd;

	first_port(f);
	drive(f, MULTIPORT);
	fd = dial(f, 1);
	assert_int_equal(send(fd, "hello, world", 12, 0), 12);
	offer(f, 4, NULL, 5);
	assert_false(drv_collect(&f->q[4], &u));
	say(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	turn(f);
	assert_true(drv_collect(&f->q[4], &u));
	assert_int_equal(u.len, 5);
	assert_memory_equal(drv_ptr(&f->v.mem, slot_at(4, 0)), "hello", 5);
	assert_false(drv_collect(&f->q[4], &u));
	offer(f, 4, NULL, 100);
	assert_true(drv_collect(&f->q[4], &u));
	assert_int_equal(u.len, 7);
	assert_memory_equal(drv_ptr(&f->v.mem, slot_at(4, 1)), ", world", 7);
	/* Closed again: what comes stays where it is. */
	offer(f, 4, NULL, 100);
	say(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	assert_int_equal(send(fd, "more", 4, 0), 4);
	turn(f);
	assert_false(drv_collect(&f->q[4], &u));
	close(fd);
}

static void bytes_are_sent_in_parts_and_none_twice(void **state)
{
	struct fixture *f = *state;
	struct vport *p = first_port(f);
	static uint8_t all[SIZE * SLOT], got[sizeof(all)];
	struct vring_used_elem u;
	unsigned int parts = 0;
	size_t have = 0;
	ssize_t n;
	int fd;

	open_port(f);
	fd = dial(f, 1);
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i ^ i >> 8);
	/* More than the socket takes at once, in one chain of all buffers, again and again. */
	for (unsigned int round = 0; round < 200; round++) {
		for (unsigned int i = 0; i < SIZE; i++) {
			memcpy(drv_ptr(&f->v.mem, slot_at(5, i)), all + (size_t)i * SLOT, SLOT);
			drv_set(&f->q[5], i, slot_at(5, i), SLOT,
				i + 1 < SIZE ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
		}
		drv_offer(&f->q[5], 0);
		virtio_ring(&f->v, 5);
		turn(f);
		if (drv_collect(&f->q[5], &u))
			continue;
		assert_true(p->s.sent < sizeof(all));
		parts += p->s.sent > 0;
		/* As after an update: all that is known is in the state. */
		set_running(f, false);
		f->vs->dev.class->loaded(&f->vs->dev);
		set_running(f, true);
		while (!drv_collect(&f->q[5], &u)) {
			n = recv(fd, got, 1000, 0);
			assert_true(n > 0);
			for (ssize_t i = 0; i < n; i++)
				assert_int_equal(got[i], all[have++ % sizeof(all)]);
			turn(f);
		}
		assert_int_equal(p->s.sent, 0);
	}
	assert_true(parts > 0);
	while ((n = recv(fd, got, sizeof(got), MSG_DONTWAIT)) > 0)
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(got[i], all[have++ % sizeof(all)]);
	assert_int_equal(have, 200 * sizeof(all));
	close(fd);
}

static void bytes_to_nobody_go_nowhere(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem u;

	first_port(f);
	open_port(f);
	offer(f, 5, "x", 1);
	assert_true(drv_collect(&f->q[5], &u));
	/* Nor to a port that is not there. */
	offer(f, 1, "x", 1);
	assert_true(drv_collect(&f->q[1], &u));
}

static void messages_that_mean_nothing_are_ignored(void **state)
{
	static const struct virtio_console_control all[] = {
		{ 2, VIRTIO_CONSOLE_PORT_READY, 1 },   { 3, VIRTIO_CONSOLE_PORT_OPEN, 1 },
		{ ~0u, VIRTIO_CONSOLE_PORT_OPEN, 1 },  { 1, VIRTIO_CONSOLE_PORT_ADD, 1 },
		{ 1, VIRTIO_CONSOLE_PORT_NAME, 1 },    { 1, 0xffff, 0xffff },
		{ 0, VIRTIO_CONSOLE_DEVICE_READY, 0 }, { 1, VIRTIO_CONSOLE_PORT_READY, 0 },
	};
	struct fixture *f = *state;
	struct vport *p = first_port(f);

	drive(f, MULTIPORT);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		say(f, all[i].id, all[i].event, all[i].value);
	offer(f, VSERIAL_CONTROL_OUT, "short", 5);
	assert_int_equal(f->vs->h.ignored, ARRAY_SIZE(all) + 1);
	assert_int_equal(p->s.pending, 0);
	assert_false(p->s.ready || p->s.guest_open);
	assert_false(virtio_status(&f->v) & VIRTIO_CONFIG_S_NEEDS_RESET);
	offer_control(f, 1);
	assert_string_equal(hear(f), "");
}

static void buffers_that_are_none_ask_for_a_reset(void **state)
{
	struct fixture *f = *state;
	int fd;

	first_port(f);
	open_port(f);
	offer(f, VSERIAL_CONTROL_IN, NULL, 7);
	assert_true(virtio_status(&f->v) & VIRTIO_CONFIG_S_NEEDS_RESET);
	open_port(f);
	assert_false(virtio_status(&f->v) & VIRTIO_CONFIG_S_NEEDS_RESET);
	fd = dial(f, 1);
	/* Bytes of the driver's where it is to give a buffer. */
	offer(f, 4, "x", 1);
	assert_true(virtio_status(&f->v) & VIRTIO_CONFIG_S_NEEDS_RESET);
	close(fd);
}

static void operators_hear_of_ports_but_not_all_the_time(void **state)
{
	struct fixture *f = *state;
	struct vport *p = first_port(f);

	open_port(f);
	assert_string_equal(f->events, "+p1");
	say(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	say(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	say(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	assert_string_equal(f->events, "+p1");
	assert_true(p->s.told_open);
	for (int i = 0; i < 30 && p->s.told_open; i++)
		loop_run_once(f->v.pci.vm.loop, 100);
	assert_string_equal(f->events, "+p1-p1");
	/* A reset closes. */
	for (int i = 0; i < 12; i++)
		loop_run_once(f->v.pci.vm.loop, 100);
	say(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_string_equal(f->events, "+p1-p1+p1");
	virtio_set(&f->v, 0);
	assert_false(p->s.guest_open);
	for (int i = 0; i < 30 && p->s.told_open; i++)
		loop_run_once(f->v.pci.vm.loop, 100);
	assert_string_equal(f->events, "+p1-p1+p1-p1");
}

static void driver_without_messages_has_the_first_port(void **state)
{
	struct fixture *f = *state;
	struct vring_used_elem u;
	char got[4];
	int fd;

	add(f, "virtconsole,id=p0,chardev=c0");
	first_port(f);
	drive(f, 0);
	fd = dial(f, 0);
	assert_int_equal(send(fd, "in", 2, 0), 2);
	offer(f, 0, NULL, 10);
	assert_true(drv_collect(&f->q[0], &u));
	assert_int_equal(u.len, 2);
	offer(f, 1, "out", 3);
	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), 3);
	offer(f, VSERIAL_CONTROL_IN, NULL, 64);
	assert_string_equal(hear(f), "");
	close(fd);
}

static void port_that_is_unplugged_can_come_again(void **state)
{
	struct fixture *f = *state;
	struct vport *p = first_port(f);
	struct err e;

	open_port(f);
	offer_control(f, 2);
	assert_string_equal(hear(f), "1 add 1");
	assert_string_equal(hear(f), "1 name 1org.test");
	assert_int_equal(virtserialport_type.unplug(&p->dev, &e), 0);
	p = first_port(f);
	assert_int_equal(p->h.nr, 1);
	offer_control(f, 3);
	assert_string_equal(hear(f), "1 remove 1");
	assert_string_equal(hear(f), "1 add 1");
	assert_string_equal(hear(f), "");
	assert_int_equal(f->vs->s.removed, 0);
}

static void ports_that_cannot_be_are_refused(void **state)
{
	struct fixture *f = *state;

	first_port(f);
	refuse(f, "virtserialport,bus=vs1.0", "Bus 'vs1.0' not found");
	refuse(f, "virtserialport,nr=0",
	       "Port number 0 on virtio-serial devices reserved for virtconsole devices for "
	       "backward compatibility.");
	refuse(f, "virtserialport,nr=3",
	       "virtio-serial-bus: Out-of-range port id specified, max. allowed: 2");
	refuse(f, "virtserialport,nr=1", "virtio-serial-bus: A port already exists at id 1");
	refuse(f, "virtserialport,name=org.test",
	       "virtio-serial-bus: A port already exists by name org.test");
	refuse(f, "virtserialport,chardev=c7", "there is no chardev 'c7'");
	refuse(f, "virtserialport,chardev=c1",
	       "chardev 'c1' is used by device 'virtserialport' already");
	add(f, "virtconsole");
	add(f, "virtserialport,chardev=c0");
	refuse(f, "virtserialport",
	       "virtio-serial-bus: Maximum port limit for this device reached");
	/* Another device without an id has a bus all the same. */
	add(f, "virtio-serial-pci");
	add(f, "virtserialport,bus=virtio-serial-bus.0,nr=15");
	refuse(f, "virtserialport,bus=virtio-serial-bus.1", "Bus 'virtio-serial-bus.1' not found");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_ports_there_are_is_told_in_order),
		TEST(messages_wait_for_buffers),
		TEST(bytes_go_to_whoever_has_the_port_open),
		TEST(bytes_are_sent_in_parts_and_none_twice),
		TEST(bytes_to_nobody_go_nowhere),
		TEST(messages_that_mean_nothing_are_ignored),
		TEST(buffers_that_are_none_ask_for_a_reset),
		TEST(operators_hear_of_ports_but_not_all_the_time),
		TEST(driver_without_messages_has_the_first_port),
		TEST(port_that_is_unplugged_can_come_again),
		TEST(ports_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests_name("vserial", tests, NULL, NULL);
}
