/* SPDX-License-Identifier: MIT */
/* The guest's disk as others on the host see it: locked while the guest lives, whole afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "lab/image.h"

enum {
	/* QEMU's places in an image: a byte for each use that is made of it or refused to others. */
	LOCK_FIRST = 100,
	LOCK_BYTES = 200,
	TRY_EVERY_US = 300,
	COMMAND_MAX = 512,
};

static int try_lock_fd(int fd)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = LOCK_FIRST,
		.l_len = LOCK_BYTES,
	};

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

int image_try_lock(const char *path, struct err *e)
{
	AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set_errno(e, "cannot open '%s'", path);
	r = try_lock_fd(fd);
	return r < 0 ? err_set(e, -r, "'%s' is locked", path) : 0;
}

/* Each try opens the image anew, so that no descriptor of an earlier one gets in the way. */
static void __attribute__((noreturn)) try_for_ever(const char *path, struct opener_counts *counts)
{
	for (;;) {
		int fd = open(path, O_RDWR | O_CLOEXEC), r;

		r = fd < 0 ? -errno : try_lock_fd(fd);
		counts->tries++;
		if (r == 0)
			counts->successes++;
		else if (r != -EAGAIN && r != -EACCES)
			counts->errors++;
		if (fd >= 0)
			close(fd);
		usleep(TRY_EVERY_US);
	}
}

int opener_start(struct opener *o, const char *path, struct err *e)
{
	pid_t parent = getpid();
	void *p = mmap(NULL, sizeof(*o->counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		return err_set_errno(e, "no memory to share with the second opener");
	o->counts = p;
	fflush(stdout);
	o->pid = fork();
	if (o->pid < 0) {
		o->pid = 0;
		return err_set_errno(e, "cannot start the second opener");
	}
	if (o->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		try_for_ever(path, o->counts);
	}
	return 0;
}

void opener_stop(struct opener *o)
{
	if (o->pid) {
		kill(o->pid, SIGKILL);
		waitpid(o->pid, NULL, 0);
	}
	o->pid = 0;
}

void opener_free(struct opener *o)
{
	opener_stop(o);
	if (o->counts)
		munmap(o->counts, sizeof(*o->counts));
	o->counts = NULL;
}

/* Run a command and keep the end of what it prints; its exit status, or -errno. */
static int run(const char *command, char *text, size_t size, struct err *e)
{
	FILE *f;
	char line[256];
	int status;

	fflush(stdout);
	f = popen(command, "re");
	if (!f)
		return err_set_errno(e, "cannot run '%s'", command);
	text[0] = '\0';
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0])
			snprintf(text, size, "%s", line);
	}
	status = pclose(f);
	if (status < 0 || !WIFEXITED(status))
		return err_set(e, ECHILD, "'%s' ended with status %#x", command, status);
	return WEXITSTATUS(status);
}

int image_check_fs(const char *path, int offset, struct err *e)
{
	char command[COMMAND_MAX], text[256];
	int r;

	snprintf(command, sizeof(command), "e2fsck -fn '%s?offset=%d' 2>&1", path, offset);
	r = run(command, text, sizeof(text), e);
	return r > 0 ? err_set(e, EUCLEAN, "e2fsck ended with status %d: %s", r, text) : r;
}

int image_check_files(const char *path, int offset, const char *guestload, const char *dir,
		      uint64_t *files, uint64_t *bad, uint64_t *sum, struct err *e)
{
	char command[COMMAND_MAX], text[256];
	int r;

	snprintf(
		command, sizeof(command),
		"mkdir -p '%s/files' && debugfs -R 'rdump /var/lib/guestload %s/files' '%s?offset=%d' "
		"</dev/null 2>&1",
		dir, dir, path, offset);
	r = run(command, text, sizeof(text), e);
	if (r != 0)
		return r < 0 ? r : err_set(e, EIO, "debugfs ended with status %d: %s", r, text);
	snprintf(command, sizeof(command), "'%s' --check '%s/files/guestload'", guestload, dir);
	r = run(command, text, sizeof(text), e);
	if (r < 0)
		return r;
	if (sscanf(text, "files=%" SCNu64 " bad=%" SCNu64 " sum=%" SCNx64, files, bad, sum) != 3)
		return err_set(e, EPROTO, "'%s' ended with status %d: %s", command, r, text);
	return 0;
}
