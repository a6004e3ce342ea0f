/* SPDX-License-Identifier: MIT */
/* State described by tables: what of a struct crosses an update, and how it looks on the wire. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "base/util.h"
#include "state/vmstate.h"

enum {
	VS_SUBSECTION_MARK = 0x05,
	VS_NAME_MAX = 255,
};

static uint64_t load_uint(const void *p, uint32_t size)
{
	switch (size) {
	case 1:
		return *(const uint8_t *)p;
	case 2:
		return *(const uint16_t *)p;
	case 4:
		return *(const uint32_t *)p;
	default:
		return *(const uint64_t *)p;
	}
}

static void store_uint(void *p, uint32_t size, uint64_t v)
{
	switch (size) {
	case 1:
		*(uint8_t *)p = (uint8_t)v;
		break;
	case 2:
		*(uint16_t *)p = (uint16_t)v;
		break;
	case 4:
		*(uint32_t *)p = (uint32_t)v;
		break;
	default:
		*(uint64_t *)p = v;
		break;
	}
}

static uint32_t used_count(const struct vs_field *f, const void *s)
{
	uint32_t n;

	if (!f->var_len)
		return f->count;
	n = *(const uint32_t *)((const char *)s + f->len_offset);
	return MIN(n, f->count);
}

static bool is_sent(const struct vs_field *f, const void *s)
{
	return !f->exists || f->exists(s);
}

static void encode_fields(const struct vs_desc *d, uint32_t since, const void *s, struct buf *out,
			  struct jsonw *json);

static void encode_elem(const struct vs_field *f, const void *p, struct buf *out)
{
	uint64_t v;

	if (f->kind == VS_KIND_STRUCT) {
		encode_fields(f->sub, 0, p, out, NULL);
		return;
	}
	v = f->kind == VS_KIND_BOOL ? *(const bool *)p : load_uint(p, f->elem_size);
	switch (f->elem_size) {
	case 1:
		buf_put_u8(out, (uint8_t)v);
		break;
	case 2:
		buf_put_be16(out, (uint16_t)v);
		break;
	case 4:
		buf_put_be32(out, (uint32_t)v);
		break;
	default:
		buf_put_be64(out, v);
		break;
	}
}

static const char *type_name(const struct vs_field *f)
{
	static const char *const uints[] = { "uint8", "uint16", "uint32", "uint64" };
	static const char *const ints[] = { "int8", "int16", "int32", "int64" };
	int log2 = f->elem_size == 1 ? 0 : f->elem_size == 2 ? 1 : f->elem_size == 4 ? 2 : 3;

	switch (f->kind) {
	case VS_KIND_BOOL:
		return "bool";
	case VS_KIND_UINT:
		return uints[log2];
	case VS_KIND_INT:
		return ints[log2];
	case VS_KIND_BUFFER:
		return "buffer";
	default:
		return "struct";
	}
}

/* Elements of one array have one size, since their tables hold no variable parts. */
static void describe_field(const struct vs_field *f, const void *s, uint32_t n, size_t wire_size,
			   struct jsonw *json)
{
	struct buf ignored = { 0 };

	jsonw_begin_object(json, NULL);
	jsonw_str(json, "name", f->name);
	if (f->is_array && f->kind != VS_KIND_BUFFER)
		jsonw_u64(json, "array_len", n);
	jsonw_str(json, "type", type_name(f));
	if (f->kind == VS_KIND_STRUCT) {
		jsonw_begin_object(json, "struct");
		jsonw_str(json, "vmsd_name", f->sub->name);
		jsonw_u64(json, "version", f->sub->version);
		jsonw_begin_array(json, "fields");
		encode_fields(f->sub, 0, (const char *)s + f->offset, &ignored, json);
		jsonw_end_array(json);
		jsonw_end_object(json);
		buf_fini(&ignored);
	}
	jsonw_u64(json, "size", f->kind == VS_KIND_BUFFER ? wire_size : wire_size / n);
	jsonw_end_object(json);
}

static void encode_fields(const struct vs_desc *d, uint32_t since, const void *s, struct buf *out,
			  struct jsonw *json)
{
	for (const struct vs_field *f = d->fields; f->name; f++) {
		const char *p = (const char *)s + f->offset;
		uint32_t n = used_count(f, s);
		size_t start = out->len;

		if (f->since != since || !n || !is_sent(f, s))
			continue;
		if (f->kind == VS_KIND_BUFFER)
			buf_put(out, p, n);
		else
			for (uint32_t i = 0; i < n; i++)
				encode_elem(f, p + (size_t)i * f->elem_size, out);
		if (json)
			describe_field(f, s, n, out->len - start, json);
	}
}

/* The lowest `since` above @after, or 0. */
static uint32_t next_since(const struct vs_desc *d, uint32_t after)
{
	uint32_t found = 0;

	for (const struct vs_field *f = d->fields; f && f->name; f++)
		if (f->since > after && (!found || f->since < found))
			found = f->since;
	return found;
}

static bool differs_from_reset(const struct vs_desc *d, uint32_t since, const void *s)
{
	for (const struct vs_field *f = d->fields; f->name; f++) {
		size_t n = (size_t)f->elem_size * f->count;
		const uint8_t *p = (const uint8_t *)s + f->offset;
		const uint8_t *r = d->reset ? (const uint8_t *)d->reset + f->offset : NULL;

		if (f->since != since)
			continue;
		for (size_t i = 0; i < n; i++)
			if (p[i] != (r ? r[i] : 0))
				return true;
	}
	return false;
}

static void encode_subsection(const char *name, const struct vs_desc *d, uint32_t since,
			      const void *s, struct buf *out, struct jsonw *json, bool *any)
{
	buf_put_u8(out, VS_SUBSECTION_MARK);
	buf_put_u8(out, (uint8_t)strlen(name));
	buf_put_str(out, name);
	buf_put_be32(out, since ? since : d->version);
	if (json) {
		if (!*any)
			jsonw_begin_array(json, "subsections");
		*any = true;
		jsonw_begin_object(json, NULL);
		jsonw_str(json, "vmsd_name", name);
		jsonw_u64(json, "version", since ? since : d->version);
		jsonw_begin_array(json, "fields");
	}
	encode_fields(d, since, s, out, json);
	if (json) {
		jsonw_end_array(json);
		jsonw_end_object(json);
	}
}

void vs_encode(const struct vs_desc *d, const void *s, struct buf *out, struct jsonw *json)
{
	char name[VS_NAME_MAX + 1];
	bool any = false;

	if (json) {
		jsonw_str(json, "vmsd_name", d->name);
		jsonw_u64(json, "version", d->version);
		jsonw_begin_array(json, "fields");
	}
	encode_fields(d, 0, s, out, json);
	if (json)
		jsonw_end_array(json);
	for (uint32_t v = next_since(d, 0); v; v = next_since(d, v)) {
		if (!differs_from_reset(d, v, s))
			continue;
		snprintf(name, sizeof(name), "%s/v%u", d->name, v);
		encode_subsection(name, d, v, s, out, json, &any);
	}
	for (const struct vs_subsection *sub = d->subsections; sub && sub->desc; sub++)
		if (sub->needed(s))
			encode_subsection(sub->desc->name, sub->desc, 0, s, out, json, &any);
		else
			trace_savevm_section_skip(sub->desc->name, 0);
	if (any)
		jsonw_end_array(json);
}

static void describe_table_fields(const struct vs_desc *d, uint32_t since, struct jsonw *json)
{
	jsonw_begin_array(json, "Fields");
	for (const struct vs_field *f = d->fields; f && f->name; f++) {
		bool is_buffer = f->kind == VS_KIND_BUFFER;

		if (f->since != since)
			continue;
		jsonw_begin_object(json, NULL);
		jsonw_str(json, "field", f->name);
		jsonw_u64(json, "version_id", since);
		jsonw_bool(json, "field_exists", f->exists);
		if (f->is_array && !is_buffer)
			jsonw_u64(json, "num", f->count);
		jsonw_u64(json, "size", is_buffer ? f->count : f->elem_size);
		if (f->sub)
			vs_describe(f->sub, "Description", json);
		jsonw_end_object(json);
	}
	jsonw_end_array(json);
}

static void describe_table_head(const char *name, uint32_t version, uint32_t min_version,
				struct jsonw *json)
{
	jsonw_str(json, "name", name);
	jsonw_u64(json, "version_id", version);
	jsonw_u64(json, "minimum_version_id", min_version);
}

void vs_describe(const struct vs_desc *d, const char *key, struct jsonw *json)
{
	bool has_parts = next_since(d, 0) || (d->subsections && d->subsections->desc);
	char name[VS_NAME_MAX + 1];

	jsonw_begin_object(json, key);
	describe_table_head(d->name, d->version, d->min_version, json);
	describe_table_fields(d, 0, json);
	if (has_parts)
		jsonw_begin_array(json, "Subsections");
	for (uint32_t v = next_since(d, 0); v; v = next_since(d, v)) {
		snprintf(name, sizeof(name), "%s/v%u", d->name, v);
		jsonw_begin_object(json, NULL);
		describe_table_head(name, v, v, json);
		describe_table_fields(d, v, json);
		jsonw_end_object(json);
	}
	for (const struct vs_subsection *sub = d->subsections; sub && sub->desc; sub++)
		vs_describe(sub->desc, NULL, json);
	if (has_parts)
		jsonw_end_array(json);
	jsonw_end_object(json);
}

static int decode_fields(const struct vs_desc *d, uint32_t since, struct cursor *in, void *s,
			 struct err *e);

static uint64_t sign_extend(uint64_t v, uint32_t size)
{
	return size < 8 && v >> (size * 8 - 1) ? v | ~UINT64_C(0) << (size * 8) : v;
}

static int decode_elem(const struct vs_desc *d, const struct vs_field *f, struct cursor *in,
		       void *p, struct err *e)
{
	uint64_t v;
	bool low, high;

	if (f->kind == VS_KIND_STRUCT)
		return decode_fields(f->sub, 0, in, p, e);
	switch (f->elem_size) {
	case 1:
		v = cursor_u8(in);
		break;
	case 2:
		v = cursor_be16(in);
		break;
	case 4:
		v = cursor_be32(in);
		break;
	default:
		v = cursor_be64(in);
		break;
	}
	/* What is missing is reported as such, not as a value out of range. */
	if (in->failed)
		return 0;
	if (f->kind == VS_KIND_BOOL) {
		if (v > 1)
			return err_set(e, EINVAL, "field '%s' of '%s' is neither 0 nor 1", f->name,
				       d->name);
		*(bool *)p = v;
		return 0;
	}
	if (f->has_range) {
		if (f->kind == VS_KIND_INT) {
			v = sign_extend(v, f->elem_size);
			low = (int64_t)v < (int64_t)f->min;
			high = (int64_t)v > (int64_t)f->max;
		} else {
			low = v < f->min;
			high = v > f->max;
		}
		if (low || high)
			return err_set(e, EINVAL, "field '%s' of '%s' is out of range: %#llx",
				       f->name, d->name, (unsigned long long)v);
	}
	store_uint(p, f->elem_size, v);
	return 0;
}

static int decode_fields(const struct vs_desc *d, uint32_t since, struct cursor *in, void *s,
			 struct err *e)
{
	for (const struct vs_field *f = d->fields; f->name; f++) {
		char *p = (char *)s + f->offset;
		uint32_t n = f->count;
		int r;

		if (f->since != since || !is_sent(f, s))
			continue;
		if (f->var_len) {
			n = *(uint32_t *)((char *)s + f->len_offset);
			if (n > f->count)
				return err_set(e, EINVAL, "'%s' has %u of '%s', at most %u fit",
					       d->name, n, f->name, f->count);
		}
		if (f->kind == VS_KIND_BUFFER) {
			cursor_get(in, p, n);
		} else {
			for (uint32_t i = 0; i < n && !in->failed; i++) {
				r = decode_elem(d, f, in, p + (size_t)i * f->elem_size, e);
				if (r)
					return r;
			}
		}
		if (in->failed)
			return err_set(e, ENODATA, "the state ends in field '%s' of '%s'", f->name,
				       d->name);
	}
	return 0;
}

/*
 * What follows a device's fields is a subsection of it only if the mark, a
 * length and a name with the right prefix are there; otherwise it is left alone.
 */
static bool peek_subsection(const struct vs_desc *d, const struct cursor *in, char *name)
{
	size_t prefix = strlen(d->name);
	size_t len;

	if (cursor_left(in) < 2 || in->p[0] != VS_SUBSECTION_MARK)
		return false;
	len = in->p[1];
	if (cursor_left(in) < 2 + len || len <= prefix + 1)
		return false;
	memcpy(name, in->p + 2, len);
	name[len] = '\0';
	return strlen(name) == len && !strncmp(name, d->name, prefix) && name[prefix] == '/';
}

/* Subsections come in the order they are written in, so each at most once; *@place is the last's. */
static int check_place(const char *name, unsigned int at, unsigned int *place, struct err *e)
{
	if (at <= *place)
		return err_set(e, EINVAL, "subsection '%s' comes twice or too late", name);
	*place = at;
	return 0;
}

static int unknown_version(const char *name, uint32_t version, uint32_t known, struct err *e)
{
	return err_set(e, EINVAL, "subsection '%s' has version %u, known is %u", name, version,
		       known);
}

static int decode_subsection(const struct vs_desc *d, const char *name, struct cursor *in, void *s,
			     unsigned int *place, struct err *e)
{
	char own[VS_NAME_MAX + 1];
	unsigned int at = 0;
	uint32_t version;
	int r;

	cursor_take(in, 2 + strlen(name));
	version = cursor_be32(in);
	if (in->failed)
		return err_set(e, ENODATA, "the state ends in subsection '%s'", name);
	for (uint32_t v = next_since(d, 0); v; v = next_since(d, v)) {
		snprintf(own, sizeof(own), "%s/v%u", d->name, v);
		at++;
		if (strcmp(own, name))
			continue;
		if (version != v)
			return unknown_version(name, version, v, e);
		r = check_place(name, at, place, e);
		return r ? r : decode_fields(d, v, in, s, e);
	}
	for (const struct vs_subsection *sub = d->subsections; sub && sub->desc; sub++) {
		at++;
		if (strcmp(sub->desc->name, name))
			continue;
		if (version < sub->desc->min_version || version > sub->desc->version)
			return unknown_version(name, version, sub->desc->version, e);
		r = check_place(name, at, place, e);
		return r ? r : decode_fields(sub->desc, 0, in, s, e);
	}
	return err_set(e, EINVAL,
		       "subsection '%s' is unknown here; the state is from a newer release", name);
}

int vs_check_version(const struct vs_desc *d, uint32_t version, struct err *e)
{
	if (version > d->version)
		return err_set(e, EINVAL, "unsupported version %u for '%s' v%u", version, d->name,
			       d->version);
	if (version < d->min_version)
		return err_set(e, EINVAL, "version %u of '%s' is too old, the oldest known is %u",
			       version, d->name, d->min_version);
	return 0;
}

int vs_decode(const struct vs_desc *d, uint32_t version, struct cursor *in, void *s, struct err *e)
{
	char name[VS_NAME_MAX + 1];
	unsigned int place = 0;
	int r = vs_check_version(d, version, e);

	if (r)
		return r;
	if (d->reset)
		memcpy(s, d->reset, d->size);
	else
		memset(s, 0, d->size);
	r = decode_fields(d, 0, in, s, e);
	if (r)
		return r;
	while (peek_subsection(d, in, name)) {
		r = decode_subsection(d, name, in, s, &place, e);
		if (r)
			return r;
	}
	return d->check ? d->check(s, e) : 0;
}

static bool has_variable_part(const struct vs_desc *d)
{
	for (const struct vs_field *f = d->fields; f && f->name; f++)
		if (f->var_len || (f->sub && has_variable_part(f->sub)))
			return true;
	return false;
}

/* A nested struct is sent inline: its table has only fields that always travel. */
static int audit_nested(const struct vs_desc *d, const struct vs_field *f, struct err *e)
{
	bool inline_only = !f->sub->subsections && !f->sub->check && !next_since(f->sub, 0);

	if (f->sub->size != f->elem_size)
		return err_set(e, EINVAL, "'%s': the table of '%s' is for another struct", d->name,
			       f->name);
	for (const struct vs_field *n = f->sub->fields; n->name; n++)
		inline_only = inline_only && !n->exists;
	if (!inline_only)
		return err_set(e, EINVAL,
			       "'%s': the nested table '%s' has parts that are not sent inline",
			       d->name, f->sub->name);
	/* The description tells one size for all elements. */
	if (f->is_array && has_variable_part(f->sub))
		return err_set(e, EINVAL, "'%s': elements of '%s' would not have one size", d->name,
			       f->name);
	return vs_audit(f->sub, e);
}

/* The count of a variable part is read before it, and travels with it. */
static bool count_comes_first(const struct vs_desc *d, const struct vs_field *f)
{
	for (const struct vs_field *n = d->fields; n != f; n++)
		if (n->offset == f->len_offset && n->kind == VS_KIND_UINT && n->elem_size == 4 &&
		    n->since == f->since)
			return true;
	return false;
}

static int audit_fields(const struct vs_desc *d, uint8_t *covered, struct err *e)
{
	for (const struct vs_field *f = d->fields; f->name; f++) {
		size_t n = (size_t)f->elem_size * f->count;
		int r;

		if (f->offset + n > d->size)
			return err_set(e, EINVAL, "'%s': field '%s' lies outside the struct",
				       d->name, f->name);
		if (f->kind == VS_KIND_STRUCT) {
			r = audit_nested(d, f, e);
			if (r)
				return r;
		}
		if (f->var_len && !count_comes_first(d, f))
			return err_set(e, EINVAL, "'%s': the count of '%s' does not come before it",
				       d->name, f->name);
		for (size_t i = f->offset; i < f->offset + n; i++) {
			if (covered[i])
				return err_set(e, EINVAL,
					       "'%s': byte %zu ('%s') is described twice", d->name,
					       i, f->name);
			covered[i] = 1;
		}
	}
	return 0;
}

static int audit_subsection(const struct vs_desc *d, const struct vs_subsection *sub, struct err *e)
{
	const struct vs_desc *own = sub->desc;
	size_t n = strlen(d->name);

	if (own->size != d->size)
		return err_set(e, EINVAL, "'%s' describes another struct than '%s'", own->name,
			       d->name);
	if (strncmp(own->name, d->name, n) || own->name[n] != '/' || !own->name[n + 1])
		return err_set(e, EINVAL, "subsection '%s' is not named after '%s'", own->name,
			       d->name);
	if (!sub->needed)
		return err_set(e, EINVAL, "subsection '%s' does not say when it is needed",
			       own->name);
	if (own->subsections || own->check || next_since(own, 0))
		return err_set(e, EINVAL, "subsection '%s' has parts that are not sent", own->name);
	return 0;
}

int vs_audit(const struct vs_desc *d, struct err *e)
{
	AUTO_FREE uint8_t *covered = calloc(1, d->size ? d->size : 1);
	int r;

	if (d->unmigratable)
		return d->fields ? err_set(e, EINVAL, "'%s' is not saved, but has fields", d->name)
				 : 0;
	if (!covered)
		return err_set(e, ENOMEM, "no memory to audit '%s'", d->name);
	r = audit_fields(d, covered, e);
	for (const struct vs_subsection *sub = d->subsections; !r && sub && sub->desc; sub++) {
		r = audit_subsection(d, sub, e);
		if (!r)
			r = audit_fields(sub->desc, covered, e);
	}
	if (r)
		return r;
	for (size_t i = 0; i < d->size; i++)
		if (!covered[i])
			return err_set(e, EINVAL, "'%s': byte %zu is not described", d->name, i);
	return 0;
}
