/* SPDX-License-Identifier: MIT */
/* One update of the running guest, and what was seen of it. */
#ifndef LAB_UPDATE_H
#define LAB_UPDATE_H

#include "lab/console.h"
#include "lab/image.h"
#include "lab/load.h"
#include "lab/vmm.h"

/*
 * In the deferred exec and in the reboots the new program waits for migrate-incoming.
 * In the reboots the old one has ended by then: with the RAM left in its shared file,
 * or with the RAM's pages in the state.
 */
enum lab_mode {
	MODE_TRANSFER,
	MODE_EXEC,
	MODE_EXEC_DEFER,
	MODE_GRAFT,
	MODE_REBOOT,
	MODE_REBOOT_STREAM,
	/* A transfer whose new side waits for migrate-incoming, a root port being plugged there. */
	MODE_TRANSFER_DEFER,
	/* No updates: a disk comes and goes behind a root port. */
	MODE_PLUG,
	MODE_UNPLUG,
	MODE_COUNT,
};

enum {
	LAB_MAX_UPDATES = 1000,
	LAB_PHASES = 5,
};

struct update_result {
	enum lab_mode mode;
	bool done; /* the guest runs in the new program */
	pid_t pid_before, pid_after;
	double guest_pause_ms; /* largest gap the guest saw around the update */
	double whole_ms;       /* migrate sent until the new program ran the guest */
	/* Baton's own figures; negative: not told. */
	double setup_ms;
	double pause_ms;
	double phase_ms[LAB_PHASES];
	bool counter_ok, memory_ok;
};

/* One run of drive. */
struct lab {
	struct vmm_config config;
	struct console console;
	struct verdict verdict;
	struct vmm vmm;   /* the process that has the guest */
	struct load load; /* with a disk: what the guest is busy with */
	struct opener opener;
	int fs_offset;         /* of the guest's file system on its disk */
	uint64_t plugged;      /* times a disk was plugged in */
	const char *guestload; /* the program that verifies the guest's files */
	int step_ms;           /* how long any one step may take */
	int generation;        /* programs started or executed so far */
	double up_at_s;        /* the guest's clock when it had booted */
	double quiet_gap_ms;   /* largest gap the guest saw while it was left alone */
	enum lab_mode modes[LAB_MAX_UPDATES];
	int mode_count;
	bool turns; /* the modes were given, to be taken by turns */
	struct update_result results[LAB_MAX_UPDATES];
	int result_count;
};

/* The parts of a pause, in order: stop save send load resume. */
const char *lab_phase_name(int phase);

const char *lab_mode_name(enum lab_mode mode);

/* False for a step between updates. */
bool lab_mode_updates(enum lab_mode mode);

/* The mode of this name; MODE_COUNT if there is none. */
enum lab_mode lab_mode_find(const char *name);

/*
 * Update the guest once. After failure r->done is false and the guest is where
 * it was, as far as can be told.
 */
int update_run(struct lab *lab, enum lab_mode mode, struct update_result *r, struct err *e);

#endif
