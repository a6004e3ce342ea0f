/* SPDX-License-Identifier: MIT */
/* What a run with disk, network and virtio console adds to drive's run, step by step. */
#ifndef LAB_DEVICES_H
#define LAB_DEVICES_H

#include "lab/update.h"

/* True if the run has what this promise is about. */
bool devices_judge(const struct lab *lab, enum lab_check check);

/* Before the guest starts: the network, and that the image is free. */
int devices_prepare(struct lab *lab, struct err *e);

/* The program runs: second opener, connections; returns when the guest's load is under way. */
int devices_start(struct lab *lab, struct err *e);

/* Plug a disk in, or have it back; returns when the guest uses it or has let it go. */
int devices_step(struct lab *lab, enum lab_mode step, struct err *e);

/* After an update: all of it goes on. */
int devices_check(struct lab *lab, struct err *e);

/* Ends the load in good order and has the guest shut down. */
int devices_finish(struct lab *lab, struct err *e);

/* The guest is gone: what is left in the image. */
void devices_judge_image(struct lab *lab);

/* One line: how far the guest's work is, which goes on without a gap. */
void devices_tell(struct lab *lab);
void devices_print(struct lab *lab);
void devices_close(struct lab *lab);

#endif
