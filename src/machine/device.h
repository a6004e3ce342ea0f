/* SPDX-License-Identifier: MIT */
/* What the machine knows of a device: its class, its state table and its hooks. */
#ifndef MACHINE_DEVICE_H
#define MACHINE_DEVICE_H

/*
 * DOC: theory of operation
 *
 * A device struct has three members with three origins:
 *
 *	struct serial {
 *		struct device dev;	-- identity and wiring: from the configuration
 *		struct serial_state s;	-- guest-visible: from the old process
 *		struct serial_host h;	-- host side: handed over by name, or rebuilt
 *	};
 *
 * Only `s` crosses an update, and all of it does. State that KVM keeps for a
 * device (interrupt controllers, PIT, clock, vCPUs) has a struct and a table of
 * ours too; such a class fetches it with capture() and sets it with apply().
 *
 * A device that cannot be saved has a table that says so (vs_desc.unmigratable); so has,
 * in effect, one without a table that does not claim to be stateless. Such a device
 * blocks every save and every load of the machine, by name.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "state/vmstate.h"

struct vm;
struct device;
struct device_spec;
struct host_time;

/* All hooks run with the machine lock held and no vCPU in the guest, unless said otherwise. */
struct device_class {
	const char *name;            /* the state section's idstr                           */
	const struct vs_desc *state; /* NULL only with @stateless                           */
	bool stateless;              /* said explicitly: this class has nothing to save     */
	const char *alias;           /* idstr in states of earlier releases; NULL: the same */
	uint32_t state_offset;       /* of `s` in the device struct, where the defaults work */
	bool in_kvm;                 /* its state is KVM's: stays where the VM stays         */
	/*
	 * Its section is left out of a state while it has the reset values of the table, and is
	 * not missed in one. For what each machine has, but machines of earlier releases had not.
	 */
	bool optional;
	/*
	 * Judges a state that vs_decode() accepted by what this device is; before the machine takes
	 * over anything. NULL: any fits.
	 */
	int (*fits)(const struct device *d, const void *state, struct err *e);
	/*
	 * Fills @state (state->size bytes) from the device without changing it.
	 * NULL: copies `s`.
	 */
	int (*capture)(const struct device *d, void *state, struct err *e);
	/*
	 * Takes over a state that vs_decode() accepted. Only host calls may fail,
	 * and then the whole load fails. NULL: copies into `s`.
	 */
	int (*apply)(struct device *d, const void *state, struct err *e);
	/* When, by the saving host's clocks, such a state was captured. NULL: it does not tell. */
	void (*captured_at)(const void *state, struct host_time *t);
	/* Recomputes what derives from `s` (interrupt level, timers). NULL: nothing does. */
	void (*loaded)(struct device *d);
	/* The guest is about to run after a stop, or has stopped; for timers. NULL: no matter. */
	void (*run_changed)(struct device *d, bool running);
	/*
	 * The guest has stopped, run_changed() was told: finishes what is in flight with a back
	 * end, by @deadline_ns (clock_boottime_ns()). -ETIMEDOUT, with what does not answer; the
	 * device then goes on as if nothing had been asked. NULL: nothing is ever in flight.
	 */
	int (*quiesce)(struct device *d, uint64_t deadline_ns, struct err *e);
	/* Power-on state. Also called once after create. */
	void (*reset)(struct device *d);
	/* Frees the device. */
	void (*destroy)(struct device *d);
};

#define DEVICE_ID_MAX   64
#define DEVICE_PATH_MAX 40

struct device {
	const struct device_class *class; /* [c]                                     */
	struct vm *vm;                    /* [c]                                     */
	struct list link;                 /* [m] in vm->devices, in order of creation */
	uint32_t instance_id;             /* [c] among devices of this class and path */
	char id[DEVICE_ID_MAX];           /* [c] what the operator calls it; may be empty */
	/* [c] Where it is, e.g. "0000:00:02.0"; empty: there is one place for it. */
	char path[DEVICE_PATH_MAX];
	/* [c] The bus it was put on, and where on it; set by the bus. Empty: on none. */
	char bus[DEVICE_ID_MAX];
	int32_t addr;
	/* [m] How it was asked for, owned; NULL: it is the machine's own (device_type.h). */
	struct device_spec *spec;
	uint32_t number; /* [c] of those that were asked for without an id, from 0 */
	bool hotplugged; /* [m] the command line of this process does not name it  */
	bool unclaimed;  /* [m] came with a guest's configuration (device_list.h)  */
	bool leaving;    /* [m] to be removed once an update at work is over       */
	/* [m] It was added here for a guest that is to come and may not have it: no state is
	 * needed for it then. */
	bool newly_added;
};

/*
 * Puts @d, embedded in its device struct, on the machine's list, which owns it
 * from then on. Saving and loading go in that order: a device comes before the
 * interrupt controllers it drives, so that re-raised lines do not look like new
 * edges. So one whose state is ours goes before those of KVM's (in_kvm), whenever it comes. Its
 * path and id are set. Before the machine first runs, or while it runs for one that
 * is plugged in.
 */
void device_add(struct vm *vm, struct device *d, const struct device_class *class);
/*
 * Takes @d off the machine's list and frees it: it was unplugged, which the observers hear. The
 * guest may run; machine lock, main loop's thread, outside of a walk over the list. While an update
 * is at work @d stays until that is over; if the guest is elsewhere then, @d stays for good, and
 * what has made it go there, such as a port without power, comes to this again.
 */
void device_remove(struct device *d);
/* Tells the observers that the guest does not let go of @d, which it was asked for. */
void device_unplug_failed(const struct device *d);
/* The same as device_remove() when the machine itself ends, of which nobody hears. */
void device_destroy(struct device *d);
/* What clients call a device that was asked for: "/machine/peripheral/ID", or by its number. */
#define DEVICE_OBJECT_MAX (DEVICE_ID_MAX + 32)
void device_object_path(const struct device *d, char *out, size_t size);
/* The device the operator calls @id, or NULL. Machine lock. */
struct device *device_find(const struct vm *vm, const char *id);
/*
 * What its state is called: "PATH/CLASS", or "CLASS" for a device without a path. The class's
 * name when it is not yet added.
 */
void device_idstr(const struct device *d, char *out, size_t size);
/*
 * Calls quiesce() of each device. On failure those before it have nothing in flight, and nothing
 * new begins before the guest runs again. The guest is stopped; machine lock.
 */
int device_quiesce_all(struct vm *vm, uint64_t deadline_ns, struct err *e);

/* Whether a device of this class can be saved and loaded, or needs not be. */
bool device_class_is_migratable(const struct device_class *class);
/*
 * Names of the devices in @vm that cannot be saved, in order, the first @max of them in
 * @names; how many there are. The names stay the classes'. Machine lock.
 */
size_t device_blockers(const struct vm *vm, const char **names, size_t max);
/*
 * For -only-migratable, at start and before a device is added later: -EOPNOTSUPP, with the
 * name, if a device cannot be saved. Machine lock.
 */
int device_class_check_migratable(const struct device_class *class, struct err *e);
int device_check_all_migratable(const struct vm *vm, struct err *e);

/* `s` of a device whose class uses the defaults. */
void *device_state(const struct device *d);

#endif
