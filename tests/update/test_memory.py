# SPDX-License-Identifier: MIT
"""Guest memory survives: same object, same bytes, in every update."""

import pytest

from vm import Footprint


def quiet_footprint(vm):
    """Footprint after the first updates, when everything exists once."""
    vm.running()
    return Footprint(vm)


@pytest.mark.parametrize("mode", ("transfer", "exec", "graft"))
def test_memory_is_unchanged_by_many_updates_under_load(
        vms, cpu_load, loops, mode):
    vm = vms("gap", append="pattern=64M changing=1M").start()
    digest = vm.static_hash()
    first = None
    for i in range(loops):
        checks = vm.body.changing_checks
        vm.update(mode)
        vm.running()
        vm.wait_for("the guest verifying",
                    lambda: vm.body.changing_checks > checks)
        if i == 1:
            first = quiet_footprint(vm)
    vm.check_same_ram()
    assert vm.static_hash() == digest
    assert vm.head.boots == 1, "the guest was booted again"
    assert vm.body.backward == 0
    vm.check_no_errors()
    if first:
        quiet_footprint(vm).check_against(first)


def test_modes_alternate(vms, cpu_load):
    vm = vms("gap", append="pattern=16M", backend=False).start()
    digest = vm.static_hash()
    for mode in ("transfer", "exec", "transfer", "transfer", "exec", "exec",
                 "transfer"):
        vm.update(mode)
        vm.running()
    vm.check_same_ram()
    assert vm.static_hash() == digest
    vm.check_no_errors()


@pytest.mark.parametrize("mode", ("transfer", "exec", "graft"))
def test_file_backed_ram_stays_in_the_file(vms, mode):
    vm = vms("gap", append="pattern=16M", backend=False)
    vm.extra = ["-object", "memory-backend-file,id=ram0,size=256M,share=on,"
                "mem-path=" + vm.path("ram.img"),
                "-machine", "memory-backend=ram0,aux-ram-share=on"]
    vm.start_on_file(vm.path("ram.img"))
    digest = vm.static_hash()
    for _ in range(5):
        vm.update(mode)
        vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()


@pytest.mark.parametrize("mode", ("transfer", "exec", "graft"))
def test_memory_above_4_gib_is_kept(vms, mode):
    vm = vms("gap", append="pattern=16M", mem="5G").start()
    with memoryview(vm.ram) as view:
        view[-4096:] = bytes(range(256)) * 16
    digest = vm.static_hash()
    for _ in range(3):
        vm.update(mode)
        vm.running()
    with memoryview(vm.ram) as view:
        assert bytes(view[-4096:]) == bytes(range(256)) * 16
    assert vm.static_hash() == digest
    vm.check_no_errors()


@pytest.mark.parametrize("mode", ("transfer", "exec", "graft"))
def test_a_stopped_guest_stays_stopped(vms, mode):
    vm = vms("gap", append="pattern=16M").start()
    vm.qmp.cmd("stop")
    digest = vm.static_hash()
    for _ in range(3):
        vm.update(mode)
        assert vm.status() == {"status": "paused", "running": False}
        assert vm.stopped(0.05)
    vm.qmp.cmd("cont")
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_reset_works_after_updates(vms):
    vm = vms("gap", append="pattern=16M").start()
    for mode in ("transfer", "exec", "graft"):
        vm.update(mode)
        boots = vm.head.boots
        vm.qmp.cmd("system_reset")
        vm.wait_for("boot", lambda: vm.head.boots == boots + 1)
        vm.wait_ready()
        vm.running()
        vm.check_no_errors()
