/* SPDX-License-Identifier: MIT */
/* The text of options that name character devices and monitors. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "ctl/chardev_opts.h"

enum {
	MAX_KEY = CHARDEV_MAX_ID,
	MAX_VALUE = SIZEOF_FIELD(struct chardev_config, path),
	MAX_RECONNECT_S = 3600,
};

/* What was said, beyond what the configuration shows. */
struct given {
	const char *backend;
	struct chardev_config *config;
	char *id; /* NULL: an id makes no sense here */
	bool wait, path, host, port, fd;
};

static int set_text(char *to, size_t n, const char *value, struct err *e)
{
	if (strlen(value) >= n)
		return err_set(e, ENAMETOOLONG, "the value is longer than %zu bytes", n - 1);
	memcpy(to, value, strlen(value) + 1);
	return 0;
}

/* Letters, digits, `-`, `.`, `_`, a letter first. */
static int set_id(struct given *g, const char *value, struct err *e)
{
	const char *p = value;

	if (!g->id)
		return err_set(e, EINVAL, "a device in short form has no id");
	while (isalnum((unsigned char)*p) || (*p && strchr("-._", *p)))
		p++;
	if (*p || !isalpha((unsigned char)value[0]))
		return err_set(e, EINVAL,
			       "'%s' is no id: letters, digits, '-', '.', '_', a letter first",
			       value);
	return set_text(g->id, CHARDEV_MAX_ID, value, e);
}

static int set_path(struct given *g, const char *value, struct err *e)
{
	g->path = true;
	return set_text(g->config->path, sizeof(g->config->path), value, e);
}

static int set_host(struct given *g, const char *value, struct err *e)
{
	g->host = true;
	return set_text(g->config->host, sizeof(g->config->host), value, e);
}

static int set_port(struct given *g, const char *value, struct err *e)
{
	g->port = true;
	return set_text(g->config->port, sizeof(g->config->port), value, e);
}

static int set_fd(struct given *g, const char *value, struct err *e)
{
	uint64_t fd;
	int r = parse_uint(value, INT32_MAX, &fd, e);

	if (r)
		return r;
	g->fd = true;
	g->config->fd = (int)fd;
	return 0;
}

static int set_append(struct given *g, const char *value, struct err *e)
{
	return parse_bool(value, &g->config->append, e);
}

static int set_server(struct given *g, const char *value, struct err *e)
{
	return parse_bool(value, &g->config->server, e);
}

static int set_wait(struct given *g, const char *value, struct err *e)
{
	g->wait = true;
	return parse_bool(value, &g->config->wait, e);
}

static int set_abstract(struct given *g, const char *value, struct err *e)
{
	return parse_bool(value, &g->config->abstract, e);
}

static int set_signal(struct given *g, const char *value, struct err *e)
{
	return parse_bool(value, &g->config->signals, e);
}

static int set_nodelay(struct given *g, const char *value, struct err *e)
{
	bool nodelay;
	int r = parse_bool(value, &nodelay, e);

	if (!r)
		g->config->delay = !nodelay;
	return r;
}

static int set_reconnect(struct given *g, const char *value, struct err *e)
{
	uint64_t s;
	int r = parse_uint(value, MAX_RECONNECT_S, &s, e);

	if (!r)
		g->config->reconnect_ms = (uint32_t)s * 1000;
	return r;
}

static int set_reconnect_ms(struct given *g, const char *value, struct err *e)
{
	uint64_t ms;
	int r = parse_uint(value, MAX_RECONNECT_S * 1000, &ms, e);

	if (!r)
		g->config->reconnect_ms = (uint32_t)ms;
	return r;
}

struct key {
	const char *backend; /* NULL: all */
	const char *name;
	int (*set)(struct given *g, const char *value, struct err *e);
};

static const struct key keys[] = {
	{ NULL, "id", set_id },
	{ "stdio", "signal", set_signal },
	{ "file", "path", set_path },
	{ "file", "append", set_append },
	{ "socket", "path", set_path },
	{ "socket", "abstract", set_abstract },
	{ "socket", "host", set_host },
	{ "socket", "port", set_port },
	{ "socket", "fd", set_fd },
	{ "socket", "server", set_server },
	{ "socket", "wait", set_wait },
	{ "socket", "nodelay", set_nodelay },
	{ "socket", "reconnect", set_reconnect },
	{ "socket", "reconnect-ms", set_reconnect_ms },
};

/* Takes text up to a lone comma from *@p, or to one of @stops; each pair of commas is one. */
static int take_text(const char **p, const char *stops, char *out, size_t n, struct err *e)
{
	const char *s = *p;
	size_t len = 0;

	while (*s && !strchr(stops, *s)) {
		if (*s == ',' && s[1] != ',')
			break;
		s += *s == ',';
		if (len + 1 == n)
			return err_set(e, ENAMETOOLONG, "'%.*s...' is too long", 40, *p);
		out[len++] = *s++;
	}
	out[len] = '\0';
	*p = s;
	return 0;
}

/* Takes `key=value` or `key` (then *@value is "on") and the comma behind. */
static int take_pair(const char **p, char *key, char *value, struct err *e)
{
	int r = take_text(p, "=", key, MAX_KEY, e);

	memcpy(value, "on", 3);
	if (!r && **p == '=') {
		++*p;
		r = take_text(p, "", value, MAX_VALUE, e);
	}
	if (!r && **p == ',')
		++*p;
	return r;
}

static int set_key(struct given *g, const char *name, const char *value, struct err *e)
{
	for (const struct key *k = keys; k < keys + ARRAY_SIZE(keys); k++) {
		if (strcmp(k->name, name) || (k->backend && strcmp(k->backend, g->backend)))
			continue;
		return k->set(g, value, e) ? err_prefix(e, "'%s'", name) : 0;
	}
	return err_set(e, EINVAL, "Invalid parameter '%s'", name);
}

static int set_keys(struct given *g, const char *text, struct err *e)
{
	char key[MAX_KEY], value[MAX_VALUE];
	int r = 0;

	while (!r && *text) {
		r = take_pair(&text, key, value, e);
		/* An empty piece is skipped, as after a trailing comma. */
		if (!r && key[0])
			r = set_key(g, key, value, e);
	}
	return r;
}

static int check_socket(struct given *g, struct err *e)
{
	struct chardev_config *c = g->config;

	if (g->path + (g->host || g->port) + g->fd != 1)
		return err_set(e, EINVAL,
			       "a socket needs one of path=, fd=, or host= and port= together");
	if (g->path && !c->path[0])
		return err_set(e, EINVAL, "chardev: socket: no path given");
	if (!g->path && !g->fd && !c->port[0])
		return err_set(e, EINVAL, "chardev: socket: no port given");
	if (!g->path && c->abstract)
		return err_set(e, EINVAL, "'abstract' is for sockets with a path");
	if (!c->server && g->wait)
		return err_set(e, EINVAL,
			       "'wait' option is incompatible with socket in client connect mode");
	if (c->server && c->reconnect_ms)
		return err_set(
			e, EINVAL,
			"'reconnect' option is incompatible with socket in server listen mode");
	if (g->fd && c->reconnect_ms)
		return err_set(e, EINVAL, "'reconnect' option is incompatible with 'fd'");
	c->kind = g->fd ? CHARDEV_FD : g->path ? CHARDEV_UNIX : CHARDEV_TCP;
	return 0;
}

static int check(struct given *g, struct err *e)
{
	if (!strcmp(g->backend, "socket"))
		return check_socket(g, e);
	if (!strcmp(g->backend, "file") && !g->config->path[0])
		return err_set(e, EINVAL, "chardev: file: no path given");
	return 0;
}

static const struct {
	const char *name;
	enum chardev_kind kind;
} backends[] = {
	{ "null", CHARDEV_NULL }, { "stdio", CHARDEV_STDIO }, { "file", CHARDEV_FILE },
	{ "pty", CHARDEV_PTY },   { "socket", CHARDEV_UNIX }, /* or another, by its options */
};

const char *chardev_backend_name(size_t i)
{
	return i < ARRAY_SIZE(backends) ? backends[i].name : NULL;
}

const char *chardev_backend_key(const char *backend, size_t i)
{
	for (size_t j = 0; j < ARRAY_SIZE(keys); j++)
		if ((!keys[j].backend || !strcmp(keys[j].backend, backend)) && !i--)
			return keys[j].name;
	return NULL;
}

static int find_backend(const char *name, size_t n, struct given *g, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		if (strlen(backends[i].name) != n || strncmp(backends[i].name, name, n))
			continue;
		g->backend = backends[i].name;
		*g->config = (struct chardev_config){ .kind = backends[i].kind, .wait = true };
		return 0;
	}
	return err_set(e, EINVAL, "'%.*s' is not a valid char driver name", (int)n, name);
}

int chardev_parse_option(const char *text, struct chardev_option *out, struct err *e)
{
	struct chardev_option o = { .id = "" };
	struct given g = { .config = &o.config, .id = o.id };
	const char *rest = strchr(text, ',');
	size_t n = rest ? (size_t)(rest - text) : strlen(text);
	int r;

	/* The back end may be named by its key as well. */
	if (n >= 8 && !strncmp(text, "backend=", 8)) {
		text += 8;
		n -= 8;
	}
	r = find_backend(text, n, &g, e);
	if (!r)
		r = set_keys(&g, rest ? rest + 1 : "", e);
	if (!r && !o.id[0])
		r = err_set(e, EINVAL, "chardev: no id specified");
	if (!r)
		r = check(&g, e);
	if (!r)
		*out = o;
	return r;
}

/* Splits `HOST:PORT` or `[HOST]:PORT`. */
static int set_address(struct given *g, char *address, struct err *e)
{
	char *colon = strrchr(address, ':');
	size_t n;
	int r;

	if (!colon || !colon[1])
		return err_set(e, EINVAL, "address '%s' is not HOST:PORT", address);
	*colon = '\0';
	n = strlen(address);
	if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
		address[n - 1] = '\0';
		address++;
	}
	r = set_host(g, address, e);
	return r ? r : set_port(g, colon + 1, e);
}

int chardev_parse_short(const char *text, struct chardev_config *out, struct err *e)
{
	struct chardev_config config;
	struct given g = { .config = &config };
	const char *rest = strchr(text, ':');
	char where[MAX_VALUE];
	size_t n = rest ? (size_t)(rest - text) : strlen(text);
	bool tcp = n == 3 && !strncmp(text, "tcp", 3);
	bool socket = tcp || (n == 4 && !strncmp(text, "unix", 4));
	bool file = n == 4 && !strncmp(text, "file", 4);
	int r;

	if (strcmp(text, "null") && strcmp(text, "stdio") && strcmp(text, "pty") &&
	    !(rest && (socket || file)))
		return err_set(e, EINVAL, "'%s' is not a valid char driver", text);
	r = find_backend(socket ? "socket" : text, socket ? 6 : n, &g, e);
	if (!r && rest) {
		rest++;
		r = take_text(&rest, "", where, sizeof(where), e);
		if (!r)
			r = tcp ? set_address(&g, where, e) : set_path(&g, where, e);
		if (!r)
			r = set_keys(&g, rest, e);
	}
	if (!r)
		r = check(&g, e);
	if (!r)
		*out = config;
	return r;
}

const char *chardev_reference(const char *text)
{
	return strncmp(text, "chardev:", 8) ? NULL : text + 8;
}

static int set_mode(struct mon_option *o, const char *value, struct err *e)
{
	o->control = !strcmp(value, "control");
	if (!o->control && strcmp(value, "readline"))
		return err_set(e, EINVAL,
			       "unknown monitor mode '%s'; known are readline and control", value);
	return 0;
}

int mon_parse_option(const char *text, struct mon_option *out, struct err *e)
{
	char key[MAX_KEY], value[MAX_VALUE];
	struct mon_option o = { .control = false };
	bool first = true;
	int r = 0;

	for (; !r && *text; first = false) {
		bool bare = text[strcspn(text, "=,")] != '=';

		r = take_pair(&text, key, value, e);
		if (r || (!key[0] && bare))
			continue;
		if (first && bare)
			r = set_text(o.chardev, sizeof(o.chardev), key, e);
		else if (!strcmp(key, "chardev"))
			r = set_text(o.chardev, sizeof(o.chardev), value, e);
		else if (!strcmp(key, "mode"))
			r = set_mode(&o, value, e);
		else if (!strcmp(key, "pretty"))
			r = parse_bool(value, &o.pretty, e);
		else
			r = err_set(e, EINVAL, "Invalid parameter '%s'", key);
	}
	if (!r && !o.chardev[0])
		r = err_set(e, EINVAL, "Parameter 'chardev' is missing");
	if (!r && o.pretty && !o.control)
		r = err_set(e, EINVAL, "'pretty' is not compatible with HMP monitors");
	if (!r)
		*out = o;
	return r;
}
