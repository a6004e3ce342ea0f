# SPDX-License-Identifier: MIT
"""cpr-graft where the host gives little, and what it is kept from."""

import os
import resource
import socket
import subprocess
import time

import pytest

import qmp
import vm as vm_module
from test_graft import (check_still_graftable, graft_that_fails,
                        images)  # noqa: F401
from vm import Footprint


def test_graft_without_descriptors_fails_and_leaves_none_behind(vms):
    vm = vms("gap", append="pattern=32M").start()
    digest = vm.static_hash()
    first = Footprint(vm)
    used = len(os.listdir("/proc/%d/fd" % vm.pid))
    limits = resource.prlimit(vm.pid, resource.RLIMIT_NOFILE)
    refusals = 0
    for room in range(40):
        resource.prlimit(vm.pid, resource.RLIMIT_NOFILE,
                         (used + room, limits[1]))
        vm.set_parameters(mode="cpr-graft",
                          cpr_exec_command=vm.graft_command())
        try:
            vm.qmp.cmd("migrate")
            answer = vm.wait_migrate()
        except qmp.QmpError as e:
            answer = {"status": "failed", "error-desc": e.desc}
        vm.running()
        if answer["status"] == "completed":
            break
        refusals += 1
        assert len(os.listdir("/proc/%d/fd" % vm.pid)) == used, answer
    assert answer["status"] == "completed"
    assert refusals > 5
    resource.prlimit(vm.pid, resource.RLIMIT_NOFILE, limits)
    vm.graft()
    check_still_graftable(vm, digest, Footprint(vm))
    assert Footprint(vm).threads == first.threads


def test_image_that_crashes_dumps_no_memory_of_the_guest(
        vms, images, tmp_path, monkeypatch):  # noqa: F811
    with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
        pattern = f.read().strip()
    if "/" in pattern or pattern.startswith("|"):
        pytest.skip("CORE DUMPS GO ELSEWHERE: " + pattern)
    monkeypatch.chdir(tmp_path)
    vm = vms("gap", append="pattern=32M").start()
    resource.prlimit(vm.pid, resource.RLIMIT_CORE,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for kind in ("crashes", "overflows"):
        graft_that_fails(vm, [images(kind)])
    assert not os.listdir(tmp_path)
    # What crashes later, in the process itself, is dumped as before.
    vm.graft()
    assert resource.prlimit(vm.pid, resource.RLIMIT_CORE)[0] == \
        resource.RLIM_INFINITY


def test_variable_that_somebody_has_set_is_refused():
    """No address crashes a program that was started in the usual way."""
    fixed = ["setarch", "-R", vm_module.BATON, "-version"]
    environment = dict(os.environ)

    def start(value):
        environment["BATON_CPR_GRAFT"] = value
        done = subprocess.run(fixed, env=environment, capture_output=True,
                              check=False)
        assert done.returncode == 1, (value, done)
        assert b"there is no image to take over from" in done.stderr

    # What that program has mapped, where addresses are not random.
    listing = subprocess.run(["setarch", "-R", "cat", "/proc/self/maps"],
                             capture_output=True, check=True).stdout
    # The kernel's pages move a little with the sizes of the program.
    spots = {int(line.split(b"-")[0], 16) + i * 4096
             for line in listing.splitlines() for i in range(-4, 8)}
    for value in ("", "0", "1", "4096", "junk", "-4096", "-1"):
        start(value)
    for spot in sorted(s for s in spots if s >= 0):
        start(hex(spot))


def test_vcpu_that_has_not_come_to_run_yet_is_stopped_again(
        vms, cpu_load):
    """Its thread is let go, and asked to wait for the verdict, at once."""
    vm = vms("gap", append="pattern=32M").start()
    vm.set_parameters(mode="cpr-graft", downtime_limit=2000,
                      cpr_exec_command=vm.graft_command(extra=[
                          "-debug", "handover=load:fail"]))
    for task in os.listdir("/proc/%d/task" % vm.pid):
        with open("/proc/%d/task/%s/comm" % (vm.pid, task),
                  encoding="ascii") as f:
            if f.read().startswith("CPU "):
                # It runs when nobody else wants to.
                os.sched_setscheduler(int(task), os.SCHED_IDLE,
                                      os.sched_param(0))
    for _ in range(5):
        vm.qmp.cmd("stop")
        vm.qmp.cmd("cont")
        vm.qmp.cmd("migrate")
        assert vm.wait_migrate()["status"] == "failed"
    vm.running(20)
    vm.check_no_errors()


@pytest.mark.parametrize("mode", ("exec", "graft"))
def test_guest_that_powers_off_as_an_update_begins_ends_its_process(
        vms, mode):
    """Whatever comes first, the process does not stay with a dead guest."""
    for i in range(40):
        where = []
        vm = vms("serial", serial=lambda generation: "unix:%s,server=on,"
                 "wait=off" % where[0])
        where.append(vm.path("console"))
        vm.start()
        command = vm.graft_command() if mode == "graft" else \
            vm.exec_command()
        vm.set_parameters(mode="cpr-" + mode, cpr_exec_command=command)
        with socket.socket(socket.AF_UNIX) as console:
            console.connect(where[0])
            console.sendall(b"!p\n")
            time.sleep(i % 12 * 0.00025)
            try:
                vm.qmp.cmd("migrate", **(
                    {"uri": "file:" + vm.path("vm.state")}
                    if mode == "exec" else {}))
            except (qmp.QmpClosed, OSError):
                pass
            assert vm.proc.wait() == 0, vm.proc.log()
