/* SPDX-License-Identifier: MIT */
/* Kinds of devices one can ask for by name: -device DRIVER,... and device_add. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json_memory.h"
#include "base/parse.h"
#include "base/util.h"
#include "machine/device_type.h"
#include "machine/vm.h"

/* How much of a value that is refused stands in the message. */
#define SHOWN "%.80s"

#define COMMON(member, kind_, initial_, help_)                                           \
	{                                                                                \
		.name = #member, .kind = (kind_),                                        \
		.offset = offsetof(struct device_config, member), .initial = (initial_), \
		.help = (help_)                                                          \
	}
enum {
	COMMON_ID,
	COMMON_BUS,
	COMMON_ADDR
};
static const struct prop common_props[] = {
	[COMMON_ID] = COMMON(id, PROP_NAME, 0, "what the device is called"),
	[COMMON_BUS] =
		COMMON(bus, PROP_NAME, 0, "the bus it is put on (default: the first that fits)"),
	[COMMON_ADDR] =
		COMMON(addr, PROP_PCI_ADDR, 0, "slot and optional function, example: 06.0 or 06"),
};

static const char *const tristate_values[] = { "auto", "on", "off", NULL };

static void *member(struct device_config *c, const struct prop *p)
{
	return (char *)c + p->offset;
}

static const void *const_member(const struct device_config *c, const struct prop *p)
{
	return (const char *)c + p->offset;
}

const struct device_type *device_type_find(const char *driver)
{
	for (unsigned int i = 0; device_types[i]; i++) {
		const struct device_type *t = device_types[i];

		if (!strcmp(t->driver, driver) || (t->alias && !strcmp(t->alias, driver)))
			return t;
	}
	return NULL;
}

const struct prop *device_type_prop(const struct device_type *t, unsigned int index)
{
	/* Only a PCI bus has addresses that an operator can choose. */
	unsigned int nr_common = ARRAY_SIZE(common_props) - (strcmp(t->bus, "PCI") != 0);

	if (index < nr_common)
		return &common_props[index];
	if (!t->props)
		return NULL;
	for (unsigned int i = 0; i < index - nr_common; i++)
		if (!t->props[i].name)
			return NULL;
	return t->props[index - nr_common].name ? &t->props[index - nr_common] : NULL;
}

const struct prop *device_type_find_prop(const struct device_type *t, const char *name)
{
	const struct prop *p;

	for (unsigned int i = 0; (p = device_type_prop(t, i)); i++)
		if (!strcmp(p->name, name))
			return p;
	return NULL;
}

const char *prop_type_name(const struct prop *p)
{
	static const char *const names[] = {
		[PROP_BOOL] = "bool", [PROP_TRISTATE] = "OnOffAuto", [PROP_UINT] = "uint64",
		[PROP_SIZE] = "size", [PROP_STRING] = "str",         [PROP_ENUM] = "enum",
		[PROP_MAC] = "str",   [PROP_PCI_ADDR] = "int32",     [PROP_NAME] = "str",
	};

	return names[p->kind];
}

static const char *const *prop_values(const struct prop *p)
{
	return p->kind == PROP_TRISTATE ? tristate_values : p->values;
}

json_t *prop_default(const struct prop *p)
{
	switch (p->kind) {
	case PROP_BOOL:
		return json_boolean(p->initial);
	case PROP_UINT:
	case PROP_SIZE:
		return json_integer((json_int_t)p->initial);
	case PROP_TRISTATE:
	case PROP_ENUM:
		return json_string(prop_values(p)[p->initial]);
	default:
		return NULL;
	}
}

static void set_default(struct device_config *c, const struct prop *p)
{
	const uint8_t small = (uint8_t)p->initial;
	const int32_t none = -1;
	const bool on = p->initial != 0;

	switch (p->kind) {
	case PROP_BOOL:
		memcpy(member(c, p), &on, sizeof(on));
		break;
	case PROP_TRISTATE:
	case PROP_ENUM:
		memcpy(member(c, p), &small, sizeof(small));
		break;
	case PROP_UINT:
	case PROP_SIZE:
		memcpy(member(c, p), &p->initial, sizeof(p->initial));
		break;
	case PROP_PCI_ADDR:
		memcpy(member(c, p), &none, sizeof(none));
		break;
	case PROP_STRING:
	case PROP_MAC:
	case PROP_NAME:
		break; /* zeros */
	}
}

/* The text of the field for a value that the property's own kind does not know. */
static int refuse(const struct device_type *t, const struct prop *p, const char *text,
		  struct err *e)
{
	return err_set(e, EINVAL, "Property '%s.%s' doesn't take value '" SHOWN "'", t->driver,
		       p->name, text);
}

static int set_number(const struct device_type *t, const struct prop *p, void *to, uint64_t v,
		      struct err *e)
{
	uint64_t max = p->max ? p->max : UINT64_MAX;

	if (v < p->min || v > max)
		return err_set(e, ERANGE,
			       "Property '%s.%s' doesn't take value %llu (minimum: %llu, "
			       "maximum: %llu)",
			       t->driver, p->name, (unsigned long long)v,
			       (unsigned long long)p->min, (unsigned long long)max);
	memcpy(to, &v, sizeof(v));
	return 0;
}

/* A decimal or 0x number of 64 bits. */
static bool read_number(const char *text, uint64_t *out)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	unsigned long long v;
	char *end;

	if (hex ? !isxdigit((unsigned char)text[2]) : !isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	v = strtoull(text, &end, hex ? 16 : 10);
	*out = v;
	return !*end && !errno;
}

static int set_enum(const struct prop *p, void *to, const char *text, struct err *e)
{
	const char *const *values = prop_values(p);

	for (uint8_t i = 0; values[i]; i++) {
		if (strcmp(values[i], text))
			continue;
		memcpy(to, &i, sizeof(i));
		return 0;
	}
	return err_set(e, EINVAL, "Parameter '%s' does not accept value '" SHOWN "'", p->name,
		       text);
}

/* Other words for on and off, as other options take them. */
static int set_tristate(const struct prop *p, void *to, const char *text, struct err *e)
{
	struct err ignored;
	bool on;

	if (!parse_bool(text, &on, &ignored))
		text = on ? "on" : "off";
	return set_enum(p, to, text, e);
}

static bool read_mac(const char *text, uint8_t mac[6])
{
	for (unsigned int i = 0; i < 6; i++) {
		char digits[3] = { text[0], text[0] ? text[1] : '\0' };

		if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]))
			return false;
		mac[i] = (uint8_t)strtoul(digits, NULL, 16);
		text += 2;
		if (i == 5)
			break;
		if (*text != ':' && *text != '-')
			return false;
		text++;
	}
	return !*text;
}

/* A device has an address of its own, not one of a group and not the one that means none. */
static int set_mac(const struct device_type *t, const struct prop *p, void *to, const char *text,
		   struct err *e)
{
	static const uint8_t none[6];
	uint8_t mac[6];

	if (!read_mac(text, mac) || (mac[0] & 1) || !memcmp(mac, none, sizeof(mac)))
		return refuse(t, p, text, e);
	memcpy(to, mac, sizeof(mac));
	return 0;
}

/* One or two hexadecimal digits; the length, 0 for none. */
static size_t read_hex(const char *text, unsigned int *out)
{
	size_t n = 0;

	*out = 0;
	while (n < 2 && isxdigit((unsigned char)text[n])) {
		char digit[2] = { text[n++] };

		*out = *out * 16 + (unsigned int)strtoul(digit, NULL, 16);
	}
	return n;
}

static int set_pci_addr(const struct device_type *t, const struct prop *p, void *to,
			const char *text, struct err *e)
{
	unsigned int slot, function = 0;
	size_t n = read_hex(text, &slot), m = 0;
	int32_t devfn;

	if (n && text[n] == '.') {
		m = read_hex(text + n + 1, &function);
		n = m ? n + 1 + m : 0;
	}
	if (!n || text[n] || slot > 31 || function > 7)
		return refuse(t, p, text, e);
	devfn = (int32_t)(slot << 3 | function);
	memcpy(to, &devfn, sizeof(devfn));
	return 0;
}

static bool is_identifier(const char *s)
{
	if (!isalpha((unsigned char)*s))
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("-._", *s))
			return false;
	return true;
}

static int set_text(const struct prop *p, void *to, const char *text, struct err *e)
{
	size_t max = p->kind == PROP_NAME ? DEVICE_ID_MAX : PROP_STRING_MAX;

	if (p == &common_props[COMMON_ID] && !is_identifier(text))
		return err_set(e, EINVAL, "Parameter '%s' expects an identifier", p->name);
	if (strlen(text) >= max)
		return err_set(e, ENAMETOOLONG, "Parameter '%s' expects at most %zu bytes", p->name,
			       max - 1);
	memcpy(to, text, strlen(text) + 1);
	return 0;
}

static int set_from_text(const struct device_type *t, const struct prop *p, struct device_config *c,
			 const char *text, struct err *e)
{
	struct err ignored;
	uint64_t v;
	bool on;

	switch (p->kind) {
	case PROP_BOOL:
		if (parse_bool(text, &on, &ignored))
			return err_set(e, EINVAL, "Parameter '%s' expects 'on' or 'off'", p->name);
		memcpy(member(c, p), &on, sizeof(on));
		return 0;
	case PROP_TRISTATE:
		return set_tristate(p, member(c, p), text, e);
	case PROP_UINT:
		if (!read_number(text, &v))
			return err_set(e, EINVAL, "Parameter '%s' expects uint64", p->name);
		return set_number(t, p, member(c, p), v, e);
	case PROP_SIZE:
		if (parse_size(text, 1, &v, &ignored))
			return err_set(e, EINVAL,
				       "Parameter '%s' expects a size (a number below 2^63, then "
				       "nothing, K, M, G or T)",
				       p->name);
		return set_number(t, p, member(c, p), v, e);
	case PROP_STRING:
	case PROP_NAME:
		return set_text(p, member(c, p), text, e);
	case PROP_ENUM:
		return set_enum(p, member(c, p), text, e);
	case PROP_MAC:
		return set_mac(t, p, member(c, p), text, e);
	case PROP_PCI_ADDR:
		return set_pci_addr(t, p, member(c, p), text, e);
	}
	return 0;
}

static int wrong_type(const struct prop *p, struct err *e)
{
	const char *expected = "string";

	if (p->kind == PROP_BOOL)
		expected = "boolean";
	else if (p->kind == PROP_UINT || p->kind == PROP_SIZE)
		expected = "integer";
	return err_set(e, EINVAL, "Invalid parameter type for '%s', expected: %s", p->name,
		       expected);
}

static int set_from_integer(const struct device_type *t, const struct prop *p,
			    struct device_config *c, json_int_t v, struct err *e)
{
	int32_t devfn = (int32_t)v;

	if (p->kind != PROP_UINT && p->kind != PROP_SIZE && p->kind != PROP_PCI_ADDR)
		return wrong_type(p, e);
	if (p->kind == PROP_PCI_ADDR && (v < -1 || v > 255))
		return err_set(e, ERANGE,
			       "Property '%s.%s' doesn't take value %lld (minimum: -1, "
			       "maximum: 255)",
			       t->driver, p->name, (long long)v);
	if (p->kind == PROP_PCI_ADDR) {
		memcpy(member(c, p), &devfn, sizeof(devfn));
		return 0;
	}
	if (v < 0)
		return err_set(e, EINVAL, "Parameter '%s' expects %s", p->name,
			       p->kind == PROP_SIZE ? "a size" : "uint64");
	return set_number(t, p, member(c, p), (uint64_t)v, e);
}

static int set_from_json(const struct device_type *t, const struct prop *p, struct device_config *c,
			 const json_t *value, struct err *e)
{
	bool on = json_is_true(value);

	if (json_is_string(value) && strlen(json_string_value(value)) != json_string_length(value))
		return err_set(e, EINVAL, "Parameter '%s' has a NUL character", p->name);
	if (json_is_string(value))
		return set_from_text(t, p, c, json_string_value(value), e);
	if (json_is_integer(value))
		return set_from_integer(t, p, c, json_integer_value(value), e);
	if (!json_is_boolean(value) || p->kind != PROP_BOOL)
		return wrong_type(p, e);
	memcpy(member(c, p), &on, sizeof(on));
	return 0;
}

/* A config with its defaults, the caller's. */
static struct device_config *new_config(const struct device_type *t, struct err *e)
{
	struct device_config *c = calloc(1, t->config_size);
	const struct prop *p;

	if (!c) {
		err_set(e, ENOMEM, "no memory for device '%s'", t->driver);
		return NULL;
	}
	c->addr = -1;
	for (unsigned int i = 0; (p = device_type_prop(t, i)); i++)
		set_default(c, p);
	return c;
}

int device_spec_from_json(struct device_spec *out, const json_t *args, struct err *e)
{
	const json_t *driver = json_object_get(args, "driver");
	AUTO_FREE struct device_config *config = NULL;
	const struct device_type *t;
	const char *key;
	json_t *value;
	int r;

	if (!driver)
		return err_set(e, EINVAL, "Parameter 'driver' is missing");
	if (!json_is_string(driver))
		return err_set(e, EINVAL, "Invalid parameter type for 'driver', expected: string");
	t = device_type_find(json_string_value(driver));
	if (!t)
		return err_set(e, ENODEV, "'" SHOWN "' is not a valid device model name",
			       json_string_value(driver));
	config = new_config(t, e);
	if (!config)
		return -e->code;
	/* Only reads it; jansson's macro for constant objects is younger than Debian 12's. */
	json_object_foreach((json_t *)args, key, value)
	{
		const struct prop *p = device_type_find_prop(t, key);

		if (value == driver)
			continue;
		if (!p)
			return err_set(e, EINVAL, "Property '%s." SHOWN "' not found", t->driver,
				       key);
		r = set_from_json(t, p, config, value, e);
		if (r)
			return r;
	}
	*out = (struct device_spec){ .type = t, .config = TAKE_PTR(config) };
	return 0;
}

/* The piece up to the next comma, two of which stand for one; NULL at the end. */
static char *next_piece(char **pos)
{
	char *begin = *pos, *from = begin, *to = begin;

	if (!begin)
		return NULL;
	for (; *from && (*from != ',' || from[1] == ','); from++) {
		if (*from == ',')
			from++;
		*to++ = *from;
	}
	*pos = *from ? from + 1 : NULL;
	*to = '\0';
	return begin;
}

static int add_text(json_t *object, const char *key, const char *value, struct err *e)
{
	json_t *text = json_string(value);

	if (!text || json_object_get(object, key)) {
		int r = text ? err_set(e, EEXIST, "Parameter '" SHOWN "' is given twice", key)
			     : err_set(e, EILSEQ, "the value of '" SHOWN "' is no UTF-8", key);

		json_decref(text);
		return r;
	}
	return json_object_set_new(object, key, text)
		       ? err_set(e, EILSEQ, "the name of a property is no UTF-8")
		       : 0;
}

static int add_piece(json_t *object, char *piece, bool first, struct err *e)
{
	char *value = strchr(piece, '=');

	if (value)
		*value++ = '\0';
	if (value)
		return add_text(object, piece, value, e);
	if (first)
		return add_text(object, "driver", piece, e);
	return *piece ? add_text(object, piece, "on", e) : 0;
}

json_t *device_text_to_json(const char *text, struct err *e)
{
	AUTO_FREE char *copy = strdup(text);
	json_t *object = json_object();
	char *rest = copy, *piece;
	bool first = true;
	int r = 0;

	if (!copy || !object)
		r = err_set(e, ENOMEM, "no memory for a device");
	while (!r && (piece = next_piece(&rest))) {
		r = add_piece(object, piece, first, e);
		first = false;
	}
	if (r)
		json_decref(TAKE_PTR(object));
	return object;
}

int device_spec_parse(struct device_spec *out, const char *text, struct err *e)
{
	json_error_t why;
	json_t *object;
	int r;

	if (*text != '{') {
		object = device_text_to_json(text, e);
	} else {
		object = json_loads(text, JSON_REJECT_DUPLICATES, &why);
		if (!object)
			err_set(e, EINVAL, "JSON parse error, %s", why.text);
	}
	if (!object)
		return -e->code;
	r = device_spec_from_json(out, object, e);
	json_decref(object);
	return r;
}

/* NULL with *@is_default if it has its default. */
static json_t *get_json(const struct device_config *c, const struct prop *p, bool *is_default)
{
	const void *from = const_member(c, p);
	static const uint8_t no_mac[6];
	const uint8_t *mac = from;
	uint64_t number;
	uint8_t index;
	int32_t devfn;
	bool on;

	*is_default = true;
	switch (p->kind) {
	case PROP_BOOL:
		memcpy(&on, from, sizeof(on));
		*is_default = on == (p->initial != 0);
		return *is_default ? NULL : json_boolean(on);
	case PROP_TRISTATE:
	case PROP_ENUM:
		memcpy(&index, from, sizeof(index));
		*is_default = index == p->initial;
		return *is_default ? NULL : json_string(prop_values(p)[index]);
	case PROP_UINT:
	case PROP_SIZE:
		memcpy(&number, from, sizeof(number));
		*is_default = number == p->initial;
		if (*is_default)
			return NULL;
		/* JSON's integers have a sign here. */
		return number > INT64_MAX ? json_sprintf("%llu", (unsigned long long)number)
					  : json_integer((json_int_t)number);
	case PROP_STRING:
	case PROP_NAME:
		*is_default = !*(const char *)from;
		return *is_default ? NULL : json_string(from);
	case PROP_MAC:
		*is_default = !memcmp(mac, no_mac, sizeof(no_mac));
		return *is_default ? NULL
				   : json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
						  mac[2], mac[3], mac[4], mac[5]);
	case PROP_PCI_ADDR:
		memcpy(&devfn, from, sizeof(devfn));
		*is_default = devfn < 0;
		return *is_default ? NULL
				   : json_sprintf("%02x.%x", (unsigned int)devfn >> 3,
						  (unsigned int)devfn & 7);
	}
	return NULL;
}

json_t *device_spec_to_json(const struct device_spec *s)
{
	json_t *object = json_object();
	const struct prop *p;
	bool failed =
		!object || json_object_set_new(object, "driver", json_string(s->type->driver));

	for (unsigned int i = 0; !failed && (p = device_type_prop(s->type, i)); i++) {
		bool is_default;
		json_t *value = get_json(s->config, p, &is_default);

		if (!is_default)
			failed = json_object_set_new(object, p->name, value) != 0;
	}
	if (failed)
		json_decref(TAKE_PTR(object));
	return object;
}

json_t *device_to_json(const struct device *d)
{
	AUTO_FREE struct device_config *chosen = NULL;
	struct device_spec as_made;

	if (!d->spec)
		return NULL;
	chosen = malloc(d->spec->type->config_size);
	if (!chosen)
		return NULL;
	memcpy(chosen, d->spec->config, d->spec->type->config_size);
	if (*d->bus) {
		memcpy(chosen->bus, d->bus, sizeof(chosen->bus));
		chosen->addr = d->addr;
	}
	if (d->spec->type->get_chosen)
		d->spec->type->get_chosen(d, chosen);
	as_made = (struct device_spec){ .type = d->spec->type, .config = chosen };
	return device_spec_to_json(&as_made);
}

void device_spec_fini(struct device_spec *s)
{
	free(TAKE_PTR(s->config));
	s->type = NULL;
}

static int tell_difference(const struct prop *p, const json_t *ours, const json_t *theirs,
			   struct err *e)
{
	AUTO_FREE char *here = ours ? json_text(ours, JSON_ENCODE_ANY) : NULL;
	AUTO_FREE char *there = theirs ? json_text(theirs, JSON_ENCODE_ANY) : NULL;

	return err_set(e, EINVAL, "'%s' is %.100s there and %.100s here", p->name,
		       there ? there : "not given", here ? here : "not given");
}

/* The value, or the default, or NULL; the caller's. */
static json_t *value_of(const struct device_spec *s, const struct prop *p, bool *is_default)
{
	json_t *value = get_json(s->config, p, is_default);

	return *is_default ? prop_default(p) : value;
}

int device_spec_check_same(const struct device_spec *ours, const struct device_spec *theirs,
			   struct err *e)
{
	const struct prop *p;
	int r = 0;

	if (ours->type != theirs->type)
		return err_set(e, EINVAL, "it is a '%s' there and a '%s' here",
			       theirs->type->driver, ours->type->driver);
	for (unsigned int i = 0; !r && (p = device_type_prop(ours->type, i)); i++) {
		bool open, ignored;
		json_t *a = value_of(ours, p, &open), *b = value_of(theirs, p, &ignored);

		open = open && (p->chosen || p == &common_props[COMMON_BUS] ||
				p == &common_props[COMMON_ADDR]);
		if (p != &common_props[COMMON_ID] && !open && (a || b) && !json_equal(a, b))
			r = tell_difference(p, a, b, e);
		json_decref(a);
		json_decref(b);
	}
	return r;
}

static int check_create(const struct vm *vm, const struct device_spec *s, struct err *e)
{
	const struct device_config *c = s->config;
	int r = 0;

	if (c->plugged && !s->type->hotpluggable)
		return err_set(e, EOPNOTSUPP,
			       "Parameter 'driver' expects a pluggable device type; '%s' can only "
			       "be there from the start",
			       s->type->driver);
	if (*c->id && device_find(vm, c->id))
		return err_set(e, EEXIST, "Duplicate device ID '%s'", c->id);
	for (unsigned int i = 0; !r && vm->only_migratable && s->type->classes[i]; i++)
		r = device_class_check_migratable(s->type->classes[i], e);
	return r;
}

/* A copy of @s, the caller's. */
static struct device_spec *copy_spec(const struct device_spec *s, struct err *e)
{
	struct device_spec *copy = malloc(sizeof(*copy));

	if (copy)
		*copy = (struct device_spec){ .type = s->type,
					      .config = malloc(s->type->config_size) };
	if (!copy || !copy->config) {
		free(copy);
		err_set(e, ENOMEM, "no memory for device '%s'", s->type->driver);
		return NULL;
	}
	memcpy(copy->config, s->config, s->type->config_size);
	return copy;
}

int device_spec_create(struct vm *vm, const struct device_spec *s, struct device **out,
		       struct err *e)
{
	struct device_spec *spec;
	struct device *d = NULL;
	int r = check_create(vm, s, e);

	if (r)
		return r;
	spec = copy_spec(s, e);
	if (!spec)
		return -e->code;
	r = s->type->create(vm, spec->config, &d, e);
	if (r) {
		device_spec_fini(spec);
		free(spec);
		return r;
	}
	d->spec = spec;
	d->hotplugged = spec->config->plugged;
	if (!*spec->config->id)
		d->number = vm->nr_unnamed++;
	/* The others were told when the guest began to run. */
	if (runstate_is_live(vm->runstate) && d->class->run_changed)
		d->class->run_changed(d, true);
	*out = d;
	return 0;
}

static void print_type(const struct device_type *t)
{
	printf("name \"%s\", bus %s", t->driver, t->bus);
	if (t->alias)
		printf(", alias \"%s\"", t->alias);
	printf(", desc \"%s\"%s\n", t->help, t->hotpluggable ? "" : ", no-hotplug");
}

static void print_prop(const struct prop *p)
{
	AUTO_FREE char *text = NULL;
	json_t *initial = prop_default(p);
	char left[64];

	snprintf(left, sizeof(left), "%s=<%s>", p->name, prop_type_name(p));
	printf("  %-26s - %s", left, p->help ? p->help : "");
	if (prop_values(p) && (p->kind == PROP_ENUM || p->kind == PROP_TRISTATE)) {
		printf(":");
		for (unsigned int i = 0; prop_values(p)[i]; i++)
			printf(" %s", prop_values(p)[i]);
	}
	if (initial)
		text = json_text(initial, JSON_ENCODE_ANY);
	if (text && p->kind == PROP_BOOL)
		printf(" (default: %s)", p->initial ? "on" : "off");
	else if (text)
		printf(" (default: %s)", text);
	printf("\n");
	json_decref(initial);
}

bool device_type_print_help(const char *driver)
{
	const struct device_type *t = driver ? device_type_find(driver) : NULL;
	const struct prop *p;

	if (driver && !t)
		return false;
	for (unsigned int i = 0; !t && device_types[i]; i++)
		print_type(device_types[i]);
	if (!t)
		return true;
	printf("%s options:\n", t->driver);
	for (unsigned int i = 0; (p = device_type_prop(t, i)); i++)
		print_prop(p);
	return true;
}
