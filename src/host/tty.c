/* SPDX-License-Identifier: MIT */
/* Terminals: pairs of them, and the size of their windows. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/util.h"
#include "host/tty.h"

static int make_raw(int fd, struct err *e)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return err_set_errno(e, "cannot read the settings of a pseudo-terminal");
	cfmakeraw(&t);
	if (tcsetattr(fd, TCSANOW, &t) < 0)
		return err_set_errno(e, "cannot set a pseudo-terminal to raw mode");
	return 0;
}

int tty_open_pair(int *master, int *slave, char *path, size_t n, struct err *e)
{
	AUTO_CLOSE int m = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	AUTO_CLOSE int s = -1;
	char name[64];
	int r;

	if (m < 0)
		return err_set_errno(e, "cannot make a pseudo-terminal");
	if (grantpt(m) < 0 || unlockpt(m) < 0)
		return err_set_errno(e, "cannot make a pseudo-terminal usable");
	r = ptsname_r(m, name, sizeof(name));
	if (r)
		return err_set_code(e, r, "cannot learn the name of a pseudo-terminal");
	s = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s < 0)
		return err_set_errno(e, "cannot open '%s'", name);
	r = make_raw(s, e);
	if (r)
		return r;
	if (strlen(name) >= n)
		return err_set(e, ENAMETOOLONG, "'%s' is too long a name", name);
	memcpy(path, name, strlen(name) + 1);
	*master = take_fd(&m);
	if (slave)
		*slave = take_fd(&s);
	return 0;
}

bool tty_has_peer(int master)
{
	struct pollfd p = { .fd = master, .events = 0 };

	return poll(&p, 1, 0) == 0;
}

void tty_get_size(int fd, unsigned int *columns, unsigned int *rows)
{
	struct winsize w = { 0 };

	if (ioctl(fd, TIOCGWINSZ, &w) < 0)
		w = (struct winsize){ 0 };
	*columns = w.ws_col;
	*rows = w.ws_row;
}

void tty_set_size(int fd, unsigned int columns, unsigned int rows)
{
	struct winsize w = {
		.ws_col = (unsigned short)columns,
		.ws_row = (unsigned short)rows,
	};

	ioctl(fd, TIOCSWINSZ, &w);
}
