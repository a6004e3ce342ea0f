/* SPDX-License-Identifier: MIT */
/* Boots a Linux guest in baton, updates it under way, and judges how it fared. */
/*
 * DOC: theory of operation
 *
 * Drive is one thread. It holds the guest's console as a pair of pipes that
 * each baton gets as standard input and output, so not a byte is lost when the
 * program under the guest changes; wherever drive waits, it reads the console.
 * Each line of guestwatch is judged as it arrives (console.c); an update is a
 * few QMP commands (update.c); the end is a table and a list of promises kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "lab/devices.h"

enum {
	QUIET_LINES = 3
};

static const char *const promises[CHECK_COUNT] = {
	[CHECK_UPDATES] = "every_update_succeeds",
	[CHECK_ONE_OWNER] = "one_process_is_left_and_the_old_one_cannot_go_on",
	[CHECK_PID] = "exec_and_graft_keep_the_pid_and_no_other_mode_does",
	[CHECK_COUNTER] = "the_guests_counter_is_continuous",
	[CHECK_MEMORY] = "the_guests_memory_checksum_stays_the_same",
	[CHECK_CLOCK_STEP] = "no_clock_of_the_guest_steps_back",
	[CHECK_CLOCK_RATE] = "the_guests_clock_keeps_the_hosts_pace_within_1_percent",
	[CHECK_TIMER] = "timers_keep_their_rate_within_1_percent_over_10_s",
	[CHECK_KERNEL] = "the_guests_kernel_has_nothing_to_warn_of",
	[CHECK_VCPUS] = "every_vcpu_goes_on",
	[CHECK_POWEROFF] = "the_guest_powers_off_when_asked",
	[CHECK_FILES] = "every_file_and_block_the_guest_wrote_reads_back_right",
	[CHECK_FILE_SYSTEM] = "the_guests_file_system_is_clean",
	[CHECK_LOCK] = "the_image_is_never_seen_unlocked",
	[CHECK_TCP] = "no_tcp_connection_is_lost_and_every_byte_comes_in_order",
	[CHECK_LINES] = "no_console_byte_is_lost_or_doubled_either_way",
	[CHECK_AGENT] = "the_guests_agent_answers_over_one_connection",
};

static void usage(FILE *to)
{
	fprintf(to,
		"usage: drive --baton PROGRAM --kernel FILE --initrd FILE --dir DIRECTORY\n"
		"  [--next-baton PROGRAM]    what updates go to; default: the same program\n"
		"  [--sequence MODE,...]     default: transfer,exec,transfer\n"
		"      transfer, transfer-defer, exec, exec-defer, graft, plug, unplug, reboot (the RAM of the whole run is then a\n"
		"      file in DIRECTORY) or reboot-stream\n"
		"  [--turns MODE,...]        the modes of --updates; default: transfer,exec\n"
		"  [--updates N]             N updates, in these modes by turns\n"
		"  [--disk FILE]             the guest's disk, a Debian system of lab/debian\n"
		"  [--disk-options TEXT]     appended to the drive's options, begins with a comma\n"
		"  [--devices NAME,...]      net, serial, rng: virtio devices beside the disk; port: a root\n"
		"      port for plug\n"
		"  [--bios FILE]             the guest boots from its disk, and is logged in to\n"
		"  [--fs-offset BYTES]       where on the disk its file system begins\n"
		"  [--guestload PROGRAM]     verifies files; default: /bin/guestload\n"
		"  [--smp N] [--memory SIZE] [--append TEXT]\n"
		"  [--step-timeout SECONDS]  for any one step; default: 120\n"
		"  [--slow-host]             the guest's kernel may find a timer interrupt slow\n"
		"  [--console short|all]     guestwatch's lines cut or whole; default: short\n");
}

static int parse_devices(struct vmm_config *c, const char *text)
{
	AUTO_FREE char *copy = strdup(text);
	char *save = NULL;

	for (char *word = copy ? strtok_r(copy, ",", &save) : NULL; word;
	     word = strtok_r(NULL, ",", &save)) {
		bool *device = strcmp(word, "net") == 0      ? &c->net
			       : strcmp(word, "serial") == 0 ? &c->serial
			       : strcmp(word, "rng") == 0    ? &c->rng
			       : strcmp(word, "port") == 0   ? &c->port
							     : NULL;

		if (!device) {
			fprintf(stderr, "drive: '%s' is no device\n", word);
			return -EINVAL;
		}
		*device = true;
	}
	return 0;
}

static int parse_sequence(struct lab *lab, const char *text)
{
	AUTO_FREE char *copy = strdup(text);
	char *save = NULL;

	lab->mode_count = 0;
	for (char *word = copy ? strtok_r(copy, ",", &save) : NULL; word;
	     word = strtok_r(NULL, ",", &save)) {
		enum lab_mode mode = lab_mode_find(word);

		if (mode == MODE_COUNT || lab->mode_count == LAB_MAX_UPDATES) {
			fprintf(stderr, "drive: '%s' is no mode, or one too many\n", word);
			return -EINVAL;
		}
		lab->modes[lab->mode_count++] = mode;
	}
	return 0;
}

static int parse_number(const char *what, const char *text, int max, int *value)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < 0 || n > max) {
		fprintf(stderr, "drive: %s: '%s' is no number from 0 to %d\n", what, text, max);
		return -EINVAL;
	}
	*value = (int)n;
	return 0;
}

static int parse_option(struct lab *lab, int opt, const char *arg)
{
	struct vmm_config *c = &lab->config;
	int n, r = 0;

	switch (opt) {
	case 'b':
		c->baton = arg;
		break;
	case 'B':
		c->next_baton = arg;
		break;
	case 'k':
		c->kernel = arg;
		break;
	case 'i':
		c->initrd = arg;
		break;
	case 'a':
		c->append = arg;
		break;
	case 'd':
		c->dir = arg;
		break;
	case 'm':
		c->memory = arg;
		break;
	case 'n':
		return parse_number("--smp", arg, 64, &c->smp);
	case 'T':
		lab->turns = true;
		return parse_sequence(lab, arg);
	case 's':
		return parse_sequence(lab, arg);
	case 'u':
		r = parse_number("--updates", arg, LAB_MAX_UPDATES, &n);
		if (!lab->turns)
			parse_sequence(lab, "transfer,exec");
		for (int i = lab->mode_count; r == 0 && i < n; i++)
			lab->modes[i] = lab->modes[i - lab->mode_count];
		lab->mode_count = r == 0 ? n : 0;
		return r;
	case 'D':
		c->disk = arg;
		break;
	case 'o':
		c->disk_options = arg;
		break;
	case 'v':
		return parse_devices(c, arg);
	case 'f':
		c->bios = arg;
		break;
	case 'O':
		return parse_number("--fs-offset", arg, 1 << 30, &lab->fs_offset);
	case 'g':
		lab->guestload = arg;
		break;
	case 't':
		r = parse_number("--step-timeout", arg, 86400, &n);
		lab->step_ms = r < 0 ? 0 : n * 1000;
		return r;
	case 'S':
		lab->console.slow_host = true;
		break;
	case 'c':
		lab->console.echo = strcmp(arg, "all") ? ECHO_SHORT : ECHO_ALL;
		break;
	default:
		return -EINVAL;
	}
	return 0;
}

static int parse_options(struct lab *lab, int argc, char **argv)
{
	static const struct option options[] = {
		{ "baton", required_argument, NULL, 'b' },
		{ "next-baton", required_argument, NULL, 'B' },
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "append", required_argument, NULL, 'a' },
		{ "dir", required_argument, NULL, 'd' },
		{ "memory", required_argument, NULL, 'm' },
		{ "smp", required_argument, NULL, 'n' },
		{ "sequence", required_argument, NULL, 's' },
		{ "turns", required_argument, NULL, 'T' },
		{ "updates", required_argument, NULL, 'u' },
		{ "disk", required_argument, NULL, 'D' },
		{ "disk-options", required_argument, NULL, 'o' },
		{ "devices", required_argument, NULL, 'v' },
		{ "guestload", required_argument, NULL, 'g' },
		{ "bios", required_argument, NULL, 'f' },
		{ "fs-offset", required_argument, NULL, 'O' },
		{ "step-timeout", required_argument, NULL, 't' },
		{ "slow-host", no_argument, NULL, 'S' },
		{ "console", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct vmm_config *c = &lab->config;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (opt == 'h') {
			usage(stdout);
			exit(0);
		}
		if (parse_option(lab, opt, optarg) < 0)
			return -EINVAL;
	}
	if (optind < argc || !c->baton || !c->dir || !c->smp ||
	    (c->bios ? !c->disk : !c->kernel || !c->initrd)) {
		usage(stderr);
		return -EINVAL;
	}
	if (strlen(c->dir) > VMM_PATH_MAX - 20) {
		fprintf(stderr, "drive: the name of the directory is too long for sockets\n");
		return -EINVAL;
	}
	if (!c->next_baton)
		c->next_baton = c->baton;
	/* Only a file with a name can be found again by a later process. */
	for (int i = 0; i < lab->mode_count; i++)
		if (lab->modes[i] == MODE_REBOOT)
			snprintf(c->ram_path, sizeof(c->ram_path), "%s/ram", c->dir);
	return 0;
}

static int open_console(struct lab *lab, struct err *e)
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return err_set_errno(e, "cannot make the console's pipes");
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	lab->config.in_fd = in[0];
	lab->config.out_fd = out[1];
	lab->console.in_fd = in[1];
	lab->console.out_fd = out[0];
	lab->console.verdict = &lab->verdict;
	lab->console.smp = lab->config.smp;
	return 0;
}

/* At the prompt of a system as clouds have it; root has no password. */
static int log_in(struct lab *lab, struct err *e)
{
	struct console *c = &lab->console;

	if (!console_wait_prompt(c, "login: ", lab->step_ms))
		return err_set(e, ETIMEDOUT, "the guest does not come to its login");
	printf("drive: the guest asks for a login\n");
	console_send(c, "root\n");
	if (!console_wait_prompt(c, "# ", lab->step_ms))
		return err_set(e, ETIMEDOUT, "the guest lets nobody log in");
	console_send(c, "systemctl start lab-load; exec guestwatch /dev/ttyS0\n");
	return 0;
}

static int boot(struct lab *lab, struct err *e)
{
	struct console *c = &lab->console;
	uint64_t begin = lab_now_ns(), deadline = begin + (uint64_t)lab->step_ms * 1000000;
	int status = 0, r;

	r = devices_prepare(lab, e);
	if (r == 0)
		r = vmm_start(&lab->vmm, &lab->config, lab->config.baton, NULL, NULL, e);
	if (r < 0)
		return r;
	printf("drive: booting the guest: %d vCPU%s, %s of memory in a %s, process %d\n",
	       lab->config.smp, lab->config.smp > 1 ? "s" : "", lab->config.memory,
	       lab->config.ram_path[0] ? "file" : "memfd", (int)lab->vmm.pid);
	r = devices_start(lab, e);
	if (r == 0 && lab->config.bios)
		r = log_in(lab, e);
	if (r < 0)
		return r;
	while (c->reports < OFFSET_LINES || c->last.pass < 1) {
		if (!vmm_is_alive(&lab->vmm, &status))
			return err_set(e, ECHILD, "baton ended (status %#x)", status);
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "the guest has not reported within %d s",
				       lab->step_ms / 1000);
		console_wait(c, -1, 20);
	}
	printf("drive: the guest is up after %.1f s; clock source %s\n",
	       (double)(lab_now_ns() - begin) / 1e9, c->last.clk);
	lab->up_at_s = c->last.up_s;
	r = qmp_connect(&lab->vmm.qmp, c, lab->vmm.qmp_path, lab->step_ms, e);
	if (r == 0 && lab->config.disk) {
		r = load_wait_ready(&lab->load, lab->config.net, lab->step_ms, e);
		printf("drive: the guest's load is under way after %.1f s\n",
		       (double)(lab_now_ns() - begin) / 1e9);
		if (r == 0)
			devices_tell(lab);
	}
	return r;
}

static int run_updates(struct lab *lab, struct err *e)
{
	for (int i = 0; i < lab->mode_count; i++) {
		struct update_result *r = &lab->results[lab->result_count];
		const char *name = lab_mode_name(lab->modes[i]);
		int rc;

		printf("drive: step %d of %d: %s\n", i + 1, lab->mode_count, name);
		if (!lab_mode_updates(lab->modes[i])) {
			rc = devices_step(lab, lab->modes[i], e);
			if (rc < 0)
				return err_prefix(e, "step %d, %s", i + 1, name);
			continue;
		}
		lab->result_count++;
		rc = update_run(lab, lab->modes[i], r, e);
		if (rc == 0)
			rc = devices_check(lab, e);
		if (rc < 0)
			return err_prefix(e, "step %d, %s", i + 1, name);
		devices_tell(lab);
		printf("drive: step %d: the guest runs in process %d (was %d); it saw a pause "
		       "of %.1f ms\n",
		       i + 1, (int)r->pid_after, (int)r->pid_before, r->guest_pause_ms);
	}
	return 0;
}

/*
 * Let a window of the guest's timer end after the last update, and leave the guest
 * alone for some lines: the longest pause it sees then is the noise of this host.
 */
static int finish_window(struct lab *lab, struct err *e)
{
	struct console *c = &lab->console;
	uint64_t deadline = lab_now_ns() + (uint64_t)lab->step_ms * 1000000;
	uint64_t windows = c->last.windows + 1, quiet = c->reports + 1, end = quiet + QUIET_LINES;

	printf("drive: waiting for the end of the guest's 10 s timer window\n");
	while (c->last.windows < windows || c->reports < end) {
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "the guest's timer window does not end");
		if (c->reports <= quiet)
			c->max_gap_us = 0;
		console_wait(c, -1, 50);
	}
	lab->quiet_gap_ms = (double)c->max_gap_us / 1000;
	return 0;
}

/* What the guest's clock lost against ours since it was up, in seconds. */
static double clock_lag_s(const struct lab *lab)
{
	const struct console *c = &lab->console;

	return c->reports < OFFSET_LINES ? 0 : console_offset_s(c) - c->offset_first_s;
}

static void check_clock_rate(struct lab *lab)
{
	double lag_s = clock_lag_s(lab), allowed_s = (lab->console.last.up_s - lab->up_at_s) / 100;

	if (lag_s > allowed_s || lag_s < -allowed_s)
		verdict_fault(&lab->verdict, CHECK_CLOCK_RATE,
			      "the guest's clock is late by %.3f s after %.1f s", lag_s,
			      allowed_s * 100);
}

static int power_off(struct lab *lab, struct err *e)
{
	int status = 0, r = 0;

	lab->console.ending = true;
	if (lab->config.disk)
		r = devices_finish(lab, e);
	else
		console_send(&lab->console, "poweroff\n");
	if (r < 0)
		return r;
	r = vmm_wait_exit(&lab->vmm, &lab->console, lab->step_ms, &status, e);
	if (r < 0)
		return r;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(e, ECHILD, "baton ended with status %#x at power-off", status);
	return 0;
}

/* Everything up to the verdict; what fails is noted. True if all was tried. */
static bool run(struct lab *lab)
{
	struct verdict *v = &lab->verdict;
	struct err e = ERR_INIT;

	if (open_console(lab, &e) < 0 || boot(lab, &e) < 0 || run_updates(lab, &e) < 0) {
		verdict_fault(v, CHECK_UPDATES, "%s", e.msg);
		console_wait(&lab->console, -1, 2000);
		return false;
	}
	if (finish_window(lab, &e) < 0)
		verdict_fault(v, CHECK_TIMER, "%s", e.msg);
	check_clock_rate(lab);
	if (power_off(lab, &e) < 0)
		verdict_fault(v, CHECK_POWEROFF, "%s", e.msg);
	if (lab->config.disk)
		devices_judge_image(lab);
	return true;
}

/* A figure in milliseconds, or a dash; static text would not nest, so the caller's. */
static const char *figure(char buf[16], double ms)
{
	if (ms < 0)
		snprintf(buf, 16, "-");
	else
		snprintf(buf, 16, "%.1f", ms);
	return buf;
}

static void print_row(int number, const struct update_result *r)
{
	char f[4 + LAB_PHASES][16];

	printf("%3d %-13s | %10s | %8s | %7s | %8s |", number, lab_mode_name(r->mode),
	       figure(f[0], r->guest_pause_ms), figure(f[1], r->whole_ms),
	       figure(f[2], r->setup_ms), figure(f[3], r->pause_ms));
	for (int i = 0; i < LAB_PHASES; i++)
		printf(" %7s", figure(f[4 + i], r->phase_ms[i]));
	printf(" | %6d -> %-6d | %-10s | %s\n", (int)r->pid_before, (int)r->pid_after,
	       r->counter_ok ? "yes" : "NO", r->memory_ok ? "yes" : "NO");
}

static void print_table(const struct lab *lab)
{
	printf("\nTimes in ms. The pause is told twice: as the guest saw it, and as baton "
	       "measured it, with its phases.\n\n"
	       "    mode          | pause seen |    whole |   setup | pause by |");
	for (int i = 0; i < LAB_PHASES; i++)
		printf(" %7s", lab_phase_name(i));
	printf(" |       PID        | counter    | memory checksum\n"
	       "                  |  by guest  |   update |         |   baton  |%*s"
	       " | before -> after  | continuous | same\n",
	       8 * LAB_PHASES, "");
	for (int i = 0; i < lab->result_count; i++)
		print_row(i + 1, &lab->results[i]);
	printf("\n");
}

static int print_verdict(struct lab *lab, bool complete)
{
	const struct console *c = &lab->console;
	unsigned int failed = 0, judged = 0;
	int done = 0, wanted = 0;

	if (lab->result_count)
		print_table(lab);
	if (c->last.slow && c->slow_host)
		printf("note: the guest's kernel found timer interrupts slow, as vCPUs that wait "
		       "for a processor are; no fault on this host\n");
	printf("guest: %" PRIu64 " lines, up %.1f s, memory checksum %016" PRIx64 " read %" PRIu64
	       " times, 10 s of a 100 Hz timer: %" PRId64 " to %" PRId64
	       " ticks, clock behind ours by %.3f s, longest pause without an update %.1f ms\n",
	       c->last.n, c->last.up_s, c->last.hash, c->last.pass, c->rate_min, c->rate_max,
	       clock_lag_s(lab), lab->quiet_gap_ms);
	devices_print(lab);
	for (int i = 0; i < CHECK_COUNT; i++) {
		const char *why = lab->verdict.faults[i] ? lab->verdict.first[i]
				  : complete             ? NULL
							 : "the run did not get so far";

		if (!devices_judge(lab, i))
			continue;
		judged++;
		failed += why != NULL;
		printf("%s %s%s%s\n", why ? "FAIL" : "PASS", promises[i], why ? ": " : "",
		       why ? why : "");
	}
	for (int i = 0; i < lab->result_count; i++)
		done += lab->results[i].done;
	for (int i = 0; i < lab->mode_count; i++)
		wanted += lab_mode_updates(lab->modes[i]);
	printf("drive: %d of %d updates, %u of %d promises kept\n", done, wanted, judged - failed,
	       judged);
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	AUTO_FREE struct lab *lab = calloc(1, sizeof(*lab));
	bool complete;
	int status;

	if (!lab)
		return 1;
	lab->config = (struct vmm_config){
		.memory = "256M",
		.smp = 1,
		.append = "console=ttyS0 quiet panic=-1",
	};
	lab->console.echo = ECHO_SHORT;
	lab->step_ms = 120000;
	lab->guestload = "/bin/guestload";
	lab->config.disk_options = "";
	pthread_mutex_init(&lab->verdict.lock, NULL);
	pthread_mutex_init(&lab->load.lock, NULL);
	lab->load.verdict = &lab->verdict;
	lab->load.console = &lab->console;
	lab->load.console_fd = lab->load.tcp_fd = lab->load.agent.fd = -1;
	parse_sequence(lab, "transfer,exec,transfer");
	if (parse_options(lab, argc, argv) < 0)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	complete = run(lab);
	vmm_discard(&lab->vmm);
	if (lab->config.ram_path[0])
		unlink(lab->config.ram_path);
	status = print_verdict(lab, complete);
	devices_close(lab);
	return status;
}
