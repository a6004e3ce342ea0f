# SPDX-License-Identifier: MIT
"""A new image of cpr-exec that cannot run the guest gives it back to the old one."""

import os
import shutil
import time

import pytest

import procstat
from vm import Footprint


def exec_that_fails(vm, command, timeout=20.0):
    """Returns query-migrate's answer of the old image, come back."""
    pid = vm.pid
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=command)
    vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    vm.wait_exec(timeout)
    end = time.monotonic() + timeout
    while vm.status()["status"] != "running":
        assert time.monotonic() < end, vm.proc.log()
        time.sleep(0.01)
    assert vm.pid == pid
    return vm.qmp.cmd("query-migrate")


def replaced(argv, old, new):
    return [new if a == old else a for a in argv]


FAULTS = {
    "unknown option": (lambda vm, c: c + ["-nonono"], "-nonono: invalid option"),
    "other RAM size": (lambda vm, c: [a.replace("size=256M", "size=128M") for a in
                                      replaced(c, "256M", "128M")], "268435456"),
    "other RAM block": (lambda vm, c: c + ["-machine", "memory-backend="],
                        "Memory backend '' not found"),
    "other number of vCPUs": (lambda vm, c: c + ["-smp", "2"], "use -smp 1"),
    "no kernel": (lambda vm, c: c + ["-kernel", "/nonexistent/kernel"],
                  "/nonexistent/kernel"),
    "no state": (lambda vm, c: c + ["-incoming", "file:" + vm.path("no.state")],
                 "no.state"),
    "monitor that cannot be opened": (
        lambda vm, c: c + ["-qmp", "unix:/nonexistent/dir/qmp,server=on,wait=off"],
        "/nonexistent/dir/qmp"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_guest_goes_on_in_the_old_image(vms, name):
    make, reason = FAULTS[name]
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    answer = exec_that_fails(vm, make(vm, vm.exec_command()))
    assert answer["status"] == "failed"
    assert reason in answer["error-desc"], answer
    vm.running()
    vm.exec_()
    vm.running()
    assert vm.static_hash() == digest
    assert vm.head.boots == 1
    vm.check_no_errors()


def test_fallback_returns_to_the_program_that_ran_not_to_its_path(vms):
    vm = vms("gap")
    program = vm.path("baton-copy")
    shutil.copy(os.path.realpath(vm.program), program)
    vm.program = program
    vm.start()
    os.unlink(program)
    with open(program, "w") as f:
        f.write("#!/bin/sh\nexit 3\n")
    os.chmod(program, 0o755)
    command = [os.environ.get("BATON", os.path.join(
        os.path.dirname(__file__), "../../build/baton"))] + vm.exec_command()[1:]
    answer = exec_that_fails(vm, command + ["-smp", "2"])
    assert answer["status"] == "failed"
    assert os.readlink("/proc/%d/exe" % vm.pid).startswith(program)
    vm.running()
    vm.check_no_errors()


def test_twenty_fallbacks_leave_nothing_behind(vms):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    bad = vm.exec_command() + ["-smp", "2"]
    exec_that_fails(vm, bad)
    footprint = Footprint(vm)
    for _ in range(20):
        assert exec_that_fails(vm, bad)["status"] == "failed"
    Footprint(vm).check_against(footprint)
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_old_image_goes_on_without_what_it_cannot_open_again(vms):
    """Neither image can open the kernel; the console came along."""
    vm = vms("gap", append="pattern=32M")
    gone = vm.path("gone")
    os.mkdir(gone)
    shutil.copy(vm.kernel, gone + "/kernel")
    vm.kernel = gone + "/kernel"
    vm.serial = lambda generation: "file:" + gone + "/serial"
    vm.start()
    digest = vm.static_hash()
    shutil.rmtree(gone)
    answer = exec_that_fails(vm, vm.exec_command())
    assert answer["status"] == "failed"
    assert "gone" in answer["error-desc"], answer
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()
    log = vm.proc.log()
    assert "the guest goes on without it" not in log
    assert gone + "/serial (deleted)" in procstat.fds(vm.pid).values()
    assert "cannot be reset" in log
    # The next reset is where it ends, with a reason.
    vm.qmp.cmd("system_reset")
    time.sleep(0.2)
    assert "what the guest boots from is gone" in vm.proc.log()

