/* SPDX-License-Identifier: MIT */
/* Sockets: listening, connecting, deadlines and descriptors that come along. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "fd_count.h"
#include "host/clock.h"
#include "host/sock.h"

#define MS UINT64_C(1000000)

struct fixture {
	char dir[32];
	char path[64];
	unsigned int fds; /* open before the test */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/baton-unit-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
	f->fds = fd_count();
	*state = f;
	alarm(60);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned int fds = fd_count();

	unlink(f->path);
	rmdir(f->dir);
	if (fds != f->fds)
		print_error("%u descriptors before, %u after\n", f->fds, fds);
	fds -= f->fds;
	free(f);
	return fds ? -1 : 0;
}

static uint64_t in_ms(uint64_t ms)
{
	return clock_boottime_ns() + ms * MS;
}

static void pair(int *a, int *b)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	*a = fds[0];
	*b = fds[1];
}

static void a_unix_socket_is_private_and_connects(void **state)
{
	const struct fixture *f = *state;
	struct stat st;
	int l, c, s;
	struct err e;
	mode_t old;

	old = umask(0);
	l = sock_listen_unix(f->path, &e);
	/* The caller's umask is as before. */
	assert_int_equal(umask(old), 0);
	assert_true(l >= 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(sock_check_listening(l, &e), 0);
	c = sock_connect_unix(f->path, &e);
	assert_true(c >= 0);
	s = sock_accept(l, &e);
	assert_true(s >= 0);
	assert_int_equal(fcntl(l, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(c, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(s, F_GETFD), FD_CLOEXEC);
	close(l);
	close(c);
	close(s);
}

static void a_leftover_socket_file_is_replaced(void **state)
{
	const struct fixture *f = *state;
	int l, c;
	struct err e;

	l = sock_listen_unix(f->path, &e);
	assert_true(l >= 0);
	close(l);
	assert_int_equal(access(f->path, F_OK), 0);
	assert_int_equal(sock_connect_unix(f->path, &e), -ECONNREFUSED);
	l = sock_listen_unix(f->path, &e);
	assert_true(l >= 0);
	c = sock_connect_unix(f->path, &e);
	assert_true(c >= 0);
	close(c);
	close(l);
}

static void a_path_somebody_listens_at_is_refused(void **state)
{
	const struct fixture *f = *state;
	char want[128];
	int l, c, s;
	struct err e;

	l = sock_listen_unix(f->path, &e);
	assert_true(l >= 0);
	assert_int_equal(sock_listen_unix(f->path, &e), -EADDRINUSE);
	snprintf(want, sizeof(want), "Failed to bind socket to %s: Address already in use",
		 f->path);
	assert_string_equal(e.msg, want);
	/* The other one is not disturbed but for a caller who went away again. */
	s = sock_accept(l, &e);
	assert_true(s >= 0);
	close(s);
	c = sock_connect_unix(f->path, &e);
	assert_true(c >= 0);
	close(c);
	close(l);
}

static void a_listener_whose_backlog_is_full_is_live_too(void **state)
{
	const struct fixture *f = *state;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int l, callers[64];
	size_t n = 0;
	struct err e;

	l = sock_listen_unix(f->path, &e);
	assert_true(l >= 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", f->path);
	for (; n < ARRAY_SIZE(callers); n++) {
		callers[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(callers[n], (const struct sockaddr *)&sa, sizeof(sa)) < 0)
			break;
	}
	assert_true(n < ARRAY_SIZE(callers) && errno == EAGAIN);
	assert_int_equal(sock_listen_unix(f->path, &e), -EADDRINUSE);
	for (size_t i = 0; i <= n; i++)
		close(callers[i]);
	close(l);
}

static void a_file_that_is_no_socket_is_not_removed(void **state)
{
	const struct fixture *f = *state;
	struct stat st;
	struct err e;
	int fd;

	fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(sock_listen_unix(f->path, &e), -EADDRINUSE);
	assert_int_equal(stat(f->path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

static void a_path_that_cannot_be_an_address_is_refused(void **state)
{
	char path[SIZEOF_FIELD(struct sockaddr_un, sun_path) + 1];
	struct err e;

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(sock_listen_unix(path, &e), -ENAMETOOLONG);
	assert_non_null(strstr(e.msg, "is too long: the kernel allows 107 bytes"));
	assert_int_equal(sock_connect_unix(path, &e), -ENAMETOOLONG);
	assert_int_equal(sock_listen_unix("", &e), -EINVAL);
	assert_string_equal(e.msg, "invalid Unix socket address");
	assert_int_equal(sock_connect_unix("", &e), -EINVAL);
	assert_int_equal(sock_connect_unix("/nonexistent/sock", &e), -ENOENT);
	assert_string_equal(e.msg, "Failed to connect to '/nonexistent/sock': No such file or "
				   "directory");
}

static void an_inet_socket_listens_and_connects(void **state)
{
	struct sockaddr_in sa;
	socklen_t n = sizeof(sa);
	int l, c, s;
	struct err e;
	char port[8], got[4];
	int none = -1;

	(void)state;
	l = sock_listen_inet("127.0.0.1", "0", &e);
	if (l < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &n), 0);
	snprintf(port, sizeof(port), "%u", ntohs(sa.sin_port));
	c = sock_connect_inet("127.0.0.1", port, &e);
	assert_true(c >= 0);
	s = sock_accept(l, &e);
	assert_true(s >= 0);
	sock_set_nodelay(c);
	assert_int_equal(sock_send_all(c, "ping", 4, -1, in_ms(1000), &e), 0);
	assert_int_equal(sock_recv_all(s, got, 4, &none, in_ms(1000), &e), 0);
	assert_memory_equal(got, "ping", 4);
	close(s);
	close(c);
	close(l);
	/* Nobody listens there any more. */
	assert_int_equal(sock_connect_inet("127.0.0.1", port, &e), -ECONNREFUSED);
	assert_non_null(strstr(e.msg, "Failed to connect to '127.0.0.1:"));
	assert_true(sock_connect_inet("127.0.0.1", "no-such-service", &e) < 0);
	assert_non_null(strstr(e.msg, "address resolution failed for 127.0.0.1:no-such-service"));
}

static void only_a_listening_socket_is_one(void **state)
{
	struct err e;
	int a, b, p[2];

	(void)state;
	pair(&a, &b);
	assert_int_equal(sock_check_listening(a, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "is not a listening socket"));
	assert_true(sock_accept(a, &e) < 0);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(sock_check_listening(p[0], &e), -ENOTSOCK);
	assert_int_equal(sock_check_listening(-1, &e), -EBADF);
	close(a);
	close(b);
	close(p[0]);
	close(p[1]);
}

static void accept_does_not_wait_if_it_must_not(void **state)
{
	const struct fixture *f = *state;
	struct err e;
	int l;

	l = sock_listen_unix(f->path, &e);
	assert_true(l >= 0);
	sock_set_blocking(l, 0);
	assert_int_equal(sock_accept(l, &e), -EAGAIN);
	sock_set_blocking(l, 1);
	assert_int_equal(fcntl(l, F_GETFL) & O_NONBLOCK, 0);
	close(l);
}

static void the_kernel_says_who_the_peer_is(void **state)
{
	const struct fixture *f = *state;
	struct err e;
	int l, c, s, p[2];
	pid_t pid = 0;
	uid_t uid = (uid_t)-1;

	l = sock_listen_unix(f->path, &e);
	c = sock_connect_unix(f->path, &e);
	s = sock_accept(l, &e);
	assert_true(s >= 0);
	assert_int_equal(sock_peer(s, &pid, &uid, &e), 0);
	assert_int_equal(pid, getpid());
	assert_int_equal(uid, getuid());
	assert_int_equal(pipe(p), 0);
	assert_int_equal(sock_peer(p[0], &pid, &uid, &e), -ENOTSOCK);
	close(l);
	close(c);
	close(s);
	close(p[0]);
	close(p[1]);
}

static void receiving_ends_at_the_deadline(void **state)
{
	uint64_t start = clock_boottime_ns();
	int a, b, got = -1;
	struct err e;
	char buf[8];

	(void)state;
	pair(&a, &b);
	assert_int_equal(sock_recv_all(a, buf, 8, &got, in_ms(20), &e), -ETIMEDOUT);
	assert_string_equal(e.msg, "the peer does not answer in time");
	assert_true(clock_boottime_ns() - start >= 20 * MS);
	assert_true(clock_boottime_ns() - start < 10000 * MS);
	/* A part of the message is no answer; a deadline in the past waits not at all. */
	assert_int_equal(sock_send_all(b, "1234", 4, -1, in_ms(1000), &e), 0);
	assert_int_equal(sock_recv_all(a, buf, 8, &got, 1, &e), -ETIMEDOUT);
	/* What is there already is taken even so. */
	assert_int_equal(sock_send_all(b, "1234", 4, -1, in_ms(1000), &e), 0);
	assert_int_equal(sock_recv_all(a, buf, 4, &got, 1, &e), 0);
	close(a);
	close(b);
}

static void sending_ends_at_the_deadline(void **state)
{
	static char bulk[16 << 20];
	uint64_t start = clock_boottime_ns();
	struct err e;
	int a, b;

	(void)state;
	pair(&a, &b);
	assert_int_equal(sock_send_all(a, bulk, sizeof(bulk), -1, in_ms(20), &e), -ETIMEDOUT);
	assert_true(clock_boottime_ns() - start >= 20 * MS);
	assert_true(clock_boottime_ns() - start < 10000 * MS);
	close(a);
	close(b);
}

static void a_peer_that_is_gone_is_an_error_not_a_signal(void **state)
{
	int a, b, got = -1;
	struct err e;
	char buf[4];

	(void)state;
	pair(&a, &b);
	assert_int_equal(sock_send_all(b, "12", 2, -1, in_ms(1000), &e), 0);
	close(b);
	assert_int_equal(sock_recv_all(a, buf, 4, &got, in_ms(1000), &e), -ECONNRESET);
	assert_string_equal(e.msg, "the peer closed the connection");
	assert_int_equal(sock_send_all(a, "x", 1, -1, in_ms(1000), &e), -EPIPE);
	assert_string_equal(e.msg, "Unable to write to socket: Broken pipe");
	assert_true(sock_has_input(a));
	close(a);
}

static void input_is_seen_without_taking_it(void **state)
{
	int a, b, got = -1;
	struct err e;
	char c;

	(void)state;
	pair(&a, &b);
	assert_false(sock_has_input(a));
	assert_int_equal(sock_send_all(b, "x", 1, -1, in_ms(1000), &e), 0);
	assert_true(sock_has_input(a));
	assert_int_equal(sock_recv_all(a, &c, 1, &got, in_ms(1000), &e), 0);
	assert_false(sock_has_input(a));
	close(a);
	close(b);
}

static void a_descriptor_goes_along_with_the_first_byte(void **state)
{
	int a, b, p[2], got = -1;
	struct stat sent, came;
	struct err e;
	char buf[6];

	(void)state;
	pair(&a, &b);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(sock_send_all(a, "abc", 3, p[0], in_ms(1000), &e), 0);
	assert_int_equal(sock_send_all(a, "def", 3, -1, in_ms(1000), &e), 0);
	assert_int_equal(sock_recv_all(b, buf, 1, &got, in_ms(1000), &e), 0);
	assert_true(got >= 0 && got != p[0]);
	assert_int_equal(fstat(p[0], &sent), 0);
	assert_int_equal(fstat(got, &came), 0);
	assert_int_equal(sent.st_ino, came.st_ino);
	assert_int_equal(fcntl(got, F_GETFD), FD_CLOEXEC);
	assert_int_equal(sock_recv_all(b, buf + 1, 5, &got, in_ms(1000), &e), 0);
	assert_memory_equal(buf + 1, "bcdef", 5);
	close(got);
	close(a);
	close(b);
	close(p[0]);
	close(p[1]);
}

static void a_second_descriptor_is_refused_and_closed(void **state)
{
	int a, b, got = -1;
	struct err e;
	char buf[2];

	(void)state;
	pair(&a, &b);
	assert_int_equal(sock_send_all(a, "a", 1, 0, in_ms(1000), &e), 0);
	assert_int_equal(sock_send_all(a, "b", 1, 0, in_ms(1000), &e), 0);
	assert_int_equal(sock_recv_all(b, buf, 2, &got, in_ms(1000), &e), -EINVAL);
	assert_string_equal(e.msg, "the peer sent more descriptors than announced");
	assert_true(got >= 0);
	close(got);
	close(a);
	close(b);
}

/* One message with @n descriptors at once, as only a hostile peer sends. */
static void send_many(int sock, unsigned int n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(64 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fds[64] = { 0 };

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	assert_int_equal(sendmsg(sock, &msg, 0), 1);
}

static void many_descriptors_at_once_are_refused_and_closed(void **state)
{
	static const unsigned int counts[] = { 2, 4, 5, 64 };
	struct err e;
	char c;

	(void)state;
	/* That none is left open is checked at the end of the test. */
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		AUTO_CLOSE int got = -1;
		int a, b;

		pair(&a, &b);
		send_many(a, counts[i]);
		assert_int_equal(sock_recv_all(b, &c, 1, &got, in_ms(1000), &e), -EINVAL);
		close(a);
		close(b);
	}
}

static void what_is_larger_than_the_socket_buffer_arrives_whole(void **state)
{
	static uint8_t out[1 << 20], in[1 << 20];
	int a, b, status, got = -1;
	struct err e;
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + (i >> 8));
	pair(&a, &b);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(sock_send_all(a, out, sizeof(out), 0, in_ms(10000), &e) ? 1 : 0);
	/* In many pieces, but the descriptor only with the first. */
	assert_int_equal(sock_recv_all(b, in, sizeof(in), &got, in_ms(10000), &e), 0);
	assert_true(got >= 0);
	close(got);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(a);
	close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_unix_socket_is_private_and_connects, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_leftover_socket_file_is_replaced, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_path_somebody_listens_at_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_listener_whose_backlog_is_full_is_live_too, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_file_that_is_no_socket_is_not_removed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_path_that_cannot_be_an_address_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_inet_socket_listens_and_connects, setup,
						teardown),
		cmocka_unit_test_setup_teardown(only_a_listening_socket_is_one, setup, teardown),
		cmocka_unit_test_setup_teardown(accept_does_not_wait_if_it_must_not, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_kernel_says_who_the_peer_is, setup, teardown),
		cmocka_unit_test_setup_teardown(receiving_ends_at_the_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(sending_ends_at_the_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(a_peer_that_is_gone_is_an_error_not_a_signal, setup,
						teardown),
		cmocka_unit_test_setup_teardown(input_is_seen_without_taking_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_descriptor_goes_along_with_the_first_byte, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_second_descriptor_is_refused_and_closed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(many_descriptors_at_once_are_refused_and_closed,
						setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_larger_than_the_socket_buffer_arrives_whole,
						setup, teardown),
	};

	return cmocka_run_group_tests_name("sock", tests, NULL, NULL);
}
