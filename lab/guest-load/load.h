/* SPDX-License-Identifier: MIT */
/* What the guest does under way and how it fared: files, connections, lines. */
#ifndef LAB_GUEST_LOAD_LOAD_H
#define LAB_GUEST_LOAD_LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	LOAD_SLOTS = 24,       /* files that are replaced in turn */
	LOAD_BLOCK = 4096,     /* of the file and of disks written directly */
	LOAD_BLOCKS = 1024,    /* of the file that is written directly */
	LOAD_HOT_BLOCKS = 512, /* of a disk that was plugged in */
	LOAD_PORT = 7000,
};

struct load {
	const char *dir; /* of the files */
	const char *tty; /* lines out and in */
	int tty_fd;
	pthread_mutex_t tty_lock;
	uint64_t boot_seed;
	atomic_bool stop; /* finish what is begun, begin nothing */
	pthread_t files_thread, direct_thread, tcp_thread, hot_thread, lines_thread;
	_Atomic uint64_t written, verified; /* bytes of files and disks */
	_Atomic uint64_t rounds;            /* files replaced and blocks rewritten */
	_Atomic uint64_t trims;             /* times free space was discarded */
	_Atomic uint64_t bad;               /* whatever was not as it should be */
	_Atomic uint64_t rx, tx;            /* bytes over TCP */
	_Atomic uint64_t connections;       /* opened so far */
	_Atomic uint64_t lines_in;          /* numbered lines that came in order */
	_Atomic uint64_t hot_blocks;        /* verified on the disk that was plugged in */
	_Atomic uint64_t hot_disks;         /* times such a disk came */
	_Atomic uint32_t generation[LOAD_SLOTS];
	_Atomic uint32_t block_generation[LOAD_BLOCKS];
};

/* Note something wrong, and say it on the console at once. */
void load_bad(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Write a line to the console, whole. */
void load_say(struct load *l, const char *text);

uint64_t load_now_ns(void);
void load_nap(unsigned int us);

/* Threads; all end after @stop. The argument is the struct load. */
void *load_files_main(void *arg);
void *load_direct_main(void *arg);
void *load_hot_main(void *arg);
void *load_tcp_main(void *arg);

/*
 * Verify every file and block in the directory against what it says of itself. Returns a sum over
 * all generations, which says whether anything of what had been synced is older than it
 * should be; *bad counts what is wrong, *files what was found.
 */
uint64_t load_check_all(const char *dir, uint64_t *files, uint64_t *bad);

#endif
