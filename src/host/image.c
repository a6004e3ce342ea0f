/* SPDX-License-Identifier: MIT */
/* Program images: ELF files mapped into this address space, with a stack to start them on. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "host/image.h"

#define PAGE          UINT64_C(4096)
#define STACK_BYTES   (8 * MIB)
#define MAX_SPAN      (256 * MIB) /* of all segments of one file */
#define MAX_STRINGS   (2 * MIB)   /* command line and environment, as execve() allows */
#define MAX_ALIGNMENT (4 * MIB)

enum {
	MAX_PHDRS = 64,
	MAX_NOTE_BYTES = 4096,
	RANDOM_BYTES = 16,
	/* Newer than the headers of Debian 12. */
	AUX_RSEQ_FEATURE_SIZE = 27,
	AUX_RSEQ_ALIGN = 28,
};

/* Entries of the auxiliary vector that tell of the machine, not of the program. */
static const uint64_t machine_aux[] = {
	AT_SYSINFO_EHDR,
	AT_HWCAP,
	AT_HWCAP2,
	AT_PAGESZ,
	AT_CLKTCK,
	AT_PLATFORM,
	AT_UID,
	AT_EUID,
	AT_GID,
	AT_EGID,
	AT_SECURE,
	AT_MINSIGSTKSZ,
	AUX_RSEQ_FEATURE_SIZE,
	AUX_RSEQ_ALIGN,
};

/* An ELF file that was looked at. */
struct elf {
	int fd;
	const char *name; /* for messages */
	uint64_t size;
	Elf64_Ehdr eh;
	Elf64_Phdr ph[MAX_PHDRS];
	uint64_t base; /* address of what the file calls 0, once mapped */
};

/* Only what may be executed. A FIFO would make us wait for its writer. */
static int open_program(const char *path, size_t length)
{
	struct stat st;
	int fd;

	if (length >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -1;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && !access(path, X_OK))
		return fd;
	close(fd);
	errno = EACCES;
	return -1;
}

int image_open(const char *name, struct err *e)
{
	const char *dirs = strchr(name, '/') ? NULL : getenv("PATH");
	int fd = -1, why = ENOENT;
	char path[PATH_MAX];

	if (!dirs) {
		fd = open_program(name, strlen(name));
		why = errno;
	}
	for (const char *end; dirs && *dirs && fd < 0; dirs = *end ? end + 1 : end) {
		int n;

		end = strchrnul(dirs, ':');
		n = snprintf(path, sizeof(path), "%.*s/%s", (int)(end - dirs), dirs, name);
		fd = open_program(path, (size_t)n);
		if (fd < 0 && errno == EACCES)
			why = EACCES;
	}
	if (fd >= 0)
		return fd;
	if (why == EACCES)
		return err_set(e, EACCES, "'%s' is no program that may be executed", name);
	return err_set_code(e, why, "cannot open the program '%s'", name);
}

static int read_at(const struct elf *f, uint64_t offset, void *p, size_t n, struct err *e)
{
	ssize_t got = pread(f->fd, p, n, (off_t)offset);

	if (got < 0)
		return err_set_errno(e, "cannot read '%s'", f->name);
	if ((size_t)got != n)
		return err_set(e, ENOEXEC, "'%s' is cut off: it ends within its headers", f->name);
	return 0;
}

static int check_segment(const struct elf *f, const Elf64_Phdr *p, struct err *e)
{
	if (p->p_offset > f->size || p->p_filesz > f->size - p->p_offset)
		return err_set(e, ENOEXEC, "'%s' is cut off: a part of it is beyond its end",
			       f->name);
	if (p->p_type != PT_LOAD)
		return 0;
	if (p->p_filesz > p->p_memsz || p->p_memsz > MAX_SPAN || p->p_vaddr > MAX_SPAN ||
	    (p->p_vaddr - p->p_offset) % PAGE || p->p_align > MAX_ALIGNMENT)
		return err_set(e, ENOEXEC, "'%s' has a segment that cannot be mapped", f->name);
	if ((p->p_flags & (PF_W | PF_X)) == (PF_W | PF_X))
		return err_set(e, ENOEXEC, "'%s' has a segment that is writable and executable",
			       f->name);
	return 0;
}

static int open_elf(struct elf *f, int fd, const char *name, struct err *e)
{
	struct stat st;
	int r;

	*f = (struct elf){ .fd = fd, .name = name };
	if (fstat(fd, &st))
		return err_set_errno(e, "cannot examine '%s'", name);
	f->size = (uint64_t)st.st_size;
	if (f->size < sizeof(f->eh))
		return err_set(e, ENOEXEC, "'%s' is no program: it is too short for one", name);
	r = read_at(f, 0, &f->eh, sizeof(f->eh), e);
	if (r)
		return r;
	if (memcmp(f->eh.e_ident, ELFMAG, SELFMAG) || f->eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    f->eh.e_machine != EM_X86_64)
		return err_set(e, ENOEXEC, "'%s' is no x86-64 program", name);
	if (f->eh.e_type != ET_DYN)
		return err_set(e, ENOEXEC,
			       "'%s' is not position-independent (it was built without -pie), so "
			       "there may be no room for it in this process",
			       name);
	if (f->eh.e_phentsize != sizeof(f->ph[0]) || !f->eh.e_phnum || f->eh.e_phnum > MAX_PHDRS)
		return err_set(e, ENOEXEC, "'%s' has no usable program headers", name);
	r = read_at(f, f->eh.e_phoff, f->ph, f->eh.e_phnum * sizeof(f->ph[0]), e);
	for (unsigned int i = 0; !r && i < f->eh.e_phnum; i++)
		r = check_segment(f, &f->ph[i], e);
	return r;
}

/* Whether @n bytes of notes hold ours; then it is in *@out. */
static bool find_note(const uint8_t *p, size_t n, struct image_note *out)
{
	const size_t owner = sizeof(IMAGE_NOTE_OWNER);
	Elf64_Nhdr h;

	while (n >= sizeof(h)) {
		uint64_t name, desc;

		memcpy(&h, p, sizeof(h));
		name = align_up(h.n_namesz, 4);
		desc = align_up(h.n_descsz, 4);
		if (name + desc > n - sizeof(h))
			return false;
		p += sizeof(h);
		if (h.n_type == IMAGE_NOTE_TYPE && h.n_namesz == owner &&
		    h.n_descsz == sizeof(*out) && !memcmp(p, IMAGE_NOTE_OWNER, owner)) {
			memcpy(out, p + name, sizeof(*out));
			return true;
		}
		p += name + desc;
		n -= sizeof(h) + name + desc;
	}
	return false;
}

int image_read_note(int fd, const char *name, struct image_note *out, struct err *e)
{
	uint8_t notes[MAX_NOTE_BYTES];
	struct elf f;
	int r = open_elf(&f, fd, name, e);

	for (unsigned int i = 0; !r && i < f.eh.e_phnum; i++) {
		size_t n = MIN(f.ph[i].p_filesz, sizeof(notes));

		if (f.ph[i].p_type != PT_NOTE)
			continue;
		r = read_at(&f, f.ph[i].p_offset, notes, n, e);
		if (!r && find_note(notes, n, out))
			return 0;
	}
	return r ? r
		 : err_set(e, ENOEXEC,
			   "'%s' is no Baton that can be grafted: it has no note that says so",
			   name);
}

/* Addresses for the whole file, aligned as it wants, that nothing else takes meanwhile. */
static int reserve(struct elf *f, struct err *e)
{
	uint64_t low = UINT64_MAX, high = 0, align = PAGE, room, start;
	void *p;

	for (unsigned int i = 0; i < f->eh.e_phnum; i++) {
		const Elf64_Phdr *ph = &f->ph[i];

		if (ph->p_type != PT_LOAD)
			continue;
		low = MIN(low, ph->p_vaddr & ~(PAGE - 1));
		high = MAX(high, align_up(ph->p_vaddr + ph->p_memsz, PAGE));
		if (ph->p_align && !(ph->p_align & (ph->p_align - 1)))
			align = MAX(align, ph->p_align);
	}
	if (low >= high || high - low > MAX_SPAN)
		return err_set(e, ENOEXEC, "'%s' has nothing to load, or too much", f->name);
	room = high - low + align;
	p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return err_set_errno(e, "no room for '%s' in this address space", f->name);
	start = align_up((uintptr_t)p, align);
	if (start > (uintptr_t)p)
		munmap(p, start - (uintptr_t)p);
	munmap((void *)(start + (high - low)), (uintptr_t)p + room - (start + (high - low)));
	f->base = start - low;
	return 0;
}

static int map_segment(const struct elf *f, const Elf64_Phdr *ph, struct err *e)
{
	int prot = (ph->p_flags & PF_R ? PROT_READ : 0) | (ph->p_flags & PF_W ? PROT_WRITE : 0) |
		   (ph->p_flags & PF_X ? PROT_EXEC : 0);
	uint64_t start = (f->base + ph->p_vaddr) & ~(PAGE - 1);
	uint64_t data_end = f->base + ph->p_vaddr + ph->p_filesz;
	uint64_t file_end = align_up(data_end, PAGE);
	uint64_t end = align_up(f->base + ph->p_vaddr + ph->p_memsz, PAGE);
	void *p = NULL;

	if (ph->p_filesz)
		p = mmap((void *)start, file_end - start, prot,
			 MAP_PRIVATE | MAP_FIXED | MAP_POPULATE, f->fd,
			 (off_t)(ph->p_offset & ~(PAGE - 1)));
	else
		file_end = start;
	if (p != MAP_FAILED && end > file_end)
		p = mmap((void *)file_end, end - file_end, prot,
			 MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return err_set_errno(e, "cannot map '%s'", f->name);
	/* What follows in the file's last page is not of this segment. */
	if (ph->p_memsz > ph->p_filesz && ph->p_filesz && prot & PROT_WRITE)
		memset((void *)data_end, 0, file_end - data_end);
	return 0;
}

static int map_elf(struct elf *f, struct err *e)
{
	int r = reserve(f, e);

	for (unsigned int i = 0; !r && i < f->eh.e_phnum; i++)
		if (f->ph[i].p_type == PT_LOAD)
			r = map_segment(f, &f->ph[i], e);
	return r;
}

/* The dynamic linker, if the program asks for one. */
static int map_interpreter(const struct elf *f, uint64_t *base, uint64_t *entry, struct err *e)
{
	char path[PATH_MAX] = "";
	AUTO_CLOSE int fd = -1;
	struct elf interp;
	int r = 0;

	for (unsigned int i = 0; !r && i < f->eh.e_phnum; i++) {
		if (f->ph[i].p_type != PT_INTERP)
			continue;
		if (f->ph[i].p_filesz >= sizeof(path))
			return err_set(e, ENOEXEC, "'%s' names an interpreter without end",
				       f->name);
		r = read_at(f, f->ph[i].p_offset, path, f->ph[i].p_filesz, e);
	}
	if (r || !path[0])
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return err_set_errno(e, "cannot open '%s', the interpreter of '%s'", path, f->name);
	r = open_elf(&interp, fd, path, e);
	if (!r)
		r = map_elf(&interp, e);
	if (r)
		return r;
	*base = interp.base;
	*entry = interp.base + interp.eh.e_entry;
	return 0;
}

static uint64_t phdr_address(const struct elf *f)
{
	for (unsigned int i = 0; i < f->eh.e_phnum; i++) {
		const Elf64_Phdr *ph = &f->ph[i];

		if (ph->p_type == PT_LOAD && f->eh.e_phoff >= ph->p_offset &&
		    f->eh.e_phoff - ph->p_offset < ph->p_filesz)
			return f->base + ph->p_vaddr + (f->eh.e_phoff - ph->p_offset);
	}
	return 0;
}

/* The stack under construction: strings from the top down, then the vectors below them. */
struct stack {
	uint64_t low;    /* nothing is put below               */
	uint64_t top;    /* what is free ends here             */
	uint64_t *words; /* vectors, gathered at the other end of the stack first */
	size_t nr_words, cap_words;
	bool full;
};

/* Room for @n bytes; 0: there is none. */
static uint64_t push_room(struct stack *s, size_t n)
{
	if (s->full || n > s->top - s->low) {
		s->full = true;
		return 0;
	}
	s->top -= n;
	return s->top;
}

static uint64_t push_bytes(struct stack *s, const void *p, size_t n)
{
	uint64_t at = push_room(s, n);

	if (at)
		memcpy((void *)at, p, n);
	return at;
}

static void add_word(struct stack *s, uint64_t w)
{
	if (s->nr_words < s->cap_words)
		s->words[s->nr_words++] = w;
	else
		s->full = true;
}

static bool is_variable(const char *entry, const char *variable)
{
	size_t n = (size_t)(strchrnul(variable, '=') - variable);

	return !strncmp(entry, variable, n) && entry[n] == '=';
}

/* Copies a list of strings to @at, without @except, as /proc shows them: in ascending order. */
static uint64_t put_list(struct stack *s, char *const *list, const char *except, uint64_t at)
{
	for (char *const *v = list; v && *v; v++) {
		size_t n = strlen(*v) + 1;

		if (except && is_variable(*v, except))
			continue;
		memcpy((void *)at, *v, n);
		add_word(s, at);
		at += n;
	}
	return at;
}

static size_t list_bytes(char *const *list)
{
	size_t n = 0;

	for (char *const *v = list; v && *v; v++)
		n += strlen(*v) + 1;
	return n;
}

static void add_aux(struct stack *s, uint64_t type, uint64_t value)
{
	add_word(s, type);
	add_word(s, value);
}

/* What the kernel tells of the machine holds for every program; the rest is this one's. */
static void add_auxv(struct stack *s, const struct elf *f, uint64_t interp_base, uint64_t random,
		     uint64_t name)
{
	for (size_t i = 0; i < ARRAY_SIZE(machine_aux); i++) {
		uint64_t value;

		errno = 0;
		value = getauxval(machine_aux[i]);
		if (!errno)
			add_aux(s, machine_aux[i], value);
	}
	add_aux(s, AT_PHDR, phdr_address(f));
	add_aux(s, AT_PHENT, sizeof(f->ph[0]));
	add_aux(s, AT_PHNUM, f->eh.e_phnum);
	add_aux(s, AT_BASE, interp_base);
	add_aux(s, AT_FLAGS, 0);
	add_aux(s, AT_ENTRY, f->base + f->eh.e_entry);
	add_aux(s, AT_RANDOM, random);
	add_aux(s, AT_EXECFN, name);
	add_aux(s, AT_NULL, 0);
}

static size_t count(char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static int fill_stack(struct stack *s, const struct elf *f, uint64_t interp_base, char *const *argv,
		      const char *variable, struct image *out, struct err *e)
{
	size_t strings = list_bytes(argv) + list_bytes(environ) + strlen(variable) + 1, aux;
	uint8_t random[RANDOM_BYTES];
	uint64_t random_at, name_at;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return err_set_errno(e, "cannot get random bytes for '%s'", f->name);
	random_at = push_bytes(s, random, sizeof(random));
	name_at = push_bytes(s, f->name, strlen(f->name) + 1);
	out->args = push_room(s, strings);
	if (out->args) {
		add_word(s, count(argv));
		out->args_end = put_list(s, argv, NULL, out->args);
		add_word(s, 0);
		out->env_end = put_list(s, environ, variable, out->args_end);
		out->env_end =
			put_list(s, (char *const[]){ (char *)variable, NULL }, NULL, out->env_end);
		add_word(s, 0);
	}
	aux = s->nr_words;
	add_auxv(s, f, interp_base, random_at, name_at);
	/* 16-byte aligned at entry, as the psABI demands. */
	s->top = (s->top - s->nr_words * sizeof(uint64_t)) & ~UINT64_C(15);
	if (s->full || s->top < s->low)
		return err_set(e, E2BIG, "the command line and environment for '%s' are too long",
			       f->name);
	memcpy((void *)s->top, s->words, s->nr_words * sizeof(uint64_t));
	out->stack = s->top;
	out->auxv = s->top + aux * sizeof(uint64_t);
	out->auxv_bytes = (s->nr_words - aux) * sizeof(uint64_t);
	return 0;
}

/*
 * Allocates nothing: what the heap of the running program gets while a second one is being
 * loaded would be taken for that one's.
 */
static int make_stack(const struct elf *f, uint64_t interp_base, char *const *argv,
		      const char *variable, struct image *out, struct err *e)
{
	struct stack s = { .cap_words = MAX_STRINGS / sizeof(uint64_t) };
	uint8_t *p;
	int r;

	p = mmap(NULL, PAGE + STACK_BYTES, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	/* The first page stays out of reach: a stack that is too deep ends there. */
	if (p == MAP_FAILED || mprotect(p + PAGE, STACK_BYTES, PROT_READ | PROT_WRITE))
		return err_set_errno(e, "no memory for the stack of '%s'", f->name);
	s.words = (uint64_t *)(p + PAGE);
	s.top = (uintptr_t)p + PAGE + STACK_BYTES;
	s.low = s.top - MAX_STRINGS;
	r = fill_stack(&s, f, interp_base, argv, variable, out, e);
	madvise(s.words, MAX_STRINGS, MADV_DONTNEED);
	return r;
}

int image_load(int fd, char *const *argv, const char *variable, struct image *out, struct err *e)
{
	struct image image = { 0 };
	uint64_t interp_base = 0;
	struct elf f;
	int r = open_elf(&f, fd, argv[0], e);

	if (!r)
		r = map_elf(&f, e);
	if (r)
		return r;
	image.entry = f.base + f.eh.e_entry;
	r = map_interpreter(&f, &interp_base, &image.entry, e);
	if (!r)
		r = make_stack(&f, interp_base, argv, variable, &image, e);
	if (!r)
		*out = image;
	return r;
}
