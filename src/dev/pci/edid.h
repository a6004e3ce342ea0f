/* SPDX-License-Identifier: MIT */
/* EDID: what a monitor says of itself. */
#ifndef DEV_PCI_EDID_H
#define DEV_PCI_EDID_H

#include <stdint.h>

enum {
	EDID_BYTES = 128,
	EDID_MIN_X = 320,
	EDID_MIN_Y = 200,
	EDID_MAX = 4095, /* pixels either way, what its fields can hold */
};

/*
 * The block of a digital monitor of @xres by @yres pixels, EDID_MIN_X.. and EDID_MIN_Y.. to EDID_MAX, at 60
 * Hz or, where the pixel clock would be too fast to be told, 30 Hz (VESA E-EDID 1.4, section 3).
 */
void edid_build(uint8_t out[EDID_BYTES], uint32_t xres, uint32_t yres);

#endif
