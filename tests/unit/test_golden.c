/* SPDX-License-Identifier: MIT */
/* States that releases wrote load for ever: tests/golden holds them, with what is in them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "all_states.h"
#include "base/util.h"
#include "state/stream.h"

/*
 * NAME.state is a stream, NAME.fields the values of its fields as text. A state is loaded into
 * a machine listed after the stream's own description, and each line of the text must be
 * true of it: fields that came later may have lines of their own. `make golden` adds files
 * with the options --write and --fields, which never replace one.
 */
#define GOLDEN_DIR "tests/golden"

static const char *golden_dir(void)
{
	const char *dir = getenv("GOLDEN");

	return dir ? dir : GOLDEN_DIR;
}

static bool read_file(const char *path, struct buf *b)
{
	FILE *f = fopen(path, "rb");
	char chunk[4096];
	size_t n;

	if (!f)
		return false;
	while ((n = fread(chunk, 1, sizeof(chunk), f)))
		buf_put(b, chunk, n);
	fclose(f);
	return !b->failed;
}

static uint64_t value_of(const struct vs_field *f, const uint8_t *p)
{
	uint64_t v = 0;

	memcpy(&v, p, f->elem_size);
	return v;
}

static void print_fields(FILE *out, const char *where, const struct vs_desc *d, const uint8_t *s)
{
	for (const struct vs_field *f = d->fields; f->name; f++) {
		const uint8_t *p = s + f->offset;
		uint32_t n = f->count;

		if (f->var_len)
			memcpy(&n, s + f->len_offset, sizeof(n));
		if (f->kind == VS_KIND_BUFFER)
			fprintf(out, "%s.%s =", where, f->name);
		for (uint32_t i = 0; i < n; i++, p += f->elem_size) {
			char at[512];

			if (f->kind == VS_KIND_BUFFER) {
				fprintf(out, " %02x", *p);
				continue;
			}
			snprintf(at, sizeof(at), f->is_array ? "%s.%s[%u]" : "%s.%s", where,
				 f->name, i);
			if (f->sub)
				print_fields(out, at, f->sub, p);
			else
				fprintf(out, "%s = %#llx\n", at,
					(unsigned long long)value_of(f, p));
		}
		if (f->kind == VS_KIND_BUFFER)
			fputc('\n', out);
	}
	for (const struct vs_subsection *sub = d->subsections; sub && sub->desc; sub++)
		print_fields(out, where, sub->desc, s);
}

/* The fields of all items as text; the caller frees it. */
static char *fields_text(const struct snapshot *s)
{
	char *text = NULL, where[80];
	size_t n;
	FILE *out = open_memstream(&text, &n);

	for (size_t i = 0; i < s->nr_items; i++) {
		snprintf(where, sizeof(where), "%s/%u", s->items[i].idstr, s->items[i].instance_id);
		print_fields(out, where, s->items[i].desc, s->items[i].state);
	}
	fclose(out);
	return text;
}

/* An idstr is a class's name, after where the device is, if there is more than one place. */
static const struct vs_desc *desc_by_idstr(const char *idstr)
{
	const char *slash = strrchr(idstr, '/');
	const struct device_class *c;
	const struct vs_desc *descs[MAX_DESCS];
	size_t n = all_descs(descs);

	if (slash)
		idstr = slash + 1;
	for (size_t i = 0; i < n; i++)
		if (!strcmp(descs[i]->name, idstr))
			return descs[i];
	for (unsigned int i = 0; (c = dev_class_at(i)); i++)
		if (c->alias && !strcmp(c->alias, idstr))
			return c->state;
	return NULL;
}

static void list_devices(struct snapshot *s, const json_t *devices)
{
	const json_t *d;
	struct err e;
	size_t i;

	json_array_foreach(devices, i, d)
	{
		const char *name = json_string_value(json_object_get(d, "name"));
		json_int_t id = json_integer_value(json_object_get(d, "instance_id"));
		const struct vs_desc *desc;

		if (!strcmp(name, STREAM_CHECKSUM_IDSTR))
			continue;
		desc = desc_by_idstr(name);
		if (!desc)
			fail_msg("no table describes section '%s' any more", name);
		if (snapshot_add(s, name, (uint32_t)id, desc, &e))
			fail_msg("%s", e.msg);
	}
}

/* The list of RAM blocks stands right behind the configuration. */
static void list_ram(struct snapshot *s, const struct buf *b)
{
	uint64_t total, size;
	struct cursor in;
	char name[256];
	struct err e;
	uint8_t n;

	cursor_init(&in, b->data, b->len);
	cursor_take(&in, 9);
	cursor_take(&in, cursor_be32(&in));
	assert_int_equal(cursor_u8(&in), 1);
	cursor_take(&in, 4 + 1 + strlen("ram") + 4 + 4);
	for (total = cursor_be64(&in) & ~UINT64_C(4095); total; total -= size) {
		n = cursor_u8(&in);
		cursor_get(&in, name, n);
		name[n] = '\0';
		size = cursor_be64(&in);
		assert_false(in.failed || size > total);
		assert_int_equal(snapshot_add_ram(s, name, size, &e), 0);
	}
}

/* The machine that a stream is of, as today's program would have it. */
static void list_machine(struct snapshot *s, const struct buf *b)
{
	size_t at = b->len;
	json_t *v;

	while (at && b->data[at - 1])
		at--;
	while (at < b->len && b->data[at] != '{')
		at++;
	v = json_loadb((const char *)b->data + at, b->len - at, 0, NULL);
	assert_non_null(v);
	snapshot_init(s, LAYOUT_MACHINE_TYPE);
	list_ram(s, b);
	list_devices(s, json_object_get(v, "devices"));
	json_decref(v);
}

static void load(const char *path, struct snapshot *s)
{
	AUTO_BUF b = { 0 };
	struct err e;

	if (!read_file(path, &b))
		fail_msg("cannot read %s", path);
	list_machine(s, &b);
	if (stream_decode(b.data, b.len, s, &e))
		fail_msg("%s: %s", path, e.msg);
}

/*
 * The first line of @want that is none of @is, or NULL; both are in the order of the tables.
 */
static const char *missing_line(const char *want, const char *is)
{
	for (const char *end; (end = strchr(want, '\n')); want = end + 1) {
		size_t n = (size_t)(end - want) + 1;

		while (*is && strncmp(is, want, n)) {
			const char *next = strchr(is, '\n');

			is = next ? next + 1 : "";
		}
		if (!*is)
			return want;
	}
	return NULL;
}

static void check_golden(const char *name)
{
	size_t stem = strlen(name) - strlen(".state");
	struct snapshot s, again;
	AUTO_BUF want = { 0 };
	AUTO_BUF b = { 0 };
	char path[512], *is, *is_again;
	const char *lost;
	struct err e;

	snprintf(path, sizeof(path), "%s/%.*s.fields", golden_dir(), (int)stem, name);
	if (!read_file(path, &want) || !want.len)
		fail_msg("cannot read %s", path);
	buf_put_u8(&want, 0);
	snprintf(path, sizeof(path), "%s/%s", golden_dir(), name);
	load(path, &s);
	is = fields_text(&s);
	lost = missing_line((const char *)want.data, is);
	if (lost)
		fail_msg("%s: lost or changed: %.*s", path, (int)strcspn(lost, "\n"), lost);

	/* Written by this program and read again it is the same. */
	assert_int_equal(stream_encode(&s, &b, &e), 0);
	list_machine(&again, &b);
	assert_int_equal(stream_decode(b.data, b.len, &again, &e), 0);
	is_again = fields_text(&again);
	assert_string_equal(is, is_again);
	free(is);
	free(is_again);
	snapshot_fini(&s);
	snapshot_fini(&again);
}

static void every_state_of_a_release_loads(void **state)
{
	DIR *dir = opendir(golden_dir());
	unsigned int n = 0;
	struct dirent *d;

	(void)state;
	assert_non_null(dir);
	while ((d = readdir(dir))) {
		size_t len = strlen(d->d_name);

		if (len <= strlen(".state") || strcmp(d->d_name + len - strlen(".state"), ".state"))
			continue;
		check_golden(d->d_name);
		n++;
	}
	closedir(dir);
	assert_true(n > 0);
}

/* A check that could not fail would keep nothing. */
static void a_changed_value_is_found(void **state)
{
	(void)state;
	assert_null(missing_line("a = 1\nc = 3\n", "a = 1\nb = 2\nc = 3\n"));
	assert_string_equal(missing_line("a = 1\nb = 2\n", "a = 1\n"), "b = 2\n");
	assert_non_null(missing_line("a = 1\n", "a = 12\n"));
	assert_non_null(missing_line("a = 1\na = 1\n", "b = 1\na = 2\n"));
}

static int complain(const char *what, const char *path)
{
	fprintf(stderr, "golden: %s %s: %s\n", what, path, strerror(errno));
	return 1;
}

/* Only where there is no file yet. */
static int write_new(const char *path, const void *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int r;

	if (fd < 0)
		return complain("cannot create", path);
	r = write(fd, p, n) == (ssize_t)n ? 0 : complain("cannot write", path);
	close(fd);
	return r;
}

static int write_filled(const char *path)
{
	struct snapshot s;
	AUTO_BUF b = { 0 };
	struct err e;
	int r;

	fill_all_states(&s, 1);
	r = stream_encode(&s, &b, &e) ? 1 : write_new(path, b.data, b.len);
	snapshot_fini(&s);
	return r;
}

static int write_fields(const char *state, const char *path)
{
	struct snapshot s;
	char *text;
	int r;

	load(state, &s);
	text = fields_text(&s);
	r = write_new(path, text, strlen(text));
	free(text);
	snapshot_fini(&s);
	return r;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_of_a_release_loads),
		cmocka_unit_test(a_changed_value_is_found),
	};

	if (argc == 3 && !strcmp(argv[1], "--write"))
		return write_filled(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "--fields"))
		return write_fields(argv[2], argv[3]);
	return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
