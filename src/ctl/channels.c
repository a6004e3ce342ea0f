/* SPDX-License-Identifier: MIT */
/* Migration channels as QMP and -incoming describe them. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "ctl/channels.h"
#include "ctl/json.h"

enum {
	MAX_DEPTH = 16, /* objects within objects */
};

#define M(name_, type_, ...)                                    \
	{                                                       \
		.name = (name_), .type = (type_), ##__VA_ARGS__ \
	}
#define M_END                \
	{                    \
		.name = NULL \
	}

static const struct schema_member inet_members[] = {
	M("host", SCHEMA_STR),
	M("port", SCHEMA_STR),
	M_END,
};
static const struct schema_member unix_members[] = {
	M("path", SCHEMA_STR),
	M("abstract", SCHEMA_BOOL, .optional = true),
	M("tight", SCHEMA_BOOL, .optional = true),
	M_END,
};
static const struct schema_member vsock_members[] = {
	M("cid", SCHEMA_STR),
	M("port", SCHEMA_STR),
	M_END,
};
static const struct schema_member fd_members[] = {
	M("str", SCHEMA_STR),
	M_END,
};
static const struct schema inet_schema = { .member = inet_members };
static const struct schema unix_schema = { .member = unix_members };
static const struct schema vsock_schema = { .member = vsock_members };
static const struct schema fd_schema = { .member = fd_members };

static const char *const socket_types[] = { "inet", "unix", "vsock", "fd", NULL };
static const struct schema_variant socket_variants[] = {
	{ "inet", &inet_schema }, { "unix", &unix_schema }, { "vsock", &vsock_schema },
	{ "fd", &fd_schema },     { NULL, NULL },
};
static const struct schema_member socket_members[] = {
	M("type", SCHEMA_ENUM, .values = socket_types),
	M_END,
};
static const struct schema socket_schema = {
	.member = socket_members,
	.tag = "type",
	.variants = socket_variants,
};

static const struct schema_member exec_members[] = {
	M("args", SCHEMA_STRLIST),
	M_END,
};
static const struct schema_member file_members[] = {
	M("filename", SCHEMA_STR),
	M("offset", SCHEMA_UINT),
	M_END,
};
static const struct schema exec_schema = { .member = exec_members };
static const struct schema file_schema = { .member = file_members };

static const char *const transports[] = { "socket", "exec", "rdma", "file", NULL };
static const struct schema_variant addr_variants[] = {
	{ "socket", &socket_schema }, { "exec", &exec_schema }, { "rdma", &inet_schema },
	{ "file", &file_schema },     { NULL, NULL },
};
static const struct schema_member addr_members[] = {
	M("transport", SCHEMA_ENUM, .values = transports),
	M_END,
};
static const struct schema addr_schema = {
	.member = addr_members,
	.tag = "transport",
	.variants = addr_variants,
};

static const char *const channel_types[] = { "main", "cpr", NULL };
static const struct schema_member channel_members[] = {
	M("channel-type", SCHEMA_ENUM, .values = channel_types),
	M("addr", SCHEMA_STRUCT, .members = &addr_schema),
	M_END,
};
const struct schema channel_schema = { .member = channel_members };

static const char *get(json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static int copy_text(char *out, size_t size, const char *text, const char *what, struct err *e)
{
	if (!*text)
		return err_set(e, EINVAL, "%s of a migration channel is empty", what);
	if (strlen(text) >= size)
		return err_set(e, ENAMETOOLONG, "%s '%.64s...' of a migration channel is too long",
			       what, text);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static int socket_from_json(json_t *addr, struct channel *c, struct err *e)
{
	const char *type = get(addr, "type");
	int ret;

	if (!strcmp(type, "unix")) {
		c->transport = TRANSPORT_UNIX;
		c->abstract = json_is_true(json_object_get(addr, "abstract"));
		if (c->abstract && json_is_false(json_object_get(addr, "tight")))
			return err_set(e, EINVAL,
				       "an abstract socket whose name is filled up with "
				       "zeros (tight=off) is not supported");
		return copy_text(c->path, sizeof(c->path), get(addr, "path"), "The path", e);
	}
	if (!strcmp(type, "fd")) {
		c->transport = TRANSPORT_FD;
		return copy_text(c->path, sizeof(c->path), get(addr, "str"), "The descriptor", e);
	}
	if (!strcmp(type, "inet")) {
		c->transport = TRANSPORT_INET;
		/* An empty host is this host, as in a URI. */
		if (*get(addr, "host")) {
			ret = copy_text(c->host, sizeof(c->host), get(addr, "host"), "The host", e);
			if (ret < 0)
				return ret;
		}
		return copy_text(c->port, sizeof(c->port), get(addr, "port"), "The port", e);
	}
	return err_set(e, EINVAL, "Migration over sockets of type '%s' is not supported", type);
}

enum channel_type channel_json_type(json_t *object)
{
	return strcmp(get(object, "channel-type"), "cpr") ? CHANNEL_MAIN : CHANNEL_CPR;
}

static int args_from_json(json_t *list, struct channel *c, struct err *e)
{
	size_t n = json_array_size(list);
	AUTO_FREE const char **args = calloc(n + 1, sizeof(*args));

	if (!args)
		return err_set(e, ENOMEM, "no memory for the command of a channel");
	for (size_t i = 0; i < n; i++)
		args[i] = json_string_value(json_array_get(list, i));
	return channel_set_args(c, args, n, e);
}

int channel_from_json(json_t *object, struct channel *out, struct err *e)
{
	json_t *addr = json_object_get(object, "addr");
	const char *transport = get(addr, "transport");
	struct channel c = { .fd = -1 };
	int ret = 0;

	c.type = channel_json_type(object);
	if (!strcmp(transport, "socket")) {
		ret = socket_from_json(addr, &c, e);
	} else if (!strcmp(transport, "file")) {
		c.transport = TRANSPORT_FILE;
		c.offset = (uint64_t)json_integer_value(json_object_get(addr, "offset"));
		ret = copy_text(c.file, sizeof(c.file), get(addr, "filename"), "The file name", e);
	} else if (!strcmp(transport, "exec")) {
		c.transport = TRANSPORT_EXEC;
		ret = args_from_json(json_object_get(addr, "args"), &c, e);
	} else {
		ret = err_set(e, EINVAL, "Migration over '%s' is not supported", transport);
	}
	if (ret == 0)
		*out = c;
	return ret;
}

static int parse_json(const char *text, struct channel *out, struct err *e)
{
	json_t *object = json_text_parse(text, strlen(text), e);
	int ret;

	if (!object)
		return -e->code;
	if (!json_is_object(object))
		ret = err_set(e, EINVAL, "a migration channel must be a JSON object");
	else
		ret = schema_check(&channel_schema, object, e);
	if (ret == 0)
		ret = channel_from_json(object, out, e);
	json_decref(object);
	return ret;
}

/* Such a member cannot be. */
static int refuse_key(const char *key, struct err *e)
{
	return err_set(e, EINVAL, "Parameter '%s' is unexpected, or no valid UTF-8", key);
}

/* Puts `a.b=v` into @root; `offset` is the one member that is a number. */
static int put_dotted(json_t *root, char *key, const char *value, struct err *e)
{
	unsigned int depth = 0;
	uint64_t number;
	json_t *v, *sub;
	char *dot;
	int ret;

	while ((dot = strchr(key, '.'))) {
		*dot = '\0';
		sub = json_object_get(root, key);
		/* No parameter is as deep, and what is freed may be as deep as the stack is large. */
		if (++depth > MAX_DEPTH)
			return err_set(e, EINVAL, "Parameter '%s.*' is unexpected", key);
		if (!sub) {
			sub = json_object();
			if (json_object_set_new(root, key, sub))
				return refuse_key(key, e);
		}
		if (!json_is_object(sub))
			return err_set(e, EINVAL, "Parameters '%s.*' are unexpected", key);
		root = sub;
		key = dot + 1;
	}
	if (!strcmp(key, "offset")) {
		ret = parse_size(value, 1, &number, e);
		if (ret < 0)
			return ret;
		v = json_integer((json_int_t)number);
	} else {
		v = json_string(value);
	}
	if (!v)
		return err_set(e, EINVAL, "Parameter '%s' is not valid UTF-8", key);
	return json_object_set_new(root, key, v) ? refuse_key(key, e) : 0;
}

static int put_all_dotted(json_t *root, char *text, struct err *e)
{
	char *save, *item, *eq;
	bool first = true;
	int ret;

	for (item = strtok_r(text, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		eq = strchr(item, '=');
		if (!eq && !first)
			return err_set(e, EINVAL, "Expected '=' after parameter '%s'", item);
		first = false;
		if (eq) {
			*eq = '\0';
			ret = put_dotted(root, item, eq + 1, e);
		} else {
			ret = put_dotted(root, (char[]){ "channel-type" }, item, e);
		}
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int parse_dotted(const char *text, struct channel *out, struct err *e)
{
	AUTO_FREE char *copy = strdup(text);
	json_t *root = json_object();
	int ret;

	if (!copy || !root)
		ret = err_set(e, ENOMEM, "cannot read '%s': out of memory", text);
	else
		ret = put_all_dotted(root, copy, e);
	if (ret == 0)
		ret = schema_check(&channel_schema, root, e);
	if (ret == 0)
		ret = channel_from_json(root, out, e);
	json_decref(root);
	return ret;
}

int channel_parse_incoming(const char *text, struct channel *out, struct err *e)
{
	const char *p = text;

	if (*text == '{' || *text == '\'')
		return parse_json(text, out, e);
	while (isalpha((unsigned char)*p))
		p++;
	if (p > text && *p == ':')
		return channel_parse_uri(text, out, e);
	return parse_dotted(text, out, e);
}
