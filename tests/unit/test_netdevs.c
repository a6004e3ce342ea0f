/* SPDX-License-Identifier: MIT */
/* Network back ends that come from the image before: what is taken over, and what is refused. */
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
#include "ctl/netdevs.h"
#include "machine/device.h"
#include "machine/vm.h"
#include "update/wire.h"

struct side {
	struct vm vm;
	struct netdevs all;
	struct cpr_state came;
};

static void begin(struct side *s, const char *config)
{
	struct err e;

	memset(s, 0, sizeof(*s));
	list_init(&s->vm.devices);
	list_init(&s->vm.backends);
	list_init(&s->vm.observers);
	pthread_mutex_init(&s->vm.lock, NULL);
	pthread_mutex_lock(&s->vm.lock);
	assert_int_equal(loop_create(&s->vm.loop, &s->vm.lock, &e), 0);
	netdevs_init(&s->all);
	cpr_state_init(&s->came);
	s->came.config = config ? strdup(config) : NULL;
}

static void end(struct side *s, bool moved)
{
	vm_destroy_devices(&s->vm);
	netdevs_close(&s->all, moved);
	cpr_state_fini(&s->came);
	json_decref((json_t *)s->vm.removed);
	loop_destroy(s->vm.loop);
	pthread_mutex_unlock(&s->vm.lock);
	pthread_mutex_destroy(&s->vm.lock);
}

#define ENTRY                                                                                                        \
	"{\"options\":{\"type\":\"stream\",\"id\":\"n0\",\"addr.type\":\"unix\",\"addr.path\":\"/x\"},\"queues\":1," \
	"\"link\":true}"

static void damaged_lists_are_refused(void **state)
{
	static const char *const bad[] = {
		"{\"netdevs\":7}",
		"{\"netdevs\":[]}",
		"{\"netdevs\":{}}",
		"{\"netdevs\":{\"list\":{},\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[],\"removed\":{}}}",
		"{\"netdevs\":{\"list\":[],\"removed\":[7]}}",
		"{\"netdevs\":{\"list\":[],\"removed\":[null]}}",
		"{\"netdevs\":{\"list\":[7],\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[{}],\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[{\"queues\":1}],\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[{\"queues\":1,\"options\":7}],\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[{\"queues\":1,\"options\":{\"type\":\"stream\"}}],\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[{\"queues\":1,\"options\":{\"type\":\"user\",\"id\":\"n0\"}}],\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[{\"queues\":1,\"options\":{\"type\":\"passt\",\"id\":\"n0\",\"mtu\":7}}],\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[{\"queues\":0,\"options\":{\"type\":\"passt\",\"id\":\"n0\"}}],\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[{\"queues\":17,\"options\":{\"type\":\"passt\",\"id\":\"n0\"}}],\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[{\"queues\":\"1\",\"options\":{\"type\":\"passt\",\"id\":\"n0\"}}],\"removed\":[]}}",
		"{\"netdevs\":{\"list\":[{\"queues\":1,\"file\":[1],\"options\":{\"type\":\"passt\",\"id\":\"n0\"}}],\"removed\":[]}}",
		/* A tap cannot be without its descriptor. */
		"{\"netdevs\":{\"list\":[{\"queues\":1,\"options\":{\"type\":\"tap\",\"id\":\"n0\"}}],\"removed\":[]}}",
	};
	struct side s;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		begin(&s, bad[i]);
		e.msg[0] = '\0';
		if (!netdevs_open(&s.all, &s.vm, NULL, 0, &s.came, &e))
			fail_msg("%s was taken", bad[i]);
		assert_true(e.msg[0]);
		end(&s, true);
	}
}

static void another_kind_or_another_descriptor_is_refused(void **state)
{
	static const char *const here[] = { "tap,id=n0,ifname=tap0", "passt,id=n0" };
	struct side s;
	struct err e;
	int ends[2];

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		begin(&s, "{\"netdevs\":{\"list\":[" ENTRY "],\"removed\":[]}}");
		assert_true(netdevs_open(&s.all, &s.vm, here + i, 1, &s.came, &e) < 0);
		assert_non_null(strstr(e.msg, "in the old process"));
		end(&s, true);
	}
	/* What is said to be a tap is a socket, and what is said to be a socket is a file. */
	begin(&s,
	      "{\"netdevs\":{\"list\":[{\"queues\":1,\"options\":{\"type\":\"tap\",\"id\":\"n0\"}}],\"removed\":[]}}");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(cpr_state_add_fd(&s.came, "netdevs:queue", 0, ends[0], &e), 0);
	assert_true(netdevs_open(&s.all, &s.vm, NULL, 0, &s.came, &e) < 0);
	assert_non_null(strstr(e.msg, "is no tap"));
	end(&s, true);
	close(ends[1]);
	begin(&s, "{\"netdevs\":{\"list\":[" ENTRY "],\"removed\":[]}}");
	assert_int_equal(
		cpr_state_add_fd(&s.came, "netdevs:queue", 0, open("/dev/null", O_RDWR), &e), 0);
	assert_true(netdevs_open(&s.all, &s.vm, NULL, 0, &s.came, &e) < 0);
	end(&s, true);
}

static void a_connection_is_taken_over_and_not_made_again(void **state)
{
	const char *const text = "stream,id=n0,addr.type=unix,addr.path=/nonexistent";
	struct net_given g;
	struct backend *b;
	struct side s;
	struct err e;
	int ends[2];

	(void)state;
	for (unsigned int named = 0; named < 2; named++) {
		begin(&s, "{\"netdevs\":{\"list\":[" ENTRY "],\"removed\":[\"n1\"]}}");
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
		assert_int_equal(cpr_state_add_fd(&s.came, "netdevs:queue", 0, ends[0], &e), 0);
		if (netdevs_open(&s.all, &s.vm, &text, named, &s.came, &e))
			fail_msg("%s", e.msg);
		b = backend_find(&s.vm, BACKEND_NET, "n0");
		assert_non_null(b);
		net_give(b->object, &g);
		/* The old image needs its own, should it go on. */
		assert_true(g.fds[0] >= 0 && g.fds[0] != ends[0]);
		assert_int_equal(netdevs_remove(&s.all, "n0", &e), 0);
		end(&s, true);
		close(ends[1]);
	}
}

static void what_a_monitor_removed_is_not_opened(void **state)
{
	const char *const text = "stream,id=n1,addr.type=unix,addr.path=/nonexistent";
	struct side s;
	struct err e;

	(void)state;
	begin(&s, "{\"netdevs\":{\"list\":[],\"removed\":[\"n1\"]}}");
	assert_int_equal(netdevs_open(&s.all, &s.vm, &text, 1, &s.came, &e), 0);
	assert_null(backend_find(&s.vm, BACKEND_NET, "n1"));
	end(&s, true);
	begin(&s, NULL);
	assert_true(netdevs_open(&s.all, &s.vm, &text, 1, NULL, &e) < 0);
	end(&s, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damaged_lists_are_refused),
		cmocka_unit_test(another_kind_or_another_descriptor_is_refused),
		cmocka_unit_test(a_connection_is_taken_over_and_not_made_again),
		cmocka_unit_test(what_a_monitor_removed_is_not_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
