/* SPDX-License-Identifier: MIT */
/* What crosses an update beside the machine: connections, and whatever else has a name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_memory.h"
#include "base/util.h"
#include "host/process.h"
#include "update/extras.h"
#include "update/handover.h"

/* In the program of every release that has extras; what looks for it has it too. */
#define EXTRAS_MARK "baton: knows extras"

void extras_register(struct migration *m, struct extra *x)
{
	list_add(&m->extras, &x->link);
}

bool extras_are_known_to(const char *name)
{
	/* A script or another program that starts one in the end: most likely this release. */
	return !process_program_has(name, EXEC_STATE_NAME) ||
	       process_program_has(name, EXTRAS_MARK);
}

/* Appends `,"KEY":VALUE` to an object that is not closed yet. */
static int put_member(struct buf *to, const char *key, const json_t *value, struct err *e)
{
	AUTO_FREE char *text = json_text(value, JSON_COMPACT | JSON_ENCODE_ANY);

	if (!text)
		return err_set(e, ENOMEM, "no memory for the configuration");
	buf_put_str(to, ",\"");
	buf_put_str(to, key);
	buf_put_str(to, "\":");
	buf_put_str(to, text);
	return 0;
}

int extras_gather(const struct migration *m, enum extras_which which, const char *base,
		  struct cpr_state *s, struct err *e)
{
	AUTO_BUF text = { 0 };
	struct list *pos, *tmp;
	int r = 0;

	/* The base is the text of an object with members. */
	buf_put(&text, base, strlen(base) - 1);
	list_for_each(pos, tmp, &m->extras) {
		const struct extra *x = CONTAINER_OF(pos, struct extra, link);
		json_t *value = NULL;

		if (which == EXTRAS_EARLY ? !x->early : x->give != NULL)
			continue;
		r = x->gather(x->opaque, s, &value, e);
		if (!r && value)
			r = put_member(&text, x->key, value, e);
		json_decref(value);
		if (r)
			return err_prefix(e, "what belongs to '%s' cannot be handed over", x->key);
	}
	buf_put_str(&text, "}");
	buf_put_u8(&text, 0);
	if (text.failed)
		return err_set(e, ENOMEM, "no memory for the configuration");
	s->config = (char *)TAKE_PTR(text.data);
	return 0;
}

int extras_check_dispensable(const struct migration *m, const char *program, struct err *e)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &m->extras) {
		const struct extra *x = CONTAINER_OF(pos, struct extra, link);
		json_t *value = NULL;
		struct cpr_state s;
		int r;

		if (!x->early || x->give)
			continue;
		cpr_state_init(&s);
		r = x->gather(x->opaque, &s, &value, e);
		cpr_state_forget(&s);
		if (!r && value)
			r = err_set(e, EOPNOTSUPP,
				    "'%s' is of a release that cannot take over what belongs to "
				    "'%s'",
				    program, x->key);
		json_decref(value);
		if (r)
			return r;
	}
	return 0;
}

int extras_find(const struct cpr_state *s, const char *key, json_t **out, struct err *e)
{
	json_error_t why;
	json_t *j = json_loads(s->config, JSON_REJECT_DUPLICATES, &why);

	if (!j)
		return err_set(e, EPROTO, "the old side's configuration is no JSON: %s", why.text);
	*out = json_incref(json_object_get(j, key));
	json_decref(j);
	return 0;
}

void extras_taken(struct migration *m, const char *key)
{
	char prefix[WIRE_NAME_MAX];

	snprintf(prefix, sizeof(prefix), "%s:", key);
	cpr_state_drop(&m->cpr, prefix);
}
