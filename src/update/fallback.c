/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/rescue.h"
#include "update/bytes_json.h"
#include "update/fallback.h"
#include "update/handover.h"
#include "update/wire.h"

enum {
	/* What is missing may be memory, for a moment. */
	ATTEMPTS = 5,
	INTERVAL_NS = 5000000,
};

static void free_argv(char **argv)
{
	for (char **a = argv; a && *a; a++)
		free(*a);
	free(argv);
}

/* What the old image wrote of itself. */
static char **old_argv(const struct cpr_state *state)
{
	json_t *config = json_loads(state->config, 0, NULL);
	json_t *list = json_object_get(config, "argv");
	size_t n = json_array_size(list);
	char **argv = n ? calloc(n + 1, sizeof(*argv)) : NULL;

	for (size_t i = 0; argv && i < n; i++) {
		argv[i] = bytes_from_json(json_array_get(list, i));
		if (argv[i])
			continue;
		free_argv(argv);
		argv = NULL;
	}
	json_decref(config);
	return argv;
}

static bool is_variable(const char *entry, const char *name)
{
	size_t n = strlen(name);

	return !strncmp(entry, name, n) && entry[n] == '=';
}

/* Our environment, and what the old image finds its guest and the reason by. */
static char **old_environment(struct fallback *way, const struct cpr_state *state)
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
		if (!is_variable(*p, EXEC_STATE_NAME) && !is_variable(*p, EXEC_FALLBACK_NAME))
			out[n++] = *p;
	snprintf(way->state, sizeof(way->state), "%s=%d", EXEC_STATE_NAME, state->state_fd);
	snprintf(way->why, sizeof(way->why), "%s=", EXEC_FALLBACK_NAME);
	out[n++] = way->state;
	out[n] = way->why;
	return out;
}

/* From the owner page, which this image may find unusable yet; then there is none. */
static uint64_t deadline_of(struct fallback *way, const struct cpr_state *state)
{
	struct owner owner = OWNER_INIT;
	struct owner_deadline deadline;
	struct err ignored;
	int fd = cpr_state_dup_fd(state, OWNER_FD_NAME, 0, &ignored);

	if (fd < 0)
		return 0;
	if (owner_open(&owner, fd, &ignored)) {
		close(fd);
		return 0;
	}
	deadline = *owner_deadline(&owner);
	owner_fini(&owner);
	snprintf(way->late, sizeof(way->late),
		 "it did not take the guest over within the downtime limit of %llu ms",
		 (unsigned long long)deadline.limit_ms);
	return deadline.ns;
}

static int arm(struct fallback *way, const struct cpr_state *state, uint64_t deadline_ns,
	       struct err *e)
{
	int program = cpr_state_find_fd(state, PROGRAM_FD_NAME, 0);
	struct rescue r;

	if (program < 0)
		return err_set(e, ENOENT, "the old image did not say how to go back to it");
	if (!way->argv)
		way->argv = old_argv(state);
	if (!way->envp)
		way->envp = old_environment(way, state);
	if (!way->argv || !way->envp)
		return err_set(e, ENOENT, "the old image did not say how to go back to it");
	for (size_t i = 0; i < state->nr_fds; i++)
		way->fds[i] = state->fds[i].fd;
	way->fds[state->nr_fds] = state->state_fd;
	r = (struct rescue){
		.program = program,
		.argv = way->argv,
		.envp = way->envp,
		.fds = way->fds,
		.nr_fds = state->nr_fds + 1,
		.why = way->why + sizeof(EXEC_FALLBACK_NAME),
		.room = sizeof(way->why) - sizeof(EXEC_FALLBACK_NAME),
		.deadline_ns = deadline_ns,
		.late = way->late,
	};
	way->armed = true;
	return rescue_arm(&r, e);
}

int fallback_arm(struct fallback *way, const struct cpr_state *state, struct err *e)
{
	return arm(way, state, deadline_of(way, state), e);
}

int fallback_go(struct fallback *way, const struct cpr_state *state, const char *why, struct err *e)
{
	int r = 0;

	for (int i = 0; !way->armed && i < ATTEMPTS; i++) {
		r = arm(way, state, 0, e);
		if (r)
			clock_sleep_ns(INTERVAL_NS);
	}
	return r ? r : rescue_go(why, e);
}

void fallback_end(void)
{
	rescue_end();
}

void fallback_release(struct fallback *way)
{
	rescue_release();
	way->armed = false;
	free_argv(TAKE_PTR(way->argv));
	free(TAKE_PTR(way->envp));
}
