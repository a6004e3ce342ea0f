/* SPDX-License-Identifier: MIT */
/* The migration object: what QMP's migrate and query-migrate act on. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_memory.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/graft.h"
#include "host/process.h"
#include "machine/device_list.h"
#include "machine/globalstate.h"
#include "machine/vm.h"
#include "update/blockers.h"
#include "update/bytes_json.h"
#include "update/handover.h"
#include "update/populate.h"
#include "update/sections.h"

static const char *const status_names[] = {
	[MIGRATION_NONE] = "none",
	[MIGRATION_SETUP] = "setup",
	[MIGRATION_CANCELLING] = "cancelling",
	[MIGRATION_CANCELLED] = "cancelled",
	[MIGRATION_ACTIVE] = "active",
	[MIGRATION_COMPLETED] = "completed",
	[MIGRATION_FAILING] = "failing",
	[MIGRATION_FAILED] = "failed",
	[MIGRATION_DEVICE] = "device",
};

const char *migration_status_name(enum migration_status s)
{
	return status_names[s];
}

static void continue_later(void *opaque)
{
	struct migration *m = opaque;
	struct err e;

	/* The next image would keep a guest that has ended, and never end itself. */
	if (m->vm->quit) {
		err_set(&e, ECANCELED, "the guest was shut down, and this process ends");
		handover_abort(m, &e);
		return;
	}
	handover_continue(m);
}

int migration_create(struct migration **out, struct vm *vm, bool autostart, char *const *argv,
		     struct err *e)
{
	struct migration *m = calloc(1, sizeof(*m));

	if (!m)
		return err_set(e, ENOMEM, "no memory for the migration object");
	m->vm = vm;
	m->autostart = autostart;
	m->image_fd = -1;
	m->cpr_sock = m->given_fd = m->main_fd = m->state_memfd = m->program_fd = m->peer_pidfd =
		-1;
	m->cpr.state_fd = -1;
	m->argv = argv;
	m->owner.fd = -1;
	m->trial = (struct trial)TRIAL_INIT;
	m->cpr_watch.fd = m->main_watch.fd = m->pid_watch.fd = -1;
	list_init(&m->observers);
	list_init(&m->extras);
	migration_params_init(&m->params);
	loop_timer_init(&m->deadline, NULL, m);
	loop_timer_init(&m->reaper, handover_reap_holder, m);
	loop_work_init(&m->resume_work, continue_later, m);
	*out = m;
	return 0;
}

static void free_command(struct migration *m)
{
	for (char **a = m->command; a && *a; a++)
		free(*a);
	free(TAKE_PTR(m->command));
}

void migration_destroy(struct migration *m)
{
	if (!m)
		return;
	populate_end(m);
	handover_release(m);
	loop_timer_cancel(&m->reaper);
	migration_params_fini(&m->params);
	free_command(m);
	close_fd(&m->image_fd);
	free(m->let_go_sample);
	json_decref(m->wants);
	free(m);
}

const struct cpr_state *migration_cpr_state(const struct migration *m)
{
	return &m->cpr;
}

struct migration_params *migration_params(struct migration *m)
{
	return &m->params;
}

void migration_forbid_programs(struct migration *m, bool forbid)
{
	m->no_programs = forbid;
}

int migration_keep_program(struct migration *m, struct err *e)
{
	int fd = m->image_fd >= 0 ? m->image_fd : process_open_program(e);

	if (fd < 0)
		return fd;
	m->image_fd = fd;
	return 0;
}

void migration_set_command_check(struct migration *m,
				 int (*check)(char *const *argv, struct err *e))
{
	m->check_command = check;
}

bool migration_is_idle(const struct migration *m)
{
	return (m->step == STEP_IDLE || m->step == STEP_DONE) && !m->populate && !m->holder;
}

bool migration_cap_get(const struct migration *m, enum migration_cap cap)
{
	return m->caps[cap];
}

void migration_cap_set(struct migration *m, enum migration_cap cap, bool on)
{
	m->caps[cap] = on;
}

void migration_observe(struct migration *m, struct migration_observer *o)
{
	list_add(&m->observers, &o->link);
}

void migration_set_exec_hook(struct migration *m, void (*hook)(void *opaque, bool leaving),
			     void *opaque)
{
	m->exec_hook = hook;
	m->exec_hook_opaque = opaque;
}

void migration_notify_exec(struct migration *m, bool leaving)
{
	if (m->exec_hook)
		m->exec_hook(m->exec_hook_opaque, leaving);
}

static void tell_status(struct migration *m, enum migration_status status)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &m->observers) {
		struct migration_observer *o = CONTAINER_OF(pos, struct migration_observer, link);

		o->status(o->opaque, status);
		if (status == MIGRATION_ACTIVE && !m->incoming && o->pass)
			o->pass(o->opaque, 1);
	}
}

void migration_set_status(struct migration *m, enum migration_status status)
{
	m->status = status;
	trace_migrate_set_state(migration_status_name(status));
	if (m->quiet && m->nr_untold < ARRAY_SIZE(m->untold))
		m->untold[m->nr_untold++] = status;
	else
		tell_status(m, status);
}

void migration_tell(struct migration *m)
{
	unsigned int n = m->nr_untold;

	if (m->stop_untold)
		vm_notify(m->vm, VM_EVENT_STOP, NULL);
	m->quiet = m->stop_untold = false;
	m->nr_untold = 0;
	for (unsigned int i = 0; i < n; i++)
		tell_status(m, m->untold[i]);
}

/* An attempt is under way. */
static bool at_work(const struct migration *m)
{
	return m->step != STEP_IDLE && m->step != STEP_DONE;
}

size_t migration_blockers(const struct migration *m, char **out, size_t max)
{
	return blockers_list(m->vm, (enum migration_mode)m->params.mode, out, max);
}

/* Which main channels a mode can use. */
static int check_transport(enum migration_mode mode, const struct channel *c, struct err *e)
{
	if (mode == MODE_CPR_TRANSFER && c->transport == TRANSPORT_FILE)
		return err_set(e, EINVAL, "Migration requires streamable transport (eg unix)");
	if (mode == MODE_CPR_TRANSFER && c->transport == TRANSPORT_EXEC)
		return err_set(e, ENOTSUP,
			       "cpr-transfer needs a main channel of type unix, inet or fd");
	if (mode == MODE_CPR_TRANSFER && c->transport == TRANSPORT_INET && !strcmp(c->port, "0"))
		return err_set(e, EINVAL,
			       "cpr-transfer cannot use port 0: the port the new side would listen "
			       "at is unknown");
	if (mode == MODE_CPR_EXEC && c->transport != TRANSPORT_FILE)
		return err_set(e, EINVAL, "Migration requires seekable transport (e.g. file)");
	return 0;
}

static int check_programs(const struct migration *m, enum migration_mode mode,
			  const struct channel *main_channel, struct err *e)
{
	bool executes = mode == MODE_CPR_EXEC || mode == MODE_CPR_GRAFT;

	if (!m->no_programs ||
	    !(executes || (main_channel && main_channel->transport == TRANSPORT_EXEC)))
		return 0;
	return err_set(e, EPERM,
		       "-sandbox spawn=deny lets this process start no program, which %s does",
		       executes ? migration_mode_name(mode) : "an exec: channel");
}

/* In the order the field knows. */
int migration_check(const struct migration *m, enum migration_mode mode, char *const *command,
		    const struct channel *main_channel, const struct channel *cpr, struct err *e)
{
	int r = mode == MODE_CPR_GRAFT ? 0 : check_transport(mode, main_channel, e);

	if (r)
		return r;
	if (mode == MODE_CPR_GRAFT && (main_channel || cpr))
		return err_set(e, EINVAL,
			       "cpr-graft mode takes neither 'uri' nor 'channels': the guest does "
			       "not leave this process");
	if (mode == MODE_CPR_TRANSFER && !cpr)
		return err_set(e, EINVAL, "missing 'cpr' migration channel");
	if (at_work(m))
		return err_set(e, EBUSY, "There's a migration process in progress");
	if (m->vm->runstate == RUNSTATE_INMIGRATE)
		return err_set(e, EBUSY, "Guest is waiting for an incoming migration");
	if (m->vm->runstate == RUNSTATE_POSTMIGRATE || m->given_away)
		return err_set(e, EBUSY,
			       "Can't migrate the vm that was paused due to previous migration");
	if (m->vm->runstate == RUNSTATE_INTERNAL_ERROR)
		return err_set(e, EBUSY, "the guest has failed; reset it first");
	if ((mode == MODE_CPR_EXEC || mode == MODE_CPR_GRAFT) && !command)
		return err_set(e, EINVAL, "%s mode requires setting cpr-exec-command",
			       migration_mode_name(mode));
	r = check_programs(m, mode, main_channel, e);
	if (!r && m->check_command && (mode == MODE_CPR_EXEC || mode == MODE_CPR_GRAFT))
		r = m->check_command(command, e);
	if (!r)
		r = blockers_check(m->vm, mode, e);
	return r || mode != MODE_CPR_GRAFT ? r : graft_check(command[0], e);
}

int migration_set_command(struct migration *m, char *const *argv, const char *program,
			  struct err *e)
{
	size_t n = 0;

	while (argv[n])
		n++;
	free_command(m);
	m->command = calloc(n + 1, sizeof(*m->command));
	for (size_t i = 0; m->command && i < n; i++) {
		m->command[i] = strdup(i == 0 && program ? program : argv[i]);
		if (!m->command[i])
			free_command(m);
	}
	return m->command ? 0 : err_set(e, ENOMEM, "no memory for a command line");
}

int migration_begin(struct migration *m, enum migration_mode mode,
		    const struct channel *main_channel, const struct channel *cpr, struct err *e)
{
	m->mode = mode;
	m->cancelled = false;
	m->incoming = false;
	m->main_channel = main_channel ? *main_channel : (struct channel){ 0 };
	m->cpr_channel = cpr ? *cpr : (struct channel){ 0 };
	m->error[0] = '\0';
	m->times = (struct owner_times){ 0 };
	m->start_ns = clock_boottime_ns();
	m->setup_ns = m->end_ns = 0;
	if (main_channel && main_channel->transport == TRANSPORT_FD) {
		m->given_fd = process_dup_fd(main_channel->fd, e);
		if (m->given_fd < 0)
			return err_prefix(e, "fd:%s", main_channel->path);
	}
	migration_set_status(m, MIGRATION_SETUP);
	return handover_start(m, migration_mode_streams(mode) ? STEP_LINK : STEP_CONNECT, e);
}

int migration_start(struct migration *m, const struct channel *main_channel,
		    const struct channel *cpr, struct err *e)
{
	enum migration_mode mode = (enum migration_mode)m->params.mode;
	char *const *command = m->params.cpr_exec_command;
	int r = migration_check(m, mode, command, main_channel, cpr, e);

	if (!r && (mode == MODE_CPR_EXEC || mode == MODE_CPR_GRAFT))
		r = migration_set_command(m, command, NULL, e);
	if (r)
		return r;
	m->ignore_shared = m->caps[CAP_IGNORE_SHARED];
	m->quit_when_saved = m->wait_for_load = false;
	return migration_begin(m, mode, main_channel, cpr, e);
}

void migration_cancel(struct migration *m)
{
	struct err e;

	if (!at_work(m) || m->step == STEP_EXEC)
		return;
	if (m->incoming && !migration_mode_streams(m->mode))
		return;
	/* The new side has the guest; only its answer is missing. */
	if (m->owner.page && owner_get(&m->owner) == OWNER_NEW)
		return;
	err_set(&e, ECANCELED, "the update was cancelled");
	m->cancelled = true;
	handover_fail(m, &e);
	m->cancelled = false;
}

void migration_end_preparation(struct migration *m)
{
	if (!m->incoming && m->step < STEP_STOP)
		migration_cancel(m);
}

void migration_give_up_save(struct migration *m)
{
	if (migration_mode_streams(m->mode))
		migration_cancel(m);
}

static void add_phase(struct migration_info *out, const char *name, uint64_t from, uint64_t to)
{
	if (from && to >= from && out->nr_phases < ARRAY_SIZE(out->phases))
		out->phases[out->nr_phases++] =
			(struct migration_phase){ .name = name, .us = (to - from) / 1000 };
}

void migration_info(const struct migration *m, struct migration_info *out)
{
	const struct owner_times *t = &m->times;

	*out = (struct migration_info){
		.status = m->status,
		.incoming = m->incoming,
		.whole = !m->incoming || m->mode == MODE_CPR_GRAFT,
	};
	streaming_info(m, out);
	if (m->status == MIGRATION_FAILED)
		snprintf(out->error, sizeof(out->error), "%s", m->error);
	if (m->status != MIGRATION_COMPLETED)
		return;
	if (t->stop && t->entered >= t->stop)
		out->downtime_us = (t->entered - t->stop) / 1000;
	else if (t->stop && !m->incoming)
		out->downtime_us = (m->end_ns - t->stop) / 1000;
	if (m->setup_ns)
		out->setup_us = (m->setup_ns - m->start_ns) / 1000;
	out->total_us = (m->end_ns - m->start_ns) / 1000;
	out->bytes = m->state_bytes;
	out->pages_normal = m->pages_normal;
	out->pages_zero = m->pages_zero;
	add_phase(out, "stop", t->stop, t->stopped);
	add_phase(out, "save", t->stopped, t->saved);
	add_phase(out, "send", t->saved, t->received);
	add_phase(out, "load", t->received, t->loaded);
	add_phase(out, "resume", t->loaded, t->entered);
}

int migration_cont(struct migration *m, struct err *e)
{
	struct vm *vm = m->vm;
	int r;

	switch (vm->runstate) {
	case RUNSTATE_INMIGRATE:
		m->autostart = true;
		return 0;
	case RUNSTATE_FINISH_MIGRATE:
		return err_set(e, EBUSY, "Migration is not finalized yet");
	case RUNSTATE_INTERNAL_ERROR:
	case RUNSTATE_SHUTDOWN:
		return err_set(e, EBUSY, "Resetting the Virtual Machine is required");
	case RUNSTATE_SUSPENDED:
		return 0;
	default:
		break;
	}
	/* Stopped by an update, and only that may start it again. */
	if (at_work(m) && m->entered & 1u << STEP_STOP)
		return err_set(e, EBUSY, "Migration is not finalized yet");
	r = streaming_take_back(m, e);
	if (r)
		return r;
	if (m->given_away || vm->foreign)
		return err_set(e, EPERM,
			       "the guest was handed over to process %d and cannot run here again",
			       m->peer_pid);
	vm_start(vm);
	return 0;
}

int migration_stop(struct migration *m, struct err *e)
{
	struct vm *vm = m->vm;

	if (vm->runstate == RUNSTATE_INMIGRATE)
		m->autostart = false;
	else if (runstate_is_live(vm->runstate))
		vm_stop(vm, RUNSTATE_PAUSED);
	else if (vm->runstate == RUNSTATE_FINISH_MIGRATE)
		return err_set(e, EBUSY, "an update is at work, the guest is stopped already");
	return 0;
}

int migration_check_plug(const struct migration *m, const char *what, struct err *e)
{
	const struct vm *vm = m->vm;

	if (at_work(m) || vm->busy || vm->devices_held)
		return err_set(e, EBUSY, "%s not allowed while migrating", what);
	if (m->given_away || vm->runstate == RUNSTATE_POSTMIGRATE ||
	    (vm->foreign && vm->runstate != RUNSTATE_INMIGRATE))
		return err_set(e, EPERM, "%s not allowed: the guest was handed over or saved",
			       what);
	return 0;
}

int migration_list_state(struct migration *m, struct err *e)
{
	int r;

	snapshot_fini(&m->snap);
	snapshot_init(&m->snap, LAYOUT_MACHINE_TYPE);
	r = vm_list_state(m->vm, handover_scope(m), &m->snap, e);
	if (!r)
		r = snapshot_add(&m->snap, global_state_desc.name, 0, &global_state_desc, e);
	return r;
}

int migration_set_fault(struct migration *m, const char *spec, struct err *e)
{
	static const char *const kinds[] = { "", "kill", "stop", "fail", "crash", "hang" };
	const char *colon = strchr(spec, ':');
	char names[256] = "";
	size_t n = 0;

	for (int s = STEP_IDLE + 1; s < STEP_DONE; s++) {
		const char *name = handover_table[s].name;

		n += (size_t)snprintf(names + n, sizeof(names) - n, " %s", name);
		if (!colon || strlen(name) != (size_t)(colon - spec) ||
		    strncmp(name, spec, strlen(name)))
			continue;
		for (size_t k = FAULT_KILL; k < ARRAY_SIZE(kinds); k++) {
			if (strcmp(colon + 1, kinds[k]))
				continue;
			m->fault_step = (enum handover_step)s;
			m->fault = (enum fault_kind)k;
			return 0;
		}
	}
	return err_set(
		e, EINVAL,
		"'%s' is no fault: it is STEP:kill, :stop, :fail, :crash or :hang with one of "
		"these steps:%s",
		spec, names);
}

static json_t *list_blocks(const struct vm *vm)
{
	const struct ram_block *b = NULL;
	json_t *list = json_array();

	while ((b = memmap_next_block(&vm->mem, b)))
		json_array_append_new(list,
				      json_pack("{s:s, s:I, s:b, s:I}", "name", b->name, "size",
						(json_int_t)b->size, "share", b->share, "offset",
						(json_int_t)b->options.offset));
	return list;
}

/* Nothing where there is nothing: then the text is that of earlier releases. */
static void put_devices(const struct vm *vm, json_t *config)
{
	json_t *devices = device_list_to_json(vm), *removed = device_list_removed(vm);

	if (json_array_size(devices))
		json_object_set(config, "devices", devices);
	if (json_array_size(removed))
		json_object_set(config, "removed", removed);
	json_decref(devices);
	json_decref(removed);
}

char *machine_config_text(const struct migration *m)
{
	const struct vm *vm = m->vm;
	json_t *j = json_pack("{s:s, s:i, s:o, s:o, s:o}", "machine", LAYOUT_MACHINE_TYPE, "vcpus",
			      (int)vm->nr_vcpus, "ram", list_blocks(vm), "sections",
			      sections_list(&m->snap), "versions", sections_versions(&m->snap));
	char *text;

	if (j)
		put_devices(vm, j);
	if (j && m->mode == MODE_CPR_EXEC) {
		json_t *argv = json_array();

		for (char *const *a = m->argv; *a; a++)
			json_array_append_new(argv, bytes_to_json(*a));
		json_object_set_new(j, "argv", argv);
		if (m->wait_for_load)
			json_object_set_new(j, "wait", json_true());
		json_object_set_new(j, "state", bytes_to_json(m->main_channel.file));
		json_object_set_new(j, "state-offset",
				    json_integer((json_int_t)m->main_channel.offset));
	}
	text = j ? json_text(j, JSON_COMPACT) : NULL;
	json_decref(j);
	return text;
}

/* Both machines must have the same blocks of RAM; main RAM comes first. */
static int check_blocks(const struct migration *m, json_t *theirs, struct err *e)
{
	const struct vm *vm = m->vm;
	const struct ram_block *b = NULL;
	json_int_t size, offset;
	size_t n = 0;
	char *name;
	int share;

	while ((b = memmap_next_block(&vm->mem, b))) {
		json_t *block = json_array_get(theirs, n++);

		if (!block)
			return err_set(e, EINVAL, "this machine has RAM '%s', the old one has not",
				       b->name);
		offset = 0;
		share = b->share;
		if (json_unpack(block, "{s:s, s:I, s?I, s?b}", "name", &name, "size", &size,
				"offset", &offset, "share", &share))
			return err_set(e, EPROTO, "the old side's list of RAM is incomplete");
		if (strcmp(name, b->name) || (uint64_t)size != b->size)
			return err_set(
				e, EINVAL,
				"the old machine's RAM is '%s' with %lld bytes, this one's '%s' with %llu",
				name, (long long)size, b->name, (unsigned long long)b->size);
		if ((uint64_t)offset != b->options.offset)
			return err_set(
				e, EINVAL,
				"the old machine's RAM '%s' begins at %lld of its file, this "
				"one's at %llu: use offset=%lld",
				name, (long long)offset, (unsigned long long)b->options.offset,
				(long long)offset);
		/* In a graft the mapping stays what it is, whatever the new image believes. */
		if (m->mode == MODE_CPR_GRAFT && !share != !b->share)
			return err_set(
				e, EINVAL,
				"the old machine's RAM '%s' is mapped with share=%s, which a "
				"graft does not change: use share=%s",
				name, share ? "on" : "off", share ? "on" : "off");
	}
	if (n < json_array_size(theirs))
		return err_set(e, EINVAL, "the old machine has RAM '%s', this one has not",
			       json_string_value(json_object_get(json_array_get(theirs, n), "name"))
				       ?: "without a name");
	return 0;
}

static int check_config(const struct migration *m, json_t *j, struct err *e)
{
	const struct vm *vm = m->vm;
	json_t *sections, *blocks;
	const char *machine;
	json_error_t why;
	int vcpus, r;

	if (json_unpack_ex(j, &why, 0, "{s:s, s:i, s:o, s:o}", "machine", &machine, "vcpus", &vcpus,
			   "ram", &blocks, "sections", &sections))
		return err_set(e, EPROTO, "the old side's configuration is incomplete: %s",
			       why.text);
	if (strcmp(machine, LAYOUT_MACHINE_TYPE))
		return err_set(e, EINVAL, "the old machine is of type '%s', this one '%s'", machine,
			       LAYOUT_MACHINE_TYPE);
	if (vcpus < 0 || (unsigned int)vcpus != vm->nr_vcpus)
		return err_set(e, EINVAL, "the old machine has %d vCPUs, this one %u: use -smp %d",
			       vcpus, vm->nr_vcpus, vcpus);
	r = check_blocks(m, blocks, e);
	if (r)
		return r;
	return sections_check(&m->snap, sections, json_object_get(j, "versions"), e);
}

int machine_config_check(struct migration *m, const char *text, struct err *e)
{
	json_error_t why;
	json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	int r;

	if (!j)
		return err_set(e, EPROTO, "the old side's configuration is no JSON: %s", why.text);
	r = migration_list_state(m, e);
	if (!r)
		r = check_config(m, j, e);
	json_decref(j);
	return r;
}
