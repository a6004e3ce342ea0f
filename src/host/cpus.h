/* SPDX-License-Identifier: MIT */
/* On which of the host's processors threads run. */
#ifndef HOST_CPUS_H
#define HOST_CPUS_H

/*
 * DOC: theory of operation
 *
 * The kernel wakes a thread on a processor it finds idle, or else where the one that wakes it
 * runs. On a host that is a virtual machine itself it takes idle processors for unavailable, and two threads
 * that want to run share one for the length of a time slice, some ms, beside one that does nothing. For a guest
 * that is a pause ten times as long as an update's. So during an update vCPUs are told where
 * to run, and what works in the background where not to. All of it is advice: where the
 * kernel or the operator's own placement forbids it, nothing happens.
 */

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

/* The processor that thread @tid of this process runs on or waits for; -1: it sleeps. Slow: reads a file. */
int cpus_of_thread(pid_t tid);
/*
 * Keeps thread @tid of this process on processor @cpu, until cpus_unpin() with @was, where it is noted
 * where the thread might run. False, and nothing has changed: it may not run there.
 */
bool cpus_pin(pid_t tid, int cpu, cpu_set_t *was);
void cpus_unpin(pid_t tid, const cpu_set_t *was);
/* Where the main thread may run but for @busy. False: nowhere else. */
bool cpus_besides(const cpu_set_t *busy, cpu_set_t *out);
/* Keeps the calling thread to cpus_besides(), if there are any; instead of what it was kept to before. */
void cpus_avoid(const cpu_set_t *busy);

#endif
