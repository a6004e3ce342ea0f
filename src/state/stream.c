/* SPDX-License-Identifier: MIT */
/* The main stream: a snapshot as bytes, in QEMU's documented migration format. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "base/util.h"
#include "state/stream.h"
#include "state/stream_format.h"

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

void stream_put_part(struct buf *out, uint8_t type, uint32_t id)
{
	buf_put_u8(out, type);
	buf_put_be32(out, id);
}

static void put_section_header(struct buf *out, uint8_t type, uint32_t id, const char *idstr,
			       uint32_t instance, uint32_t version)
{
	stream_put_part(out, type, id);
	buf_put_u8(out, (uint8_t)strlen(idstr));
	buf_put_str(out, idstr);
	buf_put_be32(out, instance);
	buf_put_be32(out, version);
}

void stream_put_footer(struct buf *out, uint32_t id)
{
	buf_put_u8(out, SECTION_FOOTER);
	buf_put_be32(out, id);
}

static void describe_field(struct jsonw *json, const char *name, const char *type, uint64_t size)
{
	jsonw_begin_object(json, NULL);
	jsonw_str(json, "name", name);
	jsonw_str(json, "type", type);
	jsonw_u64(json, "size", size);
	jsonw_end_object(json);
}

/* The capabilities that change what the stream looks like; only one is known here. */
static void put_capabilities(struct buf *out, struct jsonw *json)
{
	uint8_t n = (uint8_t)strlen(CAP_IGNORE_SHARED_NAME);

	buf_put_u8(out, SECTION_SUBSECTION);
	buf_put_u8(out, (uint8_t)strlen(CAPABILITIES_NAME));
	buf_put_str(out, CAPABILITIES_NAME);
	buf_put_be32(out, 1);
	buf_put_be32(out, 1);
	buf_put_u8(out, n);
	buf_put_str(out, CAP_IGNORE_SHARED_NAME);
	jsonw_begin_array(json, "subsections");
	jsonw_begin_object(json, NULL);
	jsonw_str(json, "vmsd_name", CAPABILITIES_NAME);
	jsonw_u64(json, "version", 1);
	jsonw_begin_array(json, "fields");
	describe_field(json, "caps_count", "uint32", 4);
	describe_field(json, "capabilities", "capability", n + 1u);
	jsonw_end_array(json);
	jsonw_end_object(json);
	jsonw_end_array(json);
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
	describe_field(json, "len", "uint32", 4);
	describe_field(json, "name", "buffer", n);
	jsonw_end_array(json);
	if (s->ignore_shared)
		put_capabilities(out, json);
	jsonw_end_object(json);
}

/* Lists the blocks; their pages, if any, follow in a section of their own. */
static void put_ram_list(const struct snapshot *s, struct buf *out)
{
	uint64_t total = 0;

	for (size_t i = 0; i < s->nr_rams; i++)
		total += s->rams[i].size;
	trace_savevm_section_start("ram", RAM_SECTION_ID);
	put_section_header(out, SECTION_START, RAM_SECTION_ID, "ram", 0, RAM_VERSION);
	buf_put_be64(out, total | RAM_FLAG_MEM_SIZE);
	for (size_t i = 0; i < s->nr_rams; i++) {
		buf_put_u8(out, (uint8_t)strlen(s->rams[i].name));
		buf_put_str(out, s->rams[i].name);
		buf_put_be64(out, s->rams[i].size);
		if (s->ignore_shared)
			buf_put_be64(out, s->rams[i].gpa);
	}
	buf_put_be64(out, RAM_FLAG_EOS);
	stream_put_footer(out, RAM_SECTION_ID);
}

static void put_ram_end(struct buf *out)
{
	buf_put_u8(out, SECTION_COMMAND);
	buf_put_be16(out, COMMAND_SWITCHOVER_START);
	buf_put_be16(out, 0);

	stream_put_part(out, SECTION_END, RAM_SECTION_ID);
	buf_put_be64(out, RAM_FLAG_EOS);
	stream_put_footer(out, RAM_SECTION_ID);
	trace_savevm_section_end("ram", RAM_SECTION_ID, 0);
}

static void put_full(struct buf *out, struct jsonw *json, uint32_t id, const char *idstr,
		     uint32_t instance, const struct vs_desc *desc, const void *state)
{
	trace_savevm_section_start(idstr, id);
	trace_vmstate_save(idstr, desc->name);
	put_section_header(out, SECTION_FULL, id, idstr, instance, desc->version);
	jsonw_begin_object(json, NULL);
	jsonw_str(json, "name", idstr);
	jsonw_u64(json, "instance_id", instance);
	vs_encode(desc, state, out, json);
	jsonw_end_object(json);
	stream_put_footer(out, id);
	trace_savevm_section_end(idstr, id, 0);
}

void stream_put_head(const struct snapshot *s, struct buf *out, struct jsonw *json)
{
	buf_put_be32(out, STREAM_MAGIC);
	buf_put_be32(out, STREAM_VERSION);
	jsonw_begin_object(json, NULL);
	put_configuration(s, out, json);
	jsonw_u64(json, "page_size", PAGE_SIZE_BYTES);
	jsonw_begin_array(json, "devices");
	put_ram_list(s, out);
}

int stream_put_tail(const struct snapshot *s, struct stream_sum *sum, struct buf *out,
		    struct jsonw *json, struct buf *json_text, struct err *e)
{
	AUTO_BUF checksum_section = { 0 };
	uint32_t id = FIRST_DEVICE_SECTION_ID;
	size_t start = out->len;
	struct checksum check = { 0 };

	put_ram_end(out);
	for (size_t i = 0; i < s->nr_items; i++) {
		const struct snapshot_item *it = &s->items[i];

		if (snapshot_item_is_left_out(it))
			trace_savevm_section_skip(it->idstr, id);
		else
			put_full(out, json, id++, it->idstr, it->instance_id, it->desc, it->state);
	}
	/* The description of the checksum section does not depend on its values. */
	put_full(&checksum_section, json, id, STREAM_CHECKSUM_IDSTR, 0, &checksum_desc, &check);
	jsonw_end_array(json);
	jsonw_end_object(json);
	if (out->failed || json_text->failed)
		return err_set(e, ENOMEM, "no memory to write the state");

	stream_sum_add(sum, out->data + start, out->len - start);
	check.length = sum->length;
	check.xxh3 = stream_sum_value(sum);
	check.vmdesc_xxh3 = stream_hash(json_text->data, json_text->len);
	put_section_header(out, SECTION_FULL, id, STREAM_CHECKSUM_IDSTR, 0, checksum_desc.version);
	vs_encode(&checksum_desc, &check, out, NULL);
	stream_put_footer(out, id);
	buf_put_u8(out, SECTION_EOF);
	buf_put_u8(out, SECTION_VMDESC);
	buf_put_be32(out, (uint32_t)json_text->len);
	buf_put(out, json_text->data, json_text->len);
	if (out->failed)
		return err_set(e, ENOMEM, "no memory to write the state");
	return 0;
}

/* @json writes to @json_text, or is NULL: then that stays empty. */
static int encode(const struct snapshot *s, struct buf *out, struct jsonw *json,
		  struct buf *json_text, struct err *e)
{
	size_t start = out->len;
	struct stream_sum sum;

	stream_put_head(s, out, json);
	if (out->failed)
		return err_set(e, ENOMEM, "no memory to write the state");
	stream_sum_init(&sum);
	stream_sum_add(&sum, out->data + start, out->len - start);
	return stream_put_tail(s, &sum, out, json, json_text, e);
}

int stream_encode(const struct snapshot *s, struct buf *out, struct err *e)
{
	AUTO_BUF json_text = { 0 };
	struct jsonw json;

	jsonw_init(&json, &json_text);
	return encode(s, out, &json, &json_text, e);
}

int stream_encode_bare(const struct snapshot *s, struct buf *out, struct err *e)
{
	struct buf nothing = { 0 };

	return encode(s, out, NULL, &nothing, e);
}

static int get_string(struct cursor *in, char *s)
{
	uint8_t n = cursor_u8(in);

	cursor_get(in, s, n);
	s[in->failed ? 0 : n] = '\0';
	return in->failed || strlen(s) != n ? -EINVAL : 0;
}

/* One capability's name, which must be one that this program has. */
static int take_capability(struct cursor *in, struct err *e)
{
	char name[256];

	if (get_string(in, name))
		return err_set(e, EINVAL, "the configuration section is cut short");
	if (strcmp(name, CAP_IGNORE_SHARED_NAME))
		return err_set(e, ENOTSUP,
			       "the state needs the capability '%s', which is not "
			       "supported",
			       name);
	return 0;
}

/* The subsection is optional and its absence means that none is on. */
static int take_capabilities(struct cursor *in, struct snapshot *s, struct err *e)
{
	size_t n = strlen(CAPABILITIES_NAME);
	bool ignore_shared = false;
	uint32_t count;
	int r;

	if (cursor_left(in) > 2 + n && in->p[0] == SECTION_SUBSECTION && in->p[1] == n &&
	    !memcmp(in->p + 2, CAPABILITIES_NAME, n)) {
		cursor_take(in, 2 + n);
		if (cursor_be32(in) != 1)
			return err_set(e, EINVAL, "unknown version of the list of capabilities");
		count = cursor_be32(in);
		if (count > 1)
			return err_set(e, EINVAL, "the state lists %u capabilities", count);
		r = count ? take_capability(in, e) : 0;
		if (r)
			return r;
		ignore_shared = count;
	}
	if (s->adopt_capabilities)
		s->ignore_shared = ignore_shared;
	for (size_t i = 0; s->adopt_capabilities && !ignore_shared && i < s->nr_rams; i++)
		s->rams[i].in_place = false;
	if (ignore_shared != s->ignore_shared)
		return err_set(e, EINVAL, "Capability %s is %s, but received capability is %s",
			       CAP_IGNORE_SHARED_NAME, s->ignore_shared ? "on" : "off",
			       ignore_shared ? "on" : "off");
	return 0;
}

int stream_take_header(struct cursor *in, struct snapshot *s, struct err *e)
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
	return take_capabilities(in, s, e);
}

/* The bytes a checksum section takes, from its type byte to its footer. */
static size_t checksum_section_size(void)
{
	return 1 + 4 + 1 + strlen(STREAM_CHECKSUM_IDSTR) + 4 + 4 + 3 * 8 + 5;
}

/* The same with the end mark and the description's mark and length behind it. */
static size_t frame_size(void)
{
	return checksum_section_size() + 1 + 1 + 4;
}

/* Where a state ends whose description begins at @at; 0: none can begin there. */
static uint64_t described_end(const uint8_t *p, size_t at)
{
	size_t idlen = strlen(STREAM_CHECKSUM_IDSTR);
	const uint8_t *desc = p + at - 5, *section = p + at - frame_size();
	struct cursor in;

	if (at < frame_size() || desc[0] != SECTION_VMDESC || section[0] != SECTION_FULL ||
	    section[5] != idlen || memcmp(section + 6, STREAM_CHECKSUM_IDSTR, idlen))
		return 0;
	cursor_init(&in, desc + 1, 4);
	return at + cursor_be32(&in);
}

/*
 * The end is fixed: checksum section, end mark, description up to the last byte. The
 * description's length stands before it, so the frame is found from the back: the only
 * place where a mark, a length that reaches exactly to the end, and a checksum section before
 * them fit together. *@at is where the description begins.
 */
static bool find_frame(const uint8_t *p, size_t n, struct checksum *sum, size_t *at)
{
	struct cursor in;

	for (*at = n; *at >= frame_size(); (*at)--) {
		if (described_end(p, *at) != n)
			continue;
		cursor_init(&in, p + *at - frame_size() + 6 + strlen(STREAM_CHECKSUM_IDSTR) + 8,
			    24);
		sum->length = cursor_be64(&in);
		sum->xxh3 = cursor_be64(&in);
		sum->vmdesc_xxh3 = cursor_be64(&in);
		return true;
	}
	return false;
}

enum {
	END_PIECE_BITS = 4096 * 8,
	END_PIECES = STREAM_MAX_BYTES / END_PIECE_BITS + 1,
};

int stream_tail_init(struct stream_tail *t, struct err *e)
{
	*t = (struct stream_tail){ .ends = calloc(END_PIECES, sizeof(*t->ends)) };
	return t->ends ? 0 : err_set(e, ENOMEM, "no memory to read the state");
}

void stream_tail_fini(struct stream_tail *t)
{
	buf_fini(&t->bytes);
	for (size_t i = 0; t->ends && i < END_PIECES; i++)
		free(t->ends[i]);
	free(TAKE_PTR(t->ends));
}

static void note_end(struct stream_tail *t, uint64_t end)
{
	uint8_t **piece = &t->ends[end / END_PIECE_BITS];

	if (!*piece)
		*piece = calloc(1, END_PIECE_BITS / 8);
	if (*piece)
		(*piece)[end % END_PIECE_BITS / 8] |= (uint8_t)(1u << end % 8);
	else
		t->bytes.failed = true;
}

static bool is_end(const struct stream_tail *t, size_t n)
{
	const uint8_t *piece = t->ends[n / END_PIECE_BITS];

	return piece && piece[n % END_PIECE_BITS / 8] >> n % 8 & 1;
}

bool stream_tail_is_whole(struct stream_tail *t)
{
	size_t n = t->bytes.len;

	while (t->seen < n) {
		uint64_t end = described_end(t->bytes.data, ++t->seen);

		if (end && end <= STREAM_MAX_BYTES)
			note_end(t, end);
	}
	return n <= STREAM_MAX_BYTES && !t->bytes.failed && is_end(t, n);
}

static int check_frame(const struct stream_sum *before, const uint8_t *p, size_t n, struct err *e)
{
	struct checksum sum;
	struct stream_sum is;
	size_t at, covered;

	if (!find_frame(p, n, &sum, &at))
		return err_set(e, ENODATA,
			       "the state is truncated or damaged: its %zu bytes have no checksum "
			       "at the end",
			       n);
	covered = at - frame_size();
	is = *before;
	stream_sum_add(&is, p, covered);
	if (sum.length != is.length)
		return err_set(e, EINVAL,
			       "the state is %llu bytes long before its checksum, it was written "
			       "with %llu",
			       (unsigned long long)is.length, (unsigned long long)sum.length);
	if (sum.xxh3 != stream_sum_value(&is))
		return err_set(e, EINVAL, "the state is damaged: its checksum does not match");
	if (sum.vmdesc_xxh3 != stream_hash(p + at, n - at))
		return err_set(e, EINVAL,
			       "the state is damaged: the checksum of its description does not "
			       "match");
	return 0;
}

int stream_take_footer(struct cursor *in, uint32_t id, const char *idstr, struct err *e)
{
	if (cursor_u8(in) != SECTION_FOOTER || cursor_be32(in) != id || in->failed)
		return err_set(e, EINVAL, "Missing section footer for %s", idstr);
	return 0;
}

struct snapshot_ram *stream_find_ram(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->nr_rams; i++)
		if (!strcmp(s->rams[i].name, name))
			return &s->rams[i];
	return NULL;
}

static int decode_ram_list(struct cursor *in, struct snapshot *s, struct err *e)
{
	uint64_t total = cursor_be64(in);
	struct snapshot_ram *ram;
	uint64_t sum = 0, size, gpa;
	char name[256];
	size_t nr = 0;

	if (in->failed || !(total & RAM_FLAG_MEM_SIZE))
		return err_set(e, EINVAL, "the ram section does not start with the sizes");
	total &= ~(uint64_t)RAM_FLAG_MEM_SIZE;
	for (; sum < total; nr++) {
		if (get_string(in, name))
			return err_set(e, EINVAL, "the list of RAM blocks is cut short");
		size = cursor_be64(in);
		gpa = s->ignore_shared ? cursor_be64(in) : 0;
		ram = stream_find_ram(s, name);
		if (!ram)
			return err_set(e, EINVAL,
				       "Unknown ramblock \"%s\", cannot accept migration", name);
		if (ram->size != size)
			return err_set(e, EINVAL,
				       "Size mismatch: RAM block '%s' has %llu bytes in the state "
				       "and %llu here",
				       name, (unsigned long long)size,
				       (unsigned long long)ram->size);
		if (s->ignore_shared && ram->in_place && ram->gpa != gpa)
			return err_set(e, EINVAL, "Mismatched GPAs for block %s", name);
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
		return err_set(e, EINVAL, "the list of RAM blocks does not end with them");
	return 0;
}

static int decode_full(struct cursor *in, struct snapshot *s, const char *idstr, uint32_t instance,
		       uint32_t version, struct err *e)
{
	struct snapshot_item *it = snapshot_find_loading(s, idstr, instance);
	int r;

	if (!it)
		return err_set(e, EINVAL,
			       "Unknown section or instance '%s' %u. Make sure that your current "
			       "VM setup matches your saved VM setup",
			       idstr, instance);
	if (it->loaded)
		return err_set(e, EINVAL, "section '%s' %u comes twice", idstr, instance);
	trace_vmstate_load(idstr, it->desc->name);
	r = vs_decode(it->desc, version, in, it->state, e);
	if (r)
		return err_prefix(e, "section '%s' %u", idstr, instance);
	it->loaded = true;
	return 0;
}

static int take_section_name(struct cursor *in, uint32_t id, char idstr[256], uint32_t *instance,
			     uint32_t *version, struct err *e)
{
	int r = get_string(in, idstr);

	*instance = cursor_be32(in);
	*version = cursor_be32(in);
	trace_qemu_loadvm_state_section_startfull(id, idstr, *instance, *version);
	return r || in->failed ? err_set(e, EINVAL, "section %u has no proper name", id) : 0;
}

int stream_take_ram_list(struct cursor *in, struct snapshot *s, struct err *e)
{
	uint8_t type = cursor_u8(in);
	uint32_t id = cursor_be32(in), instance, version;
	char idstr[256];
	int r;

	trace_qemu_loadvm_state_section(type);
	if (type != SECTION_START)
		return err_set(e, EINVAL, "the state does not list the RAM blocks");
	r = take_section_name(in, id, idstr, &instance, &version, e);
	if (r)
		return r;
	if (strcmp(idstr, "ram") || instance || id != RAM_SECTION_ID)
		return err_set(e, EINVAL, "section '%s' cannot come in parts", idstr);
	if (version != RAM_VERSION)
		return err_set(e, EINVAL, "unsupported version %u for 'ram' v%d", version,
			       RAM_VERSION);
	r = decode_ram_list(in, s, e);
	return r ? r : stream_take_footer(in, id, idstr, e);
}

static int decode_section(struct cursor *in, uint8_t type, struct snapshot *s, bool *done,
			  struct err *e)
{
	uint32_t id = cursor_be32(in), instance, version;
	char idstr[256];
	int r;

	if (type == SECTION_END) {
		trace_qemu_loadvm_state_section_partend(id);
		if (id != RAM_SECTION_ID || cursor_be64(in) != RAM_FLAG_EOS)
			return err_set(e, EINVAL, "end of a section %u that was not started", id);
		return stream_take_footer(in, id, "ram", e);
	}
	r = take_section_name(in, id, idstr, &instance, &version, e);
	if (r)
		return r;
	if (!strcmp(idstr, STREAM_CHECKSUM_IDSTR)) {
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
	return r ? r : stream_take_footer(in, id, idstr, e);
}

static int decode_sections(struct cursor *in, struct snapshot *s, struct err *e)
{
	bool done = false;
	uint32_t vmdesc_len;
	uint8_t type;
	int r;

	while (!done) {
		type = cursor_u8(in);
		if (in->failed)
			return err_set(e, ENODATA, "the state ends between two sections");
		trace_qemu_loadvm_state_section(type);
		switch (type) {
		case SECTION_START:
			return err_set(e, EINVAL, "the RAM blocks are listed twice");
		case SECTION_PART:
			return err_set(e, EINVAL,
				       "the state holds pages of RAM, which have no place here");
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
	/* The sections that were read are those that check_frame() verified. */
	if (cursor_u8(in) != SECTION_EOF || cursor_u8(in) != SECTION_VMDESC)
		return err_set(e, EINVAL, "the state goes on after its checksum");
	vmdesc_len = cursor_be32(in);
	if (vmdesc_len != cursor_left(in))
		return err_set(e, EINVAL, "the state goes on after its checksum");
	return 0;
}

void stream_reset(struct snapshot *s)
{
	for (size_t i = 0; i < s->nr_items; i++)
		s->items[i].loaded = false;
	for (size_t i = 0; i < s->nr_rams; i++) {
		s->rams[i].listed = false;
		s->rams[i].pages_loaded = 0;
	}
}

/* The sections from @in on, which a checksum has verified. */
static int take_sections(struct cursor *in, struct snapshot *s, struct err *e)
{
	int r = decode_sections(in, s, e);

	if (r)
		return r;
	for (size_t i = 0; i < s->nr_items; i++) {
		const struct snapshot_item *it = &s->items[i];

		if (!it->loaded && !it->optional && !it->dispensable)
			return err_set(e, EINVAL,
				       "the state has no section '%s' %u, which this machine needs",
				       it->idstr, it->instance_id);
		if (it->loaded || it->dispensable)
			continue;
		memset(it->state, 0, it->desc->size);
		if (it->desc->reset)
			memcpy(it->state, it->desc->reset, it->desc->size);
	}
	return 0;
}

int stream_take_tail(const struct stream_sum *before, const void *p, size_t n, struct snapshot *s,
		     struct err *e)
{
	struct cursor in;
	int r = check_frame(before, p, n, e);

	cursor_init(&in, p, n);
	return r ? r : take_sections(&in, s, e);
}

int stream_decode(const void *p, size_t n, struct snapshot *s, struct err *e)
{
	struct stream_sum nothing;
	struct cursor in;
	int r;

	if (n > STREAM_MAX_BYTES)
		return err_set(e, EFBIG, "the state is %zu bytes long, more than any machine's", n);
	stream_reset(s);
	stream_sum_init(&nothing);
	cursor_init(&in, p, n);
	r = stream_take_header(&in, s, e);
	if (!r)
		r = check_frame(&nothing, p, n, e);
	if (!r)
		r = stream_take_ram_list(&in, s, e);
	return r ? r : take_sections(&in, s, e);
}
