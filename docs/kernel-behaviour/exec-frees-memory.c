/* SPDX-License-Identifier: MIT */
/* exec takes the old address space apart before it returns, unless another task holds it. */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fact.h"

enum {
	BYTES = 256 << 20,
	ROUNDS = 5
};

static int hold(void *arg)
{
	(void)arg;
	while (pause())
		;
	return 0;
}

/* In a process of its own: touches memory and replaces itself; the next program ends at once. */
static void touch_and_exec(size_t bytes, int held, double *start)
{
	char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	static char stack[64 << 10] __attribute__((aligned(16)));

	for (size_t i = 0; i < bytes; i += 4096)
		p[i] = 1;
	if (held)
		NEED(clone(hold, stack + sizeof(stack), CLONE_VM, NULL));
	*start = fact_now_us();
	execl("/proc/self/exe", "exec-frees-memory", "time", NULL);
	_exit(77);
}

/* The shortest of several, in microseconds, from exec to the first line of the new program. */
static double exec_us(size_t bytes, int held)
{
	double *start =
		NEED(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	double best = 1e12;

	for (int i = 0; i < ROUNDS; i++) {
		double end;
		int out[2], status;
		pid_t pid;

		NEED(pipe(out));
		pid = NEED(fork());
		if (!pid) {
			setpgid(0, 0);
			dup2(out[1], STDOUT_FILENO);
			touch_and_exec(bytes, held, start);
		}
		setpgid(pid, pid);
		if (read(out[0], &end, sizeof(end)) != sizeof(end))
			SKIPS("the next program was not started");
		NEED(waitpid(pid, &status, 0));
		/* What holds the memory is left, and is our child now. */
		kill(-pid, SIGKILL);
		while (waitpid(-pid, &status, __WALL) > 0)
			;
		close(out[0]);
		close(out[1]);
		if (end - *start < best)
			best = end - *start;
	}
	return best;
}

int main(int argc, char **argv)
{
	double small, large, held;

	(void)argv;
	if (argc > 1) {
		double now = fact_now_us();

		return write(STDOUT_FILENO, &now, sizeof(now)) == sizeof(now) ? 0 : 1;
	}
	NEED(prctl(PR_SET_CHILD_SUBREAPER, 1));
	small = exec_us(0, 0);
	large = exec_us(BYTES, 0);
	held = exec_us(BYTES, 1);
	if (large < 2 * small || held > (small + large) / 2)
		FAILS("exec took %.0f us with no memory, %.0f with 256 MiB, %.0f if it was held",
		      small, large, held);
	HOLDS("exec took %.0f us with no memory, %.0f with 256 MiB, %.0f if another task held it",
	      small, large, held);
}
