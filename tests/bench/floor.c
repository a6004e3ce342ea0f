/* SPDX-License-Identifier: MIT */
/* The floor: what the parts of a hand-over cost with KVM and Linux alone, nothing of Baton. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "floor_vm.h"

/*
 * DOC: theory of operation
 *
 * First the parts, each by itself. Then whole hand-overs, of which the guest itself tells how
 * long it was away: it samples the TSC without pause. A vCPU is stopped by a signal; the
 * thread that it runs on passes it on and waits. Who stops it sleeps meanwhile, so that
 * two processors are enough for guest and successor.
 */

enum {
	MAX_RESULTS = 64,
	MAX_ROUNDS = 100000,
	DEFAULT_ROUNDS = 1000,
	PART_LIMIT_MS = 3000, /* slow parts get fewer rounds, which the table shows */
	MIN_ROUNDS = 11,
	REST_US = 500, /* between two hand-overs, for the guest to run */
	GIVE_UP_MS = 5000,
};

struct result {
	char name[96];
	double median, low, p99; /* microseconds */
	unsigned int rounds;
};

struct bench {
	unsigned int rounds;
	struct result results[MAX_RESULTS];
	unsigned int nr;
	double *samples; /* of the part at hand, microseconds */
	unsigned int nr_samples;
	char *program;
};

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void add_result(struct bench *b, const char *name, double *samples, unsigned int n)
{
	struct result *r = &b->results[b->nr++];

	qsort(samples, n, sizeof(*samples), compare);
	snprintf(r->name, sizeof(r->name), "%s", name);
	r->rounds = n;
	r->low = samples[0];
	r->median = samples[n / 2];
	r->p99 = samples[(n - 1) * 99 / 100];
}

static void sample(struct bench *b, double us)
{
	if (b->nr_samples < MAX_ROUNDS)
		b->samples[b->nr_samples++] = us;
}

/* Calls @once, which returns microseconds, until there are enough rounds. */
static void measure(struct bench *b, const char *name, double (*once)(void *arg), void *arg)
{
	double end = now_us() + PART_LIMIT_MS * 1e3;

	b->nr_samples = 0;
	once(arg);
	while (b->nr_samples < b->rounds && (b->nr_samples < MIN_ROUNDS || now_us() < end))
		sample(b, once(arg));
	add_result(b, name, b->samples, b->nr_samples);
}

static void *map_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	floor_need(p != MAP_FAILED, "memory");
	return p;
}

/* Parts: the state of a vCPU, and a round trip. */

struct state_part {
	struct floor_vm vm;
	struct floor_state state;
};

static double get_once(void *arg)
{
	struct state_part *p = arg;
	double start = now_us();

	floor_get(&p->vm, &p->state);
	return now_us() - start;
}

static double set_once(void *arg)
{
	struct state_part *p = arg;
	double start = now_us();

	floor_set(&p->vm, &p->state);
	return now_us() - start;
}

static double port_once(void *arg)
{
	struct state_part *p = arg;
	double start;

	p->vm.page->command = 1;
	start = now_us();
	while (floor_run(&p->vm))
		;
	return now_us() - start;
}

static void measure_vcpu(struct bench *b)
{
	struct state_part *p = calloc(1, sizeof(*p));
	uint8_t *ram = map_shared(FLOOR_RAM_BYTES);

	floor_need(p != NULL, "memory");
	floor_write_guest(ram);
	floor_vm_create(&p->vm, ram);
	floor_start(&p->vm);
	measure(b, "KVM_RUN round trip with a port exit", port_once, p);
	measure(b, "GET all state of a vCPU", get_once, p);
	measure(b, "SET all state of a vCPU", set_once, p);
	floor_vm_destroy(&p->vm);
	munmap(ram, FLOOR_RAM_BYTES);
	free(p);
}

/* Parts: building and closing a VM. */

struct build {
	int kvm, vm, vcpu;
	double create_vm, irqchip, vcpu_us, close_us;
	void *memory;
	uint64_t bytes;
};

static double build_vm(void *arg)
{
	struct build *p = arg;
	double t[6];

	t[0] = now_us();
	p->vm = floor_new_vm(p->kvm);
	t[1] = now_us();
	floor_new_irqchip(p->vm);
	t[2] = now_us();
	p->vcpu = floor_new_vcpu(p->vm);
	t[3] = now_us();
	close(p->vcpu);
	t[4] = now_us();
	close(p->vm);
	t[5] = now_us();
	p->create_vm = t[1] - t[0];
	p->irqchip = t[2] - t[1];
	p->vcpu_us = t[3] - t[2];
	p->close_us = t[5] - t[4];
	return 0;
}

static double create_vm_once(void *arg)
{
	build_vm(arg);
	return ((struct build *)arg)->create_vm;
}

static double irqchip_once(void *arg)
{
	build_vm(arg);
	return ((struct build *)arg)->irqchip;
}

static double vcpu_once(void *arg)
{
	build_vm(arg);
	return ((struct build *)arg)->vcpu_us;
}

static double close_once(void *arg)
{
	build_vm(arg);
	return ((struct build *)arg)->close_us;
}

static double slot_once(void *arg)
{
	struct build *p = arg;
	int vm = floor_new_vm(p->kvm);
	double start = now_us(), us;

	floor_set_slot(vm, 0, 0, p->memory, p->bytes);
	us = now_us() - start;
	close(vm);
	return us;
}

static double slot_after_irqchip_once(void *arg)
{
	struct build *p = arg;
	int vm = floor_new_vm(p->kvm);
	double start, us;

	floor_new_irqchip(vm);
	start = now_us();
	floor_set_slot(vm, 0, 0, p->memory, p->bytes);
	us = now_us() - start;
	close(vm);
	return us;
}

static void measure_build(struct bench *b)
{
	static const struct {
		uint64_t bytes;
		const char *name;
	} sizes[] = {
		{ UINT64_C(256) << 20, "memslot of 256 MiB" },
		{ UINT64_C(1) << 30, "memslot of 1 GiB" },
		{ UINT64_C(8) << 30, "memslot of 8 GiB" },
	};
	struct build p = { .kvm = floor_open() };

	measure(b, "KVM_CREATE_VM", create_vm_once, &p);
	measure(b, "KVM_CREATE_IRQCHIP", irqchip_once, &p);
	measure(b, "KVM_CREATE_VCPU", vcpu_once, &p);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		p.bytes = sizes[i].bytes;
		p.memory = map_shared(p.bytes);
		measure(b, sizes[i].name, slot_once, &p);
		if (!i)
			measure(b, "the first memslot right after KVM_CREATE_IRQCHIP, 256 MiB",
				slot_after_irqchip_once, &p);
		munmap(p.memory, p.bytes);
	}
	measure(b, "closing an empty VM", close_once, &p);
	close(p.kvm);
}

/* Parts: from thread to thread. */

struct hop {
	int kind; /* 0 futex, 1 eventfd, 2 pipe */
	sem_t sem[2];
	int read_end[2], write_end[2];
	bool end;
};

static void hop_post(struct hop *h, int side)
{
	uint64_t one = 1;

	if (!h->kind)
		sem_post(&h->sem[side]);
	else
		floor_need(write(h->write_end[side], &one, sizeof(one)) == sizeof(one), "a hop");
}

static void hop_wait(struct hop *h, int side)
{
	uint64_t n;

	if (!h->kind)
		while (sem_wait(&h->sem[side]))
			;
	else
		floor_need(read(h->read_end[side], &n, sizeof(n)) == sizeof(n), "a hop");
}

static void *hop_peer(void *arg)
{
	struct hop *h = arg;

	for (;;) {
		hop_wait(h, 1);
		if (__atomic_load_n(&h->end, __ATOMIC_ACQUIRE))
			return NULL;
		hop_post(h, 0);
	}
}

static double hop_once(void *arg)
{
	struct hop *h = arg;
	double start = now_us();

	hop_post(h, 1);
	hop_wait(h, 0);
	return (now_us() - start) / 2;
}

static void hop_open(struct hop *h, int side)
{
	int ends[2];

	if (h->kind == 1) {
		h->read_end[side] = h->write_end[side] = eventfd(0, EFD_CLOEXEC);
		floor_need(h->read_end[side] >= 0, "eventfd");
	} else if (h->kind == 2) {
		floor_need(!pipe(ends), "pipe");
		h->read_end[side] = ends[0];
		h->write_end[side] = ends[1];
	}
}

static void measure_hops(struct bench *b)
{
	static const char *const names[] = {
		"hop from thread to thread by futex",
		"hop from thread to thread by eventfd",
		"hop from thread to thread by pipe",
	};

	for (int kind = 0; kind < 3; kind++) {
		struct hop h = { .kind = kind };
		pthread_t peer;

		for (int side = 0; side < 2; side++) {
			sem_init(&h.sem[side], 0, 0);
			hop_open(&h, side);
		}
		floor_need(!pthread_create(&peer, NULL, hop_peer, &h), "a thread");
		measure(b, names[kind], hop_once, &h);
		__atomic_store_n(&h.end, true, __ATOMIC_RELEASE);
		hop_post(&h, 1);
		pthread_join(peer, NULL);
		for (int side = 0; kind && side < 2; side++) {
			close(h.read_end[side]);
			if (kind == 2)
				close(h.write_end[side]);
		}
	}
}

static double spawn_once(void *arg)
{
	char *argv[] = { arg, "--nothing", NULL };
	double start = now_us();
	pid_t pid = vfork();
	int status;

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	floor_need(pid > 0 && waitpid(pid, &status, 0) == pid, "vfork");
	floor_need(status == 0, "exec of this program");
	return now_us() - start;
}

/* Whole hand-overs. */

enum floor_kind {
	SAME_THREAD,  /* stopped, and run again                               */
	OTHER_THREAD, /* another thread runs the same vCPU, as in a graft      */
	OTHER_PROCESS /* state to another VM in another process, as in a transfer */
};

/* Shared by all who take part; times in microseconds of CLOCK_MONOTONIC. */
struct relay {
	enum floor_kind kind;
	pid_t pid[2], tid[2]; /* of the threads that run the vCPU */
	uint32_t owner;       /* [a] who has the guest */
	uint32_t switches;    /* [a] hand-overs that are complete */
	bool end;             /* [a] */
	double kicked, out, got, received, set;
	sem_t go[2]; /* in one process */
	int sock[2]; /* between two */
};

struct side {
	struct relay *relay;
	uint32_t index;
	struct floor_vm vm;
	struct floor_state state;
};

/* What the handler may touch: the vCPU of this process. */
static struct kvm_run *volatile kicked_run;

static void on_kick(int sig)
{
	(void)sig;
	/* A kick that comes before KVM_RUN is not lost. */
	kicked_run->immediate_exit = 1;
}

static bool at_end(const struct relay *r)
{
	return __atomic_load_n(&r->end, __ATOMIC_ACQUIRE);
}

static void run_until_kicked(struct side *s)
{
	while (!floor_run(&s->vm))
		;
	s->relay->out = now_us();
	s->vm.run->immediate_exit = 0;
}

static void take_over(struct side *s)
{
	struct relay *r = s->relay;

	__atomic_store_n(&r->owner, s->index, __ATOMIC_RELEASE);
	__atomic_fetch_add(&r->switches, 1, __ATOMIC_RELEASE);
}

static void run_in_one_process(struct side *s)
{
	struct relay *r = s->relay;

	for (;;) {
		if (r->kind == OTHER_THREAD)
			while (sem_wait(&r->go[s->index]))
				;
		if (at_end(r))
			return;
		take_over(s);
		run_until_kicked(s);
		if (r->kind == OTHER_THREAD)
			sem_post(&r->go[!s->index]);
	}
}

static void send_all(int fd, const void *p, size_t n)
{
	floor_need(send(fd, p, n, MSG_NOSIGNAL) == (ssize_t)n, "a message");
}

static bool receive_all(int fd, void *p, size_t n)
{
	ssize_t got;

	do {
		got = recv(fd, p, n, MSG_WAITALL);
	} while (got < 0 && errno == EINTR);
	return got == (ssize_t)n;
}

/* State over, answer back. */
static void run_between_processes(struct side *s)
{
	struct relay *r = s->relay;
	int fd = r->sock[s->index];
	bool have = s->index == 0;
	char ack = 1;

	if (have)
		take_over(s);
	for (;;) {
		if (have) {
			run_until_kicked(s);
			if (at_end(r))
				return;
			floor_get(&s->vm, &s->state);
			r->got = now_us();
			send_all(fd, &s->state, floor_state_bytes(&s->vm));
			if (!receive_all(fd, &ack, sizeof(ack)))
				return;
		}
		if (!receive_all(fd, &s->state, floor_state_bytes(&s->vm)))
			return;
		r->received = now_us();
		floor_set(&s->vm, &s->state);
		r->set = now_us();
		send_all(fd, &ack, sizeof(ack));
		take_over(s);
		have = true;
	}
}

static void *side_main(void *arg)
{
	struct side *s = arg;
	struct relay *r = s->relay;
	struct sigaction kick = { .sa_handler = on_kick };

	sigaction(SIGUSR1, &kick, NULL);
	r->pid[s->index] = getpid();
	__atomic_store_n(&r->tid[s->index], (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	if (r->kind == OTHER_PROCESS)
		run_between_processes(s);
	else
		run_in_one_process(s);
	return NULL;
}

static void rest(void)
{
	const struct timespec t = { .tv_nsec = REST_US * 1000 };

	nanosleep(&t, NULL);
}

/* Waits until the guest has taken some samples more. */
static void wait_samples(const volatile struct floor_page *page)
{
	uint64_t count = page->count;
	double end = now_us() + GIVE_UP_MS * 1e3;

	while (page->count < count + 16) {
		floor_need(now_us() < end, "the guest does not run");
		rest();
	}
}

struct handover {
	struct relay *relay;
	const volatile struct floor_page *page;
	double ticks_per_us;
	double *parts[5]; /* stop, get, message, set, answer: samples; or NULL */
};

static void kick(struct relay *r)
{
	uint32_t owner = __atomic_load_n(&r->owner, __ATOMIC_ACQUIRE);

	syscall(SYS_tgkill, r->pid[owner], r->tid[owner], SIGUSR1);
}

/* One hand-over; returns how long the guest was away by its own clock. */
static double hand_over(const struct handover *h)
{
	struct relay *r = h->relay;
	volatile struct floor_page *page = (volatile struct floor_page *)h->page;
	uint32_t before = __atomic_load_n(&r->switches, __ATOMIC_ACQUIRE);
	double end = now_us() + GIVE_UP_MS * 1e3;

	wait_samples(page);
	page->gap = 0;
	wait_samples(page);
	page->gap = 0;
	r->kicked = now_us();
	kick(r);
	do {
		rest();
		floor_need(now_us() < end, "the hand-over does not end");
	} while (__atomic_load_n(&r->switches, __ATOMIC_ACQUIRE) == before);
	wait_samples(page);
	return (double)page->gap / h->ticks_per_us;
}

static void hand_over_often(struct bench *b, const struct handover *h, const char *name)
{
	static const char *const part_names[] = {
		"  of it: stopping the vCPU (signal until it is out)",
		"  of it: GET all state",
		"  of it: the message",
		"  of it: SET all state",
	};
	const struct relay *r = h->relay;
	double *parts[4];
	unsigned int nr_parts = r->kind == OTHER_PROCESS ? 4 : 1;

	for (int i = 0; i < 4; i++) {
		parts[i] = calloc(b->rounds, sizeof(double));
		floor_need(parts[i] != NULL, "memory");
	}
	b->nr_samples = 0;
	for (unsigned int i = 0; i < b->rounds; i++) {
		sample(b, hand_over(h));
		parts[0][i] = r->out - r->kicked;
		parts[1][i] = r->got - r->out;
		parts[2][i] = r->received - r->got;
		parts[3][i] = r->set - r->received;
	}
	add_result(b, name, b->samples, b->nr_samples);
	for (unsigned int i = 0; i < nr_parts; i++)
		add_result(b, part_names[i], parts[i], b->rounds);
	for (int i = 0; i < 4; i++)
		free(parts[i]);
}

/* The other process of OTHER_PROCESS. */
static pid_t start_peer(struct side *s, uint8_t *ram)
{
	pid_t pid = fork();

	floor_need(pid >= 0, "fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(s->relay->sock[0]);
	floor_vm_create(&s->vm, ram);
	kicked_run = s->vm.run;
	side_main(s);
	_exit(0);
}

static struct relay *create_relay(enum floor_kind kind)
{
	struct relay *r = map_shared(sizeof(*r));

	*r = (struct relay){ .kind = kind, .sock = { -1, -1 } };
	for (int i = 0; i < 2; i++)
		sem_init(&r->go[i], 1, 0);
	if (kind == OTHER_PROCESS)
		floor_need(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r->sock),
			   "socketpair");
	return r;
}

/* Both threads are there. */
static void wait_for_sides(const struct relay *r)
{
	double end = now_us() + GIVE_UP_MS * 1e3;
	int nr = r->kind == SAME_THREAD ? 1 : 2;

	for (int i = 0; i < nr; i++)
		while (!__atomic_load_n(&r->tid[i], __ATOMIC_ACQUIRE)) {
			floor_need(now_us() < end, "a side does not start");
			rest();
		}
}

static void measure_handover(struct bench *b, enum floor_kind kind, const char *name)
{
	struct relay *r = create_relay(kind);
	struct side *s = calloc(2, sizeof(*s));
	uint8_t *ram = map_shared(FLOOR_RAM_BYTES);
	struct handover h = { .relay = r };
	unsigned int nr = kind == OTHER_THREAD ? 2 : 1;
	pthread_t threads[2];
	pid_t peer = 0;

	floor_need(s != NULL, "memory");
	floor_write_guest(ram);
	for (uint32_t i = 0; i < 2; i++) {
		s[i].relay = r;
		s[i].index = i;
	}
	if (kind == OTHER_PROCESS)
		peer = start_peer(&s[1], ram);
	floor_vm_create(&s[0].vm, ram);
	s[1].vm = s[0].vm;
	kicked_run = s[0].vm.run;
	floor_start(&s[0].vm);
	h.page = s[0].vm.page;
	h.ticks_per_us = ioctl(s[0].vm.vcpu, KVM_GET_TSC_KHZ, 0) / 1e3;
	for (unsigned int i = 0; i < nr; i++)
		floor_need(!pthread_create(&threads[i], NULL, side_main, &s[i]), "a thread");
	wait_for_sides(r);
	sem_post(&r->go[0]);
	hand_over_often(b, &h, name);
	__atomic_store_n(&r->end, true, __ATOMIC_RELEASE);
	if (peer) {
		kill(peer, SIGKILL);
		waitpid(peer, NULL, 0);
		shutdown(r->sock[0], SHUT_RDWR);
		close(r->sock[1]);
	}
	kick(r);
	for (unsigned int i = 0; i < nr; i++) {
		sem_post(&r->go[i]);
		pthread_join(threads[i], NULL);
	}
	if (peer)
		close(r->sock[0]);
	floor_vm_destroy(&s[0].vm);
	munmap(ram, FLOOR_RAM_BYTES);
	munmap(r, sizeof(*r));
	free(s);
}

static void print_table(const struct bench *b, const struct utsname *host)
{
	printf("Kernel %s, %ld processors; microseconds\n\n", host->release,
	       sysconf(_SC_NPROCESSORS_ONLN));
	printf("%-62s %10s %10s %10s %7s\n", "", "median", "lowest", "p99", "rounds");
	for (unsigned int i = 0; i < b->nr; i++) {
		const struct result *r = &b->results[i];

		printf("%-62s %10.1f %10.1f %10.1f %7u\n", r->name, r->median, r->low, r->p99,
		       r->rounds);
	}
}

static void print_json(const struct bench *b, const struct utsname *host, const char *path)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "w") : stdout;

	floor_need(f != NULL, path);
	fprintf(f, "{\"kernel\": \"%s\", \"processors\": %ld, \"unit\": \"us\", \"parts\": [",
		host->release, sysconf(_SC_NPROCESSORS_ONLN));
	for (unsigned int i = 0; i < b->nr; i++) {
		const struct result *r = &b->results[i];
		const char *name = r->name + strspn(r->name, " ");

		fprintf(f,
			"%s\n {\"name\": \"%s\", \"part_of_previous\": %s, \"median\": %.3f, "
			"\"lowest\": %.3f, \"p99\": %.3f, \"rounds\": %u}",
			i ? "," : "", name, name > r->name ? "true" : "false", r->median, r->low,
			r->p99, r->rounds);
	}
	fprintf(f, "\n]}\n");
	floor_need(!fflush(f), path);
	if (f != stdout)
		fclose(f);
}

static int usage(int code)
{
	fprintf(code ? stderr : stdout,
		"Usage: floor [--rounds N] [--json FILE]\n"
		"Measures the parts of a hand-over with KVM alone. FILE may be - for the\n"
		"standard output, which then gets no table.\n");
	return code;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "json", required_argument, NULL, 'j' },
		{ "nothing", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct bench *b = calloc(1, sizeof(*b));
	const char *json = NULL;
	struct utsname host;
	int c;

	floor_need(b != NULL, "memory");
	b->rounds = DEFAULT_ROUNDS;
	b->program = "/proc/self/exe";
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 'r':
			b->rounds = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'j':
			json = optarg;
			break;
		case 'n':
			return 0;
		default:
			return usage(c == 'h' ? 0 : 2);
		}
	}
	if (optind < argc || b->rounds < MIN_ROUNDS || b->rounds > MAX_ROUNDS)
		return usage(2);
	b->samples = calloc(MAX_ROUNDS, sizeof(*b->samples));
	floor_need(b->samples != NULL && !uname(&host), "memory");
	measure_vcpu(b);
	measure_build(b);
	measure_hops(b);
	measure(b, "vfork and exec of a static program, and its end", spawn_once, b->program);
	measure_handover(b, SAME_THREAD, "pause: stopped, and run again by the same thread");
	measure_handover(b, OTHER_THREAD, "pause: run again by another thread, as in a graft");
	measure_handover(b, OTHER_PROCESS,
			 "pause: run by another process in another VM, as in a transfer");
	if (!json || strcmp(json, "-"))
		print_table(b, &host);
	if (json)
		print_json(b, &host, json);
	free(b->samples);
	free(b);
	return 0;
}
