/* SPDX-License-Identifier: MIT */
/* The serial port: a 16550A UART between the guest and a character device. */
#ifndef DEV_PC_SERIAL_H
#define DEV_PC_SERIAL_H

/*
 * DOC: theory of operation
 *
 * Bytes move at the speed of the back end, not at the programmed baud rate. What
 * the guest wrote and the back end did not take yet stays in the transmit FIFO;
 * what the guest did not read yet stays in the receive FIFO, and nothing more is
 * taken from the back end than fits. Both FIFOs are guest-visible state, so no
 * byte is lost or sent twice in an update: while the guest is stopped the port
 * neither takes nor gives bytes, and its state stands still.
 *
 * The receive interrupt comes as soon as there is a byte: below the trigger
 * level as the character timeout, which real hardware raises four characters
 * later.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "host/chardev.h"
#include "machine/device.h"
#include "machine/iobus.h"
#include "machine/irq.h"

#define SERIAL_FIFO_BYTES 16

/* Registers by offset; DLL and DLM are behind LCR bit 7. */
enum serial_reg {
	SERIAL_DATA = 0, /* read: RBR, write: THR; DLL */
	SERIAL_IER = 1,  /* DLM                        */
	SERIAL_IIR = 2,  /* write: FCR                 */
	SERIAL_LCR = 3,
	SERIAL_MCR = 4,
	SERIAL_LSR = 5,
	SERIAL_MSR = 6,
	SERIAL_SCR = 7,
	SERIAL_NR_REGS = 8,
};

/* Guest-visible. The oldest byte of a FIFO comes first. */
struct serial_state {
	uint8_t rx[SERIAL_FIFO_BYTES];
	uint8_t tx[SERIAL_FIFO_BYTES];
	uint8_t rx_count;
	uint8_t tx_count;
	uint8_t dll; /* divisor latch, low; reset 12: 9600 baud              */
	uint8_t dlm;
	uint8_t ier; /* bits 0-3                                             */
	uint8_t fcr; /* enable and trigger level: bits 0, 3, 6, 7            */
	uint8_t lcr;
	uint8_t mcr;        /* bits 0-4                                             */
	uint8_t lsr_errors; /* error bits not read yet; the others derive           */
	uint8_t msr_delta;  /* bits 0-3: changes not read yet                       */
	uint8_t scr;
	bool thr_pending; /* "transmitter empty" has not been served              */
};

struct serial_host {
	struct irq irq;          /* [c]                                              */
	struct chardev *chr;     /* [c] not owned                                    */
	struct io_region region; /* [c]                                              */
	bool irq_level;          /* [m] how the line is driven now                   */
	bool running;            /* [m] the guest may be in                          */
};

struct serial {
	struct device dev;
	struct serial_state s;
	struct serial_host h;
};

extern const struct device_class serial_class;

/*
 * Sets a zeroed port up in power-on state, stopped, and attaches it to @chr,
 * which must outlive it. For serial_create() and tests.
 */
void serial_init(struct serial *sp, struct irq irq, struct chardev *chr);

/*
 * Adds port @index (0: COM1) to the machine, at its usual address and line. Ports
 * 0 and 2, and 1 and 3, share a line as on a PC: an edge of one can hide the
 * other's. @chr is not owned and must outlive the machine. Before the machine
 * first runs. On failure nothing is added.
 */
int serial_create(struct vm *vm, unsigned int index, struct chardev *chr, struct err *e);

#endif
