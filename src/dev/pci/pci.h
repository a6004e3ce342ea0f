/* SPDX-License-Identifier: MIT */
/* PCI Express: functions, their configuration space, their BARs and their interrupts. */
#ifndef DEV_PCI_PCI_H
#define DEV_PCI_PCI_H

/*
 * DOC: theory of operation
 *
 * A PCI device embeds a struct pci_function, which is wiring, and in its state a struct
 * pci_state, which is what the guest sees of the function beyond the device's own registers:
 * configuration space and MSI-X table. The device lays its configuration space out once, when it is
 * created; the mask says which bits the guest may write. BARs appear on the machine's
 * buses as the guest programs them, and again in pci_loaded().
 *
 *	struct foo_state { struct pci_state pci; ... };
 *	struct foo {
 *		struct device dev;
 *		struct foo_state s;
 *		struct { struct pci_function pci; ... } h;
 *	};
 *
 * The bus is found in the machine by name: "pcie.0" is the root bus, a root port's bus has
 * the id of the port.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "machine/device.h"
#include "machine/device_type.h"
#include "machine/iobus.h"
#include "machine/layout.h"
#include "state/vmstate.h"

enum {
	PCI_CONFIG_BYTES = 256, /* of 4096; the rest reads as zero: no extended capabilities */
	PCI_NR_BARS = 6,
	PCI_MSIX_MAX = 64, /* vectors of a function */
	PCI_DEVFNS = 256,
	PCI_NR_INTX_LINES = 4, /* GSIs LAYOUT_GSI_PCI... */
};
#define PCI_NO_VECTOR 0xffff

struct pci_bus;
struct ram_block;

struct pci_msix_entry {
	uint64_t addr;
	uint32_t data;
	uint32_t ctrl; /* bit 0: masked */
};

/* Guest-visible. Nested in the state of each PCI device by VS_STRUCT(type, pci, &pci_state_desc). */
struct pci_state {
	uint8_t config[PCI_CONFIG_BYTES];
	uint32_t nr_vectors;   /* of MSI-X, constant; how many entries travel   */
	uint32_t intx_level;   /* 1: the function asserts its INTx pin          */
	uint64_t msix_pending; /* bit per vector                                */
	struct pci_msix_entry msix[PCI_MSIX_MAX];
};
extern const struct vs_desc pci_state_desc;

/* What a function is; constant. */
struct pci_ident {
	uint16_t vendor, device;
	uint16_t subsystem_vendor, subsystem;
	uint8_t revision;
	uint32_t class_code; /* 24 bits: class, subclass, programming interface */
	bool intx;           /* it may assert INTA# */
	bool multifunction;  /* function 0 of a slot that may have others */
	bool conventional;   /* no PCI Express capability: its own registers are there */
	bool bridge;         /* a type 1 header; the device adds an Express capability of its own */
};

enum pci_bar_kind {
	PCI_BAR_NONE,
	PCI_BAR_IO,
	PCI_BAR_MEM32,
	PCI_BAR_MEM64,      /* takes the next BAR's place as well */
	PCI_BAR_MEM64_PREF, /* likewise, prefetchable             */
};

struct pci_bar {
	enum pci_bar_kind kind;
	uint64_t size;           /* power of two; memory: at least 4096     */
	struct io_region region; /* callbacks, sizes and opaque are the device's, base is ours */
	struct ram_block *ram;   /* not NULL: memory in place of a region   */
	bool mapped;             /* [m] is on the machine's bus             */
	bool wanted;             /* [m] is to be there                      */
	uint64_t address;        /* [m] if @wanted: where                   */
};

struct pci_function {
	struct vm *vm;                     /* [c]                                          */
	struct device *dev;                /* [c]                                          */
	struct pci_bus *bus;               /* [c]                                          */
	uint8_t devfn;                     /* [c] slot << 3 | function                     */
	struct pci_state *s;               /* [c] in the device's state                    */
	uint8_t mask[PCI_CONFIG_BYTES];    /* [c] bits the guest may write         */
	uint8_t w1c[PCI_CONFIG_BYTES];     /* [c] bits that writing 1 clears       */
	uint8_t dynamic[PCI_CONFIG_BYTES]; /* [c] bits the device itself changes   */
	uint8_t initial[PCI_CONFIG_BYTES]; /* [c] config space after reset      */
	uint16_t next_cap;                 /* [c] where the next capability goes           */
	struct pci_bar bars[PCI_NR_BARS];
	uint8_t msix_cap;          /* [c] offset of the capability; 0: none        */
	unsigned int nr_vectors;   /* [c]                                        */
	struct pci_bus *secondary; /* [c] the bus behind it, if it is a bridge; else NULL  */
	/* After the guest has written to config space, [@offset, +@size); NULL: no matter. */
	void (*config_written)(struct pci_function *f, unsigned int offset, unsigned int size);
	/* Before the guest reads there: the device may change what it will read; NULL: no matter. */
	void (*config_reading)(struct pci_function *f, unsigned int offset, unsigned int size);
	/* BAR @index was mapped or unmapped; NULL: no matter. */
	void (*bar_moved)(struct pci_function *f, unsigned int index);
};

/*
 * A device that comes while the guest runs is announced to it by itself, once the main loop goes on.
 *
 * Puts @f, which is zeroed and in a device that is being created, on a bus: @config says which and
 * where. Sets @dev's path and id, claims the slot, and gives the function a header and a PCI
 * Express capability. @s is in the device's state. -ENOENT without such a bus, -EBUSY names
 * who has the slot, -ENOSPC if all are taken, -EOPNOTSUPP if it comes while the guest runs and
 * the bus does not allow that.
 */
int pci_function_init(struct pci_function *f, struct vm *vm, struct device *dev,
		      struct pci_state *s, const struct device_config *config,
		      const struct pci_ident *ident, struct err *e);
/* Off the bus; BARs off the machine's. Before the device is freed; one that was never put on is allowed. */
void pci_function_fini(struct pci_function *f);

/*
 * The parts of a function, before the device is added to the machine. A capability is @bytes
 * long with its two bytes of header; the result is its offset, and the caller fills @initial
 * and @mask from there. -ENOSPC.
 */
int pci_add_capability(struct pci_function *f, uint8_t id, unsigned int bytes, struct err *e);
/* @region: name, callbacks, access sizes, opaque. Size is rounded up to what a BAR can have. */
void pci_add_bar(struct pci_function *f, unsigned int index, enum pci_bar_kind kind, uint64_t size,
		 const struct io_region *region);
/* Memory the guest maps: @block, registered by memmap_add_movable_block(). */
void pci_add_ram_bar(struct pci_function *f, unsigned int index, enum pci_bar_kind kind,
		     struct ram_block *block);
/* MSI-X with @vectors, its table in BAR @bar of its own. */
int pci_add_msix(struct pci_function *f, unsigned int bar, unsigned int vectors, struct err *e);

/* To be called by the device's reset() and loaded(). */
void pci_reset(struct pci_function *f);
void pci_loaded(struct pci_function *f);
/*
 * To be called by the device's fits(): the state is one that this function can have. What is
 * constant in config space is as here, and there is no vector beyond its own.
 */
int pci_check_state(const struct pci_function *f, const struct pci_state *s, struct err *e);

/* True once the guest has enabled MSI-X: then pci_notify(), else the INTx pin. */
bool pci_msix_enabled(const struct pci_function *f);
/* Sends the vector's message, or notes it as pending while it is masked. Machine lock. */
void pci_notify(struct pci_function *f, unsigned int vector);
/* Level of INTA#. */
void pci_set_intx(struct pci_function *f, bool level);
/* The guest allows the device to reach memory by itself. */
bool pci_is_master(const struct pci_function *f);

/*
 * The operator wants the device to go: device_type.unplug of each PCI device. Asks the guest, who lets
 * go of it by and by, and then device_remove() is called; if it does not use the device, at once.
 * -EBUSY if the bus does not allow that or the guest is at it already. Main loop's thread, machine lock.
 */
int pci_request_unplug(struct device *d, struct err *e);

/* Accesses of the guest; @offset + @size <= 4096, size 1, 2 or 4. */
uint32_t pci_config_read(struct pci_function *f, unsigned int offset, unsigned int size);
void pci_config_write(struct pci_function *f, unsigned int offset, unsigned int size,
		      uint32_t value);

/* What config space holds there. */
static inline uint8_t pci_get8(const struct pci_function *f, unsigned int offset)
{
	return f->s->config[offset];
}

static inline uint16_t pci_get16(const struct pci_function *f, unsigned int offset)
{
	return (uint16_t)(pci_get8(f, offset) | pci_get8(f, offset + 1) << 8);
}

static inline uint32_t pci_get32(const struct pci_function *f, unsigned int offset)
{
	return pci_get16(f, offset) | (uint32_t)pci_get16(f, offset + 2) << 16;
}

/* What the device itself changes in the state; the bits are in @dynamic or @w1c. */
void pci_set_dynamic16(struct pci_function *f, unsigned int offset, uint16_t value, uint16_t bits);
/* While the device is created: reset values, and what the guest may write. */
void pci_set_initial8(struct pci_function *f, unsigned int offset, uint8_t value, uint8_t mask);
void pci_set_initial16(struct pci_function *f, unsigned int offset, uint16_t value, uint16_t mask);
void pci_set_initial32(struct pci_function *f, unsigned int offset, uint32_t value, uint32_t mask);

#endif
