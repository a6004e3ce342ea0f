/* SPDX-License-Identifier: MIT */
/* Names of hosts: numbers, names, names that do not exist, a name server that does not answer. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/resolve.h"

static void numbers_need_no_look_up(void **state)
{
	struct addrinfo *list;
	struct sockaddr_in *sa;
	struct err e;

	(void)state;
	/* No time at all is enough for them. */
	assert_int_equal(resolve_inet("192.0.2.7", "4444", false, 0, &list, &e), 0);
	sa = (struct sockaddr_in *)list->ai_addr;
	assert_int_equal(sa->sin_family, AF_INET);
	assert_int_equal(ntohl(sa->sin_addr.s_addr), 0xc0000207);
	assert_int_equal(ntohs(sa->sin_port), 4444);
	freeaddrinfo(list);
	assert_int_equal(resolve_inet("2001:db8::1", "1", false, 0, &list, &e), 0);
	assert_int_equal(list->ai_family, AF_INET6);
	freeaddrinfo(list);
	assert_int_equal(resolve_inet("", "1", true, 0, &list, &e), 0);
	freeaddrinfo(list);
}

static void names_are_looked_up(void **state)
{
	struct addrinfo *list;
	struct err e;

	(void)state;
	assert_int_equal(resolve_inet("localhost", "1", false, 30000, &list, &e), 0);
	assert_int_equal(list->ai_socktype, SOCK_STREAM);
	freeaddrinfo(list);
}

static void what_is_no_port_is_refused(void **state)
{
	struct addrinfo *list = NULL;
	struct err e;

	(void)state;
	assert_int_equal(resolve_inet("localhost", "no port", false, 30000, &list, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "address resolution failed for localhost:no port: "));
	assert_null(list);
}

/* A name server for this process alone, which takes questions and never answers. */
static int silent_name_server(void)
{
	const struct sockaddr_in sa = {
		.sin_family = AF_INET,
		.sin_port = htons(53),
		.sin_addr.s_addr = htonl(0x7f636363),
	};
	static const char text[] = "nameserver 127.99.99.99\n";
	char path[] = "/tmp/baton-unit-XXXXXX";
	AUTO_CLOSE int fd = -1, file = -1;
	int r;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	file = mkstemp(path);
	if (fd < 0 || file < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) ||
	    write(file, text, sizeof(text) - 1) < 0)
		return -1;
	r = unshare(CLONE_NEWNS);
	if (!r)
		r = mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (!r)
		r = mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL);
	unlink(path);
	return r ? -1 : take_fd(&fd);
}

static void a_name_server_that_does_not_answer_is_not_waited_for(void **state)
{
	AUTO_CLOSE int server = silent_name_server();
	struct addrinfo *list = NULL;
	char question[512];
	struct err e;

	(void)state;
	if (server < 0) {
		print_message("SKIPPED: NO RIGHT TO SET UP A NAME SERVER OF OUR OWN\n");
		skip();
	}
	assert_int_equal(resolve_inet("host.example", "1", false, 100, &list, &e), -ETIMEDOUT);
	assert_string_equal(e.msg,
			    "address resolution failed for host.example:1: no answer within 0.1 s");
	assert_null(list);
	/* It was asked, and the thread still waits; that thread frees what it has. */
	assert_true(recv(server, question, sizeof(question), 0) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_need_no_look_up),
		cmocka_unit_test(names_are_looked_up),
		cmocka_unit_test(what_is_no_port_is_refused),
		cmocka_unit_test(a_name_server_that_does_not_answer_is_not_waited_for),
	};

	return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
