/* SPDX-License-Identifier: MIT */
/* The CPR protocol between two Batons: framed messages, some with a descriptor. */
#ifndef UPDATE_WIRE_H
#define UPDATE_WIRE_H

/*
 * DOC: theory of operation
 *
 * docs/update-protocol.md has the bytes. A frame is a header (type, flags,
 * length; big-endian) and a payload. In cpr-transfer frames go over the CPR
 * channel and descriptors beside them; in cpr-exec the old image writes the
 * same frames to a memfd for the new one, and descriptors are plain numbers
 * that stay open across exec.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

enum {
	WIRE_VERSION = 1,        /* of the protocol, the newest this side speaks  */
	WIRE_VERSION_OLDEST = 1, /* the oldest; the CPR state always has its form */
	WIRE_MAX_PAYLOAD = 1 << 20,
	WIRE_MAX_FDS = 512,
	WIRE_NAME_MAX = 64,
};

enum wire_type {
	WIRE_HELLO = 1, /* old: its newest version u32, process id u32, mode u32            */
	WIRE_FD,        /* old: id u32, name; a descriptor                                  */
	WIRE_CONFIG,    /* old: JSON text, the machine                                      */
	WIRE_END,       /* old: that was all                                                */
	WIRE_WAITING,   /* new: built, waits for its operator (deferred)                    */
	WIRE_READY,     /* new: chosen version u32, process id u32; the main channel is open */
	WIRE_REFUSE,    /* new: text, why it cannot                                         */
	WIRE_OFFER,     /* old: length u64 and XXH3 u64 of the state on the main channel    */
	WIRE_RUNNING,   /* new: the guest belongs to this side and runs here                */
	WIRE_CANCEL,    /* old: text, why it gives up                                       */
	WIRE_WANT,      /* new: JSON text, what it wants of what was announced              */
};

struct wire_fd {
	char name[WIRE_NAME_MAX];
	uint32_t id;
	int fd;    /* owned by the set, see cpr_state_dup_fd()         */
	bool made; /* for this set, see cpr_state_add_made_fd()        */
};

/* What the old side tells before the guest stops. */
struct cpr_state {
	uint32_t version; /* to send: the sender's newest; received: the newest both speak */
	uint32_t mode;    /* enum migration_mode */
	pid_t pid;        /* of the old side     */
	struct wire_fd fds[WIRE_MAX_FDS];
	size_t nr_fds;
	char *config; /* JSON text, NUL-terminated, owned */
	int state_fd; /* exec: where it came from, owned; else -1 */
};

void cpr_state_init(struct cpr_state *s);
/* Closes the descriptors. */
void cpr_state_fini(struct cpr_state *s);
/* Lists a descriptor under @name and @id; takes it over on success. */
int cpr_state_add_fd(struct cpr_state *s, const char *name, uint32_t id, int fd, struct err *e);
/*
 * For the old side, which lends the set its descriptors: one that was made for the set, and is
 * closed by cpr_state_forget(), which frees the set and leaves the others open.
 */
int cpr_state_add_made_fd(struct cpr_state *s, const char *name, uint32_t id, int fd,
			  struct err *e);
void cpr_state_forget(struct cpr_state *s);
/* Closes those whose name begins with @prefix. */
void cpr_state_drop(struct cpr_state *s, const char *prefix);
/* The descriptor of that name and id, still the set's; -1: not there. */
int cpr_state_find_fd(const struct cpr_state *s, const char *name, uint32_t id);
/*
 * A duplicate of it for the caller. The set keeps its own until the guest is taken over,
 * under the number that an image to fall back to would look for. -ENOENT if not there.
 */
int cpr_state_dup_fd(const struct cpr_state *s, const char *name, uint32_t id, struct err *e);

/*
 * What a message of the new side says which version it has chosen; -EPROTO if this side does not
 * speak that.
 */
int wire_check_version(uint32_t version, struct err *e);

/* Sends / receives the whole state over a socket, as WIRE_HELLO ... WIRE_END. */
int cpr_state_send(const struct cpr_state *s, int sock, uint64_t deadline_ns, struct err *e);
int cpr_state_recv(struct cpr_state *s, int sock, uint64_t deadline_ns, struct err *e);

/* Encodes with descriptor numbers / decodes what that wrote; every byte is checked. */
int cpr_state_encode(const struct cpr_state *s, struct buf *out, struct err *e);
int cpr_state_decode(struct cpr_state *s, const void *p, size_t n, struct err *e);

/* One message. @type is what arrived; the payload replaces the contents of @payload. */
int wire_send(int sock, enum wire_type type, const void *payload, size_t n, uint64_t deadline_ns,
	      struct err *e);
int wire_recv(int sock, enum wire_type *type, struct buf *payload, uint64_t deadline_ns,
	      struct err *e);

#endif
