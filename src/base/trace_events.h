/* SPDX-License-Identifier: MIT */
/* The table of trace events: name, format, and each argument's type and name. */

/*
 * Included several times by base/trace.h, which says what EVENT() makes of a row: a number,
 * a function trace_NAME() with these arguments, a USDT probe, a name in the list. Names
 * and formats that QEMU's users know stay exactly as those have them. At most six arguments.
 */

/* clang-format off */

/* Descriptors that outlive an update (update/wire.c, update/outgoing.c). */
EVENT(cpr_save_fd, "%s, id %d, fd %d", const char *, name, int, id, int, fd)
EVENT(cpr_delete_fd, "%s, id %d", const char *, name, int, id)
EVENT(cpr_find_fd, "%s, id %d returns %d", const char *, name, int, id, int, fd)
EVENT(cpr_state_save, "%s mode", const char *, mode)
EVENT(cpr_state_load, "%s mode", const char *, mode)
EVENT(cpr_transfer_input, "%s", const char *, path)
EVENT(cpr_transfer_output, "%s", const char *, path)
EVENT(cpr_exec, "")

/* An update as its operator sees it (update/migration.c, update/incoming.c). */
EVENT(migrate_set_state, "new state %s", const char *, new_state)
EVENT(migrate_error, "error=%s", const char *, error_desc)
EVENT(migrate_global_state_pre_save, "saved state: %s", const char *, state)
EVENT(migrate_global_state_post_load, "loaded state: %s", const char *, state)
EVENT(process_incoming_migration_co_end, "ret=%d", int, ret)

/* The main channel (update/outgoing.c, update/incoming.c). */
EVENT(migration_set_incoming_channel, "ioc=%p ioctype=%s", const void *, ioc, const char *, ioctype)
EVENT(migration_set_outgoing_channel, "ioc=%p ioctype=%s hostname=%s err=%p",
      const void *, ioc, const char *, ioctype, const char *, hostname, const void *, err)
EVENT(migration_file_outgoing, "filename=%s", const char *, filename)
EVENT(migration_file_incoming, "filename=%s", const char *, filename)
EVENT(migration_fd_outgoing, "fd=%d", int, fd)
EVENT(migration_fd_incoming, "fd=%d", int, fd)
EVENT(migration_exec_outgoing, "cmd=%s", const char *, cmd)
EVENT(migration_exec_incoming, "cmd=%s", const char *, cmd)
EVENT(migration_socket_incoming_accepted, "")
EVENT(migration_socket_outgoing_connected, "hostname=%s", const char *, hostname)
EVENT(migration_socket_outgoing_error, "error=%s", const char *, err)

/* The state stream (state/stream.c); subsections that are skipped (state/vmstate.c), numbered 0. */
EVENT(savevm_section_start, "%s, section_id %u", const char *, id, unsigned int, section_id)
EVENT(savevm_section_end, "%s, section_id %u -> %d",
      const char *, id, unsigned int, section_id, int, ret)
EVENT(savevm_section_skip, "%s, section_id %u", const char *, id, unsigned int, section_id)
EVENT(qemu_loadvm_state_section, "%d", unsigned int, section_type)
EVENT(qemu_loadvm_state_section_startfull, "%u(%s) %u %u",
      uint32_t, section_id, const char *, idstr, uint32_t, instance_id, uint32_t, version_id)
EVENT(qemu_loadvm_state_section_partend, "%u", uint32_t, section_id)
EVENT(vmstate_save, "%s, %s", const char *, idstr, const char *, vmsd_name)
EVENT(vmstate_load, "%s, %s", const char *, idstr, const char *, vmsd_name)
EVENT(vmstate_downtime_checkpoint, "%s", const char *, checkpoint)

/* The machine (machine/vm.c, machine/vcpu.c). */
EVENT(runstate_set, "current_run_state %d (%s) new_state %d (%s)",
      int, current_state, const char *, current_state_str,
      int, new_state, const char *, new_state_str)
EVENT(vm_state_notify, "running %d reason %d (%s)",
      int, running, int, reason, const char *, reason_str)
EVENT(kvm_run_exit, "cpu_index %d, reason %d", int, cpu_index, uint32_t, reason)

/* Baton's own: the steps of a hand-over and its owner word (update/handover.c, update/owner.c). */
EVENT(handover_step, "%s", const char *, step)
EVENT(handover_undo, "%s", const char *, step)
EVENT(hugepages_scan_end, "gathered=%llu us=%llu", unsigned long long, gathered, unsigned long long, us)
EVENT(prefault_end, "bytes=%llu us=%llu", unsigned long long, bytes, unsigned long long, us)
EVENT(owner_offer, "done %d", bool, done)
EVENT(owner_claim, "done %d", bool, done)
EVENT(owner_take_back, "done %d", bool, done)

/* Baton's own: virtual CPUs and why they leave the guest (machine/vcpu.c). */
EVENT(vcpu_resume, "cpu_index %u", unsigned int, cpu_index)
EVENT(vcpu_pause, "cpu_index %u", unsigned int, cpu_index)
EVENT(kvm_exit_io, "cpu_index %u, port 0x%x, %s %u bytes, %u times",
      unsigned int, cpu_index, uint32_t, port, const char *, direction,
      uint32_t, size, uint32_t, count)
EVENT(kvm_exit_mmio, "cpu_index %u, address 0x%llx, %s %u bytes",
      unsigned int, cpu_index, unsigned long long, gpa, const char *, direction, uint32_t, size)
EVENT(kvm_exit_intr, "cpu_index %u", unsigned int, cpu_index)
EVENT(kvm_exit_shutdown, "cpu_index %u", unsigned int, cpu_index)
EVENT(kvm_exit_error, "cpu_index %u, %s, detail 0x%llx",
      unsigned int, cpu_index, const char *, what, unsigned long long, detail)

/* clang-format on */
