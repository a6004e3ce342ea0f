/* SPDX-License-Identifier: MIT */
/* Devices as they travel in an update's configuration: made again, claimed, removed, held. */
#include <errno.h>

#include "fake_devices.h"
#include "machine/device_list.h"

static void init_vm(struct vm *vm)
{
	*vm = (struct vm){ .kvm_fd = -1 };
	list_init(&vm->devices);
	list_init(&vm->observers);
	list_init(&vm->backends);
}

static void fini_vm(struct vm *vm)
{
	vm_destroy_devices(vm);
	json_decref(vm->removed);
}

static struct device_spec parse(const char *text)
{
	struct device_spec s;
	struct err e;

	if (device_spec_parse(&s, text, &e))
		fail_msg("%s: %s", text, e.msg);
	return s;
}

static struct device *make(struct vm *vm, const char *text)
{
	struct device_spec s = parse(text);
	struct device *d;
	struct err e;

	if (device_spec_create(vm, &s, &d, &e))
		fail_msg("%s: %s", text, e.msg);
	device_spec_fini(&s);
	return d;
}

static void assert_list(json_t *j, const char *expected)
{
	AUTO_FREE char *text = json_dumps(j, 0);

	assert_string_equal(text, expected);
	json_decref(j);
}

#define PLACE "\"bus\": \"pcie.0\", \"addr\": \"03.0\""

static void devices_are_made_again_with_what_was_chosen(void **state)
{
	static const char all[] =
		"[{\"driver\": \"gadget-pci\", \"id\": \"a\", " PLACE
		", \"slot\": \"01.1\"}, {\"driver\": \"unsaved\", \"bus\": \"pcie.0\", "
		"\"size\": 3, \"slot\": \"01.1\"}]";
	struct vm old, new;
	struct device *d;
	json_t *j;
	struct err e;

	(void)state;
	init_vm(&old);
	init_vm(&new);
	make(&old, "gadget,id=a");
	d = make(&old, "unsaved,size=3,slot=1.1");
	assert_false(d->hotplugged);
	assert_list(device_list_to_json(&old), all);
	j = device_list_to_json(&old);
	assert_int_equal(device_list_create(&new, j, &e), 0);
	json_decref(j);
	assert_list(device_list_to_json(&new), all);
	assert_true(device_find(&new, "a")->hotplugged);
	assert_list(device_list_removed(&new), "[]");
	fini_vm(&old);
	fini_vm(&new);
}

static int create_text(struct vm *vm, const char *text, struct err *e)
{
	json_t *j = json_loads(text, JSON_DECODE_ANY, NULL);
	int r;

	assert_non_null(j);
	r = device_list_create(vm, j, e);
	json_decref(j);
	return r;
}

static void a_list_that_makes_no_sense_is_refused_by_name(void **state)
{
	struct err e;
	struct vm vm;

	(void)state;
	init_vm(&vm);
	assert_int_equal(device_list_create(&vm, NULL, &e), 0);
	assert_int_equal(create_text(&vm, "3", &e), -EPROTO);
	assert_int_equal(create_text(&vm, "{}", &e), -EPROTO);
	assert_true(create_text(&vm, "[3]", &e) < 0);
	assert_string_equal(e.msg, "a device of the old machine cannot be had here: Parameter "
				   "'driver' is missing");
	assert_true(create_text(&vm, "[{\"driver\": \"new-pci\"}]", &e) < 0);
	assert_string_equal(e.msg,
			    "a device of the old machine cannot be had here: 'new-pci' is not "
			    "a valid device model name");
	assert_true(create_text(&vm, "[{\"driver\": \"gadget\", \"id\": \"x\", \"bus\": \"b\"}]",
				&e) < 0);
	assert_string_equal(e.msg, "device 'x' of the old machine cannot be had here: Bus 'b' not "
				   "found");
	assert_true(list_empty(&vm.devices));
	fini_vm(&vm);
}

static struct device *claim(struct vm *vm, const char *text, struct err *e)
{
	struct device_spec s = parse(text);
	struct device *d = NULL;
	int r = device_list_claim(vm, &s, &d, e);

	assert_true(r == 0 || r == -e->code);
	device_spec_fini(&s);
	return d;
}

static void options_claim_devices_and_differences_are_named(void **state)
{
	struct device *d;
	struct err e;
	struct vm vm;

	(void)state;
	init_vm(&vm);
	assert_int_equal(create_text(&vm,
				     "[{\"driver\": \"gadget\", \"id\": \"a\", \"addr\": \"04.0\", "
				     "\"size\": 2}, {\"driver\": \"gadget\", \"slot\": \"02.0\"}, "
				     "{\"driver\": \"gadget\"}]",
				     &e),
			 0);
	assert_null(claim(&vm, "gadget,id=b", &e));
	assert_int_equal(e.code, ENOENT);
	assert_string_equal(e.msg, "the old machine has no device 'b'");
	assert_null(claim(&vm, "gadget,id=a", &e));
	assert_int_equal(e.code, EINVAL);
	assert_string_equal(e.msg,
			    "device 'a' is another one in the old machine: 'size' is 2 there "
			    "and 1 here");
	assert_null(claim(&vm, "gadget,id=a,size=2,addr=5", &e));
	assert_string_equal(e.msg, "device 'a' is another one in the old machine: 'addr' is "
				   "\"04.0\" there and \"05.0\" here");
	assert_null(claim(&vm, "unsaved,id=a,size=2", &e));
	assert_string_equal(e.msg, "device 'a' is another one in the old machine: it is a "
				   "'gadget-pci' there and a 'unsaved' here");
	d = claim(&vm, "gadget,id=a,size=2", &e);
	assert_ptr_equal(d, device_find(&vm, "a"));
	/* Once. */
	assert_null(claim(&vm, "gadget,id=a,size=2", &e));
	/* Without an id, the first that is the same. */
	assert_null(claim(&vm, "unsaved", &e));
	assert_int_equal(e.code, ENOENT);
	assert_null(claim(&vm, "gadget,slot=3.0", &e));
	assert_string_equal(e.msg,
			    "device 'gadget-pci' is another one in the old machine: 'slot' is "
			    "\"02.0\" there and \"03.0\" here");
	d = claim(&vm, "gadget,slot=1.1", &e);
	assert_non_null(d);
	assert_int_equal(d->number, 1);
	d = claim(&vm, "gadget", &e);
	assert_non_null(d);
	assert_int_equal(d->number, 0);
	assert_null(claim(&vm, "gadget", &e));
	fini_vm(&vm);
}

static void what_the_command_line_names_and_is_gone_is_remembered(void **state)
{
	struct device_spec again = parse("gadget,id=a"), other = parse("gadget,id=b");
	struct device_spec unlike = parse("gadget,id=a,size=2");
	json_t *removed;
	struct vm vm;

	(void)state;
	init_vm(&vm);
	make(&vm, "gadget,id=b")->hotplugged = true;
	device_remove(make(&vm, "gadget,id=a"));
	device_remove(device_find(&vm, "b"));
	removed = device_list_removed(&vm);
	assert_int_equal(json_array_size(removed), 1);
	assert_false(device_list_was_removed(removed, &other));
	assert_false(device_list_was_removed(removed, &unlike));
	assert_true(device_list_was_removed(removed, &again));
	assert_false(device_list_was_removed(removed, &again));
	assert_false(device_list_was_removed(NULL, &again));
	json_decref(removed);
	device_spec_fini(&again);
	device_spec_fini(&other);
	device_spec_fini(&unlike);
	fini_vm(&vm);
}

static void note(void *opaque, enum vm_event event, const char *detail)
{
	(void)detail;
	assert_int_equal(event, VM_EVENT_DEVICE_DELETED);
	++*(unsigned int *)opaque;
}

static void while_an_update_is_at_work_the_list_stays(void **state)
{
	unsigned int gone = 0;
	struct vm_observer o = { .event = note, .opaque = &gone };
	struct vm vm;

	(void)state;
	init_vm(&vm);
	vm_observe(&vm, &o);
	make(&vm, "gadget,id=a");
	make(&vm, "gadget,id=b");
	make(&vm, "gadget,id=c");
	device_list_hold(&vm);
	device_remove(device_find(&vm, "a"));
	device_remove(device_find(&vm, "c"));
	assert_int_equal(gone, 0);
	/* The guest is elsewhere: so is what becomes of them. */
	vm.foreign = true;
	device_list_release(&vm);
	assert_int_equal(gone, 0);
	vm.foreign = false;
	device_list_hold(&vm);
	device_list_release(&vm);
	assert_int_equal(gone, 2);
	assert_non_null(device_find(&vm, "b"));
	assert_null(device_find(&vm, "a"));
	assert_null(device_find(&vm, "c"));
	fini_vm(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_are_made_again_with_what_was_chosen),
		cmocka_unit_test(a_list_that_makes_no_sense_is_refused_by_name),
		cmocka_unit_test(options_claim_devices_and_differences_are_named),
		cmocka_unit_test(what_the_command_line_names_and_is_gone_is_remembered),
		cmocka_unit_test(while_an_update_is_at_work_the_list_stays),
	};

	return cmocka_run_group_tests_name("device_list", tests, NULL, NULL);
}
