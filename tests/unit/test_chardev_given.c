/* SPDX-License-Identifier: MIT */
/* Character devices that go on with the descriptors of an earlier image. */
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
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "fd_count.h"
#include "host/chardev.h"
#include "host/process.h"

/* What speaks to a device; there are two of each, the earlier and the next. */
struct side {
	struct chardev *chr;
	char got[64];
	size_t nr_got;
	char connections[8];
	unsigned int writable_calls;
};

struct fixture {
	pthread_mutex_t lock;
	struct loop *loop;
	struct side old, new;
	struct chardev_config config;
	char dir[64];
	unsigned int fds;
};

static size_t front_room(void *opaque)
{
	const struct side *s = opaque;

	return sizeof(s->got) - s->nr_got;
}

static void front_receive(void *opaque, const void *p, size_t n)
{
	struct side *s = opaque;

	memcpy(s->got + s->nr_got, p, n);
	s->nr_got += n;
}

static void front_writable(void *opaque)
{
	((struct side *)opaque)->writable_calls++;
}

static void front_connected(void *opaque, bool yes)
{
	strcat(((struct side *)opaque)->connections, yes ? "+" : "-");
}

static const struct chardev_front front = {
	.room = front_room,
	.receive = front_receive,
	.writable = front_writable,
	.connected = front_connected,
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	f->fds = fd_count();
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&f->lock);
	assert_int_equal(loop_create(&f->loop, &f->lock, &e), 0);
	strcpy(f->dir, "/tmp/test-given-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->config.path, sizeof(f->config.path), "%s/sock", f->dir);
	*state = f;
	alarm(60);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned int now;

	chardev_close(f->new.chr);
	chardev_close(f->old.chr);
	loop_destroy(f->loop);
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_destroy(&f->lock);
	unlink(f->config.path);
	rmdir(f->dir);
	now = fd_count() - f->fds;
	free(f);
	return now ? -1 : 0;
}

static void run(struct fixture *f)
{
	for (int i = 0; i < 8; i++)
		loop_run_once(f->loop, 2);
}

static void open_old(struct fixture *f, enum chardev_kind kind)
{
	struct err e;

	f->config.kind = kind;
	if (chardev_open(&f->old.chr, f->loop, &f->config, NULL, NULL, &e))
		fail_msg("%s", e.msg);
	chardev_attach(f->old.chr, &front, &f->old);
	run(f);
}

/* What the earlier device gives, in duplicates, as after an exec. */
static void get_given(struct fixture *f, struct chardev_given *out)
{
	int *const all[] = { &out->listen_fd, &out->peer_fd, &out->own_fd };
	struct err e;

	chardev_get_given(f->old.chr, out);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (*all[i] >= 0)
			assert_true((*all[i] = process_dup_fd(*all[i], &e)) >= 0);
}

/* The earlier device is out of work from now on: its loop's turn would take bytes. */
static int open_new(struct fixture *f, struct chardev_given *given, struct err *e)
{
	struct chardev_config config = f->config;
	int r;

	chardev_attach(f->old.chr, NULL, NULL);
	run(f);
	config.given = given;
	config.held = true;
	r = chardev_open(&f->new.chr, f->loop, &config, NULL, NULL, e);
	if (!r)
		chardev_attach(f->new.chr, &front, &f->new);
	return r;
}

static void go_on(struct fixture *f)
{
	struct chardev_given given;
	struct err e;

	get_given(f, &given);
	if (open_new(f, &given, &e))
		fail_msg("%s", e.msg);
}

static int dial(struct fixture *f)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(sa.sun_path, f->config.path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	run(f);
	return fd;
}

static void assert_reads(int fd, const char *text)
{
	char buf[64];

	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

static void open_server(struct fixture *f)
{
	f->config.server = true;
	open_old(f, CHARDEV_UNIX);
}

static void held_server_takes_and_says_nothing_until_released(void **state)
{
	struct fixture *f = *state;
	int fd;

	open_server(f);
	fd = dial(f);
	assert_string_equal(f->old.connections, "+");
	go_on(f);
	assert_string_equal(f->new.connections, "+");
	assert_string_equal(chardev_name(f->new.chr), chardev_name(f->old.chr));
	assert_true(chardev_is_connected(f->new.chr));

	assert_int_equal(send(fd, "hello", 5, 0), 5);
	assert_int_equal(chardev_write(f->new.chr, "abc", 3), 0);
	chardev_accept_input(f->new.chr);
	run(f);
	assert_int_equal(f->new.nr_got, 0);
	assert_int_equal(f->new.writable_calls, 0);
	assert_int_equal(recv(fd, (char[1]){ 0 }, 1, MSG_DONTWAIT), -1);

	chardev_release(f->new.chr);
	assert_int_equal(f->new.writable_calls, 1);
	run(f);
	assert_memory_equal(f->new.got, "hello", 5);
	assert_int_equal(f->new.nr_got, 5);
	assert_int_equal(chardev_write(f->new.chr, "abc", 3), 3);
	assert_reads(fd, "abc");
	close(fd);
	run(f);
	assert_string_equal(f->new.connections, "+-");
}

static void client_in_the_queue_is_the_next_images(void **state)
{
	struct fixture *f = *state;
	int first, second;

	open_server(f);
	first = dial(f);
	second = dial(f);
	assert_int_equal(send(second, "two", 3, 0), 3);
	go_on(f);
	close(first);
	run(f);
	assert_string_equal(f->new.connections, "+");
	chardev_release(f->new.chr);
	run(f);
	assert_string_equal(f->new.connections, "+-+");
	assert_int_equal(f->new.nr_got, 3);
	assert_string_equal(f->old.connections, "+");
	close(second);
}

static void server_file_is_removed_by_the_last_image(void **state)
{
	struct fixture *f = *state;
	struct chardev_given given;
	struct stat st;
	struct err e;

	open_server(f);
	get_given(f, &given);
	assert_true(given.has_file);
	assert_int_equal(open_new(f, &given, &e), 0);
	assert_int_equal(stat(f->config.path, &st), 0);
	assert_int_equal(st.st_ino, given.file_ino);
	chardev_release(f->new.chr);
	chardev_close(f->new.chr);
	f->new.chr = NULL;
	assert_int_equal(stat(f->config.path, &st), -1);
}

static void server_file_stays_where_a_held_device_fails(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	open_server(f);
	go_on(f);
	chardev_close(f->new.chr);
	f->new.chr = NULL;
	assert_int_equal(stat(f->config.path, &st), 0);
}

/* As from one process to another: the client comes when it is the new one's turn. */
static void a_client_that_comes_later_misses_nothing(void **state)
{
	struct fixture *f = *state;
	struct chardev_given given;
	struct stat st;
	struct err e;
	int fd, peer;

	open_server(f);
	fd = dial(f);
	get_given(f, &given);
	peer = take_fd(&given.peer_fd);
	given.later = true;
	assert_int_equal(open_new(f, &given, &e), 0);
	assert_false(chardev_is_connected(f->new.chr));
	assert_true(chardev_is_held(f->new.chr));
	assert_int_equal(chardev_write(f->new.chr, "abc", 3), 0);
	assert_int_equal(send(fd, "hello", 5, 0), 5);
	run(f);
	chardev_take_peer(f->new.chr, peer);
	assert_string_equal(f->new.connections, "+");
	chardev_let_go(f->old.chr);
	run(f);
	chardev_release(f->new.chr);
	assert_false(chardev_is_held(f->new.chr));
	assert_int_equal(f->new.writable_calls, 1);
	run(f);
	assert_int_equal(f->new.nr_got, 5);
	assert_int_equal(chardev_write(f->new.chr, "abc", 3), 3);
	assert_reads(fd, "abc");
	/* Nothing of it is left with the old device, whose end is no end for it. */
	assert_false(chardev_is_connected(f->old.chr));
	assert_int_equal(chardev_write(f->old.chr, "xyz", 3), 3);
	chardev_close(f->old.chr);
	f->old.chr = NULL;
	assert_int_equal(stat(f->config.path, &st), 0);
	run(f);
	assert_string_equal(f->new.connections, "+");
	chardev_disconnect(f->new.chr);
	assert_string_equal(f->new.connections, "+-");
	close(fd);
}

static void a_connection_that_does_not_come_is_made(void **state)
{
	struct fixture *f = *state;
	struct chardev_given given = { .listen_fd = -1, .peer_fd = -1, .own_fd = -1 };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), peer;
	struct err e;

	strcpy(sa.sun_path, f->config.path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 4), 0);
	open_old(f, CHARDEV_NULL);
	f->config.kind = CHARDEV_UNIX;
	f->config.retry_ms = 1000;
	given.later = true;
	assert_int_equal(open_new(f, &given, &e), 0);
	run(f);
	assert_int_equal(accept4(fd, NULL, NULL, SOCK_CLOEXEC), -1);
	chardev_release(f->new.chr);
	run(f);
	peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(peer >= 0);
	assert_string_equal(f->new.connections, "+");
	close(peer);
	close(fd);
}

static void other_files_at_the_path_stay(void **state)
{
	struct fixture *f = *state;
	struct chardev_given given;
	struct stat st;
	struct err e;

	open_server(f);
	get_given(f, &given);
	given.file_ino++;
	assert_int_equal(open_new(f, &given, &e), 0);
	chardev_close(f->new.chr);
	f->new.chr = NULL;
	assert_int_equal(stat(f->config.path, &st), 0);
}

static void what_does_not_listen_is_refused_and_closed(void **state)
{
	struct fixture *f = *state;
	struct chardev_given given;
	struct stat st;
	struct err e;
	int fds[2];

	open_server(f);
	get_given(f, &given);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	close(given.listen_fd);
	given.listen_fd = fds[0];
	given.peer_fd = fds[1];
	assert_true(open_new(f, &given, &e) < 0);
	assert_true(strlen(e.msg) > 10);
	assert_null(f->new.chr);
	/* The file is that of somebody who does listen. */
	assert_int_equal(stat(f->config.path, &st), 0);
}

static void kind_without_use_for_descriptors_closes_them(void **state)
{
	struct fixture *f = *state;
	struct chardev_given given;
	struct err e;

	open_server(f);
	close(dial(f));
	get_given(f, &given);
	f->config.kind = CHARDEV_NULL;
	assert_int_equal(open_new(f, &given, &e), 0);
	assert_int_equal(given.listen_fd, -1);
	assert_int_equal(given.peer_fd, -1);
}

static void connection_that_was_made_is_not_made_again(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;

	strcpy(sa.sun_path, f->config.path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 4), 0);
	f->config.reconnect_ms = 1;
	open_old(f, CHARDEV_UNIX);
	peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(peer >= 0);
	go_on(f);
	chardev_release(f->new.chr);
	assert_int_equal(chardev_write(f->new.chr, "abc", 3), 3);
	assert_reads(peer, "abc");
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(accept4(fd, NULL, NULL, SOCK_CLOEXEC), -1);
	assert_int_equal(errno, EAGAIN);
	/* What follows its end is as ever. */
	chardev_close(f->old.chr);
	f->old.chr = NULL;
	close(peer);
	for (int i = 0; i < 100 && (peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) < 0; i++)
		run(f);
	assert_true(peer >= 0);
	run(f);
	assert_string_equal(f->new.connections, "+-+");
	close(peer);
	close(fd);
}

static void file_goes_on_though_its_name_is_gone(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	open_old(f, CHARDEV_FILE);
	assert_int_equal(chardev_write(f->old.chr, "abc", 3), 3);
	assert_int_equal(unlink(f->config.path), 0);
	go_on(f);
	chardev_release(f->new.chr);
	assert_int_equal(chardev_write(f->new.chr, "def", 3), 3);
	assert_int_equal(stat(f->config.path, &st), -1);
}

static void pty_keeps_its_path_and_its_user(void **state)
{
	struct fixture *f = *state;
	const char *path;
	char buf[8];
	int fd;

	open_old(f, CHARDEV_PTY);
	path = chardev_name(f->old.chr) + strlen("pty:");
	fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (int i = 0; i < 100 && !f->old.connections[0]; i++)
		run(f);
	go_on(f);
	assert_string_equal(chardev_name(f->new.chr), chardev_name(f->old.chr));
	assert_string_equal(f->new.connections, "+");
	chardev_release(f->new.chr);
	assert_int_equal(chardev_write(f->new.chr, "abc", 3), 3);
	assert_int_equal(read(fd, buf, sizeof(buf)), 3);
	assert_int_equal(write(fd, "def", 3), 3);
	run(f);
	assert_int_equal(f->new.nr_got, 3);
	close(fd);
}

static void program_is_looked_into_as_exec_would_find_it(void **state)
{
	struct fixture *f = *state;
	const char *path = f->config.path;
	char name[96];
	FILE *file;

	/* Not in this program in one piece. */
	snprintf(name, sizeof(name), "%s%d", "text that stands in no ", 1234567);
	assert_true(process_program_has("/proc/self/exe", "text that stands in no "));
	assert_false(process_program_has("/proc/self/exe", name));
	assert_true(process_program_has("sh", "ELF"));
	assert_false(process_program_has("no-such-program-anywhere", "ELF"));
	assert_false(process_program_has("/", "x"));
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(process_program_has(path, "x"));
	unlink(path);
	file = fopen(path, "w");
	fclose(file);
	assert_false(process_program_has(path, "x"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(held_server_takes_and_says_nothing_until_released),
		TEST(client_in_the_queue_is_the_next_images),
		TEST(server_file_is_removed_by_the_last_image),
		TEST(server_file_stays_where_a_held_device_fails),
		TEST(a_client_that_comes_later_misses_nothing),
		TEST(a_connection_that_does_not_come_is_made),
		TEST(other_files_at_the_path_stay),
		TEST(what_does_not_listen_is_refused_and_closed),
		TEST(kind_without_use_for_descriptors_closes_them),
		TEST(connection_that_was_made_is_not_made_again),
		TEST(file_goes_on_though_its_name_is_gone),
		TEST(pty_keeps_its_path_and_its_user),
		TEST(program_is_looked_into_as_exec_would_find_it),
	};

	return cmocka_run_group_tests_name("chardev_given", tests, NULL, NULL);
}
