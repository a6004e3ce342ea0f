/* SPDX-License-Identifier: MIT */
/* Cold start: what a guest finds in its RAM and on vCPU 0 when it begins. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/util.h"
#include "boot/acpi.h"
#include "boot/boot.h"
#include "boot/bzimage.h"
#include "boot/pvh.h"
#include "boot/rom.h"
#include "boot/source.h"
#include "machine/vm.h"

struct boot {
	bool firmware; /* nothing else is used then */
	struct source source;
	unsigned int serial_mask;
};

/* What is decided anew at each load: which protocol, and where everything goes. */
struct boot_plan {
	enum source_kind kind;
	union {
		struct bzimage bzimage;
		struct pvh pvh;
	};
};

static int boot_make_plan(const struct source *s, struct boot_plan *plan, struct err *e)
{
	int ret = source_detect(s, &plan->kind, e);

	if (ret)
		return ret;
	if (plan->kind == SOURCE_PVH)
		return pvh_plan(s, &plan->pvh, e);
	return bzimage_plan(s, &plan->bzimage, e);
}

int boot_open(struct boot **out, const struct boot_config *cfg, uint64_t ram_size, struct err *e)
{
	const char *what = cfg->kernel ? cfg->kernel : "firmware";
	struct boot_plan plan;
	struct boot *b;
	int ret;

	if (!cfg->kernel && !cfg->firmware)
		return err_set(e, EINVAL, "-kernel is required, or -bios and a disk to boot from");
	if (ram_size < LAYOUT_RAM_MIN)
		return err_set(e, EINVAL,
			       "cannot boot '%s': guest RAM of %" PRIu64
			       " bytes is less than the %" PRIu64 " MiB a guest needs",
			       what, ram_size, (uint64_t)(LAYOUT_RAM_MIN / MIB));
	b = calloc(1, sizeof(*b));
	if (!b)
		return err_set(e, ENOMEM, "cannot boot '%s': out of memory", what);
	b->source.kernel.fd = -1;
	b->source.initrd.fd = -1;
	b->firmware = cfg->firmware;
	if (b->firmware) {
		*out = b;
		return 0;
	}
	b->source.ram_size = ram_size;
	b->serial_mask = cfg->serial_mask;
	b->source.append = strdup(cfg->append ? cfg->append : "");
	if (!b->source.append) {
		ret = err_set(e, ENOMEM, "cannot boot '%s': out of memory", cfg->kernel);
		goto fail;
	}
	ret = source_file_open(&b->source.kernel, cfg->kernel, cfg->kernel_fd, e);
	if (ret) {
		err_prefix(e, "-kernel");
		goto fail;
	}
	if (cfg->initrd) {
		ret = source_file_open(&b->source.initrd, cfg->initrd, cfg->initrd_fd, e);
		if (ret) {
			err_prefix(e, "-initrd");
			goto fail;
		}
	}
	ret = boot_make_plan(&b->source, &plan, e);
	if (ret)
		goto fail;
	*out = b;
	return 0;
fail:
	boot_close(b);
	return ret;
}

/*
 * The guest cannot change what is in its ACPI block. So a reset leaves it alone: after an
 * update the tables are those of the program the guest was started with.
 */
static bool boot_has_acpi(const struct vm *vm)
{
	const struct ram_block *b = memmap_find_block(&vm->mem, LAYOUT_ACPI_BLOCK);

	return b && b->readonly && !memcmp(b->host, "RSD PTR ", 8);
}

static int boot_load_acpi(const struct boot *b, const struct vm *vm, struct err *e)
{
	AUTO_BUF tables = { 0 };
	int ret;

	if (boot_has_acpi(vm))
		return 0;
	ret = acpi_build(&tables, LAYOUT_ACPI_TABLES, vm->nr_vcpus, b->serial_mask,
			 vm->mem.ram->size, e);
	if (ret)
		return ret;
	return memmap_write(&vm->mem, LAYOUT_ACPI_TABLES, tables.data, tables.len, e);
}

int boot_load(struct boot *b, struct vm *vm, struct err *e)
{
	struct source *s = &b->source;
	struct vcpu_entry entry;
	struct boot_plan plan;
	int ret;

	if (b->firmware)
		return rom_start(&vm->mem, e);
	ret = source_file_refresh(&s->kernel, e);
	if (!ret && s->initrd.path)
		ret = source_file_refresh(&s->initrd, e);
	if (!ret)
		ret = boot_make_plan(s, &plan, e);
	if (!ret)
		ret = boot_load_acpi(b, vm, e);
	if (ret)
		return ret;
	if (plan.kind == SOURCE_PVH)
		ret = pvh_load(&plan.pvh, s, &vm->mem, LAYOUT_ACPI_TABLES, &entry, e);
	else
		ret = bzimage_load(&plan.bzimage, s, &vm->mem, LAYOUT_ACPI_TABLES, &entry, e);
	if (ret)
		return ret;
	return vcpu_set_entry(vm->vcpus[0], &entry, e);
}

int boot_kernel_fd(const struct boot *b)
{
	return b ? b->source.kernel.fd : -1;
}

int boot_initrd_fd(const struct boot *b)
{
	return b ? b->source.initrd.fd : -1;
}

void boot_close(struct boot *b)
{
	if (!b)
		return;
	source_file_close(&b->source.kernel);
	source_file_close(&b->source.initrd);
	free(b->source.append);
	free(b);
}
