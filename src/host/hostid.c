/* SPDX-License-Identifier: MIT */
/* Which boot of which host this is. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "host/hostid.h"

static const char boot_id_path[] = "/proc/sys/kernel/random/boot_id";

static uint8_t hex_value(char c)
{
	return (uint8_t)(isdigit((unsigned char)c) ? c - '0'
						   : tolower((unsigned char)c) - 'a' + 10);
}

int host_boot_id(uint8_t id[HOST_BOOT_ID_BYTES], struct err *e)
{
	AUTO_CLOSE int fd = open(boot_id_path, O_RDONLY | O_CLOEXEC);
	uint8_t out[HOST_BOOT_ID_BYTES] = { 0 };
	size_t digits = 0;
	char text[64];
	ssize_t n;

	if (fd < 0)
		return err_set_errno(e, "cannot open %s", boot_id_path);
	n = read(fd, text, sizeof(text));
	if (n < 0)
		return err_set_errno(e, "cannot read %s", boot_id_path);
	for (ssize_t i = 0; i < n && digits < 2 * sizeof(out); i++) {
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
