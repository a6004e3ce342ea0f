/* SPDX-License-Identifier: MIT */
/* No input reaches a file, a socket, a program or a name server: who asks the host is refused. */
#ifndef TESTS_FUZZ_NO_HOST_H
#define TESTS_FUZZ_NO_HOST_H

#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * These stand in for the C library's, for all of Baton that is linked in. What the fuzzer does
 * itself goes to the library's own.
 */
#define NO_HOST(type, name, ...) \
	type name(__VA_ARGS__)   \
	{                        \
		errno = EACCES;  \
		return (type)-1; \
	}

NO_HOST(int, open, const char *path, int flags, ...)
NO_HOST(int, openat, int fd, const char *path, int flags, ...)
NO_HOST(int, shm_open, const char *name, int flags, mode_t mode)
NO_HOST(int, posix_openpt, int flags)
NO_HOST(int, unlink, const char *path)
NO_HOST(int, rename, const char *from, const char *to)
NO_HOST(int, socket, int domain, int type, int protocol)
NO_HOST(int, bind, int fd, const struct sockaddr *address, socklen_t n)
NO_HOST(int, connect, int fd, const struct sockaddr *address, socklen_t n)
NO_HOST(int, execve, const char *path, char *const *argv, char *const *env)
NO_HOST(pid_t, fork, void)

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		struct addrinfo **list)
{
	(void)host;
	(void)port;
	(void)hints;
	(void)list;
	return EAI_FAIL;
}

#endif
