/* SPDX-License-Identifier: MIT */
/* What a guest boots from, for the next image in this process, which may not find it by name. */
#include <jansson.h>

#include "base/util.h"
#include "boot/boot.h"
#include "main/boot_images.h"
#include "update/wire.h"

#define BOOT_KEY  "boot"
#define KERNEL_FD BOOT_KEY ":kernel"
#define INITRD_FD BOOT_KEY ":initrd"

static int gather(void *opaque, struct cpr_state *s, json_t **out, struct err *e)
{
	const struct boot_images *images = opaque;
	int kernel = boot_kernel_fd(images->boot), initrd = boot_initrd_fd(images->boot), r = 0;

	if (kernel >= 0)
		r = cpr_state_add_fd(s, KERNEL_FD, 0, kernel, e);
	if (!r && initrd >= 0)
		r = cpr_state_add_fd(s, INITRD_FD, 0, initrd, e);
	if (r || kernel < 0)
		return r;
	*out = json_true();
	return 0;
}

void boot_images_carry(struct boot_images *images, const struct boot *boot, struct migration *m)
{
	images->boot = boot;
	images->extra = (struct extra){ .key = BOOT_KEY, .gather = gather, .opaque = images };
	extras_register(m, &images->extra);
}

void boot_images_find(const struct cpr_state *s, struct boot_config *cfg)
{
	cfg->kernel_fd = MAX(cpr_state_find_fd(s, KERNEL_FD, 0), 0);
	cfg->initrd_fd = MAX(cpr_state_find_fd(s, INITRD_FD, 0), 0);
}
