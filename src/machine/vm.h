/* SPDX-License-Identifier: MIT */
/* The machine: everything one guest consists of, and its life from build to end. */
#ifndef MACHINE_VM_H
#define MACHINE_VM_H

/*
 * DOC: theory of operation
 *
 * One struct vm owns a guest. Members carry a letter: [c] constant after
 * create, [m] guarded by the machine lock, [l] main loop's thread only, [v] its
 * vCPU's thread, [a] atomic. The main loop runs with the lock held except while
 * it waits; a vCPU thread takes it for each device access.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "host/hostid.h"
#include "host/loop.h"
#include "machine/doorbell.h"
#include "machine/iobus.h"
#include "machine/irq.h"
#include "machine/memmap.h"
#include "machine/runstate.h"
#include "machine/watchdog.h"
#include "state/snapshot.h"

struct vcpu;
struct graft;
struct hugepages;
struct pci_host;
struct kvm_cpuid2;

#define VM_MAX_VCPUS 64

/* What happens to a machine that others may want to know of. */
enum vm_event {
	VM_EVENT_STOP,
	VM_EVENT_RESUME,
	VM_EVENT_WAKEUP,
	VM_EVENT_RESET,    /* @detail: the reason, e.g. guest-reset           */
	VM_EVENT_SHUTDOWN, /* @detail: the reason, e.g. guest-shutdown        */
	VM_EVENT_POWERDOWN,
	VM_EVENT_WATCHDOG,       /* @detail: the action, e.g. reset                    */
	VM_EVENT_DEVICE_DELETED, /* @detail: device_object_path()              */
	VM_EVENT_UNPLUG_ERROR,   /* likewise                                   */
	VM_EVENT_PORT_OPENED,    /* by the guest; @detail: the device's id     */
	VM_EVENT_PORT_CLOSED,    /* likewise                                   */
};

/* A request to a disk has failed on the host. */
struct vm_disk_error {
	const char *drive;  /* the back end's name  */
	const char *action; /* report, ignore, stop */
	const char *reason; /* strerror()           */
	bool write;
	bool no_space;
};

struct vm_observer {
	struct list link;
	void (*event)(void *opaque, enum vm_event event, const char *detail);
	void (*disk_error)(void *opaque, const struct vm_disk_error *error); /* or NULL */
	void *opaque;
};

struct vm {
	pthread_mutex_t lock; /* the machine lock                                        */
	struct loop *loop;    /* [c]                                                     */
	int kvm_fd;           /* [c] /dev/kvm                                            */
	int vm_fd;            /* [c]                                                     */
	uint8_t boot_id[HOST_BOOT_ID_BYTES]; /* [c] of this host                         */
	struct memmap mem;    /* [c]                                                     */
	struct io_bus pio;    /* [m]                                                     */
	struct io_bus mmio;   /* [m]                                                     */
	struct pci_host *pci; /* [c] the PCI buses; NULL: there are none                 */
	struct list devices;  /* [m] struct device                                       */
	uint32_t nr_unnamed;  /* [l] devices that were asked for without an id, so far   */
	bool only_migratable; /* [c] a device that cannot be saved is refused            */
	bool devices_held;    /* [m] see device_list_hold()                              */
	/* [m] An array of device_to_json(): of the command line, and gone; owned, or NULL. */
	struct json_t *removed;
	struct list backends; /* [m] struct backend                                     */
	struct doorbells doorbells;
	struct vcpu **vcpus; /* [c]                                                     */
	unsigned int nr_vcpus;
	/* [c] What -cpu host offers; NULL: vCPUs are adopted, or vm_config.cpuid_in_state. */
	struct kvm_cpuid2 *cpuid;
	/* [l] Gathers RAM into huge pages; not owned; NULL: nobody does. */
	struct hugepages *hugepages;
	enum runstate runstate; /* [m]                                                 */
	bool was_suspended;     /* [m] the stopped guest is asleep (S3)                */
	bool no_reboot;         /* [c] a guest reset ends the process                  */
	bool quit;              /* [m] the process is to end                           */
	struct list observers;  /* [l]                                                 */
	/* [m] struct boot_entry, by index. */
	struct list boot_order;
	/* [m] struct display. */
	struct list displays;
	/* [m] What a watchdog that runs out leads to, and that one has. */
	enum watchdog_action watchdog_action;
	bool watchdog_expired;
	/* Presses the power button, as the operator's command does. NULL: there is none. */
	void (*power_button)(void *opaque); /* [c] */
	void *power_button_opaque;
	/* Loads the kernel and sets vCPU 0 up; at cold start and at each reset. NULL: nothing. */
	int (*boot)(void *opaque, struct vm *vm, struct err *e); /* [c]                 */
	void *boot_opaque;
	struct loop_work request_work; /* carries requests of vCPU threads to the loop   */
	bool reset_requested;          /* [m]                                            */
	bool shutdown_requested;       /* [m]                                            */
	bool io_error_requested;       /* [m]                                            */
	bool failed;                   /* [m] a vCPU cannot go on                        */
	/*
	 * The guest is another process's: its RAM must not be written, the vCPUs not
	 * be entered. True before a guest was taken over and after it was given away.
	 */
	bool foreign;  /* [m]                                            */
	int exit_code; /* [m] of the process, when it quits              */
	bool busy;     /* [m] an update is at work: requests wait        */
	/*
	 * The machine's KVM objects are those of the old image in this address space, whose
	 * guest runs: nothing may be changed in them. Until the guest was taken over.
	 */
	struct graft *graft;         /* [m]                                            */
	const char *reset_reason;    /* [m] static string                              */
	const char *shutdown_reason; /* [m] static string                              */
};

/* KVM objects that exist already, from the old image of a graft. */
struct vm_adopted {
	struct graft *graft;
	int kvm_fd, vm_fd;           /* taken over on success          */
	int vcpu_fds[VM_MAX_VCPUS];  /* likewise, config.nr_vcpus of them */
	const struct snapshot *kept; /* from vm_save_kept()            */
};

struct vm_config {
	unsigned int nr_vcpus;
	bool no_reboot;
	/*
	 * The vCPUs get their CPUID with the state and not before: nobody asks KVM for what it
	 * could offer, which takes long. The guest comes from this very kernel (cpr-exec).
	 */
	bool cpuid_in_state;
	struct memmap mem;                /* guest RAM; its blocks are taken over on success */
	const struct vm_adopted *adopted; /* NULL: KVM objects are made */
	int kvm_fd; /* /dev/kvm, taken over; 0: it is opened, unless there is @adopted */
};

/*
 * Builds a machine without devices: KVM objects, RAM, interrupt controllers and vCPUs.
 * Run state prelaunch. On success the caller, whose thread becomes the main loop's, holds
 * the machine lock and owns the result; config->mem stays the caller's on failure. After a
 * failure with config->adopted the process is to end: what was made is left as it is.
 */
int vm_create(struct vm **out, struct vm_config *config, struct err *e);
/*
 * Stops the vCPUs for good and frees the devices, whose back ends may be closed
 * afterwards; the event loop is still there. The caller holds the machine lock.
 */
void vm_destroy_devices(struct vm *vm);
/* Ends the vCPUs and frees everything; the caller holds the machine lock. */
void vm_destroy(struct vm *vm);

/*
 * Cold start: resets devices and vCPUs and boots. Paused, lock held. After a failure the
 * guest must not run.
 */
int vm_reset(struct vm *vm, struct err *e);

/*
 * Enters the guest and goes to running; does nothing if it runs, and refuses, with a log
 * line, while the guest is foreign. A guest that was asleep when it was stopped goes to
 * suspended and is not entered. Main loop's thread, lock held, as vm_stop().
 */
void vm_start(struct vm *vm);
/*
 * Goes from suspended to running and enters the guest, also if this process has never
 * entered it before. False, with nothing changed, in any other state.
 */
bool vm_wakeup(struct vm *vm);
/*
 * Leaves the guest, if it runs, and goes to @to. On return all vCPUs are paused, between two
 * instructions. Drops the lock in between; requests may have come meanwhile.
 */
void vm_stop(struct vm *vm, enum runstate to);
/* vm_stop() without telling the observers; true if they are to be told. */
bool vm_halt(struct vm *vm, enum runstate to);
/*
 * Changes the run state without touching vCPUs, and vm->was_suspended with it. A change
 * the table forbids is logged.
 */
void vm_set_runstate(struct vm *vm, enum runstate to);

/*
 * Asked for by a device or the operator; done soon by the main loop. @reason is a static
 * string. Any thread, with the machine lock held.
 */
void vm_request_reset(struct vm *vm, const char *reason);
void vm_request_shutdown(struct vm *vm, const char *reason);
/* Likewise, to stop the guest for an error of the host, with the run state io-error. */
void vm_request_io_error(struct vm *vm);

/* While busy, requests are kept and not carried out: the guest's fate is being decided. */
void vm_set_busy(struct vm *vm, bool busy);

/* @o is not owned and stays until no event can come. Main loop's thread. */
void vm_observe(struct vm *vm, struct vm_observer *o);
/* Tells the observers; main loop's thread. */
void vm_notify(struct vm *vm, enum vm_event event, const char *detail);
void vm_notify_disk_error(struct vm *vm, const struct vm_disk_error *error);

/* The interrupt line @line (global system interrupt number) of the machine. */
struct irq vm_irq(struct vm *vm, unsigned int line);

/* Message-signalled interrupts to the vCPUs; none while the machine is another image's. */
void vm_signal_msi(struct vm *vm, uint64_t addr, uint32_t data);

/*
 * vm_start() in two parts, for a machine that was adopted: vm_arm() makes the vCPUs enter the
 * guest as soon as threads of the old image go on as theirs; once they do, vm_take_over() ends
 * the adoption, and tells of the stop, if the old image did not (@stopped). Both with the
 * machine lock held.
 */
void vm_arm(struct vm *vm);
void vm_take_over(struct vm *vm, bool stopped);

/*
 * What KVM does not tell while a vCPU runs but an image that adopts it has to know: what is
 * constant for a vCPU, and its power-on state. vm_list_kept() makes the empty list for both
 * sides, vm_save_kept() fills it. Any time.
 */
int vm_list_kept(unsigned int nr_vcpus, struct snapshot *s, struct err *e);
void vm_save_kept(const struct vm *vm, struct snapshot *s);

/* How much of the machine's state: all, or without what KVM keeps, which stays with the VM. */
enum vm_state_scope {
	VM_STATE_ALL,
	VM_STATE_OURS,
};

/*
 * The machine's state. vm_list_state() makes the empty list for saving and for
 * loading; vm_save_state() fills it (vCPUs paused; the machine is not changed);
 * vm_load_state() takes it over, in list order, each vCPU on its own thread.
 * After a failed load the machine must not run.
 */
int vm_list_state(struct vm *vm, enum vm_state_scope scope, struct snapshot *s, struct err *e);
int vm_save_state(struct vm *vm, enum vm_state_scope scope, struct snapshot *s, struct err *e);
int vm_load_state(struct vm *vm, enum vm_state_scope scope, struct snapshot *s, struct err *e);

#endif
