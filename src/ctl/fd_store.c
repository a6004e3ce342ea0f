/* SPDX-License-Identifier: MIT */
/* Descriptors that monitor clients have sent: by name, in sets, and not yet claimed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ctl/fd_store.h"

void fd_store_init(struct fd_store *s)
{
	list_init(&s->names);
	s->nr_names = 0;
	s->nr_passed = 0;
}

void fd_store_drop_passed(struct fd_store *s)
{
	for (size_t i = 0; i < s->nr_passed; i++)
		close_fd(&s->passed[i]);
	s->nr_passed = 0;
}

static void free_name(struct fd_store *s, struct fd_name *n)
{
	list_del(&n->link);
	s->nr_names--;
	close_fd(&n->fd);
	free(n->name);
	free(n);
}

void fd_store_clear(struct fd_store *s)
{
	struct list *pos, *tmp;

	fd_store_drop_passed(s);
	list_for_each(pos, tmp, &s->names)
		free_name(s, CONTAINER_OF(pos, struct fd_name, link));
}

void fd_store_pass(struct fd_store *s, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int fd = fds[i];

		if (s->nr_passed < ARRAY_SIZE(s->passed))
			s->passed[s->nr_passed++] = fd;
		else
			close_fd(&fd);
	}
}

int fd_store_claim(struct fd_store *s, struct err *e)
{
	int fd;

	if (!s->nr_passed)
		return err_set(e, ENOENT, "No file descriptor supplied via SCM_RIGHTS");
	fd = s->passed[0];
	s->nr_passed--;
	memmove(s->passed, s->passed + 1, s->nr_passed * sizeof(s->passed[0]));
	return fd;
}

static struct fd_name *find_name(const struct fd_store *s, const char *name)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &s->names) {
		struct fd_name *n = CONTAINER_OF(pos, struct fd_name, link);

		if (!strcmp(n->name, name))
			return n;
	}
	return NULL;
}

int fd_store_put(struct fd_store *s, const char *name, int fd, struct err *e)
{
	AUTO_CLOSE int owned = fd;
	struct fd_name *n = find_name(s, name);

	if (n) {
		close_fd(&n->fd);
		n->fd = take_fd(&owned);
		return 0;
	}
	if (s->nr_names == FD_STORE_MAX_NAMES)
		return err_set(e, E2BIG, "a monitor keeps no more than %d named descriptors",
			       FD_STORE_MAX_NAMES);
	n = calloc(1, sizeof(*n));
	if (n)
		n->name = strdup(name);
	if (!n || !n->name) {
		free(n);
		return err_set(e, ENOMEM, "no memory for a named descriptor");
	}
	n->fd = take_fd(&owned);
	list_add(&s->names, &n->link);
	s->nr_names++;
	return 0;
}

int fd_store_take(struct fd_store *s, const char *name)
{
	struct fd_name *n = find_name(s, name);
	int fd;

	if (!n)
		return -1;
	fd = take_fd(&n->fd);
	free_name(s, n);
	return fd;
}

void fd_sets_init(struct fd_sets *s)
{
	list_init(&s->sets);
	s->nr_fds = 0;
}

static void free_entry(struct fd_sets *s, struct fd_entry *f)
{
	list_del(&f->link);
	s->nr_fds--;
	close_fd(&f->fd);
	free(f->opaque);
	free(f);
}

static void free_set_if_empty(struct fd_set_entry *set)
{
	if (!list_empty(&set->fds))
		return;
	list_del(&set->link);
	free(set);
}

static void free_set(struct fd_sets *s, struct fd_set_entry *set)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &set->fds)
		free_entry(s, CONTAINER_OF(pos, struct fd_entry, link));
	free_set_if_empty(set);
}

void fd_sets_clear(struct fd_sets *s)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &s->sets)
		free_set(s, CONTAINER_OF(pos, struct fd_set_entry, link));
}

static struct fd_set_entry *find_set(const struct fd_sets *s, int64_t id)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &s->sets) {
		struct fd_set_entry *set = CONTAINER_OF(pos, struct fd_set_entry, link);

		if (set->id == id)
			return set;
	}
	return NULL;
}

static int64_t unused_id(const struct fd_sets *s)
{
	int64_t id = 0;

	while (find_set(s, id))
		id++;
	return id;
}

static struct fd_set_entry *create_set(struct fd_sets *s, int64_t id)
{
	struct fd_set_entry *set = calloc(1, sizeof(*set));
	struct list *pos, *tmp, *before = &s->sets;

	if (!set)
		return NULL;
	set->id = id;
	list_init(&set->fds);
	list_for_each(pos, tmp, &s->sets) {
		if (CONTAINER_OF(pos, struct fd_set_entry, link)->id > id) {
			before = pos;
			break;
		}
	}
	/* The tail of a list is what stands before its head. */
	list_add(before, &set->link);
	return set;
}

int fd_sets_add(struct fd_sets *s, int64_t *id, int fd, const char *opaque, struct err *e)
{
	AUTO_CLOSE int owned = fd;
	struct fd_set_entry *set;
	struct fd_entry *f;

	if (s->nr_fds == FD_SETS_MAX_FDS)
		return err_set(e, E2BIG, "descriptor sets hold no more than %d descriptors",
			       FD_SETS_MAX_FDS);
	f = calloc(1, sizeof(*f));
	if (f && opaque)
		f->opaque = strdup(opaque);
	if (f && (!opaque || f->opaque)) {
		int64_t number = *id < 0 ? unused_id(s) : *id;

		set = find_set(s, number);
		if (!set)
			set = create_set(s, number);
		if (set) {
			f->fd = take_fd(&owned);
			list_add(&set->fds, &f->link);
			s->nr_fds++;
			*id = number;
			return 0;
		}
	}
	if (f)
		free(f->opaque);
	free(f);
	return err_set(e, ENOMEM, "no memory for a descriptor set");
}

int fd_sets_remove(struct fd_sets *s, int64_t id, int fd)
{
	struct fd_set_entry *set = find_set(s, id);
	struct list *pos, *tmp;

	if (!set)
		return -ENOENT;
	if (fd < 0) {
		free_set(s, set);
		return 0;
	}
	list_for_each(pos, tmp, &set->fds) {
		struct fd_entry *f = CONTAINER_OF(pos, struct fd_entry, link);

		if (f->fd != fd)
			continue;
		free_entry(s, f);
		free_set_if_empty(set);
		return 0;
	}
	return -ENOENT;
}
