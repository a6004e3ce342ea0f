/* SPDX-License-Identifier: MIT */
/* Processes: replacing this one's program, watching another one, inheriting descriptors. */
#ifndef HOST_PROCESS_H
#define HOST_PROCESS_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct holder;

/*
 * Replaces the program of this process by @argv[0], searched in PATH as execvp()
 * does, with the environment of this process. Returns only on failure: -errno,
 * and the process is as before. All other threads end with success.
 */
int process_exec(char *const *argv, struct err *e);

/* Whether process_exec() would find a program @name in PATH. */
bool process_in_path(const char *name);
/*
 * Whether the file that process_exec() would execute for @name has the bytes of @text, less than
 * 1 KiB and not empty, in it;
 * false if it cannot be read, or is too large to be a program (64 MiB).
 */
bool process_program_has(const char *name, const char *text);

/*
 * A descriptor of the program this process runs, even if its file was replaced since. Where there
 * is no /proc, of the file that has the program's name now.
 */
int process_open_program(struct err *e);
/* As process_exec() with the program behind @fd, which stays open. */
int process_exec_fd(int fd, char *const *argv, struct err *e);

/* Another descriptor for what @fd refers to, close-on-exec. */
int process_dup_fd(int fd, struct err *e);

/*
 * Starts a child that keeps this process's memory and the file behind @fd alive past
 * process_exec(), so that exec does not wait until they are torn down: the time
 * that takes grows with RAM. It leaves processors @busy to others, if it can. Returns once the child has let go of all other
 * descriptors. It ends by itself when *@word, in shared memory, becomes @end, when this
 * process dies, or after ten seconds. Returns its process id; process_reap() takes it
 * off. If this program goes on after all, process_end_hold() ends it, before @word goes
 * away, and frees *@holder.
 */
pid_t process_hold_memory(int fd, const uint32_t *word, uint32_t end, const cpu_set_t *busy,
			  struct holder **holder, struct err *e);
void process_end_hold(pid_t pid, struct holder *holder);
/* Whether that child has ended and was taken off; also callable in the next program. */
bool process_reap(pid_t pid);

/*
 * How many threads run this process's program: without those of the kernel that some of its
 * objects bring along. 0 if the kernel does not say. Their names go to @names, if that is not NULL, in
 * @room bytes.
 */
unsigned int process_nr_threads(char *names, size_t room);
/* How many processors the main thread may run on, whichever calls; at least 1. */
int process_nr_cpus(void);

/* Whether @fd stays open in the next program. */
int process_keep_fd(int fd, bool keep, struct err *e);

/* Fails unless @fd is an open descriptor. */
int process_check_fd(int fd, struct err *e);

/* Whoever started this process takes it along when it ends. */
void process_end_with_parent(void);

/* A descriptor that becomes readable when process @pid ends. */
int process_open_pidfd(pid_t pid, struct err *e);

/* Removes @path if it holds our process id: another process may have written its own since. */
void process_remove_pidfile(const char *path);
/*
 * Opens @path, made if it is missing, for process_write_pidfile(), which replaces what is there by
 * our process id. Whose id is there stays until then.
 */
int process_open_pidfile(const char *path, struct err *e);
int process_write_pidfile(int fd, const char *path, struct err *e);

/*
 * Blocks the signals that ask the process to end (and ignores SIGPIPE); they are read
 * from the descriptor put in *@fd instead. Before any thread is started.
 */
int process_block_signals(int *fd, struct err *e);
/* Takes one signal off the descriptor. */
void process_read_signal(int fd);

/* A thread gets them for what it does itself: blocked, they end the process without their handler. */
#define PROCESS_CRASH_SIGNALS                                             \
	{                                                                 \
		SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS \
	}
/* What threads other than the main one block: all but these. */
void process_fill_blocked(sigset_t *out);
/*
 * Starts a thread called @name, at most 15 characters, with signals blocked: they are the
 * main thread's.
 */
int process_start_thread(pthread_t *out, const char *name, void *(*run)(void *arg), void *arg,
			 struct err *e);
/* The calling thread, and it alone, gives way to others: @nice from 0 to 19. */
void process_be_nice(int nice);

/*
 * End, freeze or crash this process, or let the calling thread hang, as a fault would: for tests of an
 * update's failure paths.
 */
void process_die(void);
void process_freeze(void);
void process_crash(void);
void process_hang(void) __attribute__((noreturn));

#endif
