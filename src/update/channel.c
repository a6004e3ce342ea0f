/* SPDX-License-Identifier: MIT */
/* Migration channels: where an update's streams go to and come from. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/trace.h"
#include "base/util.h"
#include "update/channel.h"

/* Copies a part of the URI; fails if it is longer than what holds it. */
static int copy_part(char *to, size_t room, const char *from, size_t n, const char *uri,
		     struct err *e)
{
	if (n >= room)
		return err_set(e, ENAMETOOLONG, "the address '%.64s...' is too long", uri);
	memcpy(to, from, n);
	to[n] = '\0';
	return 0;
}

/* HOST:PORT, [V6]:PORT, with the host allowed to be empty. */
static int parse_inet(const char *s, struct channel *c, struct err *e)
{
	const char *host = s, *colon, *end;
	int r;

	if (*s == '[') {
		host = s + 1;
		end = strchr(host, ']');
		colon = end && end[1] == ':' ? end + 1 : NULL;
	} else {
		colon = end = strchr(s, ':');
	}
	if (!colon || !colon[1])
		return err_set(e, EINVAL, "error parsing address '%s'", s);
	r = copy_part(c->host, sizeof(c->host), host, (size_t)(end - host), s, e);
	if (!r)
		r = copy_part(c->port, sizeof(c->port), colon + 1, strcspn(colon + 1, ","), s, e);
	return r;
}

static int parse_file(const char *s, struct channel *c, struct err *e)
{
	const char *offset = strstr(s, ",offset=");
	size_t n = offset ? (size_t)(offset - s) : strlen(s);
	struct err why;

	if (!n)
		return err_set(e, EINVAL, "file URI has no path");
	if (offset && parse_size(offset + 8, 1, &c->offset, &why))
		return err_set(e, EINVAL, "file URI has bad offset %s: %s", offset + 8,
			       strerror(why.code));
	return copy_part(c->file, sizeof(c->file), s, n, s, e);
}

int channel_set_file(struct channel *c, const char *path, struct err *e)
{
	*c = (struct channel){ .type = CHANNEL_MAIN, .transport = TRANSPORT_FILE };
	if (!*path)
		return err_set(e, EINVAL, "the name of the file is empty");
	return copy_part(c->file, sizeof(c->file), path, strlen(path), path, e);
}

int channel_set_args(struct channel *c, const char *const *args, size_t n, struct err *e)
{
	size_t at = 0;

	if (!n || !args[0][0])
		return err_set(e, EINVAL, "the command of an exec channel is empty");
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(args[i]) + 1;

		if (len > sizeof(c->file) - at)
			return err_set(e, ENAMETOOLONG, "the address 'exec:%.64s...' is too long",
				       args[i]);
		memcpy(c->file + at, args[i], len);
		at += len;
	}
	c->nr_args = (unsigned int)n;
	return 0;
}

int channel_parse_uri(const char *uri, struct channel *out, struct err *e)
{
	struct channel c = { .type = CHANNEL_MAIN, .fd = -1 };
	int r;

	if (!strncmp(uri, "tcp:", 4)) {
		c.transport = TRANSPORT_INET;
		r = parse_inet(uri + 4, &c, e);
	} else if (!strncmp(uri, "unix:", 5)) {
		c.transport = TRANSPORT_UNIX;
		if (!uri[5])
			return err_set(e, EINVAL, "invalid Unix socket address");
		r = copy_part(c.path, sizeof(c.path), uri + 5, strlen(uri + 5), uri, e);
	} else if (!strncmp(uri, "fd:", 3)) {
		c.transport = TRANSPORT_FD;
		r = copy_part(c.path, sizeof(c.path), uri + 3, strlen(uri + 3), uri, e);
	} else if (!strncmp(uri, "file:", 5)) {
		c.transport = TRANSPORT_FILE;
		r = parse_file(uri + 5, &c, e);
	} else if (!strncmp(uri, "exec:", 5)) {
		const char *const shell[] = { "/bin/sh", "-c", uri + 5 };

		c.transport = TRANSPORT_EXEC;
		r = channel_set_args(&c, shell, ARRAY_SIZE(shell), e);
	} else {
		return err_set(e, EINVAL, "unknown migration protocol: %s", uri);
	}
	if (!r)
		*out = c;
	return r;
}

static const char *last_word(const struct channel *c)
{
	const char *p = c->file;

	for (unsigned int i = 1; i < c->nr_args; i++)
		p += strlen(p) + 1;
	return p;
}

const char *channel_text(const struct channel *c, char *buf, size_t n)
{
	switch (c->transport) {
	case TRANSPORT_UNIX:
		snprintf(buf, n, "unix:%s", c->path);
		break;
	case TRANSPORT_INET:
		snprintf(buf, n, strchr(c->host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", c->host,
			 c->port);
		break;
	case TRANSPORT_FD:
		snprintf(buf, n, "fd:%s", c->path);
		break;
	case TRANSPORT_FILE:
		snprintf(buf, n, c->offset ? "file:%s,offset=%llu" : "file:%s", c->file,
			 (unsigned long long)c->offset);
		break;
	case TRANSPORT_EXEC:
		/* Of a shell's command the last word says most. */
		snprintf(buf, n, "exec:%s", last_word(c));
		break;
	}
	return buf;
}

static const char *const kinds[] = {
	[TRANSPORT_UNIX] = "unix", [TRANSPORT_INET] = "tcp",  [TRANSPORT_FD] = "fd",
	[TRANSPORT_FILE] = "file", [TRANSPORT_EXEC] = "exec",
};

void channel_trace_outgoing(const struct channel *c, const void *ioc, int r, const struct err *e)
{
	const char *host = c->transport == TRANSPORT_INET ? c->host : c->path;

	if (c->transport == TRANSPORT_FILE)
		trace_migration_file_outgoing(c->file);
	else if (c->transport == TRANSPORT_EXEC)
		trace_migration_exec_outgoing(last_word(c));
	else if (c->transport == TRANSPORT_FD && r >= 0)
		trace_migration_fd_outgoing(atoi(c->path));
	else if (r >= 0)
		trace_migration_socket_outgoing_connected(host);
	else
		trace_migration_socket_outgoing_error(e->msg);
	if (r >= 0)
		trace_migration_set_outgoing_channel(ioc, kinds[c->transport], host, NULL);
}

void channel_trace_incoming(const struct channel *c, const void *ioc)
{
	if (c->transport == TRANSPORT_FILE)
		trace_migration_file_incoming(c->file);
	else if (c->transport == TRANSPORT_EXEC)
		trace_migration_exec_incoming(last_word(c));
	else if (c->transport == TRANSPORT_FD)
		trace_migration_fd_incoming(atoi(c->path));
	else
		trace_migration_socket_incoming_accepted();
	trace_migration_set_incoming_channel(ioc, kinds[c->transport]);
}
