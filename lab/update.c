/* SPDX-License-Identifier: MIT */
/* One update of the running guest, by transfer or by exec, over QMP. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "lab/update.h"

const char *lab_mode_name(enum lab_mode mode)
{
	return mode == MODE_EXEC ? "exec" : "transfer";
}

static double ms_between(double from_s, double to_s)
{
	return from_s < 0 || to_s < 0 ? -1 : (to_s - from_s) * 1000;
}

static double number_of(json_t *object, const char *key)
{
	json_t *v = json_object_get(object, key);

	return json_is_number(v) ? json_number_value(v) : -1;
}

const char *lab_phase_name(int phase)
{
	static const char *const names[LAB_PHASES] = { "stop", "save", "send", "load", "resume" };

	return names[phase];
}

/* What query-migrate says of a finished update; the events fill what it leaves out. */
static void note_figures(struct update_result *r, json_t *info)
{
	json_t *pause = json_object_get(info, "pause"), *part;
	double us = number_of(pause, "downtime-us"), setup = number_of(info, "setup-time");
	size_t i;

	if (us >= 0)
		r->pause_ms = us / 1000;
	else if (number_of(info, "downtime") >= 0)
		r->pause_ms = number_of(info, "downtime");
	if (setup >= 0)
		r->setup_ms = setup;
	json_array_foreach(json_object_get(pause, "phases"), i, part) for (int k = 0;
									   k < LAB_PHASES; k++)
	{
		const char *name = json_string_value(json_object_get(part, "name"));

		if (name && strcmp(name, lab_phase_name(k)) == 0)
			r->phase_ms[k] = number_of(part, "us") / 1000;
	}
}

static void note_events(struct update_result *r, const struct qmp *q)
{
	double stop = qmp_event_time(q, "STOP");

	r->setup_ms = ms_between(qmp_event_time(q, "MIGRATION setup"), stop);
	r->pause_ms = ms_between(stop, qmp_event_time(q, "MIGRATION completed"));
}

/* Capabilities and parameters that both modes want; takes over extra. */
static int set_up(struct lab *lab, const char *mode, json_t *extra, struct err *e)
{
	struct qmp *q = &lab->vmm.qmp;
	json_t *caps =
		json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", "events", "state", 1);
	json_t *params = json_pack("{s:s, s:i}", "mode", mode, "downtime-limit", 20000);
	int r = qmp_call(q, "migrate-set-capabilities", caps, lab->step_ms, NULL, e);

	q->event_count = 0;
	if (extra)
		json_object_update(params, extra);
	json_decref(extra);
	if (r < 0) {
		json_decref(params);
		return r;
	}
	return qmp_call(q, "migrate-set-parameters", params, lab->step_ms, NULL, e);
}

/* Ask until the migration has ended one way or the other. */
static int wait_completed(struct lab *lab, struct update_result *r, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)lab->step_ms * 1000000;

	for (;;) {
		json_t *info = NULL;
		const char *status;
		int rc = qmp_call(&lab->vmm.qmp, "query-migrate", NULL, lab->step_ms, &info, e);

		if (rc < 0)
			return rc;
		status = json_string_value(json_object_get(info, "status"));
		if (status && strcmp(status, "completed") == 0) {
			note_events(r, &lab->vmm.qmp);
			note_figures(r, info);
			json_decref(info);
			return 0;
		}
		if (status && strcmp(status, "failed") == 0) {
			const char *why = json_string_value(json_object_get(info, "error-desc"));

			rc = err_set(e, EREMOTEIO, "the migration failed: %s",
				     why ? why : "no reason given");
		} else if (lab_now_ns() > deadline) {
			rc = err_set(e, ETIMEDOUT, "the migration stays in status '%s'",
				     status ? status : "none");
		}
		json_decref(info);
		if (rc < 0)
			return rc;
		console_wait(&lab->console, -1, 50);
	}
}

static int expect_status(struct lab *lab, struct qmp *q, const char *want, struct err *e)
{
	json_t *info = NULL;
	const char *status;
	int r = qmp_call(q, "query-status", NULL, lab->step_ms, &info, e);

	if (r < 0)
		return r;
	status = json_string_value(json_object_get(info, "status"));
	if (!status || strcmp(status, want) != 0)
		r = err_set(e, EPROTO, "run state is '%s', not '%s'", status ? status : "none",
			    want);
	json_decref(info);
	return r;
}

/* Wait until the new program listens on the cpr socket, or has ended. */
static int wait_for_new(struct lab *lab, struct vmm *new, const char *cpr, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)lab->step_ms * 1000000;
	int status;

	while (!qmp_is_listening(cpr)) {
		if (!vmm_is_alive(new, &status))
			return err_set(e, ECHILD, "the new program ended at once (status %#x)",
				       status);
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "the new program does not listen at '%s'",
				       cpr);
		console_wait(&lab->console, -1, 10);
	}
	return 0;
}

/* The old side of a finished transfer must refuse to run, and end when told. */
static int retire(struct lab *lab, struct vmm *old, struct err *e)
{
	struct err refusal = ERR_INIT;
	int status = 0, r;

	r = expect_status(lab, &old->qmp, "postmigrate", e);
	if (r < 0)
		return err_prefix(e, "old side");
	if (qmp_call(&old->qmp, "cont", NULL, lab->step_ms, NULL, &refusal) == 0)
		verdict_fault(&lab->verdict, CHECK_ONE_OWNER,
			      "the old side took 'cont' after it had given the guest away");
	r = qmp_call(&old->qmp, "quit", NULL, lab->step_ms, NULL, e);
	if (r < 0)
		return err_prefix(e, "old side");
	r = vmm_wait_exit(old, &lab->console, lab->step_ms, &status, e);
	if (r < 0)
		return err_prefix(e, "old side");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(e, ECHILD, "the old side ended with status %#x", status);
	return 0;
}

static json_t *unix_channel(const char *type, const char *path)
{
	return json_pack("{s:s, s:{s:s, s:s, s:s}}", "channel-type", type, "addr", "transport",
			 "socket", "type", "unix", "path", path);
}

static int by_transfer(struct lab *lab, struct vmm *new, struct update_result *r, struct err *e)
{
	char main_path[VMM_PATH_MAX], cpr_path[VMM_PATH_MAX], uri[VMM_PATH_MAX + 8];
	struct vmm *old = &lab->vmm;
	json_t *args;
	uint64_t begin;
	int rc;

	snprintf(main_path, sizeof(main_path), "%s/main.%d", lab->config.dir, lab->generation);
	snprintf(cpr_path, sizeof(cpr_path), "%s/cpr.%d", lab->config.dir, lab->generation);
	snprintf(uri, sizeof(uri), "unix:%s", main_path);
	rc = vmm_start(new, &lab->config, lab->config.next_baton, uri, cpr_path, e);
	if (rc < 0)
		return rc;
	rc = wait_for_new(lab, new, cpr_path, e);
	if (rc < 0)
		return rc;
	rc = set_up(lab, "cpr-transfer", NULL, e);
	if (rc < 0)
		return rc;
	args = json_pack("{s:[o, o]}", "channels", unix_channel("main", main_path),
			 unix_channel("cpr", cpr_path));
	begin = lab_now_ns();
	rc = qmp_call(&old->qmp, "migrate", args, lab->step_ms, NULL, e);
	if (rc < 0)
		return rc;
	rc = wait_completed(lab, r, e);
	if (rc < 0)
		return rc;
	r->done = true;
	rc = qmp_connect(&new->qmp, &lab->console, new->qmp_path, lab->step_ms, e);
	if (rc < 0)
		return err_prefix(e, "new side");
	rc = expect_status(lab, &new->qmp, "running", e);
	if (rc < 0)
		return err_prefix(e, "new side");
	r->whole_ms = (double)(lab_now_ns() - begin) / 1e6;
	unlink(main_path);
	unlink(cpr_path);
	return retire(lab, old, e);
}

static int by_exec(struct lab *lab, struct update_result *r, struct err *e)
{
	char uri[VMM_PATH_MAX + 8];
	struct vmm *m = &lab->vmm;
	struct vmm_args args;
	json_t *command = json_array(), *info = NULL;
	uint64_t begin;
	int rc;

	snprintf(uri, sizeof(uri), "file:%s/vm.state", lab->config.dir);
	rc = vmm_args_build(&args, &lab->config, lab->config.next_baton, m->qmp_path, uri, NULL, e);
	for (int i = 0; i < args.n; i++)
		json_array_append_new(command, json_string(args.v[i]));
	vmm_args_free(&args);
	if (rc == 0)
		rc = set_up(lab, "cpr-exec", json_pack("{s:O}", "cpr-exec-command", command), e);
	json_decref(command);
	if (rc < 0)
		return rc;
	begin = lab_now_ns();
	rc = qmp_call(&m->qmp, "migrate", json_pack("{s:s}", "uri", uri), lab->step_ms, NULL, e);
	if (rc < 0)
		return rc;
	rc = qmp_wait_eof(&m->qmp, lab->step_ms, e);
	if (rc < 0)
		return err_prefix(e, "end of the old program's QMP connection");
	note_events(r, &m->qmp);
	qmp_close(&m->qmp);
	rc = qmp_connect(&m->qmp, &lab->console, m->qmp_path, lab->step_ms, e);
	if (rc < 0)
		return err_prefix(e, "after exec");
	rc = expect_status(lab, &m->qmp, "running", e);
	if (rc < 0)
		return err_prefix(e, "after exec");
	r->done = true;
	r->whole_ms = (double)(lab_now_ns() - begin) / 1e6;
	rc = qmp_call(&m->qmp, "query-migrate", NULL, lab->step_ms, &info, e);
	if (rc < 0)
		return rc;
	note_figures(r, info);
	json_decref(info);
	if (vmm_peer_pid(m->qmp.fd) != m->pid)
		verdict_fault(&lab->verdict, CHECK_PID, "after exec, process %d answers, not %d",
			      (int)vmm_peer_pid(m->qmp.fd), (int)m->pid);
	return 0;
}

/* Wait until the guest has reported twice and read all its memory again. */
static int wait_settled(struct lab *lab, struct err *e)
{
	struct console *c = &lab->console;
	uint64_t deadline = lab_now_ns() + (uint64_t)lab->step_ms * 1000000;
	uint64_t reports = c->reports + 2, pass = c->last.pass + 2;
	int status = 0;

	while (c->reports < reports || c->last.pass < pass) {
		if (!vmm_is_alive(&lab->vmm, &status))
			return err_set(e, ECHILD, "baton ended (status %#x)", status);
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "the guest has gone quiet after line %llu",
				       (unsigned long long)c->last.n);
		console_wait(c, -1, 20);
	}
	return 0;
}

static void check_processes(struct lab *lab, const struct update_result *r)
{
	int count = vmm_count_processes();

	if (count != 1)
		verdict_fault(&lab->verdict, CHECK_ONE_OWNER, "%d baton processes, not one", count);
	if ((r->mode == MODE_EXEC) != (r->pid_before == r->pid_after))
		verdict_fault(&lab->verdict, CHECK_PID, "%s: process %d, then %d",
			      lab_mode_name(r->mode), (int)r->pid_before, (int)r->pid_after);
}

int update_run(struct lab *lab, enum lab_mode mode, struct update_result *r, struct err *e)
{
	struct console *c = &lab->console;
	struct verdict *v = &lab->verdict;
	unsigned int counter = v->faults[CHECK_COUNTER], memory = v->faults[CHECK_MEMORY];
	struct vmm new = { .generation = ++lab->generation, .qmp.fd = -1 };
	int rc;

	*r = (struct update_result){ .mode = mode, .pid_before = lab->vmm.pid };
	r->setup_ms = r->pause_ms = r->whole_ms = -1;
	for (int i = 0; i < LAB_PHASES; i++)
		r->phase_ms[i] = -1;
	c->max_gap_us = 0;
	rc = mode == MODE_EXEC ? by_exec(lab, r, e) : by_transfer(lab, &new, r, e);
	if (mode == MODE_TRANSFER && r->done) {
		vmm_discard(&lab->vmm);
		lab->vmm = new;
	} else {
		vmm_discard(&new);
	}
	r->pid_after = lab->vmm.pid;
	if (rc < 0)
		return rc;
	rc = wait_settled(lab, e);
	r->guest_pause_ms = (double)c->max_gap_us / 1000;
	r->counter_ok = rc == 0 && v->faults[CHECK_COUNTER] == counter;
	r->memory_ok = rc == 0 && v->faults[CHECK_MEMORY] == memory;
	if (rc == 0)
		check_processes(lab, r);
	return rc;
}
