/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/file.h"
#include "host/process.h"
#include "host/xfer.h"
#include "machine/vm.h"
#include "update/handover.h"
#include "update/trial.h"

/* Contained in an image that answers. */
#define TRIAL_MARK "baton: knows trials"
#define TRIAL_NAME "BATON_CPR_EXEC_TRIAL"
#define TRIAL_YES  "yes"

#define DEADLINE_TRIAL_NS UINT64_C(20000000000)

bool trial_is_known_to(const char *name)
{
	return !process_program_has(name, EXEC_STATE_NAME) || process_program_has(name, TRIAL_MARK);
}

static void on_deadline(void *opaque)
{
	struct migration *m = opaque;
	struct err e;

	err_set(&e, ETIMEDOUT,
		"'%s' was tried and has not said within %llu s whether it can take the guest",
		m->trial.program, (unsigned long long)(DEADLINE_TRIAL_NS / 1000000000));
	handover_abort(m, &e);
}

/* @t has ended. Whether it says that all is well; if not, @e says why. */
static bool says_yes(struct trial *t, struct err *e)
{
	char line[SIZEOF_FIELD(struct err, msg)];
	size_t n = xfer_take(t->answer, line, sizeof(line) - 1);
	int r;
	char *end;

	/* What it has started, and left. */
	xfer_kill_group(t->pid);
	r = xfer_wait_child(t->pid, -1, 0, "it", e);
	end = memchr(line, '\n', n);
	t->pid = 0;
	if (!end && !r)
		err_set(e, ENOEXEC, "it ended without a word: it is no Baton, or an early one");
	if (!end) {
		err_prefix(e, "'%s' was tried, and cannot take the guest", t->program);
		return false;
	}
	*end = '\0';
	if (!strcmp(line, TRIAL_YES))
		return true;
	err_set(e, ECONNREFUSED, "'%s' was tried, and cannot take the guest: %s", t->program, line);
	return false;
}

static void on_end(void *opaque, uint32_t events)
{
	struct migration *m = opaque;
	struct err e;
	bool yes;

	(void)events;
	loop_fd_del(m->vm->loop, &m->trial.watch);
	yes = says_yes(&m->trial, &e);
	trial_end(m);
	if (yes)
		handover_continue(m);
	else
		handover_abort(m, &e);
}

static char **environment(int state, int answer)
{
	size_t n = 0;
	char **out;

	while (environ[n])
		n++;
	out = calloc(n + 3, sizeof(*out));
	if (!out)
		return NULL;
	n = 0;
	for (char **p = environ; *p; p++)
		if (strncmp(*p, TRIAL_NAME "=", sizeof(TRIAL_NAME)) &&
		    strncmp(*p, EXEC_STATE_NAME "=", sizeof(EXEC_STATE_NAME)))
			out[n++] = *p;
	if (asprintf(&out[n], "%s=%d", EXEC_STATE_NAME, state) < 0)
		out[n] = NULL;
	else if (asprintf(&out[n + 1], "%s=%d", TRIAL_NAME, answer) < 0)
		out[n + 1] = NULL;
	if (out[n] && out[n + 1])
		return out;
	free(out[n]);
	free(out);
	return NULL;
}

static void free_environment(char **env)
{
	size_t n = 0;

	while (env[n])
		n++;
	free(env[n - 1]);
	free(env[n - 2]);
	free(env);
}

static int start(struct migration *m, const struct cpr_state *s, int state, int answer,
		 struct err *e)
{
	int fds[WIRE_MAX_FDS + 2];
	char **env = environment(state, answer);
	size_t n = 0;
	pid_t pid;

	if (!env)
		return err_set(e, ENOMEM, "no memory to try the next image");
	for (; n < s->nr_fds; n++)
		fds[n] = s->fds[n].fd;
	fds[n++] = state;
	fds[n++] = answer;
	pid = xfer_spawn_with(m->command, env, fds, n, e);
	free_environment(env);
	if (pid < 0)
		return pid;
	m->trial.pid = pid;
	return 0;
}

int trial_start(struct migration *m, const struct cpr_state *s, const void *state, size_t n,
		struct err *e)
{
	AUTO_CLOSE int state_fd = file_create_memfd(EXEC_STATE_NAME, state, n, e), theirs = -1;
	struct trial *t = &m->trial;
	int r = state_fd;

	if (t->left && process_reap(t->left))
		t->left = 0;
	if (r >= 0 && t->left)
		r = err_set(e, EBUSY,
			    "process %d, a trial of before, was killed and has not ended yet",
			    t->left);
	if (r >= 0)
		t->program = strdup(m->command[0]);
	if (r >= 0 && !t->program)
		r = err_set(e, ENOMEM, "no memory to try the next image");
	if (r >= 0)
		r = t->answer = xfer_pipe(&theirs, e);
	if (r >= 0)
		r = start(m, s, state_fd, theirs, e);
	if (r >= 0)
		r = t->pidfd = process_open_pidfd(t->pid, e);
	if (r >= 0)
		r = loop_fd_add(m->vm->loop, &t->watch, t->pidfd, EPOLLIN, on_end, m, e);
	if (r < 0)
		return r;
	loop_timer_init(&m->deadline, on_deadline, m);
	loop_timer_set(m->vm->loop, &m->deadline, clock_boottime_ns() + DEADLINE_TRIAL_NS);
	return STEP_WAIT;
}

void trial_end(struct migration *m)
{
	struct trial *t = &m->trial;

	loop_fd_del(m->vm->loop, &t->watch);
	if (t->pid && !xfer_kill_child(t->pid))
		t->left = t->pid;
	t->pid = 0;
	close_fd(&t->pidfd);
	close_fd(&t->answer);
	free(TAKE_PTR(t->program));
}

int trial_inherit(void)
{
	const char *text = getenv(TRIAL_NAME);
	struct err ignored;
	uint64_t number;
	bool valid;

	/* What a program that was tried has started, and left it to, is none. */
	valid = text && getenv(EXEC_STATE_NAME) &&
		!parse_uint(text, INT32_MAX, &number, &ignored) && xfer_is_pipe((int)number) &&
		!process_keep_fd((int)number, false, &ignored);
	unsetenv(TRIAL_NAME);
	if (!valid)
		return -1;
	process_end_with_parent();
	return (int)number;
}

void trial_answer(int fd, const char *why)
{
	char line[SIZEOF_FIELD(struct err, msg)];
	int n = snprintf(line, sizeof(line) - 1, "%s", why ? why : TRIAL_YES);
	struct iovec iov = { .iov_base = line };
	struct err ignored;

	iov.iov_len = MIN((size_t)n, sizeof(line) - 2);
	for (size_t i = 0; i < iov.iov_len; i++)
		if (line[i] == '\n')
			line[i] = ' ';
	line[iov.iov_len++] = '\n';
	xfer_writev(fd, -1, XFER_NO_LIMIT, &iov, 1, "the answer", &ignored);
}
