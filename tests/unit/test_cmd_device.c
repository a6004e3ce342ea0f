/* SPDX-License-Identifier: MIT */
/* device_add, device_del and what tells of devices, on a machine that exists on paper. */
#include "ctl/commands.h"
#include "ctl/monitor.h"
#include "fake_machine.h"
#include "machine/device_list.h"

static int run(struct fake *f, const char *name, const char *args, json_t **ret, struct err *e)
{
	json_t *j = json_loads(args, 0, NULL);

	assert_non_null(j);
	return command_run_named(f->ctl, name, j, ret, e);
}

static void works(struct fake *f, const char *name, const char *args)
{
	struct err e;

	if (run(f, name, args, NULL, &e))
		fail_msg("%s %s: %s", name, args, e.msg);
}

static void refused(struct fake *f, const char *name, const char *args, const char *why)
{
	struct err e;

	assert_true(run(f, name, args, NULL, &e) < 0);
	assert_string_equal(e.msg, why);
}

static void end(struct fake *f)
{
	f->vm.runstate = RUNSTATE_PAUSED;
	vm_destroy_devices(&f->vm);
	json_decref(f->vm.removed);
	fake_fini(f);
}

static void a_device_comes_and_is_asked_to_go(void **state)
{
	struct fake f;
	json_t *ret;
	struct err e;

	(void)state;
	fake_init(&f);
	works(&f, "device_add",
	      "{\"driver\": \"gadget\", \"id\": \"x\", \"size\": 7, \"addr\": \"5\"}");
	assert_true(device_find(&f.vm, "x")->hotplugged);
	assert_true(device_find(&f.vm, "x")->spec->config->plugged);
	assert_false(device_find(&f.vm, "x")->newly_added);
	assert_int_equal(run(&f, "qom-get",
			     "{\"path\": \"/machine/peripheral/x\", \"property\": \"size\"}", &ret,
			     &e),
			 0);
	assert_int_equal(json_integer_value(ret), 7);
	json_decref(ret);
	works(&f, "device_del", "{\"id\": \"x\"}");
	refused(&f, "device_del", "{\"id\": \"/machine/peripheral/x\"}",
		"Device x is already in the process of unplug");
	works(&f, "device_add", "{\"driver\": \"gadget\"}");
	works(&f, "device_del", "{\"id\": \"/machine/peripheral-anon/device[0]\"}");
	end(&f);
}

static void what_cannot_be_added_or_removed_is_refused(void **state)
{
	struct fake f;

	(void)state;
	fake_init(&f);
	refused(&f, "device_add", "{}", "Parameter 'driver' is missing");
	refused(&f, "device_add", "{\"driver\": 1}",
		"Invalid parameter type for 'driver', expected: string");
	refused(&f, "device_add", "{\"driver\": \"zz\", \"x\": []}",
		"'zz' is not a valid device model name");
	refused(&f, "device_add", "{\"driver\": \"gadget\", \"size\": 11}",
		"Property 'gadget-pci.size' doesn't take value 11 (minimum: 0, maximum: 10)");
	refused(&f, "device_add", "{\"driver\": \"gadget\", \"bus\": \"b\"}", "Bus 'b' not found");
	refused(&f, "device_add", "{\"driver\": \"gadget\", \"bus\": \"full\"}", "no room");
	refused(&f, "device_add", "{\"driver\": \"unsaved\"}",
		"Parameter 'driver' expects a pluggable device type; 'unsaved' can only be there "
		"from the start");
	refused(&f, "device_del", "{\"id\": \"x\"}", "Device 'x' not found");
	refused(&f, "device_del", "{\"id\": \"/machine/unattached/device[0]\"}",
		"Device 'host-x86_64-cpu' does not support hotplugging");
	refused(&f, "device_del", "{\"id\": \"/machine\"}",
		"/machine is not a hotpluggable device");
	works(&f, "device_add", "{\"driver\": \"gadget\", \"id\": \"x\"}");
	refused(&f, "device_add", "{\"driver\": \"gadget\", \"id\": \"x\"}",
		"Duplicate device ID 'x'");
	f.migration.refuse = "not now";
	refused(&f, "device_add", "{\"driver\": \"gadget\"}", "not now");
	f.migration.refuse = "not now";
	refused(&f, "device_del", "{\"id\": \"x\"}", "not now");
	f.vm.runstate = RUNSTATE_PRELAUNCH;
	works(&f, "device_add", "{\"driver\": \"unsaved\", \"id\": \"u\"}");
	f.vm.runstate = RUNSTATE_PAUSED;
	refused(&f, "device_del", "{\"id\": \"u\"}",
		"Device 'unsaved' does not support hotplugging");
	/* Nobody is to be asked yet, but what is on its bus would be left behind. */
	f.vm.runstate = RUNSTATE_PRELAUNCH;
	snprintf(device_find(&f.vm, "x")->bus, DEVICE_ID_MAX, "u.0");
	refused(&f, "device_del", "{\"id\": \"u\"}", "Device 'u' has device 'x' on its bus");
	works(&f, "device_del", "{\"id\": \"x\"}");
	refused(&f, "device_del", "{\"id\": \"u\"}",
		"Device 'unsaved' does not support hotplugging");
	f.vm.only_migratable = true;
	refused(&f, "device_add", "{\"driver\": \"unsaved\"}",
		"Device unsaved is not migratable, but --only-migratable was specified");
	end(&f);
}

static void before_the_guest_comes_its_devices_are_meant(void **state)
{
	struct device *d;
	struct fake f;
	struct err e;
	json_t *j = json_loads("[{\"driver\": \"gadget\", \"id\": \"x\", \"size\": 2}]", 0, NULL);

	(void)state;
	fake_init(&f);
	f.vm.runstate = RUNSTATE_INMIGRATE;
	f.vm.foreign = true;
	assert_int_equal(device_list_create(&f.vm, j, &e), 0);
	json_decref(j);
	refused(&f, "device_add", "{\"driver\": \"gadget\", \"id\": \"x\"}",
		"device 'x' is another one in the old machine: 'size' is 2 there and 1 here");
	works(&f, "device_add", "{\"driver\": \"gadget\", \"id\": \"x\", \"size\": 2}");
	refused(&f, "device_add", "{\"driver\": \"gadget\", \"id\": \"x\", \"size\": 2}",
		"Duplicate device ID 'x'");
	assert_false(device_find(&f.vm, "x")->newly_added);
	works(&f, "device_add", "{\"driver\": \"gadget\", \"id\": \"y\"}");
	d = device_find(&f.vm, "y");
	assert_true(d->newly_added && d->hotplugged && !d->spec->config->plugged);
	refused(&f, "device_del", "{\"id\": \"x\"}",
		"Device 'x' belongs to the guest that is to come");
	works(&f, "device_del", "{\"id\": \"y\"}");
	assert_null(device_find(&f.vm, "y"));
	end(&f);
}

static void types_and_their_properties_are_listed(void **state)
{
	struct fake f;
	struct err e;
	json_t *ret;

	(void)state;
	fake_init(&f);
	assert_int_equal(run(&f, "device-list-properties", "{\"typename\": \"gadget\"}", &ret, &e),
			 0);
	assert_int_equal(json_array_size(ret), 5);
	assert_int_equal(
		json_integer_value(json_object_get(json_array_get(ret, 3), "default-value")), 1);
	json_decref(ret);
	refused(&f, "device-list-properties", "{\"typename\": \"zz\"}", "Device 'zz' not found");
	refused(&f, "device-list-properties", "{\"typename\": \"device\"}",
		"Parameter 'typename' expects a non-abstract device type");
	assert_int_equal(run(&f, "qom-list-types", "{\"implements\": \"pci-device\"}", &ret, &e),
			 0);
	assert_int_equal(json_array_size(ret), 1);
	json_decref(ret);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_comes_and_is_asked_to_go),
		cmocka_unit_test(what_cannot_be_added_or_removed_is_refused),
		cmocka_unit_test(before_the_guest_comes_its_devices_are_meant),
		cmocka_unit_test(types_and_their_properties_are_listed),
	};

	return cmocka_run_group_tests_name("cmd_device", tests, NULL, NULL);
}
