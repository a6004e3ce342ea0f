# SPDX-License-Identifier: MIT
"""Each way an update can fail: the reply, the events, the state afterwards."""

import os
import socket
import threading

import pytest

import qmp

SETUP_FAILED = ["MIGRATION setup", "MIGRATION failing", "MIGRATION failed"]


@pytest.fixture
def vm(vms):
    one = vms("gap", append="pattern=16M").start()
    one.set_parameters(mode="cpr-transfer")
    one.qmp.take_events()
    return one


def check(vm, events, text):
    """The guest runs on, the reason is told, and the next attempt works."""
    assert vm.qmp.take_events() == events
    answer = vm.qmp.cmd("query-migrate")
    assert set(answer) == {"status", "error-desc"}, answer
    assert answer["status"] == "failed"
    assert text in answer["error-desc"]
    assert vm.status() == {"status": "running", "running": True}
    vm.running()
    vm.check_no_errors()
    vm.transfer()
    vm.running()


def test_cpr_socket_cannot_be_connected(vm):
    with pytest.raises(qmp.QmpError, match="Failed to connect to '.*': No su"):
        vm.migrate_to(7)
    check(vm, SETUP_FAILED, "Failed to connect to")


def test_cpr_address_is_not_unix(vm):
    with pytest.raises(qmp.QmpError, match="bad cpr channel address; must be "
                                           "unix"):
        vm.qmp.cmd("migrate", channels=[
            vm.unix_channel("main", vm.path("main")),
            {"channel-type": "cpr", "addr": {
                "transport": "socket", "type": "inet", "host": "127.0.0.1",
                "port": "1"}}])
    check(vm, SETUP_FAILED, "bad cpr channel address; must be unix")


def test_nobody_listens_on_main(vm):
    """The new side is ready, but elsewhere than the old one is told."""
    generation, new = vm.spawn_incoming()
    vm.qmp.cmd("migrate", channels=[
        vm.unix_channel("main", vm.path("elsewhere")),
        vm.unix_channel("cpr", vm.cpr_path(generation))])
    vm.wait_migrate()
    assert new.wait() == 1
    check(vm, SETUP_FAILED, "Failed to connect to")


def limited(vm, limit):
    """A main channel that closes after so many bytes; returns its path."""
    path = vm.path("limited")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def run():
        conn, _ = listener.accept()
        got = 0
        with conn, listener:
            while got < limit:
                data = conn.recv(min(limit - got, 4096))
                if not data:
                    return
                got += len(data)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return path


@pytest.mark.parametrize("limit", (0, 1000))
def test_peer_of_main_closes(vm, limit):
    """Where QEMU hears of it by the write, here the new side's silence tells."""
    generation, new = vm.spawn_incoming()
    vm.qmp.cmd("migrate", channels=[
        vm.unix_channel("main", limited(vm, limit)),
        vm.unix_channel("cpr", vm.cpr_path(generation))])
    vm.wait_migrate()
    new.kill()
    assert vm.qmp.take_events() == [
        "MIGRATION setup", "STOP", "MIGRATION active", "MIGRATION_PASS",
        "MIGRATION device", "MIGRATION failing", "RESUME",
        "MIGRATION failed"]
    answer = vm.qmp.cmd("query-migrate")
    assert answer["error-desc"]
    vm.running()
    vm.transfer()


def test_exec_fails(vm):
    program = vm.program_for_a_trial_only()
    vm.set_parameters(mode="cpr-exec",
                      cpr_exec_command=[program] + vm.exec_command()[1:])
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    vm.wait_migrate()
    events = vm.qmp.take_events()
    assert events[:6] == [
        "MIGRATION setup", "STOP", "MIGRATION active", "MIGRATION_PASS",
        "MIGRATION device", "MIGRATION completed"]
    assert sorted(events[6:]) == ["MIGRATION failed", "RESUME"]
    check(vm, [], "execvp %s failed: No such file" % program)


def test_program_cannot_be_tried(vm):
    vm.set_parameters(mode="cpr-exec",
                      cpr_exec_command=["/nonexistent/baton"])
    with pytest.raises(qmp.QmpError, match="cannot run '/nonexistent/baton'"):
        vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    check(vm, SETUP_FAILED, "/nonexistent/baton")
    assert not os.path.exists(vm.path("vm.state"))


def test_program_that_was_tried_says_no(vm):
    vm.set_parameters(mode="cpr-exec",
                      cpr_exec_command=vm.exec_command() + ["-smp", "2"])
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    vm.wait_migrate()
    check(vm, SETUP_FAILED, "use -smp 1")
    assert not os.path.exists(vm.path("vm.state"))


def test_exec_main_file_cannot_be_written(vm):
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=["baton"])
    with pytest.raises(qmp.QmpError, match="Could not create"):
        vm.qmp.cmd("migrate", uri="file:/nonexistent/vm.state")
    check(vm, SETUP_FAILED, "Could not create")


@pytest.mark.parametrize("channels, text", (
    ([], "Channel list has no main entry"),
    (["cpr"], "Channel list has no main entry"),
    (["main", "main"], "Channel list has more than one main entry"),
    (["main"], "missing 'cpr' migration channel"),
))
def test_precondition_changes_nothing(vm, channels, text):
    with pytest.raises(qmp.QmpError, match=text):
        vm.qmp.cmd("migrate", channels=[
            vm.unix_channel(c, vm.path(c)) for c in channels])
    assert vm.qmp.take_events() == []
    assert vm.qmp.cmd("query-migrate") == {}
    vm.running()


def test_bad_main_stream_on_the_new_side(vms):
    """It says so and ends, or stays to be tried again, as it was told."""
    vm = vms("gap", append="pattern=16M").start()
    bad = vm.path("bad")
    with open(bad, "wb") as f:
        f.write(b"QEVM\0\0\0\3" + b"\7\0\0\0\7baton-1" + b"x" * 1000)
    _, new = vm.spawn_deferred()
    new.qmp.take_events()
    new.qmp.cmd("migrate-incoming", uri="file:" + bad, exit_on_error=False)
    answer = vm.wait_loaded(new)
    assert answer["status"] == "failed"
    assert new.qmp.take_events() == [
        "MIGRATION setup", "MIGRATION active", "MIGRATION failed"]
    new.qmp.cmd("migrate-incoming", uri="file:" + bad)
    assert new.wait() == 1
    vm.running()
