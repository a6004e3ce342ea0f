# SPDX-License-Identifier: MIT
"""A reader that knows only the documented format finds the guest's state in the file."""

import glob
import os
import struct

import pytest

import stream
import vm as harness

GOLDEN = sorted(glob.glob(os.path.join(harness.ROOT, "tests", "golden",
                                       "*.state")))


def state_file(vm):
    with open(vm.path("vm.state"), "rb") as f:
        return f.read()


@pytest.mark.parametrize("smp", (1, 3))
def test_every_section_is_found_with_its_values(vms, smp):
    vm = vms("gap", mem="64M", smp=smp).start()
    vm.exec_()
    got = stream.Reader(state_file(vm))
    assert got.config["name"] == b"baton-1"
    assert got.ram.pop("/rom@etc/acpi/tables") == 128 << 10
    assert list(got.ram.values()) == [64 << 20]
    assert got.order[0] == ("ram", 0)
    assert got.order[-2:] == [("globalstate", 0), ("baton-checksum", 0)]
    for cpu in range(smp):
        assert len(got.sections["cpu", cpu]["regs"]) == 18
        assert len(got.sections["apic", cpu]["regs"]) == 1024
    # Long mode with paging, where the guests of these tests run.
    assert got.sections["cpu", 0]["cr0"] & 0x80000001 == 0x80000001
    assert got.sections["cpu", 0]["efer"] & 0x400


@pytest.mark.parametrize("stopped", (False, True))
def test_global_state_has_the_run_state(vms, stopped):
    vm = vms("gap", mem="64M").start()
    if stopped:
        vm.qmp.cmd("stop")
    vm.exec_()
    state = stream.Reader(state_file(vm)).sections["globalstate", 0]
    name = b"paused" if stopped else b"running"
    assert state["runstate"] == name.ljust(32, b"\0")
    assert state["size"] == len(name) + 1
    assert (state["has_vm_was_suspended"], state["vm_was_suspended"]) == (1, 0)
    assert vm.status()["status"] == name.decode()


def test_guest_that_is_awake_is_not_woken(vms):
    vm = vms("gap", mem="64M").start()
    for command in (None, "stop"):
        if command:
            vm.qmp.cmd(command)
        with pytest.raises(Exception, match="guest is not in suspended state"):
            vm.qmp.cmd("system_wakeup")
    assert vm.status()["status"] == "paused"


@pytest.mark.parametrize("path", GOLDEN, ids=os.path.basename)
def test_states_of_releases_are_read(path):
    with open(path, "rb") as f:
        data = f.read()
    got = stream.Reader(data)
    assert ("globalstate", 0) in got.sections
    check = got.sections["baton-checksum", 0]
    assert data[check["length"]:][:6] == struct.pack(
        ">BI", 4, len(got.order) - 1) + bytes([len("baton-checksum")])
