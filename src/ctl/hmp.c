/* SPDX-License-Identifier: MIT */
/* The human monitor's session: banner, prompt, line input. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "ctl/hmp.h"
#include "ctl/hmp_complete.h"
#include "ctl/monitor.h"

/* Scripts written for QEMU wait for this. */
static const char prompt[] = "(qemu) ";

enum {
	KEY_CTRL_C = 0x03,
	KEY_BACKSPACE = 0x08,
	KEY_CTRL_U = 0x15,
	KEY_DELETE = 0x7f,
};

static void put_text(struct hmp *h, const char *text)
{
	session_put(&h->session, text, strlen(text));
}

/* Asks for the next line. */
static void put_prompt(struct hmp *h)
{
	unsigned int columns, rows;

	if (!h->edit) {
		put_text(h, prompt);
		return;
	}
	chardev_tty_size(h->session.chr, &columns, &rows);
	line_edit_begin(h->edit, columns, rows);
}

/* A terminal in raw mode shows only what we send. */
static void echo(struct hmp *h, const char *text)
{
	if (chardev_is_tty(h->session.chr))
		put_text(h, text);
}

/* Runs @line, shows what it prints, and asks for the next one. */
static void run_line(struct hmp *h, const char *line)
{
	uint64_t generation = h->session.generation;
	AUTO_BUF out = { 0 };

	h->ctl->current = &h->session;
	hmp_run_line(h->ctl, line, &out, &h->waiting);
	h->ctl->current = NULL;
	if (generation != h->session.generation)
		return;
	session_put(&h->session, out.data, out.len);
	if (!h->waiting && !h->ctl->quitting)
		put_prompt(h);
}

static void end_of_line(struct hmp *h)
{
	echo(h, "\r\n");
	if (h->too_long)
		put_text(h, "Error: the line is too long\r\n");
	h->line[h->too_long ? 0 : h->len] = '\0';
	h->len = 0;
	h->too_long = false;
	run_line(h, h->line);
}

static void erase(struct hmp *h, size_t n)
{
	for (; n && h->len; n--) {
		h->len--;
		echo(h, "\b \b");
	}
}

static void type(struct hmp *h, char c)
{
	if (h->len + 1 >= sizeof(h->line)) {
		h->too_long = true;
		return;
	}
	h->line[h->len++] = c;
	echo(h, (char[]){ c, '\0' });
}

static void handle_byte(struct hmp *h, unsigned char c)
{
	bool after_cr = h->after_cr;

	h->after_cr = c == '\r';
	switch (c) {
	case '\n':
		if (!after_cr)
			end_of_line(h);
		break;
	case '\r':
		end_of_line(h);
		break;
	case KEY_BACKSPACE:
	case KEY_DELETE:
		erase(h, 1);
		break;
	case KEY_CTRL_U:
	case KEY_CTRL_C:
		erase(h, h->len);
		break;
	default:
		if (c >= 0x20 || c == '\t')
			type(h, (char)c);
	}
}

static bool hmp_process(void *opaque, const void *p, size_t n, size_t *used)
{
	const unsigned char *in = p;
	struct hmp *h = opaque;

	(void)n;
	if (h->waiting || h->ctl->quitting)
		return false;
	*used = 1;
	if (h->edit) {
		const char *line = line_edit_type(h->edit, *in);

		if (line)
			run_line(h, line);
	} else {
		handle_byte(h, *in);
	}
	return true;
}

static void hmp_connected(void *opaque, bool yes)
{
	struct hmp *h = opaque;

	h->len = 0;
	h->too_long = false;
	h->after_cr = false;
	h->waiting = false;
	if (!yes)
		return;
	put_text(h, "Baton " CTL_VERSION " monitor - type 'help' for more information\r\n");
	put_prompt(h);
}

static const struct session_ops hmp_ops = {
	.connected = hmp_connected,
	.process = hmp_process,
};

static void edit_output(void *opaque, const char *p, size_t n)
{
	struct hmp *h = opaque;

	session_put(&h->session, p, n);
}

static void edit_complete(void *opaque, const char *before, void (*add)(void *to, const char *word),
			  void *to)
{
	(void)opaque;
	hmp_complete(before, add, to);
}

static const struct line_edit_ops edit_ops = {
	.output = edit_output,
	.complete = edit_complete,
};

/* Of a terminal that is not ours nothing is known but that it has the usual keys. */
static void create_editor(struct hmp *h, struct chardev *chr)
{
	const char *terminal = chardev_is_stdio(chr) ? getenv("TERM") : NULL;
	struct err e = ERR_INIT;

	if (line_edit_create(&h->edit, terminal, prompt, HMP_MAX_LINE, &edit_ops, h, &e))
		log_warn("the monitor is without line editing: %s", e.msg);
}

static void resume_input(void *opaque)
{
	struct hmp *h = opaque;

	session_resume(&h->session);
}

struct hmp *hmp_create(struct ctl *ctl, struct chardev *chr)
{
	struct hmp *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->ctl = ctl;
	loop_work_init(&h->resume, resume_input, h);
	list_init(&h->link);
	if (chardev_is_tty(chr))
		create_editor(h, chr);
	session_start(&h->session, chr, &hmp_ops, h);
	return h;
}

void hmp_destroy(struct hmp *h)
{
	list_del(&h->link);
	if (h->resume.queued)
		loop_work_cancel(h->ctl->config.vm->loop, &h->resume);
	session_stop(&h->session);
	line_edit_destroy(h->edit);
	free(h);
}

void hmp_migration_status(struct hmp *h, enum migration_status status)
{
	struct migration_info info;

	if (!h->waiting)
		return;
	if (status != MIGRATION_COMPLETED && status != MIGRATION_FAILED &&
	    status != MIGRATION_CANCELLED)
		return;
	h->waiting = false;
	migration_info(h->ctl->config.migration, &info);
	if (status == MIGRATION_FAILED && info.error[0]) {
		put_text(h, "Error: ");
		put_text(h, info.error);
		put_text(h, "\r\n");
	}
	put_prompt(h);
	/* Not from here, in the middle of an update's last step. */
	loop_post(h->ctl->config.vm->loop, &h->resume);
}
