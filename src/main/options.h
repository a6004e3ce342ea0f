/* SPDX-License-Identifier: MIT */
/* The command line. */
#ifndef MAIN_OPTIONS_H
#define MAIN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/layout.h"
#include "machine/watchdog.h"
#include "main/device_options.h"
#include "main/drive_options.h"
#include "main/objects.h"
#include "main/run_with_options.h"
#include "main/sandbox_options.h"
#include "update/channel.h"
#include "update/params.h"

enum {
	OPTIONS_MAX_OBJECTS = 8,
	OPTIONS_MAX_MONITORS = 8,
	OPTIONS_MAX_CHARDEVS = 16,
	OPTIONS_MAX_NETDEVS = 32,
	OPTIONS_MAX_FW_CFG = 16,
	OPTIONS_MAX_TRACE = 64
};

enum on_off_auto {
	OPTION_AUTO,
	OPTION_ON,
	OPTION_OFF
};

/* Strings point into argv, which outlives this. */
struct options {
	bool help, version;
	void (*help_on)(const char *arg); /* help on one option, which had @help_arg; else NULL */
	const char *help_arg;
	const char *name;
	const char *pidfile;
	const char *kernel, *initrd, *append;
	const char *bios;
	enum watchdog_action watchdog_action;   /* -action watchdog= */
	const char *fw_cfg[OPTIONS_MAX_FW_CFG]; /* see main/firmware.h         */
	unsigned int nr_fw_cfg;
	uint64_t ram_size; /* 0: not given                             */
	unsigned int vcpus;
	const char *memory_backend; /* -machine memory-backend=         */
	enum on_off_auto aux_ram_share;
	enum on_off_auto huge_pages; /* -machine huge-pages= */
	struct backend_option objects[OPTIONS_MAX_OBJECTS];
	unsigned int nr_objects;
	struct drive_options drives; /* -drive, -blockdev; owned */
	const char *serial[LAYOUT_NR_SERIAL];
	unsigned int nr_serial;
	const char *chardev[OPTIONS_MAX_CHARDEVS];
	unsigned int nr_chardev;
	const char *netdev[OPTIONS_MAX_NETDEVS];
	unsigned int nr_netdev;
	const char *mon[OPTIONS_MAX_MONITORS];
	unsigned int nr_mon;
	const char *qmp[OPTIONS_MAX_MONITORS];
	bool qmp_pretty[OPTIONS_MAX_MONITORS];
	unsigned int nr_qmp;
	const char *monitor[OPTIONS_MAX_MONITORS];
	unsigned int nr_monitor;
	struct device_options devices; /* -device; freed by device_options_fini() */
	bool stopped;                  /* -S */
	bool nodefaults, nographic, no_reboot;
	bool only_migratable;     /* a device that cannot be saved is refused */
	const char *dump_vmstate; /* the file to describe the state tables in */
	bool incoming;            /* any -incoming */
	bool has_main, has_cpr;
	struct channel main_channel, cpr_channel; /* -incoming */
	bool caps[CAP_COUNT];                     /* -global migration.x-CAPABILITY=on */
	enum migration_mode mode;                 /* -global migration.mode= */
	struct run_with_options run_with;         /* -run-with */
	struct sandbox_options sandbox;           /* -sandbox */
	const char *fault;                        /* -debug handover= */
	const char *log_file;                     /* -D               */
	const char *trace[OPTIONS_MAX_TRACE];     /* see main/trace_options.h */
	unsigned int nr_trace;
	enum on_off_auto timestamp; /* -msg timestamp= */
	char buffers[4][4096];      /* text of split options */
	unsigned int nr_buffers;
};

/*
 * Parses the command line. Later options replace earlier ones where an option
 * may be given once. The error names the option.
 */
int options_parse(struct options *o, int argc, char **argv, struct err *e);

/* The help that was asked for (o->help), on standard output. */
void options_print_help(const struct options *o);

#endif
