# SPDX-License-Identifier: MIT
"""A new side that is another machine is refused before the guest stops."""

import pytest

from qmp import QmpError

DIFFERENCES = {
    "one serial port more": (["-serial", "null"], "this machine has 'serial 1'"),
    "more vCPUs": (["-smp", "2"], "use -smp 1"),
    "more RAM": (["-m", "512M", "-machine", "memory-backend="], "Memory backend"),
    "plain RAM": (["-object", "memory-backend-memfd,id=other,size=256M",
                   "-machine", "memory-backend=other"], "no RAM block 'other'"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_difference_is_named_and_the_guest_does_not_stop(vms, name):
    extra, reason = DIFFERENCES[name]
    vm = vms("gap", append="pattern=32M").start()
    try:
        generation, new = vm.spawn_incoming(extra)
    except Exception as e:
        # What the command line alone shows is refused before anybody connects.
        assert reason in str(e)
        vm.running()
        return
    try:
        vm.migrate_to(generation)
    except QmpError:
        pass
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    assert reason in answer["error-desc"], answer
    assert "STOP" not in vm.qmp.event_names()
    assert new.wait() == 1
    vm.running()
    vm.transfer()
    vm.check_no_errors()
