/* SPDX-License-Identifier: MIT */
/* The network between this machine and the guest: a tap interface of its own. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "lab/load.h"
#include "lab/tap.h"

static int make_persistent(struct err *e)
{
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	AUTO_CLOSE int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return err_set_errno(e, "cannot open /dev/net/tun");
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", TAP_NAME);
	if (ioctl(fd, TUNSETIFF, &req) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		return err_set_errno(e, "cannot make the interface %s", TAP_NAME);
	return 0;
}

static int set_address(int fd, struct ifreq *req, unsigned long what, const char *address)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };

	inet_pton(AF_INET, address, &sa.sin_addr);
	memcpy(&req->ifr_addr, &sa, sizeof(sa));
	return ioctl(fd, what, req);
}

static int bring_up(int fd, const char *name)
{
	struct ifreq req = { .ifr_flags = 0 };

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFFLAGS, &req) < 0)
		return -1;
	req.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &req);
}

int tap_set_up(struct err *e)
{
	struct ifreq req = { .ifr_flags = 0 };
	AUTO_CLOSE int fd = -1;
	int r;

	if (unshare(CLONE_NEWNET) < 0)
		return err_set_errno(e, "cannot make a network namespace");
	r = make_persistent(e);
	if (r < 0)
		return r;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", TAP_NAME);
	if (fd < 0 || set_address(fd, &req, SIOCSIFADDR, LOAD_HOST_ADDRESS) < 0 ||
	    set_address(fd, &req, SIOCSIFNETMASK, "255.255.255.0") < 0 ||
	    bring_up(fd, TAP_NAME) < 0 || bring_up(fd, "lo") < 0)
		return err_set_errno(e, "cannot configure the interface %s", TAP_NAME);
	return 0;
}
