/* SPDX-License-Identifier: MIT */
/* One update of the running guest over QMP, in any of the modes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "lab/update.h"

enum {
	STATE_SIZE_MAX = 8 << 20,           /* without RAM; it is some tens of kB */
	STATE_SIZE_WITH_RAM_MIN = 64 << 20, /* guestwatch's pattern, which is not compressed */
};

static const char *const mode_names[MODE_COUNT] = {
	[MODE_TRANSFER] = "transfer",
	[MODE_EXEC] = "exec",
	[MODE_EXEC_DEFER] = "exec-defer",
	[MODE_REBOOT] = "reboot",
	[MODE_REBOOT_STREAM] = "reboot-stream",
	[MODE_GRAFT] = "graft",
	[MODE_TRANSFER_DEFER] = "transfer-defer",
	[MODE_PLUG] = "plug",
	[MODE_UNPLUG] = "unplug",
};

const char *lab_mode_name(enum lab_mode mode)
{
	return mode_names[mode];
}

enum lab_mode lab_mode_find(const char *name)
{
	int mode = 0;

	while (mode < MODE_COUNT && strcmp(name, mode_names[mode]) != 0)
		mode++;
	return mode;
}

bool lab_mode_updates(enum lab_mode mode)
{
	return mode < MODE_PLUG;
}

/* The process stays, and with it its id. */
static bool keeps_process(enum lab_mode mode)
{
	return mode == MODE_EXEC || mode == MODE_EXEC_DEFER || mode == MODE_GRAFT;
}

static double ms_between(double from_s, double to_s)
{
	return from_s < 0 || to_s < 0 ? -1 : (to_s - from_s) * 1000;
}

static double ms_since(uint64_t from_ns, uint64_t to_ns)
{
	return (double)(to_ns - from_ns) / 1e6;
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

/* What query-migrate says of a finished update. */
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

/* What the old program's events tell; query-migrate, where it says more, is asked later. */
static void note_events(struct update_result *r, const struct qmp *q)
{
	double stop = qmp_event_time(q, "STOP");

	r->setup_ms = ms_between(qmp_event_time(q, "MIGRATION setup"), stop);
	r->pause_ms = ms_between(stop, qmp_event_time(q, "MIGRATION completed"));
}

/* Capabilities and parameters that all modes want; takes over extra. */
static int set_up(struct lab *lab, struct qmp *q, const char *mode, bool ignore_shared,
		  json_t *extra, struct err *e)
{
	json_t *caps =
		json_pack("{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities", "capability", "events",
			  "state", 1, "capability", "x-ignore-shared", "state", ignore_shared);
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
static int wait_completed(struct lab *lab, struct qmp *q, struct update_result *r, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)lab->step_ms * 1000000;

	for (;;) {
		json_t *info = NULL;
		const char *status;
		int rc = qmp_call(q, "query-migrate", NULL, lab->step_ms, &info, e);

		if (rc < 0)
			return rc;
		status = json_string_value(json_object_get(info, "status"));
		if (status && strcmp(status, "completed") == 0) {
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

/* Ask until the run state is that. */
static int wait_status(struct lab *lab, struct qmp *q, const char *want, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)lab->step_ms * 1000000;

	for (;;) {
		json_t *info = NULL;
		const char *status;
		bool is;
		int r = qmp_call(q, "query-status", NULL, lab->step_ms, &info, e);

		if (r < 0)
			return r;
		status = json_string_value(json_object_get(info, "status"));
		is = status && strcmp(status, want) == 0;
		json_decref(info);
		if (is)
			return 0;
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "run state does not become '%s'", want);
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

/*
 * The old side must end when told. After a transfer it must refuse to run; after a
 * save it may run again, as long as nobody has loaded what it saved.
 */
static int retire(struct lab *lab, struct vmm *old, bool gave_away, struct err *e)
{
	struct err refusal = ERR_INIT;
	int status = 0, r;

	r = expect_status(lab, &old->qmp, "postmigrate", e);
	if (r < 0)
		return err_prefix(e, "old side");
	if (gave_away && qmp_call(&old->qmp, "cont", NULL, lab->step_ms, NULL, &refusal) == 0)
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

/*
 * The new program has read the CPR state when its monitor answers; it is given one root port more,
 * and told to go on.
 */
static int go_on_deferred(struct lab *lab, struct vmm *new, const char *uri, struct err *e)
{
	char id[32];
	json_t *port;
	int r = qmp_connect(&new->qmp, &lab->console, new->qmp_path, lab->step_ms, e);

	snprintf(id, sizeof(id), "late%d", lab->generation);
	port = json_pack("{s:s, s:s, s:i, s:i}", "driver", "pcie-root-port", "id", id, "chassis",
			 100 + lab->generation, "slot", 100 + lab->generation);
	if (r == 0)
		r = qmp_call(&new->qmp, "device_add", json_incref(port), lab->step_ms, NULL, e);
	json_decref(port);
	if (r == 0)
		r = qmp_call(&new->qmp, "migrate-incoming", json_pack("{s:s}", "uri", uri),
			     lab->step_ms, NULL, e);
	return r < 0 ? err_prefix(e, "new side") : 0;
}

static int by_transfer(struct lab *lab, bool defer, struct vmm *new, struct update_result *r,
		       struct err *e)
{
	char main_path[VMM_PATH_MAX], cpr_path[VMM_PATH_MAX], uri[VMM_PATH_MAX + 8];
	struct vmm *old = &lab->vmm;
	json_t *args;
	uint64_t begin;
	int rc;

	snprintf(main_path, sizeof(main_path), "%s/main.%d", lab->config.dir, lab->generation);
	snprintf(cpr_path, sizeof(cpr_path), "%s/cpr.%d", lab->config.dir, lab->generation);
	snprintf(uri, sizeof(uri), "unix:%s", main_path);
	rc = vmm_start(new, &lab->config, lab->config.next_baton, defer ? "defer" : uri, cpr_path,
		       e);
	if (rc < 0)
		return rc;
	rc = wait_for_new(lab, new, cpr_path, e);
	if (rc < 0)
		return rc;
	rc = set_up(lab, &old->qmp, "cpr-transfer", false, NULL, e);
	if (rc < 0)
		return rc;
	args = json_pack("{s:[o, o]}", "channels", unix_channel("main", main_path),
			 unix_channel("cpr", cpr_path));
	begin = lab_now_ns();
	rc = qmp_call(&old->qmp, "migrate", args, lab->step_ms, NULL, e);
	if (rc == 0 && defer)
		rc = go_on_deferred(lab, new, uri, e);
	if (rc == 0)
		rc = wait_completed(lab, &old->qmp, r, e);
	if (rc < 0)
		return rc;
	r->done = true;
	if (!defer)
		rc = qmp_connect(&new->qmp, &lab->console, new->qmp_path, lab->step_ms, e);
	if (rc < 0)
		return err_prefix(e, "new side");
	rc = expect_status(lab, &new->qmp, "running", e);
	if (rc < 0)
		return err_prefix(e, "new side");
	r->whole_ms = (double)(lab_now_ns() - begin) / 1e6;
	unlink(main_path);
	unlink(cpr_path);
	return retire(lab, old, true, e);
}

/* Have a program that waits load the state; the pause began at stop_s, by the old one. */
static int load(struct lab *lab, struct qmp *q, const char *uri, double stop_s,
		struct update_result *r, struct err *e)
{
	json_t *args = json_pack("{s:s}", "uri", uri);
	int rc = qmp_call(q, "migrate-incoming", args, lab->step_ms, NULL, e);

	if (rc == 0)
		rc = wait_completed(lab, q, r, e);
	if (rc == 0)
		rc = expect_status(lab, q, "running", e);
	if (rc == 0)
		r->pause_ms = ms_between(stop_s, qmp_event_time(q, "RESUME"));
	return rc;
}

static int by_exec(struct lab *lab, bool defer, struct update_result *r, struct err *e)
{
	char uri[VMM_PATH_MAX + 8];
	struct vmm *m = &lab->vmm;
	struct vmm_args args;
	json_t *command = json_array();
	uint64_t begin;
	int rc;

	snprintf(uri, sizeof(uri), "file:%s/vm.state", lab->config.dir);
	rc = vmm_args_build(&args, &lab->config, lab->config.next_baton, m->qmp_path,
			    defer ? "defer" : uri, NULL, e);
	for (int i = 0; i < args.n; i++)
		json_array_append_new(command, json_string(args.v[i]));
	vmm_args_free(&args);
	if (rc == 0)
		rc = set_up(lab, &m->qmp, "cpr-exec", false,
			    json_pack("{s:O}", "cpr-exec-command", command), e);
	json_decref(command);
	if (rc < 0)
		return rc;
	begin = lab_now_ns();
	rc = qmp_call(&m->qmp, "migrate", json_pack("{s:s}", "uri", uri), lab->step_ms, NULL, e);
	if (rc < 0)
		return rc;
	/* The connection goes on in the new image. */
	if (defer)
		rc = wait_status(lab, &m->qmp, "inmigrate", e);
	else
		rc = wait_completed(lab, &m->qmp, r, e);
	if (rc == 0 && defer) {
		note_events(r, &m->qmp);
		rc = load(lab, &m->qmp, uri, qmp_event_time(&m->qmp, "STOP"), r, e);
	}
	if (rc == 0)
		rc = expect_status(lab, &m->qmp, "running", e);
	if (rc < 0)
		return err_prefix(e, "after exec");
	r->done = true;
	r->whole_ms = (double)(lab_now_ns() - begin) / 1e6;
	if (vmm_peer_pid(m->qmp.fd) != m->pid)
		verdict_fault(&lab->verdict, CHECK_PID, "after exec, process %d answers, not %d",
			      (int)vmm_peer_pid(m->qmp.fd), (int)m->pid);
	return 0;
}

static int by_graft(struct lab *lab, struct update_result *r, struct err *e)
{
	struct vmm *m = &lab->vmm;
	struct vmm_args args;
	json_t *command = json_array();
	uint64_t begin;
	int rc;

	rc = vmm_args_build(&args, &lab->config, lab->config.next_baton, m->qmp_path, NULL, NULL,
			    e);
	for (int i = 0; i < args.n; i++)
		json_array_append_new(command, json_string(args.v[i]));
	vmm_args_free(&args);
	if (rc == 0)
		rc = set_up(lab, &m->qmp, "cpr-graft", false,
			    json_pack("{s:O}", "cpr-exec-command", command), e);
	json_decref(command);
	if (rc < 0)
		return rc;
	begin = lab_now_ns();
	rc = qmp_call(&m->qmp, "migrate", NULL, lab->step_ms, NULL, e);
	if (rc == 0)
		rc = wait_completed(lab, &m->qmp, r, e);
	if (rc == 0)
		rc = expect_status(lab, &m->qmp, "running", e);
	if (rc < 0)
		return rc;
	r->done = true;
	r->whole_ms = (double)(lab_now_ns() - begin) / 1e6;
	return 0;
}

/* The RAM must be in the state, or must not, as the mode has it. */
static void check_state_size(struct lab *lab, const char *path, bool with_ram)
{
	struct stat st = { 0 };

	if (stat(path, &st) < 0 ||
	    (with_ram ? st.st_size < STATE_SIZE_WITH_RAM_MIN : st.st_size > STATE_SIZE_MAX))
		verdict_fault(&lab->verdict, CHECK_UPDATES,
			      "a state %s the RAM has a size of %lld bytes",
			      with_ram ? "with" : "without", (long long)st.st_size);
}

/* Write over the file that was the RAM: what a later process finds must come by stream. */
static int spoil_ram(const char *path, struct err *e)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	char junk[65536];
	struct stat st;

	memset(junk, 0xa5, sizeof(junk));
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_errno(e, "cannot open '%s'", path);
	for (off_t at = 0; at < st.st_size; at += (off_t)sizeof(junk)) {
		off_t left = st.st_size - at, n = sizeof(junk);

		if (pwrite(fd, junk, (size_t)(left < n ? left : n), at) < 0)
			return err_set_errno(e, "cannot write to '%s'", path);
	}
	return 0;
}

/* Start a program that knows nothing of the old one, and have it load the state. */
static int load_in_new(struct lab *lab, struct vmm *new, bool stream, double stop_s,
		       struct update_result *r, struct err *e)
{
	char uri[VMM_PATH_MAX + 16];
	int rc = vmm_start(new, &lab->config, lab->config.next_baton, "defer", NULL, e);

	snprintf(uri, sizeof(uri), "file:%s/vm.state", lab->config.dir);
	if (rc == 0)
		rc = wait_for_new(lab, new, new->qmp_path, e);
	if (rc == 0)
		rc = qmp_connect(&new->qmp, &lab->console, new->qmp_path, lab->step_ms, e);
	if (rc == 0)
		rc = expect_status(lab, &new->qmp, "inmigrate", e);
	if (rc == 0)
		rc = set_up(lab, &new->qmp, "cpr-reboot", !stream, NULL, e);
	if (rc == 0)
		rc = load(lab, &new->qmp, uri, stop_s, r, e);
	return rc < 0 ? err_prefix(e, "new side") : 0;
}

static int by_reboot(struct lab *lab, bool stream, struct vmm *new, struct update_result *r,
		     struct err *e)
{
	char path[VMM_PATH_MAX + 16], uri[sizeof(path) + 8];
	const char *ram = lab->config.ram_path;
	struct vmm *old = &lab->vmm;
	uint64_t begin, saved, ended, spoiled;
	double stop_s;
	int rc;

	snprintf(path, sizeof(path), "%s/vm.state", lab->config.dir);
	snprintf(uri, sizeof(uri), "file:%s", path);
	rc = set_up(lab, &old->qmp, "cpr-reboot", !stream, NULL, e);
	if (rc < 0)
		return rc;
	begin = lab_now_ns();
	rc = qmp_call(&old->qmp, "migrate", json_pack("{s:s}", "uri", uri), lab->step_ms, NULL, e);
	if (rc == 0)
		rc = wait_completed(lab, &old->qmp, r, e);
	if (rc < 0)
		return rc;
	stop_s = qmp_event_time(&old->qmp, "STOP");
	check_state_size(lab, path, stream);
	saved = lab_now_ns();
	rc = retire(lab, old, false, e);
	ended = lab_now_ns();
	if (rc == 0 && stream && ram[0])
		rc = spoil_ram(ram, e);
	spoiled = lab_now_ns();
	if (rc == 0)
		rc = load_in_new(lab, new, stream, stop_s, r, e);
	if (rc < 0)
		return rc;
	r->done = true;
	r->whole_ms = (double)(lab_now_ns() - begin) / 1e6;
	printf("drive: %s: %.0f ms to save, %.0f to end the old process, %.0f to spoil the RAM's "
	       "file, %.0f to start the new one and load\n",
	       lab_mode_name(r->mode), ms_since(begin, saved), ms_since(saved, ended),
	       ms_since(ended, spoiled), ms_since(spoiled, lab_now_ns()));
	/* It may take as much of the directory's memory as the guest. */
	unlink(path);
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
	if (keeps_process(r->mode) != (r->pid_before == r->pid_after))
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
	if (mode == MODE_GRAFT)
		rc = by_graft(lab, r, e);
	else if (keeps_process(mode))
		rc = by_exec(lab, mode == MODE_EXEC_DEFER, r, e);
	else if (mode == MODE_TRANSFER || mode == MODE_TRANSFER_DEFER)
		rc = by_transfer(lab, mode == MODE_TRANSFER_DEFER, &new, r, e);
	else
		rc = by_reboot(lab, mode == MODE_REBOOT_STREAM, &new, r, e);
	if (new.pid && r->done) {
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
