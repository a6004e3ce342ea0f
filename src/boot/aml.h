/* SPDX-License-Identifier: MIT */
/* Writes ACPI Machine Language: the few objects a DSDT of ours is made of. */
#ifndef BOOT_AML_H
#define BOOT_AML_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * Encodings are those of the ACPI specification 6.4, chapter 20. Memory
 * shortage and a body too long for its length field show in out->failed.
 *
 * A body is opened by one of the begin functions and closed by aml_end() with
 * the value begin returned; bodies nest. Names are one segment of up to four
 * characters; an optional leading backslash means the root.
 */
size_t aml_begin_scope(struct buf *out, const char *name);
size_t aml_begin_device(struct buf *out, const char *name);
/* @count elements follow, each written by aml_put_int() and its like. */
size_t aml_begin_package(struct buf *out, uint8_t count);
/* @args arguments: AML_ARG0 and on; statements follow. */
size_t aml_begin_method(struct buf *out, const char *name, uint8_t args);
/* The predicate follows, then statements; an else block stands right behind the end. */
size_t aml_begin_if(struct buf *out);
size_t aml_begin_else(struct buf *out);
void aml_end(struct buf *out, size_t start);

/*
 * Operators and what they work on, as they are written: an operator, then its operands, then the
 * target of those that have one (AML_NO_TARGET: the value is used where it stands).
 */
enum aml_code {
	AML_NO_TARGET = 0x00,
	AML_LOCAL0 = 0x60,
	AML_ARG0 = 0x68,
	AML_ARG1 = 0x69,
	AML_ARG3 = 0x6b,
	AML_STORE = 0x70, /* source, target */
	AML_AND = 0x7b,   /* operand, operand, target */
	AML_OR = 0x7d,
	AML_CREATE_DWORD_FIELD = 0x8a, /* buffer, offset, name of the field */
	AML_NOT = 0x92,                /* logical */
	AML_EQUAL = 0x93,
	AML_RETURN = 0xa4,
};

void aml_put_code(struct buf *out, enum aml_code code);
/* A name as an operand. */
void aml_put_ref(struct buf *out, const char *name);

/* Name(@name, x), where x is the next object written. */
void aml_put_name(struct buf *out, const char *name);
/* An integer, in the shortest encoding. */
void aml_put_int(struct buf *out, uint64_t value);
void aml_put_str(struct buf *out, const char *s);
/* The integer that stands for @id, three capital letters and four hex digits: PNP0501. */
void aml_put_eisa_id(struct buf *out, const char *id);
/* Buffer() with the bytes of @body; a resource template once it has its end tag. */
void aml_put_buffer(struct buf *out, const struct buf *body);

/* Resource descriptors, to be collected in a buffer of their own; ACPI 6.4, section 6.4. */
void aml_res_io(struct buf *res, uint16_t base, uint8_t length);
/* An edge-triggered, active-high, exclusive ISA interrupt below 16. */
void aml_res_irq(struct buf *res, unsigned int irq);
/* What a bridge hands on to what is behind it: bus numbers, ports, memory; ends included. */
void aml_res_buses(struct buf *res, uint8_t first, uint8_t last);
void aml_res_ports(struct buf *res, uint16_t first, uint16_t last);
void aml_res_memory(struct buf *res, uint32_t first, uint32_t last);
void aml_res_memory64(struct buf *res, uint64_t first, uint64_t last);
/* Memory that the device itself takes. */
void aml_res_fixed_memory(struct buf *res, uint32_t base, uint32_t length);
void aml_res_end(struct buf *res);

#endif
