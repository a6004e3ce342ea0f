/* SPDX-License-Identifier: MIT */
/* A TCP service: a stream of known bytes each way, for as long as the client likes. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lab/guest-load/load.h"
#include "lab/guest-load/stream.h"

enum {
	PIECE = 8192,
	PACE_US = 4000,
};

struct connection {
	struct load *load;
	int fd;
	struct stream_hello hello;
	pthread_t sender;
	atomic_bool client_done;
};

static void *send_main(void *arg)
{
	struct connection *c = arg;
	struct load *l = c->load;
	char buf[PIECE];
	uint64_t at = 0;

	while (!c->client_done) {
		size_t len = 1 + stream_word(at, 3) % PIECE;

		stream_fill(buf, len, c->hello.to_client, at);
		for (size_t done = 0; done < len;) {
			ssize_t n = send(c->fd, buf + done, len - done, MSG_NOSIGNAL);

			if (n < 0) {
				load_bad(l, "tcp: cannot send: %s", strerror(errno));
				return NULL;
			}
			done += (size_t)n;
		}
		at += len;
		l->tx += len;
		load_nap(PACE_US);
	}
	shutdown(c->fd, SHUT_WR);
	return NULL;
}

static void receive(struct connection *c)
{
	char buf[PIECE];
	uint64_t at = 0, bad;
	ssize_t n;

	while ((n = recv(c->fd, buf, sizeof(buf), 0)) > 0) {
		if (!stream_check(buf, (size_t)n, c->hello.to_server, at, &bad)) {
			load_bad(c->load, "tcp: byte %llu is wrong", (unsigned long long)bad);
			break;
		}
		at += (uint64_t)n;
		c->load->rx += (uint64_t)n;
	}
	if (n < 0)
		load_bad(c->load, "tcp: cannot receive: %s", strerror(errno));
}

static void *connection_main(void *arg)
{
	struct connection *c = arg;
	struct load *l = c->load;

	if (recv(c->fd, &c->hello, sizeof(c->hello), MSG_WAITALL) != sizeof(c->hello)) {
		load_bad(l, "tcp: no greeting: %s", strerror(errno));
	} else if (pthread_create(&c->sender, NULL, send_main, c)) {
		load_bad(l, "tcp: no thread");
	} else {
		receive(c);
		c->client_done = true;
		pthread_join(c->sender, NULL);
	}
	close(c->fd);
	free(c);
	return NULL;
}

void *load_tcp_main(void *arg)
{
	struct load *l = arg;
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(LOAD_PORT) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 16) < 0) {
		load_bad(l, "tcp: cannot listen: %s", strerror(errno));
		return NULL;
	}
	for (;;) {
		struct connection *c = calloc(1, sizeof(*c));
		pthread_t t;

		if (!c)
			break;
		c->load = l;
		c->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (c->fd < 0 || pthread_create(&t, NULL, connection_main, c)) {
			load_bad(l, "tcp: cannot accept: %s", strerror(errno));
			free(c);
			break;
		}
		pthread_detach(t);
		l->connections++;
	}
	close(fd);
	return NULL;
}
