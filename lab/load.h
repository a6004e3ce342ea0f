/* SPDX-License-Identifier: MIT */
/* The host's side of the Debian guest's load: TCP connections, its virtio console, its agent. */
#ifndef LAB_LOAD_H
#define LAB_LOAD_H

/*
 * DOC: theory of operation
 *
 * The guest runs guestload (lab/guest-load). A TCP connection to its service stays open for the
 * whole run, a known stream going each way; one client stays connected to its virtio
 * console, another to its agent. Each is served by threads of its own, which
 * judge every byte; the main thread asks now and then how it goes.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "lab/guest-load/stream.h"
#include "lab/qmp.h"

struct console;
struct verdict;

#define LOAD_GUEST_ADDRESS "192.168.77.2"
#define LOAD_HOST_ADDRESS  "192.168.77.1"

enum {
	LOAD_GUEST_PORT = 7000,
};

/* Figures of the guest's last report, see guestload.c. */
struct load_report {
	uint64_t n, written, verified, rounds, trims, bad, rx, tx, connections, lines_in, hot_disks,
		hot;
};

/* Its last line. */
struct load_final {
	bool seen;
	uint64_t files, bad, sum, rx, lines_in;
};

struct load {
	struct verdict *verdict;
	struct console *console; /* read while the main thread waits */
	int console_fd, tcp_fd;  /* -1: not connected */
	struct qmp agent;
	pthread_t console_reader, console_writer, tcp_reader, tcp_writer;
	bool console_runs, lines_run, tcp_runs;
	atomic_bool lines_stop, tcp_stop, ending;
	struct stream_hello hello;
	_Atomic uint64_t rx, tx;    /* bytes over the long connection */
	_Atomic uint64_t short_tx;  /* bytes sent over short ones */
	_Atomic uint64_t lines_out; /* numbered lines sent */
	_Atomic uint64_t lines;     /* numbered lines that came, in order */
	pthread_mutex_t lock;
	struct load_report report; /* [lock] */
	struct load_final final;   /* [lock] */
};

/*
 * Connect to the sockets of the guest's console and agent (NULL: there is none; both listen), and
 * start to read.
 */
int load_start(struct load *l, const char *console_path, const char *agent_path, struct err *e);

/*
 * Wait until the guest's services answer, open the long connection if there is a network, talk to
 * the agent.
 */
int load_wait_ready(struct load *l, bool net, int timeout_ms, struct err *e);

/*
 * After an update: files, both directions of the connection and the console must go on, the agent
 * answers, and a new connection can be made.
 */
int load_wait_progress(struct load *l, int timeout_ms, struct err *e);

/* Wait until a disk that was plugged in is used by the guest, or until it is not any more. */
int load_wait_hot(struct load *l, uint64_t disks, int timeout_ms, struct err *e);

/* End the connections and the guest's work in good order; judges the totals of both ends. */
int load_finish(struct load *l, int timeout_ms, struct err *e);

/* Have the guest shut down, by its agent if it has one. */
int load_shut_down(struct load *l, int timeout_ms, struct err *e);

/* Close what is open, join the threads. */
void load_close(struct load *l);

struct load_report load_last_report(struct load *l);

#endif
