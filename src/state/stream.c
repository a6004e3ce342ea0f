/* SPDX-License-Identifier: MIT */
/* The main stream: a snapshot as bytes, in QEMU's documented migration format. */
#define XXH_INLINE_ALL
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

#include "base/util.h"
#include "state/stream.h"

/*
 * DOC: theory of operation
 *
 * One table drives both directions: the items of the snapshot. The checksum
 * section is written last of all sections; it holds the number of bytes before
 * it, their hash, and the hash of the description JSON that follows the end
 * mark. Decoding verifies the frame first (a single pass over the bytes), so a
 * flipped bit is reported as such and not as a strange field value; only then
 * it parses.
 */

enum {
	STREAM_MAGIC = 0x5145564d,
	STREAM_VERSION = 3,

	SECTION_EOF = 0x00,
	SECTION_START = 0x01,
	SECTION_END = 0x03,
	SECTION_FULL = 0x04,
	SECTION_VMDESC = 0x06,
	SECTION_CONFIGURATION = 0x07,
	SECTION_COMMAND = 0x08,
	SECTION_FOOTER = 0x7e,

	COMMAND_SWITCHOVER_START = 0x0b,

	RAM_VERSION = 4,
	RAM_FLAG_MEM_SIZE = 0x04,
	RAM_FLAG_EOS = 0x10,
	RAM_SECTION_ID = 0,
	FIRST_DEVICE_SECTION_ID = 1,

	PAGE_SIZE_BYTES = 4096,
};

struct checksum {
	uint64_t length;      /* bytes before the checksum section           */
	uint64_t xxh3;        /* of those bytes                              */
	uint64_t vmdesc_xxh3; /* of the description JSON after the end mark  */
};

static const struct vs_field checksum_fields[] = {
	VS_FIELD(struct checksum, length),
	VS_FIELD(struct checksum, xxh3),
	VS_FIELD(struct checksum, vmdesc_xxh3),
	VS_END,
};

static const struct vs_desc checksum_desc = {
	.name = STREAM_CHECKSUM_IDSTR,
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct checksum),
	.fields = checksum_fields,
};

uint64_t stream_hash(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

static void put_section_header(struct buf *out, uint8_t type, uint32_t id, const char *idstr,
			       uint32_t instance, uint32_t version)
{
	buf_put_u8(out, type);
	buf_put_be32(out, id);
	if (type != SECTION_START && type != SECTION_FULL)
		return;
	buf_put_u8(out, (uint8_t)strlen(idstr));
	buf_put_str(out, idstr);
	buf_put_be32(out, instance);
	buf_put_be32(out, version);
}

static void put_section_footer(struct buf *out, uint32_t id)
{
	buf_put_u8(out, SECTION_FOOTER);
	buf_put_be32(out, id);
}

static void put_configuration(const struct snapshot *s, struct buf *out, struct jsonw *json)
{
	uint32_t n = (uint32_t)strlen(s->machine);

	buf_put_u8(out, SECTION_CONFIGURATION);
	buf_put_be32(out, n);
	buf_put(out, s->machine, n);
	jsonw_begin_object(json, "configuration");
	jsonw_str(json, "vmsd_name", "configuration");
	jsonw_u64(json, "version", 1);
	jsonw_begin_array(json, "fields");
	jsonw_begin_object(json, NULL);
	jsonw_str(json, "name", "len");
	jsonw_str(json, "type", "uint32");
	jsonw_u64(json, "size", 4);
	jsonw_end_object(json);
	jsonw_begin_object(json, NULL);
	jsonw_str(json, "name", "name");
	jsonw_str(json, "type", "buffer");
	jsonw_u64(json, "size", n);
	jsonw_end_object(json);
	jsonw_end_array(json);
	jsonw_end_object(json);
}

/* Lists the blocks; their pages stay where they are. */
static void put_ram(const struct snapshot *s, struct buf *out)
{
	uint64_t total = 0;

	for (size_t i = 0; i < s->nr_rams; i++)
		total += s->rams[i].size;
	put_section_header(out, SECTION_START, RAM_SECTION_ID, "ram", 0, RAM_VERSION);
	buf_put_be64(out, total | RAM_FLAG_MEM_SIZE);
	for (size_t i = 0; i < s->nr_rams; i++) {
		buf_put_u8(out, (uint8_t)strlen(s->rams[i].name));
		buf_put_str(out, s->rams[i].name);
		buf_put_be64(out, s->rams[i].size);
	}
	buf_put_be64(out, RAM_FLAG_EOS);
	put_section_footer(out, RAM_SECTION_ID);

	buf_put_u8(out, SECTION_COMMAND);
	buf_put_be16(out, COMMAND_SWITCHOVER_START);
	buf_put_be16(out, 0);

	put_section_header(out, SECTION_END, RAM_SECTION_ID, "ram", 0, RAM_VERSION);
	buf_put_be64(out, RAM_FLAG_EOS);
	put_section_footer(out, RAM_SECTION_ID);
}

static void put_full(struct buf *out, struct jsonw *json, uint32_t id, const char *idstr,
		     uint32_t instance, const struct vs_desc *desc, const void *state)
{
	put_section_header(out, SECTION_FULL, id, idstr, instance, desc->version);
	jsonw_begin_object(json, NULL);
	jsonw_str(json, "name", idstr);
	jsonw_u64(json, "instance_id", instance);
	vs_encode(desc, state, out, json);
	jsonw_end_object(json);
	put_section_footer(out, id);
}

int stream_encode(const struct snapshot *s, struct buf *out, struct err *e)
{
	AUTO_BUF json_text = { 0 };
	AUTO_BUF checksum_section = { 0 };
	uint32_t id = FIRST_DEVICE_SECTION_ID;
	size_t start = out->len;
	struct checksum sum = { 0 };
	struct jsonw json;

	buf_put_be32(out, STREAM_MAGIC);
	buf_put_be32(out, STREAM_VERSION);
	jsonw_init(&json, &json_text);
	jsonw_begin_object(&json, NULL);
	put_configuration(s, out, &json);
	jsonw_u64(&json, "page_size", PAGE_SIZE_BYTES);
	jsonw_begin_array(&json, "devices");
	put_ram(s, out);
	for (size_t i = 0; i < s->nr_items; i++) {
		const struct snapshot_item *it = &s->items[i];

		put_full(out, &json, id++, it->idstr, it->instance_id, it->desc, it->state);
	}
	/* The description of the checksum section does not depend on its values. */
	put_full(&checksum_section, &json, id, STREAM_CHECKSUM_IDSTR, 0, &checksum_desc, &sum);
	jsonw_end_array(&json);
	jsonw_end_object(&json);
	if (out->failed || json_text.failed)
		return err_set(e, ENOMEM, "no memory to write the state");

	sum.length = out->len - start;
	sum.xxh3 = stream_hash(out->data + start, sum.length);
	sum.vmdesc_xxh3 = stream_hash(json_text.data, json_text.len);
	put_section_header(out, SECTION_FULL, id, STREAM_CHECKSUM_IDSTR, 0, checksum_desc.version);
	vs_encode(&checksum_desc, &sum, out, NULL);
	put_section_footer(out, id);
	buf_put_u8(out, SECTION_EOF);
	buf_put_u8(out, SECTION_VMDESC);
	buf_put_be32(out, (uint32_t)json_text.len);
	buf_put(out, json_text.data, json_text.len);
	if (out->failed)
		return err_set(e, ENOMEM, "no memory to write the state");
	return 0;
}

static int check_header(struct cursor *in, const struct snapshot *s, struct err *e)
{
	uint32_t magic, version, n;
	const uint8_t *name;

	magic = cursor_be32(in);
	if (in->failed)
		return err_set(e, ENODATA, "Not a migration stream: it ends in its header");
	if (magic != STREAM_MAGIC)
		return err_set(e, EINVAL, "Not a migration stream, magic: %x != %x", magic,
			       STREAM_MAGIC);
	version = cursor_be32(in);
	if (in->failed)
		return err_set(e, ENODATA, "the state ends in its header");
	if (version == 2)
		return err_set(e, EINVAL, "SaveVM v2 format is obsolete and no longer supported");
	if (version != STREAM_VERSION)
		return err_set(e, EINVAL, "Unsupported migration stream version %u", version);
	if (cursor_u8(in) != SECTION_CONFIGURATION)
		return err_set(e, EINVAL, "Configuration section missing");
	n = cursor_be32(in);
	if (in->failed || n > cursor_left(in))
		return err_set(e, ENODATA, "the state ends in its configuration section");
	name = cursor_take(in, n);
	if (n != strlen(s->machine) || memcmp(name, s->machine, n))
		return err_set(e, EINVAL, "Machine type received is '%.*s' and local is '%s'",
			       (int)MIN(n, 64u), (const char *)name, s->machine);
	return 0;
}

/* The bytes a checksum section takes, from its type byte to its footer. */
static size_t checksum_section_size(void)
{
	return 1 + 4 + 1 + strlen(STREAM_CHECKSUM_IDSTR) + 4 + 4 + 3 * 8 + 5;
}

/* The end is fixed: checksum section, end mark, description up to the last byte. */
static int check_frame(const uint8_t *p, size_t n, struct err *e)
{
	size_t tail = checksum_section_size() + 1 + 1 + 4;
	size_t idlen = strlen(STREAM_CHECKSUM_IDSTR);
	struct checksum sum;
	struct cursor in;
	size_t at;

	/*
	 * The description's length stands before it, so the frame is found from
	 * the back: the only place where a mark, a length that reaches exactly to
	 * the end, and a checksum section before them fit together.
	 */
	for (at = n; at >= tail; at--) {
		const uint8_t *desc = p + at - 5;
		const uint8_t *section = p + at - tail;

		if (desc[0] != SECTION_VMDESC || section[0] != SECTION_FULL ||
		    section[5] != idlen || memcmp(section + 6, STREAM_CHECKSUM_IDSTR, idlen))
			continue;
		cursor_init(&in, desc + 1, 4);
		if (cursor_be32(&in) != n - at)
			continue;
		cursor_init(&in, section + 6 + idlen + 8, 24);
		sum.length = cursor_be64(&in);
		sum.xxh3 = cursor_be64(&in);
		sum.vmdesc_xxh3 = cursor_be64(&in);
		if (sum.length != at - tail)
			return err_set(e, EINVAL,
				       "the state is %zu bytes long before its checksum, it was "
				       "written with %llu",
				       at - tail, (unsigned long long)sum.length);
		if (sum.xxh3 != stream_hash(p, at - tail))
			return err_set(e, EINVAL,
				       "the state is damaged: its checksum does not match");
		if (sum.vmdesc_xxh3 != stream_hash(p + at, n - at))
			return err_set(e, EINVAL,
				       "the state is damaged: the checksum of its description does "
				       "not match");
		return 0;
	}
	return err_set(
		e, ENODATA,
		"the state is truncated or damaged: its %zu bytes have no checksum at the end", n);
}

static int check_footer(struct cursor *in, uint32_t id, const char *idstr, struct err *e)
{
	if (cursor_u8(in) != SECTION_FOOTER || cursor_be32(in) != id || in->failed)
		return err_set(e, EINVAL, "Missing section footer for %s", idstr);
	return 0;
}

static struct snapshot_ram *find_ram(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->nr_rams; i++)
		if (!strcmp(s->rams[i].name, name))
			return &s->rams[i];
	return NULL;
}

static int get_string(struct cursor *in, char *s)
{
	uint8_t n = cursor_u8(in);

	cursor_get(in, s, n);
	s[in->failed ? 0 : n] = '\0';
	return in->failed || strlen(s) != n ? -EINVAL : 0;
}

static int decode_ram_list(struct cursor *in, const struct snapshot *s, struct err *e)
{
	uint64_t total = cursor_be64(in);
	struct snapshot_ram *ram;
	uint64_t sum = 0, size;
	char name[256];
	size_t nr = 0;

	if (in->failed || !(total & RAM_FLAG_MEM_SIZE))
		return err_set(e, EINVAL, "the ram section does not start with the sizes");
	total &= ~(uint64_t)RAM_FLAG_MEM_SIZE;
	for (; sum < total; nr++) {
		if (get_string(in, name))
			return err_set(e, EINVAL, "the list of RAM blocks is cut short");
		size = cursor_be64(in);
		ram = find_ram(s, name);
		if (!ram)
			return err_set(e, EINVAL,
				       "Unknown ramblock \"%s\", cannot accept migration", name);
		if (ram->size != size)
			return err_set(e, EINVAL,
				       "Size mismatch: RAM block '%s' has %llu bytes in the state "
				       "and %llu here",
				       name, (unsigned long long)size,
				       (unsigned long long)ram->size);
		if (ram->listed)
			return err_set(e, EINVAL, "RAM block '%s' is listed twice", name);
		ram->listed = true;
		if (!size || sum + size < sum)
			return err_set(e, EINVAL, "RAM block '%s' has an impossible size", name);
		sum += size;
	}
	if (sum != total || nr != s->nr_rams)
		return err_set(e, EINVAL, "the state lists %zu RAM blocks, this machine has %zu",
			       nr, s->nr_rams);
	if (cursor_be64(in) != RAM_FLAG_EOS)
		return err_set(e, EINVAL,
			       "the ram section holds pages, which this mode does not send");
	return 0;
}

static int decode_full(struct cursor *in, struct snapshot *s, const char *idstr, uint32_t instance,
		       uint32_t version, struct err *e)
{
	struct snapshot_item *it = snapshot_find(s, idstr, instance);
	int r;

	if (!it)
		return err_set(e, EINVAL,
			       "Unknown section or instance '%s' %u. Make sure that your current "
			       "VM setup matches your saved VM setup",
			       idstr, instance);
	if (it->loaded)
		return err_set(e, EINVAL, "section '%s' %u comes twice", idstr, instance);
	r = vs_decode(it->desc, version, in, it->state, e);
	if (r)
		return err_prefix(e, "section '%s' %u", idstr, instance);
	it->loaded = true;
	return 0;
}

static int decode_section(struct cursor *in, uint8_t type, struct snapshot *s, bool *done,
			  struct err *e)
{
	uint32_t id = cursor_be32(in), instance, version;
	char idstr[256];
	int r;

	if (type == SECTION_END) {
		if (id != RAM_SECTION_ID || cursor_be64(in) != RAM_FLAG_EOS)
			return err_set(e, EINVAL, "end of a section %u that was not started", id);
		return check_footer(in, id, "ram", e);
	}
	r = get_string(in, idstr);
	instance = cursor_be32(in);
	version = cursor_be32(in);
	if (r || in->failed)
		return err_set(e, EINVAL, "section %u has no proper name", id);
	if (type == SECTION_START) {
		if (strcmp(idstr, "ram") || instance)
			return err_set(e, EINVAL, "section '%s' cannot come in parts", idstr);
		if (version != RAM_VERSION)
			return err_set(e, EINVAL, "unsupported version %u for 'ram' v%d", version,
				       RAM_VERSION);
		r = decode_ram_list(in, s, e);
	} else if (!strcmp(idstr, STREAM_CHECKSUM_IDSTR)) {
		/* Its contents were verified by check_frame(). */
		if (instance || version != checksum_desc.version)
			return err_set(e, EINVAL,
				       "the state is damaged: checksum section %u of version %u",
				       instance, version);
		cursor_take(in, 3 * 8);
		*done = true;
	} else {
		r = decode_full(in, s, idstr, instance, version, e);
	}
	return r ? r : check_footer(in, id, idstr, e);
}

static int decode_sections(struct cursor *in, struct snapshot *s, struct err *e)
{
	bool done = false, ram_listed = false;
	uint32_t vmdesc_len;
	uint8_t type;
	int r;

	while (!done) {
		type = cursor_u8(in);
		if (in->failed)
			return err_set(e, ENODATA, "the state ends between two sections");
		switch (type) {
		case SECTION_START:
			ram_listed = true;
			/* fall through */
		case SECTION_END:
		case SECTION_FULL:
			r = decode_section(in, type, s, &done, e);
			if (r)
				return r;
			break;
		case SECTION_COMMAND:
			if (cursor_be16(in) != COMMAND_SWITCHOVER_START || cursor_be16(in))
				return err_set(e, EINVAL, "the state holds an unknown command");
			break;
		default:
			return err_set(e, EINVAL, "Unknown savevm section type %u", type);
		}
	}
	if (!ram_listed)
		return err_set(e, EINVAL, "the state does not list the RAM blocks");
	/* The sections that were read are those that check_frame() verified. */
	if (cursor_u8(in) != SECTION_EOF || cursor_u8(in) != SECTION_VMDESC)
		return err_set(e, EINVAL, "the state goes on after its checksum");
	vmdesc_len = cursor_be32(in);
	if (vmdesc_len != cursor_left(in))
		return err_set(e, EINVAL, "the state goes on after its checksum");
	return 0;
}

int stream_decode(const void *p, size_t n, struct snapshot *s, struct err *e)
{
	struct cursor in;
	int r;

	if (n > STREAM_MAX_BYTES)
		return err_set(e, EFBIG, "the state is %zu bytes long, more than any machine's", n);
	for (size_t i = 0; i < s->nr_items; i++)
		s->items[i].loaded = false;
	for (size_t i = 0; i < s->nr_rams; i++)
		s->rams[i].listed = false;
	cursor_init(&in, p, n);
	r = check_header(&in, s, e);
	if (!r)
		r = check_frame(p, n, e);
	if (!r)
		r = decode_sections(&in, s, e);
	if (r)
		return r;
	for (size_t i = 0; i < s->nr_items; i++)
		if (!s->items[i].loaded)
			return err_set(e, EINVAL,
				       "the state has no section '%s' %u, which this machine needs",
				       s->items[i].idstr, s->items[i].instance_id);
	return 0;
}
