/* SPDX-License-Identifier: MIT */
/* -run-with: whom the process runs as, and where. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/util.h"
#include "host/process.h"
#include "main/run_with_options.h"

static int set(void *opaque, char *key, char *value, bool first, struct err *e)
{
	struct run_with_options *o = opaque;
	bool on;
	int r;

	(void)first;
	if (!value)
		return err_set(e, EINVAL, "'%s' has no value", key);
	if (!strcmp(key, "user")) {
		if (!*value || strchr(value, '\n'))
			return err_set(e, EINVAL, "user=%s: USER or UID:GID is wanted", value);
		o->privileges.user = value;
		return 0;
	}
	if (!strcmp(key, "chroot")) {
		if (value[0] != '/' || strchr(value, '\n'))
			return err_set(e, EINVAL, "chroot=%s: an absolute path is wanted", value);
		o->privileges.root = value;
		return 0;
	}
	if (strcmp(key, "async-teardown"))
		return err_set(e, EINVAL, "there is no property '%s'", key);
	r = parse_bool(value, &on, e);
	if (r)
		return err_prefix(e, "async-teardown=%s", value);
	if (on)
		return err_set(e, ENOTSUP,
			       "async-teardown=on is not supported: a process that ends frees its "
			       "guest's memory itself");
	return 0;
}

int run_with_options_parse(struct run_with_options *o, const char *arg, struct err *e)
{
	if (strlen(arg) >= sizeof(o->text))
		return err_set(e, E2BIG, "the option is too long");
	*o = (struct run_with_options){ .text = "" };
	memcpy(o->text, arg, strlen(arg) + 1);
	return parse_pieces(o->text, set, o, e);
}

bool run_with_options_given(const struct run_with_options *o)
{
	return o->privileges.user || o->privileges.root;
}

static int check_program(const char *name, struct err *e)
{
	if (strchr(name, '/') ? !access(name, X_OK) : process_in_path(name))
		return 0;
	return err_set(
		e, ENOENT,
		"cpr-exec-command: '%s' is no program that this process could execute, after "
		"it gave up privileges (-run-with)",
		name);
}

int run_with_options_check_command(char *const *argv, struct err *e)
{
	struct run_with_options o;
	struct err ignored;
	int r = privileges_are_dropped(getpid()) ? check_program(argv[0], e) : 0;

	for (size_t i = 1; !r && argv[i] && argv[i + 1]; i++) {
		if (strcmp(argv[i], "-run-with") && strcmp(argv[i], "--run-with"))
			continue;
		/* What it cannot read the next image refuses itself, and better. */
		if (!run_with_options_parse(&o, argv[i + 1], &ignored))
			r = privileges_check(&o.privileges, getpid(), e);
		if (r)
			err_prefix(e, "-run-with of the next image");
	}
	return r;
}
