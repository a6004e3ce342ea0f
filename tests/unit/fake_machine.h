/* SPDX-License-Identifier: MIT */
/* A machine, an update layer and a character device that exist on paper, for monitor tests. */
#ifndef TESTS_UNIT_FAKE_MACHINE_H
#define TESTS_UNIT_FAKE_MACHINE_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/util.h"
#include "ctl/ctl.h"
#include "fake_devices.h"
#include "host/chardev.h"
#include "machine/vcpu.h"
#include "machine/vm.h"
#include "update/migration.h"

struct chardev {
	const struct chardev_front *front;
	void *opaque;
	struct buf out;
	size_t capacity; /* takes no more than this until it is read */
	bool tty;
	unsigned int accepted; /* chardev_accept_input() calls */
};

struct migration {
	struct vm *vm;
	struct migration_params params;
	bool events;
	struct migration_observer *observer;
	struct migration_info info;
	struct channel main_channel, cpr;
	bool has_cpr, exit_on_error;
	unsigned int starts, cancels, incomings;
	const char *refuse;  /* the text with which the next call fails */
	const char *blocker; /* or NULL                                 */
};

struct vcpu {
	unsigned int index;
};

struct fake {
	struct vm vm;
	pthread_mutex_t lock;
	struct vcpu vcpus[2];
	struct vcpu *vcpu_list[2];
	struct ram_block ram;
	struct migration migration;
	struct chardev chr;
	struct ctl *ctl;
	unsigned int powerdowns;
};

void chardev_attach(struct chardev *c, const struct chardev_front *front, void *opaque)
{
	c->front = front;
	c->opaque = opaque;
	front->connected(opaque, true);
}

size_t chardev_write(struct chardev *c, const void *p, size_t n)
{
	size_t room = c->capacity - MIN(c->capacity, c->out.len);

	n = MIN(n, room);
	buf_put(&c->out, p, n);
	return n;
}

void chardev_accept_input(struct chardev *c)
{
	c->accepted++;
}

const char *chardev_name(const struct chardev *c)
{
	(void)c;
	return "fake:";
}

bool chardev_is_connected(const struct chardev *c)
{
	(void)c;
	return true;
}

bool chardev_has_front(const struct chardev *c)
{
	return c->front;
}

bool chardev_is_stdio(const struct chardev *c)
{
	(void)c;
	return false;
}

void chardev_tty_size(const struct chardev *c, unsigned int *columns, unsigned int *rows)
{
	(void)c;
	*columns = *rows = 0;
}

bool chardev_is_tty(const struct chardev *c)
{
	return c->tty;
}

void vm_observe(struct vm *vm, struct vm_observer *o)
{
	list_add(&vm->observers, &o->link);
}

void vm_notify(struct vm *vm, enum vm_event event, const char *detail)
{
	struct list *pos, *tmp;
	struct vm_observer *o;

	list_for_each(pos, tmp, &vm->observers) {
		o = CONTAINER_OF(pos, struct vm_observer, link);
		o->event(o->opaque, event, detail);
	}
}

bool vm_wakeup(struct vm *vm)
{
	if (vm->runstate != RUNSTATE_SUSPENDED)
		return false;
	vm->runstate = RUNSTATE_RUNNING;
	vm_notify(vm, VM_EVENT_WAKEUP, NULL);
	return true;
}

void vm_request_reset(struct vm *vm, const char *reason)
{
	vm->reset_requested = true;
	vm_notify(vm, VM_EVENT_RESET, reason);
}

void vm_request_shutdown(struct vm *vm, const char *reason)
{
	(void)reason;
	vm->shutdown_requested = true;
}

unsigned int vcpu_index(const struct vcpu *v)
{
	return v->index;
}

pid_t vcpu_thread_id(const struct vcpu *v)
{
	return (pid_t)(1000 + v->index);
}

const char *migration_status_name(enum migration_status s)
{
	static const char *const names[] = {
		"none",      "setup",   "cancelling", "cancelled", "active",
		"completed", "failing", "failed",     "device",
	};

	return names[s];
}

struct migration_params *migration_params(struct migration *m)
{
	return &m->params;
}

bool migration_cap_get(const struct migration *m, enum migration_cap cap)
{
	return cap == CAP_EVENTS && m->events;
}

void migration_cap_set(struct migration *m, enum migration_cap cap, bool on)
{
	if (cap == CAP_EVENTS)
		m->events = on;
}

void migration_observe(struct migration *m, struct migration_observer *o)
{
	list_init(&o->link);
	m->observer = o;
}

static inline void fake_migration_status(struct fake *f, enum migration_status s)
{
	f->migration.info.status = s;
	f->migration.observer->status(f->migration.observer->opaque, s);
}

/* The main loop's turn: what was put off is done. */
static inline void fake_turn(struct fake *f)
{
	loop_run_once(f->vm.loop, 0);
}

static inline int fake_refuse(struct migration *m, struct err *e)
{
	const char *text = m->refuse;

	m->refuse = NULL;
	return text ? err_set(e, EINVAL, "%s", text) : 0;
}

int migration_start(struct migration *m, const struct channel *main_channel,
		    const struct channel *cpr, struct err *e)
{
	int ret = fake_refuse(m, e);

	if (ret < 0)
		return ret;
	m->starts++;
	m->main_channel = *main_channel;
	m->has_cpr = cpr != NULL;
	if (cpr)
		m->cpr = *cpr;
	m->info.status = MIGRATION_SETUP;
	m->observer->status(m->observer->opaque, MIGRATION_SETUP);
	return 0;
}

void migration_cancel(struct migration *m)
{
	m->cancels++;
}

int migration_cprsave(struct migration *m, const char *file, enum cprsave_mode mode, struct err *e)
{
	(void)m;
	(void)mode;
	return err_set(e, ENOTSUP, "cprsave to %s", file);
}

int migration_cprload(struct migration *m, const char *file, struct err *e)
{
	(void)m;
	return err_set(e, ENOTSUP, "cprload from %s", file);
}

void migration_give_up_save(struct migration *m)
{
	(void)m;
}

int migration_incoming(struct migration *m, const struct channel *main_channel, bool exit_on_error,
		       struct err *e)
{
	int ret = fake_refuse(m, e);

	if (ret < 0)
		return ret;
	m->incomings++;
	m->main_channel = *main_channel;
	m->exit_on_error = exit_on_error;
	return 0;
}

void migration_info(const struct migration *m, struct migration_info *out)
{
	*out = m->info;
}

size_t migration_blockers(const struct migration *m, char **out, size_t max)
{
	if (!m->blocker || !max)
		return 0;
	out[0] = strdup(m->blocker);
	return 1;
}

int migration_cont(struct migration *m, struct err *e)
{
	int ret = fake_refuse(m, e);

	if (ret < 0)
		return ret;
	m->vm->runstate = RUNSTATE_RUNNING;
	vm_notify(m->vm, VM_EVENT_RESUME, NULL);
	return 0;
}

int migration_stop(struct migration *m, struct err *e)
{
	int ret = fake_refuse(m, e);

	if (ret < 0)
		return ret;
	m->vm->runstate = RUNSTATE_PAUSED;
	vm_notify(m->vm, VM_EVENT_STOP, NULL);
	return 0;
}

int migration_check_plug(const struct migration *m, const char *what, struct err *e)
{
	(void)what;
	return fake_refuse((struct migration *)m, e);
}

/* vm.c's, without the rest of it. */
void vm_destroy_devices(struct vm *vm)
{
	while (!list_empty(&vm->devices))
		device_destroy(CONTAINER_OF(vm->devices.prev, struct device, link));
}

static inline void fake_powerdown(void *opaque)
{
	((struct fake *)opaque)->powerdowns++;
}

/* A running machine with two vCPUs, its control layer, and no session yet. */
static inline void fake_init(struct fake *f)
{
	struct ctl_config config = { 0 };
	struct err e = ERR_INIT;

	memset(f, 0, sizeof(*f));
	list_init(&f->vm.observers);
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&f->lock);
	assert_int_equal(loop_create(&f->vm.loop, &f->lock, &e), 0);
	list_init(&f->vm.devices);
	list_init(&f->vm.backends);
	list_init(&f->vm.boot_order);
	list_init(&f->vm.displays);
	f->vm.runstate = RUNSTATE_RUNNING;
	for (unsigned int i = 0; i < 2; i++) {
		f->vcpus[i].index = i;
		f->vcpu_list[i] = &f->vcpus[i];
	}
	f->vm.vcpus = f->vcpu_list;
	f->vm.nr_vcpus = 2;
	strcpy(f->ram.name, "ram0");
	f->ram.size = 256 << 20;
	f->ram.share = true;
	f->ram.is_backend = true;
	memmap_init(&f->vm.mem, &f->ram);
	f->migration.vm = &f->vm;
	migration_params_init(&f->migration.params);
	f->chr.capacity = SIZE_MAX;
	config.vm = &f->vm;
	config.migration = &f->migration;
	config.name = "toy";
	config.powerdown = fake_powerdown;
	config.powerdown_opaque = f;
	assert_int_equal(ctl_create(&f->ctl, &config, &e), 0);
}

static inline void fake_fini(struct fake *f)
{
	ctl_destroy(f->ctl);
	migration_params_fini(&f->migration.params);
	pthread_mutex_unlock(&f->lock);
	loop_destroy(f->vm.loop);
	pthread_mutex_destroy(&f->lock);
	buf_fini(&f->chr.out);
}

/* Gives the session what its room() allows of @n bytes, as a back end does; returns how many. */
static inline size_t fake_type_bytes(struct fake *f, const char *p, size_t n)
{
	size_t done = 0, room;

	while (done < n) {
		room = f->chr.front->room(f->chr.opaque);
		if (!room)
			break;
		room = MIN(room, n - done);
		f->chr.front->receive(f->chr.opaque, p + done, room);
		done += room;
	}
	return done;
}

static inline void fake_type(struct fake *f, const char *text)
{
	assert_int_equal(fake_type_bytes(f, text, strlen(text)), strlen(text));
}

/* What the session has sent since the last call; valid until the next. */
static inline const char *fake_output(struct fake *f, struct buf *b)
{
	b->len = 0;
	buf_put(b, f->chr.out.data, f->chr.out.len);
	buf_put_u8(b, 0);
	f->chr.out.len = 0;
	return (const char *)b->data;
}

#endif
