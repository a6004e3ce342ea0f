/* SPDX-License-Identifier: MIT */
/* QMP commands about descriptors that clients pass over a UNIX socket. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/monitor.h"

static const struct schema_member name_args[] = {
	{ "fdname", SCHEMA_STR, .optional = false },
	{ .name = NULL },
};

static const struct schema_member add_args[] = {
	{ "fdset-id", SCHEMA_UINT, .optional = true },
	{ "opaque", SCHEMA_STR, .optional = true },
	{ .name = NULL },
};

static const struct schema_member remove_args[] = {
	{ "fdset-id", SCHEMA_UINT, .optional = false },
	{ "fd", SCHEMA_UINT, .optional = true },
	{ .name = NULL },
};

static const struct schema_member added_members[] = {
	SCHEMA_MEMBER("fdset-id", SCHEMA_INT),
	SCHEMA_MEMBER("fd", SCHEMA_INT),
	{ .name = NULL },
};
static const struct schema added = { .member = added_members };
static const struct schema_member added_ret = SCHEMA_MEMBER(NULL, SCHEMA_STRUCT, .members = &added);

static const struct schema_member fd_members[] = {
	SCHEMA_MEMBER("fd", SCHEMA_INT),
	{ "opaque", SCHEMA_STR, .optional = true },
	{ .name = NULL },
};
static const struct schema fd_info = { .member = fd_members };
static const struct schema_member set_members[] = {
	SCHEMA_MEMBER("fdset-id", SCHEMA_INT),
	SCHEMA_MEMBER("fds", SCHEMA_LIST, .members = &fd_info),
	{ .name = NULL },
};
static const struct schema set_info = { .member = set_members };
static const struct schema_member sets_ret = SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &set_info);

static int claim(struct ctl *ctl, struct err *e)
{
	if (!ctl->current)
		return err_set(e, ENOENT, "No file descriptor supplied via SCM_RIGHTS");
	return fd_store_claim(&ctl->current->fds, e);
}

static int getfd(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *name = json_string_value(json_object_get(args, "fdname"));
	AUTO_CLOSE int fd = claim(ctl, e);

	(void)ret;
	if (fd < 0)
		return fd;
	/* A number means the descriptor itself elsewhere. */
	if (isdigit((unsigned char)name[0]))
		return err_set(e, EINVAL,
			       "Parameter 'fdname' expects a name not starting with a digit");
	return fd_store_put(&ctl->current->fds, name, take_fd(&fd), e);
}

static int closefd(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *name = json_string_value(json_object_get(args, "fdname"));
	AUTO_CLOSE int fd = ctl->current ? fd_store_take(&ctl->current->fds, name) : -1;

	(void)ret;
	if (fd < 0)
		return err_set(e, ENOENT, "File descriptor named '%s' not found", name);
	return 0;
}

int monitor_take_fd(struct ctl *ctl, const char *name, struct err *e)
{
	int fd = ctl->current ? fd_store_take(&ctl->current->fds, name) : -1;

	if (fd < 0)
		return err_set(e, ENOENT, "File descriptor named '%s' has not been found", name);
	return fd;
}

static int add_fd(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *opaque = json_string_value(json_object_get(args, "opaque"));
	const json_t *id = json_object_get(args, "fdset-id");
	int64_t number = id ? json_integer_value(id) : -1;
	int fd = claim(ctl, e), r;

	if (fd < 0)
		return fd;
	r = fd_sets_add(&ctl->fd_sets, &number, fd, opaque, e);
	if (!r)
		*ret = json_pack("{s:I, s:i}", "fdset-id", (json_int_t)number, "fd", fd);
	return r;
}

static int remove_fd(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	json_int_t id = json_integer_value(json_object_get(args, "fdset-id"));
	const json_t *which = json_object_get(args, "fd");
	json_int_t fd = which ? json_integer_value(which) : -1;

	(void)ret;
	if (fd <= INT_MAX && !fd_sets_remove(&ctl->fd_sets, id, (int)fd))
		return 0;
	if (which)
		return err_set(e, ENOENT,
			       "File descriptor named 'fdset-id:%lld, fd:%lld' not found",
			       (long long)id, (long long)fd);
	return err_set(e, ENOENT, "File descriptor named 'fdset-id:%lld' not found", (long long)id);
}

static json_t *fds_to_json(const struct fd_set_entry *set)
{
	json_t *fds = json_array();
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &set->fds) {
		const struct fd_entry *f = CONTAINER_OF(pos, struct fd_entry, link);
		json_t *o = json_pack("{s:i}", "fd", f->fd);

		if (f->opaque)
			json_object_set_new(o, "opaque", json_string(f->opaque));
		json_array_append_new(fds, o);
	}
	return fds;
}

static int query_fdsets(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	struct list *pos, *tmp;

	(void)args;
	(void)e;
	*ret = json_array();
	list_for_each(pos, tmp, &ctl->fd_sets.sets) {
		const struct fd_set_entry *set = CONTAINER_OF(pos, struct fd_set_entry, link);

		json_array_append_new(*ret, json_pack("{s:I, s:o}", "fdset-id", (json_int_t)set->id,
						      "fds", fds_to_json(set)));
	}
	return 0;
}

const struct command fd_commands[] = {
	{ .name = "getfd", .args = name_args, .run = getfd },
	{ .name = "closefd", .args = name_args, .run = closefd },
	{ .name = "add-fd", .args = add_args, .returns = &added_ret, .run = add_fd },
	{ .name = "remove-fd", .args = remove_args, .run = remove_fd },
	{ .name = "query-fdsets", .returns = &sets_ret, .run = query_fdsets },
	{ .name = NULL },
};
