/* SPDX-License-Identifier: MIT */
/* Trace points: lines in a log and USDT probes at the places that matter. */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

/*
 * DOC: theory of operation
 *
 * base/trace_events.h has one row per event. Each row makes a function
 * trace_NAME() with typed arguments. It holds a USDT probe (provider `baton`), a
 * no-op that bpftrace, perf or SystemTap can find in the program and turn on, and
 * a line of the log that is written if the event is enabled. Disabled, a point
 * costs that no-op, one load and one branch that is predicted; arguments must be
 * at hand, so a caller computes nothing for the trace.
 *
 * What is enabled is asked at points everywhere, on every thread, also where no
 * object of the machine is at hand. So it is the one mutable object of the whole
 * program, and tools/check-laws lets no second one pass.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/sdt.h>

enum trace_id {
#define EVENT(name, format, ...) TRACE_##name,
#include "base/trace_events.h"
#undef EVENT
	TRACE_COUNT
};

/* Set by main() before there is a second thread, but for @on. */
struct trace_control {
	uint8_t on[TRACE_COUNT]; /* [a] by enum trace_id                                     */
	bool plain_events;       /* [c] lines without process id and time                    */
	bool stamp_messages;     /* [c] messages of base/log.h with the time before them     */
	int fd;                  /* [c] where lines go: standard error, or a file; not owned */
};

extern struct trace_control trace_control;

/* NULL from TRACE_COUNT on. */
const char *trace_name(unsigned int id);
bool trace_get(unsigned int id);

/* `*` stands for any characters, `?` for one; all others for themselves. */
bool trace_glob(const char *pattern, const char *name);
/* Whether @text has one of these two characters, so that it may match nothing. */
bool trace_is_pattern(const char *text);

/* Enables or disables all events that match. Returns how many did. Any thread. */
unsigned int trace_set(const char *pattern, bool on);

/*
 * Writes one line, `PID@SECONDS.MICROSECONDS:NAME ARGUMENTS`, with a single write(2).
 * For trace_NAME() only. Control characters become dots, long lines are cut; a line that
 * cannot be written is lost. errno is kept.
 */
void trace_write(enum trace_id id, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), cold, noinline));

static inline bool trace_is_on(enum trace_id id)
{
	return __builtin_expect(__atomic_load_n(&trace_control.on[id], __ATOMIC_RELAXED), 0);
}

/* clang-format off */

/* How many pairs of type and name a row has, and what becomes of them. */
#define TRACE_PAIRS_(z, a, b, c, d, e, f, g, h, i, j, k, l, n, ...) n
#define TRACE_PAIRS(...) TRACE_PAIRS_(0, ##__VA_ARGS__, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0)
#define TRACE_JOIN_(a, b) a##b
#define TRACE_JOIN(a, b)  TRACE_JOIN_(a, b)

#define TRACE_PARAMS_0()          void
#define TRACE_PARAMS_1(t, a)      t a
#define TRACE_PARAMS_2(t, a, ...) t a, TRACE_PARAMS_1(__VA_ARGS__)
#define TRACE_PARAMS_3(t, a, ...) t a, TRACE_PARAMS_2(__VA_ARGS__)
#define TRACE_PARAMS_4(t, a, ...) t a, TRACE_PARAMS_3(__VA_ARGS__)
#define TRACE_PARAMS_5(t, a, ...) t a, TRACE_PARAMS_4(__VA_ARGS__)
#define TRACE_PARAMS_6(t, a, ...) t a, TRACE_PARAMS_5(__VA_ARGS__)
#define TRACE_VALUES_0()
#define TRACE_VALUES_1(t, a)      , a
#define TRACE_VALUES_2(t, a, ...) , a TRACE_VALUES_1(__VA_ARGS__)
#define TRACE_VALUES_3(t, a, ...) , a TRACE_VALUES_2(__VA_ARGS__)
#define TRACE_VALUES_4(t, a, ...) , a TRACE_VALUES_3(__VA_ARGS__)
#define TRACE_VALUES_5(t, a, ...) , a TRACE_VALUES_4(__VA_ARGS__)
#define TRACE_VALUES_6(t, a, ...) , a TRACE_VALUES_5(__VA_ARGS__)
#define TRACE_PROBE_0(...)        STAP_PROBE(__VA_ARGS__)
#define TRACE_PROBE_1(...)        STAP_PROBE1(__VA_ARGS__)
#define TRACE_PROBE_2(...)        STAP_PROBE2(__VA_ARGS__)
#define TRACE_PROBE_3(...)        STAP_PROBE3(__VA_ARGS__)
#define TRACE_PROBE_4(...)        STAP_PROBE4(__VA_ARGS__)
#define TRACE_PROBE_5(...)        STAP_PROBE5(__VA_ARGS__)
#define TRACE_PROBE_6(...)        STAP_PROBE6(__VA_ARGS__)
#define TRACE_PARAMS(...)         TRACE_JOIN(TRACE_PARAMS_, TRACE_PAIRS(__VA_ARGS__))(__VA_ARGS__)
#define TRACE_VALUES(...)         TRACE_JOIN(TRACE_VALUES_, TRACE_PAIRS(__VA_ARGS__))(__VA_ARGS__)
#define TRACE_PROBE(name, ...) \
	TRACE_JOIN(TRACE_PROBE_, TRACE_PAIRS(__VA_ARGS__))(baton, name TRACE_VALUES(__VA_ARGS__))

/* clang-format on */

#define EVENT(name, format, ...)                                                         \
	static inline void trace_##name(TRACE_PARAMS(__VA_ARGS__))                       \
	{                                                                                \
		TRACE_PROBE(name, ##__VA_ARGS__);                                        \
		if (trace_is_on(TRACE_##name))                                           \
			trace_write(TRACE_##name, " " format TRACE_VALUES(__VA_ARGS__)); \
	}
#include "base/trace_events.h"
#undef EVENT

#endif
