# SPDX-License-Identifier: MIT
"""Where threads run: advice that lasts for an update, and no longer."""

import os
import struct

import pytest

import procstat

# In the owner page: docs/update-protocol.md, section 5.
PLACES = 80
SEVERAL = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2,
                             reason="takes two processors")


def vcpu_threads(pid):
    """Names and ids, in order."""
    return sorted((n, t) for n, t in procstat.named_threads(pid)
                  if n.startswith("CPU "))


def may_run(proc):
    """Where vCPUs' threads may run, and where the main one may."""
    return ([os.sched_getaffinity(t) for _, t in vcpu_threads(proc.pid)],
            os.sched_getaffinity(proc.pid))


def places(pid):
    """Where two vCPUs left the guest, as the old side says in the owner page."""
    for fd in os.listdir("/proc/%d/fd" % pid):
        path = "/proc/%d/fd/%s" % (pid, fd)
        if "baton-owner" in os.readlink(path):
            with open(path, "rb") as f:
                f.seek(PLACES)
                return [{n - 1} for n in struct.unpack("=2H", f.read(4))]
    raise AssertionError("there is no owner page")


@SEVERAL
@pytest.mark.parametrize("mode", ("transfer", "exec", "graft"))
def test_after_an_update_all_may_run_where_they_might(vms, mode):
    vm = vms("smp", append="cpus=2", smp=2).start()
    everywhere = os.sched_getaffinity(0)
    for _ in range(3):
        vm.update(mode)
        vm.running()
        vcpus, main = may_run(vm)
        assert main == everywhere
        assert vcpus == [everywhere, everywhere]


@SEVERAL
def test_an_update_that_fails_leaves_no_thread_pinned(vms):
    """The new side's were: it stays, and could be handed another guest."""
    vm = vms("smp", append="cpus=2", smp=2).start()
    generation, new = vm.spawn_incoming(["-debug", "handover=claim:fail"],
                                        main="defer")
    vm.migrate_to(generation)
    new.connect(vm.qmp_path(generation))
    new.qmp.cmd("migrate-incoming", uri="unix:" + vm.main_path(generation),
                exit_on_error=False)
    assert vm.wait_migrate()["status"] == "failed"
    assert vm.wait_loaded(new)["status"] == "failed"
    vm.running()
    everywhere = os.sched_getaffinity(0)
    for proc in (vm.proc, new):
        assert may_run(proc) == ([everywhere, everywhere], everywhere)


@SEVERAL
@pytest.mark.parametrize("mode", ("transfer", "exec"))
def test_an_operators_placement_is_kept(vms, mode):
    """The old vCPU runs where the new side's may not."""
    cpus = sorted(os.sched_getaffinity(0))
    vm = vms("serial").start()
    for _, tid in procstat.named_threads(vm.pid):
        os.sched_setaffinity(tid, {cpus[0]})
    if mode == "transfer":
        try:
            os.sched_setaffinity(0, {cpus[1]})
            vm.update(mode)
        finally:
            os.sched_setaffinity(0, set(cpus))
        expected = {cpus[1]}
    else:
        vm.update(mode)
        expected = {cpus[0]}
    vm.running()
    vcpus, main = may_run(vm)
    assert main == expected
    assert vcpus == [expected]


@SEVERAL
def test_the_new_vcpus_enter_where_the_old_ones_left(vms):
    vm = vms("smp", append="cpus=2", smp=2).start()
    generation, new = vm.spawn_incoming(["-debug", "handover=claim:stop"])
    vm.migrate_to(generation)
    vm.wait_for("the new side before it takes the guest",
                lambda: procstat.state(new.pid) == "T")
    left = places(vm.pid)
    assert [os.sched_getaffinity(t) for _, t in vcpu_threads(new.pid)] == left
    # The guest is still the old side's, which takes it back.
    assert vm.wait_migrate()["status"] == "failed"
    vm.running()
    new.kill()
