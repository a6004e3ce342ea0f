/* SPDX-License-Identifier: MIT */
/* State structs with tables that use every macro, for the tests of state/vmstate. */
#ifndef TESTS_UNIT_VMSTATE_FIXTURE_H
#define TESTS_UNIT_VMSTATE_FIXTURE_H

#include "state/vmstate.h"

struct inner {
	uint16_t a;
	uint8_t b[2];
};

static const struct vs_field inner_fields[] = {
	VS_FIELD(struct inner, a),
	VS_BUFFER(struct inner, b),
	VS_END,
};

static const struct vs_desc inner_desc = {
	.name = "all/inner",
	.version = 3,
	.min_version = 3,
	.size = sizeof(struct inner),
	.fields = inner_fields,
};

/* One member for each macro and each wire kind. */
struct all {
	uint64_t u64;
	int64_t i64;
	uint32_t u32;
	int32_t i32;
	uint16_t u16;
	int16_t i16;
	uint8_t u8;
	int8_t i8;
	bool flag;
	uint8_t ranged;
	uint16_t arr[3];
	uint8_t raw[2];
	struct inner one;
	struct inner two[2];
	uint32_t nr_var;
	uint8_t var[4];
	uint32_t nr_elems;
	struct inner elems[3];
	int32_t late;
};

static const struct vs_field all_fields[] = {
	VS_FIELD(struct all, u64),
	VS_FIELD(struct all, i64),
	VS_FIELD(struct all, u32),
	VS_FIELD(struct all, i32),
	VS_FIELD(struct all, u16),
	VS_FIELD(struct all, i16),
	VS_FIELD(struct all, u8),
	VS_FIELD(struct all, i8),
	VS_FIELD(struct all, flag),
	VS_FIELD_RANGE(struct all, ranged, 3, 9),
	VS_ARRAY(struct all, arr),
	VS_BUFFER(struct all, raw),
	VS_STRUCT(struct all, one, &inner_desc),
	VS_STRUCT_ARRAY(struct all, two, &inner_desc),
	VS_FIELD(struct all, nr_var),
	VS_BUFFER_VAR(struct all, var, nr_var),
	VS_FIELD(struct all, nr_elems),
	VS_STRUCT_ARRAY_VAR(struct all, elems, nr_elems, &inner_desc),
	VS_FIELD_SINCE(struct all, late, 2),
	VS_END,
};

static const struct vs_desc all_desc = {
	.name = "all",
	.version = 2,
	.min_version = 1,
	.size = sizeof(struct all),
	.fields = all_fields,
};

static const struct all sample = {
	.u64 = 0x0102030405060708,
	.i64 = -2,
	.u32 = 0x11121314,
	.i32 = -3,
	.u16 = 0x2122,
	.i16 = -4,
	.u8 = 0x31,
	.i8 = -5,
	.flag = true,
	.ranged = 9,
	.arr = { 0x4142, 0x4344, 0x4546 },
	.raw = { 0x51, 0x52 },
	.one = { 0x6162, { 0x63, 0x64 } },
	.two = { { 0x7172, { 0x73, 0x74 } }, { 0x7576, { 0x77, 0x78 } } },
	.nr_var = 3,
	.var = { 0x81, 0x82, 0x83 },
	.nr_elems = 1,
	.elems = { { 0x9192, { 0x93, 0x94 } } },
	.late = -6,
};

static const uint8_t sample_bytes[] = {
	0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, /* u64 */
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, /* i64 */
	0x11, 0x12, 0x13, 0x14, 0xff, 0xff, 0xff, 0xfd, /* u32 i32 */
	0x21, 0x22, 0xff, 0xfc, 0x31, 0xfb,             /* u16 i16 u8 i8 */
	0x01, 0x09,                                     /* flag ranged */
	0x41, 0x42, 0x43, 0x44, 0x45, 0x46,             /* arr */
	0x51, 0x52,                                     /* raw */
	0x61, 0x62, 0x63, 0x64,                         /* one */
	0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, /* two */
	0x00, 0x00, 0x00, 0x03, 0x81, 0x82, 0x83,       /* nr_var var */
	0x00, 0x00, 0x00, 0x01, 0x91, 0x92, 0x93, 0x94, /* nr_elems elems */
	0x05, 6,    'a',  'l',  'l',  '/',  'v',  '2',  /* subsection of version 2 */
	0x00, 0x00, 0x00, 0x02, 0xff, 0xff, 0xff, 0xfa, /* late */
};

/* A class whose versions 2 and 3 added fields; and what its earlier tables were. */
struct grown {
	uint32_t base;
	uint16_t two;
	uint8_t three;
	uint8_t two_more;
};

static const struct grown grown_reset = { .base = 5, .two = 7, .three = 0, .two_more = 1 };

#define GROWN_DESC(var, ver, ...)                                              \
	static const struct vs_field var##_fields[] = { __VA_ARGS__, VS_END }; \
	static const struct vs_desc var = {                                    \
		.name = "grown",                                               \
		.version = (ver),                                              \
		.min_version = 1,                                              \
		.size = sizeof(struct grown),                                  \
		.reset = &grown_reset,                                         \
		.fields = var##_fields,                                        \
	}

GROWN_DESC(grown_v1, 1, VS_FIELD(struct grown, base));
GROWN_DESC(grown_v3, 3, VS_FIELD(struct grown, base), VS_FIELD_SINCE(struct grown, three, 3),
	   VS_FIELD_SINCE(struct grown, two, 2), VS_FIELD_SINCE(struct grown, two_more, 2));

static bool three_is_set(const void *s)
{
	return ((const struct grown *)s)->three;
}

static const struct vs_field part_fields[] = {
	VS_FIELD(struct grown, three),
	VS_FIELD(struct grown, two_more),
	VS_END,
};

static const struct vs_desc part_desc = {
	.name = "grown/part",
	.version = 6,
	.min_version = 5,
	.size = sizeof(struct grown),
	.fields = part_fields,
};

static const struct vs_subsection grown_parts[] = {
	{ &part_desc, three_is_set },
	{ NULL, NULL },
};

static const struct vs_field grown_own_fields[] = {
	VS_FIELD(struct grown, base),
	VS_FIELD(struct grown, two),
	VS_END,
};

static const struct vs_desc grown_parts_desc = {
	.name = "grown",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct grown),
	.fields = grown_own_fields,
	.subsections = grown_parts,
};

#endif
