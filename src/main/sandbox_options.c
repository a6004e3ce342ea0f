/* SPDX-License-Identifier: MIT */
/* -sandbox: what of the host the process keeps. */
#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "main/sandbox_options.h"

/* `allow` or `deny`, with more words where QEMU has them. */
static int parse_deny(const char *key, const char *value, bool *deny, struct err *e)
{
	if (!strcmp(value, "deny"))
		*deny = true;
	else if (!strcmp(value, "allow") ||
		 (!strcmp(key, "elevateprivileges") && !strcmp(value, "children")))
		*deny = false;
	else
		return err_set(e, EINVAL, "%s=%s: 'allow' or 'deny' is wanted", key, value);
	return 0;
}

static int set(struct sandbox_options *o, const char *key, const char *value, struct err *e)
{
	struct sandbox_config *c = &o->config;
	bool ignored;

	if (!strcmp(key, "enable"))
		return parse_bool(value, &o->on, e);
	if (!strcmp(key, "spawn"))
		return parse_deny(key, value, &c->no_spawn, e);
	if (!strcmp(key, "obsolete") || !strcmp(key, "elevateprivileges") ||
	    !strcmp(key, "resourcecontrol"))
		return parse_deny(key, value, &ignored, e);
	if (strcmp(key, "path"))
		return err_set(e, EINVAL, "there is no property '%s'", key);
	if (value[0] != '/')
		return err_set(e, EINVAL, "path=%s: an absolute path is wanted", value);
	if (c->nr_paths == SANDBOX_MAX_PATHS)
		return err_set(e, E2BIG, "path=%s is one too many: %d are possible", value,
			       SANDBOX_MAX_PATHS);
	c->paths[c->nr_paths++] = value;
	return 0;
}

static int set_piece(void *opaque, char *key, char *value, bool first, struct err *e)
{
	if (value)
		return set(opaque, key, value, e);
	return first ? set(opaque, "enable", key, e) : err_set(e, EINVAL, "'%s' has no value", key);
}

int sandbox_options_parse(struct sandbox_options *o, const char *arg, struct err *e)
{
	if (strlen(arg) >= sizeof(o->text))
		return err_set(e, E2BIG, "the option is too long");
	*o = (struct sandbox_options){ .on = true };
	memcpy(o->text, arg, strlen(arg) + 1);
	return parse_pieces(o->text, set_piece, o, e);
}
