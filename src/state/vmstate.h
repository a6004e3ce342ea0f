/* SPDX-License-Identifier: MIT */
/* State described by tables: what of a struct crosses an update, and how it looks on the wire. */
#ifndef STATE_VMSTATE_H
#define STATE_VMSTATE_H

/*
 * DOC: theory of operation
 *
 * A state struct is plain data: fixed-width integers, bool, arrays and nested
 * structs of them; no pointers, no padding. A struct vs_desc lists its members
 * with VS_FIELD() and its relatives; the wire kind comes from the member's own
 * type, so the table cannot disagree with the struct. vs_audit() demands that
 * every byte is covered exactly once.
 *
 * On the wire the fields follow one another in table order, big-endian, with no
 * tags. Fields that were added to a class later carry the version they came
 * with (`since`); all fields of one such version travel in a subsection named
 * CLASS/vN that is sent only if one of them differs from its reset value, so an
 * older receiver accepts the state whenever the difference does not matter and
 * refuses it by name when it does.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/jsonw.h"

enum vs_kind {
	VS_KIND_BOOL,   /* one byte, 0 or 1                     */
	VS_KIND_UINT,   /* unsigned, big-endian, elem_size bytes */
	VS_KIND_INT,    /* two's complement, else as VS_KIND_UINT */
	VS_KIND_BUFFER, /* raw bytes                            */
	VS_KIND_STRUCT, /* described by @sub                    */
};

struct vs_desc;

struct vs_field {
	const char *name;
	uint32_t offset;     /* of the member in its struct                         */
	uint32_t elem_size;  /* bytes of one element in memory (a buffer: always 1) */
	uint32_t count;      /* elements in memory; 1 for a scalar                  */
	uint32_t len_offset; /* var_len: where the uint32_t with the used count is  */
	uint32_t since;      /* version the field came with; 0: from the start      */
	enum vs_kind kind;
	bool is_array;
	bool var_len;   /* only the first *len_offset elements are sent        */
	bool has_range; /* loaded values must lie in [min, max]                */
	uint64_t min;
	uint64_t max;
	const struct vs_desc *sub; /* VS_KIND_STRUCT only                                 */
	/* Whether the field is sent; looks at fields before it only. NULL: always. */
	bool (*exists)(const void *s);
};

/* A part of the state that is sent only when needed; fields are of the same struct. */
struct vs_subsection {
	const struct vs_desc *desc; /* its name starts with the parent's name and a slash */
	bool (*needed)(const void *s);
};

struct vs_desc {
	const char *name;
	uint32_t version;                        /* what is written                            */
	uint32_t min_version;                    /* the oldest that is read                    */
	uint32_t size;                           /* of the struct                              */
	const void *reset;                       /* reset values of the struct; NULL: all zero */
	const struct vs_field *fields;           /* ends with a NULL name                     */
	const struct vs_subsection *subsections; /* ends with a NULL desc; or NULL  */
	/*
	 * Judges a completely loaded scratch copy across fields; NULL: anything goes.
	 * Fills @e and returns -errno to refuse it.
	 */
	int (*check)(const void *s, struct err *e);
	bool unmigratable; /* this state cannot be saved; there are no fields  */
};

/* A pointer member matches none of these, so listing one does not compile. */
#define VS_KIND_OF(x)                     \
	_Generic((x), bool                \
		 : VS_KIND_BOOL, uint8_t  \
		 : VS_KIND_UINT, uint16_t \
		 : VS_KIND_UINT, uint32_t \
		 : VS_KIND_UINT, uint64_t \
		 : VS_KIND_UINT, int8_t   \
		 : VS_KIND_INT, int16_t   \
		 : VS_KIND_INT, int32_t   \
		 : VS_KIND_INT, int64_t   \
		 : VS_KIND_INT)
#define VS_MEMBER(type, member) (((type *)0)->member)
/* Zero; does not compile unless the member is an array. */
#define VS_MUST_BE_ARRAY(type, member)                                                       \
	(0 * sizeof(struct {                                                                 \
		 int not_an_array                                                            \
		     : __builtin_types_compatible_p(__typeof__(VS_MEMBER(type, member)),     \
						    __typeof__(&VS_MEMBER(type, member)[0])) \
		       ? -1                                                                  \
		       : 1;                                                                  \
	 }))

#define VS_FIELD_BASE(type, member)                               \
	.name = #member, .offset = offsetof(type, member),        \
	.elem_size = sizeof(VS_MEMBER(type, member)), .count = 1, \
	.kind = VS_KIND_OF(VS_MEMBER(type, member))
#define VS_ARRAY_BASE(type, member)                                                         \
	.name = #member, .offset = offsetof(type, member) + VS_MUST_BE_ARRAY(type, member), \
	.elem_size = sizeof(VS_MEMBER(type, member)[0]),                                    \
	.count = sizeof(VS_MEMBER(type, member)) / sizeof(VS_MEMBER(type, member)[0]),      \
	.is_array = true

/* A scalar: bool or a fixed-width integer. */
#define VS_FIELD(type, member)              \
	{                                   \
		VS_FIELD_BASE(type, member) \
	}
/* A scalar added in version @ver of the class. */
#define VS_FIELD_SINCE(type, member, ver)                   \
	{                                                   \
		VS_FIELD_BASE(type, member), .since = (ver) \
	}
/* A scalar that is sent only where @fn holds for the fields before it. */
#define VS_FIELD_TEST(type, member, fn)                     \
	{                                                   \
		VS_FIELD_BASE(type, member), .exists = (fn) \
	}
/* A scalar whose loaded value must lie in [lo, hi]. */
#define VS_FIELD_RANGE(type, member, lo, hi)                                             \
	{                                                                                \
		VS_FIELD_BASE(type, member), .has_range = true, .min = (lo), .max = (hi) \
	}
/* An array of scalars. */
#define VS_ARRAY(type, member)                                                              \
	{                                                                                   \
		VS_ARRAY_BASE(type, member), .kind = VS_KIND_OF(VS_MEMBER(type, member)[0]) \
	}
/* An array of bytes, sent as one buffer. */
#define VS_BUFFER(type, member)                                     \
	{                                                           \
		VS_ARRAY_BASE(type, member), .kind = VS_KIND_BUFFER \
	}
/* The first s->len_member bytes of an array of bytes; len_member comes earlier in the table. */
#define VS_BUFFER_VAR(type, member, len_member)                                       \
	{                                                                             \
		VS_ARRAY_BASE(type, member), .kind = VS_KIND_BUFFER, .var_len = true, \
					     .len_offset = offsetof(type, len_member) \
	}
/* A nested struct with its own table. */
#define VS_STRUCT(type, member, d)                                                                \
	{                                                                                         \
		.name = #member, .offset = offsetof(type, member),                                \
		.elem_size = sizeof(VS_MEMBER(type, member)), .count = 1, .kind = VS_KIND_STRUCT, \
		.sub = (d)                                                                        \
	}
/* An array of nested structs, all of it. */
#define VS_STRUCT_ARRAY(type, member, d)                                        \
	{                                                                       \
		VS_ARRAY_BASE(type, member), .kind = VS_KIND_STRUCT, .sub = (d) \
	}
/* The first s->len_member elements of an array of structs. */
#define VS_STRUCT_ARRAY_VAR(type, member, len_member, d)                                          \
	{                                                                                         \
		VS_ARRAY_BASE(type, member), .kind = VS_KIND_STRUCT, .sub = (d), .var_len = true, \
					     .len_offset = offsetof(type, len_member)             \
	}
#define VS_END               \
	{                    \
		.name = NULL \
	}

/*
 * Appends the state @s to @out and, where @json is not NULL, the members that
 * describe it ("vmsd_name", "version", "fields", "subsections") to the JSON
 * object being written. Does not change @s. Memory shortage shows in the buffers.
 */
void vs_encode(const struct vs_desc *d, const void *s, struct buf *out, struct jsonw *json);

/* -EINVAL, with the known text, unless a state of @version can be read with @d. */
int vs_check_version(const struct vs_desc *d, uint32_t version, struct err *e);

/*
 * Reads a state of @version from @in into @s, which must have room for d->size
 * bytes and is set to the reset values first. @s is scratch: on failure its
 * contents mean nothing. Everything is bounded by the table; -EINVAL names the
 * field that is wrong, -ENODATA says where the input ended.
 */
int vs_decode(const struct vs_desc *d, uint32_t version, struct cursor *in, void *s, struct err *e);

/*
 * Writes the JSON object that describes @d without any state, as a member @key of the
 * object, or element (NULL) of the array, that is being written: the form that tools which
 * compare the tables of two releases read. Newer fields are shown as their subsections.
 */
void vs_describe(const struct vs_desc *d, const char *key, struct jsonw *json);

/*
 * Fails, naming the first byte, unless each byte of the struct is described exactly
 * once; also for a nested table with parts that are not sent inline (newer fields,
 * subsections, a check, predicates), an array of structs with variable lengths, for a count after what it
 * counts, and for a subsection without a predicate, with parts of its own, or whose name
 * does not start with that of @d and a slash.
 */
int vs_audit(const struct vs_desc *d, struct err *e);

#endif
