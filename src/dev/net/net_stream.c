/* SPDX-License-Identifier: MIT */
/* What of a stream netdev is the guest's: the bytes between its network card and the socket. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/net/net_stream.h"
#include "machine/vm.h"

static const struct vs_field net_stream_fields[] = {
	VS_FIELD(struct net_bytes, connection),
	VS_FIELD_RANGE(struct net_bytes, in_len, 0, NET_BYTES_MAX),
	VS_FIELD_RANGE(struct net_bytes, out_len, 0, NET_BYTES_MAX),
	VS_BUFFER_VAR(struct net_bytes, in, in_len),
	VS_BUFFER_VAR(struct net_bytes, out, out_len),
	VS_END,
};

static const struct vs_desc net_stream_desc = {
	.name = "netdev-stream",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct net_bytes),
	.fields = net_stream_fields,
};

static int net_stream_capture(const struct device *d, void *state, struct err *e)
{
	(void)e;
	net_bytes_save(CONTAINER_OF(d, struct net_stream, dev)->h.net, state);
	return 0;
}

static int net_stream_apply(struct device *d, const void *state, struct err *e)
{
	(void)e;
	net_bytes_load(CONTAINER_OF(d, struct net_stream, dev)->h.net, state);
	return 0;
}

static void net_stream_run_changed(struct device *d, bool running)
{
	net_set_running(CONTAINER_OF(d, struct net_stream, dev)->h.net, running);
}

static void net_stream_destroy(struct device *d)
{
	free(CONTAINER_OF(d, struct net_stream, dev));
}

const struct device_class net_stream_class = {
	.name = "netdev-stream",
	.state = &net_stream_desc,
	.capture = net_stream_capture,
	.apply = net_stream_apply,
	.run_changed = net_stream_run_changed,
	.destroy = net_stream_destroy,
};

int net_stream_create(struct vm *vm, const char *id, struct net *net, struct device **out,
		      struct err *e)
{
	struct net_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, ENOMEM, "no memory for netdev '%s'", id);
	s->h.net = net;
	snprintf(s->dev.path, sizeof(s->dev.path), "%.*s", DEVICE_PATH_MAX - 1, id);
	device_add(vm, &s->dev, &net_stream_class);
	net_set_running(net, runstate_is_live(vm->runstate));
	*out = &s->dev;
	return 0;
}
