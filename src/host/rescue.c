/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/process.h"
#include "host/rescue.h"

/* Who may execute the program. */
enum {
	IDLE,  /* nothing is armed */
	ARMED, /* the first who asks */
	TAKEN, /* somebody does, or tries */
	ENDED, /* nobody any more */
};

enum {
	ATTEMPTS = 40,
	INTERVAL_NS = 5000000, /* for what the host lacks to come back */
	STACK_BYTES = 64 << 10,
};

static const struct {
	int number;
	const char *name;
} crashes[] = {
	{ SIGSEGV, "it crashed: SIGSEGV, an address that is not there" },
	{ SIGBUS, "it crashed: SIGBUS, memory that cannot be had" },
	{ SIGILL, "it crashed: SIGILL, an instruction this processor does not have" },
	{ SIGFPE, "it crashed: SIGFPE, an impossible division" },
	{ SIGABRT, "it crashed: SIGABRT, it found itself broken" },
	{ SIGTRAP, "it crashed: SIGTRAP" },
	{ SIGSYS, "it crashed: SIGSYS, a system call that is forbidden" },
};

/* The handler of a signal finds it by its name only. */
static struct {
	struct rescue plan;
	int state;   /* atomic */
	pid_t taker; /* thread that has made it TAKEN; atomic */
	pid_t pid;   /* a child that crashes is no rescue's business */
	bool waits;  /* there is a thread */
	pthread_t thread;
	struct timespec until; /* CLOCK_MONOTONIC */
	sem_t wake;
	struct sigaction before[ARRAY_SIZE(crashes)];
	stack_t stack_before;
	_Alignas(16) char stack[STACK_BYTES];
} rescue;

static bool take_from(int from)
{
	if (!__atomic_compare_exchange_n(&rescue.state, &from, TAKEN, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	__atomic_store_n(&rescue.taker, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	return true;
}

static bool take(void)
{
	return take_from(ARMED);
}

static void give_back(void)
{
	__atomic_store_n(&rescue.taker, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&rescue.state, ARMED, __ATOMIC_SEQ_CST);
}

static int state(void)
{
	return __atomic_load_n(&rescue.state, __ATOMIC_SEQ_CST);
}

static void sleep_ns(long ns)
{
	const struct timespec t = { .tv_nsec = ns };

	nanosleep(&t, NULL);
}

/* -errno if it cannot be executed. Also called in the handler of a signal. */
static int execute(const char *why)
{
	const struct rescue *p = &rescue.plan;
	struct sigaction dfl = { .sa_handler = SIG_DFL }, pipe;
	sigset_t none, old;
	size_t n = 0;
	int r = 0;

	for (; why[n] && n + 1 < p->room; n++)
		p->why[n] = why[n];
	p->why[n] = '\0';
	for (size_t i = 0; i < p->nr_fds; i++)
		fcntl(p->fds[i], F_SETFD, 0);
	/* What is blocked or ignored here is no business of the program. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, &old);
	/* The host may be short of something for a moment. */
	for (int i = 0; i < ATTEMPTS; i++) {
		sigaction(SIGPIPE, &dfl, &pipe);
		fexecve(p->program, p->argv, p->envp);
		r = -errno;
		sigaction(SIGPIPE, &pipe, NULL);
		sleep_ns(INTERVAL_NS);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	for (size_t i = 0; i < p->nr_fds; i++)
		fcntl(p->fds[i], F_SETFD, FD_CLOEXEC);
	return r;
}

static bool is_taker(void)
{
	return __atomic_load_n(&rescue.taker, __ATOMIC_SEQ_CST) == (pid_t)syscall(SYS_gettid);
}

static void on_crash(int sig)
{
	const char *why = "it crashed";

	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
		if (crashes[i].number == sig)
			why = crashes[i].name;
	while (getpid() == rescue.pid) {
		if (take()) {
			execute(why);
			break;
		}
		/* If another thread executes the program, that ends this one; or it gives up. */
		if (state() != TAKEN || is_taker())
			break;
		sleep_ns(INTERVAL_NS);
	}
	/* As if this handler had never been there. */
	signal(sig, SIG_DFL);
	raise(sig);
}

static void *wait_for_deadline(void *opaque)
{
	while (sem_clockwait(&rescue.wake, CLOCK_MONOTONIC, &rescue.until)) {
		if (errno != ETIMEDOUT)
			continue;
		/* A guest that goes on late is better than none; but if nobody claims it, it is tried again. */
		if (take() && execute(rescue.plan.late))
			give_back();
		rescue.until.tv_sec++;
	}
	return opaque;
}

static int start_waiting(struct err *e)
{
	struct timespec *until = &rescue.until;
	uint64_t now = clock_boottime_ns(), deadline = rescue.plan.deadline_ns;
	uint64_t left = deadline > now ? deadline - now : 0;
	int r;

	clock_gettime(CLOCK_MONOTONIC, until);
	left += (uint64_t)until->tv_nsec;
	until->tv_sec += (time_t)(left / 1000000000);
	until->tv_nsec = (long)(left % 1000000000);
	sem_init(&rescue.wake, 0, 0);
	r = process_start_thread(&rescue.thread, "deadline", wait_for_deadline, NULL, e);
	rescue.waits = !r;
	return r;
}

int rescue_arm(const struct rescue *r, struct err *e)
{
	const stack_t stack = { .ss_sp = rescue.stack, .ss_size = sizeof(rescue.stack) };
	struct sigaction action = { .sa_handler = on_crash, .sa_flags = SA_ONSTACK };

	rescue.plan = *r;
	rescue.pid = getpid();
	__atomic_store_n(&rescue.state, ARMED, __ATOMIC_SEQ_CST);
	sigaltstack(&stack, &rescue.stack_before);
	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
		sigaction(crashes[i].number, &action, &rescue.before[i]);
	return r->deadline_ns ? start_waiting(e) : 0;
}

int rescue_go(const char *why, struct err *e)
{
	int r;

	while (!take() && !take_from(ENDED)) {
		if (state() != TAKEN)
			return err_set(e, ENOENT, "there is no program to go back to");
		clock_sleep_ns(INTERVAL_NS);
	}
	r = execute(why);
	give_back();
	return err_set_code(e, -r, "the program to go back to cannot be executed");
}

void rescue_end(void)
{
	int armed = ARMED;

	while (!__atomic_compare_exchange_n(&rescue.state, &armed, ENDED, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST)) {
		if (armed != TAKEN)
			return;
		armed = ARMED;
		clock_sleep_ns(INTERVAL_NS);
	}
}

void rescue_release(void)
{
	if (state() != ENDED)
		return;
	if (rescue.waits) {
		sem_post(&rescue.wake);
		pthread_join(rescue.thread, NULL);
		sem_destroy(&rescue.wake);
		rescue.waits = false;
	}
	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
		sigaction(crashes[i].number, &rescue.before[i], NULL);
	sigaltstack(&rescue.stack_before, NULL);
	__atomic_store_n(&rescue.state, IDLE, __ATOMIC_SEQ_CST);
}
