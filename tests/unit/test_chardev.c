/* SPDX-License-Identifier: MIT */
/* Character device back ends on real files, sockets and a pseudo-terminal. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "ctl/chardev_opts.h"
#include "fd_count.h"
#include "host/chardev.h"

struct fixture {
	pthread_mutex_t lock;
	struct loop *loop;
	struct chardev *chr;
	char dir[64];
	char path[96]; /* dir/sock */
	char spec[192];
	size_t room;
	char got[256];
	size_t nr_got;
	unsigned int writable_calls;
	unsigned int quit_calls;
	int passed[64];
	size_t nr_passed;
	char connections[16]; /* + for each peer that came, - for each that went */
};

static size_t front_room(void *opaque)
{
	return ((struct fixture *)opaque)->room;
}

static void front_receive(void *opaque, const void *p, size_t n)
{
	struct fixture *f = opaque;

	assert_true(n <= f->room);
	assert_true(f->nr_got + n < sizeof(f->got));
	memcpy(f->got + f->nr_got, p, n);
	f->nr_got += n;
	f->room -= n;
}

static void front_writable(void *opaque)
{
	((struct fixture *)opaque)->writable_calls++;
}

static void front_connected(void *opaque, bool yes)
{
	struct fixture *f = opaque;

	assert_true(strlen(f->connections) + 1 < sizeof(f->connections));
	strcat(f->connections, yes ? "+" : "-");
}

static void front_passed(void *opaque, const int *fds, size_t n)
{
	struct fixture *f = opaque;

	memcpy(f->passed + f->nr_passed, fds, n * sizeof(fds[0]));
	f->nr_passed += n;
}

static const struct chardev_front front = {
	.room = front_room,
	.receive = front_receive,
	.writable = front_writable,
	.connected = front_connected,
	.passed = front_passed,
};

static void quit(void *opaque)
{
	((struct fixture *)opaque)->quit_calls++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&f->lock);
	assert_int_equal(loop_create(&f->loop, &f->lock, &e), 0);
	strcpy(f->dir, "/tmp/test-chardev-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
	f->room = 100;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	chardev_close(f->chr);
	loop_destroy(f->loop);
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_destroy(&f->lock);
	unlink(f->path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void run(struct fixture *f)
{
	for (int i = 0; i < 10; i++)
		loop_run_once(f->loop, 1);
}

static int try_open(struct fixture *f, const char *spec, struct err *e)
{
	struct chardev_config config;
	struct chardev_option option;
	int r;

	/* Either the text of -chardev or the short form. */
	if (strstr(spec, ",id=")) {
		r = chardev_parse_option(spec, &option, e);
		config = option.config;
	} else {
		r = chardev_parse_short(spec, &config, e);
	}
	if (!r)
		r = chardev_open(&f->chr, f->loop, &config, quit, f, e);
	if (!r)
		chardev_attach(f->chr, &front, f);
	run(f);
	return r;
}

static void open_spec(struct fixture *f, const char *before, const char *after)
{
	struct err e;

	snprintf(f->spec, sizeof(f->spec), "%s%s%s", before, f->path, after);
	if (try_open(f, f->spec, &e))
		fail_msg("%s", e.msg);
}

static void open_server(struct fixture *f)
{
	open_spec(f, "unix:", ",server=on,wait=off");
}

static int dial(struct fixture *f)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(sa.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	run(f);
	return fd;
}

/* A terminal's bytes arrive when a worker of the kernel has carried them over. */
static void wait_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 10000), 1);
}

static void assert_got(struct fixture *f, const char *text)
{
	for (int i = 0; i < 100 && f->nr_got < strlen(text); i++)
		loop_run_once(f->loop, 20);
	run(f);
	assert_int_equal(f->nr_got, strlen(text));
	assert_memory_equal(f->got, text, strlen(text));
}

/* Reads what is there. */
static void assert_reads(int fd, const char *text)
{
	char buf[256];

	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

static void null_takes_everything(void **state)
{
	struct fixture *f = *state;
	struct err e;

	assert_int_equal(try_open(f, "null", &e), 0);
	assert_int_equal(chardev_write(f->chr, "abc", 3), 3);
	assert_string_equal(chardev_name(f->chr), "null");
}

static void file_is_truncated_unless_appended_to(void **state)
{
	struct fixture *f = *state;
	char buf[16] = "";
	FILE *file;

	for (int i = 0; i < 3; i++) {
		open_spec(f, "file:", i == 2 ? ",append=on" : "");
		assert_int_equal(chardev_write(f->chr, "abc", 3), 3);
		chardev_close(f->chr);
		f->chr = NULL;
	}
	file = fopen(f->path, "r");
	assert_non_null(file);
	assert_int_equal(fread(buf, 1, sizeof(buf), file), 6);
	fclose(file);
	assert_string_equal(buf, "abcabc");
}

static void server_socket_is_private_and_goes_away_at_close(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	open_server(f);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	chardev_close(f->chr);
	f->chr = NULL;
	assert_int_equal(stat(f->path, &st), -1);
}

static void path_that_became_anothers_is_not_removed(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	open_server(f);
	unlink(f->path);
	close(open(f->path, O_CREAT | O_WRONLY, 0600));
	chardev_close(f->chr);
	f->chr = NULL;
	assert_int_equal(stat(f->path, &st), 0);
}

static void leftover_path_is_replaced_and_one_in_use_is_not(void **state)
{
	struct fixture *f = *state;
	struct chardev *first;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct err e;

	strcpy(sa.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	open_server(f);
	first = f->chr;
	f->chr = NULL;
	assert_true(try_open(f, f->spec, &e) < 0);
	assert_non_null(strstr(e.msg, f->path));
	f->chr = first;
	close(dial(f));
}

static void bytes_go_both_ways(void **state)
{
	struct fixture *f = *state;
	int fd;

	open_server(f);
	assert_int_equal(chardev_write(f->chr, "lost", 4), 4); /* nobody there */
	fd = dial(f);
	assert_int_equal(chardev_write(f->chr, "out", 3), 3);
	assert_reads(fd, "out");
	assert_int_equal(write(fd, "in", 2), 2);
	assert_got(f, "in");
	close(fd);
}

static void client_side_connects_and_talks(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;

	strcpy(sa.sun_path, f->path);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listener, 1), 0);
	open_spec(f, "unix:", "");
	fd = accept(listener, NULL, NULL);
	assert_string_equal(f->connections, "+");
	assert_int_equal(chardev_write(f->chr, "out", 3), 3);
	assert_reads(fd, "out");
	assert_int_equal(write(fd, "in", 2), 2);
	assert_got(f, "in");
	close(fd);
	close(listener);
	run(f);
	assert_int_equal(chardev_write(f->chr, "dropped", 7), 7);
}

static void tcp_client_talks_to_a_server(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
	socklen_t n = sizeof(sa);
	struct err e;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &n), 0);
	snprintf(f->spec, sizeof(f->spec), "tcp:[127.0.0.1]:%u", ntohs(sa.sin_port));
	if (try_open(f, f->spec, &e))
		fail_msg("%s", e.msg);
	fd = accept(listener, NULL, NULL);
	assert_int_equal(write(fd, "in", 2), 2);
	assert_got(f, "in");
	close(fd);
	close(listener);
	run(f);
	assert_string_equal(f->connections, "+-");
}

static void no_more_is_read_than_there_is_room_for(void **state)
{
	struct fixture *f = *state;
	int fd;

	f->room = 3;
	open_server(f);
	fd = dial(f);
	assert_int_equal(write(fd, "abcdefg", 7), 7);
	assert_got(f, "abc");
	f->room = 2;
	chardev_accept_input(f->chr);
	assert_got(f, "abcde");
	f->room = 10;
	chardev_accept_input(f->chr);
	assert_got(f, "abcdefg");
	close(fd);
}

static void bytes_of_a_client_that_left_are_still_delivered(void **state)
{
	struct fixture *f = *state;
	int fd;

	f->room = 1;
	open_server(f);
	fd = dial(f);
	assert_int_equal(write(fd, "abc", 3), 3);
	close(fd);
	assert_got(f, "a");
	f->room = 10;
	chardev_accept_input(f->chr);
	assert_got(f, "abc");
}

static void second_client_waits_its_turn(void **state)
{
	struct fixture *f = *state;
	int first, second;

	open_server(f);
	first = dial(f);
	second = dial(f);
	assert_int_equal(write(second, "2", 1), 1);
	assert_int_equal(write(first, "1", 1), 1);
	assert_got(f, "1");
	close(first);
	assert_got(f, "12");
	assert_int_equal(chardev_write(f->chr, "x", 1), 1);
	assert_reads(second, "x");
	assert_string_equal(f->connections, "+-+");
	close(second);
	run(f);
	assert_string_equal(f->connections, "+-+-");
}

static void full_peer_makes_a_short_write_and_then_a_call(void **state)
{
	struct fixture *f = *state;
	static const char block[4096];
	char sink[65536];
	size_t sent = 0, n;
	int fd;

	open_server(f);
	fd = dial(f);
	do {
		n = chardev_write(f->chr, block, sizeof(block));
		sent += n;
	} while (n == sizeof(block) && sent < 64 * MIB);
	assert_true(n < sizeof(block));
	run(f);
	assert_int_equal(f->writable_calls, 0);
	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
	run(f);
	assert_int_equal(f->writable_calls, 1);
	assert_int_equal(chardev_write(f->chr, "x", 1), 1);
	close(fd);
}

static void peer_that_leaves_while_full_releases_the_writer(void **state)
{
	struct fixture *f = *state;
	static const char block[4096];
	int fd;

	open_server(f);
	fd = dial(f);
	while (chardev_write(f->chr, block, sizeof(block)) == sizeof(block))
		;
	close(fd);
	run(f);
	assert_true(f->writable_calls >= 1);
	assert_int_equal(chardev_write(f->chr, block, sizeof(block)), sizeof(block));
}

static void bad_specs_are_refused_with_a_reason(void **state)
{
	static const char *const specs[][2] = {
		{ "", "not a valid" },
		{ "fil", "not a valid" },
		{ "pipe:x", "not a valid" },
		{ "file:", "no path" },
		{ "file:/nonexistent/dir/x", "No such file" },
		{ "file:/tmp/x,mux=on", "mux" },
		{ "unix:/tmp/x,server=perhaps", "server" },
		{ "unix:/nonexistent/dir/x", "No such file" },
		{ "unix:/nonexistent/dir/x,server=on,wait=off", "No such file" },
		{ "tcp:12345", "HOST:PORT" },
		{ "pty:x", "not a valid" },
		{ "null,id=", "no id" },
		{ "null,id=1a", "no id" },
		{ "frob,id=a", "'frob' is not a valid char driver name" },
		{ "file,id=a", "no path" },
		{ "null,id=a,path=/x", "Invalid parameter 'path'" },
		{ "socket,id=a", "one of path=, fd=" },
		{ "socket,id=a,path=/x,port=1", "one of path=, fd=" },
		{ "socket,id=a,host=x", "no port" },
		{ "socket,id=a,path=/x,wait=off", "'wait' option is incompatible" },
		{ "socket,id=a,path=/x,server=on,reconnect=1",
		  "'reconnect' option is incompatible" },
		{ "socket,id=a,path=/x,reconnect=soon", "reconnect" },
		{ "socket,id=a,path=/x,telnet=on", "Invalid parameter 'telnet'" },
		{ "socket,id=a,fd=9999", "9999" },
		{ "socket,id=a,fd=0,server=on", "not a socket" },
	};
	struct fixture *f = *state;
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		assert_true(try_open(f, specs[i][0], &e) < 0);
		assert_null(f->chr);
		if (!strstr(e.msg, specs[i][1]))
			fail_msg("'%s' says: %s", specs[i][0], e.msg);
	}
}

/* A server of the test's own at f->path. */
static int listen_at_path(struct fixture *f)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	unlink(f->path);
	strcpy(sa.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* The next connection to @listener, while the loop runs. */
static int await_connection(struct fixture *f, int listener)
{
	int fd = -1;

	for (int i = 0; i < 300 && fd < 0; i++) {
		loop_run_once(f->loop, 10);
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
	assert_true(fd >= 0);
	run(f);
	return fd;
}

static void client_connects_again_after_each_end(void **state)
{
	struct fixture *f = *state;
	int listener, fd;

	/* Nobody is there at first, which is no failure. */
	open_spec(f, "unix:", ",reconnect-ms=20");
	assert_string_equal(f->connections, "");
	assert_false(chardev_is_connected(f->chr));
	assert_int_equal(chardev_write(f->chr, "lost", 4), 4);
	listener = listen_at_path(f);
	fcntl(listener, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 2; i++) {
		fd = await_connection(f, listener);
		assert_int_equal(chardev_write(f->chr, "hi", 2), 2);
		assert_reads(fd, "hi");
		close(fd);
	}
	fd = await_connection(f, listener);
	assert_string_equal(f->connections, "+-+-+");
	assert_true(chardev_is_connected(f->chr));
	close(fd);
	close(listener);
}

static void first_connection_may_be_retried_for_a_while(void **state)
{
	struct fixture *f = *state;
	struct chardev_config config = { .kind = CHARDEV_UNIX, .retry_ms = 10000 };
	struct err e;
	int listener, fd;

	strcpy(config.path, f->path);
	assert_int_equal(chardev_open(&f->chr, f->loop, &config, NULL, NULL, &e), 0);
	chardev_attach(f->chr, &front, f);
	run(f);
	listener = listen_at_path(f);
	fcntl(listener, F_SETFL, O_NONBLOCK);
	fd = await_connection(f, listener);
	assert_string_equal(f->connections, "+");
	close(fd);
	/* Once connected, the end is the end. */
	for (int i = 0; i < 10; i++)
		loop_run_once(f->loop, 10);
	assert_string_equal(f->connections, "+-");
	assert_int_equal(accept(listener, NULL, NULL), -1);
	close(listener);
}

static void tcp_connection_does_not_block_the_loop(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), fd;
	socklen_t n = sizeof(sa);
	struct err e;

	/* A port that is bound but not listened at refuses. */
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &n), 0);
	snprintf(f->spec, sizeof(f->spec), "socket,id=c0,host=127.0.0.1,port=%u,reconnect-ms=20",
		 ntohs(sa.sin_port));
	assert_int_equal(try_open(f, f->spec, &e), 0);
	run(f);
	assert_string_equal(f->connections, "");
	assert_int_equal(listen(listener, 1), 0);
	fd = await_connection(f, listener);
	assert_int_equal(write(fd, "in", 2), 2);
	assert_got(f, "in");
	close(fd);
	close(listener);
}

static void server_on_any_port_says_which(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0), port;
	struct err e;

	assert_int_equal(try_open(f, "tcp:127.0.0.1:0,server=on,wait=off", &e), 0);
	assert_int_equal(sscanf(chardev_name(f->chr), "tcp:127.0.0.1:%d,server=on", &port), 1);
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sa.sin_port = htons((uint16_t)port);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(write(fd, "in", 2), 2);
	assert_got(f, "in");
	close(fd);
}

static void abstract_names_need_no_file(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t n;
	struct err e;

	snprintf(f->spec, sizeof(f->spec), "socket,id=c0,path=%s,abstract=on,server=on,wait=off",
		 f->path);
	assert_int_equal(try_open(f, f->spec, &e), 0);
	assert_int_equal(access(f->path, F_OK), -1);
	strcpy(sa.sun_path + 1, f->path);
	n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(f->path));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, n), 0);
	assert_int_equal(write(fd, "in", 2), 2);
	assert_got(f, "in");
	close(fd);
}

static void inherited_sockets_are_used(void **state)
{
	struct fixture *f = *state;
	int pair[2], listener, fd;
	struct err e;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	snprintf(f->spec, sizeof(f->spec), "socket,id=c0,fd=%d", pair[0]);
	assert_int_equal(try_open(f, f->spec, &e), 0);
	assert_int_equal(write(pair[1], "in", 2), 2);
	assert_got(f, "in");
	chardev_close(f->chr);
	f->chr = NULL;
	close(pair[1]);

	listener = listen_at_path(f);
	snprintf(f->spec, sizeof(f->spec), "socket,id=c0,fd=%d,server=on,wait=off", listener);
	assert_int_equal(try_open(f, f->spec, &e), 0);
	fd = dial(f);
	assert_int_equal(write(fd, "2", 1), 1);
	assert_got(f, "in2");
	close(fd);
}

static void send_with_fds(int to, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(64 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes };
	struct cmsghdr *m;

	msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
	m = CMSG_FIRSTHDR(&msg);
	m->cmsg_level = SOL_SOCKET;
	m->cmsg_type = SCM_RIGHTS;
	m->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (size_t i = 0; i < n; i++)
		memcpy(CMSG_DATA(m) + i * sizeof(int), &to, sizeof(int));
	assert_int_equal(sendmsg(to, &msg, 0), 1);
}

static void descriptors_come_with_their_bytes_or_are_closed(void **state)
{
	static const struct chardev_front deaf = {
		.room = front_room,
		.receive = front_receive,
		.writable = front_writable,
	};
	struct fixture *f = *state;
	unsigned int before;
	int fd;

	open_server(f);
	fd = dial(f);
	before = fd_count();
	send_with_fds(fd, 2);
	assert_got(f, "x");
	assert_int_equal(f->nr_passed, 2);
	assert_true(fcntl(f->passed[1], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fd_count(), before + 2);
	/* More than are taken: the rest does not stay open. */
	send_with_fds(fd, 40);
	assert_got(f, "xx");
	assert_int_equal(f->nr_passed, 2 + CHARDEV_MAX_PASSED);
	assert_int_equal(fd_count(), before + 2 + CHARDEV_MAX_PASSED);
	/* A front end that knows nothing of them. */
	chardev_attach(f->chr, &deaf, f);
	send_with_fds(fd, 3);
	assert_got(f, "xxx");
	assert_int_equal(fd_count(), before + 2 + CHARDEV_MAX_PASSED);
	for (size_t i = 0; i < f->nr_passed; i++)
		close(f->passed[i]);
	close(fd);
}

static void pty_has_a_peer_while_its_slave_is_open(void **state)
{
	struct fixture *f = *state;
	unsigned int columns, rows;
	const char *path;
	struct err e;
	char buf[8];
	int fd;

	assert_int_equal(try_open(f, "pty", &e), 0);
	path = chardev_name(f->chr);
	assert_memory_equal(path, "pty:/dev/pts/", 13);
	assert_true(chardev_is_tty(f->chr));
	assert_false(chardev_is_connected(f->chr));
	for (int i = 0; i < 2; i++) {
		/* Nobody reads, and nobody is held up. */
		assert_int_equal(chardev_write(f->chr, "lost", 4), 4);
		fd = open(path + 4, O_RDWR | O_NOCTTY | O_NONBLOCK);
		assert_true(fd >= 0);
		for (int k = 0; k < 100 && !chardev_is_connected(f->chr); k++)
			loop_run_once(f->loop, 20);
		assert_int_equal(chardev_write(f->chr, "out", 3), 3);
		wait_readable(fd);
		assert_int_equal(read(fd, buf, sizeof(buf)), 3);
		assert_int_equal(write(fd, "in", 2), 2);
		assert_got(f, i ? "inin" : "in");
		chardev_tty_size(f->chr, &columns, &rows);
		assert_int_equal(columns, 0);
		close(fd);
		run(f);
		assert_false(chardev_is_connected(f->chr));
	}
	assert_string_equal(f->connections, "+-+-");
}

static void commas_are_doubled_in_values(void **state)
{
	struct fixture *f = *state;
	struct chardev_option o;
	struct mon_option m;
	struct err e;

	(void)f;
	assert_int_equal(chardev_parse_option("file,id=a,path=/x,,y,append=on,", &o, &e), 0);
	assert_string_equal(o.config.path, "/x,y");
	assert_true(o.config.append);
	assert_int_equal(chardev_parse_option("backend=socket,id=a-1,host=::1,port=5,server=on,"
					      "wait=off,nodelay=off",
					      &o, &e),
			 0);
	assert_int_equal(o.config.kind, CHARDEV_TCP);
	assert_string_equal(o.config.host, "::1");
	assert_true(o.config.server && !o.config.wait && o.config.delay);
	assert_int_equal(mon_parse_option("chardev=a,mode=control,pretty=on", &m, &e), 0);
	assert_true(m.control && m.pretty);
	assert_int_equal(mon_parse_option("a", &m, &e), 0);
	assert_string_equal(m.chardev, "a");
	assert_false(m.control || m.pretty);
}

static void bad_monitor_options_are_refused(void **state)
{
	static const char *const options[][2] = {
		{ "", "'chardev' is missing" },
		{ "mode=control", "'chardev' is missing" },
		{ "a,mode=loud", "unknown monitor mode 'loud'" },
		{ "a,pretty=on", "not compatible with HMP" },
		{ "a,mode=control,pretty=very", "very" },
		{ "a,colour=red", "Invalid parameter 'colour'" },
	};
	struct mon_option m;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		assert_true(mon_parse_option(options[i][0], &m, &e) < 0);
		if (!strstr(e.msg, options[i][1]))
			fail_msg("'%s' says: %s", options[i][0], e.msg);
	}
}

/* Standard input and output replaced for one test, and put back. */
struct stdio_swap {
	int in;
	int out;
};

static struct stdio_swap swap_stdio(int in, int out)
{
	struct stdio_swap old = { dup(STDIN_FILENO), dup(STDOUT_FILENO) };

	fflush(stdout);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	return old;
}

static void restore_stdio(struct stdio_swap old)
{
	dup2(old.in, STDIN_FILENO);
	dup2(old.out, STDOUT_FILENO);
	close(old.in);
	close(old.out);
}

/* What a terminal test saw; judged when standard output is back. */
struct tty_run {
	int opened;
	struct termios before, during, after;
	char out[16];
	ssize_t nr_out;
};

static struct tty_run run_on_tty(struct fixture *f, const char *typed,
				 void (*more)(struct fixture *))
{
	struct tty_run t = { 0 };
	int ptm = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK), pts;
	struct stdio_swap old;
	struct err e;

	assert_true(ptm >= 0);
	assert_int_equal(grantpt(ptm), 0);
	assert_int_equal(unlockpt(ptm), 0);
	pts = open(ptsname(ptm), O_RDWR | O_NOCTTY);
	assert_true(pts >= 0);
	tcgetattr(pts, &t.before);
	old = swap_stdio(pts, pts);
	t.opened = try_open(f, "stdio", &e);
	tcgetattr(pts, &t.during);
	if (!t.opened) {
		if (write(ptm, typed, strlen(typed)) < 0)
			t.opened = -errno;
		wait_readable(pts);
		run(f);
		if (more)
			more(f);
		chardev_write(f->chr, "hi", 2);
		chardev_close(f->chr);
		f->chr = NULL;
	}
	restore_stdio(old);
	tcgetattr(pts, &t.after);
	if (!t.opened)
		wait_readable(ptm);
	t.nr_out = read(ptm, t.out, sizeof(t.out));
	close(pts);
	close(ptm);
	assert_int_equal(t.opened, 0);
	return t;
}

static void terminal_is_raw_while_open_and_then_as_before(void **state)
{
	struct fixture *f = *state;
	struct tty_run t = run_on_tty(f, "a\003\r", NULL);

	assert_true(t.before.c_lflag & ICANON);
	assert_false(t.during.c_lflag & (ICANON | ECHO | ISIG));
	assert_int_equal(t.after.c_lflag, t.before.c_lflag);
	assert_int_equal(t.after.c_iflag, t.before.c_iflag);
	assert_got(f, "a\003\r");
	assert_int_equal(t.nr_out, 2);
	assert_memory_equal(t.out, "hi", 2);
}

static void escapes_are_for_us_and_doubled_for_the_guest(void **state)
{
	struct fixture *f = *state;

	run_on_tty(f, "1\001\0012\001x3", NULL);
	assert_got(f, "1\00123");
	assert_int_equal(f->quit_calls, 1);
}

static void wait_for_stall(struct fixture *f)
{
	for (int i = 0; i < 100 && !f->quit_calls; i++)
		loop_run_once(f->loop, 20);
}

static void escape_works_while_the_guest_takes_nothing(void **state)
{
	struct fixture *f = *state;

	f->room = 0;
	run_on_tty(f, "typed in vain\001x", wait_for_stall);
	assert_int_equal(f->quit_calls, 1);
	assert_int_equal(f->nr_got, 0);
}

static void standard_input_from_a_file_is_read_as_room_allows(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->path, O_CREAT | O_RDWR, 0600), null = open("/dev/null", O_WRONLY);
	struct stdio_swap old;
	struct err e;
	int r;

	assert_int_equal(write(fd, "abcdef", 6), 6);
	lseek(fd, 0, SEEK_SET);
	f->room = 4;
	old = swap_stdio(fd, null);
	r = try_open(f, "stdio", &e);
	if (!r) {
		f->room = 10;
		chardev_accept_input(f->chr);
		run(f);
		chardev_close(f->chr);
		f->chr = NULL;
	}
	restore_stdio(old);
	close(fd);
	close(null);
	assert_int_equal(r, 0);
	assert_got(f, "abcdef");
	assert_string_equal(f->connections, "+-");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(null_takes_everything),
		TEST(file_is_truncated_unless_appended_to),
		TEST(server_socket_is_private_and_goes_away_at_close),
		TEST(path_that_became_anothers_is_not_removed),
		TEST(leftover_path_is_replaced_and_one_in_use_is_not),
		TEST(bytes_go_both_ways),
		TEST(client_side_connects_and_talks),
		TEST(tcp_client_talks_to_a_server),
		TEST(no_more_is_read_than_there_is_room_for),
		TEST(bytes_of_a_client_that_left_are_still_delivered),
		TEST(second_client_waits_its_turn),
		TEST(full_peer_makes_a_short_write_and_then_a_call),
		TEST(peer_that_leaves_while_full_releases_the_writer),
		TEST(client_connects_again_after_each_end),
		TEST(first_connection_may_be_retried_for_a_while),
		TEST(tcp_connection_does_not_block_the_loop),
		TEST(server_on_any_port_says_which),
		TEST(abstract_names_need_no_file),
		TEST(inherited_sockets_are_used),
		TEST(descriptors_come_with_their_bytes_or_are_closed),
		TEST(pty_has_a_peer_while_its_slave_is_open),
		TEST(commas_are_doubled_in_values),
		TEST(bad_monitor_options_are_refused),
		TEST(bad_specs_are_refused_with_a_reason),
		TEST(terminal_is_raw_while_open_and_then_as_before),
		TEST(escapes_are_for_us_and_doubled_for_the_guest),
		TEST(escape_works_while_the_guest_takes_nothing),
		TEST(standard_input_from_a_file_is_read_as_room_allows),
	};

	return cmocka_run_group_tests_name("chardev", tests, NULL, NULL);
}
