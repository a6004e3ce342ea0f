# SPDX-License-Identifier: MIT
"""This build takes a guest over from the previous release, and gives it back."""

import json
import os
import subprocess

import pytest

import dump
import vm as harness

OLD = os.path.abspath(os.environ.get("BATON_OLD") or os.path.join(
    harness.ROOT, "build", "compat", "baton"))

pytestmark = pytest.mark.skipif(
    not os.path.exists(OLD),
    reason="NO EARLIER RELEASE WAS BUILT: tests/compat/build says why")


@pytest.fixture
def old():
    """The previous release's program."""
    assert not os.path.samefile(OLD, harness.BATON)
    return OLD


@pytest.mark.parametrize("mode", ("transfer", "exec"))
@pytest.mark.parametrize("guest,smp", (("gap", 1), ("timer", 1), ("smp", 2)))
def test_guest_moves_there_and_back(vms, old, mode, guest, smp):
    vm = vms(guest, mem="64M", smp=smp, program=old).start()
    digest = vm.static_hash() if guest == "gap" else None

    def move(program):
        if mode == "transfer":
            vm.transfer(program=program)
        else:
            vm.exec_(vm.exec_command(program))
        assert os.path.samefile("/proc/%d/exe" % vm.pid, program)
        vm.running()
        vm.check_no_errors()
        vm.check_same_ram()
        if digest:
            assert vm.static_hash() == digest

    for program in (harness.BATON, old, harness.BATON):
        move(program)


def test_stopped_guest_stays_stopped(vms, old):
    vm = vms("gap", mem="64M", program=old).start()
    vm.qmp.cmd("stop")
    for program in (harness.BATON, old):
        vm.transfer(program=program)
        assert vm.status()["status"] == "paused"
    vm.qmp.cmd("cont")
    vm.running()


def test_tables_fit_each_other(old, tmp_path):
    """Old states load here; new ones there, but for parts sent when needed.

    So are whole sections: of devices one has to ask for, or that say nothing at first."""
    tables = []
    for program in (old, harness.BATON):
        path = tmp_path / "tables.json"
        done = subprocess.run([program, "-dump-vmstate", str(path)],
                              stdin=subprocess.DEVNULL, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=20)
        if done.returncode and program == old:
            pytest.skip("THE EARLIER RELEASE HAS NO -dump-vmstate")
        assert done.returncode == 0, done.stderr
        tables.append(json.loads(path.read_text(encoding="ascii")))
    assert dump.differences(tables[0], tables[1]) == []
    assert [d for d in dump.differences(tables[1], tables[0])
            if ": subsection " not in d and not d.startswith("section ")] == []
