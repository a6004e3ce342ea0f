# SPDX-License-Identifier: MIT
"""Order of events, end states, and what the old side may still do."""

import os
import time

import pytest

from qmp import QmpError

SUCCESS = ["MIGRATION setup", "STOP", "MIGRATION active", "MIGRATION_PASS",
           "MIGRATION device", "MIGRATION completed"]


def test_transfer_events_come_in_the_known_order(vms):
    vm = vms("gap").start()
    generation, new = vm.spawn_incoming()
    vm.migrate_to(generation)
    assert vm.wait_migrate()["status"] == "completed"
    vm.qmp.drain_events(0.1)
    assert vm.qmp.event_names() == SUCCESS
    assert vm.status() == {"status": "postmigrate", "running": False}
    old = vm.proc
    vm.adopt(generation, new)
    vm.running()
    answer = old.qmp.cmd("query-migrate")
    assert answer["status"] == "completed"
    assert {"setup-time", "downtime", "total-time", "ram"} <= set(answer)
    assert answer["downtime"] < 1000
    assert new.qmp.cmd("query-migrate")["status"] == "completed"


def test_exec_events_come_in_the_known_order(vms):
    vm = vms("gap").start()
    assert vm.exec_() == SUCCESS + ["RESUME"]
    vm.running()
    assert vm.qmp.cmd("query-migrate-parameters")["mode"] == "normal"


def test_old_side_cannot_go_on_after_completed(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    generation, new = vm.spawn_incoming()
    vm.migrate_to(generation)
    assert vm.wait_migrate()["status"] == "completed"
    with pytest.raises(QmpError):
        vm.qmp.cmd("cont")
    with pytest.raises(QmpError):
        vm.qmp.cmd("migrate", channels=[
            vm.unix_channel("main", "/nonexistent/m"),
            vm.unix_channel("cpr", "/nonexistent/c")])
    assert vm.status()["running"] is False
    old = vm.proc
    vm.adopt(generation, new)
    # The only runner is the new one: stopping it stops the guest.
    vm.qmp.cmd("stop")
    assert vm.stopped()
    vm.qmp.cmd("cont")
    old.qmp.cmd("quit")
    assert old.wait() == 0
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_death_of_the_old_side_after_completed_does_no_harm(vms):
    vm = vms("gap", append="pattern=16M").start()
    digest = vm.static_hash()
    generation, new = vm.spawn_incoming()
    vm.migrate_to(generation)
    assert vm.wait_migrate()["status"] == "completed"
    vm.proc.kill()
    vm.adopt(generation, new)
    vm.running()
    assert vm.static_hash() == digest
    vm.check_no_errors()


def test_guest_runs_while_the_new_side_is_not_there_yet(vms):
    """The new side's QMP is absent and the guest undisturbed until migrate."""
    vm = vms("gap").start()
    generation, new = vm.spawn_incoming()
    time.sleep(0.3)
    assert not os.path.exists(vm.qmp_path(generation))
    assert not os.path.exists(vm.main_path(generation))
    assert new.alive()
    vm.running()
    vm.migrate_to(generation)
    assert vm.wait_migrate()["status"] == "completed"
    vm.adopt(generation, new)
    vm.running()


def test_dash_s_on_the_new_side_leaves_the_guest_paused(vms):
    vm = vms("gap").start()
    vm.transfer(extra=["-S"])
    assert vm.status() == {"status": "paused", "running": False}
    assert vm.stopped()
    vm.qmp.cmd("cont")
    vm.running()
    vm.check_no_errors()
