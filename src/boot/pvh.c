/* SPDX-License-Identifier: MIT */
/* ELF kernels with a PVH entry: 32-bit protected mode, start info in EBX. */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/buf.h"
#include "base/util.h"
#include "boot/pvh.h"

/* Xen's documentation: docs/misc/pvh.pandoc and include/public/{elfnote,arch-x86/hvm/start_info}.h. */
#define PVH_NOTE_NAME        "Xen"
#define PVH_NOTE_PHYS32      18
#define PVH_START_INFO_MAGIC 0x336ec578
#define PVH_NOTES_MAX        (UINT64_C(64) * KIB)

struct pvh_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist;
	uint64_t cmdline;
	uint64_t rsdp;
	uint64_t memmap;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct pvh_module {
	uint64_t gpa;
	uint64_t size;
	uint64_t cmdline;
	uint64_t reserved;
};

struct pvh_map_entry {
	uint64_t gpa;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

/* All of it stands together at SOURCE_START_INFO. */
struct pvh_info_page {
	struct pvh_start_info info;
	struct pvh_module initrd;
	struct pvh_map_entry map[SOURCE_MAP_MAX];
};

_Static_assert(sizeof(struct pvh_start_info) == 56, "start info, version 1");
_Static_assert(sizeof(struct pvh_module) == 32, "module list entry");
_Static_assert(sizeof(struct pvh_map_entry) == 24, "memory map entry");
_Static_assert(SOURCE_START_INFO + sizeof(struct pvh_info_page) <= SOURCE_ZERO_PAGE,
	       "start info ends before the zero page");

/* What is used of an ELF header and of a program header, of either class. */
struct pvh_elf {
	bool is64;
	uint64_t phoff;
	unsigned int nr_phdrs;
};

struct pvh_phdr {
	uint32_t type;
	uint64_t offset;
	uint64_t gpa;
	uint64_t file_bytes;
	uint64_t bytes;
	uint64_t align;
};

static int pvh_refuse(struct err *e, const struct source *s, const char *why)
{
	return err_set(e, ENOEXEC, "cannot boot ELF file '%s': %s", s->kernel.path, why);
}

static int pvh_read_elf(const struct source *s, struct pvh_elf *elf, struct err *e)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr h32;
		Elf64_Ehdr h64;
	} h = { 0 };
	unsigned int machine, type, phentsize, want;
	int ret;

	ret = source_file_read(&s->kernel, 0, &h.h32, sizeof(h.h32), e);
	if (ret)
		return err_prefix(e, "cannot boot ELF file '%s': its header is cut off",
				  s->kernel.path);
	if (h.ident[EI_DATA] != ELFDATA2LSB)
		return pvh_refuse(e, s, "it is not little-endian");
	elf->is64 = h.ident[EI_CLASS] == ELFCLASS64;
	if (elf->is64) {
		ret = source_file_read(&s->kernel, 0, &h.h64, sizeof(h.h64), e);
		if (ret)
			return err_prefix(e, "cannot boot ELF file '%s': its header is cut off",
					  s->kernel.path);
		machine = EM_X86_64;
		phentsize = h.h64.e_phentsize;
		want = sizeof(Elf64_Phdr);
		elf->phoff = h.h64.e_phoff;
		elf->nr_phdrs = h.h64.e_phnum;
	} else if (h.ident[EI_CLASS] == ELFCLASS32) {
		machine = EM_386;
		phentsize = h.h32.e_phentsize;
		want = sizeof(Elf32_Phdr);
		elf->phoff = h.h32.e_phoff;
		elf->nr_phdrs = h.h32.e_phnum;
	} else {
		return pvh_refuse(e, s, "it is neither of 32 nor of 64 bits");
	}
	/* The members up to e_version are the same in both classes. */
	type = h.h32.e_type;
	if (h.h32.e_machine != machine)
		return pvh_refuse(e, s, "it is for another processor than x86");
	if (type != ET_EXEC && type != ET_DYN)
		return pvh_refuse(e, s, "it is not an executable, but an object or core file");
	if (!elf->nr_phdrs)
		return pvh_refuse(e, s, "it has no program headers");
	if (elf->nr_phdrs > PVH_MAX_SEGMENTS)
		return err_set(e, ENOEXEC,
			       "cannot boot ELF file '%s': it has %u program headers, more than %d",
			       s->kernel.path, elf->nr_phdrs, PVH_MAX_SEGMENTS);
	if (phentsize != want)
		return err_set(
			e, ENOEXEC,
			"cannot boot ELF file '%s': its program headers have %u bytes instead "
			"of %u",
			s->kernel.path, phentsize, want);
	return 0;
}

static int pvh_read_phdr(const struct source *s, const struct pvh_elf *elf, unsigned int i,
			 struct pvh_phdr *out, struct err *e)
{
	union {
		Elf32_Phdr p32;
		Elf64_Phdr p64;
	} p;
	size_t n = elf->is64 ? sizeof(p.p64) : sizeof(p.p32);
	int ret;

	if (elf->phoff > s->kernel.size)
		return pvh_refuse(e, s, "its program headers lie beyond the end of the file");
	ret = source_file_read(&s->kernel, elf->phoff + i * n, &p, n, e);
	if (ret)
		return err_prefix(e, "cannot boot ELF file '%s': program header %u", s->kernel.path,
				  i);
	if (elf->is64)
		*out = (struct pvh_phdr){ p.p64.p_type,   p.p64.p_offset, p.p64.p_paddr,
					  p.p64.p_filesz, p.p64.p_memsz,  p.p64.p_align };
	else
		*out = (struct pvh_phdr){ p.p32.p_type,   p.p32.p_offset, p.p32.p_paddr,
					  p.p32.p_filesz, p.p32.p_memsz,  p.p32.p_align };
	if (out->type != PT_LOAD && out->type != PT_NOTE)
		return 0;
	if (out->offset > s->kernel.size || out->file_bytes > s->kernel.size - out->offset)
		return err_set(e, ENOEXEC,
			       "cannot boot ELF file '%s': %s %u, %" PRIu64
			       " bytes at offset %" PRIu64 ", ends beyond the file's %" PRIu64
			       " bytes",
			       s->kernel.path, out->type == PT_LOAD ? "segment" : "note segment", i,
			       out->file_bytes, out->offset, s->kernel.size);
	return 0;
}

static bool pvh_overlaps(const struct pvh_phdr *p, gpa_t from, gpa_t to)
{
	return p->gpa < to && p->gpa + p->bytes > from;
}

/* The segment must be in RAM and leave alone what boot_load() puts there itself. */
static int pvh_add_segment(const struct source *s, const struct pvh_phdr *p, unsigned int i,
			   struct pvh *out, struct err *e)
{
	uint64_t low_end = source_low_end(s->ram_size);
	uint64_t high_end = LAYOUT_HIGH_RAM + (s->ram_size - low_end);
	bool low = p->gpa <= low_end && p->bytes <= low_end - p->gpa;
	bool high =
		p->gpa >= LAYOUT_HIGH_RAM && p->gpa <= high_end && p->bytes <= high_end - p->gpa;

	if (p->file_bytes > p->bytes)
		return err_set(
			e, ENOEXEC,
			"cannot boot ELF file '%s': segment %u has more bytes in the file (%" PRIu64
			") than in memory (%" PRIu64 ")",
			s->kernel.path, i, p->file_bytes, p->bytes);
	if (!p->bytes)
		return 0;
	if (!low && !high)
		return err_set(e, ENOSPC,
			       "kernel '%s' does not fit: its segment %u, %" PRIu64
			       " bytes (%" PRIu64 " MiB) at 0x%" PRIx64
			       ", is not within guest RAM of %" PRIu64 " MiB",
			       s->kernel.path, i, p->bytes, p->bytes / MIB, p->gpa,
			       s->ram_size / MIB);
	if (pvh_overlaps(p, 0, SOURCE_LOW_END) || pvh_overlaps(p, LAYOUT_EBDA, LAYOUT_LEGACY_END))
		return err_set(e, ENOEXEC,
			       "cannot boot ELF file '%s': segment %u, %" PRIu64
			       " bytes at 0x%" PRIx64 ", overlaps boot data (below 0x%" PRIx64
			       ") or ACPI tables (0x%" PRIx64 " to 0x%" PRIx64 ")",
			       s->kernel.path, i, p->bytes, p->gpa, (uint64_t)SOURCE_LOW_END,
			       (uint64_t)LAYOUT_EBDA, (uint64_t)LAYOUT_LEGACY_END);
	out->segments[out->nr_segments++] = (struct pvh_segment){
		.offset = p->offset,
		.file_bytes = p->file_bytes,
		.gpa = p->gpa,
		.bytes = p->bytes,
	};
	return 0;
}

static uint32_t pvh_le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The next part of a note, with the padding up to the next; NULL if the notes end before. */
static const uint8_t *pvh_take_padded(struct cursor *c, uint32_t n, uint64_t align)
{
	const uint8_t *p = cursor_take(c, n);
	uint64_t pos = cursor_pos(c);

	if (p)
		cursor_take(c, MIN(align_up(pos, align) - pos, (uint64_t)cursor_left(c)));
	return p;
}

/* Looks for the entry in one note segment; *found says whether it was there. */
static int pvh_read_notes(const struct source *s, const struct pvh_phdr *p, bool *found,
			  uint64_t *entry, struct err *e)
{
	uint64_t align = p->align == 8 ? 8 : 4;
	AUTO_FREE uint8_t *notes = NULL;
	struct cursor c;
	int ret;

	if (p->file_bytes > PVH_NOTES_MAX)
		return err_set(e, ENOEXEC,
			       "cannot boot ELF file '%s': its notes have %" PRIu64
			       " bytes, more than %" PRIu64,
			       s->kernel.path, p->file_bytes, (uint64_t)PVH_NOTES_MAX);
	notes = malloc(p->file_bytes + 1);
	if (!notes)
		return err_set(e, ENOMEM, "cannot read the notes of '%s': out of memory",
			       s->kernel.path);
	ret = source_file_read(&s->kernel, p->offset, notes, p->file_bytes, e);
	if (ret)
		return ret;
	cursor_init(&c, notes, p->file_bytes);
	while (cursor_left(&c) && !*found) {
		const uint8_t *head = cursor_take(&c, 3 * sizeof(uint32_t));
		uint32_t name_bytes = head ? pvh_le32(head) : 0;
		uint32_t bytes = head ? pvh_le32(head + 4) : 0;
		uint32_t type = head ? pvh_le32(head + 8) : 0;
		const uint8_t *name = pvh_take_padded(&c, name_bytes, align);
		const uint8_t *desc = pvh_take_padded(&c, bytes, align);

		if (c.failed)
			return pvh_refuse(e, s, "a note runs beyond the end of its segment");
		if (type != PVH_NOTE_PHYS32 || name_bytes != sizeof(PVH_NOTE_NAME) ||
		    memcmp(name, PVH_NOTE_NAME, sizeof(PVH_NOTE_NAME)))
			continue;
		if (bytes != 4 && bytes != 8)
			return pvh_refuse(e, s, "its PVH entry note is neither 4 nor 8 bytes long");
		*entry = pvh_le32(desc);
		if (bytes == 8)
			*entry |= (uint64_t)pvh_le32(desc + 4) << 32;
		*found = true;
	}
	return 0;
}

static int pvh_check_entry(const struct source *s, const struct pvh *p, uint64_t entry,
			   struct err *e)
{
	for (unsigned int i = 0; i < p->nr_segments; i++) {
		const struct pvh_segment *seg = &p->segments[i];

		if (entry <= UINT32_MAX && entry >= seg->gpa && entry - seg->gpa < seg->bytes)
			return 0;
	}
	return err_set(e, ENOEXEC,
		       "cannot boot ELF file '%s': its PVH entry 0x%" PRIx64
		       " is in none of its segments below 4 GiB",
		       s->kernel.path, entry);
}

/* Where the kernel ends below 4 GiB. */
static gpa_t pvh_low_top(const struct pvh *p)
{
	gpa_t top = LAYOUT_LEGACY_END;

	for (unsigned int i = 0; i < p->nr_segments; i++)
		if (p->segments[i].gpa < LAYOUT_HIGH_RAM)
			top = MAX(top, p->segments[i].gpa + p->segments[i].bytes);
	return top;
}

/* The notes come first: without an entry it does not matter what else is wrong. */
static int pvh_find_entry(const struct source *s, const struct pvh_elf *elf, uint64_t *entry,
			  struct err *e)
{
	bool found = false;

	for (unsigned int i = 0; i < elf->nr_phdrs && !found; i++) {
		struct pvh_phdr ph = { 0 };
		int ret = pvh_read_phdr(s, elf, i, &ph, e);

		if (!ret && ph.type == PT_NOTE)
			ret = pvh_read_notes(s, &ph, &found, entry, e);
		if (ret)
			return ret;
	}
	if (!found)
		return pvh_refuse(e, s, "it has no PVH entry note (XEN_ELFNOTE_PHYS32_ENTRY)");
	return 0;
}

static int pvh_find_segments(const struct source *s, const struct pvh_elf *elf, struct pvh *p,
			     struct err *e)
{
	for (unsigned int i = 0; i < elf->nr_phdrs; i++) {
		struct pvh_phdr ph = { 0 };
		int ret = pvh_read_phdr(s, elf, i, &ph, e);

		if (!ret && ph.type == PT_LOAD)
			ret = pvh_add_segment(s, &ph, i, p, e);
		if (ret)
			return ret;
	}
	return 0;
}

int pvh_plan(const struct source *s, struct pvh *out, struct err *e)
{
	struct pvh_elf elf = { 0 };
	struct pvh p = { 0 };
	uint64_t entry = 0;
	int ret;

	ret = pvh_read_elf(s, &elf, e);
	if (!ret)
		ret = pvh_find_entry(s, &elf, &entry, e);
	if (!ret)
		ret = pvh_find_segments(s, &elf, &p, e);
	if (!ret)
		ret = pvh_check_entry(s, &p, entry, e);
	if (!ret)
		ret = source_check_cmdline(s, UINT64_MAX, e);
	if (ret)
		return ret;
	p.entry = (uint32_t)entry;
	ret = source_place_initrd(s, pvh_low_top(&p), LAYOUT_HIGH_RAM, &p.initrd, e);
	if (ret)
		return ret;
	*out = p;
	return 0;
}

static int pvh_load_segment(const struct pvh_segment *seg, const struct source *s,
			    const struct memmap *m, struct err *e)
{
	uint8_t *p = memmap_host_ptr(m, seg->gpa, seg->bytes);
	int ret;

	if (!p)
		return err_set(e, EFAULT,
			       "cannot load '%s': %" PRIu64 " bytes at 0x%" PRIx64
			       " are not all guest RAM",
			       s->kernel.path, seg->bytes, seg->gpa);
	ret = source_file_load(&s->kernel, seg->offset, seg->file_bytes, m, seg->gpa, e);
	if (ret)
		return ret;
	memset(p + seg->file_bytes, 0, seg->bytes - seg->file_bytes);
	return 0;
}

static int pvh_load_info(const struct pvh *p, const struct source *s, const struct memmap *m,
			 gpa_t rsdp, struct err *e)
{
	struct source_map_entry map[SOURCE_MAP_MAX];
	struct pvh_info_page page = { 0 };
	unsigned int n = source_memory_map(s->ram_size, map);

	page.info = (struct pvh_start_info){
		.magic = PVH_START_INFO_MAGIC,
		.version = 1,
		.cmdline = SOURCE_CMDLINE,
		.rsdp = rsdp,
		.memmap = SOURCE_START_INFO + offsetof(struct pvh_info_page, map),
		.memmap_entries = n,
	};
	if (p->initrd) {
		page.info.nr_modules = 1;
		page.info.modlist = SOURCE_START_INFO + offsetof(struct pvh_info_page, initrd);
		page.initrd.gpa = p->initrd;
		page.initrd.size = s->initrd.size;
	}
	for (unsigned int i = 0; i < n; i++) {
		page.map[i].gpa = map[i].gpa;
		page.map[i].size = map[i].size;
		page.map[i].type = map[i].type;
	}
	return memmap_write(m, SOURCE_START_INFO, &page, sizeof(page), e);
}

int pvh_load(const struct pvh *p, const struct source *s, const struct memmap *m, gpa_t rsdp,
	     struct vcpu_entry *entry, struct err *e)
{
	int ret;

	for (unsigned int i = 0; i < p->nr_segments; i++) {
		ret = pvh_load_segment(&p->segments[i], s, m, e);
		if (ret)
			return ret;
	}
	if (p->initrd) {
		ret = source_file_load(&s->initrd, 0, s->initrd.size, m, p->initrd, e);
		if (ret)
			return ret;
	}
	ret = source_load_cmdline(s, m, e);
	if (ret)
		return ret;
	ret = pvh_load_info(p, s, m, rsdp, e);
	if (ret)
		return ret;
	ret = source_load_gdt(m, false, e);
	if (ret)
		return ret;
	*entry = (struct vcpu_entry){
		.long_mode = false,
		.rip = p->entry,
		.rsp = SOURCE_STACK_TOP,
		.rbx = SOURCE_START_INFO,
		.gdt = SOURCE_GDT,
	};
	return 0;
}
