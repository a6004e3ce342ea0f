/* SPDX-License-Identifier: MIT */
/* States of any bytes: whole streams, single tables, and what devices make of them. */
#include "../unit/all_states.h"

#include "fuzz.h"
#include "machine.h"
#include "state/stream_ram.h"

enum {
	PAGE = 4096,
	PAGES = 3,
	MAX_CHANGES = 64,
};

/* What the first byte can choose. */
enum what {
	WHOLE,   /* a stream, as it is                           */
	PIECES,  /* one with pages of RAM in it, piece by piece  */
	SEALED,  /* with a checksum that is right                */
	TABLE,   /* one section's fields                         */
	DAMAGED, /* a whole machine's state, changed here and there, with the right checksum */
	DEVICES, /* the same of a machine with real devices, which load it                    */
	WHATS,
};

/* The list is made once: each stream is to be decoded into whatever the last one left there. */
static struct snapshot *listed(void)
{
	static struct snapshot s;

	if (!s.nr_items)
		list_all_states(&s);
	return &s;
}

static void try_whole(struct buf *b)
{
	decode(b, listed());
}

static void put_rest(struct fuzz_bytes *b, struct buf *out)
{
	buf_put(out, b->data, b->left);
	b->left = 0;
}

struct source {
	struct fuzz_bytes b;
	size_t piece;
};

static int source_read(void *opaque, void *p, size_t room, size_t *got, struct err *e)
{
	struct source *s = opaque;

	(void)e;
	*got = MIN(MIN(room, s->piece), s->b.left);
	fuzz_take(&s->b, p, *got);
	return 0;
}

static void try_pieces(struct fuzz_bytes *b)
{
	uint8_t how = fuzz_u8(b);
	struct source from = { .piece = 1 + 3u * (how & 0x3f), .b = *b };
	const struct stream_source source = { .read = source_read, .opaque = &from };
	struct stream_progress progress = { 0 };
	uint8_t *ram = aligned_alloc(PAGE, (size_t)PAGES * PAGE);
	AUTO_BUF body = { 0 };
	AUTO_BUF sealed = { 0 };
	struct err e = ERR_INIT;
	struct snapshot s;

	if (how & 0x80) {
		put_rest(b, &body);
		seal(&body, &sealed);
		from.b = (struct fuzz_bytes){ sealed.data, sealed.len };
	}
	memset(ram, 0, (size_t)PAGES * PAGE);
	snapshot_init(&s, LAYOUT_MACHINE_TYPE);
	MUST(!snapshot_add_ram(&s, "r", (uint64_t)PAGES * PAGE, &e));
	MUST(!snapshot_add(&s, global_state_desc.name, 0, &global_state_desc, &e));
	s.rams[0].host = ram;
	s.rams[0].in_place = false;
	s.adopt_capabilities = how & 0x40;
	check_refusal(stream_read(&s, &source, &progress, &e), &e);
	snapshot_fini(&s);
	free(ram);
}

/* What was taken is what would be written, whatever else it was. */
static void try_table(struct fuzz_bytes *b)
{
	const struct vs_desc *descs[MAX_DESCS], *d;
	uint8_t which = fuzz_u8(b);
	AUTO_BUF once = { 0 };
	AUTO_BUF twice = { 0 };
	struct err e = ERR_INIT;
	struct cursor in;
	void *state;
	int r;

	d = descs[which % all_descs(descs)];
	if (d->unmigratable)
		return;
	state = calloc(1, d->size);
	cursor_init(&in, b->data, b->left);
	r = vs_decode(d, d->version, &in, state, &e);
	check_refusal(r, &e);
	if (!r) {
		vs_encode(d, state, &once, NULL);
		cursor_init(&in, once.data, once.len);
		MUST(!vs_decode(d, d->version, &in, state, &e) && !cursor_left(&in));
		vs_encode(d, state, &twice, NULL);
		MUST(once.len == twice.len && !memcmp(once.data, twice.data, once.len));
	}
	free(state);
}

/* Changes the sections, and makes the checksum right again. */
static void damage(struct buf *b, struct fuzz_bytes *how, struct buf *out)
{
	uint8_t bytes[64];

	for (unsigned int i = 0; how->left && i < MAX_CHANGES; i++) {
		size_t at = fuzz_u16(how) % b->len, n = fuzz_u8(how);

		if (n < 128) {
			n = 1 + n % MIN(8, b->len - at);
			fuzz_take(how, bytes, n);
			memcpy(b->data + at, bytes, n);
		} else if (n < 192) {
			n = MIN(n - 127, b->len - at - (at == 0));
			memmove(b->data + at, b->data + at + n, b->len - at - n);
			b->len -= n;
		} else {
			n = MIN(n - 191, b->len - at);
			memcpy(bytes, b->data + at, n);
			buf_put(b, bytes, n);
			memmove(b->data + at + n, b->data + at, b->len - at - n);
		}
	}
	seal(b, out);
}

static const struct buf *good_state(void)
{
	static struct buf good;
	struct snapshot s;
	struct err e;

	if (!good.len) {
		fill_all_states(&s, 1);
		MUST(!stream_encode_bare(&s, &good, &e));
		snapshot_fini(&s);
		good.len = body_bytes(&good);
	}
	return &good;
}

static void try_damaged(struct fuzz_bytes *b)
{
	AUTO_BUF whole = { 0 };
	AUTO_BUF sealed = { 0 };

	buf_put(&whole, good_state()->data, good_state()->len);
	damage(&whole, b, &sealed);
	try_whole(&sealed);
}

/* What the devices took is what they run with; and what they write then they take again. */
static void try_devices(struct fuzz_bytes *b)
{
	struct machine *m = calloc(1, sizeof(*m));
	AUTO_BUF whole = { 0 };
	AUTO_BUF sealed = { 0 };
	AUTO_BUF again = { 0 };

	make_machine(m);
	save(&m->vm, &whole);
	whole.len = body_bytes(&whole);
	damage(&whole, b, &sealed);
	if (!load(&m->vm, &sealed)) {
		run_changed(&m->vm, true);
		loop_run_once(m->vm.loop, 0);
		loop_run_once(m->vm.loop, 0);
		run_changed(&m->vm, false);
		save(&m->vm, &again);
		MUST(!load(&m->vm, &again));
	}
	unmake_machine(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes b = { data, size };
	enum what what = fuzz_u8(&b) % WHATS;
	AUTO_BUF bytes = { 0 };
	AUTO_BUF sealed = { 0 };

	switch (what) {
	case WHOLE:
		put_rest(&b, &bytes);
		try_whole(&bytes);
		break;
	case PIECES:
		try_pieces(&b);
		break;
	case SEALED:
		put_rest(&b, &bytes);
		seal(&bytes, &sealed);
		try_whole(&sealed);
		break;
	case TABLE:
		try_table(&b);
		break;
	case DAMAGED:
		try_damaged(&b);
		break;
	default:
		try_devices(&b);
		break;
	}
	return 0;
}
