/* SPDX-License-Identifier: MIT */
/* A second program image in this process, and the threads' change from one to the other. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/graft.h"
#include "host/graft_switch.h"
#include "host/image.h"
#include "host/maps.h"
#include "host/process.h"
#include "host/raw_call.h"

#define GRAFT_MAGIC UINT64_C(0x7466617267746142) /* "Batgraft" */
#define PAGE        UINT64_C(4096)

enum {
	/* How soon the end of a child is noticed that says nothing. */
	CHILD_POLL_NS = 1000000,
	/* A thread that arrives wakes nobody; sleeping lets it run, whatever our priority is. */
	ARRIVAL_POLL_NS = 100000,
	STATE_ROOM = 64 << 10,
	MAX_RANGES = 8192,
	MAX_FDS = 4096,
	MAPS_TEXT = 1 << 20,
	CRASH_STATUS = 128, /* and the signal's number, as a shell says it */
	KERNEL_SIGSET_BYTES = 8,
	KERNEL_SA_RESTORER = 0x04000000,
	STABLE_TRIES = 16,
	SPIN_NS = 200000,
};

/* What the child begins with. */
struct start {
	struct image image;
	long parent;
};

/*
 * What the old image remembers of an attempt. In memory of its own, so that looking at what is
 * mapped does not change it.
 */
struct record {
	struct map_range before[MAX_RANGES]; /* mapped before the attempt */
	struct map_range added[MAX_RANGES];  /* by the new image          */
	int fds_before[MAX_FDS], fds_added[MAX_FDS];
	struct map_list maps, added_maps;
	struct fd_list fds, added_fds;
	struct proc_lists proc;
	bool added_known;
	bool stopped; /* the child was taken off */
	struct start start;
	char text[MAPS_TEXT];
};

static struct record *record_of(const struct graft *g)
{
	return (struct record *)(uintptr_t)g->record;
}

static struct graft_context *context(const struct graft *g, unsigned int index)
{
	return (struct graft_context *)(uintptr_t)g->contexts + index;
}

/* The note that this program can be grafted. A sanitizer's memory is in one place only. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define STRING_OF(x)  #x
#define STRING_OF_(x) STRING_OF(x)
__asm__(".pushsection " IMAGE_NOTE_SECTION ", \"a\", @note\n"
	".balign 4\n"
	".long 6, 8, " STRING_OF_(
		IMAGE_NOTE_TYPE) "\n"
				 ".asciz \"" IMAGE_NOTE_OWNER "\"\n"
				 ".balign 4\n"
				 ".long " STRING_OF_(GRAFT_VERSION) ", " STRING_OF_(
					 GRAFT_OLDEST) "\n"
						       ".popsection\n");
#endif

static int futex_wait(const uint32_t *word, uint32_t value, uint64_t ns)
{
	const struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000),
				     .tv_nsec = (long)(ns % 1000000000) };

	return (int)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, ns ? &ts : NULL, NULL, 0);
}

static void futex_wake(const uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store_and_wake(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	futex_wake(word);
}

static int check_note(int fd, const char *program, struct err *e)
{
	struct image_note note;
	int r = image_read_note(fd, program, &note, e);

	if (r)
		return r;
	if (note.oldest > GRAFT_VERSION || note.version < GRAFT_OLDEST)
		return err_set(e, EPROTONOSUPPORT,
			       "'%s' speaks versions %u to %u of the contract between images, this "
			       "one speaks %d: update by cpr-exec or cpr-transfer",
			       program, note.oldest, note.version, GRAFT_VERSION);
	return 0;
}

int graft_check(const char *program, struct err *e)
{
	AUTO_CLOSE int fd = image_open(program, e);
	int r = fd < 0 ? fd : check_note(fd, program, e);

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	if (!r)
		r = err_set(e, ENOTSUP,
			    "this program was built with a sanitizer, whose memory "
			    "cannot be shared with another image");
#endif
	return r ? r : graft_switch_check(e);
}

/*
 * The break is one for the process, but each C library believes it to be its own. So none of
 * them moves it: a page behind it stops it from growing, and it never shrinks. They take
 * their memory by mmap() then.
 */
static int hold_break(struct map_range *guard, struct err *e)
{
	uint64_t at = align_up((uint64_t)syscall(SYS_brk, 0), PAGE);
	void *p;

	mallopt(M_TRIM_THRESHOLD, -1);
	p = mmap((void *)at, PAGE, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (p == MAP_FAILED && errno != EEXIST)
		return err_set_errno(e, "cannot stop the heap from growing");
	*guard = (struct map_range){ .start = at, .end = at + PAGE };
	return 0;
}

/* Reads until nothing changes, as long as the C library makes itself at home. */
static int read_maps(struct record *rec, struct map_list *l, struct map_list *scratch,
		     struct err *e)
{
	int r = map_list_read(l, &rec->proc, rec->text, sizeof(rec->text), e);

	for (int i = 0; !r && i < STABLE_TRIES; i++) {
		r = map_list_read(scratch, &rec->proc, rec->text, sizeof(rec->text), e);
		if (!r && map_list_equal(l, scratch))
			return 0;
		memcpy(l->ranges, scratch->ranges, scratch->nr * sizeof(l->ranges[0]));
		l->nr = scratch->nr;
	}
	return r ? r : err_set(e, EAGAIN, "the memory of this process changes without pause");
}

static int create_record(struct record **out, struct err *e)
{
	struct record *rec = mmap(NULL, sizeof(*rec), PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (rec == MAP_FAILED)
		return err_set_errno(e, "no memory for a graft");
	rec->maps = (struct map_list){ .ranges = rec->before, .cap = MAX_RANGES };
	rec->added_maps = (struct map_list){ .ranges = rec->added, .cap = MAX_RANGES };
	rec->fds = (struct fd_list){ .fds = rec->fds_before, .cap = MAX_FDS };
	rec->added_fds = (struct fd_list){ .fds = rec->fds_added, .cap = MAX_FDS };
	rec->proc.maps = rec->proc.fds = -1;
	*out = rec;
	return 0;
}

static void destroy_record(struct record *rec)
{
	proc_lists_close(&rec->proc);
	munmap(rec, sizeof(*rec));
}

/* Parts of the contract's memory are given out from here. */
struct room {
	uint64_t at;
};

static void put(struct room *room, struct graft_bytes *b, const void *p, size_t len, size_t cap)
{
	b->data = room->at;
	b->len = len;
	b->cap = cap;
	if (len)
		memcpy((void *)room->at, p, len);
	room->at = align_up(room->at + cap, 64);
}

static uint64_t contract_bytes(const struct graft_config *c, const struct record *rec)
{
	uint64_t n = sizeof(struct graft) + c->nr_contexts * sizeof(struct graft_context) +
		     c->cpr_state_len + c->machine_len + 3 * c->rehearsal_len + STATE_ROOM +
		     (rec->maps.nr + GRAFT_MAX_KEPT + 1) * sizeof(struct map_range) +
		     rec->fds.nr * sizeof(int);

	return align_up(n + 16 * 64, PAGE);
}

/* What nobody needs once the old image is left: all its memory but what is kept. */
static int list_leftovers(struct graft *g, struct room *room, const struct map_range *guard,
			  const struct record *rec, struct err *e)
{
	size_t cap = rec->maps.nr + GRAFT_MAX_KEPT + 1;
	struct map_list l;
	int r;

	put(room, &g->leftover_maps, rec->maps.ranges, rec->maps.nr * sizeof(struct map_range),
	    cap * sizeof(struct map_range));
	l = (struct map_list){ .ranges = (struct map_range *)(uintptr_t)g->leftover_maps.data,
			       .nr = rec->maps.nr,
			       .cap = cap };
	r = map_list_remove(&l, guard->start, guard->end, e);
	for (unsigned int i = 0; !r && i < g->nr_kept; i++)
		r = map_list_remove(&l, g->kept[i].start,
				    g->kept[i].start + align_up(g->kept[i].size, PAGE), e);
	g->leftover_maps.len = l.nr * sizeof(struct map_range);
	return r;
}

/* Descriptors that exec would close; the program's is handed over. */
static int list_leftover_fds(struct graft *g, struct room *room, const struct record *rec,
			     struct err *e)
{
	struct fd_list l = { .fds = (int *)(uintptr_t)room->at, .cap = rec->fds.nr };
	const struct fd_list program = { .fds = &g->program, .nr = 1 };
	int r = fd_list_read(&l, &rec->proc, true, e);

	if (r)
		return r;
	fd_list_subtract(&l, &program);
	g->leftover_fds = (struct graft_bytes){ .data = room->at, .len = l.nr * sizeof(int) };
	room->at = align_up(room->at + rec->fds.nr * sizeof(int), 64);
	return 0;
}

static int create_contract(struct graft **out, const struct graft_config *c, struct record *rec,
			   const struct map_range *guard, int program, struct err *e)
{
	uint64_t size = contract_bytes(c, rec);
	struct room room;
	struct graft *g;
	int r;

	if (c->nr_kept > GRAFT_MAX_KEPT)
		return err_set(e, E2BIG, "more than %d blocks of memory to keep", GRAFT_MAX_KEPT);
	g = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (g == MAP_FAILED)
		return err_set_errno(e, "no memory for a graft");
	g->magic = GRAFT_MAGIC;
	g->version = GRAFT_VERSION;
	g->size = size;
	g->program = program;
	g->nr_contexts = c->nr_contexts;
	g->nr_kept = c->nr_kept;
	g->spin = c->spin;
	g->record = (uintptr_t)rec;
	memcpy(g->kept, c->kept, c->nr_kept * sizeof(g->kept[0]));
	room.at = align_up((uintptr_t)(g + 1), 64);
	g->contexts = room.at;
	room.at = align_up(room.at + c->nr_contexts * sizeof(struct graft_context), 64);
	put(&room, &g->cpr_state, c->cpr_state, c->cpr_state_len, c->cpr_state_len);
	put(&room, &g->machine, c->machine, c->machine_len, c->machine_len);
	put(&room, &g->rehearsal, c->rehearsal, c->rehearsal_len, c->rehearsal_len);
	put(&room, &g->state, NULL, 0, 2 * c->rehearsal_len + STATE_ROOM);
	r = list_leftovers(g, &room, guard, rec, e);
	if (!r)
		r = list_leftover_fds(g, &room, rec, e);
	if (r)
		munmap(g, size);
	else
		*out = g;
	return r;
}

/* A crash ends the child without a core dump, which would be one of the guest's process. */
IN_CHILD static void on_crash(int sig)
{
	raw_call(SYS_exit_group, CRASH_STATUS + sig, 0, 0, 0);
}

/*
 * Where the handler cannot run, as without a stack, the kernel makes no core dump either: at 1 none
 * is written, and none is piped to a program, which 0 would allow.
 */
static const struct rlimit no_core = { .rlim_cur = 1, .rlim_max = 1 };

static const int crash_signals[] = PROCESS_CRASH_SIGNALS;

IN_CHILD static int child_main(void *arg)
{
	const struct start *s = arg;
	const uint64_t action[4] = { (uintptr_t)on_crash, KERNEL_SA_RESTORER, (uintptr_t)on_crash,
				     0 };

	raw_call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0);
	raw_call(SYS_prlimit64, 0, RLIMIT_CORE, (long)&no_core, 0);
	if (raw_call(SYS_getppid, 0, 0, 0, 0) != s->parent)
		raw_call(SYS_exit_group, 1, 0, 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(crash_signals); i++)
		raw_call(SYS_rt_sigaction, crash_signals[i], (long)action, 0, KERNEL_SIGSET_BYTES);
	__asm__ volatile("movq %0, %%rsp\n"
			 "xorl %%ebp, %%ebp\n"
			 "xorl %%edx, %%edx\n"
			 "jmpq *%1\n"
			 :
			 : "r"(s->image.stack), "r"(s->image.entry)
			 : "memory", "rdx");
	__builtin_unreachable();
}

static int start_child(struct graft *g, const struct graft_config *c, struct err *e)
{
	struct start *s = &record_of(g)->start;
	char variable[64];
	pid_t pid;
	int r;

	snprintf(variable, sizeof(variable), GRAFT_VARIABLE "=%#llx",
		 (unsigned long long)(uintptr_t)g);
	r = image_load(g->program, c->command, variable, &s->image, e);
	if (r)
		return r;
	g->strings[0] = s->image.args;
	g->strings[1] = g->strings[2] = s->image.args_end;
	g->strings[3] = s->image.env_end;
	g->auxv = s->image.auxv;
	g->auxv_len = s->image.auxv_bytes;
	g->handler = (uintptr_t)on_crash;
	s->parent = getpid();
	/* Without a signal at its end, which is not the business of who waits for children. */
	pid = clone(child_main, (void *)s->image.stack, CLONE_VM | CLONE_FILES | CLONE_FS, s);
	if (pid < 0)
		return err_set_errno(e, "cannot start the new image");
	g->child = pid;
	return 0;
}

/* Everything since the start is the new image's: the old one waited. */
static int find_added(struct record *rec, struct err *e)
{
	int r = map_list_read(&rec->added_maps, &rec->proc, rec->text, sizeof(rec->text), e);

	if (!r)
		r = map_list_subtract(&rec->added_maps, &rec->maps, e);
	if (!r)
		r = fd_list_read(&rec->added_fds, &rec->proc, false, e);
	if (!r)
		fd_list_subtract(&rec->added_fds, &rec->fds);
	rec->added_known = !r;
	return r;
}

/* Takes away what an attempt has left; the contract goes with it. */
static void clean_up(struct record *rec, int program)
{
	struct err e;
	int r = rec->added_known ? 0 : find_added(rec, &e);

	if (r)
		log_error("the new image's memory and descriptors stay: %s", e.msg);
	for (size_t i = 0; !r && i < rec->added_fds.nr; i++)
		close(rec->added_fds.fds[i]);
	close(program);
	if (!r)
		map_ranges_unmap(rec->added_maps.ranges, rec->added_maps.nr);
	destroy_record(rec);
}

int graft_start(struct graft **out, const struct graft_config *c, struct err *e)
{
	AUTO_CLOSE int program = image_open(c->command[0], e);
	struct graft *g = NULL;
	struct map_range guard = { 0 };
	struct record *rec = NULL;
	int r = program;

	if (r >= 0)
		r = check_note(program, c->command[0], e);
	if (!r)
		r = graft_switch_check(e);
	if (!r)
		r = hold_break(&guard, e);
	if (!r)
		r = create_record(&rec, e);
	if (r)
		return r;
	r = proc_lists_open(&rec->proc, e);
	if (!r)
		r = fd_list_read(&rec->fds, &rec->proc, false, e);
	if (!r)
		r = read_maps(rec, &rec->maps, &rec->added_maps, e);
	if (r) {
		destroy_record(rec);
		return r;
	}
	r = create_contract(&g, c, rec, &guard, program, e);
	if (!r)
		r = start_child(g, c, e);
	if (r) {
		clean_up(rec, take_fd(&program));
		return err_prefix(e, "the new image cannot be loaded");
	}
	take_fd(&program);
	*out = g;
	return 0;
}

/* Whether the child has ended; then @e says how. */
static bool child_ended(struct graft *g, struct err *e)
{
	struct record *rec = record_of(g);
	int status;

	if (!rec->stopped && waitpid(g->child, &status, WNOHANG | __WALL) != g->child)
		return false;
	rec->stopped = true;
	if (WIFSIGNALED(status))
		err_set(e, ECHILD, "the new image was ended by signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) > CRASH_STATUS)
		err_set(e, ECHILD, "the new image crashed with signal %d (%s)",
			WEXITSTATUS(status) - CRASH_STATUS,
			strsignal(WEXITSTATUS(status) - CRASH_STATUS));
	else
		err_set(e, ECHILD, "the new image ended with exit status %d before it was ready",
			WEXITSTATUS(status));
	return true;
}

/* Gave up or ended; a child that says why ends right after that. */
static int look_at_child(struct graft *g, struct err *e)
{
	if (load(&g->progress) == GRAFT_FAILED)
		return err_set(e, ECONNREFUSED, "the new image refuses: %.*s",
			       (int)sizeof(g->error) - 1, g->error);
	if (!child_ended(g, e))
		return 0;
	if (load(&g->progress) == GRAFT_FAILED)
		return err_set(e, ECONNREFUSED, "the new image refuses: %.*s",
			       (int)sizeof(g->error) - 1, g->error);
	return -e->code;
}

/* Until the next look at the child, or the deadline; 0: that has passed. */
static uint64_t wait_ns(uint64_t deadline_ns)
{
	uint64_t now = clock_boottime_ns();

	return deadline_ns > now ? MIN(deadline_ns - now, (uint64_t)CHILD_POLL_NS) : 0;
}

/*
 * The child goes on when this thread begins to wait for it: on the same processor that is a
 * mere switch, on another one that has to be woken first.
 */
static void bring_near(pid_t child)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned int)cpu, &set);
	sched_setaffinity(child, sizeof(set), &set);
}

int graft_wait_ready(struct graft *g, uint64_t deadline_ns, struct err *e)
{
	uint64_t ns;
	int r;

	for (;;) {
		uint32_t progress = load(&g->progress);

		if (progress == GRAFT_READY) {
			bring_near(g->child);
			return find_added(record_of(g), e);
		}
		r = look_at_child(g, e);
		if (r)
			return r;
		ns = wait_ns(deadline_ns);
		if (!ns)
			return err_set(e, ETIMEDOUT, "the new image was not ready in time");
		futex_wait(&g->progress, progress, ns);
	}
}

int graft_offer(struct graft *g, const void *state, size_t n, struct err *e)
{
	if (n > g->state.cap)
		return err_set(e, E2BIG,
			       "the state has grown to %zu bytes since the start of the "
			       "update",
			       n);
	memcpy((void *)(uintptr_t)g->state.data, state, n);
	g->state.len = n;
	store_and_wake(&g->offered, 1);
	return 0;
}

bool graft_take_back(struct graft *g)
{
	uint32_t open = GRAFT_OPEN;

	if (__atomic_compare_exchange_n(&g->verdict, &open, GRAFT_OLD, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		futex_wake(&g->verdict);
	return load(&g->verdict) == GRAFT_OLD;
}

bool graft_wait_taken(struct graft *g, uint64_t deadline_ns, struct err *e)
{
	for (;;) {
		uint64_t ns = wait_ns(deadline_ns);

		if (load(&g->verdict) != GRAFT_OPEN)
			return load(&g->verdict) == GRAFT_NEW;
		if (!ns)
			err_set(e, ETIMEDOUT,
				"the new image did not take the guest over within the downtime "
				"limit");
		if (!ns || look_at_child(g, e))
			return !graft_take_back(g);
		futex_wait(&g->verdict, GRAFT_OPEN, ns);
	}
}

void graft_roll_back(struct graft *g)
{
	struct record *rec = record_of(g);

	graft_take_back(g);
	if (!rec->stopped) {
		kill(g->child, SIGKILL);
		while (waitpid(g->child, NULL, __WALL) < 0 && errno == EINTR)
			;
	}
	clean_up(rec, g->program);
}

void graft_wait_verdict(struct graft *g, unsigned int index)
{
	uint64_t limit = clock_boottime_ns() + SPIN_NS;
	struct graft_place own;

	graft_switch_prepare_in(context(g, index), &own);

	while (g->spin && load(&g->verdict) == GRAFT_OPEN && clock_boottime_ns() < limit)
		__builtin_ia32_pause();
	while (load(&g->verdict) == GRAFT_OPEN)
		futex_wait(&g->verdict, GRAFT_OPEN, 0);
	if (load(&g->verdict) == GRAFT_NEW)
		graft_switch_in(context(g, index));
	graft_switch_cancel_in(&own);
}

void graft_enter_main(struct graft *g)
{
	struct graft_place own;

	graft_switch_prepare_in(context(g, 0), &own);
	graft_switch_in(context(g, 0));
}

/*
 * Whether all of a contract can be read at @g. The kernel looks: an address that somebody has made
 * up must not crash us, and some of what is mapped cannot be read, as parts of [vvar].
 */
static bool is_readable(const struct graft *g)
{
	int fds[2];
	bool ok;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return false;
	ok = write(fds[1], g, sizeof(*g)) == sizeof(*g);
	close(fds[0]);
	close(fds[1]);
	return ok;
}

struct graft *graft_inherit(struct err *e)
{
	const char *text = getenv(GRAFT_VARIABLE);
	struct graft *g;

	e->code = 0;
	if (!text)
		return NULL;
	g = (struct graft *)(uintptr_t)strtoull(text, NULL, 0);
	unsetenv(GRAFT_VARIABLE);
	if (!g || (uintptr_t)g % PAGE || !is_readable(g) || g->magic != GRAFT_MAGIC) {
		err_set(e, EINVAL, "%s is set, but there is no image to take over from",
			GRAFT_VARIABLE);
		return NULL;
	}
	if (g->version < GRAFT_OLDEST) {
		err_set(e, EPROTONOSUPPORT,
			"the old image speaks version %u of the contract, "
			"this one %d to %d",
			g->version, GRAFT_OLDEST, GRAFT_VERSION);
		return NULL;
	}
	return g;
}

void graft_fail(struct graft *g, const char *why)
{
	snprintf(g->error, sizeof(g->error), "%s", why);
	store_and_wake(&g->progress, GRAFT_FAILED);
	/* Also who waits for the verdict looks at it now. */
	futex_wake(&g->verdict);
	raw_call(SYS_exit_group, 1, 0, 0, 0);
	__builtin_unreachable();
}

void graft_leave(struct graft *g, unsigned int index)
{
	struct graft_context *c = context(g, index);
	struct err e;

	if (index >= g->nr_contexts)
		err_set(&e, EINVAL, "the old image has no thread for context %u", index);
	if (index >= g->nr_contexts || graft_switch_prepare_out(c, &e))
		graft_fail(g, e.msg);
	graft_switch_out(c, NULL);
}

void graft_wait_left(struct graft *g)
{
	for (unsigned int i = 1; i < g->nr_contexts; i++)
		while (!load(&context(g, i)->left))
			futex_wait(&context(g, i)->left, 0, 0);
}

/* What the C library and the program want of signals is the process's from now on. */
static void note_actions(struct graft *g)
{
	for (int sig = 1; sig <= GRAFT_SIGNALS; sig++)
		syscall(SYS_rt_sigaction, sig, NULL, g->actions[sig - 1], KERNEL_SIGSET_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(crash_signals); i++)
		if (g->actions[crash_signals[i] - 1][0] == g->handler)
			memset(g->actions[crash_signals[i] - 1], 0, sizeof(g->actions[0]));
}

void graft_wait_offer(struct graft *g)
{
	struct err e;

	note_actions(g);
	if (graft_switch_prepare_out(context(g, 0), &e))
		graft_fail(g, e.msg);
	store_and_wake(&g->progress, GRAFT_READY);
	while (!load(&g->offered))
		futex_wait(&g->offered, 0, 0);
}

static void set_actions(const struct graft *g)
{
	for (int sig = 1; sig <= GRAFT_SIGNALS; sig++)
		syscall(SYS_rt_sigaction, sig, g->actions[sig - 1], NULL, KERNEL_SIGSET_BYTES);
}

void graft_commit(struct graft *g)
{
	graft_switch_out(context(g, 0), &g->verdict);
	set_actions(g);
}

/* As execve() names the process. */
static void name_process(const struct graft *g)
{
	const char *path = (const char *)(uintptr_t)g->strings[0], *slash = strrchr(path, '/');

	prctl(PR_SET_NAME, slash ? slash + 1 : path);
}

/* For /proc, and so for debuggers and profilers; where it is not permitted, they need help. */
static void tell_kernel(const struct graft *g)
{
	char stat[1024], *p;
	unsigned long long v[53] = { 0 };
	struct prctl_mm_map map;
	FILE *f = fopen("/proc/self/stat", "re");
	size_t n = f ? fread(stat, 1, sizeof(stat) - 1, f) : 0;

	if (f)
		fclose(f);
	stat[n] = '\0';
	p = strrchr(stat, ')');
	/* Fields are counted from 1; the name is the second. */
	for (int i = 3; p && i <= 52; i++) {
		p = strchr(p + 1, ' ');
		if (p)
			v[i] = strtoull(p, NULL, 10);
	}
	if (!p)
		return;
	map = (struct prctl_mm_map){
		.start_code = v[26],
		.end_code = v[27],
		.start_data = v[45],
		.end_data = v[46],
		.start_brk = v[47],
		.brk = (uint64_t)syscall(SYS_brk, 0),
		.start_stack = v[28],
		.arg_start = g->strings[0],
		.arg_end = g->strings[1],
		.env_start = g->strings[2],
		.env_end = g->strings[3],
		.auxv = (void *)(uintptr_t)g->auxv,
		.auxv_size = (uint32_t)g->auxv_len,
		.exe_fd = (uint32_t)g->program,
	};
	if (!prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0))
		return;
	/* Another program needs CAP_CHECKPOINT_RESTORE, the rest no privilege. */
	map.exe_fd = (uint32_t)-1;
	prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);
}

void graft_finish(struct graft *g)
{
	const int *fds = graft_data(&g->leftover_fds);
	const struct map_range *maps = graft_data(&g->leftover_maps);

	/* Nobody may be in the old image when it goes. */
	for (unsigned int i = 0; i < g->nr_contexts; i++)
		while (!load(&context(g, i)->arrived))
			futex_wait(&context(g, i)->arrived, 0, ARRIVAL_POLL_NS);
	while (waitpid(g->child, NULL, __WALL) < 0 && errno == EINTR)
		;
	for (size_t i = 0; i < g->leftover_fds.len / sizeof(int); i++)
		close(fds[i]);
	map_ranges_unmap(maps, g->leftover_maps.len / sizeof(struct map_range));
	name_process(g);
	tell_kernel(g);
}

void graft_close(struct graft *g)
{
	if (g)
		munmap(g, g->size);
}

void *graft_find_kept(const struct graft *g, const char *name, uint64_t size)
{
	for (unsigned int i = 0; i < g->nr_kept; i++)
		if (!strcmp(g->kept[i].name, name) && g->kept[i].size == size)
			return (void *)(uintptr_t)g->kept[i].start;
	return NULL;
}
