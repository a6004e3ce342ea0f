/* SPDX-License-Identifier: MIT */
/* The guest's memory as the command line wants it, or as an update hands it over. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "boot/rom.h"
#include "host/graft.h"
#include "host/mem.h"
#include "main/ram.h"

#define DEFAULT_RAM_BYTES (128 * MIB)
#define DEFAULT_RAM_NAME  "pc.ram"

static const struct backend_option *find_backend(const struct options *o, const char *id)
{
	for (unsigned int i = 0; i < o->nr_objects; i++)
		if (!strcmp(o->objects[i].id, id))
			return &o->objects[i];
	return NULL;
}

static int check_ram_size(uint64_t size, struct err *e)
{
	uint64_t max = mem_guest_max();

	if (size < LAYOUT_RAM_MIN || size % 4096)
		return err_set(
			e, EINVAL,
			"RAM of %llu bytes: it must be at least 2 MiB and a multiple of 4096",
			(unsigned long long)size);
	if (size > max)
		return err_set(e, EINVAL,
			       "RAM of %llu bytes is beyond this host, which can give a guest %llu",
			       (unsigned long long)size, (unsigned long long)max);
	return 0;
}

static int check_backend(const struct options *o, const struct backend_option *b, struct err *e)
{
	if (o->ram_size && o->ram_size != b->size)
		return err_set(e, EINVAL,
			       "Machine memory size does not match the size of the memory backend: "
			       "%llu and %llu bytes",
			       (unsigned long long)o->ram_size, (unsigned long long)b->size);
	if (b->readonly)
		return err_set(e, EINVAL,
			       "Memory backend '%s' is read-only; the guest's RAM must be writable",
			       b->id);
	return 0;
}

/* Which memory is main RAM, from -machine, -object and -m; a plain -m is a sealed memfd. */
static int choose_main(const struct options *o, const struct backend_option **out,
		       struct backend_option *plain, struct err *e)
{
	const struct backend_option *b = plain;

	*plain = (struct backend_option){
		.id = DEFAULT_RAM_NAME,
		.backend = RAM_BACKEND_MEMFD,
		.size = o->ram_size ? o->ram_size : DEFAULT_RAM_BYTES,
		.share = o->aux_ram_share != OPTION_OFF,
	};
	if (o->memory_backend) {
		b = find_backend(o, o->memory_backend);
		if (!b)
			return err_set(e, EINVAL, "Memory backend '%s' not found",
				       o->memory_backend);
	}
	for (unsigned int i = 0; b == plain && i < o->nr_objects; i++)
		log_warn("memory backend '%s' is not used, guest RAM is '" DEFAULT_RAM_NAME "'; "
			 "is -machine memory-backend=%s missing?",
			 o->objects[i].id, o->objects[i].id);
	*out = b;
	return b == plain ? 0 : check_backend(o, b, e);
}

/* Memory that is where it was; it may have no descriptor. */
static int adopt_block(struct ram_block **out, const struct ram_config *cfg,
		       const struct ram_origin *from, struct err *e)
{
	int fd = cpr_state_find_fd(from->cpr, cfg->name, 0), r;
	void *host = graft_find_kept(from->graft, cfg->name, cfg->size);

	if (!host)
		return err_set(
			e, EINVAL,
			"the old machine has no RAM block '%s' of %llu bytes: -m and -machine "
			"memory-backend= must be as they were",
			cfg->name, (unsigned long long)cfg->size);
	if (fd >= 0) {
		fd = cpr_state_dup_fd(from->cpr, cfg->name, 0, e);
		if (fd < 0)
			return fd;
	}
	r = ram_block_adopt(out, cfg, fd, host, e);
	if (r)
		close_fd(&fd);
	return r;
}

static int create_backend(struct ram_block **out, const struct backend_option *b, int fd,
			  const struct ram_origin *from, struct err *e)
{
	const struct ram_config cfg = {
		.name = b->id,
		.size = b->size,
		.backend = b->backend,
		.path = b->path,
		.share = b->share,
		.readonly = b->readonly,
		.options = b->options,
	};
	int r = from && from->graft ? adopt_block(out, &cfg, from, e)
				    : ram_block_create(out, &cfg, fd, e);

	if (!r)
		(*out)->is_backend = true;
	return r;
}

/* Preserved memory is found by its name; it is never made anew then. Returns the descriptor. */
static int take_preserved(const struct cpr_state *cpr, const char *name, bool share, struct err *e)
{
	if (!share)
		return err_set(e, EINVAL,
			       "the old machine's RAM '%s' is shared, this one's is not: it would "
			       "be another memory from its first write on; share=on is required "
			       "for memory-backend objects, and aux-ram-share=on is required",
			       name);
	return cpr_state_dup_fd(cpr, name, 0, e);
}

static int create_main(struct memmap *m, const struct backend_option *b,
		       const struct ram_origin *from, struct err *e)
{
	const struct cpr_state *cpr = from->graft ? NULL : from->cpr;
	AUTO_CLOSE int fd = -1;
	struct ram_block *ram;
	int r = 0;

	if (cpr && cpr_state_find_fd(cpr, b->id, 0) < 0)
		return err_set(e, EINVAL,
			       "the old machine has no RAM block '%s': -machine memory-backend= "
			       "must name the same backend",
			       b->id);
	if (cpr)
		r = fd = take_preserved(cpr, b->id, b->share, e);
	else if (!from->graft)
		trace_cpr_find_fd(b->id, 0, -1);
	if (r >= 0)
		r = create_backend(&ram, b, fd, from, e);
	if (r < 0)
		return r;
	take_fd(&fd);
	memmap_init(m, ram);
	return 0;
}

/* The old machine's memory of that name, for memmap_make_block(). */
static int take_block(void *opaque, const struct ram_config *cfg, struct ram_block **out,
		      struct err *e)
{
	const struct ram_origin *from = opaque;
	AUTO_CLOSE int fd = -1;
	int r;

	if (from->graft)
		return adopt_block(out, cfg, from, e);
	r = fd = take_preserved(from->cpr, cfg->name, cfg->share, e);
	if (r >= 0)
		r = ram_block_create(out, cfg, fd, e);
	if (r < 0)
		return r;
	take_fd(&fd);
	return 0;
}

/* The old machine's list of its blocks says so, as what it hands over does. */
static uint64_t block_size(void *opaque, const char *name)
{
	const struct ram_origin *from = opaque;
	const char *config = from->cpr ? from->cpr->config : NULL, *each;
	json_t *j = config ? json_loads(config, 0, NULL) : NULL, *block;
	json_int_t size = 0;
	size_t i;

	json_array_foreach(json_object_get(j, "ram"), i, block)
	{
		each = json_string_value(json_object_get(block, "name"));
		if (each && !strcmp(each, name))
			size = json_integer_value(json_object_get(block, "size"));
	}
	json_decref(j);
	return size > 0 ? (uint64_t)size : 0;
}

void ram_origin_init(struct ram_origin *from, const struct options *o, const struct cpr_state *cpr,
		     const struct graft *graft)
{
	*from = (struct ram_origin){
		.cpr = cpr,
		.graft = graft,
		.source = { .size = block_size,
			    .take = take_block,
			    .opaque = from,
			    .share = o->aux_ram_share != OPTION_OFF },
	};
}

/*
 * The ACPI tables have a block of their own: what describes the machine to the guest stays
 * as it was told, whatever the new program would say.
 */
static int create_tables(struct memmap *m, const struct ram_origin *from, struct err *e)
{
	struct ram_block *b;
	int r;

	/* An older program kept the tables in main RAM; there they are then. */
	if (from->cpr && !memmap_preserved_size(m, LAYOUT_ACPI_BLOCK))
		return 0;
	r = memmap_make_block(m, LAYOUT_ACPI_BLOCK, LAYOUT_ACPI_END - LAYOUT_ACPI_TABLES, &b, e);
	if (r)
		return r;
	b->readonly = true;
	r = memmap_add_block(m, b, LAYOUT_ACPI_TABLES, e);
	if (r)
		ram_block_destroy(b);
	return r;
}

/* Objects people made and the guest does not see. */
static int create_unused(struct memmap *m, const struct options *o,
			 const struct backend_option *used, bool trial, struct err *e)
{
	for (unsigned int i = 0; i < o->nr_objects; i++) {
		struct ram_block *b;
		int r;

		if (&o->objects[i] == used || trial)
			continue;
		r = create_backend(&b, &o->objects[i], -1, NULL, e);
		if (r)
			return r;
		r = memmap_add_unused_block(m, b, e);
		if (r) {
			ram_block_destroy(b);
			return r;
		}
	}
	return 0;
}

int ram_create(struct memmap *out, const struct options *o, const struct ram_origin *from,
	       struct rom *rom, struct err *e)
{
	const struct backend_option *b = NULL;
	struct backend_option plain;
	struct memmap m = { 0 };
	int r;

	r = choose_main(o, &b, &plain, e);
	if (!r)
		r = check_ram_size(b->size, e);
	if (!r)
		r = create_main(&m, b, from, e);
	m.source = &from->source;
	if (!r)
		r = rom ? rom_add(rom, &m, e) : create_tables(&m, from, e);
	if (!r)
		r = create_unused(&m, o, b, from->trial, e);
	if (r) {
		memmap_fini(&m);
		return r;
	}
	*out = m;
	return 0;
}
