/* SPDX-License-Identifier: MIT */
/* One baton process that drive started, and its QMP connection. */
#ifndef LAB_VMM_H
#define LAB_VMM_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "lab/qmp.h"

enum {
	VMM_PATH_MAX = 96,
	VMM_ARGS_MAX = 96,
};

/* What every baton of a run is started with. */
struct vmm_config {
	const char *baton;      /* the program of the first generation */
	const char *next_baton; /* the program updates go to */
	const char *kernel, *initrd, *append;
	const char *dir; /* sockets and state files */
	const char *memory;
	char ram_path[VMM_PATH_MAX]; /* shared file that is the guest's RAM; empty: a memfd */
	const char *disk;            /* the guest's; NULL: none */
	const char *disk_options;    /* of its drive, after the file */
	bool net, serial, rng;       /* virtio devices */
	bool port;                   /* a root port in which a disk can be plugged */
	const char *bios;            /* the guest boots from its disk by this; NULL: the kernel */
	int smp;
	int in_fd, out_fd; /* the guest's console */
};

struct vmm {
	pid_t pid; /* 0: none */
	int generation;
	char qmp_path[VMM_PATH_MAX];
	struct qmp qmp;
};

/* The sockets of the virtio console and of the agent's port. */
void vmm_port_path(char path[VMM_PATH_MAX], const struct vmm_config *c, const char *port);

/* An argument vector whose strings it owns. */
struct vmm_args {
	char *v[VMM_ARGS_MAX];
	int n;
};

/* The command line of a baton; incoming and cpr may be NULL. */
int vmm_args_build(struct vmm_args *a, const struct vmm_config *c, const char *program,
		   const char *qmp_path, const char *incoming, const char *cpr, struct err *e);
void vmm_args_free(struct vmm_args *a);

/* Start a baton. It dies with drive. */
int vmm_start(struct vmm *m, const struct vmm_config *c, const char *program, const char *incoming,
	      const char *cpr, struct err *e);

/* True while the process has not ended; after that *status is as of waitpid(2). */
bool vmm_is_alive(struct vmm *m, int *status);

/* Wait for the end of the process; pumps the console. */
int vmm_wait_exit(struct vmm *m, struct console *c, int timeout_ms, int *status, struct err *e);

/* Kill it if it is there, close what belongs to it. */
void vmm_discard(struct vmm *m);

/* How many baton processes this drive started, at any remove, exist now. */
int vmm_count_processes(void);

/* The process that made the listening end of a connected socket. */
pid_t vmm_peer_pid(int fd);

#endif
