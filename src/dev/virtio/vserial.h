/* SPDX-License-Identifier: MIT */
/* virtio-serial (virtio 1.2, section 5.3): ports between the guest and character devices. */
#ifndef DEV_VIRTIO_VSERIAL_H
#define DEV_VIRTIO_VSERIAL_H

/*
 * DOC: theory of operation
 *
 * The device virtio-serial-pci is a bus of ports. A port is a device of its own on it,
 * virtserialport or virtconsole, with a pair of queues for its bytes and a character device.
 * What ports there are, what they are called, and whether anybody is at either end, device and
 * driver tell each other over a pair of control queues.
 *
 * No byte is in our hands. A port reads from its character device into a buffer that the
 * driver has made available, when there is one; it writes from the driver's buffers, and
 * one of which the host took a part only is put back, with the number of those bytes in the
 * state. Messages to the driver are not kept as such either: for each port there are bits that say
 * which it has to hear yet, in the order it has to hear them, so a driver that
 * takes none costs nothing.
 *
 * A driver without the feature MULTIPORT knows port 0 only, which is always open.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "dev/virtio/virtio.h"
#include "host/chardev.h"
#include "host/loop.h"
#include "machine/backend.h"
#include "machine/device_type.h"

enum {
	VSERIAL_MAX_PORTS = 16,
	VSERIAL_QUEUE_SIZE = 128,
	VSERIAL_CONTROL_IN = 2,  /* queue: to the driver   */
	VSERIAL_CONTROL_OUT = 3, /* queue: from the driver */
};

/* What the driver is to hear about a port yet, the lowest first. */
enum {
	VPORT_ADD = 1 << 0,
	VPORT_CONSOLE = 1 << 1,
	VPORT_NAME = 1 << 2,
	VPORT_OPEN = 1 << 3, /* or closed, as host_open says */
};

struct vport;

struct vserial_config {
	struct virtio_config virtio;
	uint64_t max_ports;
};

/* Guest-visible. */
struct vserial_state {
	struct virtio_state virtio;
	uint32_t removed; /* bit for each port of which the driver is to hear that it has gone */
	bool ready;       /* the driver has said that it is                                   */
	uint8_t reserved[3];
};

struct vserial {
	struct device dev;
	struct vserial_state s;
	struct {
		struct virtio virtio;
		char bus[DEVICE_ID_MAX];                  /* [c] what the bus is called           */
		unsigned int max_ports;                   /* [c]                                  */
		struct vport *ports[VSERIAL_MAX_PORTS];   /* [m] by number; NULL: there is none   */
		uint64_t ignored;                         /* [m] messages that mean nothing       */
		struct iovec iov[VIRTQUEUE_MAX_SEGMENTS]; /* of the chain at hand               */
	} h;
};

struct vport_config {
	struct device_config device;
	uint64_t nr; /* VPORT_NR_AUTO: a free one */
	char chardev[PROP_STRING_MAX];
	char name[PROP_STRING_MAX];
};
#define VPORT_NR_AUTO UINT32_MAX

/* Guest-visible, but for the last. */
struct vport_state {
	uint64_t sent;   /* bytes of the first chain that the host has taken already */
	uint8_t pending; /* VPORT_ADD...                                             */
	bool ready;      /* the driver can do with the port                          */
	bool guest_open; /* somebody in the guest has it open                        */
	bool host_open;  /* somebody is connected, as far as the driver knows or will hear */
	bool told_open;  /* what operators have heard of guest_open                  */
	uint8_t reserved[3];
};

struct vport {
	struct device dev;
	struct vport_state s;
	struct {
		struct vserial *vs; /* [c]                                          */
		unsigned int nr;    /* [c]                                          */
		bool console;       /* [c]                                          */
		char name[PROP_STRING_MAX];
		struct backend *backend; /* [c] NULL: leads nowhere                      */
		struct chardev *chr;     /* [c] its object                               */
		bool running;            /* [m]                                          */
		struct loop_work tell;   /* operators of guest_open                      */
		struct loop_timer quiet; /* [l] armed: they have heard something just now */
	} h;
};

extern const struct device_class vserial_class, vport_class;
extern const struct device_type vserial_type, virtserialport_type, virtconsole_type;

/* vserial.c: bits were set for the driver to hear. Any thread, machine lock. */
void vserial_flush_control(struct vserial *vs);
/* The driver knows of ports, and has not only the first one. */
bool vserial_is_multiport(const struct vserial *vs);
/* The bus of that name, or if that is empty one that has a place left; NULL. */
struct vserial *vserial_find_bus(const struct vm *vm, const char *name);

/* vport.c. The driver's messages; the loop's thread. */
void vport_set_ready(struct vport *p);
void vport_set_open(struct vport *p, bool open);
/* The driver has gone: power-on state. Any thread. */
void vport_forget_driver(struct vport *p);
/* The driver has made buffers available: to be filled, or with bytes. The loop's thread. */
void vport_receive(struct vport *p);
void vport_send(struct vport *p);

#endif
