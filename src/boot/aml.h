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
void aml_end(struct buf *out, size_t start);

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
void aml_res_end(struct buf *res);

#endif
