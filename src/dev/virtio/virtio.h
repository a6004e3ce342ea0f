/* SPDX-License-Identifier: MIT */
/* virtio 1.2 devices over PCI (modern interface only): what all of them share. */
#ifndef DEV_VIRTIO_VIRTIO_H
#define DEV_VIRTIO_VIRTIO_H

/*
 * DOC: theory of operation
 *
 * A virtio device embeds a struct virtio and, in its state, a struct virtio_state:
 *
 *	struct foo_state { struct virtio_state virtio; ... };
 *	struct foo {
 *		struct device dev;
 *		struct foo_state s;
 *		struct { struct virtio virtio; ... } h;
 *	};
 *
 * Transport, feature negotiation, queues' addresses, MSI-X, notification and reset are done here; the
 * device has hooks. A notification rings a doorbell (machine/doorbell.h), or is, before KVM knows
 * of that, an access like any other; either way handle_queue() runs on the main loop's thread with the
 * machine lock held, never on a vCPU's thread. So in a stopped guest nothing runs but what a
 * back end completes, and quiesce() waits for that.
 *
 * When the guest goes on, after an update or whatever else, every live queue is looked at once. So it
 * does not matter which notifications were swallowed while it was stopped, and none has to be kept.
 *
 * handle_queue() takes chains until there is none. It may find none where there are more than a
 * queue has entries; it is then called again when other things have had their turn.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "dev/pci/pci.h"
#include "dev/virtio/virtqueue.h"
#include "host/loop.h"
#include "machine/device.h"
#include "machine/device_type.h"
#include "machine/doorbell.h"

enum {
	VIRTIO_MAX_QUEUES = 34,
};

/* Guest-visible, common to all. Nested by VS_STRUCT(type, virtio, &virtio_state_desc). */
struct virtio_state {
	struct pci_state pci;
	uint64_t features; /* that the driver has accepted */
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t status;
	uint8_t isr;
	uint8_t generation; /* of the device-specific configuration */
	bool bad_features;  /* the driver has accepted some beyond the 64th */
	uint32_t nr_queues;
	uint32_t reserved;
	struct virtqueue_state queues[VIRTIO_MAX_QUEUES];
};
extern const struct vs_desc virtio_state_desc;

struct virtio;

/* Hooks of a kind of device; all with the machine lock held. */
struct virtio_class {
	uint16_t device_id; /* e.g. 2: block; the PCI device id is 0x1040 + this */
	uint32_t pci_class; /* 24 bits                                           */
	uint64_t features;  /* beyond those of the transport                     */
	uint32_t config_bytes;
	/* The device-specific configuration; @offset + @size <= config_bytes. */
	void (*read_config)(struct virtio *v, uint32_t offset, void *p, uint32_t size);
	void (*write_config)(struct virtio *v, uint32_t offset, const void *p,
			     uint32_t size); /* NULL: read-only */
	/* The driver has notified, or may have; also after the guest goes on. Main loop's thread. */
	void (*handle_queue)(struct virtio *v, unsigned int index);
	/* Status went to DRIVER_OK; NULL: no matter. Any thread: nothing slow, no memory is got. */
	void (*driver_ok)(struct virtio *v);
	/*
	 * Power-on state of what is the device's own; the driver may have done it at any time, so any
	 * thread. What is in flight with a back end must not touch guest memory any more once this
	 * returns, and what it completes later must not be pushed.
	 */
	void (*reset)(struct virtio *v);
};

struct virtio_queue {
	struct virtqueue q; /* max_size may be changed between virtio_init() and device_add() */
	struct doorbell bell;
	struct virtio *virtio;
	unsigned int index;
};

struct virtio {
	struct pci_function pci;
	struct vm *vm;                    /* [c]                                  */
	const struct virtio_class *class; /* [c]                                  */
	struct virtio_state *s;           /* [c] in the device's state            */
	unsigned int nr_queues;           /* [c]                                  */
	/* [c] MSI-X vectors, set before virtio_init(); 0: one for each queue and one; -1: none. */
	int nr_vectors;
	struct virtio_queue queues[VIRTIO_MAX_QUEUES];
	uint64_t
		features; /* [c] offered: the class's, the transport's, less what is switched off */
	bool running;     /* [m] the guest may be in: queues are served          */
	uint64_t kicked;  /* [m] bit for each queue to be looked at              */
	struct loop_work kick_work;
	uint8_t window;           /* [c] offset of the capability of type PCI_CFG */
	uint64_t broken, said_ns; /* [m] rules broken; when that was last logged  */
	void *opaque;             /* [c] the device struct                        */
};

/*
 * What operators may say of any virtio device: the first member of its config struct, and the
 * properties of that.
 */
struct virtio_config {
	struct device_config device;
	uint64_t vectors; /* VIRTIO_VECTORS_AUTO: one for each queue and one */
	bool event_idx, indirect_desc;
};

#define VIRTIO_VECTORS_AUTO UINT32_MAX

#define VIRTIO_PROP(type, prop, member, ...)                                               \
	{                                                                                  \
		.name = prop,                                                              \
		.offset = offsetof(type, virtio) + offsetof(struct virtio_config, member), \
		__VA_ARGS__                                                                \
	}
/* The config struct @type has the member `virtio`, which is a struct virtio_config. */
#define VIRTIO_PROPS(type)                                                                         \
	VIRTIO_PROP(type, "vectors", vectors, .kind = PROP_UINT, .max = UINT32_MAX,                \
		    .initial = VIRTIO_VECTORS_AUTO,                                                \
		    .help = "MSI-X vectors, 0 for none; by default as many as are of use"),        \
		VIRTIO_PROP(type, "event_idx", event_idx, .kind = PROP_BOOL, .initial = 1,         \
			    .help = "notifications and interrupts by index"),                      \
		VIRTIO_PROP(type, "indirect_desc", indirect_desc, .kind = PROP_BOOL, .initial = 1, \
			    .help = "chains in tables of their own")

/* Before virtio_init(): the number of vectors; the features that are switched off. */
void virtio_configure(struct virtio *v, const struct virtio_config *c);
uint64_t virtio_less(const struct virtio_config *c);

/*
 * Puts the device on its PCI bus with @nr_queues of @queue_size, all as the class says. @extra are
 * features of this one, @less those it does not offer. As pci_function_init(); the caller
 * adds the device to the machine afterwards. On failure nothing is left.
 */
int virtio_init(struct virtio *v, struct vm *vm, struct device *dev, struct virtio_state *s,
		const struct device_config *config, const struct virtio_class *class,
		unsigned int nr_queues, uint32_t queue_size, uint64_t extra, uint64_t less,
		struct err *e);
/* One that was never made is allowed. */
void virtio_fini(struct virtio *v);

/* To be called by the hooks of the device's class of the same names. */
void virtio_reset(struct virtio *v);
int virtio_fits(const struct virtio *v, const struct virtio_state *s, struct err *e);
void virtio_loaded(struct virtio *v);
void virtio_run_changed(struct virtio *v, bool running);
/*
 * To be called by the device's capture(): -EBUSY if requests are in flight in a stopped guest, which
 * is a bug of the device's quiesce(); their chains would be forgotten.
 */
int virtio_check_idle(const struct virtio *v, struct err *e);

bool virtio_has(const struct virtio *v, unsigned int feature_bit);
/* DRIVER_OK is set, the device does not need a reset and the guest runs: queues may be served. */
bool virtio_is_live(const struct virtio *v);
/* Interrupts the guest for queue @index if it wants that. After virtqueue_push(). */
void virtio_notify(struct virtio *v, unsigned int index);
/* The device-specific configuration has changed. */
void virtio_notify_config(struct virtio *v);
/* The driver broke a rule: the device stops until it is reset. @e says how, for the log. */
void virtio_broken(struct virtio *v, const struct err *e);
/* Runs handle_queue() soon, on the main loop. Any thread. */
void virtio_kick(struct virtio *v, unsigned int index);

#endif
