/* SPDX-License-Identifier: MIT */
/*
 * abi.h - what the small guests write into their own RAM for the tests to read.
 *
 * DOC: theory of operation
 *
 * Every small guest keeps a results area at one fixed guest-physical address,
 * above its image and below everything it fills with patterns. A test maps
 * the RAM's memfd and reads the area while the guest runs. The area starts
 * with struct abi_head; the structure of the guest's own kind follows at
 * ABI_BODY_OFFSET. Every member is a 64-bit little-endian integer (or an array
 * of them): tests/lib/abi.py reads the members' names and places from this
 * file, so there is no second list to keep in step.
 */
#ifndef GUEST_ABI_H
#define GUEST_ABI_H

#define ABI_GPA          0x200000
#define ABI_SIZE         0x10000
#define ABI_BODY_OFFSET  0x100
#define ABI_RING_OFFSET  0x1000
#define ABI_RING_ENTRIES 1024
/* Cycles that each stretch of the last ABI_REQUEST_CRAWL took, in order. */
#define ABI_CURVE_OFFSET  0x8000
#define ABI_CURVE_ENTRIES 1024
#define ABI_VERSION       1
#define ABI_MAGIC         0x5453455547544142 /* "BATGUEST" */

/* The pattern of the gap guest starts here; the changing part follows it. */
#define ABI_PATTERN_GPA 0x1000000

/* Kinds of guest. */
#define ABI_KIND_GAP    1
#define ABI_KIND_TIMER  2
#define ABI_KIND_FPU    3
#define ABI_KIND_SERIAL 4
#define ABI_KIND_SMP    5
#define ABI_KIND_ROM    6
#define ABI_KIND_VIRTIO 7
#define ABI_KIND_BLK    8
#define ABI_KIND_PCI    9
#define ABI_KIND_NET    10
#define ABI_KIND_PORTS  11
#define ABI_KIND_PARTS  20

/*
 * Requests: the host writes (sequence << 8 | operation) into "request"; the
 * guest puts the same word into "reply" when it has done it.
 */
#define ABI_REQUEST_READ_ALL   1
#define ABI_REQUEST_WRITE_ALL  2
#define ABI_REQUEST_DEBUG_REGS 3
#define ABI_REQUEST_CRAWL      4
#define ABI_REQUEST_LINK       5 /* net: reads whether the cable is plugged in */
#define ABI_REQUEST_ARP        6 /* net: asks for 192.0.2.1                      */

/* The ports guest: plus the number of the port. */
#define ABI_REQUEST_OPEN_PORT  16
#define ABI_REQUEST_CLOSE_PORT 32
/* Messages that mean nothing, about ports that are not there, and cut off. */
#define ABI_REQUEST_BAD_MESSAGES 48
/* Resets the device and sets it up anew. */
#define ABI_REQUEST_RESET_PORTS 49

#define ABI_CPUS_MAX 16
#define ABI_PORTS    4

/* Guest-physical memory that is mapped, from address 0, in GiB. */
#define ABI_MAPPED_GIB 20

/* Places the assembly part writes to, checked against struct abi_head in C. */
#define ABI_BOOTS_OFFSET    24
#define ABI_BOOT_TSC_OFFSET 32
#define ABI_EXC_OFFSET      96

#ifndef __ASSEMBLER__
#include <stdint.h>

struct abi_head {
	uint64_t magic;          /* ABI_MAGIC once the guest is set up */
	uint64_t version;        /* ABI_VERSION */
	uint64_t kind;           /* ABI_KIND_* */
	uint64_t boots;          /* times the entry point was reached */
	uint64_t boot_tsc;       /* TSC at the first instruction */
	uint64_t ready_tsc;      /* TSC when magic was written */
	uint64_t heartbeat;      /* goes up for as long as the guest runs */
	uint64_t ram_bytes;      /* RAM the memory map speaks of */
	uint64_t request;        /* written by the host */
	uint64_t reply;          /* last request done */
	uint64_t request_cycles; /* TSC cycles the last request took */
	uint64_t errors;         /* anything the guest itself found wrong */
	uint64_t exc_vector;     /* exception + 1, 0 = none was taken */
	uint64_t exc_error;
	uint64_t exc_rip;
	uint64_t exc_cr2;
};

struct abi_gap {
	uint64_t threshold;  /* TSC cycles above which a step is a gap */
	uint64_t samples;    /* TSC reads */
	uint64_t last_tsc;   /* newest TSC read */
	uint64_t backward;   /* times the TSC was lower than before */
	uint64_t gaps;       /* gaps seen; the newest are in the ring */
	uint64_t gap_sum;    /* cycles in all gaps together */
	uint64_t gap_max;    /* cycles of the longest */
	uint64_t static_gpa; /* part filled once */
	uint64_t static_bytes;
	uint64_t changing_gpa; /* part the guest rewrites for ever */
	uint64_t changing_bytes;
	uint64_t static_checks; /* pages verified */
	uint64_t changing_checks;
	uint64_t static_errors; /* words that differed */
	uint64_t changing_errors;
};

struct abi_ring_entry {
	uint64_t tsc_start;
	uint64_t tsc_end;
};

struct abi_timer {
	uint64_t ticks;        /* interrupts taken, counted by the handler */
	uint64_t mode;         /* 0 periodic, 1 one-shot, 2 TSC deadline */
	uint64_t period_tsc;   /* period in TSC cycles, from the command line */
	uint64_t period_count; /* period in LAPIC timer counts */
	uint64_t arm_tsc;      /* TSC when the timer was started */
	uint64_t last_tsc;     /* newest TSC read */
	uint64_t seen;         /* interrupts the CPL-3 loop has noticed */
	uint64_t last_tick_tsc;
	uint64_t min_interval;
	uint64_t max_interval;
	uint64_t short_intervals; /* doubled interrupts, gaps allowed for */
	uint64_t long_intervals;  /* lost interrupts, gaps allowed for */
	uint64_t gap_sum;         /* cycles the CPL-3 loop did not see */
	uint64_t gap_max;
	uint64_t backward;
};

struct abi_fpu {
	uint64_t rounds;     /* holds completed and verified */
	uint64_t hold_loops; /* loops of one hold */
	uint64_t gpr_errors; /* general registers that differed */
	uint64_t x87_errors; /* control, status, tags, stack */
	uint64_t sse_errors; /* XMM registers and MXCSR */
	uint64_t avx_on;     /* 1 when the YMM halves are held, too */
	uint64_t avx_errors;
	uint64_t fs_errors; /* FS and GS base */
	uint64_t dr_checks; /* comparisons of the debug registers */
	uint64_t dr_errors;
	uint64_t dr[6];      /* DR0-3, DR6, DR7 as last read */
	uint64_t msr_errors; /* STAR, LSTAR, SFMASK, KERNEL_GS_BASE */
};

struct abi_serial {
	uint64_t lines; /* numbered lines printed completely */
	uint64_t tx_bytes;
	uint64_t rx_bytes;
	uint64_t rx_lines;   /* lines received and echoed */
	uint64_t rx_irqs;    /* interrupts of the UART */
	uint64_t rx_overrun; /* LSR overrun bits or full ring seen */
	uint64_t leaving;    /* command that ends the guest, as a character */
};

struct abi_rom {
	uint64_t rsdp;        /* where the start info says it is */
	uint64_t valid;       /* 1: it and the XSDT have right sums */
	uint64_t sum;         /* of the memory from there to 1 MiB, at the start */
	uint64_t rounds;      /* sums made since */
	uint64_t changes;     /* of these, unlike the first */
	uint64_t writes;      /* tried */
	uint64_t writes_seen; /* of these, read back */
};

struct abi_virtio {
	uint64_t found;      /* 1: there is a virtio-rng */
	uint64_t asked;      /* requests */
	uint64_t answered;   /* of these, answered and checked */
	uint64_t bytes;      /* random ones that came */
	uint64_t bad_length; /* none, or more than there was room for */
	uint64_t beyond;     /* bytes changed that were not said to be */
	uint64_t unwritten;  /* answers with nothing in them */
	uint64_t irqs;
	uint64_t kicks;
	uint64_t moves; /* of the registers */
};

struct abi_blk {
	uint64_t found;        /* 1: there is a virtio-blk                  */
	uint64_t capacity;     /* in units of 512 bytes, as last read       */
	uint64_t features;     /* negotiated                                */
	uint64_t serial[3];    /* 20 characters                             */
	uint64_t table_gpa;    /* version of each block, 64 bits; 0: zeros  */
	uint64_t blocks;       /* of 4 KiB, from the begin of the disk      */
	uint64_t asked;        /* requests                                  */
	uint64_t answered;     /* of these                                  */
	uint64_t writes_asked; /* also the version of the last one          */
	uint64_t writes;       /* done, zeros included                      */
	uint64_t reads;        /* done and compared                         */
	uint64_t flushes;
	uint64_t bad_status; /* requests that failed                      */
	uint64_t last_status;
	uint64_t bad_blocks; /* read, but with other contents             */
	uint64_t bad_block;
	uint64_t bad_wanted;
	uint64_t bad_first;
	uint64_t irqs;
	uint64_t broken; /* 1: the device asks to be reset            */
};

struct abi_pci {
	uint64_t functions;     /* that were found, behind ports too */
	uint64_t ports;         /* root ports */
	uint64_t rounds;        /* everything was read and compared */
	uint64_t mismatches;    /* words that ports and window show differently */
	uint64_t changes;       /* words that are not what they were */
	uint64_t irqs;          /* of the ports */
	uint64_t came;          /* devices that were switched on */
	uint64_t released;      /* that were switched off for the operator */
	uint64_t gone;          /* that are not there any more */
	uint64_t display_pages; /* of 4 KiB, of a display's memory */
};

struct abi_net {
	uint64_t found;     /* 1: there is a card                        */
	uint64_t mac;       /* its address, first byte lowest            */
	uint64_t link;      /* status, as last read                      */
	uint64_t ack;       /* to the command that switches the filter on */
	uint64_t rx_frames; /* numbered ones received                    */
	uint64_t others;    /* and those of no interest                  */
	uint64_t lost;      /* numbers left out                          */
	uint64_t doubled;   /* numbers that came again, or late          */
	uint64_t damaged;   /* frames with wrong bytes or length         */
	uint64_t flooded;   /* frames of its own                         */
	uint64_t tx_done;   /* frames that the card has sent             */
	uint64_t irqs;
	uint64_t kicks;
};

struct abi_port {
	uint64_t added; /* times the device has announced it */
	uint64_t removed;
	uint64_t console;   /* 1: it is one */
	uint64_t host_open; /* 1: somebody is at the other end */
	uint64_t opened;    /* times the host has come */
	uint64_t closed;    /* and gone */
	uint64_t is_open;   /* by the guest */
	uint64_t lines;     /* numbered lines given to the device */
	uint64_t rx_bytes;
	uint64_t rx_lines; /* received and echoed */
	uint64_t name_bytes;
	uint64_t name[8]; /* the first bytes of it */
};

struct abi_ports {
	uint64_t found; /* 1: there is a virtio-serial device */
	uint64_t max_ports;
	uint64_t unknown; /* messages of the device that mean nothing */
	uint64_t broken;  /* 1: it asks to be reset */
	struct abi_port port[ABI_PORTS];
};

struct abi_parts {
	uint64_t watchdog; /* 1: it was started */
	uint64_t ran_out;  /* what its reload register said at the start */
	uint64_t feed;     /* written by the host: 1: feed it */
	uint64_t fed;      /* times that was done */
	uint64_t fed_tsc;  /* TSC at the last one */
	uint64_t last_tsc;
	uint64_t display;  /* its id, 0: there is none */
	uint64_t vram_64k; /* its memory, by itself */
	uint64_t edid;     /* the first four bytes */
	uint64_t draw;     /* written by the host: a mode */
	uint64_t drawn;    /* the mode that is shown */
	uint64_t checks;   /* looks at what was drawn */
};

struct abi_smp_slot {
	uint64_t count; /* loops of this vCPU */
	uint64_t apic_id;
	uint64_t last_tsc;
	uint64_t backward;     /* own TSC went back */
	uint64_t skew;         /* TSC below one another vCPU had read before */
	uint64_t skew_max;     /* by how many cycles, at most */
	uint64_t ipi_sent;     /* to this vCPU */
	uint64_t ipi_received; /* by this vCPU */
};

struct abi_smp {
	uint64_t cpus;    /* asked for */
	uint64_t started; /* reached CPL 3, the first included */
	struct abi_smp_slot slot[ABI_CPUS_MAX];
};
#endif

#endif
