# SPDX-License-Identifier: MIT
"""Each step of the hand-over made to fail, to die or to hang, on either side.

After every attempt exactly one process runs the guest, or, where its only owner
was killed, none does; the memory is as it was.
"""

import signal
import time

import pytest

from qmp import QmpError
from vm import Failed, Footprint

OLD_STEPS = ("connect", "prepare", "link", "stop", "save", "offer")
OLD_EXEC_STEPS = ("connect", "prepare", "link", "stop", "save", "exec")
NEW_STEPS = ("receive", "load", "claim")


def fault(step, kind):
    return ["-debug", "handover=%s:%s" % (step, kind)]


def run_transfer(vm, extra):
    """One attempt; returns (answer of query-migrate, generation, new side)."""
    generation, new = vm.spawn_incoming(extra)
    try:
        vm.migrate_to(generation)
    except QmpError:
        pass
    return vm.wait_migrate(), generation, new


def check_guest_is_here(vm, digest):
    assert vm.status() == {"status": "running", "running": True}
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()
    # No other process runs it: it stands still when this one is stopped.
    vm.qmp.cmd("stop")
    assert vm.stopped()
    vm.qmp.cmd("cont")
    vm.running()


# A new side that hangs before it is ready: test_failure.py; it takes a minute.
@pytest.mark.parametrize("step,kind", [
    (step, kind) for step in NEW_STEPS for kind in ("fail", "kill", "stop")
    if (step, kind) != ("receive", "stop")])
def test_new_side_breaks_before_it_owns_the_guest(vms, step, kind):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    footprint = Footprint(vm)
    for _ in range(3):
        answer, _, new = run_transfer(vm, fault(step, kind))
        assert answer["status"] == "failed", answer
        assert answer["error-desc"]
        if kind == "stop":
            # Woken up later, it finds that it lost.
            check_guest_is_here(vm, digest)
            new.popen.send_signal(signal.SIGCONT)
        if kind != "kill":
            assert new.wait() == 1
        check_guest_is_here(vm, digest)
        Footprint(vm).check_against(footprint)
        assert vm.body.gap_max > 0
    vm.transfer()
    check_guest_is_here(vm, digest)


def test_new_side_dies_as_the_owner(vms):
    vm = vms("gap", append="pattern=16M").start()
    answer, _, new = run_transfer(vm, fault("run", "kill"))
    new.wait()
    assert answer["status"] in ("failed", "completed")
    assert vm.status() == {"status": "postmigrate", "running": False}
    with pytest.raises(QmpError):
        vm.qmp.cmd("cont")
    assert vm.stopped(0.3), "a guest that had been given away runs again"


def test_new_side_hangs_as_the_owner_and_goes_on(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    generation, new = vm.spawn_incoming(fault("run", "stop"))
    vm.migrate_to(generation)
    time.sleep(0.5)
    assert vm.stopped(0.3)
    new.popen.send_signal(signal.SIGCONT)
    vm.wait_migrate()
    assert vm.status()["running"] is False
    with pytest.raises(QmpError):
        vm.qmp.cmd("cont")
    vm.adopt(generation, new)
    check_guest_is_here(vm, digest)


@pytest.mark.parametrize("step", OLD_STEPS)
def test_old_side_fails(vms, step):
    vm = vms("gap", append="pattern=16M").start(fault(step, "fail"))
    digest = vm.static_hash()
    footprint = Footprint(vm)
    answer, _, new = run_transfer(vm, [])
    assert answer["status"] == "failed", answer
    assert step in answer["error-desc"]
    if step == "connect":
        # Nothing was ever sent: it still waits for the old side.
        new.kill()
    else:
        assert new.wait() == 1
    check_guest_is_here(vm, digest)
    Footprint(vm).check_against(footprint)
    vm.transfer()
    check_guest_is_here(vm, digest)


@pytest.mark.parametrize("step", OLD_STEPS[1:])
def test_old_side_dies_and_the_new_one_does_not_run_half_a_guest(vms, step):
    vm = vms("gap", append="pattern=16M").start(fault(step, "kill"))
    generation, new = vm.spawn_incoming()
    try:
        vm.migrate_to(generation)
    except Exception:  # the connection breaks when the process dies
        pass
    assert vm.proc.wait() == -signal.SIGKILL
    assert new.wait() == 1
    assert new.log().strip()
    assert vm.stopped()


@pytest.mark.parametrize("step", ("stop", "save", "offer"))
def test_old_side_hangs_for_a_while(vms, step):
    vm = vms("gap", append="pattern=16M").start(fault(step, "stop"))
    digest = vm.static_hash()
    generation, new = vm.spawn_incoming()
    vm.migrate_to(generation)
    time.sleep(0.5)
    vm.proc.popen.send_signal(signal.SIGCONT)
    answer = vm.wait_migrate()
    if answer["status"] == "completed":
        vm.adopt(generation, new)
    else:
        assert new.wait() == 1
    check_guest_is_here(vm, digest)


@pytest.mark.parametrize("step", OLD_EXEC_STEPS)
def test_exec_fails_before_the_new_image(vms, step):
    vm = vms("gap", append="pattern=16M").start(fault(step, "fail"))
    digest = vm.static_hash()
    footprint = Footprint(vm)
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=vm.exec_command())
    try:
        vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    except QmpError:
        pass
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    check_guest_is_here(vm, digest)
    Footprint(vm).check_against(footprint)
    vm.exec_()
    check_guest_is_here(vm, digest)


def test_unknown_step_or_fault_is_refused(vms):
    for text in ("handover=nonsense:kill", "handover=load:frob", "frob=1"):
        vm = vms("gap")
        with pytest.raises(Failed):
            vm.start(["-debug", text])
        assert vm.proc.wait() == 1
