/* SPDX-License-Identifier: MIT */
/* The host's side of the Debian guest's load: TCP connections, its virtio console, its agent. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "lab/console.h"
#include "lab/load.h"

enum {
	PIECE = 8192,
	PACE_US = 4000,
	LINE_EVERY_US = 50000,
	SHORT_BYTES = 40000,
	CONNECT_TRY_MS = 500,
	STEP_MS = 20,
};

static void fault(struct load *l, enum lab_check check, const char *what)
{
	verdict_fault(l->verdict, check, "%s", what);
}

static uint64_t value_of(const char *line, const char *key, int base)
{
	char pattern[32];
	const char *at;
	int n = snprintf(pattern, sizeof(pattern), " %s=", key);

	at = strstr(line, pattern);
	return at ? strtoull(at + n, NULL, base) : 0;
}

static void take_report(struct load *l, const char *line)
{
	struct load_report r = {
		.n = value_of(line, "n", 10),
		.written = value_of(line, "written", 10),
		.verified = value_of(line, "verified", 10),
		.rounds = value_of(line, "rounds", 10),
		.trims = value_of(line, "trims", 10),
		.bad = value_of(line, "bad", 10),
		.rx = value_of(line, "rx", 10),
		.tx = value_of(line, "tx", 10),
		.connections = value_of(line, "conns", 10),
		.lines_in = value_of(line, "lines_in", 10),
		.hot_disks = value_of(line, "hot_disks", 10),
		.hot = value_of(line, "hot", 10),
	};

	pthread_mutex_lock(&l->lock);
	if (r.n != l->report.n + 1)
		fault(l, CHECK_LINES, "a report of the guest is missing");
	l->report = r;
	pthread_mutex_unlock(&l->lock);
}

static void take_final(struct load *l, const char *line)
{
	pthread_mutex_lock(&l->lock);
	l->final = (struct load_final){
		.seen = true,
		.files = value_of(line, "files", 10),
		.bad = value_of(line, "bad", 10),
		.sum = value_of(line, "sum", 16),
		.rx = value_of(line, "rx", 10),
		.lines_in = value_of(line, "lines_in", 10),
	};
	pthread_mutex_unlock(&l->lock);
}

/* One whole line, newline included. */
static void take_line(struct load *l, const char *line)
{
	char want[STREAM_LINE_MAX];

	if (strncmp(line, "guestload: n=", 13) == 0) {
		take_report(l, line);
	} else if (strncmp(line, "guestload: final ", 17) == 0) {
		take_final(l, line);
	} else if (strncmp(line, "guestload: BAD: ", 16) == 0) {
		const char *text = line + 16;

		fault(l,
		      strncmp(text, "tcp:", 4) == 0     ? CHECK_TCP
		      : strncmp(text, "after line", 10) ? CHECK_FILES
							: CHECK_LINES,
		      text);
	} else {
		stream_line(want, l->lines + 1);
		if (strcmp(line, want) == 0)
			l->lines++;
		else if (!l->ending)
			verdict_fault(l->verdict, CHECK_LINES,
				      "after line %" PRIu64 " the console says: %.100s", l->lines,
				      line);
	}
}

static void *read_console(void *arg)
{
	struct load *l = arg;
	char buf[4096], line[1024];
	size_t len = 0;
	ssize_t n;

	while ((n = recv(l->console_fd, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			line[len++] = buf[i];
			if (buf[i] != '\n' && len < sizeof(line) - 1)
				continue;
			line[len] = '\0';
			len = 0;
			take_line(l, line);
		}
	}
	if (!l->ending)
		fault(l, CHECK_LINES, "the console's connection was closed");
	return NULL;
}

static bool send_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		if (n < 0)
			return false;
		buf += n;
		len -= (size_t)n;
	}
	return true;
}

static void *write_console(void *arg)
{
	struct load *l = arg;
	char line[STREAM_LINE_MAX];

	while (!l->lines_stop) {
		size_t len = stream_line(line, l->lines_out + 1);

		if (!send_all(l->console_fd, line, len)) {
			if (!l->ending)
				fault(l, CHECK_LINES, "cannot write to the console");
			return NULL;
		}
		l->lines_out++;
		usleep(LINE_EVERY_US);
	}
	return NULL;
}

static void *read_tcp(void *arg)
{
	struct load *l = arg;
	char buf[PIECE];
	uint64_t bad;
	ssize_t n;

	while ((n = recv(l->tcp_fd, buf, sizeof(buf), 0)) > 0) {
		if (!stream_check(buf, (size_t)n, l->hello.to_client, l->rx, &bad)) {
			verdict_fault(l->verdict, CHECK_TCP,
				      "byte %" PRIu64 " from the guest is wrong", bad);
			return NULL;
		}
		l->rx += (uint64_t)n;
	}
	if (n < 0)
		verdict_fault(l->verdict, CHECK_TCP, "the connection broke: %s", strerror(errno));
	else if (!l->tcp_stop)
		fault(l, CHECK_TCP, "the guest closed the connection");
	return NULL;
}

static void *write_tcp(void *arg)
{
	struct load *l = arg;
	char buf[PIECE];

	while (!l->tcp_stop) {
		size_t len = 1 + stream_word(l->tx, 5) % PIECE;

		stream_fill(buf, len, l->hello.to_server, l->tx);
		if (!send_all(l->tcp_fd, buf, len)) {
			verdict_fault(l->verdict, CHECK_TCP, "cannot send to the guest: %s",
				      strerror(errno));
			return NULL;
		}
		l->tx += len;
		usleep(PACE_US);
	}
	shutdown(l->tcp_fd, SHUT_WR);
	return NULL;
}

static int connect_unix(const char *path, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, ENAMETOOLONG, "socket path '%s' is too long", path);
	memcpy(sa.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_set_errno(e, "cannot connect to '%s'", path);
	return take_fd(&fd);
}

/* One try; the guest may not be there yet. */
static int connect_guest(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(LOAD_GUEST_PORT) };
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int error = 0;

	inet_pton(AF_INET, LOAD_GUEST_ADDRESS, &sa.sin_addr);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS)
		return -errno;
	if (poll(&p, 1, CONNECT_TRY_MS) != 1)
		return -ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error)
		return -error;
	/* Blocking from here on, for there is a thread for each direction. */
	fcntl(fd, F_SETFL, 0);
	return take_fd(&fd);
}

static struct stream_hello new_hello(void)
{
	uint64_t now = lab_now_ns();

	return (struct stream_hello){ stream_word(now, 1), stream_word(now, 2) };
}

int load_start(struct load *l, const char *console_path, const char *agent_path, struct err *e)
{
	l->console_fd = connect_unix(console_path, e);
	if (l->console_fd < 0)
		return l->console_fd;
	l->agent = (struct qmp){ .console = l->console };
	l->agent.fd = agent_path ? connect_unix(agent_path, e) : -1;
	if (agent_path && l->agent.fd < 0)
		return l->agent.fd;
	if (pthread_create(&l->console_reader, NULL, read_console, l))
		return err_set(e, EAGAIN, "cannot start a thread");
	l->console_runs = true;
	return 0;
}

struct load_report load_last_report(struct load *l)
{
	struct load_report r;

	pthread_mutex_lock(&l->lock);
	r = l->report;
	pthread_mutex_unlock(&l->lock);
	return r;
}

static int ask_agent(struct load *l, int timeout_ms, struct err *e)
{
	int r = l->agent.fd < 0 ? 0 : qmp_call(&l->agent, "guest-ping", NULL, timeout_ms, NULL, e);

	if (r < 0)
		verdict_fault(l->verdict, CHECK_AGENT, "%s", e->msg);
	return r < 0 ? err_prefix(e, "agent") : 0;
}

/* A new connection: some bytes each way, and a proper end. */
static int try_short(struct load *l, int fd, struct err *e)
{
	struct stream_hello hello = new_hello();
	const struct timeval limit = { .tv_sec = 60 };
	char buf[PIECE];
	uint64_t sent = 0, at = 0, bad;
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (!send_all(fd, (const char *)&hello, sizeof(hello)))
		return err_set_errno(e, "cannot send over a new connection");
	for (; sent < SHORT_BYTES; sent += sizeof(buf)) {
		stream_fill(buf, sizeof(buf), hello.to_server, sent);
		if (!send_all(fd, buf, sizeof(buf)))
			return err_set_errno(e, "cannot send over a new connection");
	}
	l->short_tx += sent;
	shutdown(fd, SHUT_WR);
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		if (!stream_check(buf, (size_t)n, hello.to_client, at, &bad))
			return err_set(e, EILSEQ, "byte %" PRIu64 " of a new connection is wrong",
				       bad);
		at += (uint64_t)n;
	}
	return n < 0 ? err_set_errno(e, "a new connection broke") : 0;
}

static int short_connection(struct load *l, int timeout_ms, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;
	AUTO_CLOSE int fd = -1;
	int r;

	while ((fd = connect_guest()) < 0) {
		if (lab_now_ns() > deadline)
			return err_set(e, -fd, "cannot connect to the guest: %s", strerror(-fd));
		console_wait(l->console, -1, STEP_MS);
	}
	r = try_short(l, fd, e);
	if (r < 0)
		verdict_fault(l->verdict, CHECK_TCP, "%s", e->msg);
	return r;
}

static int open_tcp(struct load *l, int timeout_ms, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;
	int r;

	while ((r = connect_guest()) < 0) {
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "cannot connect to %s: %s", LOAD_GUEST_ADDRESS,
				       strerror(-r));
		console_wait(l->console, -1, STEP_MS);
	}
	l->tcp_fd = r;
	l->hello = new_hello();
	if (!send_all(l->tcp_fd, (const char *)&l->hello, sizeof(l->hello)))
		return err_set_errno(e, "cannot send to the guest");
	if (pthread_create(&l->tcp_reader, NULL, read_tcp, l) ||
	    pthread_create(&l->tcp_writer, NULL, write_tcp, l))
		return err_set(e, EAGAIN, "cannot start a thread");
	l->tcp_runs = true;
	return 0;
}

int load_wait_ready(struct load *l, bool net, int timeout_ms, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;
	int r = 0;

	while (load_last_report(l).rounds == 0) {
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "the guest's load does not start");
		console_wait(l->console, -1, STEP_MS);
	}
	if (pthread_create(&l->console_writer, NULL, write_console, l))
		return err_set(e, EAGAIN, "cannot start a thread");
	l->lines_run = true;
	if (net)
		r = open_tcp(l, timeout_ms, e);
	if (r == 0)
		r = ask_agent(l, timeout_ms, e);
	return r < 0 ? r : load_wait_progress(l, timeout_ms, e);
}

/* What must go on; NULL if all has since then. */
static const char *standing_still(struct load *l, const struct load_report *was, uint64_t rx,
				  uint64_t tx, uint64_t lines)
{
	struct load_report now = load_last_report(l);

	if (l->lines == lines)
		return "no line comes from the console";
	if (now.lines_in == was->lines_in)
		return "no line reaches the guest";
	if (now.written == was->written)
		return "the guest writes no files";
	if (now.verified == was->verified)
		return "the guest verifies no files";
	if (!l->tcp_runs)
		return NULL;
	return now.rx == was->rx ? "the guest receives nothing"
	       : l->rx == rx     ? "nothing comes from the guest"
	       : l->tx == tx     ? "nothing can be sent to the guest"
				 : NULL;
}

int load_wait_progress(struct load *l, int timeout_ms, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;
	struct load_report was = load_last_report(l);
	uint64_t rx = l->rx, tx = l->tx, lines = l->lines;
	const char *what;
	int r = ask_agent(l, timeout_ms, e);

	if (r == 0 && l->tcp_runs)
		r = short_connection(l, timeout_ms, e);
	if (r < 0)
		return r;
	while ((what = standing_still(l, &was, rx, tx, lines))) {
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "%s", what);
		console_wait(l->console, -1, STEP_MS);
	}
	return 0;
}

int load_wait_hot(struct load *l, uint64_t disks, int timeout_ms, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;
	struct load_report r = load_last_report(l);
	uint64_t blocks = r.hot;

	for (;;) {
		r = load_last_report(l);
		if (r.hot_disks >= disks && r.hot > blocks)
			return 0;
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "the guest does not use the new disk");
		console_wait(l->console, -1, STEP_MS);
	}
}

/* Both ends say how much they had; what was sent must have come, and in order it came. */
static void judge_totals(struct load *l)
{
	struct load_final f = l->final;

	if (f.rx != l->tx + l->short_tx)
		verdict_fault(l->verdict, CHECK_TCP,
			      "%" PRIu64 " bytes were sent, %" PRIu64 " came", l->tx + l->short_tx,
			      f.rx);
	if (f.lines_in != l->lines_out)
		verdict_fault(l->verdict, CHECK_LINES,
			      "%" PRIu64 " lines were written to the console, %" PRIu64 " came",
			      l->lines_out, f.lines_in);
	if (f.bad)
		verdict_fault(l->verdict, CHECK_FILES, "the guest counted %" PRIu64 " faults",
			      f.bad);
	if (!f.files)
		fault(l, CHECK_FILES, "the guest has written no file");
}

static void end_sending(struct load *l)
{
	l->tcp_stop = true;
	if (l->tcp_runs) {
		pthread_join(l->tcp_writer, NULL);
		pthread_join(l->tcp_reader, NULL);
	}
	l->tcp_runs = false;
	l->lines_stop = true;
	if (l->lines_run)
		pthread_join(l->console_writer, NULL);
	l->lines_run = false;
}

int load_finish(struct load *l, int timeout_ms, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;

	end_sending(l);
	if (!send_all(l->console_fd, "stop\n", 5))
		return err_set_errno(e, "cannot write to the guest's console");
	for (;;) {
		bool seen;

		pthread_mutex_lock(&l->lock);
		seen = l->final.seen;
		pthread_mutex_unlock(&l->lock);
		if (seen)
			break;
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "the guest's load does not end");
		console_wait(l->console, -1, STEP_MS);
	}
	l->ending = true;
	judge_totals(l);
	return 0;
}

int load_shut_down(struct load *l, int timeout_ms, struct err *e)
{
	/* The agent's own command wants a logind, which a small system lacks. */
	json_t *args = json_pack("{s:s, s:[s]}", "path", "/bin/systemctl", "arg", "poweroff");

	if (l->agent.fd >= 0)
		return qmp_call(&l->agent, "guest-exec", args, timeout_ms, NULL, e);
	json_decref(args);
	if (!send_all(l->console_fd, "poweroff\n", 9))
		return err_set_errno(e, "cannot tell the guest to shut down");
	return 0;
}

void load_close(struct load *l)
{
	l->ending = true;
	if (l->tcp_fd >= 0)
		shutdown(l->tcp_fd, SHUT_RDWR);
	if (l->console_fd >= 0)
		shutdown(l->console_fd, SHUT_RDWR);
	end_sending(l);
	if (l->console_runs)
		pthread_join(l->console_reader, NULL);
	l->console_runs = false;
	close_fd(&l->tcp_fd);
	close_fd(&l->console_fd);
	qmp_close(&l->agent);
}
