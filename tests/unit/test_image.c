/* SPDX-License-Identifier: MIT */
/* The loader of program images, against files that are damaged in every way. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/image.h"
#include "host/maps.h"

enum {
	PAGE_BYTES = 4096,
	ROOM = 4096,
	NOTE_AT = 0x300,
	INTERP_AT = 0x400,
	MUTATIONS = 4000,
	ARGS = 5000,
};

/*
 * A small position-independent program: headers with note and interpreter, code, and data that go
 * on in memory behind what the file has. It is never run here.
 */
struct program {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[5];
	uint8_t rest[3 * PAGE_BYTES + 100 - sizeof(Elf64_Ehdr) - 5 * sizeof(Elf64_Phdr)];
};

enum {
	PH_HEADERS,
	PH_CODE,
	PH_DATA,
	PH_NOTE,
	PH_INTERP,
};

struct image_test {
	int fd;
	struct program good;
	struct map_range before[ROOM], after[ROOM];
	struct map_list was;
	struct proc_lists proc;
	char text[1 << 20];
};

static uint8_t *at(struct program *p, size_t offset)
{
	return (uint8_t *)p + offset;
}

static Elf64_Phdr load_segment(uint32_t flags, uint64_t where, uint64_t file, uint64_t memory)
{
	return (Elf64_Phdr){ .p_type = PT_LOAD,
			     .p_flags = flags,
			     .p_offset = where,
			     .p_vaddr = where,
			     .p_filesz = file,
			     .p_memsz = memory,
			     .p_align = PAGE_BYTES };
}

static void make_program(struct program *p)
{
	static const struct {
		Elf64_Nhdr h;
		char owner[8];
		uint32_t version, oldest;
	} note = { .h = { .n_namesz = sizeof(IMAGE_NOTE_OWNER),
			  .n_descsz = 8,
			  .n_type = IMAGE_NOTE_TYPE },
		   .owner = IMAGE_NOTE_OWNER,
		   .version = 7,
		   .oldest = 5 };

	*p = (struct program){
		.eh = { .e_type = ET_DYN,
			.e_machine = EM_X86_64,
			.e_entry = PAGE_BYTES + 16,
			.e_phoff = offsetof(struct program, ph),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = ARRAY_SIZE(p->ph) },
		.ph = {
			[PH_HEADERS] = load_segment(PF_R, 0, PAGE_BYTES, PAGE_BYTES),
			[PH_CODE] = load_segment(PF_R | PF_X, PAGE_BYTES, 200, 200),
			[PH_DATA] = load_segment(PF_R | PF_W, 2 * PAGE_BYTES, 100,
						 3 * PAGE_BYTES),
			[PH_NOTE] = { .p_type = PT_NOTE,
				      .p_offset = NOTE_AT,
				      .p_filesz = sizeof(note) },
			[PH_INTERP] = { .p_type = PT_NULL, .p_offset = INTERP_AT },
		},
	};
	memcpy(p->eh.e_ident, ELFMAG, SELFMAG);
	p->eh.e_ident[EI_CLASS] = ELFCLASS64;
	memcpy(at(p, NOTE_AT), &note, sizeof(note));
	memset(at(p, PAGE_BYTES), 0xc3, 200);
	memset(at(p, 2 * PAGE_BYTES), 0x5a, PAGE_BYTES + 100);
}

static void write_program(struct image_test *t, const void *p, size_t n)
{
	assert_int_equal(ftruncate(t->fd, 0), 0);
	assert_int_equal(pwrite(t->fd, p, n, 0), n);
}

static struct map_list look(struct image_test *t, struct map_range *room)
{
	struct map_list l = { .ranges = room, .cap = ROOM };
	struct err e;

	assert_int_equal(map_list_read(&l, &t->proc, t->text, sizeof(t->text), &e), 0);
	return l;
}

static int set_up(void **state)
{
	struct image_test *t =
		mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct err e;

	assert_true(t != MAP_FAILED);
	t->fd = memfd_create("image", MFD_CLOEXEC);
	make_program(&t->good);
	write_program(t, &t->good, sizeof(t->good));
	assert_int_equal(proc_lists_open(&t->proc, &e), 0);
	t->was = look(t, t->before);
	*state = t;
	return 0;
}

/* Everything mapped since the start goes; @nr is how much there was. */
static size_t unmap_new(struct image_test *t)
{
	struct map_list now = look(t, t->after);
	struct err e;

	assert_int_equal(map_list_subtract(&now, &t->was, &e), 0);
	map_ranges_unmap(now.ranges, now.nr);
	return now.nr;
}

static int tear_down(void **state)
{
	struct image_test *t = *state;

	unmap_new(t);
	proc_lists_close(&t->proc);
	close(t->fd);
	return munmap(t, sizeof(*t));
}

static int load(struct image_test *t, struct image *out, struct err *e)
{
	char *argv[] = { (char *)"program", (char *)"-option", NULL };

	return image_load(t->fd, argv, "TOLD=here", out, e);
}

static void segments_are_mapped_as_the_file_says(void **state)
{
	struct image_test *t = *state;
	struct image image;
	const uint8_t *base;
	struct err e;

	assert_int_equal(load(t, &image, &e), 0);
	base = (const uint8_t *)image.entry - PAGE_BYTES - 16;
	assert_int_equal((uintptr_t)base % PAGE_BYTES, 0);
	assert_memory_equal(base, &t->good, PAGE_BYTES);
	assert_int_equal(base[PAGE_BYTES + 199], 0xc3);
	assert_int_equal(base[2 * PAGE_BYTES + 99], 0x5a);
	/* What the file has behind the segment is not the segment's. */
	for (size_t i = 100; i < 3 * PAGE_BYTES; i++)
		assert_int_equal(base[2 * PAGE_BYTES + i], 0);
	assert_true(unmap_new(t) > 0);
}

static void the_stack_is_as_the_abi_says(void **state)
{
	struct image_test *t = *state;
	uint64_t random = 0, name = 0, entry = 0, phdr = 0, page = 0;
	size_t told = 0, n = 0;
	struct image image;
	const uint64_t *w;
	struct err e;

	setenv("TOLD", "before", 1);
	assert_int_equal(load(t, &image, &e), 0);
	unsetenv("TOLD");
	assert_int_equal(image.stack % 16, 0);
	w = (const uint64_t *)image.stack;
	assert_int_equal(*w++, 2);
	assert_int_equal(w[0], image.args);
	assert_string_equal((const char *)w[0], "program");
	assert_string_equal((const char *)w[1], "-option");
	assert_int_equal(w[1] + sizeof("-option"), image.args_end);
	assert_int_equal(w[2], 0);
	for (w += 3; *w; w++, n++) {
		told += !strcmp((const char *)*w, "TOLD=here");
		assert_null(strstr((const char *)*w, "before"));
		assert_true(*w >= image.args_end && *w < image.env_end);
	}
	assert_int_equal(told, 1);
	w++;
	assert_int_equal((uintptr_t)w, image.auxv);
	for (; w[0] != AT_NULL; w += 2) {
		random = w[0] == AT_RANDOM ? w[1] : random;
		name = w[0] == AT_EXECFN ? w[1] : name;
		entry = w[0] == AT_ENTRY ? w[1] : entry;
		phdr = w[0] == AT_PHDR ? w[1] : phdr;
		page = w[0] == AT_PAGESZ ? w[1] : page;
	}
	assert_int_equal((uintptr_t)(w + 2), image.auxv + image.auxv_bytes);
	assert_string_equal((const char *)name, "program");
	assert_int_equal(entry, image.entry);
	assert_memory_equal((const void *)phdr, t->good.ph, sizeof(t->good.ph));
	assert_int_equal(page, PAGE_BYTES);
	assert_memory_not_equal((const void *)random, (const void *)getauxval(AT_RANDOM), 16);
	unmap_new(t);
}

static void loading_allocates_nothing_from_the_heap(void **state)
{
	struct image_test *t = *state;
	char **argv = calloc(ARGS + 1, sizeof(*argv));
	struct image image;
	size_t used;
	struct err e;

	for (int i = 0; i < ARGS; i++)
		argv[i] = (char *)"x";
	used = mallinfo2().arena + mallinfo2().hblkhd;
	assert_int_equal(image_load(t->fd, argv, "TOLD=here", &image, &e), 0);
	assert_int_equal(mallinfo2().arena + mallinfo2().hblkhd, used);
	assert_int_equal(*(const uint64_t *)image.stack, ARGS);
	unmap_new(t);
	free(argv);
}

static void a_command_line_that_is_too_long_is_refused(void **state)
{
	struct image_test *t = *state;
	char *argv[] = { malloc(3 * MIB), NULL };
	struct image image;
	struct err e;

	t->was = look(t, t->before);
	memset(argv[0], 'x', 3 * MIB - 1);
	argv[0][3 * MIB - 1] = '\0';
	assert_int_equal(image_load(t->fd, argv, "A=b", &image, &e), -E2BIG);
	unmap_new(t);
	free(argv[0]);
	t->was = look(t, t->before);
}

static void the_note_says_what_contract_the_program_speaks(void **state)
{
	struct image_test *t = *state;
	struct image_note note;
	struct err e;

	assert_int_equal(image_read_note(t->fd, "x", &note, &e), 0);
	assert_int_equal(note.version, 7);
	assert_int_equal(note.oldest, 5);
}

/* Loads a program that was changed; whatever it says, only the file's own mappings come. */
static int try_changed(struct image_test *t, const struct program *p, size_t n)
{
	struct image_note note;
	struct image image;
	struct err e;
	int r;

	write_program(t, p, n);
	image_read_note(t->fd, "x", &note, &e);
	r = load(t, &image, &e);
	assert_true(r <= 0);
	unmap_new(t);
	/* Nothing that was there is unmapped or replaced. */
	struct map_list now = look(t, t->after);

	assert_true(map_list_equal(&t->was, &now));
	return r;
}

static void every_truncation_is_refused(void **state)
{
	struct image_test *t = *state;
	/* The data segment ends with byte 100 of its page. */
	const size_t needed = 2 * PAGE_BYTES + 100;

	for (size_t n = 0; n < needed; n += n < 2 * PAGE_BYTES && n > 600 ? 97 : 1)
		assert_int_equal(try_changed(t, &t->good, n), -ENOEXEC);
	assert_int_equal(try_changed(t, &t->good, needed), 0);
}

static void headers_that_cannot_be_right_are_refused(void **state)
{
	struct image_test *t = *state;
	const struct program *g = &t->good;

#define REFUSED(member, value)                                  \
	do {                                                    \
		struct program p = *g;                          \
		p.member = (value);                             \
		assert_true(try_changed(t, &p, sizeof(p)) < 0); \
	} while (0)
	REFUSED(eh.e_ident[0], 0);
	REFUSED(eh.e_ident[EI_CLASS], ELFCLASS32);
	REFUSED(eh.e_type, ET_EXEC);
	REFUSED(eh.e_type, ET_REL);
	REFUSED(eh.e_machine, EM_AARCH64);
	REFUSED(eh.e_phnum, 0);
	REFUSED(eh.e_phnum, 65);
	REFUSED(eh.e_phnum, UINT16_MAX);
	REFUSED(eh.e_phentsize, 0);
	REFUSED(eh.e_phentsize, 57);
	REFUSED(eh.e_phoff, sizeof(*g));
	REFUSED(eh.e_phoff, UINT64_MAX);
	REFUSED(eh.e_phoff, INT64_MAX);
	REFUSED(ph[PH_DATA].p_memsz, 99);
	REFUSED(ph[PH_DATA].p_memsz, UINT64_MAX);
	REFUSED(ph[PH_DATA].p_memsz, 257 * MIB);
	REFUSED(ph[PH_DATA].p_memsz, 256 * MIB);
	REFUSED(ph[PH_DATA].p_filesz, UINT64_MAX);
	REFUSED(ph[PH_DATA].p_offset, UINT64_MAX);
	REFUSED(ph[PH_DATA].p_offset, 2 * PAGE_BYTES + 1);
	REFUSED(ph[PH_DATA].p_vaddr, UINT64_MAX - PAGE_BYTES + 1);
	REFUSED(ph[PH_DATA].p_vaddr, INT64_MIN);
	REFUSED(ph[PH_DATA].p_vaddr, 512 * MIB);
	REFUSED(ph[PH_DATA].p_vaddr, 2 * PAGE_BYTES + 1);
	REFUSED(ph[PH_DATA].p_flags, PF_R | PF_W | PF_X);
	REFUSED(ph[PH_CODE].p_align, 8 * MIB);
	REFUSED(ph[PH_NOTE].p_filesz, UINT64_MAX);
	REFUSED(ph[PH_NOTE].p_offset, INT64_MAX);
#undef REFUSED
}

static void program_without_anything_to_load_is_refused(void **state)
{
	struct image_test *t = *state;
	struct program p = t->good;

	for (int i = PH_HEADERS; i <= PH_DATA; i++)
		p.ph[i].p_type = PT_NULL;
	assert_int_equal(try_changed(t, &p, sizeof(p)), -ENOEXEC);
	p = t->good;
	for (int i = PH_HEADERS; i <= PH_DATA; i++)
		p.ph[i].p_filesz = p.ph[i].p_memsz = p.ph[i].p_vaddr = p.ph[i].p_offset = 0;
	assert_int_equal(try_changed(t, &p, sizeof(p)), -ENOEXEC);
}

static void segments_that_overlap_stay_within_their_program(void **state)
{
	struct image_test *t = *state;
	struct program p = t->good;

	p.ph[PH_CODE].p_vaddr = p.ph[PH_DATA].p_vaddr = 0;
	p.ph[PH_CODE].p_offset = p.ph[PH_DATA].p_offset = 0;
	assert_int_equal(try_changed(t, &p, sizeof(p)), 0);
	p = t->good;
	p.ph[PH_DATA].p_vaddr = PAGE_BYTES + 50;
	p.ph[PH_DATA].p_offset = 50;
	assert_int_equal(try_changed(t, &p, sizeof(p)), 0);
}

static int try_interpreter(struct image_test *t, const void *path, size_t n)
{
	struct program p = t->good;

	p.ph[PH_INTERP].p_type = PT_INTERP;
	p.ph[PH_INTERP].p_filesz = n;
	memcpy(at(&p, INTERP_AT), path, MIN(n, (size_t)2048));
	return try_changed(t, &p, sizeof(p));
}

static void an_interpreter_is_found_or_refused(void **state)
{
	char path[] = "/tmp/baton-unit-XXXXXX";
	char name[64], text[PATH_MAX + 1];
	struct image_test *t = *state;
	int other = memfd_create("interpreter", 0);

	/* The interpreter is a program like others. */
	assert_int_equal(pwrite(other, &t->good, sizeof(t->good), 0), sizeof(t->good));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", other);
	assert_int_equal(try_interpreter(t, name, strlen(name) + 1), 0);
	/* The path may lack its end, and is that long then. */
	assert_int_equal(try_interpreter(t, name, strlen(name)), 0);
	assert_int_equal(try_interpreter(t, "/nonexistent", 13), -ENOENT);
	assert_int_equal(try_interpreter(t, "/", 2), -EISDIR);
	assert_int_equal(try_interpreter(t, "/dev/null", 10), -ENOEXEC);
	memset(text, 'x', sizeof(text));
	assert_int_equal(try_interpreter(t, text, 4095), -ENAMETOOLONG);
	assert_int_equal(try_interpreter(t, text, 4096), -ENOEXEC);
	close(other);
	/* Nobody writes to this one. */
	assert_non_null(mkdtemp(path));
	snprintf(name, sizeof(name), "%s/fifo", path);
	assert_int_equal(mkfifo(name, 0700), 0);
	assert_int_equal(try_interpreter(t, name, strlen(name) + 1), -ENOEXEC);
	unlink(name);
	rmdir(path);
}

static void notes_that_are_malformed_are_not_read_beyond(void **state)
{
	static const uint32_t odd[] = { 0,         1, 5, 7, 8, 9, 4096, INT32_MAX, UINT32_MAX - 3,
					UINT32_MAX };
	struct image_test *t = *state;
	struct image_note note;
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
		for (size_t j = 0; j < ARRAY_SIZE(odd); j++) {
			struct program p = t->good;
			Elf64_Nhdr *h = (Elf64_Nhdr *)at(&p, NOTE_AT);

			h->n_namesz = odd[i];
			h->n_descsz = odd[j];
			write_program(t, &p, sizeof(p));
			assert_int_equal(image_read_note(t->fd, "x", &note, &e), -ENOEXEC);
			assert_non_null(strstr(e.msg, "no note that says so"));
		}
	for (size_t n = 0; n < 28; n++) {
		struct program p = t->good;

		p.ph[PH_NOTE].p_filesz = n;
		write_program(t, &p, sizeof(p));
		assert_int_equal(image_read_note(t->fd, "x", &note, &e), -ENOEXEC);
	}
}

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *seed >> 33;
}

static void no_damage_of_the_headers_reaches_what_was_mapped(void **state)
{
	static const uint64_t odd[] = { 0,         1,          4095,
					4096,      4097,       UINT32_MAX,
					INT64_MAX, UINT64_MAX, UINT64_MAX - 4095 };
	struct image_test *t = *state;
	unsigned int loaded = 0, refused = 0;
	uint64_t seed = 4;

	for (int i = 0; i < MUTATIONS; i++) {
		struct program p = t->good;

		for (uint64_t n = 1 + next_random(&seed) % 3; n; n--) {
			size_t where = next_random(&seed) % (sizeof(p.eh) + sizeof(p.ph));
			uint64_t value = odd[next_random(&seed) % ARRAY_SIZE(odd)];

			if (next_random(&seed) % 2)
				*at(&p, where) ^= (uint8_t)(1u << next_random(&seed) % 8);
			else
				memcpy(at(&p, where & ~UINT64_C(7)), &value, sizeof(value));
		}
		if (try_changed(t, &p, sizeof(p)))
			refused++;
		else
			loaded++;
	}
	/* Both ways are taken, or this shows nothing. */
	assert_true(loaded > MUTATIONS / 20);
	assert_true(refused > MUTATIONS / 20);
}

static void programs_are_searched_in_path(void **state)
{
	char path[] = "/tmp/baton-unit-XXXXXX", dirs[256], name[64];
	AUTO_FREE char *was = strdup(getenv("PATH") ?: "");
	struct err e;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(path));
	snprintf(name, sizeof(name), "%s/true", path);
	/* A directory of that name does not end the search, as little as a missing one. */
	assert_int_equal(mkdir(name, 0755), 0);
	snprintf(dirs, sizeof(dirs), "/nonexistent:%s:%s", path, was);
	setenv("PATH", dirs, 1);
	fd = image_open("true", &e);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(image_open("baton-unit-nothing", &e), -ENOENT);
	setenv("PATH", path, 1);
	assert_int_equal(image_open("true", &e), -EACCES);
	errno = 0;
	setenv("PATH", "", 1);
	assert_int_equal(image_open("true", &e), -ENOENT);
	setenv("PATH", was, 1);
	assert_int_equal(image_open(name, &e), -EACCES);
	assert_int_equal(image_open("/dev/null", &e), -EACCES);
	assert_int_equal(image_open("", &e), -EACCES);
	rmdir(name);
	rmdir(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(segments_are_mapped_as_the_file_says),
		T(the_stack_is_as_the_abi_says),
		T(loading_allocates_nothing_from_the_heap),
		T(a_command_line_that_is_too_long_is_refused),
		T(the_note_says_what_contract_the_program_speaks),
		T(every_truncation_is_refused),
		T(headers_that_cannot_be_right_are_refused),
		T(program_without_anything_to_load_is_refused),
		T(segments_that_overlap_stay_within_their_program),
		T(an_interpreter_is_found_or_refused),
		T(notes_that_are_malformed_are_not_read_beyond),
		T(no_damage_of_the_headers_reaches_what_was_mapped),
		cmocka_unit_test(programs_are_searched_in_path),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
