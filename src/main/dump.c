/* SPDX-License-Identifier: MIT */
/* -dump-vmstate: all state tables as JSON, for tools that compare two releases. */
#include <errno.h>

#include "base/jsonw.h"
#include "base/util.h"
#include "dev/types.h"
#include "host/file.h"
#include "host/sock.h"
#include "machine/globalstate.h"
#include "machine/layout.h"
#include "machine/vcpu_state.h"
#include "main/dump.h"
#include "update/ram_sample.h"

static void dump_section(const char *idstr, const struct vs_desc *d, struct jsonw *json)
{
	jsonw_begin_object(json, idstr);
	jsonw_str(json, "Name", idstr);
	jsonw_u64(json, "version_id", d->version);
	jsonw_u64(json, "minimum_version_id", d->min_version);
	vs_describe(d, "Description", json);
	jsonw_end_object(json);
}

void dump_vmstate(struct buf *out)
{
	const struct device_class *class;
	struct jsonw json;

	jsonw_init(&json, out);
	jsonw_begin_object(&json, NULL);
	jsonw_begin_object(&json, "vmschkmachine");
	jsonw_str(&json, "Name", LAYOUT_MACHINE_TYPE);
	jsonw_end_object(&json);
	dump_section(vcpu_state_desc.name, &vcpu_state_desc, &json);
	dump_section(vcpu_apic_state_desc.name, &vcpu_apic_state_desc, &json);
	for (unsigned int i = 0; (class = dev_class_at(i)); i++)
		if (class->state)
			dump_section(class->name, class->state, &json);
	dump_section(ram_sample_desc.name, &ram_sample_desc, &json);
	dump_section(global_state_desc.name, &global_state_desc, &json);
	jsonw_end_object(&json);
	buf_put_u8(out, '\n');
}

int dump_vmstate_to_file(const char *path, struct err *e)
{
	AUTO_BUF text = { 0 };
	AUTO_CLOSE int fd = -1;
	bool created;
	int r;

	dump_vmstate(&text);
	if (text.failed)
		return err_set(e, ENOMEM, "no memory to describe the state tables");
	fd = file_create(path, &created, e);
	if (fd < 0)
		return fd;
	r = file_begin(fd, path, 0, e);
	return r ? r : file_write_at(fd, path, 0, text.data, text.len, e);
}
