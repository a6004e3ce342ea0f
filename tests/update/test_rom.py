# SPDX-License-Identifier: MIT
"""The ACPI tables: a block of RAM of their own, which no update makes anew.

The guest sums them for ever and tries to write them. They are found in the
process by the name of the block.
"""

import hashlib
import os

import pytest

import backends
from qmp import QmpError

BLOCK = "/memfd:/rom@etc/acpi/tables"
GPA = 0xe0000
SIZE = 0x20000
MODES = ("transfer", "exec", "graft")


def tables(vm):
    with open(backends.memory_fd(vm.pid, BLOCK), "rb") as f:
        return f.read()


def running_on(vm):
    rounds = vm.body.rounds
    vm.wait_for("the guest reading its tables",
                lambda: vm.body.rounds > rounds + 10)
    assert vm.body.changes == 0, vm.body.all()
    vm.check_no_errors()


def test_guest_finds_valid_tables_which_it_cannot_write(vms):
    vm = vms("rom", mem="64M").start()
    running_on(vm)
    assert vm.body.rsdp == GPA
    assert vm.body.valid == 1
    assert vm.body.writes > 0
    assert vm.body.writes_seen == 0, vm.body.all()
    data = tables(vm)
    assert len(data) == SIZE
    assert data.startswith(b"RSD PTR ")


def test_main_ram_has_nothing_in_their_place(vms):
    vm = vms("rom", mem="64M").start()
    with memoryview(vm.ram) as view:
        assert not any(view[GPA:GPA + SIZE])


@pytest.mark.parametrize("mode", MODES)
def test_tables_are_the_same_memory_after_updates(vms, mode):
    vm = vms("rom", mem="64M").start()
    memory = backends.ram_id(vm, BLOCK)
    digest = hashlib.blake2b(tables(vm)).hexdigest()
    for _ in range(5):
        vm.update(mode)
        running_on(vm)
        assert backends.ram_id(vm, BLOCK) == memory
        assert hashlib.blake2b(tables(vm)).hexdigest() == digest
    assert vm.body.writes_seen == 0
    assert vm.head.boots == 1


@pytest.mark.parametrize("mode", MODES)
def test_tables_are_not_made_anew_by_the_new_side(vms, mode):
    """What stands in the block crosses, whatever the new program would say.

    Neither does a reset of the guest make them anew: it cannot have changed
    them.
    """
    vm = vms("rom", mem="64M").start()
    fd = os.open(backends.memory_fd(vm.pid, BLOCK), os.O_RDWR)
    try:
        os.pwrite(fd, b"mark of the old side", SIZE - 64)
    finally:
        os.close(fd)
    vm.update(mode)
    vm.wait_for("the guest seeing it", lambda: vm.body.changes > 0)
    assert tables(vm)[SIZE - 64:].startswith(b"mark of the old side")
    boots = vm.head.boots
    vm.qmp.cmd("system_reset")
    vm.wait_for("boot", lambda: vm.head.boots == boots + 1)
    vm.wait_ready()
    running_on(vm)
    assert vm.body.valid == 1
    assert tables(vm)[SIZE - 64:].startswith(b"mark of the old side")


@pytest.mark.parametrize("mode", ("cpr-reboot", "normal"))
def test_tables_go_with_a_state_file(vms, mode):
    vm = vms("rom", mem="64M").start()
    digest = hashlib.blake2b(tables(vm)).hexdigest()
    fd = os.open(backends.memory_fd(vm.pid, BLOCK), os.O_RDWR)
    try:
        os.pwrite(fd, b"mark of the old side", SIZE - 64)
    finally:
        os.close(fd)
    vm.wait_for("the guest seeing it", lambda: vm.body.changes > 0)
    state = "file:" + vm.path("vm.state")
    assert vm.save(state, mode)["status"] == "completed"
    vm.quit()
    vm.load(state, mode)
    vm.running()
    data = tables(vm)
    assert data[SIZE - 64:].startswith(b"mark of the old side")
    assert hashlib.blake2b(data[:SIZE - 64] + bytes(64)).hexdigest() == digest
    assert vm.head.boots == 1
    vm.check_no_errors()


def test_tables_in_private_memory_are_a_blocker_by_name(vms):
    vm = vms("rom", mem="64M", backend=False, extra=backends.arguments(
        "memfd") + ["-machine", "aux-ram-share=off"])
    backends.start(vm, "/memfd:ram0")
    vm.set_parameters(mode="cpr-exec", cpr_exec_command=["/bin/true"])
    with pytest.raises(QmpError) as e:
        vm.qmp.cmd("migrate", uri="file:" + vm.path("vm.state"))
    assert e.value.desc == "Memory region /rom@etc/acpi/tables is not " \
        "compatible with CPR. share=on is required for memory-backend " \
        "objects, and aux-ram-share=on is required."
    running_on(vm)


def test_every_block_that_cannot_stay_is_listed(vms):
    vm = vms("rom", mem="64M", backend=False,
             extra=["-machine", "aux-ram-share=off"])
    vm.generation, vm.proc = vm.spawn()
    vm.proc.connect(vm.qmp_path(0))
    vm.set_parameters(mode="cpr-transfer")
    reasons = vm.qmp.cmd("query-migrate")["blocked-reasons"]
    assert [r.split()[2] for r in reasons] == [
        "pc.ram", "/rom@etc/acpi/tables"]


def test_new_side_with_private_tables_is_refused(vms):
    vm = vms("rom", mem="64M").start()
    generation, new = vm.spawn_incoming(["-machine", "aux-ram-share=off"])
    try:
        vm.migrate_to(generation)
    except QmpError:
        pass
    answer = vm.wait_migrate()
    assert answer["status"] == "failed"
    assert "'/rom@etc/acpi/tables' is shared" in answer["error-desc"]
    assert new.wait() == 1
    running_on(vm)
