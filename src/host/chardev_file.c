/* SPDX-License-Identifier: MIT */
/* Character devices that only take bytes: a file, or nothing at all. */
#include <fcntl.h>

#include "base/util.h"
#include "host/chardev_impl.h"

const struct chardev_ops chardev_null_ops = { .read = NULL };

int chardev_open_null(struct chardev *c, const struct chardev_config *config, struct err *e)
{
	(void)config;
	c->ops = &chardev_null_ops;
	return chardev_set_name(c, e, "null");
}

static void close_file(struct chardev *c)
{
	close_fd(&c->out_fd);
}

static void give_file(const struct chardev *c, struct chardev_given *out)
{
	out->own_fd = c->out_fd;
}

static const struct chardev_ops file_ops = { .close = close_file, .give = give_file };

int chardev_open_file(struct chardev *c, const struct chardev_config *config, struct err *e)
{
	/* Two processes write in turn during an update, so each adds at the end. */
	int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY;

	c->ops = &file_ops;
	if (config->given && config->given->own_fd >= 0) {
		c->out_fd = take_fd(&config->given->own_fd);
		return chardev_set_name(c, e, "file:%s", config->path);
	}
	c->out_fd = open(config->path, flags | (config->append ? 0 : O_TRUNC), 0666);
	if (c->out_fd < 0)
		return err_set_errno(e, "Unable to open file %s", config->path);
	return chardev_set_name(c, e, "file:%s", config->path);
}
