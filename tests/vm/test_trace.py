# SPDX-License-Identifier: MIT
"""Tracing: lines on standard error or in a file, probes in the program."""

import os
import re
import subprocess

import pytest

import qmp
import vm as harness

LINE = re.compile(r"(\d+)@(\d+)\.(\d{6}):([a-z_]+) (.*)")
GOOD = ["-m", "64M", "-display", "none", "-nodefaults"]


def names():
    """The program's own list."""
    done = subprocess.run([harness.BATON, "-trace", "help"],
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=20, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def lines(text, pid=None):
    """(event, arguments) of each trace line, which must be in order."""
    out, last = [], (0, 0)
    for line in text.splitlines():
        found = LINE.fullmatch(line)
        if not found:
            assert "@" not in line, "half a line: %r" % line
            continue
        when = int(found[2]), int(found[3])
        assert when >= last, "time steps back: %r" % line
        last = when
        assert pid is None or int(found[1]) == pid
        out.append((found[4], found[5]))
    return out


def in_order(seen, wanted):
    """Each wanted (event, pattern of its arguments) comes, in this order."""
    rest = iter(seen)
    for event, pattern in wanted:
        for name, arguments in rest:
            if name == event and re.fullmatch(pattern, arguments):
                break
        else:
            pytest.fail("%s %s is not there, or not in its place: %s" %
                        (event, pattern, seen))


def test_both_sides_of_a_transfer_tell_of_the_descriptors(vms):
    vm = vms("gap", extra=["-trace", "cpr_*"]).start()
    old = vm.proc
    vm.transfer()
    vm.running()
    cpr = re.escape(vm.cpr_path(1))
    sent = lines(old.log(), old.pid)
    in_order(sent, [
        ("cpr_find_fd", "ram0, id 0 returns -1"),
        ("cpr_save_fd", r"chardevs:listen, id 1, fd \d+"),
        ("cpr_save_fd", r"ram0, id 0, fd \d+"),
        ("cpr_save_fd", r"/rom@etc/acpi/tables, id 0, fd \d+"),
        ("cpr_save_fd", r"baton-owner, id 0, fd \d+"),
        ("cpr_state_save", "cpr-transfer mode"),
        ("cpr_transfer_output", cpr)])
    assert len(sent) == 7
    new = lines(vm.proc.log(), vm.pid)
    in_order(new, [
        ("cpr_transfer_input", cpr),
        ("cpr_state_load", "cpr-transfer mode"),
        ("cpr_find_fd", r"ram0, id 0 returns \d+"),
        ("cpr_find_fd", r"/rom@etc/acpi/tables, id 0 returns \d+"),
        ("cpr_find_fd", r"baton-owner, id 0 returns \d+"),
        ("cpr_delete_fd", "chardevs:listen, id 1"),
        ("cpr_delete_fd", "ram0, id 0"),
        ("cpr_delete_fd", "/rom@etc/acpi/tables, id 0"),
        ("cpr_delete_fd", "baton-owner, id 0")])
    assert len(new) == 9
    vm.check_no_errors()


def test_exec_is_traced_from_the_old_image_into_the_new_one(vms):
    vm = vms("gap", extra=["-trace", "cpr_*", "-trace", "migration_*",
                           "-trace", "migrate_set_state"]).start()
    vm.exec_()
    vm.running()
    path = re.escape(vm.path("vm.state"))
    in_order(lines(vm.proc.log(), vm.pid), [
        ("migrate_set_state", "new state setup"),
        ("cpr_save_fd", r"ram0, id 0, fd \d+"),
        ("cpr_state_save", "cpr-exec mode"),
        ("migration_file_outgoing", "filename=" + path),
        ("migration_set_outgoing_channel", "ioc=0x.* ioctype=file .*"),
        ("migrate_set_state", "new state active"),
        ("migrate_set_state", "new state device"),
        ("migrate_set_state", "new state completed"),
        ("cpr_exec", ""),
        ("cpr_state_load", "cpr-exec mode"),
        ("cpr_find_fd", r"ram0, id 0 returns \d+"),
        ("migrate_set_state", "new state setup"),
        ("migrate_set_state", "new state active"),
        ("migration_file_incoming", "filename=" + path),
        ("migration_set_incoming_channel", "ioc=0x.* ioctype=file"),
        ("cpr_delete_fd", "ram0, id 0"),
        ("migrate_set_state", "new state completed")])
    vm.check_no_errors()


def test_steps_state_and_owner_of_a_hand_over_are_in_order(vms):
    vm = vms("gap", smp=2, extra=[
        "-trace", "handover_*", "-trace", "owner_*", "-trace", "runstate_set",
        "-trace", "vm*", "-trace", "savevm_*", "-trace", "qemu_loadvm_*",
        "-trace", "vcpu_*", "-trace", "migrate_global_state_*",
        "-trace", "process_incoming_migration_co_end",
        "-trace", "migration_socket_*"]).start()
    old = vm.proc
    vm.transfer()
    vm.running()
    sent, took = lines(old.log()), lines(vm.proc.log())
    steps = [a for name, a in sent if name == "handover_step"]
    assert steps == ["connect", "prepare", "link", "stop", "save", "offer",
                     "give", "done"]
    in_order(sent, [
        ("vcpu_resume", "cpu_index 1"),
        ("migration_socket_outgoing_connected", "hostname=.*main1.sock"),
        ("handover_step", "stop"),
        ("vmstate_downtime_checkpoint", "src-downtime-start"),
        ("vcpu_pause", "cpu_index 0"), ("vcpu_pause", "cpu_index 1"),
        ("runstate_set", r"current_run_state \d+ \(running\) "
         r"new_state \d+ \(finish-migrate\)"),
        ("vm_state_notify", r"running 0 reason \d+ \(finish-migrate\)"),
        ("vmstate_downtime_checkpoint", "src-vm-stopped"),
        ("migrate_global_state_pre_save", "saved state: running"),
        ("savevm_section_start", "ram, section_id 0"),
        ("savevm_section_end", "ram, section_id 0 -> 0"),
        ("savevm_section_start", "cpu, section_id 1"),
        ("vmstate_save", "cpu, cpu"),
        ("savevm_section_end", "cpu, section_id 1 -> 0"),
        ("vmstate_save", "globalstate, globalstate"),
        ("vmstate_downtime_checkpoint", "src-non-iterable-saved"),
        ("owner_offer", "done 1"),
        ("vmstate_downtime_checkpoint", "src-downtime-end")])
    in_order(took, [
        ("handover_step", "receive"),
        ("migration_socket_incoming_accepted", ""),
        ("handover_step", "load"),
        ("qemu_loadvm_state_section_startfull", r"0\(ram\) 0 4"),
        ("qemu_loadvm_state_section_partend", "0"),
        ("qemu_loadvm_state_section", "4"),
        ("qemu_loadvm_state_section_startfull", r"1\(cpu\) 0 \d+"),
        ("vmstate_load", "cpu, cpu"),
        ("migrate_global_state_post_load", "loaded state: running"),
        ("handover_step", "claim"), ("owner_claim", "done 1"),
        ("handover_step", "run"),
        ("vm_state_notify", r"running 1 reason \d+ \(running\)"),
        ("vcpu_resume", "cpu_index 1"),
        ("process_incoming_migration_co_end", "ret=0")])
    # What was saved was loaded, in the same order.
    assert [a for name, a in sent if name == "vmstate_save"][:-1] == \
        [a for name, a in took if name == "vmstate_load"]
    vm.check_no_errors()


def test_a_failed_update_names_its_error_and_what_was_undone(vms):
    vm = vms("gap", extra=["-trace", "handover_*", "-trace", "migrate_error",
                           "-trace", "owner_*"]).start(
        extra=["-debug", "handover=offer:fail"])
    generation, new = vm.spawn_incoming()
    vm.migrate_to(generation)
    assert vm.wait_migrate()["status"] == "failed"
    vm.running()
    in_order(lines(vm.proc.log()), [
        ("handover_step", "save"),
        ("migrate_error", "error=step 'offer' was made to fail"),
        ("handover_undo", "save"), ("handover_undo", "stop"),
        ("handover_undo", "connect")])
    new.wait()
    in_order(lines(new.log()), [("migrate_error", "error=the old side.*")])


@pytest.mark.parametrize("kind, arguments", [
    ("exec", "cmd=%s"), ("file", "filename=%s"), ("socket", None)])
def test_a_save_to_a_stream_tells_its_channel_and_sections(vms, kind,
                                                           arguments):
    vm = vms("gap", append="pattern=16M", extra=[
        "-trace", "migration_*", "-trace", "savevm_*",
        "-trace", "qemu_loadvm_*"]).start()
    old = vm.proc
    path = vm.path("vm.state")
    if kind == "socket":
        generation, new = vm.spawn_deferred()
        new.qmp.cmd("migrate-incoming", uri="unix:" + path)
        assert vm.save("unix:" + path)["status"] == "completed"
        vm.adopt_loaded(generation, new)
        out = ("migration_socket_outgoing_connected",
               "hostname=" + re.escape(path))
        came = ("migration_socket_incoming_accepted", "")
    else:
        send, take = ("cat > " + path, "cat " + path) if kind == "exec" \
            else (path, path)
        assert vm.save("%s:%s" % (kind, send))["status"] == "completed"
        vm.load("%s:%s" % (kind, take))
        out = ("migration_%s_outgoing" % kind,
               re.escape(arguments % send))
        came = ("migration_%s_incoming" % kind, re.escape(arguments % take))
    vm.running()
    ram = ("savevm_section_start", "ram, section_id 0")
    in_order(lines(old.log()), [
        out, ("migration_set_outgoing_channel", "ioc=0x.*"), ram, ram,
        ("savevm_section_end", "ram, section_id 0 -> 0"),
        ("savevm_section_start", "cpu, section_id 1")])
    in_order(lines(vm.proc.log()), [
        came, ("migration_set_incoming_channel", "ioc=0x.*"),
        ("qemu_loadvm_state_section", "1"),
        ("qemu_loadvm_state_section_startfull", r"0\(ram\) 0 4"),
        ("qemu_loadvm_state_section", "2"),
        ("qemu_loadvm_state_section_partend", "0"),
        ("qemu_loadvm_state_section", "3"),
        ("qemu_loadvm_state_section_startfull", r"1\(cpu\) 0 \d+")])


def test_a_main_channel_that_cannot_be_opened_is_named(vms):
    vm = vms("gap", extra=["-trace", "migration_*"]).start()
    path = vm.path("nobody")
    vm.set_parameters(mode="cpr-reboot")
    with pytest.raises(qmp.QmpError):
        vm.qmp.cmd("migrate", uri="unix:" + path)
    assert [name for name, _ in lines(vm.proc.log())] == [
        "migration_socket_outgoing_error"]
    assert path in vm.proc.log()
    vm.running()


def test_later_patterns_take_events_away_again(vms):
    vm = vms("gap", extra=["-trace", "enable=cpr_*", "-trace", "-cpr_find_*",
                           "-trace", "-cpr_delete_fd"]).start()
    vm.transfer()
    assert {name for name, _ in lines(vm.proc.log())} == {
        "cpr_transfer_input", "cpr_state_load"}


def test_events_come_from_a_file_and_lines_go_to_one(vms, tmp_path):
    events = tmp_path / "events"
    log = tmp_path / "log"
    events.write_text("# what an update hands over\ncpr_*\n\n"
                      "  -cpr_find_fd  # but not this\r\nno_such_event\n")
    log.write_text("an older line\n")
    vm = vms("gap", extra=["-trace",
                           "events=%s,file=%s" % (events, log)]).start()
    old = vm.proc
    vm.transfer()
    text = log.read_text()
    assert text.startswith("an older line\n")
    # Two processes have written whole lines, in one file.
    assert {int(line.split("@")[0]) for line in text.splitlines()[1:]} == {
        old.pid, vm.pid}
    seen = [name for name, _ in lines(text)]
    assert "cpr_state_save" in seen and "cpr_state_load" in seen
    assert "cpr_find_fd" not in seen
    for proc in (old, vm.proc):
        assert proc.log() == \
            "baton: warning: trace event 'no_such_event' does not exist\n"


def test_dash_d_takes_trace_lines_and_leaves_messages(vms, tmp_path):
    log = tmp_path / "log"
    vm = vms("gap", extra=["-D", str(log), "-trace", "runstate_*",
                           "-trace", "nope"]).start()
    assert [name for name, _ in lines(log.read_text(), vm.pid)] == [
        "runstate_set"]
    assert "does not exist" in vm.proc.log()
    assert "runstate" not in vm.proc.log()


def test_a_log_that_nobody_reads_does_not_stop_the_guest(vms, tmp_path):
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        vm = vms("serial", extra=["-D", fifo, "-trace", "*"]).start()
        assert os.read(reader, 1 << 16)
        vm.running()
    finally:
        os.close(reader)
    vm.running()
    # The next image cannot open it again, and takes the guest all the same.
    vm.exec_()
    vm.running()
    vm.check_no_errors()
    assert "warning: -D %s: cannot open the log" % fifo in vm.proc.log()


def test_time_stamps_come_and_go_with_dash_msg(vms):
    off = vms("gap", extra=["-msg", "timestamp=off", "-trace", "runstate_set",
                            "-trace", "nope"]).start()
    assert off.proc.log().splitlines() == [
        "baton: warning: trace event 'nope' does not exist",
        "runstate_set current_run_state 0 (prelaunch) new_state 2 (running)"]
    on = vms("gap", extra=["-msg", "timestamp=on", "-trace", "runstate_set",
                           "-trace", "nope"]).start()
    first, second = on.proc.log().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z baton: "
                        "warning: trace event 'nope' does not exist", first)
    assert LINE.fullmatch(second)


def test_exits_of_a_vcpu_are_told_apart(vms):
    vm = vms("serial", extra=["-trace", "kvm_*"]).start()
    vm.running()
    seen = lines(vm.proc.log())
    in_order(seen, [
        ("kvm_run_exit", "cpu_index 0, reason 2"),
        ("kvm_exit_io", "cpu_index 0, port 0x3f8, out 1 bytes, 1 times")])


def hmp(vm, line):
    return vm.qmp.cmd("human-monitor-command", command_line=line)


def test_events_come_and_go_while_the_guest_runs(vms):
    vm = vms("gap").start()
    assert hmp(vm, "info trace-events runstate_*") == \
        "runstate_set : state 0\r\n"
    vm.qmp.cmd("stop")
    assert hmp(vm, "trace-event runstate_* on") == ""
    assert hmp(vm, "info trace-events runstate_set") == \
        "runstate_set : state 1\r\n"
    vm.qmp.cmd("cont")
    vm.running()
    vm.qmp.cmd("trace-event-set-state", {"name": "*", "enable": False})
    vm.qmp.cmd("stop")
    vm.qmp.cmd("trace-event-set-state",
               {"name": "vm_state_notify", "enable": True})
    vm.qmp.cmd("cont")
    vm.running()
    seen = lines(vm.proc.log(), vm.pid)
    assert [name for name, _ in seen] == ["runstate_set", "vm_state_notify"]
    assert "(paused)" in seen[0][1] and "(running)" in seen[0][1]
    assert vm.qmp.cmd("trace-event-get-state", {"name": "vm_*"}) == [
        {"name": "vm_state_notify", "state": "enabled"}]
    assert hmp(vm, "trace-event nope on") == 'unknown event "nope"\r\n'
    vm.running()
    vm.check_no_errors()


def test_all_events_at_once_on_a_busy_guest_leave_whole_lines(vms, cpu_load):
    vm = vms("smp", smp=2).start()
    assert hmp(vm, "trace-event * on") == ""
    vm.transfer(extra=["-trace", "*"])
    vm.running()
    assert hmp(vm, "trace-event * off") == ""
    for proc in vm.procs:
        text = proc.log()
        assert text.endswith("\n")
        for line in text.splitlines():
            assert LINE.fullmatch(line), line
    vm.check_no_errors()


@pytest.mark.parametrize("option, words", [
    (["-trace", "frob=1"], ["-trace frob=1", "no property 'frob'"]),
    (["-trace", "cpr_*,qemu_*"], ["'qemu_*'", "option of its own"]),
    (["-trace", "events=/nonexistent/x"],
     ["-trace events=", "/nonexistent/x", "No such file"]),
    (["-trace", "events=/dev"], ["/dev", "directory"]),
    (["-trace", "events=/bin/true"], ["/bin/true", "not a text"]),
    (["-trace", "file=/nonexistent/x"], ["/nonexistent/x", "No such file"]),
    (["-trace", "x" * 5000], ["too long"]),
    (["-trace", "cpr_*"] * 65, ["more than 64"]),
    (["-trace"], ["requires an argument"]),
    (["-D", "/nonexistent/x"], ["-D", "/nonexistent/x", "No such file"]),
    (["-msg", "timestamp=maybe"], ["maybe"]),
    (["-msg", "frob=on"], ["frob"]),
])
def test_bad_trace_options_are_refused(option, words):
    done = subprocess.run([harness.BATON] + GOOD + option,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=20, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("pattern, warned", [
    ("nope", True), ("-nope", True), ("CPR_exec", True), ("", True),
    ("nope*", False), ("?", False), ("cpr_exec", False)])
def test_only_an_exact_name_that_does_not_exist_is_warned_of(pattern, warned):
    done = subprocess.run([harness.BATON, "-trace", "enable=" + pattern,
                           "-version"], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=20, text=True,
                          check=True)
    want = "baton: warning: trace event '%s' does not exist\n" % \
        pattern.lstrip("-")
    assert done.stderr == (want if warned else "")


def test_the_list_has_the_names_that_users_know():
    have = names()
    assert len(have) == len(set(have))
    for name in ("cpr_save_fd", "cpr_delete_fd", "cpr_find_fd",
                 "cpr_state_save", "cpr_state_load", "cpr_transfer_input",
                 "cpr_transfer_output", "cpr_exec", "migrate_set_state",
                 "savevm_section_start", "qemu_loadvm_state_section",
                 "runstate_set", "vm_state_notify"):
        assert name in have


def test_the_program_holds_a_probe_for_each_event():
    done = subprocess.run(["readelf", "-n", harness.BATON],
                          capture_output=True, timeout=60, text=True,
                          check=True)
    probes = re.findall(r"Provider: (\S+)\n\s+Name: (\S+)\n.*\n"
                        r"\s+Arguments:(.*)", done.stdout)
    assert {provider for provider, _, _ in probes} == {"baton"}
    # No event is listed that nothing in the program tells of.
    assert {name for _, name, _ in probes} == set(names())
    counts = {name: len(arguments.split()) for _, name, arguments in probes}
    assert counts["cpr_save_fd"] == 3
    assert counts["cpr_exec"] == 0
    assert counts["qemu_loadvm_state_section_startfull"] == 4
