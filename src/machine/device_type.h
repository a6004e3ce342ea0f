/* SPDX-License-Identifier: MIT */
/* Kinds of devices one can ask for by name: -device DRIVER,... and device_add. */
#ifndef MACHINE_DEVICE_TYPE_H
#define MACHINE_DEVICE_TYPE_H

/*
 * DOC: theory of operation
 *
 * A device type has a driver name and a table of properties, each a member of the type's
 * config struct. The table checks what an operator gives, on the command line or by QMP, prints
 * help, answers device-list-properties, and writes the device back down as text, which
 * is how devices travel in an update's configuration. create() gets a config in which every
 * property has its value or default. A default that was released is never changed: a device
 * is written down without it.
 *
 * Text of an option is `DRIVER,key=value,...`, two commas standing for one in a value; a JSON
 * object has the member "driver" and one for each key, whose value is a string as in the text, or
 * of the property's own type.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/device.h"

struct vm;

enum prop_kind {
	PROP_BOOL,     /* bool: on/off                                          */
	PROP_TRISTATE, /* uint8_t: enum prop_tristate, auto/on/off              */
	PROP_UINT,     /* uint64_t in [min, max], decimal or 0x                 */
	PROP_SIZE,     /* uint64_t in [min, max], with K, M, G, T               */
	PROP_STRING,   /* char[PROP_STRING_MAX], default empty                  */
	PROP_ENUM,     /* uint8_t: index in @values                             */
	PROP_MAC,      /* uint8_t[6]; all zero: not given                       */
	PROP_PCI_ADDR, /* int32_t: SLOT[.FUNCTION] as devfn; -1: not given      */
	PROP_NAME,     /* char[DEVICE_ID_MAX]: of a device or bus, default empty */
};

enum prop_tristate {
	PROP_AUTO,
	PROP_ON,
	PROP_OFF
};

#define PROP_STRING_MAX 256

struct prop {
	const char *name; /* NULL ends a table                            */
	enum prop_kind kind;
	uint32_t offset;           /* in the config struct                         */
	uint64_t min, max;         /* PROP_UINT, PROP_SIZE; max 0: no limit        */
	uint64_t initial;          /* the default, of kinds that are numbers or bool */
	const char *const *values; /* PROP_ENUM; ends with NULL              */
	bool chosen;               /* at its default create() chooses: see get_chosen()    */
	const char *help;          /* half a line                                  */
};

/* What every device has; the first member of each config struct. */
struct device_config {
	char id[DEVICE_ID_MAX];
	char bus[DEVICE_ID_MAX]; /* empty: the first one that fits */
	int32_t addr;            /* devfn on it; -1: the first free slot  */
	bool plugged;            /* comes while the machine runs          */
};

struct device_type {
	const char *driver; /* e.g. virtio-blk-pci                                   */
	const char *alias;  /* another name, e.g. virtio-blk; or NULL                */
	const char *bus;    /* kind of bus it sits on: "PCI", "virtio-serial-bus", "System" */
	const char *help;
	bool hotpluggable;
	size_t config_size;
	const struct prop *props; /* beyond those of struct device_config; or NULL       */
	/* Of the devices it makes, ends with NULL: for the audit of states and -only-migratable. */
	const struct device_class *const *classes;
	/*
	 * Checks @config across properties, claims back ends, puts the device on its bus and on the
	 * machine's list. Machine lock, main loop's thread. On failure nothing is left.
	 */
	int (*create)(struct vm *vm, const struct device_config *config, struct device **out,
		      struct err *e);
	/*
	 * The operator wants @d to go: takes it away, or asks the guest to let go of it and calls
	 * device_remove() once it did. -EBUSY says why that is not possible. NULL: never is.
	 */
	int (*unplug)(struct device *d, struct err *e);
	/*
	 * Writes into @config what create() has chosen where it had the choice, beside bus and addr,
	 * which the device has. NULL: nothing.
	 */
	void (*get_chosen)(const struct device *d, struct device_config *config);
};

/* All types, ends with NULL: src/dev/types.c. */
extern const struct device_type *const device_types[];

/* By driver name or alias; NULL if there is none. */
const struct device_type *device_type_find(const char *driver);
/* Property @index of @t, those of every device first, or NULL after the last. */
const struct prop *device_type_prop(const struct device_type *t, unsigned int index);
/* The property of that name, or NULL. */
const struct prop *device_type_find_prop(const struct device_type *t, const char *name);
/* What kind of value it takes, for help and device-list-properties: "uint64", "OnOffAuto". */
const char *prop_type_name(const struct prop *p);
/* Its default, the caller's; NULL: it has none. */
json_t *prop_default(const struct prop *p);

/* A device that was asked for: its type and its config, which device_spec_fini() frees. */
struct device_spec {
	const struct device_type *type;
	struct device_config *config;
};

/*
 * From `DRIVER,key=value,...` or the text of a JSON object; from such an object itself. Texts of
 * errors are those QMP's users know; -ENODEV for a driver that does not exist.
 */
int device_spec_parse(struct device_spec *out, const char *text, struct err *e);
int device_spec_from_json(struct device_spec *out, const json_t *args, struct err *e);
/* The option's text as such an object, with strings; the caller's. NULL fills @e. */
json_t *device_text_to_json(const char *text, struct err *e);
/*
 * The same as a JSON object with "driver", and each property that is not at its default; the
 * caller's. NULL if there is no memory.
 */
json_t *device_spec_to_json(const struct device_spec *s);
/* How @d was asked for, with what was chosen for it; NULL: nobody did, it is the machine's own. */
json_t *device_to_json(const struct device *d);
void device_spec_fini(struct device_spec *s);
/*
 * Whether @theirs, with what was chosen for it, is what @ours asks for, the id aside. -EINVAL names
 * the first property that differs.
 */
int device_spec_check_same(const struct device_spec *ours, const struct device_spec *theirs,
			   struct err *e);

/*
 * Creates the device, which from then on says how it was asked for (device.spec). -EEXIST if its
 * id is taken, -ENOENT without such a bus, -EOPNOTSUPP if it can come only before the machine
 * runs (config->plugged), or only where states are not needed (-only-migratable). On failure
 * nothing is left.
 */
int device_spec_create(struct vm *vm, const struct device_spec *s, struct device **out,
		       struct err *e);

/* Help on all types, or on the properties of one, on standard output. False: no such driver. */
bool device_type_print_help(const char *driver);

#endif
