/* SPDX-License-Identifier: MIT */
/* Devices by name: option text and JSON in, configs out, and back; hostile text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "machine/device_type.h"
#include "machine/vm.h"

struct gadget_config {
	struct device_config device;
	bool on;
	uint8_t maybe;
	uint8_t color;
	uint8_t mac[6];
	uint64_t count, any, bytes;
	char text[PROP_STRING_MAX];
	int32_t where;
};

#define PROP(member, ...)                                                                      \
	{                                                                                      \
		.name = #member, .offset = offsetof(struct gadget_config, member), __VA_ARGS__ \
	}

static const char *const colors[] = { "red", "green", NULL };
static const struct prop gadget_props[] = {
	PROP(on, .kind = PROP_BOOL, .initial = 1, .help = "whether it is on"),
	PROP(maybe, .kind = PROP_TRISTATE, .initial = PROP_AUTO),
	PROP(color, .kind = PROP_ENUM, .values = colors, .initial = 1),
	PROP(mac, .kind = PROP_MAC),
	PROP(count, .kind = PROP_UINT, .min = 1, .max = 64, .initial = 4),
	PROP(any, .kind = PROP_UINT),
	PROP(bytes, .kind = PROP_SIZE, .min = 4096, .max = GIB, .initial = MIB),
	PROP(text, .kind = PROP_STRING),
	PROP(where, .kind = PROP_PCI_ADDR),
	{ .name = NULL },
};

struct gadget {
	struct device dev;
	int32_t where;
};

static void gadget_destroy(struct device *d)
{
	free(CONTAINER_OF(d, struct gadget, dev));
}

static const struct device_class gadget_class = {
	.name = "gadget",
	.stateless = true,
	.destroy = gadget_destroy,
};
static const struct device_class opaque_class = { .name = "opaque", .destroy = gadget_destroy };
static const struct device_class *const gadget_classes[] = { &gadget_class, NULL };
static const struct device_class *const opaque_classes[] = { &opaque_class, NULL };

static int create(struct vm *vm, const struct device_config *config, struct device **out,
		  const struct device_class *class, struct err *e)
{
	const struct gadget_config *c = CONTAINER_OF(config, struct gadget_config, device);
	struct gadget *g;

	if (!c->on)
		return err_set(e, EIO, "it is off");
	g = calloc(1, sizeof(*g));
	assert_non_null(g);
	memcpy(g->dev.id, config->id, sizeof(g->dev.id));
	strcpy(g->dev.bus, "pcie.0");
	g->dev.addr = config->addr < 0 ? 0x18 : config->addr;
	g->where = c->where < 0 ? 9 : c->where;
	device_add(vm, &g->dev, class);
	*out = &g->dev;
	return 0;
}

static int gadget_create(struct vm *vm, const struct device_config *config, struct device **out,
			 struct err *e)
{
	return create(vm, config, out, &gadget_class, e);
}

static int opaque_create(struct vm *vm, const struct device_config *config, struct device **out,
			 struct err *e)
{
	return create(vm, config, out, &opaque_class, e);
}

static void gadget_get_chosen(const struct device *d, struct device_config *config)
{
	CONTAINER_OF(config, struct gadget_config, device)->where =
		CONTAINER_OF(d, struct gadget, dev)->where;
}

static const struct device_type gadget_type = {
	.driver = "gadget-pci",
	.alias = "gadget",
	.bus = "PCI",
	.help = "for tests",
	.hotpluggable = true,
	.config_size = sizeof(struct gadget_config),
	.props = gadget_props,
	.classes = gadget_classes,
	.create = gadget_create,
	.get_chosen = gadget_get_chosen,
};
static const struct device_type opaque_type = {
	.driver = "opaque",
	.bus = "System",
	.help = "cannot be saved",
	.config_size = sizeof(struct gadget_config),
	.props = gadget_props,
	.classes = opaque_classes,
	.create = opaque_create,
};
static const struct device_type plain_type = {
	.driver = "plain",
	.bus = "System",
	.help = "has no properties",
	.config_size = sizeof(struct device_config),
	.classes = gadget_classes,
	.create = gadget_create,
};

const struct device_type *const device_types[] = { &gadget_type, &opaque_type, &plain_type, NULL };

static const struct gadget_config *parse(struct device_spec *s, const char *text)
{
	struct err e;

	if (device_spec_parse(s, text, &e))
		fail_msg("%s: %s", text, e.msg);
	return CONTAINER_OF(s->config, struct gadget_config, device);
}

static void refused(const char *text, const char *why)
{
	struct device_spec s = { .type = &plain_type, .config = NULL };
	struct err e;
	int r = device_spec_parse(&s, text, &e);

	if (r >= 0)
		fail_msg("%s was taken", text);
	assert_int_equal(r, -e.code);
	assert_string_equal(e.msg, why);
	/* Outputs are untouched. */
	assert_ptr_equal(s.type, &plain_type);
	assert_null(s.config);
}

static void defaults_are_there_without_a_word(void **state)
{
	struct device_spec s;
	const struct gadget_config *c = parse(&s, "gadget-pci");

	(void)state;
	assert_ptr_equal(s.type, &gadget_type);
	assert_string_equal(c->device.id, "");
	assert_string_equal(c->device.bus, "");
	assert_int_equal(c->device.addr, -1);
	assert_false(c->device.plugged);
	assert_true(c->on);
	assert_int_equal(c->maybe, PROP_AUTO);
	assert_int_equal(c->color, 1);
	assert_int_equal(c->count, 4);
	assert_int_equal(c->any, 0);
	assert_int_equal(c->bytes, MIB);
	assert_string_equal(c->text, "");
	assert_int_equal(c->where, -1);
	device_spec_fini(&s);
	/* The alias, the key of the first word, and types without properties. */
	parse(&s, "gadget");
	assert_ptr_equal(s.type, &gadget_type);
	device_spec_fini(&s);
	parse(&s, "id=x,driver=gadget,");
	assert_string_equal(s.config->id, "x");
	device_spec_fini(&s);
	parse(&s, "plain,id=y,bus=b");
	assert_string_equal(s.config->bus, "b");
	device_spec_fini(&s);
}

static void each_kind_is_read_from_text(void **state)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 0xAb, 0xcd, 0xef };
	struct device_spec s;
	const struct gadget_config *c =
		parse(&s, "gadget-pci,id=a-b.c_1,bus=pcie.0,addr=1f.7,on=off,maybe=on,color=red,"
			  "mac=52:54:00:aB:cd:ef,count=0x10,any=18446744073709551615,bytes=64K,"
			  "text=a,,b=c,,,where=3");

	(void)state;
	assert_string_equal(c->device.id, "a-b.c_1");
	assert_string_equal(c->device.bus, "pcie.0");
	assert_int_equal(c->device.addr, 0xff);
	assert_false(c->on);
	assert_int_equal(c->maybe, PROP_ON);
	assert_int_equal(c->color, 0);
	assert_memory_equal(c->mac, mac, sizeof(mac));
	assert_int_equal(c->count, 16);
	assert_true(c->any == UINT64_MAX);
	assert_int_equal(c->bytes, 64 * KIB);
	assert_string_equal(c->text, "a,b=c,");
	assert_int_equal(c->where, 0x18);
	device_spec_fini(&s);
	/* A word without a value is a switch. */
	c = parse(&s, "gadget,maybe,on,text=");
	assert_int_equal(c->maybe, PROP_ON);
	assert_true(c->on);
	device_spec_fini(&s);
}

static void each_kind_is_read_from_json(void **state)
{
	struct device_spec s;
	const struct gadget_config *c =
		parse(&s, "{\"driver\": \"gadget\", \"id\": \"x\", \"addr\": 16, \"on\": false, "
			  "\"maybe\": \"off\", \"count\": 64, \"bytes\": 1073741824, "
			  "\"color\": \"green\", \"text\": \"a,,b\", \"where\": \"1.0\", "
			  "\"mac\": \"02-00-00-00-00-01\"}");

	(void)state;
	assert_string_equal(c->device.id, "x");
	assert_int_equal(c->device.addr, 16);
	assert_false(c->on);
	assert_int_equal(c->maybe, PROP_OFF);
	assert_int_equal(c->count, 64);
	assert_int_equal(c->bytes, GIB);
	assert_string_equal(c->text, "a,,b");
	assert_int_equal(c->where, 8);
	assert_int_equal(c->mac[5], 1);
	device_spec_fini(&s);
	/* Strings as in a text, for numbers and switches too. */
	c = parse(&s, "{\"driver\": \"gadget\", \"on\": \"off\", \"count\": \"3\", \"addr\": -1}");
	assert_false(c->on);
	assert_int_equal(c->count, 3);
	assert_int_equal(c->device.addr, -1);
	device_spec_fini(&s);
}

static void what_makes_no_sense_is_refused_in_a_sentence(void **state)
{
	(void)state;
	refused("", "'' is not a valid device model name");
	refused("xyz", "'xyz' is not a valid device model name");
	refused("xyz,id=1", "'xyz' is not a valid device model name");
	refused("id=x", "Parameter 'driver' is missing");
	refused("gadget,foo=1", "Property 'gadget-pci.foo' not found");
	refused("gadget,=1", "Property 'gadget-pci.' not found");
	refused("gadget,plugged=on", "Property 'gadget-pci.plugged' not found");
	refused("opaque,addr=2", "Property 'opaque.addr' not found");
	refused("gadget,driver=gadget", "Parameter 'driver' is given twice");
	refused("gadget,id=a,id=a", "Parameter 'id' is given twice");
	refused("gadget,id=", "Parameter 'id' expects an identifier");
	refused("gadget,id=0a", "Parameter 'id' expects an identifier");
	refused("gadget,id=a/b", "Parameter 'id' expects an identifier");
	refused("gadget,id=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"Parameter 'id' expects at most 63 bytes");
	refused("gadget,on=maybe", "Parameter 'on' expects 'on' or 'off'");
	refused("gadget,maybe=x", "Parameter 'maybe' does not accept value 'x'");
	refused("gadget,color=blue", "Parameter 'color' does not accept value 'blue'");
	refused("gadget,count=", "Parameter 'count' expects uint64");
	refused("gadget,count=-1", "Parameter 'count' expects uint64");
	refused("gadget,count=1x", "Parameter 'count' expects uint64");
	refused("gadget,count=0x", "Parameter 'count' expects uint64");
	refused("gadget,any=18446744073709551616", "Parameter 'any' expects uint64");
	refused("gadget,count=0",
		"Property 'gadget-pci.count' doesn't take value 0 (minimum: 1, maximum: 64)");
	refused("gadget,count=65",
		"Property 'gadget-pci.count' doesn't take value 65 (minimum: 1, maximum: 64)");
	refused("gadget,bytes=1", "Property 'gadget-pci.bytes' doesn't take value 1 "
				  "(minimum: 4096, maximum: 1073741824)");
	refused("gadget,bytes=x", "Parameter 'bytes' expects a size (a number below 2^63, then "
				  "nothing, K, M, G or T)");
	refused("gadget,mac=52:54:00:00:00", "Property 'gadget-pci.mac' doesn't take value "
					     "'52:54:00:00:00'");
	refused("gadget,mac=01:00:00:00:00:00", "Property 'gadget-pci.mac' doesn't take value "
						"'01:00:00:00:00:00'");
	refused("gadget,mac=00:00:00:00:00:00", "Property 'gadget-pci.mac' doesn't take value "
						"'00:00:00:00:00:00'");
	refused("gadget,mac=52:54:00:00:00:000", "Property 'gadget-pci.mac' doesn't take value "
						 "'52:54:00:00:00:000'");
	refused("gadget,addr=20", "Property 'gadget-pci.addr' doesn't take value '20'");
	refused("gadget,addr=1.8", "Property 'gadget-pci.addr' doesn't take value '1.8'");
	refused("gadget,addr=1.", "Property 'gadget-pci.addr' doesn't take value '1.'");
	refused("gadget,addr=", "Property 'gadget-pci.addr' doesn't take value ''");
	refused("gadget,addr=1.0.0", "Property 'gadget-pci.addr' doesn't take value '1.0.0'");
	refused("gadget,text=\xff", "the value of 'text' is no UTF-8");
	refused("gadget,\xff=1", "the name of a property is no UTF-8");
}

static void what_makes_no_sense_in_json_is_refused_too(void **state)
{
	char deep[5000];

	(void)state;
	refused("{}", "Parameter 'driver' is missing");
	refused("{\"driver\": 1}", "Invalid parameter type for 'driver', expected: string");
	refused("{\"driver\": \"gadget\", \"on\": 1}",
		"Invalid parameter type for 'on', expected: boolean");
	refused("{\"driver\": \"gadget\", \"on\": null}",
		"Invalid parameter type for 'on', expected: boolean");
	refused("{\"driver\": \"gadget\", \"count\": true}",
		"Invalid parameter type for 'count', expected: integer");
	refused("{\"driver\": \"gadget\", \"count\": 1.5}",
		"Invalid parameter type for 'count', expected: integer");
	refused("{\"driver\": \"gadget\", \"count\": []}",
		"Invalid parameter type for 'count', expected: integer");
	refused("{\"driver\": \"gadget\", \"count\": -1}", "Parameter 'count' expects uint64");
	refused("{\"driver\": \"gadget\", \"text\": {}}",
		"Invalid parameter type for 'text', expected: string");
	refused("{\"driver\": \"gadget\", \"mac\": 3}",
		"Invalid parameter type for 'mac', expected: string");
	refused("{\"driver\": \"gadget\", \"addr\": 256}",
		"Property 'gadget-pci.addr' doesn't take value 256 (minimum: -1, maximum: 255)");
	refused("{\"driver\": \"gadget\", \"addr\": -2}",
		"Property 'gadget-pci.addr' doesn't take value -2 (minimum: -1, maximum: 255)");
	refused("{\"driver\": \"gadget\", \"foo\": 1}", "Property 'gadget-pci.foo' not found");
	refused("{\"driver\": \"gadget\", \"id\": \"a\", \"id\": \"b\"}",
		"JSON parse error, duplicate object key near '\"id\"'");
	refused("{", "JSON parse error, string or '}' expected near end of file");
	memset(deep, '[', sizeof(deep));
	memcpy(deep, "{\"driver\":", 10);
	deep[sizeof(deep) - 1] = '\0';
	refused(deep, "JSON parse error, maximum parsing depth reached near '['");
}

/* Whatever a text says is said again by its JSON, which says no more than it has to. */
static void a_device_is_written_down_as_it_was_asked_for(void **state)
{
	static const char *const texts[][2] = {
		{ "gadget", "{\"driver\": \"gadget-pci\"}" },
		{ "gadget,on=on,count=4,color=green,maybe=auto,bytes=1M,any=0",
		  "{\"driver\": \"gadget-pci\"}" },
		{ "gadget,id=x,addr=1f.7,on=off,maybe=off,color=red,mac=52:54:00:AB:cd:ef,count=9,"
		  "any=18446744073709551615,bytes=8192,text=a,,b\"\\,where=2",
		  "{\"driver\": \"gadget-pci\", \"id\": \"x\", \"addr\": \"1f.7\", \"on\": false, "
		  "\"maybe\": \"off\", \"color\": \"red\", \"mac\": \"52:54:00:ab:cd:ef\", "
		  "\"count\": 9, \"any\": \"18446744073709551615\", \"bytes\": 8192, "
		  "\"text\": \"a,b\\\"\\\\\", \"where\": \"02.0\"}" },
		{ "plain,bus=b", "{\"driver\": \"plain\", \"bus\": \"b\"}" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct device_spec s, again;
		AUTO_FREE char *text = NULL;
		json_t *j;

		parse(&s, texts[i][0]);
		j = device_spec_to_json(&s);
		text = json_dumps(j, 0);
		assert_string_equal(text, texts[i][1]);
		parse(&again, text);
		assert_ptr_equal(again.type, s.type);
		assert_memory_equal(again.config, s.config, s.type->config_size);
		json_decref(j);
		device_spec_fini(&s);
		device_spec_fini(&again);
	}
}

static struct device *make(struct vm *vm, const char *text, struct err *e)
{
	struct device *d = NULL;
	struct device_spec s;

	parse(&s, text);
	if (!device_spec_create(vm, &s, &d, e))
		assert_non_null(d);
	device_spec_fini(&s);
	return d;
}

static void init_vm(struct vm *vm)
{
	*vm = (struct vm){ .kvm_fd = -1 };
	list_init(&vm->devices);
	list_init(&vm->observers);
	list_init(&vm->backends);
}

static void assert_json(const struct device *d, const char *expected)
{
	json_t *j = device_to_json(d);
	AUTO_FREE char *text = json_dumps(j, 0);

	assert_string_equal(text, expected);
	json_decref(j);
}

static void a_device_knows_how_it_was_asked_for_and_what_it_chose(void **state)
{
	struct device own = { .id = "" };
	struct device *d;
	struct err e;
	struct vm vm;

	(void)state;
	init_vm(&vm);
	d = make(&vm, "gadget,id=x,count=5", &e);
	assert_json(d, "{\"driver\": \"gadget-pci\", \"id\": \"x\", \"bus\": \"pcie.0\", "
		       "\"addr\": \"03.0\", \"count\": 5, \"where\": \"01.1\"}");
	assert_null(make(&vm, "gadget,id=x", &e));
	assert_string_equal(e.msg, "Duplicate device ID 'x'");
	assert_null(make(&vm, "gadget,on=off", &e));
	assert_string_equal(e.msg, "it is off");
	d = make(&vm, "gadget,addr=4", &e);
	assert_int_equal(d->number, 0);
	d = make(&vm, "gadget,addr=5", &e);
	assert_int_equal(d->number, 1);
	assert_null(device_to_json(&own));
	vm_destroy_devices(&vm);
}

static void only_migratable_refuses_by_class_name(void **state)
{
	struct err e;
	struct vm vm;

	(void)state;
	init_vm(&vm);
	assert_non_null(make(&vm, "opaque", &e));
	vm.only_migratable = true;
	assert_null(make(&vm, "opaque", &e));
	assert_string_equal(e.msg,
			    "Device opaque is not migratable, but --only-migratable was specified");
	assert_non_null(make(&vm, "gadget", &e));
	vm_destroy_devices(&vm);
}

static void what_cannot_be_plugged_is_refused_while_the_machine_runs(void **state)
{
	struct device_spec s;
	struct device *d;
	struct err e;
	struct vm vm;

	(void)state;
	init_vm(&vm);
	parse(&s, "opaque");
	s.config->plugged = true;
	assert_int_equal(device_spec_create(&vm, &s, &d, &e), -EOPNOTSUPP);
	assert_string_equal(e.msg, "Parameter 'driver' expects a pluggable device type; 'opaque' "
				   "can only be there from the start");
	device_spec_fini(&s);
	parse(&s, "gadget");
	s.config->plugged = true;
	assert_int_equal(device_spec_create(&vm, &s, &d, &e), 0);
	assert_true(d->hotplugged);
	device_spec_fini(&s);
	vm_destroy_devices(&vm);
}

static const char *noted;
static char noted_path[DEVICE_OBJECT_MAX];

static void note(void *opaque, enum vm_event event, const char *detail)
{
	(void)opaque;
	noted = event == VM_EVENT_DEVICE_DELETED ? "deleted" : "error";
	snprintf(noted_path, sizeof(noted_path), "%s", detail);
}

static void who_watches_hears_of_a_device_that_goes(void **state)
{
	struct vm_observer o = { .event = note };
	struct device *d;
	struct err e;
	struct vm vm;

	(void)state;
	init_vm(&vm);
	vm_observe(&vm, &o);
	d = make(&vm, "gadget,id=x", &e);
	device_unplug_failed(d);
	assert_string_equal(noted, "error");
	assert_string_equal(noted_path, "/machine/peripheral/x");
	device_remove(d);
	assert_string_equal(noted, "deleted");
	assert_null(device_find(&vm, "x"));
	device_remove(make(&vm, "gadget", &e));
	assert_string_equal(noted_path, "/machine/peripheral-anon/device[0]");
	assert_true(list_empty(&vm.devices));
	json_decref(vm.removed);
}

static uint64_t chance(uint64_t *seed)
{
	uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Pieces that nearly make sense get further than letters by chance. */
static void texts_of_chance_are_taken_or_refused_whole(void **state)
{
	static const char *const words[] = {
		"gadget",
		"gadget-pci",
		",",
		"=",
		"id",
		"bus",
		"addr",
		"on",
		"off",
		"maybe",
		"color",
		"red",
		"mac",
		"52:54:00:12:34:56",
		"count",
		"any",
		"0x",
		"1",
		"18446744073709551615",
		"9999999999999999999999",
		"bytes",
		"4K",
		"1T",
		"text",
		"where",
		"1f.7",
		"{",
		"}",
		"\"",
		":",
		"\"driver\"",
		"\"gadget\"",
		"[",
		"]",
		"-1",
		"1e400",
		"null",
		"true",
		"\\u0000",
		"\xff",
		"\xc3\xa4",
		" ",
		"\n",
		"driver",
		"plain",
		"opaque",
		",,",
		"%s%n",
		"\\",
	};
	uint64_t seed = 5;
	unsigned int taken = 0;

	(void)state;
	for (unsigned int round = 0; round < 300000; round++) {
		char text[512] = "";
		size_t n = chance(&seed) % 12;
		struct device_spec s, again;
		json_t *j;
		struct err e = { .code = 0 };
		int r;

		if (chance(&seed) % 2)
			strcat(text, "gadget,");
		for (size_t i = 0; i < n; i++)
			strcat(text, words[chance(&seed) % ARRAY_SIZE(words)]);
		r = device_spec_parse(&s, text, &e);
		if (r) {
			assert_true(r < 0 && r == -e.code && *e.msg);
			continue;
		}
		taken++;
		j = device_spec_to_json(&s);
		assert_non_null(j);
		assert_int_equal(device_spec_from_json(&again, j, &e), 0);
		assert_memory_equal(again.config, s.config, s.type->config_size);
		json_decref(j);
		device_spec_fini(&s);
		device_spec_fini(&again);
	}
	assert_true(taken > 1000);
}

static void help_knows_each_type(void **state)
{
	(void)state;
	assert_true(device_type_print_help(NULL));
	assert_true(device_type_print_help("gadget"));
	assert_true(device_type_print_help("plain"));
	assert_false(device_type_print_help("xyz"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_there_without_a_word),
		cmocka_unit_test(each_kind_is_read_from_text),
		cmocka_unit_test(each_kind_is_read_from_json),
		cmocka_unit_test(what_makes_no_sense_is_refused_in_a_sentence),
		cmocka_unit_test(what_makes_no_sense_in_json_is_refused_too),
		cmocka_unit_test(a_device_is_written_down_as_it_was_asked_for),
		cmocka_unit_test(a_device_knows_how_it_was_asked_for_and_what_it_chose),
		cmocka_unit_test(only_migratable_refuses_by_class_name),
		cmocka_unit_test(what_cannot_be_plugged_is_refused_while_the_machine_runs),
		cmocka_unit_test(who_watches_hears_of_a_device_that_goes),
		cmocka_unit_test(texts_of_chance_are_taken_or_refused_whole),
		cmocka_unit_test(help_knows_each_type),
	};

	return cmocka_run_group_tests_name("device_type", tests, NULL, NULL);
}
