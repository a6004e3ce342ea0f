/* SPDX-License-Identifier: MIT */
/* Whether the guest starts in firmware, and what it is told there: -bios and -fw_cfg. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "boot/rom_files.h"
#include "dev/pc/fw_cfg.h"
#include "host/file.h"
#include "machine/vm.h"
#include "main/firmware.h"
#include "main/options.h"

/* What an argument of -fw_cfg says; the strings are in @text. */
struct fw_cfg_arg {
	char *text; /* owned */
	const char *name, *string, *file;
};

/* Cuts the piece up to the next single comma off; two commas stand for one. */
static char *cut_piece(char **text)
{
	char *piece = *text, *to = piece, *p;

	for (p = piece; *p; p++) {
		if (*p == ',' && p[1] != ',')
			break;
		if (*p == ',')
			p++;
		*to++ = *p;
	}
	*text = *p ? p + 1 : NULL;
	*to = '\0';
	return piece;
}

static int set_key(struct fw_cfg_arg *a, const char *piece, bool first, struct err *e)
{
	static const char *const keys[] = { "name=", "string=", "file=" };
	const char **const to[] = { &a->name, &a->string, &a->file };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strncmp(piece, keys[i], strlen(keys[i]))) {
			*to[i] = piece + strlen(keys[i]);
			return 0;
		}
	if (!first || strchr(piece, '='))
		return err_set(e, EINVAL, "Invalid parameter '%.*s'", (int)strcspn(piece, "="),
			       piece);
	a->name = piece;
	return 0;
}

static int parse_arg(struct fw_cfg_arg *a, const char *arg, struct err *e)
{
	char *rest;
	int r = 0;

	*a = (struct fw_cfg_arg){ .text = strdup(arg) };
	rest = a->text;
	if (!rest)
		return err_set(e, ENOMEM, "no memory for the option");
	for (bool first = true; !r && rest; first = false)
		r = set_key(a, cut_piece(&rest), first, e);
	if (!r && (!a->name || !*a->name))
		r = err_set(e, EINVAL, "the file needs a name: name=opt/...");
	if (!r && strlen(a->name) >= FW_CFG_NAME_BYTES)
		r = err_set(e, EINVAL, "the name '%s' is too long: it may have %d characters",
			    a->name, FW_CFG_NAME_BYTES - 1);
	if (!r && !a->string == !a->file)
		r = err_set(e, EINVAL, "'%s' needs either string= or file=", a->name);
	if (r)
		free(TAKE_PTR(a->text));
	return r;
}

int firmware_check_fw_cfg(const char *arg, struct err *e)
{
	struct fw_cfg_arg a;
	int r = parse_arg(&a, arg, e);

	if (!r)
		free(a.text);
	return r;
}

/* Devices that firmware can start a guest from have a place in the boot order. */
static bool can_boot_from_device(const struct options *o)
{
	for (unsigned int i = 0; i < o->devices.n; i++)
		if (device_type_find_prop(o->devices.specs[i].type, "bootindex"))
			return true;
	for (unsigned int i = 0; i < o->drives.n; i++)
		if (o->drives.list[i].interface == DRIVE_IF_VIRTIO)
			return true;
	return false;
}

int firmware_plan(struct firmware *f, const struct options *o, const struct ram_origin *from,
		  struct err *e)
{
	uint64_t kept = from->source.size(from->source.opaque, ROM_BLOCK);
	int r;

	*f = (struct firmware){ .rom = { .file = { .fd = -1 } } };
	if (o->bios && o->kernel)
		return err_set(
			e, EINVAL,
			"-bios and -kernel exclude each other: a kernel is started directly");
	if (kept && o->kernel)
		return err_set(e, EINVAL,
			       "the old machine, whose RAM has '" ROM_BLOCK
			       "', started in firmware: use -bios in place of -kernel");
	f->on = !o->kernel && (o->bios || kept || can_boot_from_device(o));
	if (!f->on)
		return 0;
	if (o->initrd || o->append)
		return err_set(e, EINVAL, "-%s is for -kernel, and this guest starts in firmware",
			       o->initrd ? "initrd" : "append");
	if (kept) {
		rom_keep(&f->rom, kept);
		return 0;
	}
	r = rom_open(&f->rom, o->bios ? o->bios : ROM_DEFAULT, e);
	return r ? err_prefix(e, "-bios") : 0;
}

void firmware_fini(struct firmware *f)
{
	rom_close(&f->rom);
}

static int read_file(const char *path, struct buf *out, struct err *e)
{
	AUTO_CLOSE int fd = -1;
	uint64_t size;
	int r = file_open_ro(path, &fd, e);

	if (!r)
		r = file_size(fd, path, &size, e);
	if (r)
		return r;
	if (size > FW_CFG_MAX_BYTES)
		return err_set(e, EFBIG, "'%s' has %llu bytes; there is room for %llu", path,
			       (unsigned long long)size, (unsigned long long)FW_CFG_MAX_BYTES);
	buf_reserve(out, size);
	if (out->failed)
		return err_set(e, ENOMEM, "no memory for '%s'", path);
	r = file_read_at(fd, path, 0, out->data, size, e);
	if (!r)
		out->len = size;
	return r;
}

/* The operator's files and the machine's, as fw_cfg_create() wants them. */
struct files {
	struct rom_files rom;
	struct fw_cfg_arg args[OPTIONS_MAX_FW_CFG];
	struct buf contents[OPTIONS_MAX_FW_CFG];
	unsigned int nr_args;
	struct fw_cfg_file list[ROM_MAX_FILES + OPTIONS_MAX_FW_CFG];
	unsigned int nr;
};

static void fini_files(struct files *f)
{
	rom_files_fini(&f->rom);
	for (unsigned int i = 0; i < f->nr_args; i++) {
		buf_fini(&f->contents[i]);
		free(f->args[i].text);
	}
}

static int add_arg(struct files *f, const char *arg, struct err *e)
{
	struct fw_cfg_arg *a = &f->args[f->nr_args];
	struct buf *b = &f->contents[f->nr_args];
	int r = parse_arg(a, arg, e);

	if (r)
		return r;
	f->nr_args++;
	if (strncmp(a->name, "opt/", 4))
		log_warn("-fw_cfg %s: names of an operator's files begin with \"opt/\"", a->name);
	if (a->string)
		buf_put_str(b, a->string);
	else
		r = read_file(a->file, b, e);
	if (!r && b->failed)
		r = err_set(e, ENOMEM, "no memory for '%s'", a->name);
	if (!r)
		f->list[f->nr++] = (struct fw_cfg_file){
			.name = a->name,
			.data = b->data,
			.size = (uint32_t)b->len,
		};
	return r ? err_prefix(e, "-fw_cfg %s", a->name) : 0;
}

static int gather(struct files *f, bool on, const struct vm *vm, const struct options *o,
		  unsigned int serial_mask, struct err *e)
{
	const struct rom_files_config cfg = {
		.ram_size = vm->mem.ram->size,
		.nr_vcpus = vm->nr_vcpus,
		.serial_mask = serial_mask,
	};
	int r = on ? rom_files_build(&f->rom, &cfg, e) : 0;

	for (unsigned int i = 0; !r && i < f->rom.nr; i++)
		f->list[f->nr++] = (struct fw_cfg_file){
			.name = f->rom.file[i].name,
			.data = f->rom.file[i].data.data,
			.size = (uint32_t)f->rom.file[i].data.len,
			.own_block = f->rom.file[i].own_block,
		};
	for (unsigned int i = 0; !r && i < o->nr_fw_cfg; i++)
		r = add_arg(f, o->fw_cfg[i], e);
	return r;
}

int firmware_create_fw_cfg(const struct firmware *f, struct vm *vm, const struct options *o,
			   unsigned int serial_mask, struct err *e)
{
	bool kept = memmap_preserved_size(&vm->mem, FW_CFG_BLOCK);
	struct fw_cfg_config cfg = { 0 };
	struct files *files;
	int r;

	if (!f->on && !o->nr_fw_cfg && !kept)
		return 0;
	if (kept)
		return fw_cfg_create(vm, &cfg, e);
	files = calloc(1, sizeof(*files));
	if (!files)
		return err_set(e, ENOMEM, "no memory for the firmware's files");
	r = gather(files, f->on, vm, o, serial_mask, e);
	cfg = (struct fw_cfg_config){ .files = files->list, .nr_files = files->nr };
	if (!r)
		r = fw_cfg_create(vm, &cfg, e);
	fini_files(files);
	free(files);
	return r;
}
