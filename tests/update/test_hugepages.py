# SPDX-License-Identifier: MIT
"""Guest RAM is gathered into huge pages, and the guest and its updates do not notice."""

import os
import random
import time

import pytest

import procstat
from refusal import reason
from test_populate import ram_smaps
from vm import MIB

WRITTEN = "pattern=32M touch=2"


def may_gather():
    """None, or why this host gathers nothing."""
    with open("/sys/kernel/mm/transparent_hugepage/enabled",
              encoding="ascii") as f:
        if "[never]" in f.read():
            return "THIS HOST HAS NO TRANSPARENT HUGE PAGES"
    if tuple(int(x) for x in os.uname().release.split(".")[:2]) < (6, 12):
        return "THIS KERNEL IS TOO OLD TO GATHER HUGE PAGES"
    return None


@pytest.fixture(autouse=True)
def huge_pages():
    if may_gather():
        pytest.skip(may_gather())


def gathered(vm):
    """Bytes of guest RAM mapped as huge pages in the process of now."""
    return int(ram_smaps(vm.pid).get("ShmemPmdMapped:", ["0"])[0]) * 1024


def wait_gathered(vm, at_least):
    vm.wait_for("RAM in huge pages", lambda: gathered(vm) >= at_least, 60.0)


@pytest.mark.parametrize("mode", ("transfer", "exec", "graft"))
def test_gathered_ram_is_the_same_and_stays_gathered(vms, mode):
    vm = vms("gap", append=WRITTEN, mem="64M").start()
    before = vm.static_hash()
    wait_gathered(vm, 56 * MIB)
    assert vm.static_hash() == before
    vm.running()
    for _ in range(3):
        vm.update(mode)
        vm.running()
        # Nobody has to gather it again: it is mapped as it is.
        vm.wait_for("RAM mapped", lambda: gathered(vm) >= 56 * MIB, 20.0)
    assert vm.static_hash() == before
    vm.check_no_errors()


def test_sparse_ram_stays_sparse(vms):
    vm = vms("gap", append="pattern=16M", mem="256M").start()
    before = procstat.ram_resident(vm.pid)
    wait_gathered(vm, 8 * MIB)
    time.sleep(2.5)
    assert procstat.ram_resident(vm.pid) <= before + 4 * MIB
    vm.running()


def test_it_can_be_switched_off(vms):
    vm = vms("gap", append=WRITTEN, mem="64M",
             extra=["-machine", "huge-pages=off"]).start()
    time.sleep(3.0)
    assert gathered(vm) == 0
    assert "hugepages" not in procstat.thread_names(vm.pid)
    vm.running()


@pytest.mark.parametrize("mode", ("transfer", "exec", "graft"))
def test_an_update_in_the_middle_of_it(vms, mode, loops):
    """The first scan comes a second after the start, and takes a while."""
    chance = random.Random(5)
    for _ in range(max(2, loops // 20)):
        with vms("gap", append=WRITTEN, mem="64M").start() as vm:
            before = vm.static_hash()
            vm.wait_for("a scan",
                        lambda v=vm: "hugepages" in procstat.thread_names(v.pid)
                        or gathered(v))
            time.sleep(chance.uniform(0, 0.03))
            vm.update(mode)
            vm.running()
            assert vm.static_hash() == before
            vm.check_no_errors()


def test_bad_value(vms):
    vm = vms("gap", extra=["-machine", "huge-pages=maybe"])
    _, proc = vm.spawn()
    assert proc.wait() == 1
    why = reason(proc.log(), "-machine huge-pages=maybe")
    assert "'maybe' is neither on nor off" in why
