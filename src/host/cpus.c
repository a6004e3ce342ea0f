/* SPDX-License-Identifier: MIT */
/* On which of the host's processors threads run. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "host/cpus.h"

int cpus_of_thread(pid_t tid)
{
	char path[64], text[1024] = "", state;
	AUTO_CLOSE int fd = -1;
	const char *p;
	int cpu = -1;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;
	/* Field 3 is the state, field 39 the processor (proc(5)); the name before them may hold spaces. */
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %c", &state) != 1 || state != 'R')
		return -1;
	for (int field = 2; p && field < 39; field++)
		p = strchr(p + 1, ' ');
	return p && sscanf(p, "%d", &cpu) == 1 ? cpu : -1;
}

bool cpus_pin(pid_t tid, int cpu, cpu_set_t *was)
{
	cpu_set_t set;

	if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(tid, sizeof(*was), was) ||
	    !CPU_ISSET(cpu, was))
		return false;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(tid, sizeof(set), &set);
}

void cpus_unpin(pid_t tid, const cpu_set_t *was)
{
	sched_setaffinity(tid, sizeof(*was), was);
}

bool cpus_besides(const cpu_set_t *busy, cpu_set_t *out)
{
	cpu_set_t allowed, both;

	if (sched_getaffinity(getpid(), sizeof(allowed), &allowed))
		return false;
	CPU_AND(&both, &allowed, busy);
	CPU_XOR(out, &allowed, &both);
	return CPU_COUNT(out) > 0;
}

void cpus_avoid(const cpu_set_t *busy)
{
	cpu_set_t set;

	if (cpus_besides(busy, &set))
		sched_setaffinity(0, sizeof(set), &set);
}
