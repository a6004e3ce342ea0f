/* SPDX-License-Identifier: MIT */
/* Program images: ELF files mapped into this address space, with a stack to start them on. */
#ifndef HOST_IMAGE_H
#define HOST_IMAGE_H

/*
 * DOC: theory of operation
 *
 * What the kernel does in execve(), for a second program beside the one that
 * runs: the loadable segments of a position-independent executable are mapped
 * where there is room, those of its interpreter (the dynamic linker) likewise,
 * and a stack is laid out as the x86-64 psABI and the kernel do: argc, argv,
 * environment, auxiliary vector. Segments come from the file, and none is
 * writable and executable at once.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A program that was mapped. Plain data. */
struct image {
	uint64_t entry; /* where execution starts: the interpreter's, if there is one */
	uint64_t stack; /* the stack pointer to start with                            */
	/* On that stack, as /proc shows them: begin and end. */
	uint64_t args, args_end;
	uint64_t env_end; /* the environment begins where the arguments end */
	uint64_t auxv, auxv_bytes;
};

/*
 * The note by which a program says that it can be started by image_load()'s caller: what
 * contract it speaks, and the oldest it can do with.
 */
struct image_note {
	uint32_t version;
	uint32_t oldest;
};

/* Section, owner and type of that note, for the program that carries it. */
#define IMAGE_NOTE_SECTION ".note.baton"
#define IMAGE_NOTE_OWNER   "Baton"
#define IMAGE_NOTE_TYPE    1

/*
 * Opens the program @name, searched in PATH like execvp() does; it must be a file that may be
 * executed. Returns the descriptor.
 */
int image_open(const char *name, struct err *e);

/*
 * Reads the note of the program behind @fd. -ENOEXEC for what is no position-independent x86-64
 * program with that note, with a sentence that says what it is instead.
 */
int image_read_note(int fd, const char *name, struct image_note *out, struct err *e);

/*
 * Maps the program behind @fd with a stack for @argv and the environment of this process, in
 * which @variable (NAME=VALUE) is added or replaced. After a failure some of it may be left
 * mapped; the caller knows what was mapped before.
 */
int image_load(int fd, char *const *argv, const char *variable, struct image *out, struct err *e);

#endif
