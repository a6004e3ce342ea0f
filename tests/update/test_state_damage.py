# SPDX-License-Identifier: MIT
"""A process that waits outlives a thousand damaged states, and loads the good one."""

import os
import random
import time

import pytest

from vm import check_growth


@pytest.fixture
def saved(vms):
    """A saved guest whose RAM is a file, so that its state is small."""
    vm = vms("gap", append="pattern=4M", mem="64M", backend=False)
    ram = vm.path("ram.img")
    vm.extra += ["-object", "memory-backend-file,id=ram0,size=64M,share=on,"
                 "mem-path=" + ram, "-machine", "memory-backend=ram0"]
    vm.start_on_file(ram)
    vm.digest = vm.static_hash()
    answer = vm.save("file:" + vm.path("vm.state"), shared=True)
    assert answer["status"] == "completed", answer
    vm.quit()
    with open(vm.path("vm.state"), "rb") as f:
        vm.good = f.read()
    return vm


def refused(vm, new, data):
    """Has the process load these bytes; returns why it did not."""
    with open(vm.path("bad.state"), "wb") as f:
        f.write(data)
    new.qmp.cmd("migrate-incoming", uri="file:" + vm.path("bad.state"),
                exit_on_error=False)
    end = time.monotonic() + 10
    while True:
        answer = new.qmp.cmd("query-migrate")
        if answer.get("status") == "failed":
            return answer["error-desc"]
        assert answer.get("status") in ("setup", "active", "device"), answer
        assert time.monotonic() < end, answer


def footprint(new):
    with open("/proc/%d/statm" % new.pid, encoding="ascii") as f:
        resident = int(f.read().split()[1]) * 4096
    return len(os.listdir("/proc/%d/fd" % new.pid)), resident


def survive(vm, damages):
    """All are refused in words, nothing is left behind, and the good file loads."""
    generation, new = vm.spawn_deferred(shared=True)
    before = None
    for data in damages:
        why = refused(vm, new, data)
        assert why and " " in why, why
        before = before or footprint(new)
    after = footprint(new)
    assert after[0] == before[0], "descriptors have leaked"
    check_growth(before[1], after[1], 4 << 20)
    assert new.qmp.cmd("query-status")["status"] == "inmigrate"
    new.qmp.cmd("migrate-incoming", uri="file:" + vm.path("vm.state"))
    vm.adopt_loaded(generation, new, vm.path("ram.img"))
    vm.running()
    assert vm.static_hash() == vm.digest
    assert vm.head.boots == 1
    vm.check_no_errors()


def test_a_thousand_flipped_bits(saved):
    chance = random.Random(5)

    def flipped():
        for _ in range(1000):
            data = bytearray(saved.good)
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            yield data

    survive(saved, flipped())


def test_ends_that_come_too_early(saved):
    """Each end within the first and last 200 bytes, and 600 in between.

    tests/unit/test_stream_damage.c goes through every one.
    """
    size = len(saved.good)
    ends = sorted({*range(200), *range(200, size - 200, size // 600),
                   *range(size - 200, size)})
    survive(saved, (saved.good[:n] for n in ends))
