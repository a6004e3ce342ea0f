/* SPDX-License-Identifier: MIT */
/* What a run with disk, network and virtio console adds to drive's run, step by step. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "lab/devices.h"
#include "lab/tap.h"

enum {
	HOT_BYTES = 4 << 20,
};

bool devices_judge(const struct lab *lab, enum lab_check check)
{
	const struct vmm_config *c = &lab->config;

	switch (check) {
	case CHECK_FILES:
	case CHECK_FILE_SYSTEM:
	case CHECK_LOCK:
	case CHECK_LINES:
		return c->disk;
	case CHECK_TCP:
		return c->disk && c->net;
	case CHECK_AGENT:
		return c->disk && c->serial;
	default:
		return true;
	}
}

int devices_prepare(struct lab *lab, struct err *e)
{
	struct vmm_config *c = &lab->config;
	int r = c->net ? tap_set_up(e) : 0;

	/* What the second opener does must work while nobody has the image. */
	return r < 0 || !c->disk ? r : image_try_lock(c->disk, e);
}

/* A try of ours could be what a starting program finds in its way: it must be ready by now. */
static int wait_locked(struct lab *lab, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)lab->step_ms * 1000000;
	struct err refusal = ERR_INIT;
	int status;

	while (image_try_lock(lab->config.disk, &refusal) != -EAGAIN) {
		if (!vmm_is_alive(&lab->vmm, &status))
			return err_set(e, ECHILD, "baton ended (status %#x)", status);
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "'%s' does not get locked", lab->config.disk);
		console_wait(&lab->console, -1, 100);
	}
	return 0;
}

/* Wait until the program listens on both sockets. */
static int wait_ports(struct lab *lab, const char *console_path, const char *agent_path,
		      struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)lab->step_ms * 1000000;
	int status;

	while (!qmp_is_listening(console_path) || (agent_path && !qmp_is_listening(agent_path))) {
		if (!vmm_is_alive(&lab->vmm, &status))
			return err_set(e, ECHILD, "baton ended (status %#x)", status);
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "nothing listens at '%s'", console_path);
		console_wait(&lab->console, -1, 20);
	}
	return 0;
}

int devices_start(struct lab *lab, struct err *e)
{
	char console_path[VMM_PATH_MAX], agent_path[VMM_PATH_MAX];
	const struct vmm_config *c = &lab->config;
	int r;

	if (!c->disk)
		return 0;
	vmm_port_path(console_path, c, "console");
	vmm_port_path(agent_path, c, "agent");
	r = wait_ports(lab, console_path, c->serial ? agent_path : NULL, e);
	if (r == 0)
		r = wait_locked(lab, e);
	if (r == 0)
		r = opener_start(&lab->opener, c->disk, e);
	if (r == 0)
		r = load_start(&lab->load, console_path, c->serial ? agent_path : NULL, e);
	return r;
}

static int make_hot_image(struct lab *lab, char path[VMM_PATH_MAX], struct err *e)
{
	AUTO_CLOSE int fd = -1;

	vmm_port_path(path, &lab->config, "hot.img");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, HOT_BYTES) < 0)
		return err_set_errno(e, "cannot make '%s'", path);
	return 0;
}

static int plug(struct lab *lab, struct err *e)
{
	struct qmp *q = &lab->vmm.qmp;
	char path[VMM_PATH_MAX];
	int r = make_hot_image(lab, path, e);

	if (r == 0)
		r = qmp_call(q, "blockdev-add",
			     json_pack("{s:s, s:s, s:{s:s, s:s}}", "driver", "raw", "node-name",
				       "hot0", "file", "driver", "file", "filename", path),
			     lab->step_ms, NULL, e);
	if (r == 0)
		r = qmp_call(q, "device_add",
			     json_pack("{s:s, s:s, s:s, s:s}", "driver", "virtio-blk-pci", "id",
				       "hotdisk", "drive", "hot0", "bus", "port0"),
			     lab->step_ms, NULL, e);
	if (r == 0)
		r = load_wait_hot(&lab->load, ++lab->plugged, lab->step_ms, e);
	return r;
}

static int unplug(struct lab *lab, struct err *e)
{
	struct qmp *q = &lab->vmm.qmp;
	int r;

	q->event_count = 0;
	r = qmp_call(q, "device_del", json_pack("{s:s}", "id", "hotdisk"), lab->step_ms, NULL, e);
	if (r == 0)
		r = qmp_wait_event(q, "DEVICE_DELETED", lab->step_ms, e);
	if (r == 0)
		r = qmp_call(q, "blockdev-del", json_pack("{s:s}", "node-name", "hot0"),
			     lab->step_ms, NULL, e);
	return r;
}

int devices_step(struct lab *lab, enum lab_mode step, struct err *e)
{
	return step == MODE_PLUG ? plug(lab, e) : unplug(lab, e);
}

int devices_check(struct lab *lab, struct err *e)
{
	if (!lab->config.disk)
		return 0;
	if (lab->opener.counts->successes)
		verdict_fault(&lab->verdict, CHECK_LOCK, "the second opener locked the image");
	return load_wait_progress(&lab->load, lab->step_ms, e);
}

int devices_finish(struct lab *lab, struct err *e)
{
	int r = load_finish(&lab->load, lab->step_ms, e);

	lab->console.ending = true;
	/* While the guest still holds its lock, or the opener would rightly get it. */
	opener_stop(&lab->opener);
	if (r == 0)
		r = load_shut_down(&lab->load, lab->step_ms, e);
	return r;
}

static void judge_lock(struct lab *lab)
{
	struct opener_counts *n = lab->opener.counts;
	struct err e = ERR_INIT;

	if (!n || !n->tries)
		verdict_fault(&lab->verdict, CHECK_LOCK, "the second opener did not try");
	else if (n->successes || n->errors)
		verdict_fault(&lab->verdict, CHECK_LOCK,
			      "of %" PRIu64 " tries to lock the image %" PRIu64
			      " succeeded and %" PRIu64 " failed otherwise",
			      n->tries, n->successes, n->errors);
	if (image_try_lock(lab->config.disk, &e) < 0)
		verdict_fault(&lab->verdict, CHECK_LOCK, "after the end: %s", e.msg);
}

void devices_judge_image(struct lab *lab)
{
	struct verdict *v = &lab->verdict;
	const struct load_final *f = &lab->load.final;
	uint64_t files = 0, bad = 0, sum = 0;
	struct err e = ERR_INIT;

	if (image_check_fs(lab->config.disk, lab->fs_offset, &e) < 0)
		verdict_fault(v, CHECK_FILE_SYSTEM, "%s", e.msg);
	if (image_check_files(lab->config.disk, lab->fs_offset, lab->guestload, lab->config.dir,
			      &files, &bad, &sum, &e) < 0)
		verdict_fault(v, CHECK_FILES, "%s", e.msg);
	else if (bad || files != f->files || sum != f->sum)
		verdict_fault(v, CHECK_FILES,
			      "in the image are %" PRIu64 " files, %" PRIu64
			      " of them damaged, sum %016" PRIx64 "; the guest left %" PRIu64
			      ", sum %016" PRIx64,
			      files, bad, sum, f->files, f->sum);
	judge_lock(lab);
}

void devices_tell(struct lab *lab)
{
	struct load_report r = load_last_report(&lab->load);
	struct load *l = &lab->load;

	if (!lab->config.disk)
		return;
	printf("  load>  files: %.1f MB written, %.1f verified | TCP, same connection: %.1f MB to the "
	       "guest, %.1f from it | console: line %" PRIu64 " | image: %" PRIu64
	       " attempts to lock it, %" PRIu64 " got through\n",
	       (double)r.written / 1e6, (double)r.verified / 1e6, (double)l->tx / 1e6,
	       (double)l->rx / 1e6, l->lines, lab->opener.counts->tries,
	       lab->opener.counts->successes);
}

void devices_print(struct lab *lab)
{
	struct load_report r = load_last_report(&lab->load);
	struct load *l = &lab->load;

	if (!lab->config.disk)
		return;
	printf("load: %.1f MB written and synced, %.1f MB read back and verified in %" PRIu64
	       " rounds, free space discarded %" PRIu64 " times; %" PRIu64
	       " tries of the second opener to lock the image\n",
	       (double)r.written / 1e6, (double)r.verified / 1e6, r.rounds, r.trims,
	       lab->opener.counts ? lab->opener.counts->tries : 0);
	printf("load: one TCP connection of %.1f MB to and %.1f MB from the guest and %" PRIu64
	       " short ones; %" PRIu64 " console lines from and %" PRIu64 " to the guest\n",
	       (double)l->tx / 1e6, (double)l->rx / 1e6, r.connections ? r.connections - 1 : 0,
	       l->lines, l->lines_out);
}

void devices_close(struct lab *lab)
{
	load_close(&lab->load);
	opener_free(&lab->opener);
}
