/* SPDX-License-Identifier: MIT */
/* The character devices of the command line, and which serial port or monitor has which. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "ctl/ctl.h"
#include "host/chardev.h"
#include "main/consoles.h"
#include "main/consoles_carry.h"

/* How long a guest that comes here waits, at most, for who shall listen for its client sockets. */
#define RETRY_MS 5000

static struct console *find(struct consoles *cs, const char *label)
{
	for (unsigned int i = 0; i < cs->nr; i++)
		if (!strcmp(cs->list[i].label, label))
			return &cs->list[i];
	return NULL;
}

static int add(struct consoles *cs, const char *label, const struct chardev_config *config,
	       struct console **out, struct err *e)
{
	struct console *c;

	if (find(cs, label))
		return err_set(e, EEXIST, "Duplicate ID '%s' for chardev", label);
	for (unsigned int i = 0; i < cs->nr && config->kind == CHARDEV_STDIO; i++)
		if (cs->list[i].config.kind == CHARDEV_STDIO)
			return err_set(e, EINVAL, "cannot use stdio by multiple character devices");
	c = &cs->list[cs->nr++];
	snprintf(c->label, sizeof(c->label), "%s", label);
	c->config = *config;
	*out = c;
	return 0;
}

/* The device with that id, for one front end only. */
static int claim(struct consoles *cs, const char *id, enum console_front front,
		 struct console **out, struct err *e)
{
	struct console *c = find(cs, id);

	if (!c)
		return err_set(e, ENOENT, "chardev \"%s\" not found", id);
	if (c->front != FRONT_NONE)
		return err_set(e, EBUSY, "Device '%s' is in use", id);
	c->front = front;
	*out = c;
	return 0;
}

/* A device in short form, or a reference to one. */
static int plan_short(struct consoles *cs, const char *option, const char *text, const char *label,
		      enum console_front front, struct console **out, struct err *e)
{
	const char *id = chardev_reference(text);
	struct chardev_config config;
	struct console *c;
	int r;

	r = id ? claim(cs, id, front, &c, e) : chardev_parse_short(text, &config, e);
	if (!r && !id) {
		r = add(cs, label, &config, &c, e);
		if (!r) {
			c->front = front;
			c->option = option;
			c->text = text;
		}
	}
	if (r)
		return err_prefix(e, "%s %s", option, text);
	*out = c;
	return 0;
}

static int plan_chardev(struct consoles *cs, const char *text, struct err *e)
{
	struct chardev_option o;
	struct console *c;
	int r = chardev_parse_option(text, &o, e);

	if (!r)
		r = add(cs, o.id, &o.config, &c, e);
	if (r)
		return err_prefix(e, "-chardev %s", text);
	c->option = "-chardev";
	c->text = text;
	return 0;
}

static int plan_mon(struct consoles *cs, const char *text, struct console **out, struct err *e)
{
	struct mon_option o;
	int r = mon_parse_option(text, &o, e);

	if (!r)
		r = claim(cs, o.chardev,
			  o.control ? o.pretty ? FRONT_QMP_PRETTY : FRONT_QMP : FRONT_HMP, out, e);
	return r ? err_prefix(e, "-mon %s", text) : 0;
}

static int plan_serial(struct consoles *cs, const struct options *o, struct err *e)
{
	for (unsigned int i = 0; i < o->nr_serial; i++) {
		char label[24];
		int r;

		if (!strcmp(o->serial[i], "none"))
			continue;
		snprintf(label, sizeof(label), "serial%u", i);
		r = plan_short(cs, "-serial", o->serial[i], label, FRONT_SERIAL, &cs->serial[i], e);
		if (r)
			return r;
	}
	return 0;
}

static int plan_monitors(struct consoles *cs, const struct options *o, struct err *e)
{
	struct console **next = cs->monitors;
	unsigned int number = 0;
	char label[32];
	int r = 0;

	for (unsigned int i = 0; !r && i < o->nr_qmp; i++) {
		snprintf(label, sizeof(label), "compat_monitor%u", number++);
		r = plan_short(cs, o->qmp_pretty[i] ? "-qmp-pretty" : "-qmp", o->qmp[i], label,
			       o->qmp_pretty[i] ? FRONT_QMP_PRETTY : FRONT_QMP, next++, e);
	}
	for (unsigned int i = 0; !r && i < o->nr_monitor; i++) {
		snprintf(label, sizeof(label), "compat_monitor%u", number++);
		r = plan_short(cs, "-monitor", o->monitor[i], label, FRONT_HMP, next++, e);
	}
	for (unsigned int i = 0; !r && i < o->nr_mon; i++)
		r = plan_mon(cs, o->mon[i], next++, e);
	cs->nr_monitors = (unsigned int)(next - cs->monitors);
	return r;
}

int consoles_plan(struct consoles *cs, const struct options *o, struct err *e)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < o->nr_chardev; i++)
		r = plan_chardev(cs, o->chardev[i], e);
	if (!r)
		r = plan_serial(cs, o, e);
	if (!r)
		r = plan_monitors(cs, o, e);
	return r;
}

static int open_console(struct console *c, struct loop *loop, unsigned int how,
			struct chardev_given *given, void (*quit)(void *opaque), void *opaque,
			struct err *e)
{
	const struct chardev_config nowhere = { .kind = CHARDEV_NULL };
	int r;

	c->config.held = how & CONSOLES_HELD || (how & CONSOLES_LATER && given);
	c->config.given = given;

	if (how & CONSOLES_KEEP_FILES)
		c->config.append = true;
	if (how & CONSOLES_RETRY)
		c->config.retry_ms = RETRY_MS;
	r = chardev_open(&c->chr, loop, how & CONSOLES_NOWHERE ? &nowhere : &c->config, quit,
			 opaque, e);
	c->config.given = NULL;
	if (r)
		err_prefix(e, "%s %s", c->option, c->text);
	if (!r || !(how & CONSOLES_MAY_MISS))
		return r;
	log_error("%s; the guest goes on without it", e->msg);
	return chardev_open(&c->chr, loop, &nowhere, quit, opaque, e);
}

int consoles_open(struct consoles *cs, struct loop *loop, unsigned int how, const json_t *came,
		  const struct cpr_state *state, void (*quit)(void *opaque), void *opaque,
		  struct err *e)
{
	for (unsigned int i = 0; i < cs->nr; i++) {
		struct console *c = &cs->list[i];
		struct chardev_given given;
		int r = 0, found = 0;

		if (came && how & CONSOLES_LATER)
			r = found = consoles_take_announced(came, state, c, &given, e);
		else if (came)
			r = found = consoles_take_carried(came, state, c, &given, e);
		if (r >= 0)
			r = open_console(c, loop, how, found ? &given : NULL, quit, opaque, e);
		if (r < 0)
			return r;
		/* Who was told at the first time knows. */
		if (!found && !strncmp(chardev_name(c->chr), "pty:", 4))
			log_info("char device redirected to %s (label %s)",
				 chardev_name(c->chr) + strlen("pty:"), c->label);
	}
	return 0;
}

int consoles_offer(struct consoles *cs, struct vm *vm, struct err *e)
{
	static const char *const users[] = {
		[FRONT_SERIAL] = "a serial port",
		[FRONT_QMP] = "a monitor",
		[FRONT_QMP_PRETTY] = "a monitor",
		[FRONT_HMP] = "a monitor",
	};
	int r = 0;

	for (unsigned int i = 0; !r && i < cs->nr; i++) {
		struct console *c = &cs->list[i];

		c->backend.kind = BACKEND_CHARDEV;
		c->backend.object = c->chr;
		memcpy(c->backend.id, c->label, MIN(sizeof(c->label), sizeof(c->backend.id)));
		r = backend_add(vm, &c->backend, e);
		if (!r && c->front != FRONT_NONE)
			c->backend.user = users[c->front];
	}
	return r;
}

static int start_monitor(const struct console *c, struct ctl *ctl, struct err *e)
{
	switch (c->front) {
	case FRONT_QMP:
		return ctl_add_qmp(ctl, c->chr, e);
	case FRONT_QMP_PRETTY:
		return ctl_add_qmp_pretty(ctl, c->chr, e);
	default:
		return ctl_add_hmp(ctl, c->chr, e);
	}
}

int consoles_start_monitors(struct consoles *cs, struct ctl *ctl, struct err *e)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < cs->nr; i++)
		r = ctl_name_chardev(ctl, cs->list[i].label, cs->list[i].chr, e);
	for (unsigned int i = 0; !r && i < cs->nr_monitors; i++)
		r = start_monitor(cs->monitors[i], ctl, e);
	return r;
}

void consoles_suspend_tty(struct consoles *cs, bool suspend)
{
	for (unsigned int i = 0; i < cs->nr; i++)
		if (cs->list[i].chr)
			chardev_suspend_tty(cs->list[i].chr, suspend);
}

void consoles_release(struct consoles *cs)
{
	for (unsigned int i = 0; i < cs->nr; i++)
		if (cs->list[i].chr)
			chardev_release(cs->list[i].chr);
}

void consoles_close(struct consoles *cs)
{
	for (unsigned int i = 0; i < cs->nr; i++)
		chardev_close(TAKE_PTR(cs->list[i].chr));
}
