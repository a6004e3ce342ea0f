/* SPDX-License-Identifier: MIT */
/* Pictures of displays as the bytes of image files. */
#ifndef CTL_PICTURE_FILE_H
#define CTL_PICTURE_FILE_H

#include "base/buf.h"
#include "base/err.h"
#include "machine/display.h"

/* Appends @p as a binary PPM (P6), or as a PNG of 8 bits a colour. -ENOMEM, -EINVAL. */
int picture_put_ppm(const struct picture *p, struct buf *out, struct err *e);
int picture_put_png(const struct picture *p, struct buf *out, struct err *e);

#endif
