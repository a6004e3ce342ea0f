/* SPDX-License-Identifier: MIT */
/* Network back ends: frames on a stream, what of them crosses an update, options. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "ctl/netdev_opts.h"
#include "host/net.h"

struct card {
	struct net *net;
	struct loop *loop;
	pthread_mutex_t lock;
	int peer;
	unsigned int nr;    /* frames received                        */
	unsigned int limit; /* of frames to take                     */
	uint8_t last[NET_MAX_FRAME];
	size_t last_len;
	unsigned int writable, link_changes, connects, disconnects;
};

static void on_readable(void *opaque, unsigned int queue)
{
	struct card *c = opaque;
	struct iovec iov = { c->last, sizeof(c->last) };
	ssize_t n;

	while (c->nr < c->limit && (n = net_receive(c->net, queue, &iov, 1)) >= 0) {
		c->last_len = (size_t)n;
		c->nr++;
	}
	if (c->nr == c->limit)
		net_set_reading(c->net, queue, false);
}

static void on_writable(void *opaque, unsigned int queue)
{
	struct card *c = opaque;

	(void)queue;
	c->writable++;
}

static void on_link(void *opaque)
{
	struct card *c = opaque;

	c->link_changes++;
}

static void on_told(void *opaque, const char *address)
{
	struct card *c = opaque;

	if (address)
		c->connects++;
	else
		c->disconnects++;
}

static const struct net_front front = { on_readable, on_writable, on_link };

static void turns(struct card *c)
{
	for (int i = 0; i < 4; i++)
		loop_run_once(c->loop, 0);
}

static void open_card(struct card *c, struct net_config *config)
{
	struct err e = ERR_INIT;

	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_lock(&c->lock);
	assert_int_equal(loop_create(&c->loop, &c->lock, &e), 0);
	if (net_open(&c->net, c->loop, config, on_told, c, &e))
		fail_msg("%s", e.msg);
	net_attach(c->net, &front, c);
	c->limit = UINT32_MAX;
	net_set_running(c->net, true);
	net_set_reading(c->net, 0, true);
}

static struct card *make_card(int fd, int peer, struct net_given *given)
{
	struct card *c = calloc(1, sizeof(*c));
	struct net_config config = { .kind = NET_STREAM, .id = "n0", .address = NET_FD, .fd = fd };

	config.given = given;
	c->peer = peer;
	open_card(c, &config);
	return c;
}

static struct card *pair_card(void)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	return make_card(ends[0], ends[1], NULL);
}

static void free_card(struct card *c, bool moved)
{
	net_close(c->net, moved);
	pthread_mutex_unlock(&c->lock);
	loop_destroy(c->loop);
	pthread_mutex_destroy(&c->lock);
	close_fd(&c->peer);
	free(c);
}

/* Frame @n, as it stands on the wire; its length. */
static size_t make_frame(uint8_t *p, unsigned int n, size_t len)
{
	p[0] = (uint8_t)(len >> 24);
	p[1] = (uint8_t)(len >> 16);
	p[2] = (uint8_t)(len >> 8);
	p[3] = (uint8_t)len;
	for (size_t i = 0; i < len; i++)
		p[4 + i] = (uint8_t)(n * 7 + i);
	return len + 4;
}

static void check_last(const struct card *c, unsigned int n, size_t len)
{
	assert_int_equal(c->last_len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(c->last[i], (uint8_t)(n * 7 + i));
}

static void frames_arrive_whole_whatever_the_pieces(void **state)
{
	static uint8_t wire[3 * 2000];
	struct card *c = pair_card();
	size_t n = 0;

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		n += make_frame(wire + n, i, 60 + 300 * i);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(write(c->peer, wire + i, 1), 1);
		turns(c);
	}
	assert_int_equal(c->nr, 3);
	check_last(c, 2, 660);
	assert_int_equal(write(c->peer, wire, n), n);
	turns(c);
	assert_int_equal(c->nr, 6);
	free_card(c, false);
}

static void the_longest_frame_arrives_and_a_longer_one_ends_the_connection(void **state)
{
	static uint8_t wire[NET_MAX_FRAME + 16];
	struct card *c = pair_card();
	size_t n = make_frame(wire, 1, NET_MAX_FRAME), done = 0;

	(void)state;
	fcntl(c->peer, F_SETFL, O_NONBLOCK);
	while (done < n) {
		ssize_t r = write(c->peer, wire + done, n - done);

		if (r > 0)
			done += (size_t)r;
		turns(c);
	}
	turns(c);
	check_last(c, 1, NET_MAX_FRAME);
	assert_int_equal(c->disconnects, 0);
	make_frame(wire, 1, 16);
	wire[1] = 0xff;
	assert_int_equal(write(c->peer, wire, 20), 20);
	turns(c);
	assert_int_equal(c->disconnects, 1);
	assert_int_equal(c->nr, 1);
	free_card(c, false);
}

static void runts_are_dropped(void **state)
{
	struct card *c = pair_card();
	uint8_t wire[64];
	size_t n = make_frame(wire, 0, 0);

	(void)state;
	n += make_frame(wire + n, 1, 13);
	n += make_frame(wire + n, 2, 14);
	assert_int_equal(write(c->peer, wire, n), n);
	turns(c);
	assert_int_equal(c->nr, 1);
	check_last(c, 2, 14);
	assert_int_equal(net_get_stats(c->net).rx_dropped, 2);
	free_card(c, false);
}

/* Frames that were read with others are not forgotten when the card takes no more for now. */
static void frames_that_wait_are_offered_again(void **state)
{
	struct card *c = pair_card();
	uint8_t wire[1024];
	size_t n = 0;

	(void)state;
	for (unsigned int i = 0; i < 8; i++)
		n += make_frame(wire + n, i, 60);
	assert_int_equal(write(c->peer, wire, n), n);
	for (c->limit = 1; c->limit <= 8; c->limit++) {
		net_set_reading(c->net, 0, true);
		turns(c);
		assert_int_equal(c->nr, c->limit);
		check_last(c, c->limit - 1, 60);
	}
	free_card(c, false);
}

static void nothing_is_read_while_the_guest_stands_still(void **state)
{
	struct card *c = pair_card();
	uint8_t wire[128];
	size_t n = make_frame(wire, 0, 60);

	(void)state;
	net_set_running(c->net, false);
	assert_int_equal(write(c->peer, wire, n), n);
	turns(c);
	assert_int_equal(c->nr, 0);
	net_set_running(c->net, true);
	turns(c);
	assert_int_equal(c->nr, 1);
	free_card(c, false);
}

/* Hands a card's connection to another one, as an update does: descriptors and bytes. */
static struct card *move_card(struct card *old)
{
	struct net_bytes *b = calloc(1, sizeof(*b));
	struct net_given given, lent;
	struct card *c;

	net_set_running(old->net, false);
	net_give(old->net, &lent);
	given = (struct net_given){ .nr_fds = 1, .listen_fd = -1 };
	given.fds[0] = dup(lent.fds[0]);
	net_bytes_save(old->net, b);
	c = calloc(1, sizeof(*c));
	c->peer = dup(old->peer);
	struct net_config config = { .kind = NET_STREAM, .id = "n0", .address = NET_FD, .fd = -1 };

	config.given = &given;
	pthread_mutex_init(&c->lock, NULL);
	open_card(c, &config);
	net_set_running(c->net, false);
	net_bytes_load(c->net, b);
	c->nr = old->nr;
	free_card(old, true);
	net_set_running(c->net, true);
	net_set_reading(c->net, 0, true);
	free(b);
	return c;
}

static void a_frame_that_is_cut_anywhere_survives(void **state)
{
	uint8_t wire[256];
	size_t n = make_frame(wire, 5, 70);

	(void)state;
	n += make_frame(wire + n, 6, 80);
	for (size_t cut = 0; cut <= n; cut++) {
		struct card *c = pair_card();

		assert_int_equal(write(c->peer, wire, cut), cut);
		turns(c);
		c = move_card(c);
		assert_int_equal(write(c->peer, wire + cut, n - cut), n - cut);
		turns(c);
		assert_int_equal(c->nr, 2);
		if (cut < n)
			check_last(c, 6, 80);
		free_card(c, false);
	}
}

static void a_peer_that_sends_single_bytes_notices_no_updates(void **state)
{
	struct card *c = pair_card();
	uint8_t wire[64];
	unsigned int n = 0;

	(void)state;
	for (unsigned int frame = 0; frame < 20; frame++) {
		size_t len = make_frame(wire, frame, 14 + frame);

		for (size_t i = 0; i < len; i++) {
			assert_int_equal(write(c->peer, wire + i, 1), 1);
			turns(c);
			if (++n % 3 == 0)
				c = move_card(c);
		}
		turns(c);
		assert_int_equal(c->nr, frame + 1);
	}
	free_card(c, false);
}

/* Fills the socket until a frame is cut, then moves; the peer gets each frame once, in order. */
static void a_half_written_frame_is_finished_after_an_update(void **state)
{
	static uint8_t frame[40000], got[40004 * 64];
	struct card *c = pair_card();
	struct iovec iov[2] = { { frame, 100 }, { frame + 100, sizeof(frame) - 100 } };
	unsigned int sent = 0;
	size_t have = 0;

	(void)state;
	fcntl(c->peer, F_SETFL, O_NONBLOCK);
	for (;;) {
		memset(frame, (int)sent + 1, sizeof(frame));
		if (net_send(c->net, 0, iov, 2))
			break;
		sent++;
		assert_true(sent < 64);
	}
	for (unsigned int i = 0; i < 3; i++) {
		ssize_t r = read(c->peer, got + have, 1000);

		c = move_card(c);
		assert_true(r > 0);
		have += (size_t)r;
	}
	while (have < sent * (sizeof(frame) + 4)) {
		ssize_t r = read(c->peer, got + have, 7777);

		if (r > 0)
			have += (size_t)r;
		turns(c);
	}
	for (unsigned int i = 0; i < sent; i++) {
		const uint8_t *p = got + i * (sizeof(frame) + 4);

		assert_int_equal(p[2] << 8 | p[3], sizeof(frame));
		assert_int_equal(p[4], i + 1);
		assert_int_equal(p[3 + sizeof(frame)], i + 1);
	}
	memset(frame, 99, sizeof(frame));
	assert_int_equal(net_send(c->net, 0, iov, 2), 0);
	turns(c);
	free_card(c, false);
}

static void bytes_of_another_connection_are_not_used(void **state)
{
	struct net_bytes *b = calloc(1, sizeof(*b));
	struct card *c = pair_card(), *other;
	uint8_t wire[128];
	size_t n = make_frame(wire, 5, 70);
	struct net_given given = { .nr_fds = 1, .listen_fd = -1 };
	int ends[2];

	(void)state;
	assert_int_equal(write(c->peer, wire, 30), 30);
	turns(c);
	net_bytes_save(c->net, b);
	assert_int_equal(b->in_len, 30);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	given.fds[0] = ends[0];
	other = make_card(-1, ends[1], &given);
	net_bytes_load(other->net, b);
	assert_int_equal(write(other->peer, wire, n), n);
	turns(other);
	assert_int_equal(other->nr, 1);
	check_last(other, 5, 70);
	free_card(other, false);
	free_card(c, false);
	free(b);
}

static void a_full_socket_blocks_and_tells_when_there_is_room(void **state)
{
	static uint8_t frame[60000];
	struct card *c = pair_card();
	struct iovec iov = { frame, sizeof(frame) };
	char sink[70000];

	(void)state;
	fcntl(c->peer, F_SETFL, O_NONBLOCK);
	while (!net_send(c->net, 0, &iov, 1))
		;
	turns(c);
	assert_int_equal(c->writable, 0);
	while (read(c->peer, sink, sizeof(sink)) > 0)
		turns(c);
	assert_true(c->writable > 0);
	assert_int_equal(net_send(c->net, 0, &iov, 1), 0);
	free_card(c, false);
}

static void frames_to_nobody_are_counted(void **state)
{
	struct card *c = pair_card();
	uint8_t frame[60] = { 0 };
	struct iovec iov = { frame, sizeof(frame) };

	(void)state;
	assert_int_equal(net_send(c->net, 0, &iov, 1), 0);
	assert_int_equal(net_get_stats(c->net).tx_frames, 1);
	close_fd(&c->peer);
	turns(c);
	assert_int_equal(c->disconnects, 1);
	assert_int_equal(net_send(c->net, 0, &iov, 1), 0);
	assert_int_equal(net_get_stats(c->net).tx_dropped, 1);
	free_card(c, false);
}

static void a_cable_that_is_out_carries_nothing(void **state)
{
	struct card *c = pair_card();
	uint8_t wire[128];
	size_t n = make_frame(wire, 5, 70);
	struct iovec iov = { wire, 60 };

	(void)state;
	net_set_link(c->net, false);
	assert_int_equal(c->link_changes, 1);
	assert_int_equal(write(c->peer, wire, n), n);
	turns(c);
	assert_int_equal(c->nr, 0);
	assert_int_equal(net_send(c->net, 0, &iov, 1), 0);
	assert_int_equal(net_get_stats(c->net).tx_frames, 0);
	net_set_link(c->net, true);
	assert_int_equal(write(c->peer, wire, n), n);
	turns(c);
	assert_int_equal(c->nr, 1);
	free_card(c, false);
}

static void a_server_takes_one_client_after_the_other(void **state)
{
	struct net_config config = {
		.kind = NET_STREAM, .id = "n0", .fd = -1, .server = true, .abstract = true
	};
	struct card *c = calloc(1, sizeof(*c));
	uint8_t wire[128];
	size_t n = make_frame(wire, 5, 70);

	(void)state;
	snprintf(config.path, sizeof(config.path), "baton-test-net-%d", getpid());
	c->peer = -1;
	open_card(c, &config);
	for (unsigned int i = 1; i < 4; i++) {
		struct net_config client = {
			.kind = NET_STREAM, .id = "n1", .fd = -1, .abstract = true
		};
		struct card *p = calloc(1, sizeof(*p));
		struct iovec iov = { wire + 4, n - 4 };

		p->peer = -1;
		snprintf(client.path, sizeof(client.path), "%s", config.path);
		open_card(p, &client);
		assert_int_equal(net_send(p->net, 0, &iov, 1), 0);
		turns(c);
		assert_int_equal(c->connects, i);
		assert_int_equal(c->nr, i);
		free_card(p, false);
		turns(c);
		assert_int_equal(c->disconnects, i);
	}
	free_card(c, false);
}

static void a_client_connects_again(void **state)
{
	struct net_config server = {
		.kind = NET_STREAM, .id = "n0", .fd = -1, .server = true, .abstract = true
	};
	struct net_config config = {
		.kind = NET_STREAM, .id = "n1", .fd = -1, .abstract = true, .reconnect_ms = 1
	};
	struct card *c = calloc(1, sizeof(*c));

	(void)state;
	snprintf(config.path, sizeof(config.path), "baton-test-net-%d", getpid());
	snprintf(server.path, sizeof(server.path), "%s", config.path);
	c->peer = -1;
	open_card(c, &config);
	for (unsigned int i = 1; i < 4; i++) {
		struct card *s = calloc(1, sizeof(*s));

		s->peer = -1;
		open_card(s, &server);
		for (int k = 0; k < 2000 && (c->connects < i || s->connects < 1); k++) {
			loop_run_once(c->loop, 5);
			turns(s);
		}
		assert_int_equal(c->connects, i);
		free_card(s, false);
		for (int k = 0; k < 2000 && c->disconnects < i; k++)
			loop_run_once(c->loop, 5);
		assert_int_equal(c->disconnects, i);
	}
	free_card(c, false);
}

static int no_names(void *opaque, const char *name, struct err *e)
{
	(void)opaque;
	return err_set(e, ENOENT, "no '%s'", name);
}

static int parse(const char *text, struct net_config *c, struct err *e)
{
	json_t *flat = NULL;
	int r = netdev_flatten_text(text, &flat, e);

	if (!r)
		r = netdev_config(flat, NULL, NULL, false, c, e);
	json_decref(flat);
	return r;
}

static void options_are_understood_in_both_forms(void **state)
{
	struct net_config c;
	struct err e;

	(void)state;
	assert_int_equal(
		parse("tap,id=n0,ifname=tap7,queues=4,script=no,downscript=/bin/a,,b", &c, &e), 0);
	assert_int_equal(c.kind, NET_TAP);
	assert_string_equal(c.ifname, "tap7");
	assert_string_equal(c.script, "");
	assert_string_equal(c.downscript, "/bin/a,b");
	assert_int_equal(c.queues, 4);
	assert_int_equal(parse("tap,id=n0,fds=50:51:52", &c, &e), 0);
	assert_int_equal(c.nr_fds, 3);
	assert_int_equal(c.fds[2], 52);
	assert_int_equal(parse("stream,id=n0,addr.type=unix,addr.path=/x,reconnect-ms=500", &c, &e),
			 0);
	assert_int_equal(c.reconnect_ms, 500);
	assert_int_equal(c.address, NET_UNIX);
	assert_int_equal(parse("{'type':'stream','id':'n0','server':true,'addr':{'type':'inet',"
			       "'host':'::1','port':'1234'}}",
			       &c, &e),
			 0);
	assert_true(c.server);
	assert_string_equal(c.port, "1234");
	assert_int_equal(parse("passt,id=n0,mtu=1500,tcp-ports=22,param=--no-ra,param=-4,quiet=on",
			       &c, &e),
			 0);
	assert_int_equal(c.nr_passt, 7);
	assert_memory_equal(c.passt, "--mtu\0001500\0--tcp-ports\00022\0--no-ra\0-4\0--quiet", 45);
	assert_int_equal(parse("{\"type\":\"passt\",\"id\":\"n0\",\"param\":[{\"str\":\"-4\"}]}",
			       &c, &e),
			 0);
	assert_int_equal(c.nr_passt, 1);
}

static void options_that_cannot_be_are_refused_by_name(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "user,id=n0", "passt" },
		{ "bridge,id=n0", "bridge" },
		{ "nonsense,id=n0", "nonsense" },
		{ "tap", "'id'" },
		{ "tap,id=0n", "'id'" },
		{ "tap,id=n0,vhost=on", "vhost" },
		{ "tap,id=n0,br=br0", "'br'" },
		{ "tap,id=n0,colour=red", "colour" },
		{ "tap,id=n0,queues=0", "1 to 16" },
		{ "tap,id=n0,queues=17", "1 to 16" },
		{ "tap,id=n0,queues=x", "queues" },
		{ "tap,id=n0,vnet_hdr=perhaps", "vnet_hdr" },
		{ "tap,id=n0,fd=3,ifname=tap0", "fd=" },
		{ "tap,id=n0,fd=net7", "net7" },
		{ "tap,id=n0,fd=3x", "3x" },
		{ "tap,id=n0,fd=3:4", "3:4" },
		{ "tap,id=n0,ifname=", "ifname" },
		{ "tap,id=n0,ifname=0123456789abcdef", "ifname" },
		{ "stream,id=n0", "addr.type" },
		{ "stream,id=n0,addr.type=carrier", "carrier" },
		{ "stream,id=n0,addr.type=unix", "addr.path" },
		{ "stream,id=n0,addr.type=inet", "addr.port" },
		{ "stream,id=n0,addr.type=fd", "addr.str" },
		{ "stream,id=n0,addr.type=unix,addr.path=/x,addr.port=1", "inet" },
		{ "stream,id=n0,addr.type=unix,addr.path=/x,server=on,reconnect-ms=5", "server" },
		{ "stream,id=n0,addr.type=unix,addr.path=/x,reconnect-ms=5,reconnect=1",
		  "exclusive" },
		{ "passt,id=n0,vhost-user=on", "vhost-user" },
		{ "{\"type\":\"tap\",\"id\":\"n0\",\"queues\":\"2\"}", "integer" },
		{ "{\"type\":\"stream\",\"id\":\"n0\",\"addr\":{\"type\":{}}}", "addr.type" },
		{ "{\"type\":\"stream\",\"id\":\"n0\",\"server\":1}", "boolean" },
		{ "{\"type\":\"passt\",\"id\":\"n0\",\"param\":[1]}", "param" },
		{ "{\"type\":7}", "type" },
		{ "{\"id\":\"n0\"}", "type" },
		{ "{", "" },
		{ "[]", "" },
	};
	struct net_config c;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		e.code = 0;
		if (!parse(cases[i].text, &c, &e))
			fail_msg("'%s' was taken", cases[i].text);
		if (!strstr(e.msg, cases[i].says))
			fail_msg("'%s': %s", cases[i].text, e.msg);
	}
}

static void a_monitor_gives_names_and_no_numbers(void **state)
{
	struct net_config c;
	json_t *flat = NULL;
	struct err e;

	(void)state;
	assert_int_equal(netdev_flatten_text("tap,id=n0,fd=2", &flat, &e), 0);
	assert_int_equal(netdev_config(flat, no_names, NULL, false, &c, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "getfd"));
	/* The number was somebody else's, and still is. */
	assert_true(fcntl(2, F_GETFD) >= 0);
	json_decref(flat);
	assert_int_equal(netdev_flatten_text("tap,id=n0,fd=net9", &flat, &e), 0);
	assert_int_equal(netdev_config(flat, no_names, NULL, false, &c, &e), -ENOENT);
	json_decref(flat);
}

static void a_command_line_for_passt_is_bounded(void **state)
{
	char text[4000] = "passt,id=n0";
	struct net_config c;
	struct err e;

	(void)state;
	for (int i = 0; i <= NET_MAX_PASST_ARGS; i++)
		strcat(text, ",param=x");
	assert_int_equal(parse(text, &c, &e), -E2BIG);
	text[0] = '\0';
	strcat(text, "passt,id=n0,param=");
	memset(text + strlen(text), 'y', NET_PASST_TEXT);
	text[18 + NET_PASST_TEXT] = '\0';
	assert_int_equal(parse(text, &c, &e), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_arrive_whole_whatever_the_pieces),
		cmocka_unit_test(the_longest_frame_arrives_and_a_longer_one_ends_the_connection),
		cmocka_unit_test(runts_are_dropped),
		cmocka_unit_test(frames_that_wait_are_offered_again),
		cmocka_unit_test(nothing_is_read_while_the_guest_stands_still),
		cmocka_unit_test(a_frame_that_is_cut_anywhere_survives),
		cmocka_unit_test(a_peer_that_sends_single_bytes_notices_no_updates),
		cmocka_unit_test(a_half_written_frame_is_finished_after_an_update),
		cmocka_unit_test(bytes_of_another_connection_are_not_used),
		cmocka_unit_test(a_full_socket_blocks_and_tells_when_there_is_room),
		cmocka_unit_test(frames_to_nobody_are_counted),
		cmocka_unit_test(a_cable_that_is_out_carries_nothing),
		cmocka_unit_test(a_server_takes_one_client_after_the_other),
		cmocka_unit_test(a_client_connects_again),
		cmocka_unit_test(options_are_understood_in_both_forms),
		cmocka_unit_test(options_that_cannot_be_are_refused_by_name),
		cmocka_unit_test(a_monitor_gives_names_and_no_numbers),
		cmocka_unit_test(a_command_line_for_passt_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
