# SPDX-License-Identifier: MIT
"""After an update guest RAM is in the page tables before the guest asks for it."""

import os

import pytest

import abi
import procstat
from vm import MIB, Failed

TOUCHED = "pattern=16M touch=2"


def faults(pid):
    """Page faults of the process that needed no disk."""
    with open("/proc/%d/stat" % pid, encoding="ascii") as f:
        return int(f.read().rsplit(") ", 1)[1].split()[7])


def allocated(vm):
    return os.stat(procstat.ram_fd(vm.pid)).st_blocks * 512


def ram_smaps(pid):
    """Lines of guest RAM's largest mapping in smaps, by their first word."""
    found, one = {}, {}
    with open("/proc/%d/smaps" % pid, encoding="utf-8") as f:
        for line in f:
            name, rest = line.split(None, 1)
            if not name.endswith(":"):
                one = {"name": (line.split(None, 5) + [""])[5]}
            one[name] = rest.split()
            if name == "VmFlags:" and \
                    one["name"].startswith(procstat.RAM_NAMES) and \
                    int(one["Size:"][0]) > int(found.get("Size:", [0])[0]):
                found = one
    return found


def wait_prefault(vm):
    vm.wait_for("RAM being mapped",
                lambda: "prefault" not in procstat.thread_names(vm.pid))


def test_the_new_side_has_mapped_ram_before_it_gets_the_guest(vms):
    vm = vms("gap", append=TOUCHED, mem="32M").start()
    generation, new = vm.spawn_incoming(["-debug", "handover=load:stop"])
    vm.migrate_to(generation)
    vm.wait_for("the new side at its load",
                lambda: procstat.state(new.pid) == "T")
    resident = procstat.ram_resident(new.pid)
    # The guest is still the old side's, which takes it back.
    assert vm.wait_migrate()["status"] == "failed"
    assert resident > 28 * MIB, resident
    vm.running()
    new.kill()


@pytest.mark.parametrize("mode", ("transfer", "exec"))
def test_no_page_of_ram_faults_once_it_is_mapped(vms, mode):
    vm = vms("gap", append=TOUCHED).start()
    for _ in range(3):
        vm.update(mode)
        wait_prefault(vm)
        vm.running()
        assert procstat.ram_resident(vm.pid) > 250 * MIB
        before = faults(vm.pid)
        vm.request(abi.WRITE_ALL)
        # Of 65,536 pages.
        assert faults(vm.pid) - before < 100
    vm.check_no_errors()


@pytest.mark.parametrize("mode", ("transfer", "exec"))
def test_sparse_ram_stays_sparse(vms, mode):
    vm = vms("gap", append="pattern=16M", mem="1T").start()
    before = allocated(vm)
    assert before < 64 * MIB
    for _ in range(3):
        # An exec builds the machine while the guest stands still, and KVM may
        # need some bytes for each page of it.
        vm.set_parameters(downtime_limit=20000)
        vm.update(mode)
        wait_prefault(vm)
        vm.running()
        assert allocated(vm) < before + MIB
        assert 16 * MIB < procstat.ram_resident(vm.pid) <= before + MIB
    vm.check_no_errors()


def test_what_is_not_mapped_in_time_is_mapped_beside_the_guest(vms, cpu_load):
    """With busy processors 1 GiB takes longer than the old side waits."""
    vm = vms("gap", append=TOUCHED, mem="1G").start()
    for _ in range(2):
        vm.transfer()
        vm.running()
        wait_prefault(vm)
        assert procstat.ram_resident(vm.pid) > 1000 * MIB
    vm.check_no_errors()


def test_an_update_begins_while_ram_is_being_mapped(vms, loops):
    vm = vms("gap", append=TOUCHED, mem="1G").start()
    digest = vm.static_hash()
    for i in range(min(loops, 20)):
        vm.update(("exec", "transfer", "exec", "graft")[i % 4])
    wait_prefault(vm)
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_a_failed_update_ends_the_mapping(vms):
    vm = vms("gap", append=TOUCHED, mem="1G").start()
    for step in ("receive", "load", "claim"):
        with pytest.raises(Failed):
            vm.transfer(["-debug", "handover=%s:fail" % step])
        vm.running()
    vm.transfer()
    vm.running()
    vm.check_no_errors()


@pytest.mark.parametrize("mode", ("transfer", "exec"))
def test_ram_asks_the_host_for_huge_pages_in_every_process(vms, mode):
    vm = vms("gap", append=TOUCHED).start()
    for _ in range(2):
        assert "hg" in ram_smaps(vm.pid)["VmFlags:"]
        vm.update(mode)
    with open("/sys/kernel/mm/transparent_hugepage/shmem_enabled",
              encoding="ascii") as f:
        setting = f.read().split("[")[1].split("]")[0]
    if setting in ("never", "deny"):
        pytest.skip("NO TRANSPARENT HUGE PAGES OF SHARED MEMORY: "
                    "shmem_enabled is " + setting)
    wait_prefault(vm)
    mapped = int(ram_smaps(vm.pid)["ShmemPmdMapped:"][0]) >> 10
    assert mapped > 200, "%d of 256 MiB are mapped by huge pages" % mapped
    vm.check_no_errors()
