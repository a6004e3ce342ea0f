/* SPDX-License-Identifier: MIT */
/* -trace, -D and -msg: what is traced, and where messages and trace lines go. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/parse.h"
#include "base/trace.h"
#include "base/util.h"
#include "host/file.h"
#include "main/options.h"
#include "main/trace_options.h"

enum {
	MAX_OPTION = 4096,
	MAX_EVENTS_FILE = 1 << 20,
};

/* `-PATTERN` disables. A name that is no pattern has to exist. */
static void apply_pattern(const char *pattern)
{
	bool on = *pattern != '-';

	if (!on)
		pattern++;
	if (!trace_set(pattern, on) && !trace_is_pattern(pattern))
		log_warn("trace event '%s' does not exist", pattern);
}

/* Cuts a comment and blanks off the line; NULL if nothing is left. */
static char *trim(char *line)
{
	size_t n;

	line[strcspn(line, "#")] = '\0';
	line += strspn(line, " \t\r");
	n = strlen(line);
	while (n && strchr(" \t\r", line[n - 1]))
		line[--n] = '\0';
	return n ? line : NULL;
}

static int apply_events_file(const char *path, struct err *e)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int fd = -1;
	char *rest, *line;
	uint64_t size;
	int r;

	r = file_open_ro(path, &fd, e);
	if (!r)
		r = file_size(fd, path, &size, e);
	if (r)
		return r;
	if (size > MAX_EVENTS_FILE)
		return err_set(e, EFBIG, "'%s' is too long for a list of trace events", path);
	text = malloc(size + 1);
	if (!text)
		return err_set(e, ENOMEM, "no memory to read '%s'", path);
	r = file_read_at(fd, path, 0, text, size, e);
	if (r)
		return r;
	text[size] = '\0';
	if (strlen(text) != size)
		return err_set(e, EINVAL, "'%s' is not a text", path);
	for (rest = text; (line = strsep(&rest, "\n"));) {
		line = trim(line);
		if (line)
			apply_pattern(line);
	}
	return 0;
}

static int open_log(const char *path, struct err *e)
{
	int fd = file_open_log(path, e);

	if (fd < 0)
		return fd;
	if (trace_control.fd != STDERR_FILENO)
		close_fd(&trace_control.fd);
	trace_control.fd = fd;
	return 0;
}

static int apply_piece(const char *key, const char *value, struct err *e)
{
	if (!strcmp(key, "enable"))
		apply_pattern(value);
	else if (!strcmp(key, "events"))
		return apply_events_file(value, e);
	else if (!strcmp(key, "file"))
		return open_log(value, e);
	else
		return err_set(e, EINVAL, "there is no property '%s'", key);
	return 0;
}

static int set_piece(void *opaque, char *key, char *value, bool first, struct err *e)
{
	(void)opaque;
	if (value)
		return apply_piece(key, value, e);
	if (!*key)
		return 0;
	if (!first)
		return err_set(e, EINVAL,
			       "'%s' is no property; a second pattern needs an "
			       "option of its own",
			       key);
	apply_pattern(key);
	return 0;
}

/* `[[enable=]PATTERN][,events=FILE][,file=FILE]` */
static int apply_option(const char *arg, struct err *e)
{
	char text[MAX_OPTION];

	if (strlen(arg) >= sizeof(text))
		return err_set(e, E2BIG, "the option is too long");
	memcpy(text, arg, strlen(arg) + 1);
	return parse_pieces(text, set_piece, NULL, e);
}

int trace_options_apply(const struct options *o, struct err *e)
{
	int r = 0;

	/* A log may be a pipe whose reader leaves, before process_block_signals() is called. */
	signal(SIGPIPE, SIG_IGN);
	trace_control.plain_events = o->timestamp == OPTION_OFF;
	trace_control.stamp_messages = o->timestamp == OPTION_ON;
	if (o->log_file)
		r = open_log(o->log_file, e);
	if (r)
		return err_prefix(e, "-D %.256s", o->log_file);
	for (unsigned int i = 0; i < o->nr_trace; i++) {
		r = apply_option(o->trace[i], e);
		if (r)
			return err_prefix(e, "-trace %.256s", o->trace[i]);
	}
	return 0;
}

void trace_print_help(const char *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < TRACE_COUNT; i++)
		printf("%s\n", trace_name(i));
}
