/* SPDX-License-Identifier: MIT */
/* The CPR channel: an old side that sends any bytes, in any pieces, with descriptors or without. */
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "fuzz.h"
#include "host/clock.h"
#include "host/sock.h"
#include "update/bytes_json.h"
#include "update/extras.h"
#include "update/wire.h"

enum {
	MAX_PASSED = 3, /* descriptors with one piece */
	HEADER_BYTES = 8,
};

/* What the first byte can choose. */
enum what {
	DECODE,  /* as an image is started with */
	RECEIVE, /* over a socket               */
	MESSAGES,
	BYTES,
	WHATS,
};

/* Nobody is left who could keep somebody waiting for longer. */
static uint64_t soon(void)
{
	return clock_boottime_ns() + UINT64_C(1000000000);
}

static void check_refusal(int r, const struct err *e)
{
	if (r)
		MUST(r == -e->code && e->msg[0]);
}

static void check_state(const struct cpr_state *s)
{
	MUST(s->version == WIRE_VERSION && s->config && s->nr_fds <= WIRE_MAX_FDS);
	for (size_t i = 0; i < s->nr_fds; i++) {
		MUST(s->fds[i].name[0] && memchr(s->fds[i].name, 0, WIRE_NAME_MAX));
		MUST(cpr_state_find_fd(s, s->fds[i].name, s->fds[i].id) == s->fds[i].fd);
		MUST(fcntl(s->fds[i].fd, F_GETFD) >= 0);
	}
}

/* The member of the configuration that carries something, as the new side looks for it. */
static void look_at_config(const struct cpr_state *s)
{
	static const char *const keys[] = { "drives", "netdevs", "chardevs", "argv" };
	struct err e = ERR_INIT;
	json_t *found, *config = json_loads(s->config, 0, NULL);
	const char *key;
	json_t *v;

	json_object_foreach(config, key, v) free(bytes_from_json(v));
	json_decref(config);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		found = NULL;
		check_refusal(extras_find(s, keys[i], &found, &e), &e);
		json_decref(found);
	}
}

/* What is decoded and encoded again is the same bytes. */
static void decode(const uint8_t *p, size_t n)
{
	struct cpr_state *s = calloc(1, sizeof(*s));
	AUTO_BUF again = { 0 };
	struct err e = ERR_INIT;
	int r;

	cpr_state_init(s);
	r = cpr_state_decode(s, p, n, &e);
	check_refusal(r, &e);
	if (!r) {
		check_state(s);
		look_at_config(s);
		MUST(!cpr_state_encode(s, &again, &e));
		/* A NUL ends the configuration; and descriptors come first when we write them. */
		MUST(again.len <= n);
	}
	/* Their numbers came out of the bytes: they are others'. */
	cpr_state_forget(s);
	free(s);
}

/* The peer: sends what the bytes say, a piece at a time, and goes. */
static void send_pieces(int sock, int fd, struct fuzz_bytes *b)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MAX_PASSED * sizeof(int))];
	} control = { 0 };
	int fds[MAX_PASSED] = { fd, fd, fd };
	uint8_t piece[256];

	while (b->left) {
		unsigned int how = fuzz_u8(b), nr_fds = how & 3;
		size_t n = MIN(how & 4 ? HEADER_BYTES : 1 + (how >> 3), b->left);
		struct iovec iov = { piece, n };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		struct cmsghdr *c;

		if (!n)
			break;
		fuzz_take(b, piece, n);
		if (nr_fds) {
			msg.msg_control = control.bytes;
			msg.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
			c = CMSG_FIRSTHDR(&msg);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
			memcpy(CMSG_DATA(c), fds, nr_fds * sizeof(int));
		}
		if (sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
	}
}

/* Whoever has the pipe's other end open keeps it from hanging up. */
static void check_no_descriptor_is_left(int pipe)
{
	struct pollfd p = { .fd = pipe, .events = POLLIN };

	MUST(poll(&p, 1, 0) == 1 && p.revents & POLLHUP);
}

static void receive(enum what what, struct fuzz_bytes *b)
{
	struct cpr_state *s = calloc(1, sizeof(*s));
	AUTO_BUF payload = { 0 };
	struct err e = ERR_INIT;
	enum wire_type type;
	int ends[2], pipes[2], r;

	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	MUST(!pipe2(pipes, O_CLOEXEC));
	send_pieces(ends[0], pipes[1], b);
	close(ends[0]);
	close(pipes[1]);
	cpr_state_init(s);
	if (what == RECEIVE) {
		r = cpr_state_recv(s, ends[1], soon(), &e);
		check_refusal(r, &e);
		if (!r) {
			check_state(s);
			look_at_config(s);
			cpr_state_drop(s, "drive");
		}
	} else {
		while (!(r = wire_recv(ends[1], &type, &payload, soon(), &e)))
			MUST(type >= WIRE_HELLO && type <= WIRE_WANT && !payload.data[payload.len]);
		check_refusal(r, &e);
	}
	cpr_state_fini(s);
	close(ends[1]);
	check_no_descriptor_is_left(pipes[0]);
	close(pipes[0]);
	free(s);
}

/* Any bytes become text and come back; any text is bytes or is refused. */
static void try_bytes(const char *text)
{
	json_t *j = bytes_to_json(text), *k;
	char *back = bytes_from_json(j);

	MUST(j && back && !strcmp(back, text));
	free(back);
	json_decref(j);
	k = json_loads(text, JSON_DECODE_ANY, NULL);
	free(bytes_from_json(k));
	json_decref(k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes b = { data, size };
	enum what what = fuzz_u8(&b) % WHATS;
	size_t n = b.left;
	uint8_t *copy;

	if (what == RECEIVE || what == MESSAGES) {
		receive(what, &b);
		return 0;
	}
	/* Of exactly that size, so that a sanitizer sees a byte read behind it. */
	copy = malloc(n + (what == BYTES) + !n);
	fuzz_take(&b, copy, n);
	if (what == BYTES) {
		copy[n] = '\0';
		try_bytes((char *)copy);
	} else {
		decode(copy, n);
	}
	free(copy);
	return 0;
}
