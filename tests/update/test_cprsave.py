# SPDX-License-Identifier: MIT
"""The one-shot forms: cprsave restart and reboot, cprload."""

import os
import stat

import pytest

import qmp
import vm as vm_module


def check_guest(vm, digest, beat):
    vm.running()
    assert vm.head.heartbeat > beat
    assert vm.static_hash() == digest
    assert vm.head.boots == 1
    vm.check_no_errors()


def restart(vm, state):
    """cprsave restart, up to the image that waits for cprload."""
    pid = vm.pid
    vm.qmp.cmd("cprsave", file=state, mode="restart")
    vm.wait_waiting()
    assert vm.proc.pid == pid
    assert vm.status() == {"status": "inmigrate", "running": False}
    assert vm.stopped()


def load_here(vm, state):
    vm.qmp.cmd("cprload", file=state)
    assert vm.wait_loaded(vm.proc)["status"] == "completed"
    assert vm.status() == {"status": "running", "running": True}


def test_restart_waits_frozen_for_cprload(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    for _ in range(3):
        restart(vm, vm.path("vm.state"))
        load_here(vm, vm.path("vm.state"))
        check_guest(vm, digest, beat)
    vm.check_same_ram()


def test_restart_of_a_process_that_was_started_for_a_transfer(vms):
    """Its command line says -incoming, which must not count again."""
    vm = vms("gap", append="pattern=16M").start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.transfer()
    restart(vm, vm.path("vm.state"))
    load_here(vm, vm.path("vm.state"))
    check_guest(vm, digest, beat)


def test_restart_goes_through_a_wrapper(vms, monkeypatch):
    vm = vms("gap", append="pattern=16M")
    wrapper, seen = vm.path("baton-exec"), vm.path("seen")
    with open(wrapper, "w", encoding="ascii") as f:
        f.write('#!/bin/sh\necho "$@" >%s\nexec %s "$@"\n' %
                (seen, vm_module.BATON))
    os.chmod(wrapper, stat.S_IRWXU)
    monkeypatch.setenv("PATH", vm.dir + ":" + os.environ["PATH"])
    vm.start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    restart(vm, vm.path("vm.state"))
    with open(seen, encoding="ascii") as f:
        assert f.read().startswith("-name test ")
    load_here(vm, vm.path("vm.state"))
    check_guest(vm, digest, beat)


def test_wrong_file_leaves_the_image_waiting(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    restart(vm, vm.path("vm.state"))
    with pytest.raises(qmp.QmpError, match="No such file"):
        vm.qmp.cmd("cprload", file=vm.path("nothing"))
    assert vm.status()["status"] == "inmigrate"
    load_here(vm, vm.path("vm.state"))
    check_guest(vm, digest, beat)


@pytest.mark.parametrize("in_file", (True, False))
def test_reboot_saves_and_ends(vms, in_file):
    vm = vms("gap", append="pattern=16M", backend=False)
    ram = None
    if in_file:
        ram = vm.path("ram.img")
        vm.extra = ["-object", "memory-backend-file,id=ram0,size=256M,"
                    "share=on,mem-path=" + ram,
                    "-machine", "memory-backend=ram0"]
        vm.start_on_file(ram)
    else:
        vm.start()
    digest, beat = vm.static_hash(), vm.head.heartbeat
    vm.qmp.cmd("cprsave", file=vm.path("vm.state"), mode="reboot")
    assert vm.proc.wait() == 0
    assert (os.stat(vm.path("vm.state")).st_size < 1 << 20) is in_file
    generation, new = vm.spawn(["-incoming", "defer"])
    new.connect(vm.qmp_path(generation))
    new.qmp.cmd("cprload", file=vm.path("vm.state"))
    vm.adopt_loaded(generation, new, ram)
    check_guest(vm, digest, beat)


def test_what_cannot_be_done_is_refused(vms):
    vm = vms("gap", append="pattern=16M").start()
    cases = (
        ("cprload", {"file": vm.path("x")}, "-incoming defer"),
        ("cprsave", {"file": "", "mode": "reboot"}, "empty"),
        ("cprsave", {"file": "x" * 5000, "mode": "reboot"}, "too long"),
        ("cprsave", {"file": "x", "mode": "later"},
         "Parameter 'mode' does not accept value 'later'"),
        ("cprsave", {"file": "x"}, "Parameter 'mode' is missing"),
    )
    for name, arguments, text in cases:
        with pytest.raises(qmp.QmpError, match=text):
            vm.qmp.cmd(name, arguments)
    with pytest.raises(qmp.QmpError, match="Could not create"):
        vm.qmp.cmd("cprsave", file="/nonexistent/x", mode="restart")
    vm.running()
    vm.check_no_errors()
