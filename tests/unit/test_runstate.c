/* SPDX-License-Identifier: MIT */
/* Run states: the whole table of transitions, and the life of a guest that sleeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "machine/globalstate.h"
#include "machine/vcpu.h"
#include "machine/vm.h"

/* The vCPUs of a machine on paper: only whether they are in the guest is kept. */
static unsigned int in_guest, entries;

int vcpu_create(struct vcpu **out, struct vm *vm, unsigned int index, struct err *e)
{
	(void)out;
	(void)vm;
	(void)index;
	return err_set(e, 38, "no vCPU here");
}

int vcpu_adopt(struct vcpu **out, struct vm *vm, unsigned int index, int fd,
	       const struct vcpu_caps *caps, const struct vcpu_state *reset,
	       const struct vcpu_apic_state *apic, struct err *e)
{
	(void)fd;
	(void)caps;
	(void)reset;
	(void)apic;
	return vcpu_create(out, vm, index, e);
}

void vcpu_destroy(struct vcpu *v)
{
	(void)v;
}

void vcpu_resume_all(struct vm *vm)
{
	(void)vm;
	in_guest = 1;
	entries++;
}

void vcpu_pause_all(struct vm *vm)
{
	(void)vm;
	in_guest = 0;
}

int vcpu_reset_all(struct vm *vm, struct err *e)
{
	(void)vm;
	(void)e;
	return 0;
}

/*
 * What the field documents, a row per state, and what is ours: ways into
 * and out of a failure, and to restart a sleeping guest where a running one may be.
 */
static const struct {
	const char *from, *to;
} expected[] = {
	{ "prelaunch", "running finish-migrate inmigrate suspended internal-error" },
	{ "inmigrate", "internal-error paused running shutdown suspended finish-migrate prelaunch "
		       "postmigrate io-error watchdog" },
	{ "running", "internal-error paused finish-migrate shutdown suspended io-error watchdog" },
	{ "paused", "running finish-migrate postmigrate prelaunch suspended internal-error" },
	{ "suspended", "running finish-migrate prelaunch paused shutdown internal-error" },
	{ "finish-migrate", "running paused postmigrate prelaunch internal-error shutdown "
			    "suspended io-error watchdog" },
	{ "io-error", "running finish-migrate paused prelaunch internal-error" },
	{ "postmigrate", "running finish-migrate prelaunch suspended" },
	{ "shutdown", "paused finish-migrate prelaunch" },
	{ "internal-error", "paused finish-migrate prelaunch" },
	{ "watchdog", "running finish-migrate prelaunch paused internal-error" },
};

static bool has_word(const char *words, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = words; (p = strstr(p, word)); p += n)
		if ((p == words || p[-1] == ' ') && (!p[n] || p[n] == ' '))
			return true;
	return false;
}

static void the_table_of_transitions_is_the_documented_one(void **state)
{
	(void)state;
	assert_int_equal(ARRAY_SIZE(expected), RUNSTATE_COUNT);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		enum runstate from;

		assert_true(runstate_parse(expected[i].from, &from));
		for (unsigned int to = 0; to < RUNSTATE_COUNT; to++)
			if (runstate_may_change(from, to) !=
			    has_word(expected[i].to, runstate_name(to)))
				fail_msg("%s -> %s", expected[i].from, runstate_name(to));
	}
}

static void sleep_is_remembered_until_the_guest_is_awake_or_asleep_again(void **state)
{
	(void)state;
	assert_true(runstate_remember_suspended(RUNSTATE_SUSPENDED, RUNSTATE_PAUSED, false));
	assert_true(runstate_remember_suspended(RUNSTATE_PAUSED, RUNSTATE_FINISH_MIGRATE, true));
	assert_true(runstate_remember_suspended(RUNSTATE_FINISH_MIGRATE, RUNSTATE_PAUSED, true));
	assert_true(runstate_remember_suspended(RUNSTATE_INMIGRATE, RUNSTATE_PAUSED, true));
	assert_false(runstate_remember_suspended(RUNSTATE_RUNNING, RUNSTATE_PAUSED, false));
	assert_false(runstate_remember_suspended(RUNSTATE_PAUSED, RUNSTATE_SUSPENDED, true));
	assert_false(runstate_remember_suspended(RUNSTATE_SUSPENDED, RUNSTATE_RUNNING, false));
	assert_false(runstate_remember_suspended(RUNSTATE_PAUSED, RUNSTATE_PRELAUNCH, true));
	assert_int_equal(runstate_after_start(true), RUNSTATE_SUSPENDED);
	assert_int_equal(runstate_after_start(false), RUNSTATE_RUNNING);
}

struct paper {
	struct vm vm;
	struct vm_observer observer;
	char events[64];
};

static void note_event(void *opaque, enum vm_event event, const char *detail)
{
	static const char names[] = {
		[VM_EVENT_STOP] = 'S', [VM_EVENT_RESUME] = 'R', [VM_EVENT_WAKEUP] = 'W'
	};
	struct paper *p = opaque;
	size_t n = strlen(p->events);

	(void)detail;
	assert_true(n + 1 < sizeof(p->events));
	p->events[n] = names[event];
}

static void on_paper(struct paper *p, enum runstate s)
{
	*p = (struct paper){ .vm.runstate = s, .observer = { .event = note_event, .opaque = p } };
	list_init(&p->vm.devices);
	list_init(&p->vm.observers);
	vm_observe(&p->vm, &p->observer);
	in_guest = s == RUNSTATE_RUNNING;
	entries = 0;
}

static void a_sleeping_guest_that_is_stopped_and_started_still_sleeps(void **state)
{
	struct paper p;

	(void)state;
	on_paper(&p, RUNSTATE_SUSPENDED);
	vm_stop(&p.vm, RUNSTATE_PAUSED);
	assert_int_equal(p.vm.runstate, RUNSTATE_PAUSED);
	assert_false(vm_wakeup(&p.vm));
	assert_int_equal(p.vm.runstate, RUNSTATE_PAUSED);
	vm_start(&p.vm);
	assert_int_equal(p.vm.runstate, RUNSTATE_SUSPENDED);
	assert_int_equal(entries, 0);
	/* To start what is live changes nothing and says nothing. */
	vm_start(&p.vm);
	assert_int_equal(p.vm.runstate, RUNSTATE_SUSPENDED);
	assert_true(vm_wakeup(&p.vm));
	assert_int_equal(p.vm.runstate, RUNSTATE_RUNNING);
	assert_int_equal(entries, 1);
	vm_stop(&p.vm, RUNSTATE_PAUSED);
	assert_int_equal(in_guest, 0);
	vm_start(&p.vm);
	assert_int_equal(p.vm.runstate, RUNSTATE_RUNNING);
	assert_string_equal(p.events, "SRWSR");
}

/* As an update does: stopped by it, saved, loaded into a machine that has never run. */
static void transfer(struct paper *from, struct paper *to, bool autostart)
{
	enum runstate saved = from->vm.runstate;
	struct global_state g, got;
	AUTO_BUF b = { 0 };
	struct cursor in;
	struct err e;

	vm_stop(&from->vm, RUNSTATE_FINISH_MIGRATE);
	global_state_set(&g, saved, from->vm.was_suspended);
	vs_encode(&global_state_desc, &g, &b, NULL);
	cursor_init(&in, b.data, b.len);
	assert_int_equal(vs_decode(&global_state_desc, 1, &in, &got, &e), 0);
	on_paper(to, RUNSTATE_INMIGRATE);
	saved = global_state_get(&got, &to->vm.was_suspended);
	if (runstate_is_live(saved) && autostart)
		vm_start(&to->vm);
	else if (runstate_is_live(saved))
		vm_set_runstate(&to->vm, RUNSTATE_PAUSED);
	else
		vm_set_runstate(&to->vm, saved);
}

static void a_guest_that_never_ran_here_is_started_by_its_wake_up(void **state)
{
	struct paper old, new;

	(void)state;
	on_paper(&old, RUNSTATE_SUSPENDED);
	transfer(&old, &new, true);
	assert_int_equal(new.vm.runstate, RUNSTATE_SUSPENDED);
	assert_int_equal(entries, 0);
	assert_true(vm_wakeup(&new.vm));
	assert_int_equal(new.vm.runstate, RUNSTATE_RUNNING);
	assert_int_equal(entries, 1);
	assert_string_equal(old.events, "S");
	assert_string_equal(new.events, "RW");
}

static void sleep_travels_in_each_combination(void **state)
{
	struct paper old, new;

	(void)state;
	/* Not to be started on arrival: paused; asleep when it is started. */
	on_paper(&old, RUNSTATE_SUSPENDED);
	transfer(&old, &new, false);
	assert_int_equal(new.vm.runstate, RUNSTATE_PAUSED);
	vm_start(&new.vm);
	assert_int_equal(new.vm.runstate, RUNSTATE_SUSPENDED);
	/* Stopped in its sleep before the update, and again by another one. */
	on_paper(&old, RUNSTATE_SUSPENDED);
	vm_stop(&old.vm, RUNSTATE_PAUSED);
	transfer(&old, &new, true);
	assert_int_equal(new.vm.runstate, RUNSTATE_PAUSED);
	old = new;
	list_init(&old.vm.observers);
	transfer(&old, &new, true);
	assert_int_equal(new.vm.runstate, RUNSTATE_PAUSED);
	vm_start(&new.vm);
	assert_int_equal(new.vm.runstate, RUNSTATE_SUSPENDED);
	/* Awake and stopped. */
	on_paper(&old, RUNSTATE_RUNNING);
	vm_stop(&old.vm, RUNSTATE_PAUSED);
	transfer(&old, &new, true);
	vm_start(&new.vm);
	assert_int_equal(new.vm.runstate, RUNSTATE_RUNNING);
}

static void an_update_that_fails_leaves_the_sleeper_asleep(void **state)
{
	struct paper p;

	(void)state;
	on_paper(&p, RUNSTATE_SUSPENDED);
	vm_stop(&p.vm, RUNSTATE_FINISH_MIGRATE);
	vm_start(&p.vm);
	assert_int_equal(p.vm.runstate, RUNSTATE_SUSPENDED);
	assert_int_equal(entries, 0);
	assert_string_equal(p.events, "SR");
}

static void a_guest_of_another_process_is_neither_started_nor_woken(void **state)
{
	struct paper p;

	(void)state;
	on_paper(&p, RUNSTATE_SUSPENDED);
	p.vm.foreign = true;
	assert_false(vm_wakeup(&p.vm));
	vm_stop(&p.vm, RUNSTATE_PAUSED);
	vm_start(&p.vm);
	assert_int_equal(p.vm.runstate, RUNSTATE_PAUSED);
	assert_int_equal(entries, 0);
}

/* A state of a writer that has the flag's bytes but does not use them. */
static void a_flag_that_was_not_written_is_not_believed(void **state)
{
	struct global_state g;
	bool was;

	(void)state;
	global_state_set(&g, RUNSTATE_PAUSED, true);
	assert_int_equal(global_state_get(&g, &was), RUNSTATE_PAUSED);
	assert_true(was);
	g.has_vm_was_suspended = false;
	assert_int_equal(global_state_get(&g, &was), RUNSTATE_PAUSED);
	assert_false(was);
	global_state_set(&g, RUNSTATE_FINISH_MIGRATE, false);
	assert_int_equal(g.size, strlen("finish-migrate") + 1);
	assert_int_equal(global_state_get(&g, &was), RUNSTATE_FINISH_MIGRATE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_of_transitions_is_the_documented_one),
		cmocka_unit_test(sleep_is_remembered_until_the_guest_is_awake_or_asleep_again),
		cmocka_unit_test(a_sleeping_guest_that_is_stopped_and_started_still_sleeps),
		cmocka_unit_test(a_guest_that_never_ran_here_is_started_by_its_wake_up),
		cmocka_unit_test(sleep_travels_in_each_combination),
		cmocka_unit_test(an_update_that_fails_leaves_the_sleeper_asleep),
		cmocka_unit_test(a_guest_of_another_process_is_neither_started_nor_woken),
		cmocka_unit_test(a_flag_that_was_not_written_is_not_believed),
	};

	return cmocka_run_group_tests_name("runstate", tests, NULL, NULL);
}
