/* SPDX-License-Identifier: MIT */
/* One baton process that drive started, and its QMP connection. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "lab/console.h"
#include "lab/tap.h"
#include "lab/vmm.h"

/* A variable in the environment of each baton, so that none is overlooked. */
#define MARK "BATON_LAB_DRIVE"

static void add(struct vmm_args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct vmm_args *a, const char *fmt, ...)
{
	va_list ap;

	if (a->n >= VMM_ARGS_MAX - 1)
		return;
	va_start(ap, fmt);
	if (vasprintf(&a->v[a->n], fmt, ap) >= 0)
		a->v[++a->n] = NULL;
	va_end(ap);
}

void vmm_port_path(char path[VMM_PATH_MAX], const struct vmm_config *c, const char *port)
{
	snprintf(path, VMM_PATH_MAX, "%.*s/%s", VMM_PATH_MAX - 12, c->dir, port);
}

static void add_port(struct vmm_args *a, const struct vmm_config *c, const char *port,
		     const char *device)
{
	char path[VMM_PATH_MAX];

	vmm_port_path(path, c, port);
	add(a, "-chardev");
	add(a, "socket,id=%s,path=%s,server=on,wait=off", port, path);
	add(a, "-device");
	add(a, "%s,chardev=%s", device, port);
}

static void add_devices(struct vmm_args *a, const struct vmm_config *c)
{
	char path[VMM_PATH_MAX];

	if (c->disk) {
		add(a, "-drive");
		add(a, "file=%s,format=raw,if=none,id=disk0%s", c->disk, c->disk_options);
		add(a, "-device");
		add(a, "virtio-blk-pci,drive=disk0,serial=lab");
	}
	if (c->net) {
		add(a, "-netdev");
		add(a, "tap,id=net0,ifname=%s,script=no,downscript=no", TAP_NAME);
		add(a, "-device");
		add(a, "virtio-net-pci,netdev=net0,mac=52:54:00:4c:61:62");
	}
	if (c->serial) {
		add(a, "-device");
		add(a, "virtio-serial-pci");
		add_port(a, c, "console", "virtconsole");
		add_port(a, c, "agent", "virtserialport,name=org.qemu.guest_agent.0");
	}
	/* Without a virtio console, its place is taken by the second serial port. */
	if (c->disk && !c->serial) {
		vmm_port_path(path, c, "console");
		add(a, "-serial");
		add(a, "unix:%s,server=on,wait=off", path);
	}
	if (c->port) {
		add(a, "-device");
		add(a, "pcie-root-port,id=port0,chassis=1,slot=1");
	}
	if (c->rng) {
		add(a, "-device");
		add(a, "virtio-rng-pci");
	}
}

int vmm_args_build(struct vmm_args *a, const struct vmm_config *c, const char *program,
		   const char *qmp_path, const char *incoming, const char *cpr, struct err *e)
{
	*a = (struct vmm_args){ .n = 0 };
	add(a, "%s", program);
	add(a, "-name");
	add(a, "lab");
	add(a, "-m");
	add(a, "%s", c->memory);
	add(a, "-object");
	if (c->ram_path[0])
		add(a, "memory-backend-file,id=ram0,size=%s,share=on,mem-path=%s", c->memory,
		    c->ram_path);
	else
		add(a, "memory-backend-memfd,id=ram0,size=%s", c->memory);
	add(a, "-machine");
	add(a, "memory-backend=ram0,aux-ram-share=on");
	add(a, "-smp");
	add(a, "%d", c->smp);
	add(a, "-cpu");
	add(a, "host");
	if (c->bios) {
		add(a, "-bios");
		add(a, "%s", c->bios);
	} else {
		add(a, "-kernel");
		add(a, "%s", c->kernel);
		add(a, "-initrd");
		add(a, "%s", c->initrd);
		add(a, "-append");
		add(a, "%s", c->append);
	}
	add(a, "-nodefaults");
	add(a, "-display");
	add(a, "none");
	add(a, "-monitor");
	add(a, "none");
	add(a, "-serial");
	add(a, "stdio");
	add(a, "-qmp");
	add(a, "unix:%s,server=on,wait=off", qmp_path);
	add_devices(a, c);
	if (incoming) {
		add(a, "-incoming");
		add(a, "%s", incoming);
	}
	if (cpr) {
		add(a, "-incoming");
		add(a,
		    "{\"channel-type\":\"cpr\",\"addr\":{\"transport\":\"socket\","
		    "\"type\":\"unix\",\"path\":\"%s\"}}",
		    cpr);
	}
	if (a->n >= VMM_ARGS_MAX - 1)
		return err_set(e, E2BIG, "too many arguments for %s", program);
	return 0;
}

void vmm_args_free(struct vmm_args *a)
{
	for (int i = 0; i < a->n; i++)
		free(a->v[i]);
	a->n = 0;
}

/* In the child: give it the guest's console, and death with its parent. */
static void become_baton(const struct vmm_config *c, char **argv, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	if (dup2(c->in_fd, STDIN_FILENO) < 0 || dup2(c->out_fd, STDOUT_FILENO) < 0)
		_exit(126);
	execv(argv[0], argv);
	fprintf(stderr, "drive: cannot execute %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

int vmm_start(struct vmm *m, const struct vmm_config *c, const char *program, const char *incoming,
	      const char *cpr, struct err *e)
{
	struct vmm_args args;
	pid_t parent = getpid();
	char mark[16];
	int r;

	snprintf(m->qmp_path, sizeof(m->qmp_path), "%s/qmp.%d", c->dir, m->generation);
	snprintf(mark, sizeof(mark), "%d", (int)parent);
	m->qmp.fd = -1;
	r = vmm_args_build(&args, c, program, m->qmp_path, incoming, cpr, e);
	if (r < 0) {
		vmm_args_free(&args);
		return r;
	}
	fflush(stdout);
	m->pid = fork();
	if (m->pid == 0) {
		setenv(MARK, mark, 1);
		become_baton(c, args.v, parent);
	}
	vmm_args_free(&args);
	if (m->pid < 0) {
		m->pid = 0;
		return err_set_errno(e, "cannot start %s", program);
	}
	return 0;
}

bool vmm_is_alive(struct vmm *m, int *status)
{
	if (!m->pid)
		return false;
	if (waitpid(m->pid, status, WNOHANG) != m->pid)
		return true;
	m->pid = 0;
	return false;
}

int vmm_wait_exit(struct vmm *m, struct console *c, int timeout_ms, int *status, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;

	while (vmm_is_alive(m, status)) {
		if (lab_now_ns() > deadline)
			return err_set(e, ETIMEDOUT, "process %d does not end", (int)m->pid);
		console_wait(c, -1, 20);
	}
	console_pump(c);
	return 0;
}

void vmm_discard(struct vmm *m)
{
	qmp_close(&m->qmp);
	if (m->pid) {
		kill(m->pid, SIGKILL);
		waitpid(m->pid, NULL, 0);
	}
	m->pid = 0;
}

/* True if a process has our mark in its environment. */
static bool is_marked(const char *pid, const char *mark)
{
	char path[64], buf[65536];
	ssize_t n, at = 0;
	AUTO_CLOSE int fd = -1;

	snprintf(path, sizeof(path), "/proc/%.16s/environ", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, buf, sizeof(buf) - 1);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	while (at < n && strcmp(buf + at, mark) != 0)
		at += (ssize_t)strlen(buf + at) + 1;
	return at < n;
}

int vmm_count_processes(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;
	char mark[48];
	int count = 0;

	snprintf(mark, sizeof(mark), MARK "=%d", (int)getpid());
	while (proc && (d = readdir(proc)))
		if (d->d_name[0] >= '1' && d->d_name[0] <= '9' && is_marked(d->d_name, mark))
			count++;
	if (proc)
		closedir(proc);
	return count;
}

pid_t vmm_peer_pid(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -1;
	return cred.pid;
}
