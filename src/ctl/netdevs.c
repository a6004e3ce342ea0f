/* SPDX-License-Identifier: MIT */
/* The machine's network back ends: of the command line, of a monitor, of the image before. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ctl/netdev_opts.h"
#include "ctl/netdevs.h"
#include "dev/net/net_stream.h"
#include "machine/vm.h"
#include "update/wire.h"

/* Of those that the next image's command line may have. */
#define REMOVED_MAX 256

#define QUEUE_NAME  NETDEVS_KEY ":queue"
#define LISTEN_NAME NETDEVS_KEY ":listen"

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void told(void *opaque, const char *address)
{
	struct netdev *d = opaque;

	if (d->all->told)
		d->all->told(d->all->told_opaque, d->backend.id, address);
}

static void destroy(struct netdev *d, bool moved)
{
	backend_del(&d->backend);
	net_close(d->net, moved);
	json_decref(d->options);
	free(d);
}

/* @options and what @config holds are taken over on success. */
static int add(struct netdevs *n, json_t *options, struct net_config *config, struct err *e)
{
	struct netdev *d;
	int r;

	if (n->nr == NETDEVS_MAX)
		return err_set(e, E2BIG, "there are %u netdevs already", n->nr);
	if (backend_find(n->vm, BACKEND_NET, config->id))
		return err_set(e, EEXIST, "Duplicate ID '%s' for netdev", config->id);
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_set(e, ENOMEM, "no memory for netdev '%s'", config->id);
	d->all = n;
	r = net_open(&d->net, n->vm->loop, config, told, d, e);
	if (r) {
		free(d);
		return r;
	}
	d->backend.kind = BACKEND_NET;
	d->backend.object = d->net;
	snprintf(d->backend.id, sizeof(d->backend.id), "%s", config->id);
	r = backend_add(n->vm, &d->backend, e);
	if (!r && config->kind != NET_TAP)
		r = net_stream_create(n->vm, config->id, d->net, &d->bytes, e);
	if (r) {
		destroy(d, true);
		return r;
	}
	d->options = json_incref(options);
	list_add(&n->list, &d->link);
	n->nr++;
	return 0;
}

/* The old side: what it has, and what the next image is not to open. */
static int gather_one(const struct netdev *d, uint32_t index, struct cpr_state *s, json_t **out,
		      struct err *e)
{
	struct net_given g;
	int r = 0;

	net_give(d->net, &g);
	for (unsigned int i = 0; !r && i < g.nr_fds; i++)
		if (g.fds[i] >= 0)
			r = cpr_state_add_fd(s, QUEUE_NAME, index * NET_MAX_QUEUES + i, g.fds[i],
					     e);
	if (!r && g.listen_fd >= 0)
		r = cpr_state_add_fd(s, LISTEN_NAME, index, g.listen_fd, e);
	if (r)
		return r;
	*out = json_pack("{s:O, s:i, s:b}", "options", d->options, "queues", (int)g.nr_fds, "link",
			 net_link(d->net));
	if (*out && g.file_ino)
		json_object_set_new(*out, "file",
				    json_pack("[I, I]", (json_int_t)g.file_dev,
					      (json_int_t)g.file_ino));
	return *out ? 0 : err_set(e, ENOMEM, "no memory for the list of netdevs");
}

static int gather(void *opaque, struct cpr_state *s, json_t **out, struct err *e)
{
	const struct netdevs *n = opaque;
	json_t *list = json_array(), *j;
	uint32_t index = 0;

	for (const struct list *pos = n->list.next; pos != &n->list; pos = pos->next) {
		int r = gather_one(CONTAINER_OF(pos, struct netdev, link), index++, s, &j, e);

		if (r) {
			json_decref(list);
			return r;
		}
		json_array_append_new(list, j);
	}
	if (!json_array_size(list) && !json_array_size(n->removed)) {
		json_decref(list);
		return 0;
	}
	*out = json_pack("{s:o, s:O}", "list", list, "removed", n->removed);
	return *out ? 0 : err_set(e, ENOMEM, "no memory for the list of netdevs");
}

void netdevs_init(struct netdevs *n)
{
	*n = (struct netdevs){
		.extra = { .key = NETDEVS_KEY, .early = true, .gather = gather, .opaque = n },
		.removed = json_array(),
	};
	list_init(&n->list);
}

void netdevs_register(struct netdevs *n, struct migration *m)
{
	extras_register(m, &n->extra);
}

static int find_fd(const struct cpr_state *s, const char *name, uint32_t id, int *out,
		   struct err *e)
{
	if (cpr_state_find_fd(s, name, id) < 0)
		return 0;
	*out = cpr_state_dup_fd(s, name, id, e);
	return *out < 0 ? *out : 0;
}

static int take_given(json_t *entry, uint32_t index, const struct cpr_state *s, struct net_given *g,
		      struct err *e)
{
	json_int_t queues, dev = 0, ino = 0;
	json_error_t why;
	int r = 0;

	*g = (struct net_given){ .listen_fd = -1 };
	if (json_unpack_ex(entry, &why, 0, "{s:I, s?[I, I]}", "queues", &queues, "file", &dev,
			   &ino))
		return err_set(e, EPROTO, "its description is wrong: %s", why.text);
	if (queues < 1 || queues > NET_MAX_QUEUES)
		return err_set(e, EPROTO, "it has %lld queues", (long long)queues);
	g->file_dev = (uint64_t)dev;
	g->file_ino = (uint64_t)ino;
	for (unsigned int i = 0; i < (unsigned int)queues; i++)
		g->fds[i] = -1;
	g->nr_fds = (unsigned int)queues;
	for (unsigned int i = 0; !r && i < g->nr_fds; i++)
		r = find_fd(s, QUEUE_NAME, index * NET_MAX_QUEUES + i, &g->fds[i], e);
	if (!r)
		r = find_fd(s, LISTEN_NAME, index, &g->listen_fd, e);
	if (r)
		net_close_given(g);
	return r;
}

/* The kind is what decides: descriptors of another one are of no use. */
static int check_same(const struct net_config *c, const json_t *options, json_t *theirs,
		      const struct net_given *g, struct err *e)
{
	const char *ours = text_of(options, "type"), *was = text_of(theirs, "type");
	unsigned int queues = c->kind == NET_TAP && !json_object_get(options, "fd") &&
					      !json_object_get(options, "fds")
				      ? c->queues
				      : g->nr_fds;

	if (strcmp(ours, was))
		return err_set(e, EINVAL, "it is a %s in the old process, and a %s here", was,
			       ours);
	if (queues != g->nr_fds)
		return err_set(e, EINVAL, "it has queues=%u in the old process, and %u here",
			       g->nr_fds, queues);
	return 0;
}

/* Goes on with entry @index of the old side's list, by our @options if there are any. */
static int add_given(struct netdevs *n, json_t *options, json_t *entry, uint32_t index,
		     const struct cpr_state *s, struct err *e)
{
	json_t *theirs = json_object_get(entry, "options");
	struct net_config config;
	struct net_given g;
	int r = take_given(entry, index, s, &g, e);

	if (r)
		return r;
	r = netdev_config(options ? options : theirs, NULL, NULL, true, &config, e);
	if (!r && options)
		r = check_same(&config, options, theirs, &g, e);
	config.given = &g;
	if (!r)
		r = add(n, options ? options : theirs, &config, e);
	if (r) {
		net_close_given(&g);
		return r;
	}
	if (json_is_false(json_object_get(entry, "link")))
		net_set_link(CONTAINER_OF(n->list.prev, struct netdev, link)->net, false);
	return 0;
}

static int add_cold(struct netdevs *n, json_t *options, struct err *e)
{
	struct net_config config;
	int r = netdev_config(options, NULL, NULL, false, &config, e);

	return r || n->trial ? r : add(n, options, &config, e);
}

static bool was_removed(const json_t *removed, const char *id)
{
	size_t i;
	json_t *v;

	json_array_foreach(removed, i, v)
	{
		if (json_is_string(v) && !strcmp(json_string_value(v), id))
			return true;
	}
	return false;
}

/* One of the command line: as it was in the old process, or anew. */
static int open_text(struct netdevs *n, const char *text, json_t *came, const struct cpr_state *s,
		     struct err *e)
{
	json_t *list = json_object_get(came, "list"), *options, *entry;
	size_t i;
	int r = netdev_flatten_text(text, &options, e);

	if (r)
		return r;
	json_array_foreach(list, i, entry)
	{
		if (strcmp(text_of(json_object_get(entry, "options"), "id"),
			   text_of(options, "id")))
			continue;
		r = add_given(n, options, entry, (uint32_t)i, s, e);
		json_decref(options);
		return r;
	}
	if (!was_removed(json_object_get(came, "removed"), text_of(options, "id")))
		r = add_cold(n, options, e);
	json_decref(options);
	return r;
}

/* Ids; more than there can be netdevs in a long life are not believed. */
static bool is_list_of_ids(const json_t *list)
{
	size_t i;
	json_t *v;

	json_array_foreach(list, i, v)
	{
		if (!json_is_string(v))
			return false;
	}
	return json_is_array(list) && json_array_size(list) <= REMOVED_MAX;
}

static int find_came(const struct cpr_state *s, json_t **out, struct err *e)
{
	int r = s ? extras_find(s, NETDEVS_KEY, out, e) : 0;
	json_t *list;

	if (r || !*out)
		return r;
	list = json_object_get(*out, "list");
	if (!json_is_array(list) || json_array_size(list) > NETDEVS_MAX ||
	    !is_list_of_ids(json_object_get(*out, "removed"))) {
		json_decref(TAKE_PTR(*out));
		return err_set(e, EPROTO,
			       "the old side's list of netdevs is none, or has more than %d, or "
			       "the list of those that were removed is none",
			       NETDEVS_MAX);
	}
	return 0;
}

static int open_rest(struct netdevs *n, json_t *came, const struct cpr_state *s, struct err *e)
{
	json_t *list = json_object_get(came, "list"), *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		const char *id = text_of(json_object_get(entry, "options"), "id");

		if (backend_find(n->vm, BACKEND_NET, id))
			continue;
		if (add_given(n, NULL, entry, (uint32_t)i, s, e))
			return err_prefix(e, "netdev '%.64s' of the old process", id);
	}
	return 0;
}

int netdevs_open(struct netdevs *n, struct vm *vm, const char *const *texts, unsigned int nr,
		 const struct cpr_state *came, struct err *e)
{
	json_t *list = NULL;
	int r = find_came(came, &list, e);

	n->vm = vm;
	for (unsigned int i = 0; !r && i < nr; i++) {
		r = open_text(n, texts[i], list, came, e);
		if (r)
			err_prefix(e, "-netdev %s", texts[i]);
	}
	if (!r)
		r = open_rest(n, list, came, e);
	if (!r && list) {
		json_decref(n->removed);
		n->removed = json_deep_copy(json_object_get(list, "removed"));
	}
	json_decref(list);
	return r;
}

void netdevs_close(struct netdevs *n, bool moved)
{
	struct list *pos, *tmp;

	if (!n->removed)
		return;
	list_for_each(pos, tmp, &n->list) {
		struct netdev *d = CONTAINER_OF(pos, struct netdev, link);

		list_del(&d->link);
		destroy(d, moved);
	}
	json_decref(TAKE_PTR(n->removed));
}

static void forget_removed(struct netdevs *n, const char *id)
{
	for (size_t i = 0; i < json_array_size(n->removed); i++) {
		if (strcmp(json_string_value(json_array_get(n->removed, i)), id))
			continue;
		json_array_remove(n->removed, i);
		return;
	}
}

int netdevs_add(struct netdevs *n, json_t *options,
		int (*named)(void *opaque, const char *name, struct err *e), void *opaque,
		struct err *e)
{
	struct net_config config;
	int r = 0;

	if (backend_find(n->vm, BACKEND_NET, text_of(options, "id")))
		r = err_set(e, EEXIST, "Duplicate ID '%s' for netdev", text_of(options, "id"));
	if (!r)
		r = netdev_config(options, named, opaque, false, &config, e);
	if (!r) {
		r = add(n, options, &config, e);
		if (r)
			net_close_config(&config);
		else
			forget_removed(n, text_of(options, "id"));
	}
	json_decref(options);
	return r;
}

int netdevs_remove(struct netdevs *n, const char *id, struct err *e)
{
	struct backend *b = backend_find(n->vm, BACKEND_NET, id);
	struct netdev *d;

	if (!b)
		return err_set(e, ENOENT, "Device '%s' not found", id);
	if (b->user)
		return err_set(e, EBUSY, "netdev '%s' is used by device '%s'", id, b->user);
	d = CONTAINER_OF(b, struct netdev, backend);
	/* Only what a command line may name again is worth a note. */
	if (!was_removed(n->removed, id) && json_array_size(n->removed) < REMOVED_MAX)
		json_array_append_new(n->removed, json_string(id));
	if (d->bytes)
		device_remove(d->bytes);
	list_del(&d->link);
	n->nr--;
	destroy(d, false);
	return 0;
}
