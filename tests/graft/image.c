/* SPDX-License-Identifier: MIT */
/*
 * A program that says it is a Baton and is none: built once per KIND, it shows what a graft does
 * with an image that fails.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef NOTE_VERSION
#define NOTE_VERSION 1
#endif
#ifndef NOTE_OLDEST
#define NOTE_OLDEST NOTE_VERSION
#endif
#define TEXT_OF(x)  #x
#define TEXT_OF_(x) TEXT_OF(x)

__asm__(".pushsection .note.baton, \"a\", @note\n"
	".balign 4\n"
	".long 6, 8, 1\n"
	".asciz \"Baton\"\n"
	".balign 4\n"
	".long " TEXT_OF_(NOTE_VERSION) ", " TEXT_OF_(NOTE_OLDEST) "\n"
								   ".popsection\n");

/* With MISSING defined nobody has it. */
void not_there(void);

#ifndef MISSING
void not_there(void)
{
}
#endif

static int overflow(int depth)
{
	volatile char room[4096];

	memset((char *)room, depth, sizeof(room));
	return depth < 0 ? room[0] : overflow(depth + 1) + room[1];
}

int main(void)
{
	const char *kind = TEXT_OF_(KIND);

	not_there();
	if (!strcmp(kind, "exits"))
		return 3;
	if (!strcmp(kind, "exits_raw"))
		syscall(SYS_exit_group, 0);
	if (!strcmp(kind, "crashes"))
		raise(SIGSEGV);
	if (!strcmp(kind, "aborts"))
		abort();
	if (!strcmp(kind, "overflows"))
		return overflow(1);
	if (!strcmp(kind, "leaks")) {
		/* Much memory, descriptors, and then the end. */
		for (int i = 0; i < 100; i++)
			memset(malloc(1 << 20), 1, 1 << 20);
		for (int i = 0; i < 100; i++)
			dup(2);
		return 4;
	}
	if (!strcmp(kind, "sleeps"))
		for (;;)
			pause();
	for (;;)
		;
}
