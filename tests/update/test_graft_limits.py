# SPDX-License-Identifier: MIT
"""cpr-graft where the host gives little, and what it is kept from."""

import os
import resource

import pytest

import qmp
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
