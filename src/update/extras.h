/* SPDX-License-Identifier: MIT */
/* What crosses an update beside the machine: connections, and whatever else has a name. */
#ifndef UPDATE_EXTRAS_H
#define UPDATE_EXTRAS_H

/*
 * DOC: theory of operation
 *
 * The machine crosses as RAM and state. Around it are things that the next image must not
 * open anew, because somebody is at their other end or a lock is on them: sockets of
 * monitors and consoles, disks, taps. Their owner registers a struct extra. The old
 * side asks it for descriptors and for a JSON value that says what they are; the value
 * becomes a member of the CPR state's configuration. The new side looks for that member when
 * it builds the same thing, takes the descriptors by name, and opens what is missing.
 *
 * What is *early* does not change while an update is at work: open disks, taps, the list of
 * devices. It goes with the first message in cpr-transfer, while the guest runs on; so the new
 * side has it before it builds its devices, must not use it before the guest runs there, and
 * may fail without a trace. In cpr-exec and cpr-graft everything is gathered in the moment
 * before this image is left, which is the same for what does not change.
 *
 * What changes until the end, such as clients that come, go and speak, is *given*: in
 * cpr-transfer gather() only announces it, and it follows when the guest runs in the new
 * process (update/late.h). Such an extra is not asked in exec and graft; its owner has
 * another one for these.
 *
 * An image that knows nothing of a member ignores it and closes the
 * descriptors. But the image of an early release would find its sockets' addresses taken by
 * the very descriptors it was given, so it is given none.
 */

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/list.h"

struct cpr_state;
struct migration;

struct extra {
	struct list link;
	const char *key; /* of the member */
	bool early;      /* goes along in cpr-transfer too */
	/*
	 * Old side, main loop's thread; changes nothing but @s. Adds descriptors to @s, by
	 * cpr_state_add_fd() those that stay open here, by cpr_state_add_made_fd() others,
	 * under names that begin with the key and a colon. *@out is the caller's; it stays NULL
	 * if there is nothing. May be called more than once for one update.
	 */
	int (*gather)(void *opaque, struct cpr_state *s, json_t **out, struct err *e);
	/*
	 * Old side of cpr-transfer; NULL: there is nothing to give. The guest runs in the new
	 * process. give() is as gather(), for what @wanted says, which is hostile; given() lets
	 * go of that, and may come without give().
	 */
	int (*give)(void *opaque, const json_t *wanted, struct cpr_state *s, json_t **out,
		    struct err *e);
	void (*given)(void *opaque, const json_t *wanted);
	/*
	 * New side of cpr-transfer, once for what extras_want() asked for; the guest runs. @s
	 * and @value are what give() made, or NULL if it did not come.
	 */
	void (*take)(void *opaque, const struct cpr_state *s, const json_t *value);
	void *opaque;
};

/* @x outlives @m, or its last update. */
void extras_register(struct migration *m, struct extra *x);

/*
 * Old side: whether the program @name, found as by execvp, can do with extras. True for
 * what is no Baton, but may start one.
 */
bool extras_are_known_to(const char *name);
/*
 * Old side: gathers what is @which into @s, and replaces its configuration @base by one that has
 * the members too, which is allocated. On failure @s holds what was added so far.
 */
enum extras_which {
	EXTRAS_ALL,
	EXTRAS_EARLY,
};
int extras_gather(const struct migration *m, enum extras_which which, const char *base,
		  struct cpr_state *s, struct err *e);
/*
 * Old side: for a @program that knows no extras: -EOPNOTSUPP, by name, if there is one that
 * the guest's devices cannot do without.
 */
int extras_check_dispensable(const struct migration *m, const char *program, struct err *e);

/*
 * New side: the member @key of the configuration, the caller's; *@out is NULL if the old side
 * had none. -EPROTO if the configuration is not JSON.
 */
int extras_find(const struct cpr_state *s, const char *key, json_t **out, struct err *e);
/*
 * New side of cpr-transfer, before the update begins: asks for what was announced under @key;
 * @value is the owner's to understand, and is taken over.
 */
void extras_want(struct migration *m, const char *key, json_t *value);
/*
 * New side: the owner of @key has all it wants, and nobody will fall back: what else is left
 * of its descriptors is closed.
 */
void extras_taken(struct migration *m, const char *key);

#endif
