/* SPDX-License-Identifier: MIT */
/* Which boot of which host this is. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "host/hostid.h"

#define KEPT "BATON_BOOT_ID"

enum {
	TEXT_BYTES = 64,
};

static const char boot_id_path[] = "/proc/sys/kernel/random/boot_id";

static uint8_t hex_value(char c)
{
	return (uint8_t)(isdigit((unsigned char)c) ? c - '0'
						   : tolower((unsigned char)c) - 'a' + 10);
}

static int read_boot_id(char text[TEXT_BYTES], struct err *e)
{
	AUTO_CLOSE int fd = open(boot_id_path, O_RDONLY | O_CLOEXEC);
	const char *kept = getenv(KEPT);
	ssize_t n;

	if (fd < 0 && errno == ENOENT && kept) {
		snprintf(text, TEXT_BYTES, "%s", kept);
		return 0;
	}
	if (fd < 0)
		return err_set_errno(e, "cannot open %s", boot_id_path);
	n = read(fd, text, TEXT_BYTES - 1);
	if (n < 0)
		return err_set_errno(e, "cannot read %s", boot_id_path);
	text[n] = '\0';
	return 0;
}

int host_keep_boot_id(struct err *e)
{
	char text[TEXT_BYTES];
	int r = read_boot_id(text, e);

	if (!r && setenv(KEPT, text, 1))
		r = err_set_errno(e, "cannot set %s", KEPT);
	return r;
}

int host_boot_id(uint8_t id[HOST_BOOT_ID_BYTES], struct err *e)
{
	uint8_t out[HOST_BOOT_ID_BYTES] = { 0 };
	size_t digits = 0;
	char text[TEXT_BYTES];
	int r = read_boot_id(text, e);

	if (r)
		return r;
	for (size_t i = 0; text[i] && digits < 2 * sizeof(out); i++) {
		if (!isxdigit((unsigned char)text[i]))
			continue;
		out[digits / 2] = (uint8_t)(out[digits / 2] << 4 | hex_value(text[i]));
		digits++;
	}
	if (digits != 2 * sizeof(out))
		return err_set(e, EINVAL, "%s holds no boot id", boot_id_path);
	memcpy(id, out, sizeof(out));
	return 0;
}
