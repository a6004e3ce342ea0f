/* SPDX-License-Identifier: MIT */
/* Clients of both monitors that type any bytes, against a machine on paper. */
#include "../unit/fake_machine.h"

#include <stdlib.h>

#include "base/trace.h"
#include "ctl/hmp_complete.h"
#include "ctl/json.h"
#include "ctl/words.h"
#include "fuzz.h"
#include "no_host.h"

/* What the first byte says. */
enum {
	HUMAN = 0x01,
	TERMINAL = 0x02,   /* of a human monitor */
	NEGOTIATED = 0x02, /* of the other one   */
	PRETTY = 0x04,
	SLOW = 0x08, /* the peer reads little                */
	IN_PIECES = 0x10,
	AWAY = 0x20, /* and comes back in between             */
	RUNS = 0x40, /* the loop turns after each piece       */
	TEXT = 0x80, /* parsers alone                         */
};

static void ignore(void *to, const char *word)
{
	MUST(word && *word);
	++*(unsigned int *)to;
}

/* A value that was parsed is written and read as the same value. */
static void try_json(const char *text, size_t n)
{
	AUTO_BUF out = { 0 };
	struct err e = ERR_INIT;
	json_t *v = json_text_parse(text, n, &e), *again;

	if (!v) {
		MUST(e.msg[0]);
		return;
	}
	MUST(json_put_text(&out, v));
	/* A number ends before what follows it. */
	buf_put_u8(&out, '\n');
	again = json_text_parse((char *)out.data, out.len, &e);
	MUST(again && json_equal(v, again));
	json_decref(again);
	json_decref(v);
}

static void try_text(const char *text, size_t n)
{
	struct err e = ERR_INIT;
	unsigned int found = 0;
	char **words;

	try_json(text, n);
	hmp_complete(text, ignore, &found);
	if (words_split(text, &words, &e)) {
		MUST(e.msg[0]);
		return;
	}
	MUST(words[0]);
	words_free(words);
}

/* Whatever was said, it is answered still. */
static void check_it_answers(struct fake *f)
{
	static const char ask[] = "\n\xff\n{'execute': 'query-name', 'id': 'still'}\n";
	AUTO_BUF text = { 0 };

	f->chr.capacity = SIZE_MAX;
	f->chr.out.len = 0;
	f->chr.front->writable(f->chr.opaque);
	fake_type_bytes(f, ask, sizeof(ask) - 1);
	for (unsigned int i = 0; i < 3; i++)
		fake_turn(f);
	if (!f->vm.shutdown_requested)
		MUST(strstr(fake_output(f, &text), "still"));
}

static void type(struct fake *f, uint8_t how, struct fuzz_bytes *b)
{
	char piece[256];

	while (b->left) {
		size_t n = how & IN_PIECES ? 1 + fuzz_u8(b) : sizeof(piece);

		n = MIN(MIN(n, b->left), sizeof(piece));
		fuzz_take(b, piece, n);
		fake_type_bytes(f, piece, n);
		if (how & SLOW)
			f->chr.out.len = 0;
		if (how & AWAY && how & IN_PIECES && n == 7) {
			f->chr.front->connected(f->chr.opaque, false);
			f->chr.front->connected(f->chr.opaque, true);
		}
		if (how & RUNS)
			fake_turn(f);
		if (f->chr.out.len > 1 << 20)
			f->chr.out.len = 0;
	}
}

static void talk(uint8_t how, struct fuzz_bytes *b)
{
	struct fake *f = calloc(1, sizeof(*f));
	struct err e;

	fake_init(f);
	loop_work_init(&f->vm.request_work, (void (*)(void *))abort, NULL);
	f->chr.tty = (how & (HUMAN | TERMINAL)) == (HUMAN | TERMINAL);
	if (how & HUMAN)
		MUST(!ctl_add_hmp(f->ctl, &f->chr, &e));
	else if (how & PRETTY)
		MUST(!ctl_add_qmp_pretty(f->ctl, &f->chr, &e));
	else
		MUST(!ctl_add_qmp(f->ctl, &f->chr, &e));
	if (!(how & HUMAN) && how & NEGOTIATED)
		fake_type(f, "{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}");
	if (how & SLOW)
		f->chr.capacity = 100;
	type(f, how, b);
	if (!(how & HUMAN) && how & NEGOTIATED && !(how & AWAY))
		check_it_answers(f);
	json_decref(f->vm.removed);
	vm_destroy_devices(&f->vm);
	fake_fini(f);
	free(f);
	trace_set("*", false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes b = { data, size };
	uint8_t how = fuzz_u8(&b);
	size_t n = b.left;
	char *text;

	if (!(how & TEXT)) {
		talk(how, &b);
		return 0;
	}
	text = malloc(n + 1);
	fuzz_take(&b, text, n);
	text[n] = '\0';
	try_text(text, n);
	free(text);
	return 0;
}
