/* SPDX-License-Identifier: MIT */
/* EDID: what a monitor says of itself. */
#include <string.h>

#include "dev/pci/edid.h"

enum {
	VENDOR = 8,
	PRODUCT = 10,
	YEAR = 17,
	VERSION = 18,
	BASICS = 20,
	CHROMATICITY = 25,
	ESTABLISHED = 35,
	STANDARD = 38,
	TIMING = 54,
	DESCRIPTOR_BYTES = 18,
	NAME = TIMING + DESCRIPTOR_BYTES,
	LIMITS = NAME + DESCRIPTOR_BYTES,
	UNUSED = LIMITS + DESCRIPTOR_BYTES,
	SUM = 127,

	/* Blanking of CVT with reduced blanking. */
	H_BLANK = 160,
	H_FRONT = 48,
	H_SYNC = 32,
	V_BLANK = 40,
	V_FRONT = 3,
	V_SYNC = 6,

	CLOCK_UNIT_HZ = 10000,
	CLOCK_MAX = 0xffff,
	DPI = 96,
};

static uint32_t millimetres(uint32_t pixels)
{
	return pixels * 254 / (DPI * 10);
}

static void put_timing(uint8_t *p, uint32_t x, uint32_t y)
{
	uint64_t per_frame = (uint64_t)(x + H_BLANK) * (y + V_BLANK), clock;
	uint32_t mm_x = millimetres(x), mm_y = millimetres(y);

	clock = per_frame * 60 / CLOCK_UNIT_HZ;
	if (clock > CLOCK_MAX)
		clock = per_frame * 30 / CLOCK_UNIT_HZ;
	p[0] = (uint8_t)clock;
	p[1] = (uint8_t)(clock >> 8);
	p[2] = (uint8_t)x;
	p[3] = H_BLANK;
	p[4] = (uint8_t)((x >> 8) << 4);
	p[5] = (uint8_t)y;
	p[6] = V_BLANK;
	p[7] = (uint8_t)((y >> 8) << 4);
	p[8] = H_FRONT;
	p[9] = H_SYNC;
	p[10] = V_FRONT << 4 | V_SYNC;
	p[12] = (uint8_t)mm_x;
	p[13] = (uint8_t)mm_y;
	p[14] = (uint8_t)((mm_x >> 8) << 4 | mm_y >> 8);
	p[17] = 0x1a; /* separate sync, horizontal positive */
}

static void put_text(uint8_t *p, uint8_t kind, const char *text)
{
	p[3] = kind;
	memset(p + 5, ' ', 13);
	memcpy(p + 5, text, strlen(text));
	p[5 + strlen(text)] = '\n';
}

void edid_build(uint8_t out[EDID_BYTES], uint32_t xres, uint32_t yres)
{
	static const uint8_t header[8] = { 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0 };
	/* sRGB's primaries and white point. */
	static const uint8_t srgb[10] = {
		0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54
	};
	static const uint8_t limits[7] = { 24, 125, 15, 160, 66, 1, '\n' };
	uint16_t vendor = ('B' - '@') << 10 | ('T' - '@') << 5 | ('N' - '@');
	uint8_t sum = 0;

	memset(out, 0, EDID_BYTES);
	memcpy(out, header, sizeof(header));
	out[VENDOR] = (uint8_t)(vendor >> 8);
	out[VENDOR + 1] = (uint8_t)vendor;
	out[PRODUCT] = 0x11;
	out[PRODUCT + 1] = 0x11;
	out[YEAR] = 2020 - 1990;
	out[VERSION] = 1;
	out[VERSION + 1] = 4;
	out[BASICS] = 0xa5; /* digital, 8 bits a colour, DisplayPort */
	out[BASICS + 1] = (uint8_t)(millimetres(xres) / 10);
	out[BASICS + 2] = (uint8_t)(millimetres(yres) / 10);
	out[BASICS + 3] = 120;  /* gamma 2.2 */
	out[BASICS + 4] = 0x06; /* sRGB; the first timing is the native one */
	memcpy(out + CHROMATICITY, srgb, sizeof(srgb));
	out[ESTABLISHED] = 0x21;     /* 640x480 and 800x600 at 60 Hz */
	out[ESTABLISHED + 1] = 0x08; /* 1024x768 at 60 Hz            */
	memset(out + STANDARD, 1, 16);
	put_timing(out + TIMING, xres, yres);
	put_text(out + NAME, 0xfc, "Baton");
	out[LIMITS + 3] = 0xfd;
	memcpy(out + LIMITS + 5, limits, sizeof(limits));
	memset(out + LIMITS + 5 + 7, ' ', 6);
	out[UNUSED + 3] = 0x10;
	for (unsigned int i = 0; i < SUM; i++)
		sum = (uint8_t)(sum + out[i]);
	out[SUM] = (uint8_t)-sum;
}
