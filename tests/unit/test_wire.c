/* SPDX-License-Identifier: MIT */
/* The CPR protocol: what goes over comes back, and nothing malformed gets through or leaks. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/util.h"
#include "fd_count.h"
#include "host/clock.h"
#include "host/mem.h"
#include "host/sock.h"
#include "update/wire.h"

#define CONFIG "{\"machine\": \"baton-1\", \"smp\": 2}"

enum {
	FLAG_FD = 1,
	/* Numbers of the descriptors in the encoded form: no flipped bit makes a low one. */
	HIGH_FD_0 = 0x2aa,
	HIGH_FD_1 = 0x155,
};

struct fixture {
	int a, b; /* a connected pair */
	unsigned int fds;
};

static void open_pair(struct fixture *f)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	f->a = fds[0];
	f->b = fds[1];
}

static void close_pair(struct fixture *f)
{
	close_fd(&f->a);
	close_fd(&f->b);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->fds = fd_count();
	open_pair(f);
	*state = f;
	alarm(60);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned int now;

	close_pair(f);
	now = fd_count();
	if (now != f->fds)
		print_error("%u descriptors before, %u after\n", f->fds, now);
	now -= f->fds;
	free(f);
	return now ? -1 : 0;
}

static uint64_t soon(void)
{
	return clock_boottime_ns() + UINT64_C(5000000000);
}

static int memory(const char *name)
{
	struct err e;
	int fd = mem_create_memfd(name, 4096, &e);

	assert_true(fd >= 0);
	return fd;
}

static ino_t inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/* A state with two descriptors of one name. */
static void fill(struct cpr_state *s)
{
	struct err e;

	cpr_state_init(s);
	assert_int_equal(s->version, WIRE_VERSION);
	s->pid = 4711;
	s->mode = 2;
	s->config = strdup(CONFIG);
	assert_int_equal(cpr_state_add_fd(s, "ram0", 0, memory("zero"), &e), 0);
	assert_int_equal(cpr_state_add_fd(s, "ram0", 7, memory("seven"), &e), 0);
}

static void assert_same(const struct cpr_state *got, const struct cpr_state *want)
{
	assert_int_equal(got->version, want->version);
	assert_int_equal(got->mode, want->mode);
	assert_int_equal(got->pid, want->pid);
	assert_string_equal(got->config, want->config);
	assert_int_equal(got->nr_fds, want->nr_fds);
	for (size_t i = 0; i < want->nr_fds; i++) {
		assert_string_equal(got->fds[i].name, want->fds[i].name);
		assert_int_equal(got->fds[i].id, want->fds[i].id);
		assert_int_equal(inode(got->fds[i].fd), inode(want->fds[i].fd));
	}
}

static void a_state_goes_over_a_socket_with_its_descriptors(void **state)
{
	struct fixture *f = *state;
	struct cpr_state from, to;
	struct err e;

	fill(&from);
	assert_int_equal(cpr_state_send(&from, f->a, soon(), &e), 0);
	cpr_state_init(&to);
	if (cpr_state_recv(&to, f->b, soon(), &e))
		fail_msg("%s", e.msg);
	assert_same(&to, &from);
	for (size_t i = 0; i < to.nr_fds; i++) {
		assert_int_not_equal(to.fds[i].fd, from.fds[i].fd);
		assert_int_equal(fcntl(to.fds[i].fd, F_GETFD), FD_CLOEXEC);
	}
	/* Not a byte more was taken: the channel goes on. */
	assert_int_equal(wire_send(f->a, WIRE_CANCEL, "no", 2, soon(), &e), 0);
	assert_true(sock_has_input(f->b));
	cpr_state_fini(&from);
	cpr_state_fini(&to);
	cpr_state_fini(&to);
}

static void a_state_is_encoded_with_descriptor_numbers(void **state)
{
	struct cpr_state from, to;
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	fill(&from);
	assert_int_equal(cpr_state_encode(&from, &b, &e), 0);
	cpr_state_init(&to);
	if (cpr_state_decode(&to, b.data, b.len, &e))
		fail_msg("%s", e.msg);
	assert_same(&to, &from);
	assert_int_equal(to.fds[0].fd, from.fds[0].fd);
	assert_int_equal(to.fds[1].fd, from.fds[1].fd);
	/* They are the same descriptors: only one of the two closes them. */
	from.nr_fds = 0;
	cpr_state_fini(&from);
	cpr_state_fini(&to);
}

static void put_frame(struct buf *b, uint16_t type, uint16_t flags, const void *p, size_t n)
{
	buf_put_be16(b, type);
	buf_put_be16(b, flags);
	buf_put_be32(b, (uint32_t)n);
	buf_put(b, p, n);
}

static void the_encoded_bytes_are_the_documented_ones(void **state)
{
	AUTO_BUF got = { 0 }, want = { 0 };
	struct cpr_state s;
	struct err e;

	(void)state;
	cpr_state_init(&s);
	s.pid = 4711;
	s.mode = 2;
	s.config = strdup(CONFIG);
	assert_int_equal(cpr_state_add_fd(&s, "ram0", 7, HIGH_FD_0, &e), 0);
	assert_int_equal(cpr_state_encode(&s, &got, &e), 0);
	put_frame(&want, WIRE_HELLO, 0, "\0\0\0\x01\0\0\x12\x67\0\0\0\x02", 12);
	put_frame(&want, WIRE_FD, FLAG_FD, "\0\0\x02\xaa\0\0\0\x07ram0", 12);
	put_frame(&want, WIRE_CONFIG, 0, CONFIG, strlen(CONFIG));
	put_frame(&want, WIRE_END, 0, NULL, 0);
	assert_int_equal(got.len, want.len);
	assert_memory_equal(got.data, want.data, want.len);
	s.nr_fds = 0;
	cpr_state_fini(&s);
}

static void descriptors_are_found_by_name_and_id(void **state)
{
	struct cpr_state s;
	struct err e;
	int fd;

	(void)state;
	fill(&s);
	assert_int_equal(cpr_state_find_fd(&s, "ram0", 0), s.fds[0].fd);
	assert_int_equal(cpr_state_find_fd(&s, "ram0", 7), s.fds[1].fd);
	assert_int_equal(cpr_state_find_fd(&s, "ram0", 1), -1);
	assert_int_equal(cpr_state_find_fd(&s, "ram", 0), -1);
	fd = cpr_state_dup_fd(&s, "ram0", 7, &e);
	assert_true(fd >= 0 && fd != s.fds[1].fd);
	assert_int_equal(inode(fd), inode(s.fds[1].fd));
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	assert_int_equal(cpr_state_dup_fd(&s, "vga", 0, &e), -ENOENT);
	assert_string_equal(e.msg, "the old side handed over no 'vga'");
	cpr_state_fini(&s);
}

static void a_set_of_descriptors_has_distinct_proper_names(void **state)
{
	char name[WIRE_NAME_MAX + 1];
	struct cpr_state s;
	struct err e;

	(void)state;
	cpr_state_init(&s);
	assert_int_equal(cpr_state_add_fd(&s, "ram0", 1, 1000, &e), 0);
	assert_int_equal(cpr_state_add_fd(&s, "ram0", 1, 1001, &e), -EEXIST);
	assert_string_equal(e.msg, "descriptor 'ram0' 1 is there twice");
	assert_int_equal(cpr_state_add_fd(&s, "vga", 0, 1000, &e), -EEXIST);
	assert_string_equal(e.msg, "'ram0' and 'vga' are one descriptor");
	assert_int_equal(cpr_state_add_fd(&s, "", 0, 1001, &e), -EINVAL);
	memset(name, 'n', sizeof(name));
	name[WIRE_NAME_MAX] = '\0';
	assert_int_equal(cpr_state_add_fd(&s, name, 0, 1001, &e), -EINVAL);
	name[WIRE_NAME_MAX - 1] = '\0';
	assert_int_equal(cpr_state_add_fd(&s, name, 0, 1001, &e), 0);
	for (int i = 2; i < WIRE_MAX_FDS; i++)
		assert_int_equal(cpr_state_add_fd(&s, "more", (uint32_t)i, 1000 + i, &e), 0);
	assert_int_equal(cpr_state_add_fd(&s, "more", 1, 1001, &e), -E2BIG);
	s.nr_fds = 0;
	cpr_state_fini(&s);
}

/* What a peer sends: bytes, each frame with a descriptor or none. */
struct script {
	struct {
		size_t len;
		int fd;
	} frames[WIRE_MAX_FDS + 8];
	size_t nr;
	struct buf bytes;
};

static void say(struct script *s, uint16_t type, uint16_t flags, const void *p, size_t n, int fd)
{
	size_t start = s->bytes.len;

	put_frame(&s->bytes, type, flags, p, n);
	s->frames[s->nr].fd = fd;
	s->frames[s->nr++].len = s->bytes.len - start;
}

static void say_hello(struct script *s)
{
	say(s, WIRE_HELLO, 0, "\0\0\0\x01\0\0\x12\x67\0\0\0\x02", 12, -1);
}

static void say_config(struct script *s)
{
	say(s, WIRE_CONFIG, 0, CONFIG, strlen(CONFIG), -1);
}

static void say_end(struct script *s)
{
	say(s, WIRE_END, 0, NULL, 0, -1);
}

/* Sends the script, hangs up, receives; the state is thrown away. */
static int play(struct script *s, struct err *e)
{
	const uint8_t *p = s->bytes.data;
	struct fixture f;
	struct cpr_state got;
	int r;

	open_pair(&f);
	/* All is sent before any of it is received. */
	assert_int_equal(setsockopt(f.a, SOL_SOCKET, SO_SNDBUF, &(int){ 1 << 20 }, sizeof(int)), 0);
	for (size_t i = 0; i < s->nr; i++) {
		assert_int_equal(
			sock_send_all(f.a, p, s->frames[i].len, s->frames[i].fd, soon(), e), 0);
		p += s->frames[i].len;
	}
	close_fd(&f.a);
	cpr_state_init(&got);
	e->msg[0] = '\0';
	r = cpr_state_recv(&got, f.b, soon(), e);
	if (r)
		assert_true(e->msg[0]);
	cpr_state_fini(&got);
	close_pair(&f);
	return r;
}

static void assert_play_refused(struct script *s, int code, const char *text)
{
	struct err e;
	int r = play(s, &e);

	if (!r)
		fail_msg("accepted; expected: %s", text);
	assert_string_equal(e.msg, text);
	assert_int_equal(r, -code);
	buf_fini(&s->bytes);
	*s = (struct script){ 0 };
}

static void a_peer_that_does_not_greet_properly_is_refused(void **state)
{
	struct script s = { 0 };

	(void)state;
	say(&s, WIRE_HELLO, 0, "\0\0\0\0\0\0\x12\x67\0\0\0\x02", 12, -1);
	assert_play_refused(&s, EPROTO,
			    "the peer speaks version 0 of the CPR protocol, this side 1 to 1");
	say_config(&s);
	assert_play_refused(&s, EPROTO, "the peer does not greet as a Baton does");
	say_hello(&s);
	say_hello(&s);
	assert_play_refused(&s, EPROTO, "the peer does not greet as a Baton does");
	say(&s, WIRE_HELLO, 0, "\0\0\0\x01\0\0\x12\x67\0\0\0", 11, -1);
	assert_play_refused(&s, EPROTO, "the peer's greeting is malformed");
	say(&s, WIRE_HELLO, 0, "\0\0\0\x01\0\0\x12\x67\0\0\0\x02\0", 13, -1);
	assert_play_refused(&s, EPROTO, "the peer's greeting is malformed");
	/* What QEMU would send. */
	buf_put(&s.bytes, "QCPR\0\0\0\x01", 8);
	s.frames[0].len = 8;
	s.frames[0].fd = -1;
	s.nr = 1;
	assert_play_refused(&s, EPROTO, "not a CPR message of Baton (type 20803, flags 0x5052)");
}

/* Both speak the older one's version then. */
static void a_newer_peer_is_met_at_our_version(void **state)
{
	static const uint32_t theirs[] = { WIRE_VERSION, WIRE_VERSION + 1, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(theirs); i++) {
		struct cpr_state s, got;
		AUTO_BUF b = { 0 };
		struct err e;

		cpr_state_init(&s);
		s.version = theirs[i];
		s.config = strdup(CONFIG);
		assert_int_equal(cpr_state_encode(&s, &b, &e), 0);
		cpr_state_forget(&s);
		cpr_state_init(&got);
		assert_int_equal(cpr_state_decode(&got, b.data, b.len, &e), 0);
		assert_int_equal(got.version, WIRE_VERSION);
		cpr_state_fini(&got);
	}
}

static void a_version_that_was_not_offered_is_refused(void **state)
{
	struct err e;

	(void)state;
	for (uint32_t v = WIRE_VERSION_OLDEST; v <= WIRE_VERSION; v++)
		assert_int_equal(wire_check_version(v, &e), 0);
	assert_int_equal(wire_check_version(WIRE_VERSION + 1, &e), -EPROTO);
	assert_string_equal(e.msg,
			    "the peer speaks version 2 of the CPR protocol, this side 1 to 1");
	assert_int_equal(wire_check_version(WIRE_VERSION_OLDEST - 1, &e), -EPROTO);
	assert_int_equal(wire_check_version(UINT32_MAX, &e), -EPROTO);
}

static void a_peer_without_one_configuration_is_refused(void **state)
{
	struct script s = { 0 };

	(void)state;
	say_hello(&s);
	say_end(&s);
	assert_play_refused(&s, EPROTO, "the peer sent no configuration");
	say_hello(&s);
	say_config(&s);
	say_config(&s);
	assert_play_refused(&s, EPROTO, "the peer sent its configuration twice");
	say_hello(&s);
	say_config(&s);
	assert_play_refused(&s, ECONNRESET, "the peer closed the connection");
	say_hello(&s);
	say(&s, WIRE_RUNNING, 0, NULL, 0, -1);
	assert_play_refused(&s, EPROTO, "unexpected CPR message 9");
}

static void a_frame_that_is_none_is_refused(void **state)
{
	struct script s = { 0 };

	(void)state;
	say(&s, 0, 0, NULL, 0, -1);
	assert_play_refused(&s, EPROTO, "not a CPR message of Baton (type 0, flags 0)");
	say(&s, WIRE_WANT + 1, 0, NULL, 0, -1);
	assert_play_refused(&s, EPROTO, "not a CPR message of Baton (type 12, flags 0)");
	say(&s, WIRE_HELLO, 2, NULL, 0, -1);
	assert_play_refused(&s, EPROTO, "not a CPR message of Baton (type 1, flags 0x2)");
	/* Longer than any message; the bytes need not be there. */
	say(&s, WIRE_HELLO, 0, NULL, 0, -1);
	memcpy(s.bytes.data + 4, "\0\x10\0\x01", 4);
	assert_play_refused(&s, EMSGSIZE, "a CPR message of 1048577 bytes is too long");
	say(&s, WIRE_HELLO, 0, NULL, 0, -1);
	memcpy(s.bytes.data + 4, "\xff\xff\xff\xff", 4);
	assert_play_refused(&s, EMSGSIZE, "a CPR message of 4294967295 bytes is too long");
}

static void the_longest_configuration_is_accepted(void **state)
{
	/* Not over the socket pair, whose buffer is smaller. */
	static char text[WIRE_MAX_PAYLOAD + 1];
	AUTO_BUF b = { 0 };
	struct cpr_state s;
	struct err e;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	put_frame(&b, WIRE_HELLO, 0, "\0\0\0\x01\0\0\x12\x67\0\0\0\x02", 12);
	put_frame(&b, WIRE_CONFIG, 0, text, WIRE_MAX_PAYLOAD);
	put_frame(&b, WIRE_END, 0, NULL, 0);
	cpr_state_init(&s);
	assert_int_equal(cpr_state_decode(&s, b.data, b.len, &e), 0);
	assert_string_equal(s.config, text);
	cpr_state_fini(&s);
}

static void a_descriptor_missing_or_unannounced_is_refused(void **state)
{
	struct script s = { 0 };

	(void)state;
	say_hello(&s);
	say(&s, WIRE_FD, FLAG_FD, "\0\0\0\0ram0", 8, -1);
	assert_play_refused(&s, EPROTO, "a descriptor is missing or came unannounced");
	say_hello(&s);
	say(&s, WIRE_FD, 0, "\0\0\0\0ram0", 8, -1);
	assert_play_refused(&s, EPROTO, "a message has a descriptor that should not, or none");
	say_hello(&s);
	say(&s, WIRE_FD, 0, "\0\0\0\0ram0", 8, 0);
	assert_play_refused(&s, EPROTO, "a descriptor is missing or came unannounced");
	say_hello(&s);
	say(&s, WIRE_CONFIG, FLAG_FD, CONFIG, strlen(CONFIG), 0);
	assert_play_refused(&s, EPROTO, "a message has a descriptor that should not, or none");
	say_hello(&s);
	say(&s, WIRE_CONFIG, 0, CONFIG, strlen(CONFIG), 0);
	assert_play_refused(&s, EPROTO, "a descriptor is missing or came unannounced");
}

static void a_descriptor_with_a_bad_name_is_refused(void **state)
{
	char name[4 + WIRE_NAME_MAX] = { 0 };
	struct script s = { 0 };

	(void)state;
	say_hello(&s);
	say(&s, WIRE_FD, FLAG_FD, "\0\0\0\0", 4, 0);
	assert_play_refused(&s, EPROTO, "a message with a descriptor is malformed");
	say_hello(&s);
	say(&s, WIRE_FD, FLAG_FD, "\0\0\0", 3, 0);
	assert_play_refused(&s, EPROTO, "a message with a descriptor is malformed");
	memset(name + 4, 'n', WIRE_NAME_MAX);
	say_hello(&s);
	say(&s, WIRE_FD, FLAG_FD, name, sizeof(name), 0);
	assert_play_refused(&s, EPROTO, "a message with a descriptor is malformed");
	say_hello(&s);
	say(&s, WIRE_FD, FLAG_FD, "\0\0\0\0\0ab", 7, 0);
	assert_play_refused(&s, EINVAL, "'' is no name for a descriptor");
	say_hello(&s);
	say(&s, WIRE_FD, FLAG_FD, "\0\0\0\0ram0", 8, 0);
	say(&s, WIRE_FD, FLAG_FD, "\0\0\0\0ram0", 8, 0);
	assert_play_refused(&s, EEXIST, "descriptor 'ram0' 0 is there twice");
}

static void too_many_descriptors_are_refused(void **state)
{
	struct script s = { 0 };
	uint8_t payload[] = { 0, 0, 0, 0, 'x' };

	(void)state;
	say_hello(&s);
	for (unsigned int i = 0; i <= WIRE_MAX_FDS; i++) {
		payload[2] = (uint8_t)(i >> 8);
		payload[3] = (uint8_t)i;
		say(&s, WIRE_FD, FLAG_FD, payload, sizeof(payload), 0);
	}
	assert_play_refused(&s, E2BIG, "more than 512 descriptors to hand over");
}

/* The script of a whole good state with two descriptors. */
static void say_all(struct script *s)
{
	say_hello(s);
	say(s, WIRE_FD, FLAG_FD, "\0\0\0\0ram0", 8, 0);
	say(s, WIRE_FD, FLAG_FD, "\0\0\0\x07ram0", 8, 0);
	say_config(s);
	say_end(s);
}

static void no_flipped_bit_on_the_socket_does_harm(void **state)
{
	unsigned int fds = fd_count();
	struct script s = { 0 };
	struct err e;

	(void)state;
	say_all(&s);
	assert_int_equal(play(&s, &e), 0);
	for (size_t bit = 0; bit < s.bytes.len * 8; bit++) {
		s.bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		play(&s, &e);
		s.bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (bit % 64 == 0)
			assert_int_equal(fd_count(), fds);
	}
	assert_int_equal(fd_count(), fds);
	buf_fini(&s.bytes);
}

static void a_peer_that_stops_halfway_is_refused(void **state)
{
	unsigned int fds = fd_count();
	struct script whole = { 0 };
	struct err e;

	(void)state;
	say_all(&whole);
	for (size_t n = 0; n < whole.bytes.len; n++) {
		struct script part = whole;
		size_t left = n;

		for (part.nr = 0; left; part.nr++) {
			part.frames[part.nr].len = MIN(left, whole.frames[part.nr].len);
			left -= part.frames[part.nr].len;
		}
		assert_int_equal(play(&part, &e), -ECONNRESET);
	}
	assert_int_equal(fd_count(), fds);
	buf_fini(&whole.bytes);
}

static void a_silent_peer_is_given_up_at_the_deadline(void **state)
{
	struct fixture *f = *state;
	struct cpr_state s;
	struct err e;

	cpr_state_init(&s);
	assert_int_equal(cpr_state_recv(&s, f->b, clock_boottime_ns() + UINT64_C(10000000), &e),
			 -ETIMEDOUT);
	assert_string_equal(e.msg, "the peer does not answer in time");
	cpr_state_fini(&s);
}

/* The encoded form with descriptors of known numbers, which the caller closes. */
static void encode_high(struct buf *b)
{
	struct cpr_state s;
	struct err e;

	cpr_state_init(&s);
	s.pid = 4711;
	s.config = strdup(CONFIG);
	assert_int_equal(cpr_state_add_fd(&s, "ram0", 0, HIGH_FD_0, &e), 0);
	assert_int_equal(cpr_state_add_fd(&s, "vga", 3, HIGH_FD_1, &e), 0);
	assert_int_equal(cpr_state_encode(&s, b, &e), 0);
	s.nr_fds = 0;
	cpr_state_fini(&s);
}

/* Decodes a copy of exactly that size, with both descriptors open before and closed after. */
static int decode_high(const void *p, size_t n, struct err *e)
{
	uint8_t *exact = malloc(n ? n : 1);
	struct cpr_state s;
	int r;

	assert_int_equal(dup3(0, HIGH_FD_0, O_CLOEXEC), HIGH_FD_0);
	assert_int_equal(dup3(0, HIGH_FD_1, O_CLOEXEC), HIGH_FD_1);
	memcpy(exact, p, n);
	cpr_state_init(&s);
	e->msg[0] = '\0';
	r = cpr_state_decode(&s, exact, n, e);
	if (r)
		assert_true(e->msg[0]);
	cpr_state_fini(&s);
	free(exact);
	/* Closed by the state if it got as far as to take them. */
	close(HIGH_FD_0);
	close(HIGH_FD_1);
	return r;
}

static void every_prefix_of_the_encoded_form_is_refused(void **state)
{
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	encode_high(&b);
	assert_int_equal(decode_high(b.data, b.len, &e), 0);
	for (size_t n = 0; n < b.len; n++) {
		assert_int_equal(decode_high(b.data, n, &e), -ENODATA);
		assert_string_equal(e.msg, "the CPR state ends too early");
	}
	buf_put_u8(&b, 0);
	assert_int_equal(decode_high(b.data, b.len, &e), -EPROTO);
	assert_string_equal(e.msg, "the CPR state goes on after its end");
}

static void no_flipped_bit_of_the_encoded_form_does_harm(void **state)
{
	unsigned int fds = fd_count();
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	encode_high(&b);
	for (size_t bit = 0; bit < b.len * 8; bit++) {
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		decode_high(b.data, b.len, &e);
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(fd_count(), fds);
	}
}

static void an_encoded_descriptor_must_be_open(void **state)
{
	AUTO_BUF b = { 0 };
	struct cpr_state s;
	struct err e;

	(void)state;
	encode_high(&b);
	cpr_state_init(&s);
	assert_int_equal(cpr_state_decode(&s, b.data, b.len, &e), -EBADF);
	assert_string_equal(e.msg, "descriptor 682: Bad file descriptor");
	cpr_state_fini(&s);
	b.len = 0;
	put_frame(&b, WIRE_HELLO, 0, "\0\0\0\x01\0\0\x12\x67\0\0\0\x02", 12);
	put_frame(&b, WIRE_FD, FLAG_FD, "\xff\xff\xff\xff\0\0\0\0x", 9);
	cpr_state_init(&s);
	assert_int_equal(cpr_state_decode(&s, b.data, b.len, &e), -EBADF);
	cpr_state_fini(&s);
}

static void messages_come_one_at_a_time(void **state)
{
	struct fixture *f = *state;
	AUTO_BUF b = { 0 };
	enum wire_type type;
	struct err e;

	assert_int_equal(wire_send(f->a, WIRE_REFUSE, "why", 3, soon(), &e), 0);
	assert_int_equal(wire_send(f->a, WIRE_WAITING, NULL, 0, soon(), &e), 0);
	assert_int_equal(wire_recv(f->b, &type, &b, soon(), &e), 0);
	assert_int_equal(type, WIRE_REFUSE);
	assert_int_equal(b.len, 3);
	/* With a NUL behind, for use as text. */
	assert_string_equal(b.data, "why");
	assert_int_equal(wire_recv(f->b, &type, &b, soon(), &e), 0);
	assert_int_equal(type, WIRE_WAITING);
	assert_int_equal(b.len, 0);
	close_fd(&f->a);
	assert_int_equal(wire_recv(f->b, &type, &b, soon(), &e), -ECONNRESET);
	assert_int_equal(type, WIRE_WAITING);
}

static void a_message_with_a_descriptor_is_refused(void **state)
{
	struct fixture *f = *state;
	AUTO_BUF b = { 0 }, raw = { 0 };
	enum wire_type type;
	struct err e;

	put_frame(&raw, WIRE_READY, 0, "12345678", 8);
	assert_int_equal(sock_send_all(f->a, raw.data, raw.len, 0, soon(), &e), 0);
	assert_int_equal(wire_recv(f->b, &type, &b, soon(), &e), -EPROTO);
	assert_string_equal(e.msg, "a message has a descriptor that should not");
	raw.data[3] = FLAG_FD;
	assert_int_equal(sock_send_all(f->a, raw.data, raw.len, -1, soon(), &e), 0);
	assert_int_equal(wire_recv(f->b, &type, &b, soon(), &e), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_state_goes_over_a_socket_with_its_descriptors,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_state_is_encoded_with_descriptor_numbers, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_encoded_bytes_are_the_documented_ones, setup,
						teardown),
		cmocka_unit_test_setup_teardown(descriptors_are_found_by_name_and_id, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_set_of_descriptors_has_distinct_proper_names,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_peer_that_does_not_greet_properly_is_refused,
						setup, teardown),
		cmocka_unit_test(a_newer_peer_is_met_at_our_version),
		cmocka_unit_test(a_version_that_was_not_offered_is_refused),
		cmocka_unit_test_setup_teardown(a_peer_without_one_configuration_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_frame_that_is_none_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(the_longest_configuration_is_accepted, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_descriptor_missing_or_unannounced_is_refused,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_descriptor_with_a_bad_name_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(too_many_descriptors_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(no_flipped_bit_on_the_socket_does_harm, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_peer_that_stops_halfway_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_silent_peer_is_given_up_at_the_deadline, setup,
						teardown),
		cmocka_unit_test_setup_teardown(every_prefix_of_the_encoded_form_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(no_flipped_bit_of_the_encoded_form_does_harm, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_encoded_descriptor_must_be_open, setup,
						teardown),
		cmocka_unit_test_setup_teardown(messages_come_one_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(a_message_with_a_descriptor_is_refused, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
