/* SPDX-License-Identifier: MIT */
/* What -netdev and netdev_add take: from text or JSON to a back end's configuration. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "ctl/json.h"
#include "ctl/netdev_opts.h"

enum {
	TEXT_MAX = 4096
};

enum key_kind {
	KEY_STRING, /* char[size]                                    */
	KEY_BOOL,
	KEY_UINT,    /* uint64_t, at least @min, at most @max         */
	KEY_SWITCH,  /* enum net_switch                               */
	KEY_SCRIPT,  /* char[size]: a path, or no                     */
	KEY_FD,      /* one descriptor, or with colons between several */
	KEY_WORD,    /* of passt's command line: @text and the value   */
	KEY_WORDS,   /* likewise, any number; no @text: the value alone */
	KEY_FLAG,    /* likewise, @text alone where it is on            */
	KEY_REFUSED, /* anything but @text cannot be had, for reason @why */
};

struct key {
	const char *name;
	enum key_kind kind;
	size_t offset, size; /* in struct parsed */
	uint64_t min, max;
	const char *text, *why;
};

/* A configuration while its keys are set; some are only checked together. */
struct parsed {
	struct net_config c;
	char address[16]; /* addr.type                  */
	uint64_t queues, reconnect_s;
	size_t passt_used;
	int (*named)(void *opaque, const char *name, struct err *e);
	void *opaque;
	bool given; /* descriptors come from the image before */
};

#define AT(member) .offset = offsetof(struct parsed, member)
#define TEXT(member) \
	.offset = offsetof(struct parsed, member), .size = SIZEOF_FIELD(struct parsed, member)

#define NO_BRIDGE "put the tap into the bridge with ip link, or with script="
#define NO_VHOST  "vhost-net is not there yet; the tap's queues are served by this process"

static const struct key tap_keys[] = {
	{ "ifname", KEY_STRING, TEXT(c.ifname) },
	{ .name = "fd", .kind = KEY_FD },
	{ .name = "fds", .kind = KEY_FD },
	{ "script", KEY_SCRIPT, TEXT(c.script) },
	{ "downscript", KEY_SCRIPT, TEXT(c.downscript) },
	{ "vnet_hdr", KEY_SWITCH, AT(c.vnet_hdr) },
	{ "queues", KEY_UINT, AT(queues), .min = 1, .max = NET_MAX_QUEUES },
	{ "br", KEY_REFUSED, .why = NO_BRIDGE },
	{ "helper", KEY_REFUSED, .why = NO_BRIDGE },
	{ "vhost", KEY_REFUSED, .text = "off", .why = NO_VHOST },
	{ "vhostforce", KEY_REFUSED, .text = "off", .why = NO_VHOST },
	{ "vhostfd", KEY_REFUSED, .why = NO_VHOST },
	{ "vhostfds", KEY_REFUSED, .why = NO_VHOST },
	{ "sndbuf", KEY_REFUSED, .text = "0", .why = "the kernel's limit is used" },
	{ "poll-us", KEY_REFUSED, .text = "0", .why = "it is vhost-net's" },
	{ .name = NULL },
};

static const struct key stream_keys[] = {
	{ "server", KEY_BOOL, AT(c.server) },
	{ "reconnect-ms", KEY_UINT, AT(c.reconnect_ms), .max = 86400000 },
	{ "reconnect", KEY_UINT, AT(reconnect_s), .max = 86400 },
	{ "addr.type", KEY_STRING, TEXT(address) },
	{ "addr.path", KEY_STRING, TEXT(c.path) },
	{ "addr.abstract", KEY_BOOL, AT(c.abstract) },
	{ "addr.tight", KEY_REFUSED, .text = "on", .why = "the name has no padding" },
	{ "addr.host", KEY_STRING, TEXT(c.host) },
	{ "addr.port", KEY_STRING, TEXT(c.port) },
	{ .name = "addr.str", .kind = KEY_FD },
	{ .name = NULL },
};

static const struct key passt_keys[] = {
	{ "path", KEY_STRING, TEXT(c.path) },
	{ "quiet", KEY_FLAG, .text = "--quiet" },
	{ "mtu", KEY_WORD, .text = "--mtu" },
	{ "address", KEY_WORD, .text = "--address" },
	{ "netmask", KEY_WORD, .text = "--netmask" },
	{ "mac", KEY_WORD, .text = "--mac-addr" },
	{ "gateway", KEY_WORD, .text = "--gateway" },
	{ "interface", KEY_WORD, .text = "--interface" },
	{ "outbound", KEY_WORD, .text = "--outbound" },
	{ "outbound-if4", KEY_WORD, .text = "--outbound-if4" },
	{ "outbound-if6", KEY_WORD, .text = "--outbound-if6" },
	{ "dns", KEY_WORD, .text = "--dns" },
	{ "dns-forward", KEY_WORD, .text = "--dns-forward" },
	{ "search", KEY_WORDS, .text = "--search" },
	{ "tcp-ports", KEY_WORDS, .text = "--tcp-ports" },
	{ "udp-ports", KEY_WORDS, .text = "--udp-ports" },
	{ .name = "param", .kind = KEY_WORDS },
	{ "vhost-user", KEY_REFUSED, .text = "off", .why = "frames go over its stream socket" },
	{ .name = NULL },
};

static const struct {
	const char *name;
	enum net_kind kind;
	const struct key *keys;
} types[] = {
	{ "tap", NET_TAP, tap_keys },
	{ "stream", NET_STREAM, stream_keys },
	{ "passt", NET_PASST, passt_keys },
};

static const struct {
	const char *name, *why;
} refused_types[] = {
	{ "user", "no network stack is built in; passt is one that needs no rights: -netdev "
		  "passt,id=ID, from the package of that name" },
	{ "bridge", "make a tap and put it into the bridge: -netdev tap" },
	{ "vhost-user", "there are no vhost-user devices yet" },
	{ "vhost-vdpa", "there are no vDPA devices" },
	{ "socket", "-netdev stream speaks the same on a stream socket" },
	{ "dgram", "only stream sockets are supported: -netdev stream" },
	{ "hubport", "there are no hubs; a bridge of the host with taps does the same" },
	{ "l2tpv3", "make a tap and connect it to the tunnel" },
	{ "vde", "a tap does the same" },
	{ "af-xdp", "a tap does the same, slower" },
};

static int find_type(const char *name, size_t *out, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (strcmp(types[i].name, name))
			continue;
		*out = i;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(refused_types); i++)
		if (!strcmp(refused_types[i].name, name))
			return err_set(e, ENOTSUP, "network backend '%s' is not supported: %s",
				       name, refused_types[i].why);
	return err_set(e, EINVAL,
		       "Parameter 'type' does not accept value '%s'; known are tap, stream and "
		       "passt",
		       name);
}

static const struct key *find_key(size_t type, const char *name)
{
	for (const struct key *k = types[type].keys; k->name; k++)
		if (!strcmp(k->name, name))
			return k;
	return NULL;
}

static int add_passt(struct parsed *p, const char *word, struct err *e)
{
	size_t n = strlen(word) + 1;

	if (p->c.nr_passt == NET_MAX_PASST_ARGS || n > sizeof(p->c.passt) - p->passt_used)
		return err_set(e, E2BIG, "passt's command line is too long");
	memcpy(p->c.passt + p->passt_used, word, n);
	p->passt_used += n;
	p->c.nr_passt++;
	return 0;
}

static int add_option(struct parsed *p, const struct key *k, const char *value, struct err *e)
{
	int r = k->text ? add_passt(p, k->text, e) : 0;

	return r ? r : add_passt(p, value, e);
}

/* Values with a newline between them. */
static int add_options(struct parsed *p, const struct key *k, const char *values, struct err *e)
{
	char one[NET_PASST_TEXT];
	int r = 0;

	while (!r) {
		size_t n = strcspn(values, "\n");

		if (n >= sizeof(one))
			return err_set(e, E2BIG, "passt's command line is too long");
		memcpy(one, values, n);
		one[n] = '\0';
		r = add_option(p, k, one, e);
		if (!values[n])
			break;
		values += n + 1;
	}
	return r;
}

/*
 * A number on the command line; in a monitor the name of a descriptor that its client has sent, for
 * a number could be any of ours.
 */
static int find_fd(const struct parsed *p, const char *text, struct err *e)
{
	struct err why;
	uint64_t n;

	if (p->named && isdigit((unsigned char)*text))
		return err_set(e, EINVAL,
			       "'%s' is a number: a monitor's client sends a descriptor with getfd "
			       "and gives its name",
			       text);
	if (p->named)
		return p->named(p->opaque, text, e);
	if (!isdigit((unsigned char)*text) || parse_uint(text, INT32_MAX, &n, &why))
		return err_set(e, EINVAL,
			       "'%s' is no number of a descriptor, and only a monitor's client can "
			       "name one",
			       text);
	return (int)n;
}

static int set_fds(struct parsed *p, const struct key *k, const char *value, struct err *e)
{
	bool many = k->name[2] == 's', address = k->name[0] == 'a';
	char text[256], *rest = text, *piece;
	int fd;

	if (p->given)
		return 0;
	if (strlen(value) >= sizeof(text))
		return err_set(e, E2BIG, "the list is too long");
	memcpy(text, value, strlen(value) + 1);
	while ((piece = strsep(&rest, many ? ":" : ""))) {
		if (!address && p->c.nr_fds == NET_MAX_QUEUES)
			return err_set(e, E2BIG, "a tap has %d queues at most", NET_MAX_QUEUES);
		fd = find_fd(p, piece, e);
		if (fd < 0)
			return fd;
		if (address)
			p->c.fd = fd;
		else
			p->c.fds[p->c.nr_fds++] = fd;
	}
	return 0;
}

static int set_text(char *to, size_t size, const char *value, struct err *e)
{
	if (!*value)
		return err_set(e, EINVAL, "it is empty");
	if (strlen(value) >= size)
		return err_set(e, ENAMETOOLONG, "it is longer than %zu characters", size - 1);
	memcpy(to, value, strlen(value) + 1);
	return 0;
}

static int set_switch(enum net_switch *to, const char *value, struct err *e)
{
	bool on;

	if (!strcmp(value, "auto")) {
		*to = NET_AUTO;
		return 0;
	}
	if (parse_bool(value, &on, e))
		return -e->code;
	*to = on ? NET_ON : NET_OFF;
	return 0;
}

static int set_uint(uint64_t *to, const struct key *k, const char *value, struct err *e)
{
	struct err why;
	uint64_t n;

	if (parse_uint(value, k->max, &n, &why) || n < k->min)
		return err_set(e, EINVAL, "a number from %llu to %llu is expected",
			       (unsigned long long)k->min, (unsigned long long)k->max);
	*to = n;
	return 0;
}

static int set_key(struct parsed *p, const struct key *k, const char *value, struct err *e)
{
	void *to = (uint8_t *)p + k->offset;
	bool on;
	int r;

	switch (k->kind) {
	case KEY_STRING:
		return set_text(to, k->size, value, e);
	case KEY_BOOL:
		return parse_bool(value, to, e);
	case KEY_UINT:
		return set_uint(to, k, value, e);
	case KEY_SWITCH:
		return set_switch(to, value, e);
	case KEY_SCRIPT:
		if (!strcmp(value, "no"))
			return 0;
		return set_text(to, k->size, value, e);
	case KEY_FD:
		return set_fds(p, k, value, e);
	case KEY_WORD:
		return add_option(p, k, value, e);
	case KEY_WORDS:
		return add_options(p, k, value, e);
	case KEY_FLAG:
		r = parse_bool(value, &on, e);
		return r || !on ? r : add_passt(p, k->text, e);
	case KEY_REFUSED:
		break;
	}
	if (k->text && !strcmp(value, k->text))
		return 0;
	return err_set(e, ENOTSUP, "it cannot be '%s': %s", value, k->why);
}

static bool is_identifier(const char *id)
{
	if (!isalpha((unsigned char)*id))
		return false;
	while (isalnum((unsigned char)*id) || *id == '-' || *id == '.' || *id == '_')
		id++;
	return !*id;
}

static int finish_tap(struct parsed *p, struct err *e)
{
	struct net_config *c = &p->c;

	if (c->nr_fds && (c->ifname[0] || c->script[0] || c->downscript[0] || p->queues))
		return err_set(e, EINVAL,
			       "ifname=, script=, downscript= and queues= are invalid with fd= "
			       "and fds=");
	c->queues = p->queues ? (unsigned int)p->queues : 1;
	return 0;
}

static int finish_stream(struct parsed *p, struct err *e)
{
	struct net_config *c = &p->c;

	if (p->reconnect_s && c->reconnect_ms)
		return err_set(e, EINVAL, "'reconnect' and 'reconnect-ms' are mutually exclusive");
	if (p->reconnect_s)
		c->reconnect_ms = p->reconnect_s * 1000;
	if (c->server && c->reconnect_ms)
		return err_set(e, EINVAL,
			       "'reconnect-ms' is incompatible with socket in server mode");
	if (!strcmp(p->address, "unix")) {
		c->address = NET_UNIX;
		if (!c->path[0])
			return err_set(e, EINVAL, "Parameter 'addr.path' is missing");
	} else if (!strcmp(p->address, "inet")) {
		c->address = NET_INET;
		if (!c->port[0])
			return err_set(e, EINVAL, "Parameter 'addr.port' is missing");
	} else if (!strcmp(p->address, "fd")) {
		c->address = NET_FD;
		if (c->fd < 0 && !p->given)
			return err_set(e, EINVAL, "Parameter 'addr.str' is missing");
		if (c->reconnect_ms)
			return err_set(e, EINVAL, "a descriptor cannot be connected again");
	} else if (!p->address[0]) {
		return err_set(e, EINVAL, "Parameter 'addr.type' is missing");
	} else {
		return err_set(e, EINVAL,
			       "Parameter 'addr.type' does not accept value '%s'; known are unix, "
			       "inet and fd",
			       p->address);
	}
	if (c->address != NET_UNIX && (c->path[0] || c->abstract))
		return err_set(e, EINVAL, "addr.path and addr.abstract belong to addr.type=unix");
	if (c->address != NET_INET && (c->host[0] || c->port[0]))
		return err_set(e, EINVAL, "addr.host and addr.port belong to addr.type=inet");
	if (c->address != NET_FD && c->fd >= 0)
		return err_set(e, EINVAL, "addr.str belongs to addr.type=fd");
	return 0;
}

static int set_keys(struct parsed *p, json_t *flat, size_t type, struct err *e)
{
	const char *name;
	json_t *v;

	json_object_foreach(flat, name, v)
	{
		const struct key *k = find_key(type, name);

		if (!strcmp(name, "type") || !strcmp(name, "id"))
			continue;
		if (!k)
			return err_set(e, EINVAL, "Parameter '%s' is unexpected for netdev %s",
				       name, types[type].name);
		if (!json_is_string(v))
			return err_set(e, EINVAL, "Parameter '%s' is no text", name);
		if (set_key(p, k, json_string_value(v), e))
			return err_prefix(e, "Parameter '%s'", name);
	}
	return 0;
}

int netdev_config(json_t *flat, int (*named)(void *opaque, const char *name, struct err *e),
		  void *opaque, bool given, struct net_config *out, struct err *e)
{
	const char *type_name = json_string_value(json_object_get(flat, "type"));
	const char *id = json_string_value(json_object_get(flat, "id"));
	struct parsed p = { .named = named, .opaque = opaque, .given = given, .c.fd = -1 };
	size_t type = 0;
	int r;

	if (!type_name)
		return err_set(e, EINVAL, "Parameter 'type' is missing");
	r = find_type(type_name, &type, e);
	if (r)
		return r;
	if (!id || !*id)
		return err_set(e, EINVAL, "Parameter 'id' is missing");
	if (!is_identifier(id) || strlen(id) >= sizeof(p.c.id))
		return err_set(e, EINVAL, "Parameter 'id' expects an identifier, not '%s'", id);
	p.c.kind = types[type].kind;
	memcpy(p.c.id, id, strlen(id) + 1);
	r = set_keys(&p, flat, type, e);
	if (!r && p.c.kind == NET_TAP)
		r = finish_tap(&p, e);
	else if (!r && p.c.kind == NET_STREAM)
		r = finish_stream(&p, e);
	if (!r) {
		*out = p.c;
	} else if (named) {
		/* What a client named is nobody's any more; numbers are the parent's affair. */
		net_close_config(&p.c);
	}
	return r;
}

/*
 * Cuts the next piece off @text, at a comma that is not doubled; doubled ones become one.
 * NULL at the end.
 */
static char *next_piece(char **text)
{
	char *piece = *text, *from = piece, *to = piece;

	if (!piece)
		return NULL;
	for (; *from; from++) {
		if (*from == ',' && from[1] != ',')
			break;
		if (*from == ',')
			from++;
		*to++ = *from;
	}
	*text = *from ? from + 1 : NULL;
	*to = '\0';
	return piece;
}

/* A key that is given again: the last value counts, but of words all. */
static int put_value(json_t *flat, size_t type, const char *name, const char *value, struct err *e)
{
	const struct key *k = find_key(type, name);
	json_t *before = json_object_get(flat, name), *v;

	if (before && k && k->kind == KEY_WORDS)
		v = json_sprintf("%s\n%s", json_string_value(before), value);
	else
		v = json_string(value);
	if (!v)
		return err_set(e, EINVAL, "the value of '%s' is not UTF-8", name);
	return json_object_set_new(flat, name, v) ? err_set(e, ENOMEM, "out of memory") : 0;
}

static int flatten_keys(const char *arg, json_t *flat, struct err *e)
{
	char text[TEXT_MAX], *rest = text, *piece;
	size_t type;
	int r;

	if (strlen(arg) >= sizeof(text))
		return err_set(e, E2BIG, "the option is longer than %d characters", TEXT_MAX - 1);
	memcpy(text, arg, strlen(arg) + 1);
	piece = next_piece(&rest);
	if (!strncmp(piece, "type=", 5))
		piece += 5;
	r = find_type(piece, &type, e);
	if (!r)
		r = put_value(flat, type, "type", piece, e);
	while (!r && (piece = next_piece(&rest))) {
		char *value = strchr(piece, '=');

		if (value)
			*value++ = '\0';
		if (!*piece && !value)
			continue;
		r = put_value(flat, type, piece, value ? value : "on", e);
	}
	return r;
}

static const char *expected_type(const struct key *k)
{
	return k->kind == KEY_BOOL || k->kind == KEY_FLAG || k->kind == KEY_SWITCH ? "boolean"
	       : k->kind == KEY_UINT                                               ? "integer"
										   : "string";
}

static int flatten_member(json_t *flat, size_t type, const char *name, json_t *v, struct err *e);

static int flatten_list(json_t *flat, size_t type, const char *name, json_t *list, struct err *e)
{
	size_t i;
	json_t *v;

	json_array_foreach(list, i, v)
	{
		/* QEMU writes each as an object around a string. */
		json_t *s = json_is_object(v) ? json_object_get(v, "str") : v;
		int r = json_is_string(s) ? put_value(flat, type, name, json_string_value(s), e)
					  : schema_wrong_type(name, "array of strings", e);

		if (r)
			return r;
	}
	return 0;
}

static int flatten_object(json_t *flat, size_t type, const char *name, json_t *o, struct err *e)
{
	char path[64];
	const char *key;
	json_t *v;

	json_object_foreach(o, key, v)
	{
		int r;

		if ((size_t)snprintf(path, sizeof(path), "%s.%s", name, key) >= sizeof(path))
			return err_set(e, EINVAL, "Parameter '%s...' is unexpected", path);
		r = json_is_object(v) ? schema_wrong_type(path, "string", e)
				      : flatten_member(flat, type, path, v, e);
		if (r)
			return r;
	}
	return 0;
}

static int flatten_member(json_t *flat, size_t type, const char *name, json_t *v, struct err *e)
{
	const struct key *k = find_key(type, name);
	char number[32];

	if (json_is_object(v) && !strcmp(name, "addr"))
		return flatten_object(flat, type, name, v, e);
	if (!k && strcmp(name, "type") && strcmp(name, "id"))
		return err_set(e, EINVAL, "Parameter '%s' is unexpected for netdev %s", name,
			       types[type].name);
	if (k && k->kind == KEY_WORDS && json_is_array(v))
		return flatten_list(flat, type, name, v, e);
	/* Whatever it is, its value says why it cannot be. */
	if (k && k->kind != KEY_REFUSED && *expected_type(k) == 'b' && !json_is_boolean(v))
		return schema_wrong_type(name, "boolean", e);
	if (k && k->kind != KEY_REFUSED && *expected_type(k) == 'i' && !json_is_integer(v))
		return schema_wrong_type(name, "integer", e);
	if (k && k->kind != KEY_REFUSED && *expected_type(k) == 's' && !json_is_string(v))
		return schema_wrong_type(name, "string", e);
	if (json_is_string(v))
		return put_value(flat, type, name, json_string_value(v), e);
	if (json_is_boolean(v))
		return put_value(flat, type, name, json_is_true(v) ? "on" : "off", e);
	if (!json_is_integer(v))
		return schema_wrong_type(name, "string", e);
	snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
	return put_value(flat, type, name, number, e);
}

int netdev_flatten_json(json_t *args, json_t **out, struct err *e)
{
	json_t *type_name = json_object_get(args, "type"), *flat, *v;
	const char *name;
	size_t type;
	int r;

	if (!json_is_object(args))
		return err_set(e, EINVAL, "it is no object");
	if (!type_name)
		return err_set(e, EINVAL, "Parameter 'type' is missing");
	if (!json_is_string(type_name))
		return schema_wrong_type("type", "string", e);
	r = find_type(json_string_value(type_name), &type, e);
	if (r)
		return r;
	flat = json_object();
	json_object_foreach(args, name, v)
	{
		r = flatten_member(flat, type, name, v, e);
		if (r)
			break;
	}
	if (r)
		json_decref(flat);
	else
		*out = flat;
	return r;
}

int netdev_flatten_text(const char *text, json_t **out, struct err *e)
{
	json_t *j;
	int r;

	if (*text != '{') {
		j = json_object();
		r = flatten_keys(text, j, e);
		if (r)
			json_decref(j);
		else
			*out = j;
		return r;
	}
	j = json_text_parse(text, strlen(text), e);
	if (!j)
		return -e->code;
	r = netdev_flatten_json(j, out, e);
	json_decref(j);
	return r;
}

static enum schema_type schema_type_of(const struct key *k)
{
	switch (k->kind) {
	case KEY_BOOL:
	case KEY_SWITCH:
	case KEY_FLAG:
		return SCHEMA_BOOL;
	case KEY_UINT:
		return SCHEMA_UINT;
	case KEY_WORDS:
		return SCHEMA_STRLIST;
	case KEY_REFUSED:
		return SCHEMA_ANY;
	default:
		return SCHEMA_STR;
	}
}

/* Key @i of @keys whose name begins with @prefix. */
static bool describe_key(const struct key *keys, const char *prefix, size_t i,
			 struct schema_member *out)
{
	size_t n = strlen(prefix);

	for (; keys->name; keys++) {
		if (strncmp(keys->name, prefix, n) || (!n && strchr(keys->name, '.')))
			continue;
		if (i--)
			continue;
		*out = (struct schema_member){
			.name = keys->name + n,
			.type = schema_type_of(keys),
			.optional = strcmp(keys->name, "addr.type"),
		};
		return true;
	}
	return false;
}

static bool describe_tap(size_t i, struct schema_member *out)
{
	return describe_key(tap_keys, "", i, out);
}

static bool describe_passt(size_t i, struct schema_member *out)
{
	return describe_key(passt_keys, "", i, out);
}

static bool describe_address(size_t i, struct schema_member *out)
{
	return describe_key(stream_keys, "addr.", i, out);
}

static const struct schema address_schema = { .member_at = describe_address };

static bool describe_stream(size_t i, struct schema_member *out)
{
	if (i)
		return describe_key(stream_keys, "", i - 1, out);
	*out = (struct schema_member){
		.name = "addr",
		.type = SCHEMA_STRUCT,
		.members = &address_schema,
	};
	return true;
}

static const struct schema tap_schema = { .member_at = describe_tap };
static const struct schema stream_schema = { .member_at = describe_stream };
static const struct schema passt_schema = { .member_at = describe_passt };
static const struct schema_variant variants[] = {
	{ "tap", &tap_schema },
	{ "stream", &stream_schema },
	{ "passt", &passt_schema },
	{ NULL, NULL },
};

static const char *type_at(size_t i)
{
	return i < ARRAY_SIZE(types) ? types[i].name : NULL;
}

static const struct schema_member common_members[] = {
	{ "type", SCHEMA_ENUM, .value_at = type_at },
	SCHEMA_MEMBER("id", SCHEMA_STR),
	{ .name = NULL },
};

const struct schema netdev_schema = {
	.member = common_members,
	.tag = "type",
	.variants = variants,
};

void netdev_print_help(const char *arg)
{
	size_t n = strcspn(arg, ",");

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (strlen(types[i].name) != n || strncmp(types[i].name, arg, n))
			continue;
		printf("%s options:\n", types[i].name);
		for (const struct key *k = types[i].keys; k->name; k++)
			if (k->kind != KEY_REFUSED)
				printf("  %s=<%s>\n", k->name, expected_type(k));
		return;
	}
	printf("Available netdev backend types:\n");
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		printf("%s\n", types[i].name);
}
