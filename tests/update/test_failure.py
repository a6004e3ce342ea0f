# SPDX-License-Identifier: MIT
"""A failed update leaves the guest where it was, and the next one works."""

import os
import random
import signal
import socket
import time

import pytest

import vm as harness
from qmp import QmpError
from vm import Footprint


class Watch:
    """Nothing of the guest may change through a failed attempt."""

    def __init__(self, vm):
        self.vm = vm
        self.digest = vm.static_hash()
        self.footprint = Footprint(vm)
        self.pid = vm.pid

    def check(self, leaks=True):
        vm = self.vm
        assert vm.pid == self.pid and vm.proc.alive()
        assert vm.status() == {"status": "running", "running": True}
        vm.running()
        assert vm.static_hash() == self.digest
        assert vm.head.boots == 1
        vm.check_no_errors()
        vm.check_same_ram()
        if leaks:
            Footprint(vm).check_against(self.footprint)


def attempt(vm, timeout=30.0, **arguments):
    """migrate whose failure may be told by the reply or later."""
    try:
        vm.qmp.cmd("migrate", **arguments)
    except QmpError:
        pass
    return vm.wait_migrate(timeout)


@pytest.fixture
def vm(vms):
    return vms("gap", append="pattern=32M").start()


def no_permission(vm):
    path = vm.path("baton-without-x")
    with open(path, "wb") as f:
        f.write(b"\x7fELF")
    os.chmod(path, 0o644)
    return path


def not_executable_format(vm):
    path = vm.path("baton-of-another-kind")
    with open(path, "wb") as f:
        f.write(b"\x7fELF garbage")
    os.chmod(path, 0o755)
    return path


@pytest.mark.parametrize("make,reason", (
    (lambda vm: "/nonexistent/baton", "No such file or directory"),
    (lambda vm: "no-such-program-in-path", "No such file or directory"),
    (no_permission, "Permission denied"),
    (not_executable_format, "Exec format error")))
def test_guest_resumes_when_execvp_fails(vm, make, reason):
    watch = Watch(vm)
    program = make(vm)
    for _ in range(3):
        vm.set_parameters(mode="cpr-exec",
                          cpr_exec_command=vm.exec_command(program))
        answer = attempt(vm, uri="file:" + vm.path("vm.state"))
        assert answer["status"] == "failed"
        assert program in answer["error-desc"]
        assert reason in answer["error-desc"]
        vm.qmp.wait_event("MIGRATION", status="failed")
        watch.check()
    vm.exec_()
    vm.running()
    vm.transfer()
    vm.running()
    assert vm.static_hash() == watch.digest
    vm.check_no_errors()


def test_stopped_guest_stays_stopped_when_execvp_fails(vm):
    vm.qmp.cmd("stop")
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=["/nonexistent/x"])
    assert attempt(vm, uri="file:" + vm.path("s"))["status"] == "failed"
    assert vm.status() == {"status": "paused", "running": False}
    assert vm.stopped()
    vm.qmp.cmd("cont")
    vm.running()


def test_guest_resumes_when_the_new_side_is_killed_at_any_moment(
        vms, cpu_load):
    chance = random.Random(2)
    vm = vms("gap", append="pattern=32M").start()
    watch = Watch(vm)
    lost = 0
    failures = 0
    longest = 0.02
    for i in range(40):
        generation, new = vm.spawn_incoming()
        started = time.monotonic()
        vm.migrate_to(generation)
        time.sleep(chance.uniform(0, longest))
        new.kill()
        answer = vm.wait_migrate()
        took = time.monotonic() - started
        assert took < 20, "the old side waited %g s" % took
        if vm.status()["running"]:
            assert answer["status"] == "failed"
            failures += 1
            watch.check(leaks=i % 10 == 0)
            continue
        # It owned the guest, which died with it. The old process must not run
        # it as well.
        assert vm.status()["status"] == "postmigrate"
        assert vm.stopped()
        with pytest.raises(QmpError):
            vm.qmp.cmd("cont")
        lost += 1
        vm.close()
        vm = vms("gap", append="pattern=32M").start()
        watch = Watch(vm)
        longest = max(longest * 0.8, 0.004)
    assert failures >= 5, "%d failures, %d lost" % (failures, lost)
    vm.transfer()
    vm.running()
    assert vm.static_hash() == watch.digest
    vm.check_no_errors()


def test_guest_resumes_when_the_new_side_is_frozen(vm):
    """A new side that never answers: a deadline, not a hang."""
    watch = Watch(vm)
    generation, new = vm.spawn_incoming()
    new.popen.send_signal(signal.SIGSTOP)
    vm.set_parameters(mode="cpr-transfer")
    started = time.monotonic()
    answer = attempt(vm, timeout=75, channels=[
        vm.unix_channel("main", vm.main_path(generation)),
        vm.unix_channel("cpr", vm.cpr_path(generation))])
    assert time.monotonic() - started < 70
    assert answer["status"] == "failed"
    new.kill()
    watch.check()
    vm.transfer()
    vm.running()


@pytest.mark.parametrize("change,word", (
    ({"mem": "128M"}, "ram|size|memory"), ({"smp": 2}, "smp|cpu")))
def test_new_side_of_another_size_is_refused(vm, change, word):
    watch = Watch(vm)
    good = {name: getattr(vm, name) for name in change}
    for name, value in change.items():
        setattr(vm, name, value)
    generation, new = vm.spawn_incoming()
    for name, value in good.items():
        setattr(vm, name, value)
    vm.migrate_to(generation)
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    assert new.wait() == 1
    said = (new.log() + answer.get("error-desc", "")).lower()
    assert any(w in said for w in word.split("|")), said
    watch.check()
    vm.transfer()
    vm.running()
    assert vm.static_hash() == watch.digest


def listen(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(1)
    s.settimeout(10)
    return s


@pytest.mark.parametrize("behaviour", (
    "close_at_once", "garbage", "drain_then_close"))
def test_something_else_on_the_cpr_socket_does_no_harm(vm, behaviour):
    watch = Watch(vm)
    path = vm.path("fake-cpr")
    vm.set_parameters(mode="cpr-transfer")
    with listen(path) as fake:
        vm.qmp.send_raw(
            '{"execute":"migrate","arguments":{"channels":['
            '{"channel-type":"main","addr":{"transport":"socket",'
            '"type":"unix","path":"%s"}},{"channel-type":"cpr","addr":'
            '{"transport":"socket","type":"unix","path":"%s"}}]}}' %
            (vm.path("no-main"), path))
        peer, _ = fake.accept()
        with peer:
            peer.settimeout(5)
            if behaviour == "garbage":
                peer.sendall(b"\x00\xff" * 4096)
            if behaviour != "close_at_once":
                try:
                    while peer.recv(65536):
                        pass
                except (TimeoutError, socket.timeout, ConnectionResetError):
                    pass
        vm.qmp.reply()
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    assert answer["error-desc"]
    vm.qmp.drain_events(0.05)
    watch.check()
    vm.transfer()
    vm.running()
    assert vm.static_hash() == watch.digest


def test_cancel_while_the_new_side_prepares(vm):
    watch = Watch(vm)
    path = vm.path("slow-cpr")
    with listen(path) as fake:
        vm.set_parameters(mode="cpr-transfer")
        vm.qmp.send_raw(
            '{"execute":"migrate","arguments":{"channels":['
            '{"channel-type":"main","addr":{"transport":"socket",'
            '"type":"unix","path":"%s"}},{"channel-type":"cpr","addr":'
            '{"transport":"socket","type":"unix","path":"%s"}}]}}' %
            (vm.path("no-main"), path))
        peer, _ = fake.accept()
        with peer:
            vm.qmp.reply()
            vm.qmp.cmd("migrate_cancel")
            assert vm.wait_migrate()["status"] == "cancelled"
    watch.check()


def test_cancel_while_the_new_side_has_the_offer(vm):
    watch = Watch(vm)
    vm.set_parameters(downtime_limit=60000)
    generation, new = vm.spawn_incoming(["-debug", "handover=load:stop"])
    vm.migrate_to(generation)
    end = time.monotonic() + 20
    while vm.qmp.cmd("query-migrate")["status"] != "device":
        assert time.monotonic() < end
        time.sleep(0.002)
    assert vm.status()["status"] == "finish-migrate"
    vm.qmp.cmd("migrate_cancel")
    assert vm.wait_migrate()["status"] == "cancelled"
    watch.check()
    # The new side wakes up too late, and cannot have the guest any more.
    os.kill(new.pid, signal.SIGCONT)
    assert new.wait() == 1
    watch.check()
    vm.transfer()
    vm.running()
    assert vm.static_hash() == watch.digest


def test_cancel_where_nothing_is_under_way_changes_nothing(vm):
    watch = Watch(vm)
    vm.qmp.cmd("migrate_cancel")
    assert vm.qmp.cmd("query-migrate").get("status") is None
    watch.check()
    generation, new = vm.spawn_incoming()
    vm.migrate_to(generation)
    assert vm.wait_migrate()["status"] == "completed"
    vm.qmp.cmd("migrate_cancel")
    assert vm.qmp.cmd("query-migrate")["status"] == "completed"
    assert vm.status()["status"] == "postmigrate"
    old = vm.proc
    vm.adopt(generation, new)
    new.qmp.cmd("migrate_cancel")
    vm.running()
    old.qmp.cmd("quit")
    assert old.wait() == 0


def test_program_under_test_is_what_runs():
    """Guards against testing another binary by accident."""
    assert os.access(harness.BATON, os.X_OK), harness.BATON
