# SPDX-License-Identifier: MIT
"""The guest in a stream: cpr-reboot and normal mode, over every channel."""

import os
import socket
import time

import pytest

import procstat
import qmp
from vm import check_growth

SOURCE_EVENTS = ["MIGRATION setup", "STOP", "MIGRATION active",
                 "MIGRATION_PASS", "MIGRATION device", "MIGRATION completed"]
TARGET_EVENTS = ["MIGRATION setup", "MIGRATION active", "RESUME",
                 "MIGRATION completed"]
FAILED_EVENTS = ["MIGRATION setup", "STOP", "MIGRATION active",
                 "MIGRATION_PASS", "MIGRATION failing", "RESUME",
                 "MIGRATION failed"]
TABLES = 128 << 10  # the block of the ACPI tables


def on_file(vms, **kwargs):
    """A guest whose RAM is a file that a later process finds by its name."""
    vm = vms("gap", append="pattern=16M", backend=False, **kwargs)
    ram = vm.path("ram.img")
    vm.extra += ["-object", "memory-backend-file,id=ram0,size=256M,share=on,"
                 "mem-path=" + ram, "-machine", "memory-backend=ram0"]
    vm.start_on_file(ram)
    return vm, ram


def check_guest(vm, digest, beat):
    vm.running()
    assert vm.head.heartbeat > beat
    assert vm.static_hash() == digest
    assert vm.head.boots == 1, "the guest was booted again"
    assert vm.body.backward == 0
    vm.check_no_errors()


@pytest.mark.parametrize("mode", ("cpr-reboot", "normal"))
def test_guest_goes_on_from_a_file_with_its_memory(vms, mode):
    vm = vms("gap", append="pattern=16M").start()
    state = "file:" + vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.qmp.take_events()
    answer = vm.save(state, mode)
    assert answer["status"] == "completed", answer
    assert vm.qmp.take_events() == SOURCE_EVENTS
    assert answer["ram"]["total"] == (256 << 20) + TABLES
    assert answer["ram"]["normal"] >= (16 << 20) // 4096
    assert answer["ram"]["duplicate"] > 0
    assert answer["ram"]["remaining"] == 0
    assert vm.status() == {"status": "postmigrate", "running": False}
    assert vm.stopped()
    size = os.stat(vm.path("vm.state")).st_size
    assert size < 40 << 20, "pages of zeros take %d bytes" % size
    assert os.stat(vm.path("vm.state")).st_mode & 0o777 == 0o600
    vm.quit()
    vm.load(state, mode)
    assert vm.qmp.take_events() == TARGET_EVENTS
    check_guest(vm, digest, beat)
    # Memory that was never written takes none in the new process either.
    assert procstat.ram_resident(vm.pid) < 40 << 20


def test_shared_file_stays_in_place(vms):
    vm, ram = on_file(vms)
    state = "file:" + vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    answer = vm.save(state, shared=True)
    assert answer["status"] == "completed", answer
    # The ACPI tables are in a memfd, which ends with its process.
    assert answer["ram"]["normal"] <= TABLES // 4096
    assert os.stat(vm.path("vm.state")).st_size < 1 << 20
    vm.quit()
    vm.load(state, shared=True, ram_path=ram)
    check_guest(vm, digest, beat)


def test_stream_of_a_memfd_holds_its_pages_even_so(vms):
    vm = vms("gap", append="pattern=16M").start()
    state = "file:" + vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    answer = vm.save(state, shared=True)
    assert answer["ram"]["normal"] >= (16 << 20) // 4096
    vm.quit()
    vm.load(state, shared=True)
    check_guest(vm, digest, beat)


def test_file_that_was_renamed_is_not_left_in_place(vms):
    vm, ram = on_file(vms)
    state = "file:" + vm.path("vm.state")
    os.rename(ram, ram + ".gone")
    answer = vm.save(state, shared=True)
    assert answer["ram"]["normal"] >= (16 << 20) // 4096
    vm.quit()
    _, new = vm.spawn_deferred(shared=True)
    new.qmp.cmd("migrate-incoming", uri=state, exit_on_error=False)
    assert "block ram0 should not be migrated" in \
        vm.wait_loaded(new)["error-desc"]


def test_private_memory_goes_by_stream(vms):
    vm = vms("gap", append="pattern=16M", backend=False)
    ram = vm.path("ram.img")
    vm.extra = ["-object", "memory-backend-file,id=ram0,size=256M,share=off,"
                "mem-path=" + ram, "-machine", "memory-backend=ram0",
                "-serial", "file:" + vm.path("serial.log")]
    vm.generation, vm.proc = vm.spawn()
    vm.proc.connect(vm.qmp_path(0))
    state = "file:" + vm.path("vm.state")
    answer = vm.save(state)
    assert answer["status"] == "completed", answer
    vm.quit()
    _, new = vm.spawn_deferred()
    new.qmp.cmd("migrate-incoming", uri=state)
    assert vm.wait_loaded(new)["status"] == "completed"
    assert new.qmp.cmd("query-status")["status"] == "running"


def test_source_may_go_on_after_a_save(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.save("file:" + vm.path("vm.state"))
    vm.qmp.take_events()
    vm.qmp.cmd("cont")
    assert vm.qmp.take_events() == ["RESUME"]
    check_guest(vm, digest, beat)
    # And be saved again.
    assert vm.save("file:" + vm.path("vm.state"))["status"] == "completed"


def test_source_goes_on_if_nobody_took_its_shared_file(vms):
    vm, _ = on_file(vms)
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.save("file:" + vm.path("vm.state"), shared=True)
    assert vm.stopped()
    vm.qmp.cmd("cont")
    check_guest(vm, digest, beat)


@pytest.mark.parametrize("how", ("emptied", "older", "missing"))
def test_file_that_is_not_the_guests_memory_is_refused(vms, how):
    vm, ram = on_file(vms)
    state = "file:" + vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    with open(ram, "rb") as f:
        before = f.read()
    vm.running()
    vm.save(state, shared=True)
    vm.quit()
    os.rename(ram, ram + ".right")
    if how != "missing":
        with open(ram, "wb") as f:
            f.truncate(256 << 20)
            if how == "older":
                f.write(before)
    _, new = vm.spawn_deferred(shared=True)
    new.qmp.cmd("migrate-incoming", uri=state, exit_on_error=False)
    answer = vm.wait_loaded(new)
    assert answer["status"] == "failed"
    assert "does not hold what it held" in answer["error-desc"]
    new.kill()
    os.rename(ram + ".right", ram)
    vm.load(state, shared=True, ram_path=ram)
    check_guest(vm, digest, beat)


def test_two_processes_never_run_on_the_same_file(vms):
    vm, ram = on_file(vms)
    state = "file:" + vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.save(state, shared=True)
    source = vm.proc
    # The source goes on first: nobody else can have the guest.
    source.qmp.cmd("cont")
    generation, new = vm.spawn_deferred(shared=True)
    with pytest.raises(qmp.QmpError, match="another machine uses"):
        new.qmp.cmd("migrate-incoming", uri=state, exit_on_error=False)
    assert vm.wait_loaded(new)["status"] == "failed"
    check_guest(vm, digest, beat)
    # Saved again, and taken over: the source has lost it.
    vm.save(state, shared=True)
    beat = vm.head.heartbeat
    new.qmp.cmd("migrate-incoming", uri=state)
    vm.adopt_loaded(generation, new, ram)
    with pytest.raises(qmp.QmpError, match="another machine uses"):
        source.qmp.cmd("cont")
    with pytest.raises(qmp.QmpError, match="cannot be reset"):
        source.qmp.cmd("system_reset")
    assert source.qmp.cmd("query-status")["status"] == "postmigrate"
    check_guest(vm, digest, beat)


def test_a_second_machine_cannot_boot_into_the_file(vms):
    vm, _ = on_file(vms)
    digest, beat = vm.static_hash(), vm.head.heartbeat
    _, second = vm.spawn()
    assert second.wait() == 1
    assert "another machine uses this memory" in second.log()
    check_guest(vm, digest, beat)


def test_the_file_is_locked_after_updates_too(vms):
    vm, _ = on_file(vms)
    for mode in ("transfer", "exec", "transfer"):
        vm.update(mode)
        _, second = vm.spawn()
        assert second.wait() == 1
        assert "another machine uses this memory" in second.log()
    vm.running()
    vm.check_no_errors()


def test_stopped_guest_comes_back_stopped(vms):
    vm = vms("gap", append="pattern=16M").start()
    state = "file:" + vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.qmp.cmd("stop")
    vm.qmp.take_events()
    vm.save(state)
    assert vm.qmp.take_events() == [e for e in SOURCE_EVENTS if e != "STOP"]
    vm.quit()
    vm.load(state)
    assert vm.qmp.take_events() == [e for e in TARGET_EVENTS if e != "RESUME"]
    assert vm.status() == {"status": "paused", "running": False}
    vm.qmp.cmd("cont")
    assert vm.qmp.take_events() == ["RESUME"]
    check_guest(vm, digest, beat)


def test_dash_s_on_the_new_side_keeps_it_paused(vms):
    vm = vms("gap", append="pattern=16M").start()
    state = "file:" + vm.path("vm.state")
    vm.save(state)
    vm.quit()
    vm.load(state, extra=["-S"])
    assert vm.status() == {"status": "paused", "running": False}
    assert "RESUME" not in vm.qmp.take_events()


def test_offset_keeps_what_is_before(vms):
    vm = vms("gap", append="pattern=16M").start()
    path = vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    with open(path, "wb") as f:
        f.write(b"operator's own".ljust(8192, b"."))
    assert vm.save("file:%s,offset=0x1000" % path)["status"] == "completed"
    with open(path, "rb") as f:
        assert f.read(0x1000) == b"operator's own".ljust(0x1000, b".")
        assert f.read(4) == b"QEVM"
    vm.quit()
    generation, new = vm.spawn_deferred()
    new.qmp.cmd("migrate-incoming", channels=[
        {"channel-type": "main", "addr": {
            "transport": "file", "filename": path, "offset": 0x1000}}])
    vm.adopt_loaded(generation, new)
    check_guest(vm, digest, beat)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


@pytest.mark.parametrize("kind", ("unix", "tcp4", "tcp6"))
def test_guest_goes_over_a_socket(vms, kind):
    vm = vms("gap", append="pattern=16M").start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    uri = {"unix": "unix:" + vm.path("main.sock"),
           "tcp4": "tcp:127.0.0.1:%d" % free_port(),
           "tcp6": "tcp:[::1]:%d" % free_port()}[kind]
    if kind == "tcp6" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("THIS HOST HAS NO IPv6")
    generation, new = vm.spawn_deferred("normal")
    new.qmp.cmd("migrate-incoming", uri=uri)
    assert vm.save(uri, "normal")["status"] == "completed"
    vm.quit()
    vm.adopt_loaded(generation, new)
    check_guest(vm, digest, beat)
    assert not os.path.exists(vm.path("main.sock"))


def test_guest_goes_through_commands(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    packed = vm.path("vm state.gz")
    assert vm.save("exec:gzip -1 >'%s'" % packed)["status"] == "completed"
    with open(packed, "rb") as f:
        assert f.read(2) == b"\x1f\x8b"
    vm.quit()
    generation, new = vm.spawn_deferred()
    new.qmp.cmd("migrate-incoming", channels=[
        {"channel-type": "main", "addr": {
            "transport": "exec", "args": ["gzip", "-dc", packed]}}])
    vm.adopt_loaded(generation, new)
    check_guest(vm, digest, beat)


def pass_fd(monitor, fd, name):
    socket.send_fds(monitor.sock, [b'{"execute":"getfd","arguments":'
                                   b'{"fdname":"%s"}}\n' % name.encode()],
                    [fd])
    assert monitor.reply() == {"return": {}}


def test_guest_goes_through_descriptors(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    old = vm.qmp
    generation, new = vm.spawn_deferred("normal")
    a, b = socket.socketpair()
    with a, b:
        pass_fd(old, a.fileno(), "out")
        pass_fd(new.qmp, b.fileno(), "in")
    new.qmp.cmd("migrate-incoming", uri="fd:in")
    with pytest.raises(qmp.QmpError, match="named 'none' has not been"):
        vm.save("fd:none", "normal")
    assert vm.save("fd:out", "normal")["status"] == "completed"
    vm.quit()
    vm.adopt_loaded(generation, new)
    check_guest(vm, digest, beat)


def test_reader_needs_no_end_of_file(vms):
    """Whoever started the new side may hold the other end of its pipe too."""
    vm = vms("gap", append="pattern=16M").start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    generation, new = vm.spawn_deferred("normal")
    reader, writer = os.pipe()
    pass_fd(new.qmp, reader, "in")
    os.close(reader)
    new.qmp.cmd("migrate-incoming", uri="fd:in")
    pass_fd(vm.qmp, writer, "out")
    try:
        assert vm.save("fd:out", "normal")["status"] == "completed"
        vm.quit()
        vm.adopt_loaded(generation, new)
    finally:
        os.close(writer)
    check_guest(vm, digest, beat)


def test_load_that_waits_is_cancelled(vms):
    vm = vms("gap", append="pattern=16M").start()
    path = vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.save("file:" + path, "normal")
    vm.quit()
    generation, new = vm.spawn_deferred("normal")
    new.qmp.cmd("migrate-incoming", uri="exec:sleep 1000",
                exit_on_error=False)
    new.qmp.cmd("migrate_cancel")
    assert new.qmp.cmd("query-migrate")["status"] == "cancelled"
    new.qmp.cmd("migrate-incoming", uri="file:" + path)
    vm.adopt_loaded(generation, new)
    check_guest(vm, digest, beat)


def test_guest_goes_over_a_name_without_a_file(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    channels = [{"channel-type": "main", "addr": {
        "transport": "socket", "type": "unix", "abstract": True,
        "path": "baton-test-" + os.path.basename(vm.dir)}}]
    generation, new = vm.spawn_deferred("normal")
    new.qmp.cmd("migrate-incoming", channels=channels)
    assert vm.save(None, "normal",
                   channels=channels)["status"] == "completed"
    vm.quit()
    vm.adopt_loaded(generation, new)
    check_guest(vm, digest, beat)


def test_transfer_with_a_descriptor_for_the_main_channel(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    generation, new = vm.spawn_incoming()
    vm.set_parameters(mode="cpr-transfer")
    # Nobody listens there before the new side is built, so a socket that
    # is connected by then goes through a server of ours.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(vm.path("ours"))
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(vm.path("ours"))
    server, _ = listener.accept()
    pass_fd(vm.qmp, client.fileno(), "main")
    client.close()
    listener.close()
    old = vm.qmp
    old.cmd("migrate", channels=[
        {"channel-type": "main", "addr": {"transport": "socket",
                                          "type": "fd", "str": "main"}},
        vm.unix_channel("cpr", vm.cpr_path(generation))])
    with server:
        pump(server, vm.main_path(generation))
    assert vm.wait_migrate()["status"] == "completed"
    source = vm.proc
    vm.adopt(generation, new)
    source.qmp.cmd("quit")
    assert source.wait() == 0
    check_guest(vm, digest, beat)


def pump(source, path):
    """Carries what comes from source to the socket of that name."""
    end = time.monotonic() + 20
    with socket.socket(socket.AF_UNIX) as to:
        while True:
            try:
                to.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < end
                time.sleep(0.002)
        while True:
            data = source.recv(65536)
            if not data:
                return
            to.sendall(data)


def test_incoming_on_the_command_line(vms):
    vm = vms("gap", append="pattern=16M").start()
    state = "file:" + vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.save(state, "normal")
    vm.quit()
    generation, new = vm.spawn(["-incoming", state])
    new.connect(vm.qmp_path(generation), events=False)
    vm.adopt_loaded(generation, new)
    check_guest(vm, digest, beat)


def test_globals_set_what_the_monitor_would(vms):
    vm, ram = on_file(vms)
    state = "file:" + vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.save(state, shared=True)
    vm.quit()
    generation, new = vm.spawn([
        "-global", "migration.x-events=on",
        "-global", "migration.x-ignore-shared=on",
        "-global", "migration.mode=cpr-reboot", "-incoming", state])
    new.connect(vm.qmp_path(generation), events=False)
    assert new.qmp.cmd("query-migrate-parameters")["mode"] == "cpr-reboot"
    caps = {c["capability"]: c["state"]
            for c in new.qmp.cmd("query-migrate-capabilities")}
    assert caps["events"] and caps["x-ignore-shared"]
    vm.adopt_loaded(generation, new, ram)
    check_guest(vm, digest, beat)


# What goes wrong.

def check_goes_on(vm, digest, error, events=None):
    answer = vm.qmp.cmd("query-migrate")
    assert answer["status"] == "failed", answer
    assert error in answer["error-desc"]
    assert vm.status()["status"] == "running"
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()
    if events:
        assert vm.qmp.take_events() == events
    # Nothing is left of the attempt: the next one works.
    vm.save("file:" + vm.path("again.state"))
    assert vm.status()["status"] == "postmigrate"


def test_full_file_system_fails_the_save_and_leaves_no_file(vms, small_fs):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    vm.qmp.take_events()
    path = os.path.join(small_fs, "vm.state")
    vm.save("file:" + path)
    assert not os.path.exists(path)
    check_goes_on(vm, digest, "No space left on device", FAILED_EVENTS)


def test_full_file_system_keeps_what_is_before_the_offset(vms, small_fs):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    path = os.path.join(small_fs, "vm.state")
    with open(path, "wb") as f:
        f.write(b"x" * 5000)
    vm.save("file:%s,offset=4096" % path)
    with open(path, "rb") as f:
        assert f.read() == b"x" * 4096
    check_goes_on(vm, digest, "No space left on device")


@pytest.mark.parametrize("command, error", (
    ("head -c 100000 >/dev/null; exit 3", "ended with status 3"),
    ("kill -9 $$", "was ended by signal 9"),
    ("cat >/dev/null; exit 1", "ended with status 1"),
))
def test_command_that_dies_fails_the_save(vms, command, error):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    vm.qmp.take_events()
    vm.save("exec:" + command)
    check_goes_on(vm, digest, error, FAILED_EVENTS)


def test_command_that_takes_no_more_fails_the_save_though_it_does_not_end(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    vm.save("exec:exec <&-; sleep 1000", timeout=20)
    check_goes_on(vm, digest, "Broken pipe")


@pytest.mark.parametrize("command,error", (
    ("cat '%s'; sleep 1000", "has not ended within 10 s"),
    ("head -c 100000 '%s'; echo nonsense; sleep 1000", ""),
    ("head -c 100000 '%s'; exit 4", "ended with status 4"),
))
def test_load_does_not_wait_for_a_command_without_end(vms, command, error):
    vm = vms("gap", append="pattern=16M").start()
    state = vm.path("vm.state")
    vm.save("file:" + state)
    vm.quit()
    _, new = vm.spawn_deferred()
    if "nonsense" in command:
        with open(state, "r+b") as f:
            f.seek(50000)
            f.write(b"\xff" * 4096)
    new.qmp.cmd("migrate-incoming", uri="exec:" + command % state,
                exit_on_error=False)
    answer = vm.wait_loaded(new, 20)
    assert answer["status"] == "failed"
    assert error in answer["error-desc"], answer
    assert "signal" not in answer["error-desc"], answer
    assert procstat.children(new.pid) == []


def test_peer_that_takes_nothing_fails_the_save_after_a_while(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    with stuck_save(vm):
        answer = vm.wait_migrate(60)
    assert answer["status"] == "failed"
    check_goes_on(vm, digest, "it has taken no byte for 30 s")


def test_peer_that_goes_away_fails_the_save(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(vm.path("main.sock"))
        s.listen()
        vm.set_parameters(mode="normal")
        vm.qmp.cmd("migrate", uri="unix:" + vm.path("main.sock"))
        conn, _ = s.accept()
        conn.recv(65536)
        conn.close()
    vm.wait_migrate()
    check_goes_on(vm, digest, "Unable to write to unix:")


def stuck_save(vm):
    """A save that waits for a peer which reads nothing."""
    s = socket.socket(socket.AF_UNIX)
    s.bind(vm.path("stuck.sock"))
    s.listen()
    vm.set_parameters(mode="cpr-reboot")
    vm.qmp.cmd("migrate", uri="unix:" + vm.path("stuck.sock"))
    conn, _ = s.accept()
    s.close()
    return conn


def test_cancel_in_the_middle_brings_the_guest_back(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    vm.qmp.take_events()
    with stuck_save(vm):
        vm.wait_for("the save", lambda: vm.qmp.cmd("query-migrate")
                    ["status"] == "active")
        assert vm.status() == {"status": "finish-migrate", "running": False}
        with pytest.raises(qmp.QmpError, match="migration process in progr"):
            vm.qmp.cmd("migrate", uri="file:" + vm.path("other"))
        with pytest.raises(qmp.QmpError, match="not finalized"):
            vm.qmp.cmd("cont")
        assert vm.stopped()
        vm.qmp.cmd("migrate_cancel")
    assert vm.qmp.take_events() == [
        "MIGRATION setup", "STOP", "MIGRATION active", "MIGRATION_PASS",
        "MIGRATION cancelling", "RESUME", "MIGRATION cancelled"]
    vm.running()
    assert vm.static_hash() == digest
    assert vm.save("file:" + vm.path("vm.state"))["status"] == "completed"


def test_quit_in_the_middle_leaves_nothing(vms):
    vm = vms("gap", append="pattern=16M").start()
    with stuck_save(vm):
        vm.quit()


def test_command_is_ended_when_the_save_is_cancelled(vms):
    vm = vms("gap", append="pattern=16M").start()
    pids = vm.path("pid")
    vm.set_parameters(mode="cpr-reboot")
    vm.qmp.cmd("migrate", uri="exec:echo $$ >%s; exec sleep 1000" % pids)
    vm.wait_for("the command", lambda: os.path.exists(pids) and
                open(pids).read().endswith("\n"))
    pid = int(open(pids).read())
    vm.qmp.cmd("migrate_cancel")
    vm.running()
    vm.wait_for("the end of the command",
                lambda: not os.path.exists("/proc/%d" % pid))


def damaged(path, how):
    with open(path, "rb") as f:
        data = bytearray(f.read())
    if how == "cut":
        data = data[:len(data) // 2]
    elif how == "flipped":
        data[len(data) // 2] ^= 4
    elif how == "empty":
        data = b""
    with open(path + ".bad", "wb") as f:
        f.write(data)
    return path + ".bad"


@pytest.mark.parametrize("how, error", (
    ("cut", "truncated"),
    ("flipped", ""),
    ("empty", "Not a migration stream"),
))
def test_damaged_file_is_refused_and_the_good_one_loads(vms, how, error):
    vm = vms("gap", append="pattern=16M").start()
    path = vm.path("vm.state")
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.save("file:" + path)
    vm.quit()
    bad = damaged(path, how)
    generation, new = vm.spawn_deferred()
    new.qmp.cmd("migrate-incoming", uri="file:" + bad, exit_on_error=False)
    answer = vm.wait_loaded(new)
    assert answer["status"] == "failed" and error in answer["error-desc"]
    assert new.qmp.take_events() == [
        "MIGRATION setup", "MIGRATION active", "MIGRATION failed"]
    assert new.qmp.cmd("query-status")["status"] == "inmigrate"
    new.qmp.cmd("migrate-incoming", uri="file:" + path)
    vm.adopt_loaded(generation, new)
    check_guest(vm, digest, beat)


def test_bad_file_ends_the_process_unless_told_otherwise(vms):
    vm = vms("gap", append="pattern=16M").start()
    _, new = vm.spawn_deferred()
    new.qmp.cmd("migrate-incoming", uri="file:" + vm.path("0.log"))
    assert new.wait() == 1
    assert "load of migration failed" in new.log()


def test_capability_must_be_the_same_on_both_sides(vms):
    vm = vms("gap", append="pattern=16M").start()
    vm.save("file:" + vm.path("vm.state"), shared=True)
    vm.quit()
    _, new = vm.spawn_deferred(shared=False)
    new.qmp.cmd("migrate-incoming", uri="file:" + vm.path("vm.state"),
                exit_on_error=False)
    answer = vm.wait_loaded(new)
    assert "Capability x-ignore-shared is off, but received capability is " \
        "on" in answer["error-desc"]


def test_smp_guest_goes_on(vms):
    vm = vms("smp", smp=2).start()
    state = "file:" + vm.path("vm.state")
    for _ in range(5):
        beat = vm.head.heartbeat
        vm.save(state)
        vm.quit()
        vm.load(state)
        vm.running()
        assert vm.head.heartbeat > beat
        vm.check_no_errors()


def test_saving_takes_no_memory_of_its_own(vms):
    vm = vms("gap", append="pattern=128M").start()
    before = procstat.rss_beyond_ram(vm.pid)
    peak = 0
    vm.set_parameters(mode="cpr-reboot")
    vm.qmp.cmd("migrate", uri="exec:sleep 0.3; cat >/dev/null")
    while vm.qmp.cmd("query-migrate")["status"] != "completed":
        peak = max(peak, procstat.rss_beyond_ram(vm.pid))
    assert peak > 0
    check_growth(before, peak, 4 << 20)
